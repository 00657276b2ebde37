import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from videograin.editing.layout.soft_masks import guided, pixel_masks, soften


def cells(seed, things=3, grid=(6, 7), frames=2):
    owner = np.random.default_rng(seed).integers(0, things, (frames, *grid))
    return np.stack([owner == n for n in range(things)])


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 99), st.booleans())
def test_masks_add_up_to_one(seed, with_frames):
    given_cells = cells(seed)
    score = np.random.default_rng(seed).normal(size=given_cells.shape[1:]).astype(np.float32)
    shares = soften(given_cells, score, 0.0)
    assert np.allclose(shares.sum(0), 1)
    assert shares.min() >= 0
    assert (shares[:-1][given_cells[:-1]] >= 0.5).all()
    frames = np.random.default_rng(seed).integers(0, 255, (2, 40, 44, 3), np.uint8) if with_frames else None
    masks = pixel_masks(shares, (40, 44), frames)
    assert masks.dtype == torch.float32
    assert float((masks.sum(0) - 1).abs().max()) < 1e-4
    assert float(masks.min()) >= 0


def test_a_border_moves_to_the_edge_in_the_picture():
    """Cells of 8 pixels put the border at 24, the picture has it at 27."""
    picture = np.full((64, 64, 3), (200, 150, 100), np.uint8)
    picture[:, 27:] = (60, 90, 120)
    rough = np.zeros((2, 1, 8, 8), np.float32)
    rough[0, :, :, :3] = 1
    rough[1] = 1 - rough[0]
    exact = np.arange(64) < 27
    without, following = (pixel_masks(rough, (64, 64), frames)[0, 0].numpy() > 0.5 for frames in (None, picture[None]))
    assert (without != exact).sum() == 3 * 64
    assert (following != exact).sum() == 0


def test_a_picture_without_edges_leaves_borders_where_they_are():
    mask = np.zeros((1, 64, 64), np.float32)
    mask[0, :, :24] = 1
    masks = np.concatenate([mask, 1 - mask])
    soft = guided(masks, np.full((64, 64, 3), 128, np.uint8), 8)
    assert np.abs((soft[0] > 0.5).sum(1) - 24).max() <= 1
    assert soft[0, 32, 20:28].tolist() == sorted(soft[0, 32, 20:28], reverse=True)


def test_a_hidden_thing_stays_hidden_and_sizes_may_differ():
    given_cells = np.zeros((2, 2, 4, 4), bool)
    given_cells[0, 0, 1:3, 1:3] = True
    given_cells[1] = ~given_cells[0]
    frames = np.full((2, 100, 90, 3), 200, np.uint8)
    frames[:, 25:75, 22:68] = 50
    masks = pixel_masks(given_cells.astype(np.float32), (30, 50), frames)
    assert masks.shape == (2, 2, 30, 50)
    assert float(masks[0, 1].max()) == 0
    assert float(masks[0, 0].max()) > 0.5


@pytest.mark.parametrize("size", [(4, 4), (3, 5), (64, 16)])
def test_any_size(size):
    masks = pixel_masks(cells(1, grid=(4, 4)).astype(np.float32), size, np.zeros((2, 8, 8, 3), np.uint8))
    assert masks.shape == (3, 2, *size)
    assert float((masks.sum(0) - 1).abs().max()) < 1e-4


def test_a_thing_reaches_a_cell_and_its_diagonal_beyond_its_own_and_no_further():
    given_cells = np.zeros((2, 1, 9, 9), bool)
    given_cells[0, 0, 4, 4] = True
    given_cells[1] = ~given_cells[0]
    score = np.full((1, 9, 9), -0.1, np.float32)
    score[0, 4, 4] = 1
    reached = soften(given_cells, score, 0.0)[0, 0] > 0
    assert reached[3:6, 3:6].all()
    assert reached.sum() == 9


@pytest.mark.parametrize("turned", [False, True])
def test_cells_that_are_larger_than_pixels_to_one_side_alone_follow_the_picture_too(turned):
    """Cells of 1 x 4 pixels put the border at 8, the picture has it at 10."""
    rough = np.zeros((2, 1, 16, 4), np.float32)
    rough[0, :, :, :2] = 1
    rough[1] = 1 - rough[0]
    picture = np.full((16, 16, 3), (200, 150, 100), np.uint8)
    picture[:, 10:] = (60, 90, 120)
    if turned:
        rough, picture = rough.transpose(0, 1, 3, 2), picture.transpose(1, 0, 2)
    found = pixel_masks(rough, (16, 16), picture[None])[0, 0].numpy() > 0.5
    exact = np.tile(np.arange(16) < 10, (16, 1))
    assert np.array_equal(found, exact.T if turned else exact)
