"""Noise levels and their times, of diffusion and of flow matching."""

import math

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from videograin.attention import ActiveRange, DiffusionLevels, FlowLevels, Schedule

# Stable Diffusion's "scaled linear" betas.
ALPHAS = (1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2).cumprod(0)
SHIFTS = st.floats(0.1, 20)
BOTH = [DiffusionLevels(ALPHAS), FlowLevels(), FlowLevels(5.0)]


@pytest.mark.parametrize("levels", BOTH)
def test_both_kinds_rise_together_with_t(levels):
    ts = [n / 100 for n in range(100)]
    sigmas = [levels.sigma(t) for t in ts]
    timesteps = [levels.timestep(sigma) for sigma in sigmas]
    assert sigmas == sorted(set(sigmas))
    assert timesteps == sorted(set(timesteps))
    assert [levels.t(sigma) for sigma in sigmas] == pytest.approx(ts, abs=1e-9)


@pytest.mark.parametrize("levels", BOTH)
def test_scales_are_those_of_the_noisy_latent(levels):
    """One step of the samplers' ODE, dx = (x - x0) / sigma, leads from one noise level to the next."""
    x0, noise, sigma = torch.randn(2, 3), torch.randn(2, 3), levels.sigma(0.7)
    a, b = levels.scales(sigma)
    x = a * x0 + b * noise
    further = levels.sigma(0.71)
    c, d = levels.scales(further)
    direction = (x - x0) / sigma
    torch.testing.assert_close(x + (further - sigma) * direction, c * x0 + d * noise)


def test_flow_matching_is_its_formula():
    levels = FlowLevels(3.0)
    for t in (0.0, 0.25, 0.5, 0.9, 1.0):
        assert levels.sigma(t) == pytest.approx(3 * t / (1 + 2 * t))
    assert (levels.t(0), levels.t(1)) == (0, 1)
    assert levels.scales(0.25) == (0.75, 0.25)
    assert levels.timestep(0.25) == 250
    assert FlowLevels(3.0, timesteps=1).timestep(0.25) == 0.25


@given(st.floats(0, 1))
def test_without_a_shift_t_is_sigma(level):
    assert FlowLevels().t(level) == level == FlowLevels().sigma(level)


@given(SHIFTS, st.floats(0, 1))
@example(1 / 3, 1.0)
def test_shifted_t_and_sigma_are_inverse(shift, t):
    levels = FlowLevels(shift)
    assert 0 <= levels.sigma(t) <= 1
    assert levels.t(levels.sigma(t)) == pytest.approx(t, abs=1e-9)


@given(SHIFTS, st.floats(0.001, 0.999))
def test_a_shift_keeps_a_run_longer_among_the_noisy_levels(shift, t):
    plain, shifted = FlowLevels().sigma(t), FlowLevels(shift).sigma(t)
    assert (shifted > plain) == (shift > 1) or shifted == pytest.approx(plain)


@pytest.mark.parametrize(("shift", "active"), [(1.0, 40), (3.0, 67), (5.0, 77), (8.0, 84)])
def test_ranges_are_parts_of_the_shifted_run(shift, active):
    """sigma >= 0.6 is so many percent of the steps."""
    levels = FlowLevels(shift)
    until = 1 - levels.t(0.6)
    assert round(100 * until) == active
    held = ActiveRange(0.0, until)
    sigmas = [levels.sigma(1 - step / 1000) for step in range(1000)]
    assert [held.holds(levels.t(sigma)) for sigma in sigmas] == [sigma > 0.6 + 1e-4 for sigma in sigmas]
    assert Schedule(1.0, power=0, end=until).xi(levels.t(0.9)) > 0 == Schedule(1.0, power=0, end=until).xi(0.0)


@pytest.mark.parametrize("numbers", [(0.0,), (-1.0,), (math.inf,), (math.nan,), (1.0, 0.0)])
def test_flow_levels_refuse_impossible_numbers(numbers):
    with pytest.raises(ValueError, match="shift and timesteps must be finite and > 0; got"):
        FlowLevels(*numbers)


def test_a_diffusion_sigma_is_none_of_a_flow_model():
    assert FlowLevels().t(torch.tensor(1.0).nextafter(torch.tensor(2.0))) == 1
    with pytest.raises(ValueError, match=r"sigma of a flow model must lie in \[0, 1\]; got 14.6"):
        FlowLevels().t(14.6)
    with pytest.raises(ValueError, match=r"t must lie in \[0, 1\]; got 500"):
        FlowLevels().sigma(500)


def test_levels_match_their_definition():
    levels = DiffusionLevels(ALPHAS)
    assert len(levels) == 1000
    assert levels.sigmas[[0, -1]].tolist() == pytest.approx([0.0292, 14.6146], abs=1e-4)
    assert levels.t(levels.sigmas[681]) == pytest.approx(0.681, abs=1e-6)
    assert levels.timestep(levels.sigmas[681]) == pytest.approx(681, abs=1e-3)
    assert levels.sigma(0.681) == pytest.approx(levels.sigmas[681].item(), rel=1e-6)


def test_between_levels_log_sigma_is_linear():
    levels = DiffusionLevels(ALPHAS)
    middle = (levels.sigmas[300] * levels.sigmas[301]).sqrt()
    assert levels.timestep(middle) == pytest.approx(300.5, abs=1e-3)


@given(st.floats(0, 0.999))
def test_t_and_sigma_are_inverse(t):
    levels = DiffusionLevels(ALPHAS)
    assert levels.t(levels.sigma(t)) == pytest.approx(t, abs=1e-9)


def test_the_ends_are_clamped():
    levels = DiffusionLevels(ALPHAS)
    assert levels.t(0.0) == 0 == levels.t(1e-4)
    assert levels.t(1000.0) == 0.999
    assert levels.sigma(1.0) == pytest.approx(levels.sigmas[-1].item())


def test_one_level_for_the_whole_batch():
    levels = DiffusionLevels(ALPHAS)
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
        DiffusionLevels(alphas)


@pytest.mark.parametrize("sigma", [-1.0, math.inf, math.nan])
def test_sigma_must_be_finite_and_positive(sigma):
    with pytest.raises(ValueError, match="sigma must be finite and >= 0"):
        DiffusionLevels(ALPHAS).t(sigma)


def test_t_must_be_a_fraction():
    with pytest.raises(ValueError, match=r"t must lie in \[0, 1\]; got 500"):
        DiffusionLevels(ALPHAS).sigma(500)


@pytest.mark.parametrize(
    ("steps", "offset", "first", "last"), [(50, 1, 981, 1), (30, 1, 958, 1), (999, 1, 999, 1), (50, 0, 980, 0)]
)
def test_leading_takes_the_timesteps_of_ddim(steps, offset, first, last):
    levels = DiffusionLevels(ALPHAS)
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
        DiffusionLevels(ALPHAS).leading(steps)
