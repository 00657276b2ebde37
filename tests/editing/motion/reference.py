"""The literal forms that the fast ones are tested against: one place, one tap, one step at a time."""

import math

import numpy as np


def keys(distance: float) -> float:
    """Keys' cubic kernel with -0.75."""
    d, a = abs(distance), -0.75
    if d <= 1:
        return (a + 2) * d**3 - (a + 3) * d**2 + 1
    return a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a if d < 2 else 0.0


def tent(distance: float) -> float:
    return max(0.0, 1 - abs(distance))


def sample_one(values: np.ndarray, place, frame, mode: str) -> np.ndarray:
    """values [C, h, w] at one place (x, y) of a frame (H, W): the cells round it, each with its weight."""
    kernel, reach = {"bicubic": (keys, 2), "bilinear": (tent, 1)}[mode]
    channels, height, width = values.shape
    x = place[0] * width / frame[1] - 0.5  # in cells, counted from the first one's centre
    y = place[1] * height / frame[0] - 0.5
    out = np.zeros(channels)
    for row in range(math.floor(y) - reach + 1, math.floor(y) + reach + 1):
        for column in range(math.floor(x) - reach + 1, math.floor(x) + reach + 1):
            cell = values[:, min(max(row, 0), height - 1), min(max(column, 0), width - 1)]
            out += kernel(y - row) * kernel(x - column) * cell
    return out


def place_in(one, size, place, i: int, j: int):
    """Where a place of frame i lies in frame j, by single steps: back to an earlier frame, or on from one."""
    if i == j:
        return place
    if j > i:  # the last step leads from before[j]
        earlier = place_in(one, size, place, i, int(one.before[j]))
        matrix, bends = one.steps[j], None if one.bends is None else one.bends[0, j]
        return step(matrix, bends, size, earlier)
    matrix, bends = np.linalg.inv(one.steps[i]), None if one.bends is None else one.bends[1, i]
    return place_in(one, size, step(matrix, bends, size, place), int(one.before[i]), j)


def step(matrix, bends, size, place):
    x, y, scale = matrix @ np.array([*place, 1.0])
    out = np.array([x / scale, y / scale])
    if bends is not None:
        out = out + sample_one(bends.transpose(2, 0, 1).astype(np.float64), place, size, "bilinear")
    return out


def cubic(distance: float) -> float:
    """The cubic B-spline at so many knots from its middle."""
    d = abs(distance)
    return (4 - 6 * d**2 + 3 * d**3) / 6 if d < 1 else max(2 - d, 0.0) ** 3 / 6


def spline_of(box, cells, row: int, column: int, place) -> float:
    """A grid point's weight at a place (x, y): the grid of ``cells`` (down, across) lies over a box (top, bottom, left,
    right), one more point before and two after it."""
    top, bottom, left, right = box
    down = min(max((place[1] - top) / (bottom - top) * cells[0], 0), cells[0])
    across = min(max((place[0] - left) / (right - left) * cells[1], 0), cells[1])
    return cubic(down - (row - 1)) * cubic(across - (column - 1))
