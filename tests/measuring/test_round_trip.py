"""The verdict on a round trip."""

import math

import numpy as np
import pytest

from videograin.measuring.round_trip import CALM, GOOD_DB, POOR_DB, WILD, decibels, frame_psnr, judge


def test_a_good_one_needs_no_advice():
    verdict = judge([50, 48, math.inf], 0.99)
    assert (verdict.ok, verdict.advice) == (True, "")
    assert (verdict.lowest, verdict.worst, verdict.mean) == (48, 1, 49)
    said = "round trip good: 49.0 dB on average, lowest 48.0 dB in frame 1; std of the noise 0.990 (ideally 1)."
    assert verdict.text == said


@pytest.mark.parametrize(
    ("psnr", "std", "said"),
    [
        ([50, GOOD_DB - 0.1], 1.0, "Frame 1 comes back with losses: invert with method warm or fixed_point"),
        ([POOR_DB - 0.1, 50], 1.0, "Frame 0 does not come back at all: check that the source prompt"),
        ([50], CALM - 0.01, "too little noise"),
        ([50], WILD + 0.01, "too much noise"),
        ([50, math.nan], 1.0, "numbers that are none"),
        ([50], math.nan, "numbers that are none"),
    ],
)
def test_poor_ones_say_what_to_try(psnr, std, said):
    verdict = judge(psnr, std)
    assert not verdict.ok
    assert said in verdict.advice
    assert verdict.text.startswith("round trip poor")
    assert verdict.text.endswith(verdict.advice)


def test_both_figures_can_be_poor():
    advice = judge([30], 0.3).advice
    assert "losses" in advice
    assert "too little noise" in advice


def test_the_borders_are_good():
    assert judge([GOOD_DB], CALM).ok
    assert judge([GOOD_DB], WILD).ok


@pytest.mark.parametrize(("std", "said"), [(0.62, "calmer"), (1.2, "wilder")])
def test_unusual_noise_is_worth_a_remark(std, said):
    verdict = judge([50], std)
    assert verdict.ok
    assert f"The noise is {said} than a model is used to" in verdict.advice
    assert verdict.text.startswith("round trip good")


def test_frames_that_are_equal():
    verdict = judge([math.inf, math.inf], 1.0)
    assert verdict.ok
    assert verdict.mean == verdict.lowest == math.inf
    assert "identical on average" in verdict.text


def test_no_frame():
    with pytest.raises(ValueError, match="at least one frame"):
        judge([], 1.0)


def test_psnr_of_every_frame():
    one = np.zeros((3, 4, 4, 3), np.uint8)
    other = one.copy()
    other[1] += 1
    other[2, 0, 0, 0] = 255
    got = frame_psnr(one, other)
    assert got == [math.inf, pytest.approx(20 * math.log10(255)), pytest.approx(10 * math.log10(48))]
    with pytest.raises(ValueError, match="clips of one shape"):
        frame_psnr(one, other[:2])


def test_decibels():
    assert [decibels(value) for value in (41.26, math.inf, math.nan)] == ["41.3 dB", "identical", "no number"]
