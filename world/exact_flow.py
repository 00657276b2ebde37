"""Exact optical flow and occlusion of a rendered clip, from the same closed formulas as its pixels.

Objects only move (no turning, no growing) and a background only pans, so the flow of every point is that of the topmost
thing it lies on. Whether the point is still seen in the other frame is asked of the other frame's formulas at exactly
the place it moves to, between pixels too, not of rounded pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .render import Scenes, signed_distance


@dataclass(frozen=True)
class Flow:
    """From each frame of a clip to a neighbour of it. Pixel (x, y) has its centre at (x, y), y points down.

    vectors: float32 [F-1, H, W, 2] as (dx, dy) in pixels; seen: bool [F-1, H, W], True where the point is in the
    neighbour's picture (between the outermost pixel centres) and nothing hides it there; border: float32 [F-1, H, W],
    pixels from the nearest border of any object, the lesser of both ends' distances (inf without objects). Anti-aliased
    pixels have border < 0.71 or so; bilinear reading mixes them in up to about 1.5 pixels from a border.
    """

    vectors: Tensor
    seen: Tensor
    border: Tensor

    def valid(self, margin: float = 0.0) -> Tensor:
        """float32 [F-1, H, W]: 1 where the point is seen and lies `margin` pixels or more from every border."""
        return (self.seen & (self.border >= margin)).float()


def forward_flow(scenes: Scenes, size: tuple[int, int]) -> Flow:
    """From frames 0 .. F-2 to the next: the point at p of frame f is at p + vectors[f, p] in frame f + 1."""
    return _flow(scenes, size, scenes[:-1], scenes[1:])


def backward_flow(scenes: Scenes, size: tuple[int, int]) -> Flow:
    """From frames 1 .. F-1 to the one before: the point at p of frame f + 1 was at p + vectors[f, p] in frame f."""
    return _flow(scenes, size, scenes[1:], scenes[:-1])


def exact_transforms(scenes: Scenes, size: tuple[int, int]) -> np.ndarray:
    """How every object, and last the background, moves from frame 0: float64 [K + 1, F, 3, 3], transforms of places in
    continuous pixels (the centre of pixel x is x + 0.5). Objects may grow and shrink; none turns."""
    side = min(size)
    centre, radius = scenes.centre.double().numpy() * side, scenes.radius.double().numpy()
    scale = radius / radius[:1]
    out = np.zeros((centre.shape[1] + 1, len(scenes), 3, 3))
    out[:, :] = np.eye(3)
    out[:-1, :, [0, 1], [0, 1]] = scale.T[..., None]
    out[:-1, :, :2, 2] = (centre - scale[..., None] * centre[:1]).swapaxes(0, 1)
    out[-1, :, :2, 2] = (scenes.pan[:1] - scenes.pan).double().numpy() * side
    return out


def _flow(scenes: Scenes, size: tuple[int, int], here: Scenes, there: Scenes) -> Flow:
    if len(scenes) < 2:
        raise ValueError(f"flow: a clip of {len(scenes)} frame has no motion; expected 2 frames or more; render more")
    if bool((scenes.radius != scenes.radius[:1]).any()) or bool((scenes.shape != scenes.shape[:1]).any()):
        raise ValueError(
            "flow: an object changes its size or shape over the clip; expected objects that only move, whose flow is "
            "known exactly; keep radius and shape the same in all frames"
        )
    height, width = size
    side = min(height, width)
    y = torch.arange(height, dtype=torch.float32)[None, :, None].expand(len(here), height, width)
    x = torch.arange(width, dtype=torch.float32)[None, None, :].expand(len(here), height, width)
    owner, border = owners(here, x, y, side)
    # The texture at p is that of p + pan, so when pan grows the picture moves the other way.
    vectors = (-(there.pan - here.pan) * side)[:, None, None, :].expand(-1, height, width, 2).clone()
    moved = (there.centre - here.centre) * side
    for k in range(moved.shape[1]):
        vectors = torch.where((owner == k)[..., None], moved[:, k, None, None, :], vectors)
    to_x, to_y = x + vectors[..., 0], y + vectors[..., 1]
    inside = (to_x >= 0) & (to_x <= width - 1) & (to_y >= 0) & (to_y <= height - 1)
    then, border_then = owners(there, to_x, to_y, side)
    return Flow(vectors, inside & (then == owner), torch.minimum(border, border_then))


def owners(scenes: Scenes, x: Tensor, y: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """What is seen at places between and at pixel centres.

    x, y: float32 [B, H, W] in pixels; side: the shorter side of the frame in pixels. Returns (int64 [B, H, W], the
    topmost object, -1 = the background; float32 [B, H, W], pixels to the nearest border of any object, hidden borders
    too).
    """
    owner = torch.full(x.shape, -1)
    border = torch.full(x.shape, torch.inf)
    for k in range(scenes.colour.shape[1]):
        radius = scenes.radius[:, k, None, None]
        u = ((x + 0.5) / side - scenes.centre[:, k, 0, None, None]) / radius
        v = ((y + 0.5) / side - scenes.centre[:, k, 1, None, None]) / radius
        for kind in scenes.shape[:, k].unique().tolist():
            rows = (scenes.shape[:, k] == kind) & (scenes.colour[:, k] >= 0)
            distance = signed_distance(kind, u, v) * radius * side
            owner = torch.where(rows[:, None, None] & (distance < 0), k, owner)
            border = torch.where(rows[:, None, None], torch.minimum(border, distance.abs()), border)
    return owner, border
