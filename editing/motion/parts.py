"""A region of several things, as "two birds" is: each is registered by itself, and one motion is made of theirs.

Things are the connected pieces of the region's mask, or of what is left of it without its rim, where things touch. Only
a mask that falls into as many pieces in every frame that has one is divided: a piece that comes and goes is a thing
that another one crosses, and says nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from .places import centres, moved, sample, size_of
from .value import CUT, RegionMotion

MOST = 8  # things of one region
LEAST = 0.1  # of the region's pixels, or a piece is a crumb of the thing beside it
RIMS = (0, 2, 4, 6)  # pixels that are taken off the mask until it falls into pieces
BETTER = 0.9  # of the loss of all things taken for one: theirs must be below it
TOUCHING = 4  # pixels: another region so near to two pieces may be what divides them


def divided(masks: Tensor, region: int) -> Tensor | None:
    """The things of a region: its mask divided, [P, F, H, W], each thing at one index in all frames, the largest first;
    None where it is one thing, or where it cannot be told. masks: float [K, F, H, W] in [0, 1] of all regions."""
    found = (_divided(masks, region, rim) for rim in RIMS)
    return next((things for things in found if things is not None), None)


def _divided(masks: Tensor, region: int, rim: int) -> Tensor | None:
    hard = masks[region].numpy() > 0.5
    last = -1
    seen = [f for f in range(len(hard)) if hard[f].any()]
    if not seen:
        return None
    labels: dict[int, np.ndarray] = {}
    for f in seen:
        others = np.asarray((masks[:, f].numpy() > 0.5)[[k for k in range(len(masks)) if k != region]].any(0))
        found = _pieces(hard[f], rim)
        if found is None or found.max() != (labels[seen[0]].max() if labels else found.max()):
            return None
        if others.any() and _divides(others, found):
            return None
        labels[f] = found if not labels else _followed(labels[last], found)
        last = f
    count = int(labels[seen[0]].max())
    out = torch.zeros(count, *masks[region].shape)
    for f, label in labels.items():
        for p in range(count):
            out[p, f] = masks[region][f] * torch.from_numpy(label == p + 1)
    return out[torch.argsort(out.sum((1, 2, 3)), descending=True)]


def _pieces(hard: np.ndarray, rim: int) -> np.ndarray | None:
    """Of every pixel the number of its piece, from 1 on: of those not in the mask the nearest piece's, so that soft
    edges and crumbs belong to one. None where there is one piece, or too many."""
    import cv2

    if rim:
        hard = cv2.distanceTransform(hard.astype(np.uint8), cv2.DIST_L2, 5) > rim
    count, labels, stats, _ = cv2.connectedComponentsWithStats(hard.astype(np.uint8), connectivity=8)
    large = [k for k in range(1, count) if stats[k, cv2.CC_STAT_AREA] >= LEAST * hard.sum()]
    if not 2 <= len(large) <= MOST:
        return None
    away = [cv2.distanceTransform((labels != k).astype(np.uint8), cv2.DIST_L2, 5) for k in large]
    return np.argmin(away, 0) + 1


def _divides(others: np.ndarray, label: np.ndarray) -> bool:
    """Whether other regions come near to the line between two pieces' nearest pixels."""
    import cv2

    line = np.zeros(label.shape, bool)
    line[:, 1:] |= label[:, 1:] != label[:, :-1]
    line[1:] |= label[1:] != label[:-1]
    away = cv2.distanceTransform((~line).astype(np.uint8), cv2.DIST_L2, 5)
    return bool((away[others] <= TOUCHING).any())


def _followed(before: np.ndarray, label: np.ndarray) -> np.ndarray:
    """The pieces numbered as those of the frame before that are nearest by their centres, one each."""
    from scipy.optimize import linear_sum_assignment

    numbers = range(1, int(label.max()) + 1)
    apart = [[np.linalg.norm(_centre(before == a) - _centre(label == b)) for b in numbers] for a in numbers]
    out = np.zeros_like(label)
    for a, b in zip(*linear_sum_assignment(apart)):
        out[label == b + 1] = a + 1
    return out


def _centre(piece: np.ndarray) -> np.ndarray:
    return np.argwhere(piece).mean(0)


def joined(parts: Sequence[RegionMotion], whole: RegionMotion, things: Tensor) -> RegionMotion:
    """One motion of the region: every place moves as the thing that is nearest to it, by `bends`.

    parts: of each thing, whole: of all of them taken for one; things: of `divided`; all at one size. `whole` itself
    where it fits as well, or where the things do not hang on the same frames.
    """
    if any((one.before != parts[0].before).any() or (one.present != whole.present).any() for one in parts):
        return whole
    losses = np.mean([one.losses for one in parts], 0)
    told = np.isfinite(losses)
    if not told.any() or losses[told].max() > CUT or losses[told].mean() >= BETTER * np.nanmean(whole.losses):
        return whole
    grid = (things.shape[-2], things.shape[-1])
    places, nearest = centres(grid, grid), _nearest(things)
    bends = np.zeros((2, len(whole.before), *grid, 2), np.float32)
    first = parts[0]
    for f in map(int, np.flatnonzero(first.before >= 0)):
        for side, frame in ((0, first.before[f]), (1, f)):
            ways = torch.stack([_way(one, side, f, places) for one in parts]) - _way(first, side, f, places, stiff=True)
            owner = torch.from_numpy(nearest[frame])[None, :, :, None].expand(1, *grid, 2)
            bends[side, f] = ways.gather(0, owner)[0].numpy()
    return RegionMotion(first.before, first.steps, losses, first.present, "parts", bends)


def _way(one: RegionMotion, side: int, f: int, places: Tensor, stiff: bool = False) -> Tensor:
    """Where places [h, w, 2] of a whole grid go in the step to frame f (side 0), or back (1). stiff: without bends."""
    there = moved(places, one.steps[f] if side == 0 else np.linalg.inv(one.steps[f]))
    if one.bends is None or stiff:
        return there
    bends = torch.from_numpy(one.bends[side, f]).permute(2, 0, 1)
    return there + sample(bends, places, size_of(places[..., 0]), "bilinear").permute(1, 2, 0)


def _nearest(things: Tensor) -> np.ndarray:
    """int64 [F, h, w]: the thing that is nearest to each place; 0 in frames without any."""
    import cv2

    out = np.zeros(things.shape[1:], np.int64)
    for f in range(things.shape[1]):
        hard = things[:, f].numpy() > 0.5
        if hard.any((1, 2)).all():
            out[f] = np.argmin([cv2.distanceTransform((~one).astype(np.uint8), cv2.DIST_L2, 5) for one in hard], 0)
    return out
