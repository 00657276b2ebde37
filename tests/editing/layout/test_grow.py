"""Masks grown and shrunk by pixels."""

import numpy as np
import pytest
import torch

from videograin.editing.layout.grow import grow_mask


def disc(radius, side=101):
    y, x = np.mgrid[:side, :side] - side // 2
    return torch.from_numpy((np.hypot(y, x) <= radius).astype(np.float32))[None]


@pytest.mark.parametrize("pixels", [-9, -1, 1, 6, 20])
def test_a_disc_becomes_a_larger_or_smaller_disc(pixels):
    found = grow_mask(disc(20), pixels)
    wanted = disc(20 + pixels)
    assert (found.dtype, found.shape) == (torch.float32, (1, 101, 101))
    assert 0 <= found.min() <= found.max() <= 1
    off = ((found > 0.5) != wanted.bool()).float().sum() / wanted.sum()
    assert off < 0.12 if pixels > -9 else off < 0.2  # a border of one pixel
    assert (found > 0.5).sum() == pytest.approx(float(wanted.sum()), rel=0.15)


def test_nothing_changes_at_0_and_empty_or_full_frames_stay():
    soft = torch.rand(2, 8, 9)
    assert torch.equal(grow_mask(soft, 0), soft)
    for value in (0.0, 1.0):
        flat = torch.full((1, 8, 9), value)
        assert torch.equal(grow_mask(flat, 3), flat)
        assert torch.equal(grow_mask(flat, -3), flat)


def test_growing_keeps_every_value_and_shrinking_adds_none():
    soft = torch.nn.functional.avg_pool2d(disc(15), 7, 1, 3)
    assert bool((grow_mask(soft, 4) >= soft).all())
    assert bool((grow_mask(soft, -4) <= soft).all())


def test_a_mask_at_the_edge_shrinks_from_inside_alone():
    half = torch.zeros(1, 20, 20)
    half[:, :, :10] = 1
    small = grow_mask(half, -3) > 0.5
    assert bool(small[:, :, :7].all())
    assert not bool(small[:, :, 7:].any())
