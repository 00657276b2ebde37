"""Cosines by hand: CLIP-F, DINO consistency, CLIP-T, Q-edit."""

import numpy as np
import pytest

from videograin.measuring.metrics.embeddings import adjacent, all_pairs, q_edit, text_alignment, unit

# Directions at 0, 60 and 90 degrees, of different lengths: cosines 0.5 (0-60), cos 30 = 0.8660 (60-90), 0 (0-90).
TURNING = np.array([[2.0, 0.0], [0.5, 0.5 * 3**0.5], [0.0, 7.0]])


def test_a_clip_against_itself():
    still = np.repeat(TURNING[:1], 4, axis=0)
    assert adjacent(still) == pytest.approx(1)
    assert all_pairs(still) == pytest.approx(1)


def test_neighbours_and_all_pairs_differ_where_a_clip_drifts():
    assert adjacent(TURNING) == pytest.approx((0.5 + 0.8660254) / 2)
    assert all_pairs(TURNING) == pytest.approx((0.5 + 0.8660254 + 0) / 3)


def test_a_single_frame_has_no_neighbour():
    assert np.isnan(adjacent(TURNING[:1]))
    assert np.isnan(all_pairs(TURNING[:1]))


def test_text_alignment_is_the_mean_cosine():
    # With the direction of 0 degrees: 1, 0.5, 0.
    assert text_alignment(TURNING, np.array([3.0, 0.0])) == pytest.approx(0.5)
    with pytest.raises(ValueError, match=r"embedding is \[3\], a frame's \[2\]"):
        text_alignment(TURNING, np.ones(3))


def test_q_edit_of_the_paper():
    # The paper's table: 36.56 / 1.42 = 25.75, whatever the scale of both.
    assert round(q_edit(36.56, 1.42), 2) == 25.75
    assert q_edit(0.3656, 0.0142) == pytest.approx(q_edit(36.56, 1.42))
    assert q_edit(0.3, 0.0) == float("inf")


@pytest.mark.parametrize("wrong", [np.zeros((2, 3)), np.array([[1.0, np.nan]])])
def test_embeddings_that_are_no_direction_are_refused(wrong):
    with pytest.raises(ValueError, match="zero or not finite"):
        unit(wrong)
