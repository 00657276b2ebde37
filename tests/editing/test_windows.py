"""Windows over long clips: how they are cut, and that mixing their predictions gives back the clip."""

import math
from fractions import Fraction
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from videograin.editing.windows import ALL_AT_ONCE, Window, Windows, windowed, windows_note


@st.composite
def cuts(draw):
    frames = draw(st.integers(2, 24))
    overlap = draw(st.integers(0, frames - 1))
    anchors = draw(st.integers(0, frames - 1 - overlap))
    return Windows(frames, overlap, anchors), draw(st.integers(1, 150))


def owners(windows):
    """For every window the frames it predicts."""
    return [set(window.own) for window in windows]


@given(cuts())
def test_the_weights_of_every_frame_sum_to_one_and_are_never_negative(cut):
    windows, total = cut
    sums = [0.0] * total
    for window in windows.split(total):
        assert len(window.indices) == len(window.weights)
        for index, weight in zip(window.indices, window.weights):
            assert weight >= 0
            sums[index] += weight
    assert sums == pytest.approx([1.0] * total, abs=1e-12)


@given(cuts())
def test_no_window_is_longer_than_a_call_and_its_frames_rise(cut):
    windows, total = cut
    for window in windows.split(total):
        assert len(window.indices) <= windows.frames
        assert list(window.indices) == sorted(set(window.indices))
        assert window.indices[0] >= 0
        assert window.indices[-1] < total


@given(cuts())
def test_a_window_predicts_neighbouring_frames_and_shares_at_least_the_overlap(cut):
    windows, total = cut
    own = owners(windows.split(total))
    for frames in own:
        assert sorted(frames) == list(range(min(frames), max(frames) + 1))
    for before, after in pairwise(own):
        assert len(before & after) >= windows.overlap
        assert max(before) + 1 >= min(after)
        assert min(before) < min(after)


@given(cuts())
def test_every_window_sees_the_same_anchors_one_in_the_middle_of_every_part(cut):
    windows, total = cut
    split = windows.split(total)
    if len(split) == 1:
        return
    shared = set.intersection(*(set(window.indices) for window in split))
    parts = [Fraction(total, windows.anchors) * n for n in range(windows.anchors + 1)] if windows.anchors else []
    middles = {math.floor((low + high) / 2) for low, high in pairwise(parts)}
    assert len(middles) == windows.anchors
    assert middles <= shared
    for window in split:
        assert set(window.indices) - middles <= set(window.own)


@given(cuts())
def test_there_are_as_few_windows_as_cover_the_clip(cut):
    windows, total = cut
    count, room = len(windows.split(total)), windows.frames - windows.anchors
    if total <= windows.frames:
        assert count == 1
        return
    reach, fewest = room, 1  # lay them one after the other, each with the least overlap
    while reach < total:
        reach, fewest = reach + room - windows.overlap, fewest + 1
    assert count == fewest
    lengths = [len(frames) for frames in owners(windows.split(total))]
    assert set(lengths) == {room}


def test_one_window_is_the_whole_clip():
    assert Windows(16, 4, 2).split(16) == (Window(tuple(range(16)), (1.0,) * 16),)
    assert len(Windows(16, 4, 2).split(17)) == 2
    assert Windows(5, 0, 0).split(1) == (Window((0,), (1.0,)),)


def test_an_example_by_hand():
    first, second = Windows(5, 2, 1).split(6)  # windows of 4 frames of their own; the anchor is frame 3
    assert first.indices == (0, 1, 2, 3)
    assert second.indices == (2, 3, 4, 5)
    assert first.weights == pytest.approx((1, 1, 2 / 3, 1 / 3))
    assert second.weights == pytest.approx((1 / 3, 2 / 3, 1, 1))
    first, *_, last = Windows(5, 0, 1).split(12)
    assert first.indices == (0, 1, 2, 3, 6)
    assert (first.own, first.weights[-1]) == ((0, 1, 2, 3), 0)
    assert last.indices == (6, 8, 9, 10, 11)


