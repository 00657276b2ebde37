"""Masks as they come in practice: what the benchmark does to exact ones to see how much an edit suffers. OpenCV lazily.

Every change takes and gives float32 masks [F, H, W] in [0, 1] of one region.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

GROWTH = 8  # pixels that "grow" and "shrink" move the border
DROPPED = 0.2  # share of the frames whose mask "drop" empties, at least one
SHAKE = 2, 3  # pixels: how far "shake" moves a mask each way, and its border in or out
HOLES, HOLE = 0.2, 0.12  # share of a mask's area that "holes" cuts out; radius of a hole in roots of that area

CHANGES = {
    "exact": "as it is",
    "boxes": "the upright rectangle round it, in every frame",
    "grow": f"{GROWTH} pixels larger all round",
    "shrink": f"{GROWTH} pixels smaller all round; of a mask that would vanish the innermost part stays",
    "drop": f"empty in {DROPPED:.0%} of the frames (at least one), the same frames for all regions",
    "shake": f"place by up to {SHAKE[0]}, border by up to {SHAKE[1]} pixels, anew in every frame",
    "holes": f"round holes in {HOLES:.0%} of its area, others in every frame",
}


def changed_masks(masks: Sequence[Tensor], change: str, seed: int = 0) -> list[Tensor]:
    """The masks of an edit's regions after one of CHANGES. A region that fills the whole frame (a background) keeps its
    mask. ValueError for a change that does not exist."""
    if change not in CHANGES:
        raise ValueError(f"masks: {change!r} does not exist; expected one of {', '.join(CHANGES)}; correct the name")
    if change == "exact":
        return list(masks)
    draw = np.random.default_rng(seed)
    frames = len(masks[0])
    dropped = draw.permutation(frames)[: max(1, round(DROPPED * frames))]
    out = []
    for mask in masks:
        if bool((mask > 0.5).all()):
            out.append(mask)
        elif change == "drop":
            kept = mask.clone()
            kept[torch.from_numpy(dropped)] = 0
            out.append(kept)
        else:
            hard = (mask > 0.5).numpy()
            new = [_change(frame, change, draw) if frame.any() else frame for frame in hard]
            out.append(torch.from_numpy(np.stack(new).astype(np.float32)))
    return out


def _change(mask: np.ndarray, change: str, draw: np.random.Generator) -> np.ndarray:
    """One frame, bool [H, W], not empty."""
    if change == "boxes":
        rows, columns = np.nonzero(mask.any(1))[0], np.nonzero(mask.any(0))[0]
        box = np.zeros_like(mask)
        box[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
        return box
    if change == "grow":
        return _distance(~mask) <= GROWTH
    if change == "shake":
        return _shaken(mask, draw)
    if change == "shrink":
        depth = _distance(mask)
        return depth > min(GROWTH, 0.7 * depth.max())
    ys, xs = np.nonzero(mask)
    radius = HOLE * len(ys) ** 0.5
    y, x = np.mgrid[: mask.shape[0], : mask.shape[1]]
    cut = mask.copy()
    while cut.sum() > (1 - HOLES) * len(ys):
        at = draw.integers(len(ys))
        cut &= (y - ys[at]) ** 2 + (x - xs[at]) ** 2 > radius**2
    return cut


def _shaken(mask: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    import cv2

    depth = _distance(mask) - _distance(~mask)
    grown = depth + draw.uniform(-SHAKE[1], SHAKE[1]) > 0
    shift = np.array([[1, 0, draw.uniform(-SHAKE[0], SHAKE[0])], [0, 1, draw.uniform(-SHAKE[0], SHAKE[0])]])
    moved = cv2.warpAffine((grown if grown.any() else mask).astype(np.float32), shift, mask.shape[::-1])
    return moved > 0.5


def _distance(inside: np.ndarray) -> np.ndarray:
    """Of every pixel inside, the distance to the nearest one outside, in pixels (0 outside)."""
    import cv2

    return cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
