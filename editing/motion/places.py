"""Places in a frame, and values read at them. One grid serves latents and pixels.

A place is (x, y) in pixels of the frame as a continuous plane: x from 0 to W, y from 0 to H, the centre of pixel x at
x + 0.5. A latent of h x w cells covers the same plane, so cell x has its centre at (x + 0.5) W / w. (Optical flow in
warp.py counts from the pixels' centres instead; differences of places are the same in both.)
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample

Size = tuple[int, int]


def size_of(values: torch.Tensor) -> Size:
    """(h, w) of [..., h, w]."""
    height, width = values.shape[-2:]
    return height, width


def centres(size: Size, frame: Size, device: torch.device | str = "cpu") -> Tensor:
    """float32 [h, w, 2]: the centres of all cells of a grid of ``size`` (h, w) over a ``frame`` of (H, W) pixels."""
    across, down = (
        (torch.arange(count, device=device) + 0.5) * (length / count) for count, length in zip(size[::-1], frame[::-1])
    )
    return torch.stack([across.expand(size), down[:, None].expand(size)], -1)


def moved(places: Tensor, matrix: np.ndarray) -> Tensor:
    """[..., 2] places after a 3 x 3 transform of homogeneous coordinates (x, y, 1)."""
    values = torch.as_tensor(matrix, dtype=torch.float64).tolist()
    x, y = places.unbind(-1)
    rows = values[:2] if values[2] == [0, 0, 1] else values
    there = torch.stack([a * x + b * y + c for a, b, c in rows], -1)
    return there if len(rows) == 2 else there[..., :2] / there[..., 2:]


def inside(places: Tensor, frame: Size) -> Tensor:
    """bool [...]: whether places [..., 2] lie in the frame of (H, W) pixels, its edge included."""
    x, y = places.unbind(-1)
    return (x >= 0) & (x <= frame[1]) & (y >= 0) & (y <= frame[0])


def sample(values: Tensor, places: Tensor, frame: Size, mode: str = "bicubic") -> Tensor:
    """``values`` read at ``places``.

    values: floating [C, h, w] or, each at its own places, [N, C, h, w]; cells over a frame of (H, W) pixels. places:
    [a, b, 2] or [N, a, b, 2]. mode: bicubic (Keys, -0.75), bilinear or nearest. Beyond the frame the nearest cell of
    the edge is read. Returns [C, a, b] or [N, C, a, b] in values' dtype.
    """
    if values.ndim == 3:
        return sample(values[None], places[None], frame, mode)[0]
    scale = torch.tensor([2 / frame[1], 2 / frame[0]], device=values.device, dtype=torch.float32)
    grid = places.to(values.device, torch.float32) * scale - 1
    return grid_sample(values.float(), grid, mode, padding_mode="border", align_corners=False).to(values.dtype)
