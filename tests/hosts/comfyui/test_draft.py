"""A draft: four frames of the whole clip at half its size, and the same regions in them."""

import pytest
import torch

from videograin.editing.regions import Region
from videograin.hosts.comfyui.draft import draft_clip


def clip(frames, height=32, width=48):
    """Every frame of one grey value, its number / 100."""
    return (torch.arange(frames).float() / 100)[:, None, None, None].expand(frames, height, width, 3).contiguous()


def cut(images, regions):
    return draft_clip(images, regions, cell=8, node="Region Edit")


@pytest.mark.parametrize(("frames", "chosen"), [(1, [0]), (3, [0, 1, 2]), (4, [0, 1, 2, 3]), (7, [0, 2, 4, 6])])
def test_frames_are_spread_from_the_first_to_the_last(frames, chosen):
    mask = torch.zeros(frames, 32, 48)
    for frame in range(frames):
        mask[frame, :, : 4 * (frame + 1)] = 1
    still = Region("still", torch.ones(32, 48), preserve=True, strength=0.5)
    images, regions = cut(clip(frames), (Region("moving", mask), still))
    assert images.shape == (len(chosen), 16, 24, 3)
    torch.testing.assert_close(images[:, 0, 0, 0], torch.tensor(chosen) / 100)
    assert regions[0].mask.sum((1, 2)).tolist() == [16 * 2 * (frame + 1) for frame in chosen]
    assert (regions[1].phrase, regions[1].preserve, regions[1].strength) == ("still", True, 0.5)
    assert regions[1].mask.shape == (len(chosen), 16, 24)


def test_sides_are_whole_cells_and_masks_go_with_them():
    mask = torch.zeros(64, 128)
    mask[:, :64] = 1
    images, (region,) = cut(clip(5, 40, 72), (Region("left", mask[:, :115]),))
    assert images.shape[1:3] == (16, 32)
    assert region.mask.shape == (4, 16, 32)
    assert cut(clip(2, 8, 8), ())[0].shape == (2, 8, 8, 3)


def test_alpha_is_dropped_and_wrong_masks_are_refused():
    assert cut(torch.rand(2, 16, 16, 4), ())[0].shape == (2, 8, 8, 3)
    with pytest.raises(ValueError, match=r"region 1 \(thing\)"):
        cut(clip(3), (Region("thing", torch.ones(2, 32, 48)),))
