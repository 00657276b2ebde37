"""Masks at the frames' size. A mask is scaled, never squeezed: one of another shape than the frames is an error."""

from __future__ import annotations

import torch
from torch import Tensor

from ..attention import normalise_mask

CELL = 8  # pixels of a latent cell: VAEs leave out what does not fill one
_SQUEEZED = 0.02  # of a side, at most, where frames were brought to whole cells without a crop


def sized_mask(mask: Tensor, size: tuple[int, int], frames: int, name: str) -> Tensor:
    """Any form of ``normalise_mask`` as float32 [F, H, W] at ``size`` (H, W) in pixels, scaled by area.

    ValueError as there, and for another shape than ``size`` has.
    """
    mask = normalise_mask(mask, frames, name)
    if tuple(mask.shape[-2:]) == tuple(size):
        return mask
    check_shape(mask, size, name)
    return torch.nn.functional.interpolate(mask[:, None], tuple(size), mode="area")[:, 0]


def check_shape(mask: Tensor, size: tuple[int, int], name: str, *, cells: bool = False) -> None:
    """ValueError for a mask [..., H, W] that would be squeezed onto frames of ``size`` (H, W).

    size: in pixels, or (``cells``) in latent cells.
    """
    if fits(mask, size, cells=cells):
        return
    height, width = mask.shape[-2:]
    high, wide = (side * (CELL if cells else 1) for side in size)
    raise ValueError(
        f"mask of {name} is {width} x {height} pixels, the frames are {wide} x {high}: it would be squeezed; expected "
        "the frames' shape, at any scale; crop the mask as the frames were cropped"
    )


def fits(mask: Tensor, size: tuple[int, int], *, cells: bool = False) -> bool:
    """Whether a mask [..., H, W] has the shape of ``size``, as in ``check_shape``.

    It fits at any scale, to a pixel of its own or of the frames; and where frames lost part of a latent cell, to that.
    A mask of one value all over has no shape.
    """
    height, width = mask.shape[-2:]
    high, wide = (side * (CELL if cells else 1) for side in size)
    own = min(abs(width * high / wide - height), abs(height * wide / high - width))
    off = min(abs(height * wide / width - high), abs(width * high / height - wide))
    limit = CELL if cells else min(CELL, max(1.5, _SQUEEZED * max(high, wide)))
    return own <= 1 or off < limit or is_uniform(mask)


def is_uniform(mask: Tensor) -> bool:
    """Whether every frame of a mask has one value all over."""
    flat = torch.as_tensor(mask).flatten(-2)
    return bool((flat == flat[..., :1]).all())
