"""A draft of an edit: a few frames of the clip at half its size, and the regions in them. Imports no ComfyUI."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ...editing.regions import Region, sized_masks
from .images import rgb_frames

FRAMES = 4


def draft_clip(images: Tensor, regions: Sequence[Region], *, cell: int, node: str) -> tuple[Tensor, tuple[Region, ...]]:
    """(IMAGE float32 [f, h, w, 3], the regions with masks float32 [f, h, w]): at most FRAMES frames, evenly spread from
    the first to the last, at half the sides, in multiples of `cell` pixels.

    images: IMAGE [F, H, W, 3 or 4], a fourth channel is dropped; regions: masks of any size, 1 or F frames. Raises
    ValueError for what does not fit.
    """
    frames = rgb_frames(images, "frames", node)
    count, (height, width) = len(frames), frames.shape[1:3]
    chosen = torch.linspace(0, count - 1, min(FRAMES, count)).round().long()
    size = tuple(max(cell, round(side / (2 * cell)) * cell) for side in (height, width))
    small = interpolate(frames[chosen].movedim(-1, 1), size, mode="area").movedim(1, -1)
    masks = sized_masks(regions, (height, width), count)
    drawn = [interpolate(mask[chosen][:, None], size, mode="area")[:, 0] for mask in masks]
    return small.contiguous(), tuple(replace(region, mask=mask) for region, mask in zip(regions, drawn))
