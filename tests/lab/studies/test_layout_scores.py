"""The figures behind docs/benchmarks/layout.md, on layouts that can be judged by hand."""

import math

import numpy as np
import pytest
import torch

from videograin.lab.studies import found_layouts_page as page
from videograin.lab.studies import layout_scores as scores


def strip(*numbers):
    return np.array(numbers)[None]  # one row of cells


TRUTH = np.stack([strip(1, 1, 0, 0, 2, 2), strip(0, 1, 1, 0, 2, 2)])  # [F = 2, 1, 6]


def things(*frames):
    """Found numbers of every frame -> bool [K, F, 1, 6]."""
    labels = np.stack([strip(*frame) for frame in frames])
    return np.stack([labels == n for n in range(1, labels.max() + 1)])


def test_a_perfect_layout():
    result = scores.agree(things((2, 2, 0, 0, 1, 1), (0, 2, 2, 0, 1, 1)), TRUTH, 2)
    assert result == scores.Agreement((1, 0), (1.0, 1.0), (True, True))


def test_a_missing_thing_counts_as_zero():
    result = scores.agree(things((1, 1, 0, 0, 0, 0), (0, 1, 1, 0, 0, 0)), TRUTH, 2)
    assert result == scores.Agreement((0, -1), (1.0, 0.0), (True, False))
    assert scores.agree(np.zeros((0, 2, 1, 6), bool), TRUTH, 2).iou == (0.0, 0.0)


def test_numbers_that_are_swapped_in_one_frame_are_not_kept():
    result = scores.agree(things((1, 1, 0, 0, 2, 2), (0, 2, 2, 0, 1, 1)), TRUTH, 2)
    assert result.kept == (False, False)
    assert result.iou == pytest.approx((1 / 3, 1 / 3))


def test_frames_in_which_little_is_seen_do_not_judge_the_label():
    truth = np.stack([strip(1, 1, 1, 1)] * 3 + [strip(1, 0, 0, 0)])
    found = np.stack([strip(1, 1, 1, 1)] * 3 + [strip(0, 0, 0, 0)])
    assert scores.agree((found == 1)[None], truth, 1).kept == (True,)


def test_exact_masks_at_a_grid():
    masks = torch.zeros(2, 1, 4, 8)
    masks[0, 0, :, :3] = 1  # 3 of 4 columns of the first cell
    masks[1, 0, :, 7:] = 1  # 1 of 4 of the second
    assert scores.cells_of(masks, (1, 2)).tolist() == [[[1, 0]]]


def test_told_apart():
    assert scores.told_apart(TRUTH, TRUTH, (1, 2)) == 1
    assert scores.told_apart((TRUTH > 0).astype(int), TRUTH, (1, 2)) == 0
    mixed = np.stack([TRUTH[0], TRUTH[1] > 0])
    assert scores.told_apart(mixed, TRUTH, (1, 2)) == 0.5
    assert math.isnan(scores.told_apart(TRUTH, np.zeros_like(TRUTH), (1, 2)))


def test_named_right():
    assert scores.named_right(["red circle", ""], (0, 1), ["a red circle", "a blue square"]) == 0.5
    assert scores.named_right(["red circle"], (-1,), ["a red circle"]) == 0


def test_the_edits_loss_is_against_exact_masks():
    row = {"colour": 1.0, "object": 0.5, "leak": 0.0}
    edits = [{"kind": "x", "scores": {"exact": row, "half": row | {"colour": 0.9}}}]
    assert page.edit_summary(edits)["all"]["half"]["loss"] == pytest.approx(0.1)
    assert page.edit_summary([]) == {}
