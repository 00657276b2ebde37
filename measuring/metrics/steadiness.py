"""How steady a clip is over time, whatever else is right or wrong about it: formulas on arrays.

Judged is what the clip itself shows of each thing: its piece, a connected piece of what looks like the thing that
overlaps the place where it should be. How to tell what looks like it is the caller's: by the colours of the rendered
world (lab/bench/steadiness.py), by the source's background in real clips (shown_things.py).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import torch
from torch.nn.functional import max_pool2d

from ...editing.motion.optical_flow import ClipFlow
from ...editing.motion.value import BACKGROUND, Motion
from .pixels import warp_error

OVERLAP = 0.2  # of a place that a piece must cover to be the thing
HIDDEN = 0.15  # of a thing hidden, from which on a frame says nothing of size and place
GONE = 0.5  # of a thing hidden, from which on it counts as away


def pieces(alike: np.ndarray, places: np.ndarray) -> np.ndarray:
    """What a clip shows of every thing: bool [K, F, H, W], empty where there is no such piece. A piece that is that of
    two things (twins that touch) is divided: every pixel goes to the thing whose place is nearer.

    alike: bool [K, F, H, W], what looks like it; places: bool [K, F, H, W], where it should be.
    """
    import cv2

    out = np.zeros_like(places)
    for f in range(places.shape[1]):
        for k, place in enumerate(places[:, f]):
            if not place.any():
                continue
            _, labels = cv2.connectedComponents(alike[k, f].astype(np.uint8), connectivity=4)
            covered = np.bincount(labels[place], minlength=labels.max() + 1)
            covered[0] = 0
            best = int(covered.argmax())
            if covered[best] > OVERLAP * place.sum():
                out[k, f] = labels == best
        away = np.stack([cv2.distanceTransform((~place).astype(np.uint8), cv2.DIST_L2, 5) for place in places[:, f]])
        out[:, f] &= np.arange(len(places))[:, None, None] == np.where(out[:, f], away, np.inf).argmin(0)
    return out


def jitter(shown: np.ndarray, places: np.ndarray, counted: np.ndarray) -> tuple[float, float]:
    """(centre jitter in pixels, size jitter as a share of the size), means over the things seen twice or more.

    shown: of `pieces`; places: bool [K, F, H, W]; counted: bool [K, F], the frames that count. With side = root of the
    area: size = std / mean over frames of side / the place's side; centre = root mean square over frames of centre -
    the place's centre, less its own mean. (nan, nan) where no thing is.
    """
    centres, sizes = [], []
    for piece, place, counts in zip(shown, places, counted):
        frames = np.flatnonzero(counts & piece.any((1, 2)) & place.any((1, 2)))
        if len(frames) < 2:
            continue
        apart = np.array([centre(piece[f]) - centre(place[f]) for f in frames])
        centres.append(math.sqrt(((apart - apart.mean(0)) ** 2).sum(1).mean()))
        side = np.sqrt([piece[f].sum() / place[f].sum() for f in frames])
        sizes.append(float(side.std() / side.mean()))
    return (float(np.mean(centres)), float(np.mean(sizes))) if centres else (math.nan, math.nan)


def own_warp_error(frames: np.ndarray, motion: Motion, shown: np.ndarray, flow: ClipFlow | None = None) -> float:
    """Squared warp error (values 0 to 1) along the motion of what the clip itself shows, mean over its pairs of frames.

    frames: uint8 [F, H, W, 3]; motion: of the things, and of the background; shown: bool [K, F, H, W], later things on
    top; flow: where it is valid, the background's motion instead (a real one is no single transform). Each frame is
    compared with the one before it, carried along: inside a thing's outline by its motion, elsewhere by the
    background's. What lies outside the picture or under another thing in the frame before does not count, nor what no
    motion is known for; a thing that was not there before though its motion says so, does. nan where nothing counts.
    """
    count, height, width = frames.shape[:3]
    size = (height, width)
    y, x = np.mgrid[:height, :width] + 0.5
    here = np.stack([x, y], -1)
    owner = np.full((count, height, width), BACKGROUND)
    for k, piece in enumerate(shown):
        # The mixed pixels of a border look like neither side; what they show moves with the thing.
        rim = max_pool2d(torch.from_numpy(piece[:, None]).float(), 3, 1, 1)[:, 0].numpy() > 0
        owner[rim] = k
    errors = []
    for f in range(1, count):
        vectors = np.zeros((height, width, 2), np.float32)
        valid = np.zeros((height, width), bool)
        for k in (BACKGROUND, *range(len(shown))):
            inside = owner[f] == k
            if not inside.any():
                continue
            there = np.full((height, width, 2), np.nan)
            if motion.of(k).linked(f, f - 1):
                there = motion.places(k, f, f - 1, size).double().numpy()
            if k == BACKGROUND and flow is not None:
                sure = flow.valid[f - 1] > 0.5
                there[sure] = (here + flow.backward[f - 1])[sure]
            there = there[inside]
            known = np.isfinite(there[:, 0])
            there = np.where(known[:, None], there, 0)
            column, row = np.floor(there).astype(int).T
            within = known & (column >= 0) & (column < width) & (row >= 0) & (row < height)
            was = owner[f - 1][row.clip(0, height - 1), column.clip(0, width - 1)]
            vectors[inside] = there - here[inside]
            valid[inside] = within & ((was == k) | ((was == BACKGROUND) & (k != BACKGROUND)))
        errors.append(warp_error(frames[f - 1 : f + 1], vectors[None], valid[None])[0])
    return float(np.nanmean(errors)) if np.isfinite(errors).any() else math.nan


def colour_flicker(frames: np.ndarray, cores: np.ndarray) -> float:
    """Standard deviation over time of the mean colour inside each thing, in levels of 255: root mean square over
    channels and things. nan where none is seen twice.

    frames: uint8 [F, H, W, 3]; cores: bool [K, F, H, W], pixels that show nothing but the thing.
    """
    variances = []
    for core in cores:
        means = [frame[inside].mean(0) for frame, inside in zip(frames, core) if inside.any()]
        if len(means) > 1:
            variances.append(np.var(means, axis=0).mean())
    return math.sqrt(np.mean(variances)) if variances else math.nan


def absences(away: np.ndarray, told: np.ndarray) -> Iterator[tuple[int, int, int]]:
    """(thing, last frame before, first frame after) of every time that a thing is away and comes back.

    away, told: bool [K, F], whether a thing is out of sight, and whether a frame says what it is. An absence without
    such a frame on both sides is none.
    """
    for k, (gone, known) in enumerate(zip(away, told & ~away)):
        seen = np.flatnonzero(known)
        for before, after in pairwise(seen):
            if gone[before:after].any():
                yield k, int(before), int(after)


def centre(mask: np.ndarray) -> np.ndarray:
    """(x, y) of a bool mask [H, W] with anything in it, in pixels, that of the first pixel being 0."""
    rows, columns = np.nonzero(mask)
    return np.array([columns.mean(), rows.mean()])
