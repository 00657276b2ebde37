"""xi(t) and the noise levels, as functions of the noise level alone."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from videograin.attention import CROSS, MAX_XI, SELF, NoiseLevels, Schedule

# Stable Diffusion's "scaled linear" betas.
ALPHAS = (1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2).cumprod(0)


def ddim_levels(steps):
    return [(timestep + 1) / 1000 for timestep in range(0, 1000, 1000 // steps)][::-1]


def test_the_paper_s_curves():
    assert SELF.xi(0.9) == pytest.approx(0.3 * 0.9**5)
    assert CROSS.xi(0.9) == pytest.approx(0.9**5)


@pytest.mark.parametrize(("steps", "active"), [(50, 15), (20, 6), (10, 3), (100, 30)])
def test_thirty_percent_of_the_ddim_steps_are_active(steps, active):
    levels = ddim_levels(steps)
    assert [SELF.range.holds(t) for t in levels] == [True] * active + [False] * (steps - active)
    assert all(SELF.xi(t) > 0 for t in levels[:active])
    assert all(SELF.xi(t) == 0.0 for t in levels[active:])


def test_the_levels_may_come_from_sigmas():
    levels = NoiseLevels(ALPHAS)
    sigmas = [levels.sigmas[round(t * 1000)] for t in ddim_levels(50)]  # float32, as a host has them
    assert sum(SELF.xi(levels.t(sigma)) > 0 for sigma in sigmas) == 15


def test_adjacent_ranges_share_no_level_and_leave_none_out():
    parts = [Schedule(0.5, 0, 0.0, 0.2), Schedule(0.5, 0, 0.2, 0.7), Schedule(0.5, 0, 0.7, 1.0)]
    for t in [n / 1000 for n in range(1001)]:
        assert sum(part.range.holds(t) for part in parts) == 1


def test_an_empty_range_is_never_active():
    assert not any(Schedule(1.0, start=0.3, end=0.3).range.holds(n / 100) for n in range(101))


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 20))
def test_xi_stays_below_one(t, strength, power):
    assert 0 <= Schedule(strength, power, 0, 1).xi(t) <= MAX_XI < 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"strength": 1.5}, r"strength must lie in \[0, 1\]; got 1.5"),
        ({"strength": math.nan}, "got nan"),
        ({"strength": 1, "power": -1}, "power must be finite and >= 0; got -1"),
        ({"strength": 1, "start": 0.5, "end": 0.2}, "start <= end.*got 0.5 and 0.2"),
        ({"strength": 1, "end": 30}, "fractions of the run.*got 0 and 30"),
    ],
)
def test_schedule_errors(arguments, says):
    with pytest.raises(ValueError, match=says):
        Schedule(**arguments)


def test_a_timestep_in_place_of_t_is_refused():
    with pytest.raises(ValueError, match=r"t must lie in \[0, 1\] \(timestep / 1000\); got 981"):
        SELF.xi(981)


def test_levels_match_their_definition():
    levels = NoiseLevels(ALPHAS)
    assert len(levels) == 1000
    assert levels.sigmas[[0, -1]].tolist() == pytest.approx([0.0292, 14.6146], abs=1e-4)
    assert levels.t(levels.sigmas[681]) == pytest.approx(0.681, abs=1e-6)
    assert levels.timestep(levels.sigmas[681]) == pytest.approx(681, abs=1e-3)
    assert levels.sigma(0.681) == pytest.approx(levels.sigmas[681].item(), rel=1e-6)


def test_between_levels_log_sigma_is_linear():
    levels = NoiseLevels(ALPHAS)
    middle = (levels.sigmas[300] * levels.sigmas[301]).sqrt()
    assert levels.timestep(middle) == pytest.approx(300.5, abs=1e-3)


@given(st.floats(0, 0.999))
def test_t_and_sigma_are_inverse(t):
    levels = NoiseLevels(ALPHAS)
    assert levels.t(levels.sigma(t)) == pytest.approx(t, abs=1e-9)


def test_the_ends_are_clamped():
    levels = NoiseLevels(ALPHAS)
    assert levels.t(0.0) == 0 == levels.t(1e-4)
    assert levels.t(1000.0) == 0.999
    assert levels.sigma(1.0) == pytest.approx(levels.sigmas[-1].item())


def test_one_level_for_the_whole_batch():
    levels = NoiseLevels(ALPHAS)
    assert levels.t(torch.full((8,), 2.0)) == levels.t(2.0)
    with pytest.raises(ValueError, match=r"one noise level for the whole batch; got \[1.0, 2.0\]"):
        levels.t(torch.tensor([1.0, 2.0]))


@pytest.mark.parametrize(
    ("alphas", "says"),
    [
        (torch.ones(2, 3), r"\[T\] with T >= 2; got shape \(2, 3\)"),
        ([0.9, 0.5, 0.0], "zero-terminal-SNR"),
        ([0.5, 0.9], "fall strictly"),
        ([0.9, 0.9, 0.5], "fall strictly"),
        ([1.2, 0.5], r"in \(0, 1\); got 0.5 to 1.2"),
    ],
)
def test_noise_level_errors(alphas, says):
    with pytest.raises(ValueError, match=says):
        NoiseLevels(alphas)


@pytest.mark.parametrize("sigma", [-1.0, math.inf, math.nan])
def test_sigma_must_be_finite_and_positive(sigma):
    with pytest.raises(ValueError, match="sigma must be finite and >= 0"):
        NoiseLevels(ALPHAS).t(sigma)


def test_t_must_be_a_fraction():
    with pytest.raises(ValueError, match=r"t must lie in \[0, 1\]; got 500"):
        NoiseLevels(ALPHAS).sigma(500)


@pytest.mark.parametrize(
    ("steps", "offset", "first", "last"), [(50, 1, 981, 1), (30, 1, 958, 1), (999, 1, 999, 1), (50, 0, 980, 0)]
)
def test_leading_takes_the_timesteps_of_ddim(steps, offset, first, last):
    levels = NoiseLevels(ALPHAS)
    sigmas = levels.leading(steps, offset)
    assert sigmas.dtype == torch.float32
    assert len(sigmas) == steps + 1
    assert sigmas[-1] == 0
    timesteps = [round(levels.timestep(sigma)) for sigma in sigmas[:-1]]
    assert timesteps == list(range(first, last - 1, -(1000 // steps)))
    assert all(sigma == levels.sigmas[t] for sigma, t in zip(sigmas, timesteps, strict=False))


@pytest.mark.parametrize("steps", [-1, 0, 1000, 5000])
def test_leading_refuses_steps_it_cannot_take(steps):
    with pytest.raises(ValueError, match=f"steps must lie between 1 and 999; got {steps}"):
        NoiseLevels(ALPHAS).leading(steps)
