"""Pictures of motion: what is carried is the frame where the motion is right, and every step is told in words."""

import numpy as np
import pytest
import torch

from videograin.editing.motion.value import Motion, RegionMotion, from_transforms
from videograin.editing.regions import Region
from videograin.measuring.pictures.motion_pictures import carried, motion_preview, step_text
from videograin.measuring.pictures.painting import region_colour

F, H, W = 3, 40, 56
NAN = float("nan")


def moved(dx: float) -> np.ndarray:
    """Transforms from frame 0 of what moves dx pixels to the right a frame."""
    out = np.repeat(np.eye(3)[None], F, 0)
    out[:, 0, 2] = dx * np.arange(F)
    return out


@pytest.fixture(scope="module")
def clip():
    """A coloured square that moves 6 pixels a frame over a ground that stands still; (frames, masks, exact motion)."""
    random = np.random.default_rng(0)
    ground, thing = random.integers(0, 90, (H, W, 3)), random.integers(150, 255, (12, 12, 3))
    frames, masks = np.repeat(ground[None], F, 0).astype(np.uint8), torch.zeros(F, H, W)
    for f in range(F):
        frames[f, 10:22, 8 + 6 * f : 20 + 6 * f] = thing
        masks[f, 10:22, 8 + 6 * f : 20 + 6 * f] = 1
    return frames, masks, Motion((H, W), (from_transforms(moved(6)),), from_transforms(moved(0)), "exact")


def test_what_is_carried_is_the_frame(clip):
    frames, masks, motion = clip
    for f in (1, 2):
        found = carried(frames, [masks], motion, f)
        inner = np.zeros((H, W), bool)
        inner[11:21, 9 + 6 * f : 19 + 6 * f] = True  # all but the outline
        assert np.array_equal(found[inner], frames[f][inner])
        assert (found[(masks[f] > 0).numpy() & ~inner] == region_colour(1)).all()
        shown = ((masks[f] == 0) & (masks[f - 1] == 0)).numpy()
        assert np.array_equal(found[shown], frames[f][shown])
        uncovered = ((masks[f] == 0) & (masks[f - 1] > 0)).numpy()
        assert uncovered.sum() == 12 * 6
        grey = found[uncovered]
        assert (grey == grey[:, :1]).all()


def test_nothing_is_carried_to_the_first_frame(clip):
    frames, masks, motion = clip
    found = carried(frames, [masks], motion, 0)
    assert (found == found[..., :1]).all()


def test_wrong_motion_shows(clip):
    frames, masks, _ = clip
    still = Motion((H, W), (from_transforms(moved(0)),), from_transforms(moved(0)), "exact")
    there = (masks[1] > 0).numpy()
    assert not np.array_equal(carried(frames, [masks], still, 1)[there], frames[1][there])


def test_every_step_in_words(clip):
    before, steps = np.array([-1, 0, -1]), np.repeat(np.eye(3)[None], F, 0)
    present = np.array([True, True, True])
    cut = RegionMotion(before, steps, np.array([NAN, 0.053, 0.61]), present)
    gone = RegionMotion(np.array([-1, 0, -1]), steps, np.array([NAN, 0.05, NAN]), np.array([True, True, False]))
    off = RegionMotion(before, steps, np.full(F, NAN), present, form="off")
    motion = Motion((H, W), (cut, gone, off), clip[2].background, "exact")
    assert [step_text(motion, 0, f) for f in range(F)] == [
        "begins here",
        "from frame 0, loss 0.05",
        "cut, loss 0.61 (above 0.3)",
    ]
    assert step_text(motion, 1, 2) == "not seen"
    assert step_text(motion, 2, 1) == "no motion found"


def test_the_preview_has_both_pictures_enlarged(clip):
    frames, masks, motion = clip
    shown = motion_preview(frames, [Region("a red cube", masks)], [masks], motion)
    scale, f = 4, 2
    assert shown.shape[0] == F
    assert shown.shape[2] == 2 * scale * W + 6
    one, other = (
        np.kron(p, np.ones((scale, scale, 1), np.uint8)) for p in (frames[f], carried(frames, [masks], motion, f))
    )
    rows = next(y for y in range(60) if np.array_equal(shown[f, y : y + scale * H, : scale * W], one))
    assert np.array_equal(shown[f, rows : rows + scale * H, -scale * W :], other)


def test_a_clip_without_regions(clip):
    frames, _, motion = clip
    alone = Motion((H, W), (), motion.background, "exact")
    assert len(motion_preview(frames, [], [], alone)) == F
    assert np.array_equal(carried(frames, [], alone, 1), frames[0])
