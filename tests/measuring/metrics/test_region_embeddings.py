"""Regions cut out and told apart: every value by hand."""

import math

import numpy as np
import pytest

from videograin.measuring.metrics.embeddings import (
    cut_out,
    cut_outs,
    different_prompts,
    instance_accuracy,
    leakage,
    region_alignment,
    seen_regions,
    similarities,
)


def box(y0, y1, x0, x1, side=20, frames=1) -> np.ndarray:
    mask = np.zeros((frames, side, side), np.float32)
    mask[:, y0:y1, x0:x1] = 1
    return mask


def test_later_regions_hide_earlier_ones():
    man, glasses = seen_regions([box(0, 10, 0, 10), box(2, 4, 2, 12)])
    assert man.sum() == 100 - 16  # of the glasses' 2 x 10 pixels 2 x 8 lie on the man
    assert glasses.sum() == 20


def test_a_cut_out_is_a_square_with_the_rest_filled():
    frame = np.arange(20 * 20 * 3, dtype=np.int64).reshape(20, 20, 3).astype(np.uint8)
    inside = box(2, 12, 5, 9)[0] > 0
    inside[11, 8] = False  # not the region, though in its box
    square = cut_out(frame, inside, (1, 2, 3), least=8)
    assert square.shape == (10, 10, 3)  # 10 high, 4 wide: 3 columns of fill on either side
    assert (square[:, :3] == (1, 2, 3)).all()
    assert (square[:, 7:] == (1, 2, 3)).all()
    assert (square[9, 6] == (1, 2, 3)).all()
    assert (square[:9, 3:7] == frame[2:11, 5:9]).all()
    assert cut_out(frame, inside, (0, 0, 0), least=40) is None
    assert cut_out(frame, np.zeros((20, 20), bool), (0, 0, 0), least=0) is None


def test_regions_that_cannot_be_seen_are_left_out():
    masks = [box(0, 10, 0, 10, frames=2), box(0, 20, 10, 20, frames=2)]
    masks[0][1] = 0
    frames = np.zeros((2, 20, 20, 3), np.uint8)
    pictures, places = cut_outs(frames, masks, (9, 9, 9))
    assert places.tolist() == [[0, 0], [0, 1], [1, 1]]
    assert [picture.shape for picture in pictures] == [(10, 10, 3), (20, 20, 3), (20, 20, 3)]
    assert cut_outs(frames, [0 * masks[0]], (9, 9, 9))[1].shape == (0, 2)


# Three cut-outs against two prompts: the first is right by far, the second is wrong, the third is a tie.
COSINES = np.array([[1.0, 0.0], [0.6, 0.2], [0.5, 0.5]])
OWNERS = np.array([0, 1, 0])


def test_alignment_and_accuracy():
    assert region_alignment(COSINES, OWNERS) == pytest.approx((1.0 + 0.2 + 0.5) / 3)
    assert instance_accuracy(COSINES, OWNERS, ["a", "b"]) == pytest.approx(1 / 3)  # a tie is no success
    assert math.isnan(instance_accuracy(COSINES[:0], OWNERS[:0], ["a", "b"]))
    assert math.isnan(instance_accuracy(COSINES, OWNERS, ["a", "a"]))
    assert math.isnan(region_alignment(COSINES[:0], OWNERS[:0]))


def test_leakage_is_the_softmax_share_of_the_others():
    scale = math.log(3) / 0.2
    # Differences 1.0, 0.4 and 0 times the scale: 3^5, 3^2, 1. Shares of the other: 1 / 244, 9 / 10, 1 / 2.
    expected = (1 / 244 + 0.9 + 0.5) / 3
    assert leakage(COSINES, OWNERS, ["a", "b"], scale) == pytest.approx(expected)
    assert math.isnan(leakage(COSINES, OWNERS, ["a", "a"], scale))
    assert math.isnan(leakage(COSINES[:0], OWNERS[:0], ["a", "b"], scale))


def test_regions_with_the_same_words_are_no_rivals():
    cosines = np.array([[0.3, 0.4, 0.1]])
    assert instance_accuracy(cosines, np.array([0]), ["cat", "cat", "dog"]) == 1
    assert instance_accuracy(cosines, np.array([0]), ["cat", "dog", "dog"]) == 0


def test_regions_with_the_same_words_do_not_leak_into_each_other():
    cosines = np.array([[0.3, 0.3, 0.3]])
    # One of two equal shares belongs to other words, however often either of them is repeated.
    for phrases in (["cat", "cat", "dog"], ["cat", "Cat", "dog"], ["cat", "dog", "dog"]):
        assert leakage(cosines, np.array([0]), phrases, 100) == pytest.approx(1 / 2)
    # 1 : 3 for the dog, seen from the second cat and from the dog
    cosines = np.array([[0.1, 0.1, 0.1 + math.log(3) / 10]])
    assert leakage(cosines, np.array([1]), ["cat", "cat", "dog"], 10) == pytest.approx(3 / 4)
    assert leakage(cosines, np.array([2]), ["cat", "cat", "dog"], 10) == pytest.approx(1 / 4)


def test_case_is_no_difference_between_prompts():
    assert different_prompts(["a Cat", "a cat", "a dog"]) == 2
    assert different_prompts([]) == 0
    cosines = np.array([[0.4, 0.4, 0.1]])
    assert instance_accuracy(cosines, np.array([0]), ["a Cat", "a cat", "a dog"]) == 1


def test_similarities_are_cosines():
    found = similarities(np.array([[3.0, 4.0]]), np.array([[2.0, 0.0], [0.0, 0.1]]))
    assert found == pytest.approx(np.array([[0.6, 0.8]]))
