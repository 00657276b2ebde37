"""Label images and stacked batches: what becomes which region, and mistakes are named with their numbers."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from videograin.editing.mask_images import COLOURS, mask_of_picture, masks_from_colours, masks_from_stack

RED, GREEN, BLACK = (255, 0, 0), (0, 128, 7), (0, 0, 0)


def pictures(*frames):
    """Rows of colours (0..255) as an IMAGE [F, H, W, 3]."""
    return torch.tensor(frames, dtype=torch.float32) / 255


def test_colours_come_in_order_of_first_appearance_and_black_is_no_region():
    images = pictures(
        [[BLACK, GREEN, BLACK], [BLACK, BLACK, BLACK]],
        [[RED, GREEN, BLACK], [BLACK, RED, (0, 0, 1)]],
    )
    found = masks_from_colours(images)
    assert [colour for colour, _ in found] == [GREEN, RED, (0, 0, 1)]
    assert found[0][1].tolist() == [[[0, 1, 0], [0, 0, 0]], [[0, 1, 0], [0, 0, 0]]]
    assert found[1][1].tolist() == [[[0, 0, 0], [0, 0, 0]], [[1, 0, 0], [0, 1, 0]]]
    assert all(mask.dtype == torch.float32 for _, mask in found)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=60).filter(any), st.integers(1, 4))
def test_masks_part_the_picture(values, width):
    values = values[: len(values) // width * width] or values * width
    labels = torch.tensor(values).reshape(1, -1, width)
    found = masks_from_colours(labels / 255) if labels.any() else []
    order = list(dict.fromkeys(value for value in labels.flatten().tolist() if value))
    assert [colour for colour, _ in found] == [(value, value, value) for value in order]
    for value, (_, mask) in zip(order, found):
        assert torch.equal(mask.bool(), labels == value)


def test_alpha_is_ignored():
    images = pictures([[RED, BLACK]])
    alpha = torch.cat([images, torch.rand(1, 1, 2, 1)], -1)
    assert [colour for colour, _ in masks_from_colours(alpha)] == [RED]


def test_up_to_32_colours_and_no_more():
    ramp = torch.arange(33).float().reshape(1, 1, 33) / 255
    assert len(masks_from_colours(ramp)) == 32
    with pytest.raises(ValueError, match=r"have 33 colours besides black; expected at most 32.*lossy .*anti-aliased"):
        masks_from_colours((torch.arange(33).float().reshape(1, 1, 33) + 1) / 255)


def test_black_pictures_and_other_shapes_are_refused():
    with pytest.raises(ValueError, match="black all over"):
        masks_from_colours(torch.zeros(2, 4, 4, 3))
    with pytest.raises(ValueError, match=r"got \(2, 4, 4, 2\)"):
        masks_from_colours(torch.ones(2, 4, 4, 2))


def test_a_stack_is_cut_region_by_region():
    stack = torch.arange(6).reshape(6, 1, 1).expand(6, 2, 3)
    first, second = masks_from_stack(stack, 2)
    assert first[:, 0, 0].tolist() == [0, 1, 2]
    assert second[:, 0, 0].tolist() == [3, 4, 5]
    with pytest.raises(ValueError, match="has 6 masks, which do not divide by 4 regions"):
        masks_from_stack(stack, 4)


def test_grey_pictures_are_masks_and_coloured_ones_are_not():
    grey = torch.tensor([0.0, 0.25, 1.0]).reshape(1, 1, 3, 1)
    assert torch.allclose(mask_of_picture(grey.expand(1, 1, 3, 3)), grey[..., 0])
    noisy = grey.expand(1, 1, 3, 3) + torch.tensor([0.0, 0.03, -0.02])
    assert (mask_of_picture(noisy) - grey[..., 0]).abs().max() < 0.01
    with pytest.raises(ValueError, match=r"channels differ by up to 1.00.*arrangement colours"):
        mask_of_picture(pictures([[RED, BLACK]]))


def test_regions_are_painted_in_colours_that_differ():
    assert len(set(COLOURS)) == len(COLOURS)
    assert all(0 <= value <= 255 for colour in COLOURS for value in colour)
