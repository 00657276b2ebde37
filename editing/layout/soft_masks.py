"""From cells to pixels: masks with soft borders that follow the frame (method.md 9)."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

# The guided filter's window reaches one cell to each side: a border found on the grid is off by less than that. On the
# embedded world two rounds at 1e-3 were best of those tried (pixel IoU at the full level .96, .79 without the filter:
# docs/benchmarks/layout.md).
EPSILON, ROUNDS = 1e-3, 2
# The filter leaves faint shares far from any border, and an edit takes every pixel above 0 for one that may change. So
# shares are told apart by a power, and what is left of them within FAINT of 0 or 1 is cut (half stays half).
POWER, FAINT = 6, 0.02
NEAR = 1.5  # cells: how far beyond its own cells a thing may reach


def soften(cells: np.ndarray, score: np.ndarray, level: float) -> np.ndarray:
    """How much of each cell belongs to each thing: float32 [K, F, h, w], adding up to 1 over the things.

    cells: bool [K, F, h, w], every cell true for exactly one thing, the background last. score: float [F, h, w], what
    the cells were found by: background below `level`. A cell near the level is on a border, and belongs to both sides;
    a thing keeps at least half of its own cells, and has at most half of others.
    """
    from scipy import ndimage

    inside = np.asarray(cells[:-1].any(0))
    reach = float(np.median(score[inside])) - level if inside.any() else 0.0
    share = np.clip(0.5 + 0.5 * (score - level) / max(reach, 1e-6), 0, 1)
    out = np.zeros(cells.shape, np.float32)
    for frame in range(cells.shape[1]):
        things = cells[:-1, frame]
        if inside[frame].any():
            away = np.stack(
                [
                    ndimage.distance_transform_edt(~thing) if thing.any() else np.full(thing.shape, np.inf)
                    for thing in things
                ]
            )
            own = np.where(inside[frame], np.maximum(share[frame], 0.5), np.minimum(share[frame], 0.5))
            own[away.min(0) > NEAR] = 0
            out[:-1, frame] = own * (away.argmin(0) == np.arange(len(things))[:, None, None])
        out[-1, frame] = 1 - out[:-1, frame].sum(0)
    return out


def pixel_masks(shares: np.ndarray, size: tuple[int, int], frames: np.ndarray | None = None) -> Tensor:
    """Masks float32 [K, F, H, W] in [0, 1] that add up to 1 at every pixel.

    shares: float32 [K, F, h, w], adding up to 1 over K. size: (H, W). frames: uint8 [F, H', W', 3], whose edges the
    borders follow (resized to `size`); None = bilinear interpolation alone. A thing that is nowhere in a frame stays
    nowhere.
    """
    out = torch.empty(*shares.shape[:2], *size)
    cell = max(size[0] / shares.shape[2], size[1] / shares.shape[3])
    for frame in range(shares.shape[1]):
        now = torch.from_numpy(np.ascontiguousarray(shares[:, frame]))
        large = F.interpolate(now[None], tuple(size), mode="bilinear", align_corners=False)[0]
        if frames is not None and cell > 1:
            large = torch.from_numpy(guided(large.numpy(), _resized(frames[frame], size), max(1, round(cell))))
        large = large * (now.flatten(1).amax(1) > 0)[:, None, None]
        out[:, frame] = narrowed(large)
    return out


def narrowed(shares: Tensor) -> Tensor:
    """Shares [K, H, W] >= 0 as masks that add up to 1 at every pixel and are exactly 0 or 1 away from borders; the
    largest stays the largest."""
    sharp = shares.clamp(min=0) / shares.amax(0).clamp(min=1e-6)  # the largest is 1: its power does not vanish
    sharp = sharp**POWER
    sharp = sharp / sharp.sum(0).clamp(min=1e-6)
    sharp = ((sharp - FAINT) / (1 - 2 * FAINT)).clamp(0, 1)
    return sharp / sharp.sum(0).clamp(min=1e-6)


def guided(masks: np.ndarray, picture: np.ndarray, radius: int, rounds: int = ROUNDS) -> np.ndarray:
    """Guided filter (He, Sun and Tang 2013) with a colour picture as the guide: float32 [K, H, W] in [0, 1].

    Within every window of `radius` pixels to each side a mask is taken for a linear function of the colour, so its
    border moves to where the colour changes, and stays where it is, softly, where the colour does not.

    masks: float32 [K, H, W]. picture: uint8 [H, W, 3].
    """
    import cv2

    def mean(x: np.ndarray) -> np.ndarray:
        return cv2.boxFilter(x, -1, (2 * radius + 1, 2 * radius + 1), borderType=cv2.BORDER_REFLECT)

    colour = np.ascontiguousarray(picture.transpose(2, 0, 1)).astype(np.float32) / 255
    centre = np.stack([mean(c) for c in colour])
    pairs = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))
    inverse = _inverse(*(mean(colour[i] * colour[j]) - centre[i] * centre[j] + EPSILON * (i == j) for i, j in pairs))
    for _ in range(rounds):
        filtered = np.empty_like(masks)
        for k, mask in enumerate(masks):
            level = mean(mask)
            common = np.stack([mean(c * mask) - m * level for c, m in zip(colour, centre)])
            slope = np.stack([sum(inverse[i][j] * common[j] for j in range(3)) for i in range(3)])
            offset = level - (slope * centre).sum(0)
            filtered[k] = sum(mean(s) * c for s, c in zip(slope, colour)) + mean(offset)
        masks = np.clip(filtered, 0, 1)
        masks = masks / masks.sum(0).clip(1e-6)
    return masks


def _inverse(a, b, c, d, e, f) -> list[list[np.ndarray]]:
    """Inverse of the symmetric matrices ((a, b, c), (b, d, e), (c, e, f)), everywhere at once."""
    minors = (d * f - e * e, c * e - b * f, b * e - c * d, a * f - c * c, b * c - a * e, a * d - b * b)
    determinant = a * minors[0] + b * minors[1] + c * minors[2]
    p, q, r, s, t, u = (minor / determinant for minor in minors)
    return [[p, q, r], [q, s, t], [r, t, u]]


def _resized(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    import cv2

    if picture.shape[:2] == tuple(size):
        return picture
    return cv2.resize(picture, (size[1], size[0]), interpolation=cv2.INTER_AREA)
