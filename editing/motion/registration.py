"""One region of one frame registered with another frame, by colours and outline, the other regions left out.

Everything here happens on frames that are small (Views.scale), with places in their own pixels, x + 0.5 the centre.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import torch

from .places import centres, moved, sample, size_of
from .sheet import Sheet

FULL = 40.0  # levels of 255: a colour difference from here on counts as wholly wrong
RIM, WIDE = 2, 6  # pixels round a region that are compared, too: the outer side of its edge; of an outline not trusted
LEAST = 0.03  # of a region's pixels must be there to compare, or nothing is known
NOTHING = 2.0  # the loss then
COARSE, REACH = 4, 24  # the search: a grid of so many pixels, shifts up to so many
ROUNDS = 12  # of refinement, at most
STILL = 0.003  # pixels: refinement ends when nothing moves more than this
TOLD = 0.1  # of what the picture says of a shift it must say of growth and turn (a disc does not show that it turns)
SOFT = (0.6, 0.25)  # difference (of FULL) at which a pixel's weight has fallen to a quarter: at first, and at last
# Of two fits alike the likelier counts (patterns repeat themselves; of a thing half hidden, little is to be seen). What
# each pixel away from the expected place adds to the loss, and the expected size and direction, as log and in radians:
SHORT, EVEN, STRAIGHT = 1e-3, 0.2, 0.1
SURE = 3e-3  # in place of SHORT where steps before and after it say what to expect
SAME = 1.0  # pixels: nearer to a transform that is refined already, a start adds nothing
ENOUGH = 0.04  # the loss of a fit that is not bettered: exact motion has .045 in the median
WORSE = 0.02  # a refined transform may look so much worse than its start: reading between pixels blurs
APART = 0.1  # difference (of FULL) from which on what moves like the background is told from what does not
FLOOR = 0.02  # weight of a pixel that the background's motion explains wholly


@dataclass(frozen=True)
class View:
    """One frame as one region sees it: float32 tensors. values: [4, h, w], colours / FULL and the mask; free: [h, w],
    1 where no other region lies; known: whether the mask says anything (an empty one may be missing)."""

    values: torch.Tensor
    free: torch.Tensor
    known: bool

    @property
    def mask(self) -> torch.Tensor:
        return self.values[3]

    @property
    def size(self) -> tuple[int, int]:
        return size_of(self.free)


@dataclass(frozen=True)
class Fit:
    """A transform of places from one frame to another, its loss, and how much of the two outlines agrees (IoU). rank:
    what transforms are compared by: the loss, its colours also of the rim and weighted like those of `refine`, and how
    unlikely the transform is beside the expected one. sheet: how the region bends besides (bending.py)."""

    matrix: np.ndarray
    loss: float
    overlap: float = 0.0
    rank: float = NOTHING
    sheet: Sheet | None = None


def shift(dx: float, dy: float) -> np.ndarray:
    return np.array([[1, 0, dx], [0, 1, dy], [0, 0, 1.0]])


def about(centre: np.ndarray, scale: float, angle: float, dx: float, dy: float) -> np.ndarray:
    """A similarity that turns and grows about ``centre``, then shifts."""
    a, b = scale * np.cos(angle), scale * np.sin(angle)
    linear = np.array([[a, -b], [b, a]])
    out = np.eye(3)
    out[:2, :2], out[:2, 2] = linear, centre - linear @ centre + (dx, dy)
    return out


class Registration:
    """From one view of a region to another. outline: weight of the outline beside the colours, 0..1."""

    def __init__(
        self,
        first: View,
        second: View,
        outline: float = 1.0,
        behind: np.ndarray | None = None,
        expected: np.ndarray | None = None,
        short: float = SHORT,
    ):
        self.first, self.second = first, second
        self.outline = outline if first.known and second.known else 0.0
        self.expected, self.short = np.eye(3) if expected is None else expected, short
        rim = round(RIM + (1 - self.outline) * (WIDE - RIM))
        self.box = _box(first.mask, rim + 2)
        top, bottom, left, right = self.box
        window = (slice(top, bottom), slice(left, right))
        self.template = first.values[(slice(None), *window)]
        hard = (self.template[3] > 0.5).float()
        self.inner = hard * first.free[window]
        self.domain = wider(hard, rim) * first.free[window]
        self.places = centres(first.size, first.size)[window]
        self.area = float(hard.sum())
        weights = hard / max(self.area, 1.0)
        self.centre = np.array([float((self.places[..., axis] * weights).sum()) for axis in (0, 1)])
        self.target = torch.cat([second.values, second.free[None]])
        there = (second.mask > 0.5) & (second.free > 0)
        self.there = centres(second.size, second.size)[there]  # places [n, 2] of the second mask's uncovered pixels
        if behind is not None:  # what moves like the background does not count
            found, seen = self.look(behind)
            apart = (found[:3] - self.template[:3]).pow(2).mean(0)
            telling = apart / (apart + APART**2)
            self.domain = self.domain * torch.where(seen > 0, FLOOR + (1 - FLOOR) * telling, torch.ones_like(seen))

    def look(self, matrix: np.ndarray, mode: str = "bilinear") -> tuple[torch.Tensor, torch.Tensor]:
        """The second view where the first's pixels go: values [4, a, b] and whether they count, [a, b]."""
        return self.look_at(moved(self.places, matrix), mode)

    def look_at(self, places: torch.Tensor, mode: str = "bilinear") -> tuple[torch.Tensor, torch.Tensor]:
        """The same where the first's pixels go to ``places``, [a, b, 2]."""
        found = sample(self.target, places, self.second.size, mode)
        height, width = self.second.size
        x, y = places.unbind(-1)
        seen = (x >= 0.5) & (x <= width - 0.5) & (y >= 0.5) & (y <= height - 0.5) & (found[4] > 0.5)
        return found[:4], seen.float()

    def fit(self, matrix: np.ndarray) -> Fit:
        """The loss of a transform:  mean over a of min(|colour difference|, 40) / 40  +  outline / 2 (1 - |a| / |b|).

        a, b: intersection and union of the moved and the next mask without what other regions cover in either frame;
        without an outline a is the moved mask. NOTHING where a is less than 3 % of the mask.
        """
        if not _sane(matrix):
            return Fit(matrix, NOTHING)
        inverse = np.linalg.inv(matrix)
        one = self.judge(matrix, moved(self.places, matrix), moved(self.there, inverse))
        return one if one.loss >= NOTHING else replace(one, rank=one.rank + self._unlikely(matrix))

    def judge(self, matrix: np.ndarray, places: torch.Tensor, back: torch.Tensor) -> Fit:
        """`fit` of any way to move: the first's pixels to ``places`` [a, b, 2], those of the second mask back to
        ``back`` [n, 2]; matrix: what is nearest to it. The rank is without how unlikely the way is."""
        found, seen = self.look_at(places)
        both = self.inner * seen
        overlap = 1.0
        if self.second.known:
            moved_on = both
            both = moved_on * found[3].clamp(0, 1)
            union = float(moved_on.sum() + self._back(matrix, back) - both.sum())
            overlap = float(both.sum()) / max(union, 1e-6)
            if not self.outline:
                both = moved_on
        if float(both.sum()) < LEAST * self.area:
            return Fit(matrix, NOTHING)
        difference = _difference(found, self.template)
        outline = 0.5 * self.outline * (1 - overlap)
        weight = self.domain * seen
        colour = float((difference * weight).sum() / weight.sum().clamp(min=1e-6))
        loss = float((difference * both).sum() / both.sum()) + outline
        return Fit(matrix, loss, overlap, colour + outline)

    def _unlikely(self, matrix: np.ndarray) -> float:
        change = matrix[:2, :2] @ np.linalg.inv(self.expected[:2, :2])
        growth = 0.5 * abs(np.log(np.linalg.det(change)))
        turn = abs(np.arctan2(change[1, 0] - change[0, 1], change[0, 0] + change[1, 1]))
        return self.short * self.apart(matrix, self.expected) + EVEN * growth + STRAIGHT * turn

    def _back(self, matrix: np.ndarray, places: torch.Tensor) -> float:
        """The pixels of the second mask that were not covered in the first frame, in the first frame's measure. places:
        where they were."""
        if not len(places):
            return 0.0
        height, width = self.first.size
        column, row = places.floor().long().unbind(-1)
        seen = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        free = self.first.free[row.clamp(0, height - 1), column.clamp(0, width - 1)] * seen
        return float(free.sum()) / abs(np.linalg.det(matrix))

    def search(self, start: np.ndarray, count: int = 3) -> list[np.ndarray]:
        """The best shifts within REACH pixels of ``start``, on a grid of COARSE pixels, none beside another."""
        step = COARSE
        reach = REACH // step
        first = torch.cat([self.template, self.inner[None]])
        pad_y, pad_x = (-length % step for length in first.shape[1:])
        small = _pool(torch.nn.functional.pad(first, (0, pad_x, 0, pad_y)), step)
        steps = torch.arange(-reach, reach + 1) * float(step)
        rows, columns = small.shape[1:]
        # All shifts are windows of one larger picture of the second view, carried back by the start.
        across = (torch.arange(columns + 2 * reach) - reach + 0.5) * step + self.box[2]
        down = (torch.arange(rows + 2 * reach) - reach + 0.5) * step + self.box[0]
        places = torch.stack([across.expand(len(down), -1), down[:, None].expand(-1, len(across))], -1)
        blurred = _blur(self.target, step)
        wide = sample(blurred, moved(places, start), self.second.size, "bilinear")
        at = moved(places, start)
        height, width = self.second.size
        wide[4] *= (at[..., 0] > 0) & (at[..., 0] < width) & (at[..., 1] > 0) & (at[..., 1] < height)
        windows = wide.unfold(1, rows, 1).unfold(2, columns, 1)  # [5, shifts down, across, rows, columns]
        inner = small[4] * windows[4]
        difference = _difference(windows, small[:, None, None])
        if self.outline:
            difference = difference + self.outline * (windows[3] - small[3]).abs()
        there = inner.sum((-2, -1))
        cost = (difference * inner).sum((-2, -1)) / there.clamp(min=1e-6)
        cost[there < max(LEAST, 0.25) * small[4].sum()] += 1
        cost += SHORT * torch.hypot(steps[:, None], steps)
        found = []
        for _ in range(count):
            at = int(cost.argmin())
            y, x = divmod(at, cost.shape[1])
            found.append(start @ shift(float(steps[x]), float(steps[y])))
            cost[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2] = 9
        return found

    def refine(self, start: np.ndarray, free: int = 4) -> np.ndarray:
        """Gauss-Newton from ``start``, efficient second order (mean of both gradients), robust weights a pixel.

        free: 2 moves alone, 4 grows and turns besides. Returns the transform, whatever its loss.
        """
        matrix = start.copy()
        x = self.places[..., 0] - float(self.centre[0])
        y = self.places[..., 1] - float(self.centre[1])
        mine = gradient(self.template)
        size = max(self.area, 1.0) ** 0.5 / 2
        for number in range(ROUNDS):
            soft = SOFT[0] + (SOFT[1] - SOFT[0]) * min(1.0, number / (ROUNDS / 2))
            found, seen = self.look(matrix)
            rest = found - self.template
            dx, dy = ((a + b) / 2 for a, b in zip(mine, gradient(found)))
            weight = self.weights(rest, soft) * seen
            # Columns: shift x, shift y, growth, turn (these two in units of the region's half side).
            columns = [dx, dy]
            if free == 4:
                columns += [(dx * x + dy * y) / size, (dy * x - dx * y) / size]
            jacobian = torch.stack(columns).flatten(1)
            weighted = jacobian * weight.flatten()
            normal = (weighted @ jacobian.T).double().numpy()
            right = (weighted @ rest.flatten()).double().numpy()
            normal += np.diag([1e-4 * np.trace(normal) + 1e-6] * len(normal))
            told = np.ones(len(normal), bool)
            told[2:] = 1 / np.diag(np.linalg.inv(normal))[2:] > TOLD * normal[[0, 1], [0, 1]].mean()
            delta = np.zeros(len(normal))
            delta[told] = np.clip(-np.linalg.solve(normal[told][:, told], right[told]), -3, 3)
            scale, angle = 1.0, 0.0
            if free == 4:
                scale, angle = 1 + np.clip(delta[2] / size, -0.1, 0.1), np.clip(delta[3] / size, -0.1, 0.1)
            matrix = matrix @ about(self.centre, scale, angle, delta[0], delta[1])
            if np.abs(delta).max() < STILL and number >= ROUNDS / 2:
                break
        return matrix

    def weights(self, rest: torch.Tensor, soft: float) -> torch.Tensor:
        """What differences ``rest`` [4, a, b] count as, robustly: a colour's weight at ``soft`` is a quarter."""
        weight = torch.empty_like(rest)
        weight[:3] = (1 / (1 + rest[:3].pow(2).sum(0) / 3 / soft**2)).pow(2) / 3
        weight[3] = self.outline * (1 / (1 + rest[3].pow(2) / 0.25)).pow(2)
        return weight * self.domain

    def best(self, starts: Iterable[np.ndarray], refined: int = 2) -> Fit:
        """The best transform that is found from ``starts``: the first and the likeliest ``refined`` are refined, first
        as shifts, then growing and turning where that fits better. No further ones after a fit of loss ENOUGH."""
        fits = [self.fit(start) for start in starts]
        found = []
        for one in [fits[0], *sorted(fits, key=lambda one: one.rank)[:refined]]:
            if one.loss >= NOTHING or any(self.apart(one.matrix, other.matrix) < SAME for other in found):
                continue
            moved_on = self.fit(self.refine(one.matrix, 2))
            moved_on = moved_on if moved_on.rank < one.rank + WORSE else one
            free = self.fit(self.refine(moved_on.matrix, 4))
            found.append(free if free.rank < moved_on.rank else moved_on)
            if found[-1].loss < ENOUGH:
                break
        return min(found or fits[:1], key=lambda one: one.rank)

    def apart(self, one: np.ndarray, other: np.ndarray) -> float:
        """How far apart two transforms bring the region's middle, in pixels."""
        return float(np.hypot(*((one - other) @ np.array([*self.centre, 1.0]))[:2]))


