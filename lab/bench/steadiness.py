"""How steady an edit of the rendered world is: what measuring/metrics/steadiness.py asks for, from exact truth.

A thing is told by its wanted colour, and its place is where the ideal has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ...editing.motion.value import Motion, RegionMotion, from_transforms
from ...measuring.metrics import steadiness
from ...world.exact_flow import exact_displacements, exact_transforms
from ...world.reader import classify
from ...world.render import Scenes, coverage

ALONE = 0.15  # of its area by which an object's piece of the ideal frames may differ


def pieces(frames: np.ndarray, places: np.ndarray, colours: Sequence[int]) -> np.ndarray:
    """What the clip shows of every object: bool [K, F, H, W] (`steadiness.pieces`).

    frames: uint8 [F, H, W, 3]; places: bool [K, F, H, W], where the ideal has them; colours: their wanted ones, [K].
    """
    classes = np.stack([classify(frame) for frame in frames])
    return steadiness.pieces(np.stack([classes == colour for colour in colours]), places)


def exact_motion(scenes: Scenes, size: tuple[int, int]) -> Motion:
    """The motion that the clip was drawn with."""
    *objects, behind = (from_transforms(one) for one in exact_transforms(replace(scenes, bend=None), size))
    if scenes.bend is not None:
        objects = [_bending(scenes, size, k) for k in range(len(objects))]
    return Motion(size, tuple(objects), behind, "exact")


def _bending(scenes: Scenes, size: tuple[int, int], k: int) -> RegionMotion:
    """Object k's motion as displacements of every pixel."""
    bends = np.zeros((2, len(scenes), *size, 2), np.float32)
    if len(scenes) > 1:
        bends[0, 1:], bends[1, 1:] = (by.numpy() for by in exact_displacements(scenes, size, k))
    still = from_transforms(np.repeat(np.eye(3)[None], len(scenes), 0))
    return replace(still, form="dense", bends=bends)


def visible_share(scenes: Scenes, visible: np.ndarray) -> np.ndarray:
    """float [K, F]: how much of an object in the picture no other one covers. visible: float [K, F, H, W]."""
    height, width = visible.shape[2:]
    whole = np.stack([_alone(scenes, k, height, width) for k in range(len(visible))])
    return visible.sum((2, 3)) / np.maximum(whole, 1e-9)


def _alone(scenes: Scenes, k: int, height: int, width: int) -> np.ndarray:
    """float [F]: the pixels that object k would cover if it were alone."""
    bend = None if scenes.bend is None else scenes.bend[:, k]
    covered = coverage(scenes.shape[:, k], scenes.centre[:, k], scenes.radius[:, k], height, width, bend)
    return covered.numpy().sum((1, 2))


def readable(scenes: Scenes, visible: np.ndarray, ideal: np.ndarray) -> np.ndarray:
    """bool [K, F]: in these frames an object's size and place can be told: at most HIDDEN of it is covered by others,
    and its piece of the ideal frames is it alone.

    visible: float [K, F, H, W], what is seen of the objects; ideal: bool [K, F, H, W], `pieces` of the ideal frames.
    """
    area = (visible > 0.5).sum((2, 3))
    alone = np.abs(ideal.sum((2, 3)) - area) <= ALONE * area
    return alone & (visible_share(scenes, visible) >= 1 - steadiness.HIDDEN)
