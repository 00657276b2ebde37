"""The figures of the report, on pixels whose answer is known."""

import math

import numpy as np
import pytest
import torch

from videograin.measuring.metrics import pixels


def clip(value: int = 100) -> np.ndarray:
    return np.full((2, 64, 96, 3), value, np.uint8)


def test_outside_the_blend_counts_from_the_grown_latent_cells():
    mask = torch.zeros(2, 8, 12)
    mask[:, 2, 3] = 0.01  # a soft cell may have changed too: rows 16..23, columns 24..31
    edited = clip()
    edited[:, 16:24, 24 : 32 + 16] = 0  # in the cell and up to 16 px right of it
    assert pixels.psnr_outside_blend(edited, clip(), mask) == math.inf
    assert pixels.psnr_outside_blend(edited, clip(), mask, dilate=15) < 40
    edited[1, 20, 48] = 90  # the first pixel beyond, one of many
    outside = ~pixels.dilated(mask.numpy().repeat(8, 1).repeat(8, 2) > 0, 16)
    expected = 10 * math.log10(255**2 / (100 / outside.sum()))
    assert pixels.psnr_outside_blend(edited, clip(), mask) == pytest.approx(expected)


def test_outside_the_blend_is_nan_where_everything_is_inside():
    assert math.isnan(pixels.psnr_outside_blend(clip(0), clip(), np.ones((2, 8, 12), np.float32)))


@pytest.mark.parametrize("shape", [(8, 12), (1, 8, 12), (2, 7, 12)])
def test_a_blend_mask_of_another_clip_is_refused(shape):
    with pytest.raises(ValueError, match=r"does not tile frames of \[2, 64, 96, 3\]"):
        pixels.psnr_outside_blend(clip(), clip(), np.ones(shape, np.float32))
