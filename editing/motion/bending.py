"""Regions that bend: where a similarity does not fit well, a smooth sheet of displacements besides, if that fits.

The sheet starts at rest and at optical flow, is fitted to colours and outline as a similarity is (registration.py),
from coarse to fine, and is fitted backward, too: where the two do not lead back, it is not believed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from .places import Size, centres, moved
from .registration import NOTHING, SOFT, Fit, Registration, gradient
from .sheet import Grid, Sheet

SPACINGS = (16.0, 8.0)  # pixels between the points of a sheet, coarse to fine
SMOOTH = 0.05  # what roughness counts beside colours
FLOWS = 1.0  # what it counts beside flow
ROUNDS = 6  # of refinement at each spacing
STILL, FAR = 0.01, 3.0  # pixels: a round that moves less is the last one; none moves more
FINE = 2  # pixels between the displacements that are kept
WORTH, TRIED = 0.79, 2  # rigid things measured 0.81 and more, things that bend 0.75 and less
GAP = (0.5, 2.0)  # pixels from a place to where there and back leads, median and 95 % over a region, at most


Flow = tuple[np.ndarray, np.ndarray]  # float32 [h, w, 2] of a whole frame, and where it is agreed on, bool [h, w]


def bent_fits(
    fits: Mapping[int, tuple[int, Fit]],
    against: Callable[[int, int, np.ndarray], Registration],
    flow: Callable[[int, int], Flow],
) -> dict[int, tuple[int, Fit]]:
    """A region's fits, by frames, with sheets where it bends: where they bring its steps to WORTH of their badness. A
    step that no sheet fits better keeps the similarity.

    against(i, j, guess): the registration of frame i with frame j; flow(i, j): from frame i to frame j. A region that
    bends in none of its TRIED worst steps is left alone, since every sheet takes its time.
    """
    ways = {f: (against(start, f, fit.matrix), fit) for f, (start, fit) in fits.items()}
    plain = {f: _badness(_plain(one, fit)) for f, (one, fit) in ways.items()}
    found: dict[int, Fit] = {}
    for number, f in enumerate(sorted(plain, key=lambda f: -plain[f])):
        if number >= TRIED and not any(_badness(one) < WORTH * plain[g] for g, one in found.items()):
            return dict(fits)
        (one, fit), start = ways[f], fits[f][0]
        back = against(f, start, np.linalg.inv(fit.matrix))
        sheet = sheet_fit(one, back, fit, flow(start, f))
        if sheet is not None and _badness(sheet) < plain[f]:
            found[f] = sheet
    if sum(_badness(found[f]) if f in found else plain[f] for f in plain) > WORTH * sum(plain.values()):
        return dict(fits)
    return {f: (start, found.get(f, fit)) for f, (start, fit) in fits.items()}


def displacements(fit: Fit, size: Size) -> np.ndarray:
    """`RegionMotion.bends` of a fit with a sheet: float32 [2, h, w, 2], what is added to the transform of places, and
    to its inverse, on a grid of FINE pixels over a frame of ``size``."""
    assert fit.sheet is not None
    places = centres((-(-size[0] // FINE), -(-size[1] // FINE)), size)
    inverse = np.linalg.inv(fit.matrix)
    forth = moved(places + fit.sheet.at(places), fit.matrix) - moved(places, fit.matrix)
    back = fit.sheet.undone(moved(places, inverse)) - moved(places, inverse)
    return torch.stack([forth, back]).numpy()


def _badness(fit: Fit) -> float:
    """The loss and the rank, of which the rim is a part, in one: a sheet that follows what is round the region makes
    the rank alone less."""
    return (max(fit.loss, 0.0) * max(fit.rank, 0.0)) ** 0.5  # an outline that grew beyond its union is rounding


def _plain(one: Registration, fit: Fit) -> Fit:
    """A similarity judged as one with a sheet is."""
    return one.judge(fit.matrix, moved(one.places, fit.matrix), moved(one.there, np.linalg.inv(fit.matrix)))


def sheet_fit(one: Registration, back: Registration, fit: Fit, flow: Flow | None = None) -> Fit | None:
    """The best fit of a similarity's with a sheet; None where none is believed.

    one, back: the registration there and back; fit: the similarity's; flow: of the whole frame there, if it is to be
    a start.
    """
    starts = [np.zeros((*one.inner.shape, 2))]
    if flow is not None and (start := _flow_start(one, fit.matrix, *flow)) is not None:
        starts.append(start)
    sheets = [fitted(one, fit.matrix, start) for start in starts]
    fits = [judged(one, fit.matrix, sheet) for sheet in sheets if sheet.upright()]
    best = min(fits, key=lambda found: found.rank, default=None)
    if best is None or best.loss >= NOTHING or best.sheet is None:
        return None
    inverse = np.linalg.inv(fit.matrix)
    start = _inverse_start(back, inverse, best.sheet)
    returned = fitted(back, inverse, start)
    there = moved(one.places + best.sheet.at(one.places), fit.matrix)
    gap = (moved(there + returned.at(there), inverse) - one.places).norm(dim=-1)
    counted = gap[(one.inner * one.look_at(there)[1]) > 0]
    if not len(counted) or bool((torch.quantile(counted, torch.tensor([0.5, 0.95])) > torch.tensor(GAP)).any()):
        return None
    return best


def judged(one: Registration, matrix: np.ndarray, sheet: Sheet) -> Fit:
    there = moved(one.places + sheet.at(one.places), matrix)
    back = sheet.undone(moved(one.there, np.linalg.inv(matrix)))
    return replace(one.judge(matrix, there, back), sheet=sheet)


def fitted(one: Registration, matrix: np.ndarray, start: np.ndarray) -> Sheet:
    """Gauss-Newton for the places  matrix (p + d(p)), from d = start [a, b, 2] on the registration's box: the weighted
    squares of `Registration.refine`, and SMOOTH times the sheet's roughness."""
    mine = gradient(one.template)
    values = start
    for level, spacing in enumerate(SPACINGS):
        grid = Grid(one.box, spacing)
        points = grid.smoothed(values, np.ones(values.shape[:2]), 1e-3)
        rough = SMOOTH * np.kron(np.eye(2), grid.roughness)
        for number in range(ROUNDS):
            part = (level * ROUNDS + number) / (len(SPACINGS) * ROUNDS - 1)
            soft = SOFT[0] + (SOFT[1] - SOFT[0]) * min(1.0, 2 * part)
            step = _step(one, matrix, mine, grid, points, rough, soft)
            most = float(np.abs(grid.values(step)).max())
            points = points + step * min(1.0, FAR / max(most, 1e-9))
            if most < STILL:
                break
        values = grid.values(points)
    return Sheet(grid, points)


