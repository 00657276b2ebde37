"""Which masks fit frames: any scale of their shape, and none that would be squeezed."""

import pytest
import torch

from videograin.editing.mask_shapes import check_shape, sized_mask


def diagonal(height, width):
    mask = torch.zeros(2, height, width)
    mask[:, 0, 0] = 1
    return mask


@pytest.mark.parametrize("size", [(64, 64), (128, 128), (8, 8), (7, 8), (63, 64)])
def test_masks_of_the_frames_shape_are_scaled(size):
    assert sized_mask(diagonal(*size), (64, 64), 2, "region 1").shape == (2, 64, 64)


@pytest.mark.parametrize("size", [(72, 128), (48, 64), (128, 72), (40, 64)])
def test_masks_of_another_shape_are_refused_with_both_sizes(size):
    with pytest.raises(ValueError, match=f"mask of region 1 is {size[1]} x {size[0]} pixels, the frames are 64 x 64"):
        sized_mask(diagonal(*size), (64, 64), 2, "region 1")


def test_what_a_vae_leaves_out_of_a_side_is_no_other_shape():
    check_shape(diagonal(910, 512), (113, 64), "region 1", cells=True)
    check_shape(diagonal(1920, 1080), (904, 512), "region 1")  # frames scaled to whole cells
    with pytest.raises(ValueError, match="the frames are 512 x 904"):
        check_shape(diagonal(930, 512), (113, 64), "region 1", cells=True)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_mask_of_one_value_has_no_shape(value):
    assert (sized_mask(torch.full((1, 64, 64), value), (36, 64), 2, "region 1") == value).all()
