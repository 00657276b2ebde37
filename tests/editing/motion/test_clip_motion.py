"""Motion found in rendered clips against their exact motion; tolerances: pixels of a step, mean over a region."""

import cv2
import numpy as np
import pytest
import torch

from videograin.attention.options import MOTION_SOURCES
from videograin.editing.motion.clip_motion import clip_motion
from videograin.editing.motion.contest import _power
from videograin.editing.motion.places import centres, moved
from videograin.editing.motion.value import BACKGROUND, MotionError
from videograin.world.clips import draw, scene_clip
from videograin.world.exact_flow import backward_flow, exact_transforms, forward_flow

SIDE = 96


def errors(motion, transforms, masks) -> list[float]:
    """Of every region's steps: the mean distance between moved and true place over the visible pixels."""
    size = tuple(masks.shape[-2:])
    places = centres(size, size)
    out = []
    for k, mask in enumerate(masks):
        for f in range(mask.shape[0] - 1):
            true = transforms[k, f + 1] @ np.linalg.inv(transforms[k, f])
            found = motion.of(k).matrix(f, f + 1)
            out.append(float((moved(places, found) - moved(places, true)).norm(dim=-1)[mask[f] > 0.5].mean()))
    return out


def growing(clip, by):
    scenes = clip.scenes
    scale = torch.linspace(1, by, len(scenes))[:, None]
    return draw(type(scenes)(**{**vars(scenes), "radius": scenes.radius * scale}), clip.frames.shape[1:3])


@pytest.fixture(scope="module")
def clip():
    return scene_clip(11, 4, SIDE, objects=2, motion="apart", pan=0.1)


@pytest.fixture(scope="module")
def motion(clip):
    return clip_motion(clip.frames, list(clip.masks))


def test_exact_transforms_are_the_exact_flow(clip):
    size, scenes = (SIDE, SIDE), clip.scenes
    transforms = exact_transforms(scenes, size)
    forth, back = forward_flow(scenes, size).vectors, backward_flow(scenes, size).vectors
    for k, mask in enumerate([*clip.masks, (clip.masks.amax(0) < 0.001).float()]):
        step = transforms[k, 2] @ np.linalg.inv(transforms[k, 1])
        places = centres(size, size)
        inner = mask[1] > 0.999
        torch.testing.assert_close((moved(places, step) - places)[inner], forth[1][inner], atol=1e-3, rtol=0)
        inner = mask[2] > 0.999
        torch.testing.assert_close(
            (moved(places, np.linalg.inv(step)) - places)[inner], back[1][inner], atol=1e-3, rtol=0
        )


def test_exact_masks_apart(clip, motion):
    found = errors(motion, exact_transforms(clip.scenes, (SIDE, SIDE)), clip.masks)
    assert np.mean(found) < 0.05
    assert max(found) < 0.15
    assert motion.notes() == []
    assert (motion.size, motion.source) == ((SIDE, SIDE), "auto")


def test_the_background_moves_by_itself(clip, motion):
    true = exact_transforms(clip.scenes, (SIDE, SIDE))[-1]
    np.testing.assert_allclose(motion.of(BACKGROUND).matrix(0, 3)[:2, 2], true[3, :2, 2], atol=0.3)


def test_one_passes_in_front_of_the_other():
    clip = scene_clip(805, 4, SIDE, objects=2, motion="crossing", pan=0.1)
    motion = clip_motion(clip.frames, list(clip.masks))
    found = errors(motion, exact_transforms(clip.scenes, (SIDE, SIDE)), clip.masks)
    assert np.mean(found) < 0.15


def test_a_thing_that_grows():
    clip = growing(scene_clip(12, 3, SIDE, objects=1, pan=0.1), 1.2)
    motion = clip_motion(clip.frames, list(clip.masks))
    assert np.mean(errors(motion, exact_transforms(clip.scenes, (SIDE, SIDE)), clip.masks)) < 0.15
    assert motion.of(0).matrix(0, 2)[0, 0] == pytest.approx(1.2, abs=0.02)


