"""When frames are shown: time stamps, rates that files tell, and what is done where they do not agree."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from videograin.runner.media.timing import Timing, timing_of


def test_a_file_that_tells_nothing_is_taken_for_25_frames_a_second():
    timing = timing_of([None] * 4, 0, [None, Fraction(0), Fraction(1, 3600), Fraction(90_000)])
    assert (timing.fps, timing.begin, timing.times) == (25, 0, None)
    assert timing.notes == ("the video tells neither time stamps nor a rate: 25 frames per second are taken",)


def test_without_time_stamps_the_rate_told_is_taken():
    assert timing_of([None] * 4, 0, [Fraction(30000, 1001)]).fps == Fraction(30000, 1001)
    assert timing_of([0.0, None, 0.08], 0, [Fraction(12)]).fps == 12


@pytest.mark.parametrize("stamps", [[0, 0.1, 0.1, 0.3], [0, 0.2, 0.1, 0.3], [0, 0.1, 5000, 5000.1]])
def test_broken_time_stamps_give_way_to_the_rate_told(stamps):
    timing = timing_of(stamps, 0.1, [Fraction(10)])
    assert (timing.fps, timing.times) == (10, None)
    assert timing.notes == ("the video's time stamps are broken: 10 frames per second are taken instead",)


def test_time_stamps_in_milliseconds_are_of_the_exact_rate():
    for rate in (Fraction(24000, 1001), Fraction(30000, 1001), Fraction(60), Fraction(240)):
        stamps = [round(float(index / rate), 3) for index in range(500)]
        timing = timing_of(stamps, float(1 / rate), [rate])
        assert (timing.fps, timing.times, timing.notes) == (rate, None, ())


def test_a_dropped_frame_is_a_rate_that_varies():
    stamps = [0.0, 0.1, 0.2, 0.3, 0.5, 0.6, 0.7, 0.8]
    timing = timing_of(stamps, 0.1, [Fraction(10), Fraction(80, 9)])
    assert timing.times == pytest.approx((*stamps, 0.9))


@given(st.lists(st.floats(0.001, 5), min_size=1, max_size=40), st.floats(0, 5), st.floats(-10, 10), st.integers(1, 5))
def test_a_clip_lasts_as_long_as_its_frames_in_the_file(steps, last, begin, stride):
    stamps = [begin]
    for step in steps:
        stamps.append(stamps[-1] + step)
    timing = timing_of(stamps, last, [Fraction(24)])
    end = timing.begin + timing.seconds(len(stamps))
    assert abs(end - stamps[-1]) <= max(last, max(steps)) * 2.001 + 0.01
    count = -(-len(stamps) // stride)
    part = timing.part(0, count, stride)
    if timing.times is not None:
        assert part.times[0] == begin
        assert part.times[-1] == pytest.approx(end)
        assert all(a < b for a, b in zip(part.times, part.times[1:]))


def test_a_last_frame_of_no_length_lasts_as_long_as_most():
    stamps = [0.0, 0.1, 0.2, 0.3, 0.7, 1.2]
    assert timing_of(stamps, 0, [Fraction(10)]).times == pytest.approx((*stamps, 1.3))


def test_one_frame_lasts_as_long_as_its_rate_says():
    assert timing_of([0.5], 0, [Fraction(10)]) == Timing(Fraction(10), 0.5)
    assert timing_of([0.5], 0, []).fps == 25
