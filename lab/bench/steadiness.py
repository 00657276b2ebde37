"""How steady an edit of the rendered world is over time, whatever else is right or wrong about it.

Judged is what the edit itself shows. A thing's piece in a frame is the connected piece of its wanted colour that
overlaps the ideal's place most, by more than a fifth of that place.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch.nn.functional import max_pool2d

from ...measuring.metrics.pixels import warp_error
from ...world.exact_flow import exact_transforms
from ...world.reader import classify
from ...world.render import Scenes, coverage

OVERLAP = 0.2  # of the ideal's place that a piece must cover to be the thing
ALONE = 0.15  # of its area by which an object's piece of the ideal frames may differ
HIDDEN = 0.15  # of the ideal hidden, from which on a frame says nothing of size and place


def pieces(frames: np.ndarray, places: np.ndarray, colours: Sequence[int]) -> np.ndarray:
    """What the clip shows of every object: bool [K, F, H, W], empty where there is no such piece. A piece that is that
    of two objects (twins that touch) is divided: every pixel goes to the object whose place in the ideal is nearer.

    frames: uint8 [F, H, W, 3]; places: bool [K, F, H, W], where the ideal has them; colours: their wanted ones, [K].
    """
    import cv2

    out = np.zeros_like(places)
    for f, frame in enumerate(frames):
        classes = classify(frame)
        for k, colour in enumerate(colours):
            place = places[k, f]
            if not place.any():
                continue
            _, labels = cv2.connectedComponents((classes == colour).astype(np.uint8), connectivity=4)
            covered = np.bincount(labels[place], minlength=labels.max() + 1)
            covered[0] = 0
            best = int(covered.argmax())
            if covered[best] > OVERLAP * place.sum():
                out[k, f] = labels == best
        away = np.stack([cv2.distanceTransform((~place).astype(np.uint8), cv2.DIST_L2, 5) for place in places[:, f]])
        out[:, f] &= np.arange(len(places))[:, None, None] == np.where(out[:, f], away, np.inf).argmin(0)
    return out


def jitter(shown: np.ndarray, places: np.ndarray, counted: np.ndarray) -> tuple[float, float]:
    """(centre jitter in pixels, size jitter as a share of the size), means over the objects seen twice or more.

    shown: of `pieces`; places: bool [K, F, H, W]; counted: bool [K, F], the frames that count. With side = root of the
    area: size = std / mean over frames of side / the ideal's side; centre = root mean square over frames of centre -
    the ideal's centre, less its own mean. (nan, nan) where no object is.
    """
    centres, sizes = [], []
    for piece, place, counts in zip(shown, places, counted):
        frames = np.flatnonzero(counts & piece.any((1, 2)) & place.any((1, 2)))
        if len(frames) < 2:
            continue
        apart = np.array([_centre(piece[f]) - _centre(place[f]) for f in frames])
        centres.append(math.sqrt(((apart - apart.mean(0)) ** 2).sum(1).mean()))
        side = np.sqrt([piece[f].sum() / place[f].sum() for f in frames])
        sizes.append(float(side.std() / side.mean()))
    return (float(np.mean(centres)), float(np.mean(sizes))) if centres else (math.nan, math.nan)


def own_warp_error(frames: np.ndarray, scenes: Scenes, shown: np.ndarray) -> float:
    """Squared warp error x 1000 along the motion of what the clip itself shows, mean over its pairs of frames.

    frames: uint8 [F, H, W, 3]; scenes: whose exact motion it is; shown: bool [K, F, H, W], later objects on top. Each
    frame is compared with the one before it, carried along: inside an object's outline by its motion, elsewhere by the
    background's. What lies outside the picture or under another object in the frame before does not count; an object
    that was not there before though its motion says so, does.
    """
    count, height, width = frames.shape[:3]
    ways = exact_transforms(scenes, (height, width))
    y, x = np.mgrid[:height, :width] + 0.5
    here = np.stack([x, y, np.ones_like(x)], -1)
    owner = np.full((count, height, width), -1)
    for k, piece in enumerate(shown):
        # The mixed pixels of a border are no palette colour's; what they show moves with the object.
        rim = max_pool2d(torch.from_numpy(piece[:, None]).float(), 3, 1, 1)[:, 0].numpy() > 0
        owner[rim] = k
    flow = np.zeros((count - 1, height, width, 2), np.float32)
    valid = np.zeros((count - 1, height, width), bool)
    for f in range(1, count):
        for k in range(-1, len(shown)):
            inside = owner[f] == k
            if not inside.any():
                continue
            back = ways[k, f - 1] @ np.linalg.inv(ways[k, f])
            there = (here[inside] @ back.T)[:, :2]
            flow[f - 1][inside] = there - here[inside][:, :2]
            column, row = np.floor(there).astype(int).T
            within = (column >= 0) & (column < width) & (row >= 0) & (row < height)
            was = owner[f - 1][row.clip(0, height - 1), column.clip(0, width - 1)]
            valid[f - 1][inside] = within & ((was == k) | ((was == -1) & (k >= 0)))
    return float(np.nanmean(1000 * warp_error(frames, flow, valid)))


def readable(scenes: Scenes, visible: np.ndarray, ideal: np.ndarray) -> np.ndarray:
    """bool [K, F]: in these frames an object's size and place can be told: at most HIDDEN of it is covered by others,
    and its piece of the ideal frames is it alone.

    visible: float [K, F, H, W], what is seen of the objects; ideal: bool [K, F, H, W], `pieces` of the ideal frames.
    """
    height, width = visible.shape[2:]
    whole = np.stack(
        [
            coverage(scenes.shape[:, k], scenes.centre[:, k], scenes.radius[:, k], height, width).numpy().sum((1, 2))
            for k in range(len(visible))
        ]
    )
    area = (visible > 0.5).sum((2, 3))
    alone = np.abs(ideal.sum((2, 3)) - area) <= ALONE * area
    return alone & (visible.sum((2, 3)) >= (1 - HIDDEN) * whole)


def _centre(mask: np.ndarray) -> np.ndarray:
    rows, columns = np.nonzero(mask)
    return np.array([columns.mean(), rows.mean()])
