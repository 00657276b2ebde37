"""The motion of a clip, from its frames and masks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import torch

from ...attention import normalise_mask
from ...attention.options import MOTION_SOURCES
from .contest import Scene, chained, region_motion
from .parts import divided, joined
from .registration import Fit, Registration, View, moments, shift
from .value import BACKGROUND, Motion, MotionError, RegionMotion

AGREED = 8  # pixels of a region, at least, whose flow there and back agrees
PRECISION = 1.0  # pixels: flow this near to a similarity supports it


def clip_motion(frames: np.ndarray, masks: Sequence[torch.Tensor], *, source: str = "auto") -> Motion:
    """How the regions of a clip and its background move.

    frames: uint8 [F, H, W, 3]. masks: one a region, [F, H, W] or one of all frames, in [0, 1], later ones on top; a
    frame without a mask is one in which the region is not seen. source: "auto" registers colours and outlines, the
    other regions left out; "moments" takes centre and area of the masks, the background stands still; "flow" takes
    optical flow inside the masks (OpenCV's DIS), as a similarity. Frames larger than 128 pixels (the shorter side) are
    shrunk to that for the search, less where a region would be left with fewer than 150 pixels (384 at most); the
    motion is in the frames' own pixels.

    Raises MotionError for another source, and for frames or masks that do not fit.
    """
    if source not in MOTION_SOURCES:
        raise MotionError(f"motion: source {source!r} does not exist; expected one of {', '.join(MOTION_SOURCES)}.")
    if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8:
        raise MotionError(
            f"motion: frames are {list(frames.shape)} {frames.dtype}; expected uint8 [F, H, W, 3]; convert them first."
        )
    size = tuple(frames.shape[1:3])
    sized = [normalise_mask(mask, len(frames), f"region {n}") for n, mask in enumerate(masks, 1)]
    for number, mask in enumerate(sized, 1):
        if tuple(mask.shape[1:]) != size:
            raise MotionError(
                f"motion: the mask of region {number} is {list(mask.shape[1:])}, the frames are {list(size)}; bring "
                "the masks to the frames' size."
            )
    scene = Scene(frames, torch.stack(sized) if sized else torch.zeros(0, len(frames), *size))
    if source == "auto":
        behind = region_motion(scene, BACKGROUND)
        found = [*(_by_things(scene, k, behind) for k in range(len(sized))), behind]
    else:
        step = STEPWISE[source](scene)
        found = [_stepwise(scene.views(k), step) for k in (*range(len(sized)), BACKGROUND)]
    found = [scene.at_clip_size(one) for one in found]
    return Motion(size, tuple(found[:-1]), found[-1], source)


def _by_things(scene: Scene, region: int, behind: RegionMotion) -> RegionMotion:
    """A region's motion at working size; of a region of several things, theirs."""
    things = divided(scene.masks, region)
    if things is None:
        return region_motion(scene, region, behind)
    stiff = region_motion(scene, region, behind, bends=False)
    apart = scene.with_masks(torch.cat([scene.masks[:region], things, scene.masks[region + 1 :]]))
    motion = joined([region_motion(apart, region + p, behind) for p in range(len(things))], stiff, things)
    return motion if motion is not stiff else region_motion(scene, region, behind)


Step = Callable[[list[View], int, int], np.ndarray]  # views, two frames -> the transform from one to the other


def _stepwise(views: list[View], step: Step) -> RegionMotion:
    """A step between every frame with a mask and the last one before it, judged as those of `auto` are."""
    seen = [f for f, view in enumerate(views) if view.known]
    fits: dict[int, tuple[int, Fit]] = {}
    for i, j in pairwise(seen):
        fits[j] = i, Registration(views[i], views[j]).fit(step(views, i, j))
    return chained(fits, views)


def _by_moments(views: list[View], i: int, j: int) -> np.ndarray:
    (here, size), (there, grown) = moments(views[i].mask), moments(views[j].mask)
    if min(views[i].free.min(), views[j].free.min()) > 0 and size == grown:  # a mask of everything
        return np.eye(3)
    scale = grown / max(size, 1e-6)
    return shift(*there) @ np.diag([scale, scale, 1.0]) @ shift(*-here)


def _by_flow(scene: Scene) -> Step:
    def step(views: list[View], i: int, j: int) -> np.ndarray:
        import cv2

        forth, agreed = scene.flow(i, j)
        inside = ((views[i].mask > 0.5) & (views[i].free > 0.5)).numpy() & agreed
        rows, columns = np.nonzero(inside)
        if len(rows) < AGREED:
            return np.eye(3)
        here = np.stack([columns, rows], -1) + 0.5
        there = here + forth[inside]
        found, _ = cv2.estimateAffinePartial2D(here, there, ransacReprojThreshold=PRECISION)
        return shift(*np.median(forth[inside], 0)) if found is None else np.vstack([found, [0, 0, 1]])

    return step


STEPWISE: dict[str, Callable[[Scene], Step]] = {"moments": lambda scene: _by_moments, "flow": _by_flow}
"""The sources that look at two frames of one region at a time; `auto` compares the regions with each other."""
