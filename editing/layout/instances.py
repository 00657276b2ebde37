"""From kinds to instances: connected components of every frame, cut where two things touch (method.md 9)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FINE = 4  # necks are looked for on a grid this many times finer
NECK = 0.6  # a neck is narrower than this part of the smaller side's width
HALF = 0.25  # each side of a neck has at least this part of the other's area


@dataclass(frozen=True)
class Component:
    """One connected piece of a frame. mask: bool [h, w]. kind: 1, 2, ..."""

    mask: np.ndarray
    kind: int


def find_components(kinds: np.ndarray, smallest: int) -> list[Component]:
    """Components of one frame, largest first. kinds: int [h, w], 0 = background.

    4-connected cells of one kind. Pieces of fewer than `smallest` cells join the larger piece they touch most, whatever
    its kind (rims of a thing), else each other if that makes them large enough, else they are specks and vanish.
    """
    from scipy import ndimage

    pieces = [Component(mask, int(kind)) for kind in np.unique(kinds[kinds > 0]) for mask in connected(kinds == kind)]
    pieces.sort(key=lambda piece: -piece.mask.sum())
    large = [piece for piece in pieces if piece.mask.sum() >= smallest]
    small = [piece.mask for piece in pieces if piece.mask.sum() < smallest]
    joined = True
    while small and large and joined:
        joined = False
        for mask in list(small):
            grown = ndimage.binary_dilation(mask)
            touch = [int((grown & piece.mask).sum()) for piece in large]
            best = int(np.argmax(touch))
            if touch[best]:
                large[best] = Component(large[best].mask | mask, large[best].kind)
                small = [other for other in small if other is not mask]
                joined = True
    if small:
        for mask in connected(np.any(small, 0)):
            if mask.sum() >= smallest:
                large.append(Component(mask, int(np.bincount(kinds[mask]).argmax())))
    return sorted(large, key=lambda piece: -piece.mask.sum())


def connected(region: np.ndarray) -> list[np.ndarray]:
    """4-connected components of a bool [h, w]."""
    from scipy import ndimage

    marked, count = ndimage.label(region)
    return [marked == number for number in range(1, count + 1)]


def cut_necks(piece: Component, score: np.ndarray, level: float, smallest: int) -> list[Component]:
    """Cut a component where it is narrow between two wide parts: two things that touch. [piece] where it is not.

    score, level: the foreground is score > level; between its cells the score tells how far each reaches.
    """
    from scipy import ndimage

    height, width = piece.mask.shape
    apart = np.where(piece.mask, np.maximum(score - level, 0), np.minimum(score - level, 0) - 1e-3)
    around = ndimage.binary_dilation(piece.mask)
    apart = np.where(piece.mask | around, apart, -1.0)  # other pieces nearby do not count
    fine = ndimage.zoom(np.pad(apart, 1, constant_values=-1.0), FINE, order=1, grid_mode=True, mode="nearest")
    fine = fine[FINE:-FINE, FINE:-FINE] > 0
    depth = ndimage.distance_transform_edt(np.pad(fine, 1))[1:-1, 1:-1]
    cut = _deepest_cut(depth)
    if cut is None:
        return [piece]
    rows, columns = np.arange(height) * FINE + FINE // 2, np.arange(width) * FINE + FINE // 2
    nearer = cut[np.ix_(rows, columns)]
    sides = [piece.mask & (nearer == side) for side in (1, 2)]
    areas = [int(side.sum()) for side in sides]
    if min(areas) < max(smallest, HALF * max(areas)):
        return [piece]
    return [part for side in sides for part in cut_necks(Component(side, piece.kind), score, level, smallest)]


def _deepest_cut(depth: np.ndarray) -> np.ndarray | None:
    """Two sides of the narrowest neck of a shape: int [H, W], 1 or 2 everywhere by the nearer side; None = no neck.

    depth: distance to the outside. Raised like a sea, the level at which a peak becomes an island of its own is the
    half width of the neck that joins it to a higher one; the neck counts if it is narrower than NECK of the peak.
    """
    from scipy import ndimage

    top = depth.max()
    best = None
    for level in np.arange(0.5, top * NECK, 0.5):
        marked, count = ndimage.label(depth > level)
        if count < 2:
            continue
        peaks = ndimage.maximum(depth, marked, range(1, count + 1))
        areas = ndimage.sum_labels(depth > level, marked, range(1, count + 1))
        order = np.argsort(-peaks)
        second = order[1]
        ratio = level / peaks[second]
        if ratio <= NECK and areas[second] >= FINE and (best is None or ratio < best[0]):
            best = (ratio, marked == order[0] + 1, marked == second + 1)
    if best is None:
        return None
    near = [ndimage.distance_transform_edt(~side) for side in best[1:]]
    return np.where(near[0] <= near[1], 1, 2)