def moments(mask: torch.Tensor) -> tuple[np.ndarray, float]:
    """Centre of a mask [h, w], in pixels, and the root of its area."""
    places = centres(size_of(mask), size_of(mask))
    area = float(mask.sum())
    centre = (places * mask[..., None]).sum((0, 1)).numpy() / max(area, 1e-6)
    return centre.astype(np.float64), area**0.5


def _difference(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Of the three colours, root mean square, at most 1 (= FULL)."""
    return (one[:3] - other[:3]).pow(2).mean(0).sqrt().clamp(max=1)


def _sane(matrix: np.ndarray) -> bool:
    return bool(np.isfinite(matrix).all() and 0.25 < abs(np.linalg.det(matrix)) < 4)


def _box(mask: torch.Tensor, margin: int) -> tuple[int, int, int, int]:
    """Top, bottom, left, right of what a mask covers, ``margin`` wider."""
    rows, columns = (mask > 0.5).any(1).nonzero()[:, 0], (mask > 0.5).any(0).nonzero()[:, 0]
    if not len(rows):
        return 0, 1, 0, 1
    height, width = mask.shape
    return (
        max(int(rows[0]) - margin, 0),
        min(int(rows[-1]) + 1 + margin, height),
        max(int(columns[0]) - margin, 0),
        min(int(columns[-1]) + 1 + margin, width),
    )


def wider(mask: torch.Tensor, by: int) -> torch.Tensor:
    across = torch.nn.functional.max_pool2d(mask[None, None], (1, 2 * by + 1), 1, (0, by))
    return torch.nn.functional.max_pool2d(across, (2 * by + 1, 1), 1, (by, 0))[0, 0]


def _pool(values: torch.Tensor, step: int) -> torch.Tensor:
    return torch.nn.functional.avg_pool2d(values[None], step)[0]


def _blur(values: torch.Tensor, step: int) -> torch.Tensor:
    """Mean of step x step pixels at every pixel (of the even size that a cell of the grid has)."""
    padded = torch.nn.functional.pad(values[None], (step // 2,) * 4, mode="replicate")
    pooled = torch.nn.functional.avg_pool2d(padded, step, 1)[0]
    return (pooled[:, :-1, :-1] + pooled[:, 1:, :-1] + pooled[:, :-1, 1:] + pooled[:, 1:, 1:]) / 4


def gradient(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """d/dx, d/dy of [C, h, w] by central differences, one-sided at the edge."""
    dy, dx = torch.gradient(values, dim=(1, 2))
    return dx, dy