def test_a_thing_that_turns():
    draws = np.random.default_rng(3).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    picture = cv2.normalize(cv2.GaussianBlur(draws, (0, 0), 4), None, 0, 255, cv2.NORM_MINMAX)
    disc = np.zeros((SIDE, SIDE), np.uint8)
    cv2.ellipse(disc, (SIDE // 2, SIDE // 2), (26, 18), 0, 0, 360, 255, -1)
    steps = [cv2.getRotationMatrix2D((SIDE / 2 - 0.5, SIDE / 2 - 0.5), 6 * f, 1) for f in range(3)]
    masks = np.stack([cv2.warpAffine(disc, step, (SIDE, SIDE)) for step in steps]) / np.float32(255)
    frames = np.stack([cv2.warpAffine(picture, step, (SIDE, SIDE)) for step in steps])
    frames = np.where(masks[..., None] > 0.5, frames, 128).astype(np.uint8)
    matrix = clip_motion(frames, [torch.from_numpy(masks)]).of(0).matrix(0, 2)
    assert np.degrees(np.arctan2(matrix[0, 1], matrix[0, 0])) == pytest.approx(12, abs=0.3)
    middle = matrix @ [SIDE / 2, SIDE / 2, 1]
    np.testing.assert_allclose(middle[:2], SIDE / 2, atol=0.15)


def shaken(masks, seed):
    draw = np.random.default_rng(seed)
    return torch.from_numpy(
        np.stack(
            [
                cv2.warpAffine(mask, np.array([[1, 0, x], [0, 1, y]]), mask.shape[::-1])
                for mask, (x, y) in zip(masks.numpy(), draw.uniform(-2, 2, (len(masks), 2)))
            ]
        )
    )


def boxed(masks):
    out = torch.zeros_like(masks)
    for f, mask in enumerate(masks > 0.5):
        rows, columns = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
        out[f, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = 1
    return out


@pytest.mark.parametrize("damage", [lambda masks, k: shaken(masks, k), lambda masks, k: boxed(masks)])
def test_poor_masks_do_not_shake_the_motion(clip, damage):
    motion = clip_motion(clip.frames, [damage(masks, k) for k, masks in enumerate(clip.masks)])
    found = errors(motion, exact_transforms(clip.scenes, (SIDE, SIDE)), clip.masks)
    assert np.mean(found) < 0.3


def test_large_frames_are_searched_small_and_told_large():
    clip = scene_clip(11, 3, 320, objects=1, pan=0.1)
    motion = clip_motion(clip.frames, list(clip.masks))
    assert motion.size == (320, 320)
    assert np.mean(errors(motion, exact_transforms(clip.scenes, (320, 320)), clip.masks)) < 0.3


def test_a_small_thing_of_a_large_frame_is_followed():
    clip = scene_clip(11, 3, 96, objects=1, pan=0.0)
    frames = np.full((3, 640, 640, 3), 90, np.uint8)
    masks = torch.zeros(3, 640, 640)
    small = torch.nn.functional.interpolate(clip.masks, (32, 32), mode="area")[0]
    for f in range(3):
        frames[f, 100:132, 200 + 5 * f : 232 + 5 * f] = clip.frames[0, ::3, ::3]
        masks[f, 100:132, 200 + 5 * f : 232 + 5 * f] = small[0]
    assert 60 < int((masks[0] > 0.5).sum()) < 300  # below 12 pixels at 128 x 128
    one = clip_motion(frames, [masks]).of(0)
    assert one.pieces == [[0, 1, 2]]
    np.testing.assert_allclose(one.matrix(0, 2) @ [210, 110, 1], [220, 110, 1], atol=0.5)


MOST = {"auto": 0.1, "moments": 0.1, "flow": 2.0}  # pixels; a source that is new needs a bound of its own


@pytest.mark.parametrize("source", MOTION_SOURCES)
def test_every_source_finds_the_motion(clip, source):
    motion = clip_motion(clip.frames, list(clip.masks), source=source)
    assert motion.source == source
    assert all(one.linked(f, f + 1) for one in motion.regions for f in range(3))
    assert np.mean(errors(motion, exact_transforms(clip.scenes, (SIDE, SIDE)), clip.masks)) < MOST[source]


def test_what_cannot_be_followed_is_cut(clip):
    frames = clip.frames.copy()
    frames[2:] = 255 - frames[2:]  # as if cut to another take
    masks = [torch.cat([masks[:2], masks[2:].flip(-1)]) for masks in clip.masks]
    motion = clip_motion(frames, masks)
    assert [one.pieces for one in motion.regions] == [[[0, 1], [2, 3]]] * 2
    lines = motion.notes(["the one", "the other"])
    assert [line.split(":")[0] for line in lines] == ["the one", "the other"]
    assert all("leads to frame 2" in line for line in lines)


def test_no_region_and_one_frame():
    clip = scene_clip(11, 1, 64, objects=1)
    motion = clip_motion(clip.frames, [])
    assert (motion.frames, motion.regions) == (1, ())
    assert clip_motion(clip.frames, list(clip.masks)).of(0).pieces == [[0]]


@pytest.mark.parametrize("exponent", [0.5, 2, 1, -1])
def test_a_transform_is_taken_in_part(exponent):
    turn = np.array([[0.9, -0.3, 4], [0.3, 0.9, 1], [0, 0, 1]])
    np.testing.assert_allclose(_power(_power(turn, exponent), 1 / exponent), turn, atol=1e-9)
    np.testing.assert_allclose(_power(turn, 2), turn @ turn, atol=1e-9)
    step = np.array([[1, 0, 4], [0, 1, 2], [0, 0, 1.0]])
    np.testing.assert_allclose(_power(step, exponent)[:2, 2], [4 * exponent, 2 * exponent])


def test_what_does_not_fit_is_refused(clip):
    with pytest.raises(MotionError, match="'guess' does not exist"):
        clip_motion(clip.frames, list(clip.masks), source="guess")
    with pytest.raises(MotionError, match=r"expected uint8 \[F, H, W, 3\]"):
        clip_motion(clip.frames / 255, list(clip.masks))
    with pytest.raises(MotionError, match="region 1 is"):
        clip_motion(clip.frames, [clip.masks[0, :, ::2]])


def test_a_disc_does_not_show_that_it_turns():
    places = centres((64, 64), (64, 64))
    discs = torch.stack([(20.5 - (places - 32 - f).norm(dim=-1)).clamp(0, 1) for f in range(3)])
    frames = (80 + 120 * discs).byte()[..., None].expand(-1, -1, -1, 3).numpy()
    matrix = clip_motion(frames, [discs]).of(0).matrix(0, 2)
    np.testing.assert_allclose(matrix @ [32, 32, 1], [34, 34, 1], atol=0.05)
    assert abs(matrix[1, 0]) < 1e-6
