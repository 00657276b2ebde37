"""Several things in one region move each by itself."""

import numpy as np
import pytest
import torch

from videograin.editing.motion import motion_file
from videograin.editing.motion.clip_motion import clip_motion
from videograin.editing.motion.parts import divided, joined
from videograin.editing.motion.value import from_transforms

FRAMES = 4


def ground(height, width):
    """A smooth background with something to see everywhere, uint8 [height, width, 3]."""
    y, x = np.mgrid[:height, :width] / height * 128
    waves = (np.sin(x / 9), np.sin(y / 7 + 1), np.sin((x + y) / 11))
    return np.stack([110 + 30 * wave for wave in waves], -1).astype(np.uint8)


def clip(size=(96, 128), unit=1, paths=((8, 20, 6, 0), (90, 55, -5, 2))):
    """(frames, masks of the things [P, F, H, W]): red squares of 22 pixels; paths: left, top, speed right, down."""
    height, width = (side * unit for side in size)
    frames = np.repeat(ground(height, width)[None], FRAMES, 0)
    masks = torch.zeros(len(paths), FRAMES, height, width)
    for p, (left, top, right, down) in enumerate(paths):
        for f in range(FRAMES):
            x, y = (left + right * f) * unit, (top + down * f) * unit
            place = np.s_[f, y : y + 22 * unit, x : x + 22 * unit]
            frames[place] = (200, 40, 40)
            masks[p][place] = 1
    return frames, masks


def one_region(masks):
    return masks.amax(0)[None]


def test_pieces_that_keep_apart_are_things_under_one_number_in_all_frames():
    _, masks = clip()
    things = divided(one_region(masks), 0)
    assert things.shape == masks.shape
    assert {tuple(thing.flatten().tolist()) for thing in things} == {tuple(mask.flatten().tolist()) for mask in masks}


def test_things_that_touch_are_told_apart_without_their_rims():
    _, masks = clip(paths=((20, 20, 6, 0), (40, 40, 6, 1)))  # they share a corner of 2 x 2 pixels, then 2 x 1
    assert ((masks.sum(0) > 1).sum((1, 2)) > 0).any()
    things = divided(one_region(masks), 0)
    assert len(things) == 2
    assert things.sum(0).equal(one_region(masks)[0])
    alike = [max(float((thing * mask).sum() / mask.sum()) for mask in masks) for thing in things]
    assert min(alike) > 0.98


def test_pieces_that_run_into_one_are_one_thing():
    _, masks = clip(paths=((8, 20, 10, 0), (70, 20, -10, 0)))
    assert divided(one_region(masks), 0) is None
    assert divided(masks[:1], 0) is None
    assert divided(torch.zeros(1, FRAMES, 8, 8), 0) is None


def test_a_thing_that_another_region_crosses_is_one_thing():
    whole = torch.zeros(FRAMES, 60, 90)
    whole[:, 20:40, 10:80] = 1
    bar = torch.zeros_like(whole)
    bar[:, 5:55, 40:48] = 1
    seen = whole * (1 - bar)
    assert divided(torch.stack([seen]), 0) is not None  # without the bar these are two
    assert divided(torch.stack([seen, bar]), 0) is None


def test_crumbs_belong_to_the_thing_beside_them():
    _, masks = clip()
    region = one_region(masks)
    region[0, 1, 20:23, 40:43] = 1
    things = divided(region, 0)
    assert len(things) == 2
    assert (things.sum(0) == region[0]).all()
    nearer = things[int(things[0, 1, 30, 20] == 0)]  # the thing on the left
    assert nearer[1, 20:23, 40:43].all()


def test_frames_without_a_mask_say_nothing():
    _, masks = clip()
    masks[:, 2] = 0
    things = divided(one_region(masks), 0)
    assert len(things) == 2
    assert not things[:, 2].any()


@pytest.mark.parametrize("unit", [1, 2])
def test_each_thing_s_places_move_as_the_thing_does(unit):
    frames, masks = clip(unit=unit)
    motion = clip_motion(frames, list(one_region(masks)))
    (region,) = motion.regions
    assert region.form == "parts"
    for p, (_, _, right, down) in enumerate(((8, 20, 6, 0), (90, 55, -5, 2))):
        for i, j in ((0, 3), (3, 0), (1, 2)):
            size = frames.shape[1:3]
            here = torch.from_numpy(np.stack(np.meshgrid(*(np.arange(n) + 0.5 for n in size[::-1])), -1)).float()
            way = (motion.places(0, i, j, size) - here)[masks[p, i] > 0]
            true = torch.tensor([right, down]) * unit * (j - i)
            assert (way - true).norm(dim=1).mean() < 0.4 * unit, (p, i, j)


def test_a_region_of_one_thing_has_no_bends():
    frames, masks = clip()
    motion = clip_motion(frames, list(masks))
    assert [(one.form, one.bends) for one in motion.regions] == [("similarity", None)] * 2


def test_one_thing_with_a_waist_moves_as_one():
    frames, masks = clip(paths=((10, 20, 6, 1), (34, 20, 6, 1)))
    for f in range(FRAMES):  # a bar joins the squares
        place = np.s_[f, 29 + f : 33 + f, 30 + 6 * f : 36 + 6 * f]
        frames[place], masks[0][place] = (200, 40, 40), 1
    assert divided(one_region(masks), 0) is not None
    assert clip_motion(frames, list(one_region(masks))).regions[0].form == "similarity"


def test_what_fits_no_better_apart_stays_whole():
    whole = from_transforms(np.repeat(np.eye(3)[None], FRAMES, 0))
    things = divided(one_region(clip()[1]), 0)
    assert joined([whole, whole], whole, things) is whole


def test_things_that_are_lost_at_different_times_stay_whole():
    frames, masks = clip()
    whole = clip_motion(frames, list(one_region(masks)), source="moments").regions[0]
    part = from_transforms(np.repeat(np.eye(3)[None], FRAMES, 0))
    other = from_transforms(np.repeat(np.eye(3)[None], FRAMES, 0), np.array([True, True, False, True]))
    assert joined([part, other], whole, divided(one_region(masks), 0)) is whole


def test_it_comes_back_from_its_file(tmp_path):
    frames, masks = clip()
    motion = clip_motion(frames, list(one_region(masks)))
    again = motion_file.load(motion_file.save(motion, tmp_path / "motion.safetensors"))
    assert again.regions[0].form == "parts"
    assert torch.equal(again.places(0, 0, 3, (24, 32)), motion.places(0, 0, 3, (24, 32)))