def _step(
    one: Registration,
    matrix: np.ndarray,
    mine: tuple[Tensor, Tensor],
    grid: Grid,
    points: np.ndarray,
    rough: np.ndarray,
    soft: float,
) -> np.ndarray:
    moved_by = torch.from_numpy(grid.values(points)).float()
    found, seen = one.look_at(moved(one.places + moved_by, matrix))
    rest = found - one.template
    dx, dy = ((a + b) / 2 for a, b in zip(mine, gradient(found)))
    weight = one.weights(rest, soft) * seen
    xx, xy, yy, x, y = (
        (weight * a * b).sum(0).double().numpy() for a, b in ((dx, dx), (dx, dy), (dy, dy), (dx, rest), (dy, rest))
    )
    across, both, down = (grid.normal(part) for part in (xx, xy, yy))
    normal = np.block([[across, both], [both, down]]) + rough
    from scipy.linalg import solve

    held = points.reshape(-1, 2).T.ravel()
    right = np.concatenate([grid.right(x), grid.right(y)]) + rough @ held
    return solve(normal, -right, assume_a="pos", check_finite=False).reshape(2, *grid.points).transpose(1, 2, 0)


def _flow_start(one: Registration, matrix: np.ndarray, flow: np.ndarray, agreed: np.ndarray) -> np.ndarray | None:
    """What flow says beside a similarity, smooth, on the registration's box; None where it says nothing."""
    top, bottom, left, right = one.box
    window = slice(top, bottom), slice(left, right)
    weight = one.inner.double().numpy() * agreed[window]
    if not weight.any():
        return None
    there = one.places + torch.from_numpy(np.ascontiguousarray(flow[window]))
    apart = (moved(there, np.linalg.inv(matrix)) - one.places).double().numpy()
    grid = Grid(one.box, SPACINGS[0])
    return grid.values(grid.smoothed(apart, weight, FLOWS))


def _inverse_start(back: Registration, inverse: np.ndarray, sheet: Sheet) -> np.ndarray:
    """The sheet undone, as displacements d of the way back:  p = inverse (q + d(q))."""
    first = sheet.undone(moved(back.places, inverse))
    return (moved(first, np.linalg.inv(inverse)) - back.places).double().numpy()
