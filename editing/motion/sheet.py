"""A smooth sheet of displacements over a box of a frame: cubic B-splines on a grid, fitted by least squares.

d(p) = sum over 4 x 4 grid points of c times the two splines; beyond the box, that of its nearest edge. Least squares
over the pixels of a box need no loop over pixels: weights times products of splines are summed along x, then along y.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

STIFF, TIGHT, HELD = 1.0, 0.02, 1e-4
"""Of a sheet's roughness: what second and first differences of its grid points, and these themselves, count."""


def splines(t: Tensor) -> Tensor:
    """The four cubic B-splines that reach a place a part t of the way between two knots: [..., 4], their sum is 1."""
    parts = ((1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3)
    return torch.stack(parts, -1) / 6


@dataclass(frozen=True)
class Grid:
    """Where a sheet's points lie: over a box (top, bottom, left, right) in pixels, ``spacing`` pixels apart at most."""

    box: tuple[int, int, int, int]
    spacing: float

    @cached_property
    def cells(self) -> tuple[int, int]:
        top, bottom, left, right = self.box
        down, across = (max(1, int(np.ceil(length / self.spacing))) for length in (bottom - top, right - left))
        return down, across

    @property
    def points(self) -> tuple[int, int]:
        """(rows, columns) of the grid points."""
        return self.cells[0] + 3, self.cells[1] + 3

    def near(self, axis: int, at: Tensor) -> tuple[Tensor, Tensor]:
        """The first of the four grid points of an axis (0 = y) that tell of places ``at``, and their splines there."""
        low, high = self.box[2 * axis : 2 * axis + 2]
        cells = self.cells[axis]
        u = ((at - low) * (cells / (high - low))).clamp(0, cells)
        first = u.floor().clamp(max=cells - 1)
        return first.long(), splines(u - first)

    @cached_property
    def bases(self) -> tuple[np.ndarray, np.ndarray]:
        """Every spline at every row, and at every column of pixels of the box: float64 [a, rows], [b, columns]."""
        out = []
        for axis in (0, 1):
            low, high = self.box[2 * axis : 2 * axis + 2]
            first, values = self.near(axis, torch.arange(low, high, dtype=torch.float64) + 0.5)
            base = torch.zeros(high - low, self.points[axis], dtype=torch.float64)
            out.append(base.scatter_(1, first[:, None] + torch.arange(4), values).numpy())
        return out[0], out[1]

    def values(self, points: np.ndarray) -> np.ndarray:
        """The sheet at the box's pixels: [rows, columns, 2] -> [a, b, 2]."""
        down, across = self.bases
        return np.einsum("yr,rcd,xc->yxd", down, points, across, optimize=True)

    def normal(self, weight: np.ndarray) -> np.ndarray:
        """sum over pixels of weight [a, b] times the splines of every two grid points: [points, points], in rows."""
        down, across = self.bases
        pairs = [np.einsum("nr,ns->nrs", base, base).reshape(len(base), -1) for base in (down, across)]
        rows, columns = self.points
        summed = (pairs[0].T @ (weight @ pairs[1])).reshape(rows, rows, columns, columns)
        return summed.transpose(0, 2, 1, 3).reshape(rows * columns, rows * columns)

    def right(self, values: np.ndarray) -> np.ndarray:
        """sum over pixels of values [a, b] times every grid point's spline: [points]."""
        down, across = self.bases
        return (down.T @ values @ across).ravel()

    @cached_property
    def roughness(self) -> np.ndarray:
        """How rough a sheet is, as a quadratic form of one coordinate of its points: [points, points]."""
        slopes, turns, ones = [], [], []
        for count in self.points:
            first, second = np.diff(np.eye(count), axis=0), np.diff(np.eye(count), 2, axis=0)
            slopes.append(first.T @ first)
            turns.append(second.T @ second)
            ones.append(np.eye(count))
        stiff = np.kron(turns[0], ones[1]) + np.kron(ones[0], turns[1]) + 2 * np.kron(slopes[0], slopes[1])
        tight = np.kron(slopes[0], ones[1]) + np.kron(ones[0], slopes[1])
        return STIFF * stiff + TIGHT * tight + HELD * np.kron(*ones)

    def smoothed(self, values: np.ndarray, weight: np.ndarray, smooth: float) -> np.ndarray:
        """The points of the sheet that is nearest to values [a, b, 2], each of weight [a, b], and smooth."""
        from scipy.linalg import solve

        normal = self.normal(weight) + smooth * self.roughness
        right = np.stack([self.right(weight * values[..., axis]) for axis in (0, 1)], -1)
        return solve(normal, right, assume_a="pos", check_finite=False).reshape(*self.points, 2)


@dataclass(frozen=True, eq=False)
class Sheet:
    """points: float64 [rows, columns, 2], (x, y) in pixels, of the grid."""

    grid: Grid
    points: np.ndarray

    def at(self, places: Tensor) -> Tensor:
        """The displacements at places [..., 2]: the same shape, float32."""
        rows, down = self.grid.near(0, places[..., 1].double())
        columns, across = self.grid.near(1, places[..., 0].double())
        points = torch.from_numpy(self.points)
        out = torch.zeros(places.shape, dtype=torch.float64)
        for y in range(4):
            for x in range(4):
                out += (down[..., y] * across[..., x])[..., None] * points[rows + y, columns + x]
        return out.float()

    def undone(self, places: Tensor, rounds: int = 20) -> Tensor:
        """Where what is displaced to ``places`` [..., 2] comes from: p with p + d(p) = places, by fixed point."""
        found = places
        for _ in range(rounds):
            found = places - self.at(found)
        return found

    def upright(self) -> bool:
        """Whether the box's pixels keep their order: nothing is folded over, nothing shrinks to a fifth."""
        d = self.grid.values(self.points)
        (xy, xx), (yy, yx) = np.gradient(d[..., 0]), np.gradient(d[..., 1])
        return bool(((1 + xx) * (1 + yy) - xy * yx > 0.2).all())
