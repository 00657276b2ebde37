"""Changed masks differ from the exact ones by what their names say."""

import numpy as np
import pytest
import torch

from videograin.lab.bench.mask_damage import CHANGES, changed_masks


def disc(radius: float, centre=(30, 34), side=64, frames=10) -> torch.Tensor:
    y, x = np.mgrid[:side, :side]
    one = (x - centre[0]) ** 2 + (y - centre[1]) ** 2 <= radius**2
    return torch.from_numpy(one).float().expand(frames, side, side).clone()


def test_exact_masks_stay_themselves():
    masks = [disc(9), disc(5)]
    assert all(a is b for a, b in zip(changed_masks(masks, "exact"), masks))


def test_boxes_are_the_tightest():
    (box,) = changed_masks([disc(9)], "boxes")
    expected = torch.zeros(64, 64)
    expected[25:44, 21:40] = 1
    assert torch.equal(box[0], expected)


@pytest.mark.parametrize(("change", "radius"), [("grow", 17), ("shrink", 4)])
def test_the_border_moves_by_eight_pixels(change, radius):
    start = 9 if change == "grow" else 12
    (mask,) = changed_masks([disc(start)], change)
    wrong = (mask[0] != disc(radius)[0]).sum()
    assert wrong <= 0.1 * disc(radius)[0].sum() + 8


def test_a_small_region_does_not_vanish():
    (mask,) = changed_masks([disc(4)], "shrink")
    assert 0 < mask[0].sum() < disc(4)[0].sum() / 2
    assert not (mask > disc(4)).any()


def test_a_fifth_of_the_frames_is_dropped_of_all_regions_at_once():
    one, other = changed_masks([disc(9), disc(5)], "drop", seed=4)
    empty = one.flatten(1).sum(1) == 0
    assert int(empty.sum()) == 2
    assert torch.equal(empty, other.flatten(1).sum(1) == 0)
    assert torch.equal(one[~empty], disc(9)[~empty])
    short = changed_masks([disc(9, frames=2)], "drop")[0]
    assert int((short.flatten(1).sum(1) == 0).sum()) == 1


def test_holes_take_a_fifth_and_differ_by_frame_and_seed():
    exact = disc(14)
    (mask,) = changed_masks([exact], "holes", seed=1)
    assert not (mask > exact).any()
    share = (mask.flatten(1).sum(1) / exact.flatten(1).sum(1)).numpy()
    assert ((share > 0.7) & (share <= 0.8)).all()
    assert not torch.equal(mask[0], mask[1])
    assert torch.equal(mask, changed_masks([exact], "holes", seed=1)[0])
    assert not torch.equal(mask, changed_masks([exact], "holes", seed=2)[0])


@pytest.mark.parametrize("change", list(CHANGES))
def test_backgrounds_and_empty_frames_stay(change):
    full, gone = torch.ones(4, 32, 32), torch.zeros(4, 32, 32)
    one, other = changed_masks([full, gone], change)
    assert torch.equal(one, full)
    assert torch.equal(other, gone)


def test_an_unknown_change_is_refused():
    with pytest.raises(ValueError, match="'blur' does not exist"):
        changed_masks([disc(5)], "blur")


def test_shaking_masks_move_and_breathe():
    exact = disc(12)
    (mask,) = changed_masks([exact], "shake", seed=1)
    areas, middles = mask.sum((1, 2)), [frame.nonzero().float().mean(0) for frame in mask]
    assert areas.std() > 20
    apart = torch.stack(middles) - exact[0].nonzero().float().mean(0)
    assert 0.5 < apart.abs().max() < 3
