"""Exact optical flow and occlusion of a rendered clip, from the same closed formulas as its pixels.

Objects move, and bend where they are said to (bends.py), but keep their size and shape; a background only pans. So the
flow of every point is that of the topmost thing it lies on. Whether the point is still seen in the other frame is asked
of the other frame's formulas at exactly the place it moves to, between pixels too, not of rounded pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .bends import bent
from .render import Scenes, at_rest_of, pixel_distance


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
    continuous pixels (the centre of pixel x is x + 0.5). Objects may grow and shrink; none bends (ValueError)."""
    if scenes.bend is not None:
        raise ValueError("transforms: an object bends; expected ones that move and grow; ask `exact_displacements`")
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
    bends = here.bend is not None
    y = torch.arange(height, dtype=torch.float32)[None, :, None].expand(len(here), height, width)
    x = torch.arange(width, dtype=torch.float32)[None, None, :].expand(len(here), height, width)
    owner, border = owners(here, x, y, side)
    # The texture at p is that of p + pan, so when pan grows the picture moves the other way.
    vectors = (-(there.pan - here.pan) * side)[:, None, None, :].expand(-1, height, width, 2).clone()
    moved = (there.centre - here.centre) * side
    for k in range(moved.shape[1]):
        by = _displacements(here, there, k, x, y, side) if bends else moved[:, k, None, None, :]
        vectors = torch.where((owner == k)[..., None], by, vectors)
    to_x, to_y = x + vectors[..., 0], y + vectors[..., 1]
    inside = (to_x >= 0) & (to_x <= width - 1) & (to_y >= 0) & (to_y <= height - 1)
    then, border_then = owners(there, to_x, to_y, side)
    return Flow(vectors, inside & (then == owner), torch.minimum(border, border_then))


def _displacements(here: Scenes, there: Scenes, k: int, x: Tensor, y: Tensor, side: int) -> Tensor:
    """How far object k's points at pixels x, y of `here` move to `there`: float32 [B, H, W, 2]. Beyond the object what
    its formula says, which grows with the distance."""
    if here.bend is None or there.bend is None:
        return ((there.centre - here.centre)[:, k] * side)[:, None, None].expand(*x.shape, 2)
    x, y = (x + 0.5) / side, (y + 0.5) / side
    u, v = bent(there.bend[:, k], *at_rest_of(x, y, here.centre[:, k], here.radius[:, k], here.bend[:, k]))
    centre, radius = there.centre[:, k, :, None, None], there.radius[:, k, None, None]
    return torch.stack([centre[:, 0] + u * radius - x, centre[:, 1] + v * radius - y], -1) * side


def exact_displacements(scenes: Scenes, size: tuple[int, int], k: int) -> tuple[Tensor, Tensor]:
    """How far the points of object k move from every frame to the next, and back from every frame but the first to the
    one before: float32 [F - 1, H, W, 2] each, at every pixel, hidden ones and those beyond the object too."""
    y, x = torch.meshgrid(*(torch.arange(length, dtype=torch.float32) for length in size), indexing="ij")
    x, y = (part.expand(len(scenes) - 1, *size) for part in (x, y))
    one, other = scenes[:-1], scenes[1:]
    return _displacements(one, other, k, x, y, min(size)), _displacements(other, one, k, x, y, min(size))


def owners(scenes: Scenes, x: Tensor, y: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """What is seen at places between and at pixel centres.

    x, y: float32 [B, H, W] in pixels; side: the shorter side of the frame in pixels. Returns (int64 [B, H, W], the
    topmost object, -1 = the background; float32 [B, H, W], pixels to the nearest border of any object, hidden borders
    too).
    """
    owner = torch.full(x.shape, -1)
    border = torch.full(x.shape, torch.inf)
    for k in range(scenes.colour.shape[1]):
        bend = None if scenes.bend is None else scenes.bend[:, k]
        for kind in scenes.shape[:, k].unique().tolist():
            rows = (scenes.shape[:, k] == kind) & (scenes.colour[:, k] >= 0)
            distance = pixel_distance(
                kind, (x + 0.5) / side, (y + 0.5) / side, scenes.centre[:, k], scenes.radius[:, k], side, bend
            )
            owner = torch.where(rows[:, None, None] & (distance < 0), k, owner)
            border = torch.where(rows[:, None, None], torch.minimum(border, distance.abs()), border)
    return owner, border