@pytest.mark.parametrize("sigma", [2.0, torch.tensor(2.0), torch.full((40,), 2.0), torch.full((40,), 2.0).double()])
def test_a_denoiser_that_sees_each_frame_by_itself_is_not_changed(sigma):
    """Linear in x and unlike in every frame, so that mixed-up frames or weights would show."""
    x = torch.randn(40, 4, 3, 5, generator=torch.Generator().manual_seed(0))
    gain = torch.linspace(-2, 2, 40)[:, None, None, None]
    calls = []

    def model(indices):
        def denoise(x, sigma, **extra):
            calls.append((len(x), sigma, extra))
            return x * gain[list(indices)] / torch.as_tensor(sigma, dtype=torch.float32).flatten()[0]

        return denoise

    split = Windows(12, 3, 2).split(40)
    denoise = windowed([(window, model(window.indices)) for window in split])
    torch.testing.assert_close(denoise(x, sigma, told=1), x * gain / 2, atol=1e-6, rtol=1e-6)
    assert [length for length, *_ in calls] == [len(window.indices) for window in split]
    assert all(extra == {"told": 1} for *_, extra in calls)
    for length, level, _ in calls:
        if isinstance(sigma, torch.Tensor) and sigma.dim():
            assert (level.shape, level.dtype) == ((length,), sigma.dtype)
        else:
            assert level is sigma


def test_anchors_that_lie_elsewhere_do_not_count():
    split = Windows(6, 2, 2).split(30)
    odd = [(window, lambda x, sigma, window=window: _wild_where_not_own(x, window)) for window in split]
    assert torch.equal(windowed(odd)(torch.zeros(30, 1, 1, 1), 1.0), torch.zeros(30, 1, 1, 1))


def _wild_where_not_own(x, window):
    out = torch.full_like(x, 1000.0)
    out[[place for place, index in enumerate(window.indices) if index in window.own]] = 0
    return out


def test_the_dtype_is_the_latents():
    parts = [(window, lambda x, sigma: x.float()) for window in Windows(4, 1, 1).split(9)]
    x = torch.ones(9, 2, 1, 1, dtype=torch.float16)
    assert windowed(parts)(x, 1.0).dtype == torch.float16


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ((1, 0, 0), "frames: 1 is not allowed; expected a whole number of 2 or more; write e.g. 16"),
        ((16, -1, 2), "overlap: -1 is not allowed; expected a whole number of 0 or more"),
        ((16, 4, 2.5), r"anchors: 2\.5 is not allowed; expected a whole number of 0 or more"),
        ((True, 0, 0), "frames: True is not allowed; expected a whole number of 2 or more"),
        ((6, 4, 2), "overlap 4 and anchors 2 leave none of 6 frames; expected overlap [+] anchors < frames"),
    ],
)
def test_numbers_that_leave_nothing_to_predict_are_an_error(numbers, message):
    with pytest.raises(ValueError, match=message):
        Windows(*numbers)


def test_wrong_calls_are_errors():
    with pytest.raises(ValueError, match="expected a clip of at least 1 frame; got 0"):
        Windows().split(0)
    with pytest.raises(ValueError, match="at least one window"):
        windowed([])
    denoise = windowed([(window, lambda x, sigma: x) for window in Windows(4, 1, 1).split(9)])
    for frames in (8, 10):
        with pytest.raises(ValueError, match=rf"latents of all 9 frames, \[9, C, h, w\]; got \[{frames}, 4, 2, 2\]"):
            denoise(torch.zeros(frames, 4, 2, 2), 1.0)


def test_a_trajectory_records_windows_only_where_there_are_several():
    windows = Windows(8, 3, 1)
    assert windows_note(windows, 9) == "frames 8, overlap 3, anchors 1"
    assert windows_note(windows, 8) == ALL_AT_ONCE
    assert windows_note(None, 100) == ALL_AT_ONCE
    assert Windows(8, 3, 2).note() != windows.note()
