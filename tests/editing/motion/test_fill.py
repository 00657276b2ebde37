"""Masks filled by the motion: what was cut out comes back, what was whole stays as it is, nothing lies over others."""

import numpy as np
import pytest
import torch

from videograin.editing.motion.clip_motion import clip_motion
from videograin.editing.motion.fill import Fill, _nested, fill_masks
from videograin.editing.motion.value import Motion, MotionError, from_transforms
from videograin.world.clips import scene_clip
from videograin.world.exact_flow import exact_transforms

SIDE = 96


@pytest.fixture(scope="module")
def clip():
    return scene_clip(11, 4, SIDE, objects=2, motion="apart", pan=0.1)


def exact(clip) -> Motion:
    transforms = exact_transforms(clip.scenes, (SIDE, SIDE))
    regions = tuple(from_transforms(one) for one in transforms[:-1])
    return Motion((SIDE, SIDE), regions, from_transforms(transforms[-1]), "exact")


def overlap(one, other) -> float:
    one, other = one > 0.5, other > 0.5
    return float((one & other).sum() / (one | other).sum())


def test_masks_without_holes_stay_as_they_are(clip):
    for motion in (exact(clip), clip_motion(clip.frames, list(clip.masks))):
        filled, fills = fill_masks(list(clip.masks), motion, clip.frames)
        assert fills == []
        assert torch.equal(torch.stack(filled), clip.masks)


def test_nothing_is_filled_where_the_other_lies_on_top():
    clip = scene_clip(805, 4, SIDE, objects=2, motion="crossing", pan=0.1)
    filled, fills = fill_masks(list(clip.masks), exact(clip), clip.frames)
    assert fills == []
    assert torch.equal(torch.stack(filled), clip.masks)


def test_a_hole_is_filled(clip):
    masks = clip.masks.clone()
    rows, columns = (masks[0, 1] > 0.5).nonzero().float().mean(0).round().int().tolist()
    masks[0, 1, rows - 4 : rows + 5, columns - 4 : columns + 5] = 0
    filled, fills = fill_masks(list(masks), exact(clip), clip.frames)
    assert fills == [Fill(0, (1,), False)]
    assert overlap(filled[0][1], clip.masks[0, 1]) > 0.99
    assert torch.equal(filled[1], masks[1])


def test_a_box_that_stays_is_not_made_to_follow(clip):
    """What a user draws round a moving thing once is no mask with holes, whatever the motion says of its outside."""
    ys, xs = (clip.masks[0, 0] > 0.5).nonzero(as_tuple=True)
    box = torch.zeros(SIDE, SIDE)
    box[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1] = 1
    still = torch.stack([box.expand(4, -1, -1), clip.masks[1]])
    filled, fills = fill_masks(list(still), exact(clip), clip.frames)
    assert fills == []
    assert torch.equal(torch.stack(filled), still)


@pytest.mark.parametrize("frame", [0, 2, 3])
def test_a_missing_mask_is_found(clip, frame):
    masks = clip.masks.clone()
    masks[:, frame] = 0
    motion = clip_motion(clip.frames, list(masks))
    assert all(one.present.all() for one in motion.regions)
    filled, fills = fill_masks(list(masks), motion, clip.frames)
    assert fills == [Fill(0, (frame,), True), Fill(1, (frame,), True)]
    for k in range(2):
        assert overlap(filled[k][frame], clip.masks[k, frame]) > 0.95
    kept, none = fill_masks(list(masks), motion, clip.frames, missing="absent")
    assert none == []
    assert torch.equal(torch.stack(kept), masks)


def test_what_is_hidden_stays_hidden(clip):
    masks, frames = clip.masks.clone(), clip.frames.copy()
    gone = masks[0, 1] > 0.01
    frames[1][gone.numpy()] = (255, 0, 255)  # something else lies there
    masks[0, 1] = 0
    motion = clip_motion(frames, list(masks))
    assert motion.of(0).present.tolist() == [True, False, True, True]
    assert motion.of(0).linked(0, 2)  # across the gap
    filled, fills = fill_masks(list(masks), motion, frames)
    assert fills == []
    assert torch.equal(torch.stack(filled), masks)


def test_a_part_hidden_by_something_without_a_mask_is_not_filled(clip):
    masks, frames = clip.masks.clone(), clip.frames.copy()
    rows, columns = (masks[0, 1] > 0.5).nonzero().float().mean(0).round().int().tolist()
    hand = (slice(rows - 6, rows + 7), slice(columns - 6, columns + 7))
    masks[0, 1][hand] = 0
    frames[1][hand] = (255, 0, 255)
    filled, fills = fill_masks(list(masks), exact(clip), frames)
    assert fills == []
    assert torch.equal(torch.stack(filled), masks)


def test_a_fill_says_where():
    assert Fill(1, (2, 3, 4), True).text() == "region 2: no mask in frames 2-4; filled by the motion"
    line = Fill(0, (2,), False).text("the cup", "cup.mp4")
    assert line == "the cup (cup.mp4): holes in the mask in frame 2; filled by the motion"


def test_what_does_not_fit_is_refused(clip):
    with pytest.raises(MotionError, match="'guess' does not exist"):
        fill_masks(list(clip.masks), exact(clip), clip.frames, missing="guess")
    with pytest.raises(MotionError, match="expected the clip of the motion"):
        fill_masks(list(clip.masks)[:1], exact(clip), clip.frames)


@pytest.mark.parametrize(("inside", "nested"), [(0, False), (8, False), (9, True), (16, True)])
def test_a_part_lies_on_a_whole_with_more_than_half_of_it(inside, nested):
    part, whole = torch.zeros(2, 4, 8)
    part[:, :4] = 1
    whole.view(-1)[:] = 0
    cells = [(y, x) for y in range(4) for x in range(4)][:inside]
    for y, x in cells:
        whole[y, x] = 0.75
    assert _nested(part, whole) is nested
    assert _nested(torch.zeros(4, 8), whole) is False


def test_a_single_frame_has_nothing_to_be_filled_from():
    motion = Motion((16, 16), (from_transforms(np.eye(3)[None]),), from_transforms(np.eye(3)[None]), "exact")
    mask = torch.zeros(1, 16, 16)
    mask[:, 4:9, 4:9] = 1
    filled, fills = fill_masks([mask], motion, np.zeros((1, 16, 16, 3), np.uint8))
    assert fills == []
    assert torch.equal(filled[0], mask)
