"""xi(t) and the noise levels, as functions of the noise level alone."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from videograin.attention import CROSS, MAX_XI, SELF, DiffusionLevels, Schedule

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
    levels = DiffusionLevels(ALPHAS)
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
