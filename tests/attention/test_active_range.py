import pytest
from hypothesis import given
from hypothesis import strategies as st

from videograin.attention import ActiveRange, RangeError
from videograin.attention.active_range import EDGE

FRACTIONS = st.integers(0, 1000).map(lambda n: n / 1000)


@given(FRACTIONS, FRACTIONS, FRACTIONS)
def test_the_rule_literally(start, end, done):
    """start <= 1 - t < end, end = 1 closed, for levels as training has them: multiples of a thousandth."""
    if start > end:
        start, end = end, start
    assert ActiveRange(start, end).holds(1 - done) == (start <= done < end or (end == 1 and done >= start))


@given(st.floats(0, 1), st.floats(0, 1), FRACTIONS)
def test_ranges_that_meet_share_no_level_and_leave_none_out(one, other, done):
    low, high = sorted((one, other))
    parts = [ActiveRange(0, low), ActiveRange(low, high), ActiveRange(high, 1)]
    inside = sum(part.holds(1 - done) for part in parts)
    # Nothing lies below a range that begins within a rounding of the run's end: all that end there hold it.
    assert inside == 1 or (high > 1 - EDGE and inside in (2, 3))


def test_a_level_that_float32_has_moved_stays_in_its_range():
    part = ActiveRange(0.25, 0.5)
    for done, inside in ((0.25, True), (0.5, False)):
        for moved in (-EDGE / 2, 0, EDGE / 2):
            assert part.holds(1 - done + moved) == inside


@pytest.mark.parametrize(("start", "end"), [(-0.1, 1), (0.6, 0.5), (0, 1.1), (float("nan"), 1)])
def test_what_is_no_range(start, end):
    with pytest.raises(RangeError, match=r"expected 0 <= from_percent <= to_percent <= 1.*got"):
        ActiveRange(start, end, ("from_percent", "to_percent"))


def test_an_empty_range():
    empty = ActiveRange(0.3, 0.3)
    assert not any(empty.holds(n / 100) for n in range(101))
    with pytest.raises(RangeError, match=r"start < end .*got 0\.3 twice"):
        empty.not_empty()
    assert ActiveRange(0.3, 0.4).not_empty() == ActiveRange(0.3, 0.4, ("a", "b"))


def test_a_run_without_a_step_inside():
    part = ActiveRange(0.3, 0.31)
    part.check_steps([0.9, 0.695])
    with pytest.raises(
        RangeError, match=r"none of the 5 steps .*start 0\.3 and end 0\.31 .*0\.050, 0\.250, 0\.500, 0\.600, "
    ):
        part.check_steps([0.95, 0.75, 0.5, 0.4, 0.1])


def test_a_timestep_is_no_level():
    with pytest.raises(RangeError, match=r"got 981"):
        ActiveRange().holds(981)
