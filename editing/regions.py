"""Regions of an edit as values, and where each may change the picture. Both hosts' regions are these."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..attention import normalise_mask
from .composite import latent_mask
from .mask_shapes import sized_mask


@dataclass(frozen=True)
class Region:
    """One region of an edit.

    phrase: its local prompt, which occurs in the global prompt. mask: float or bool, [H, W] (static) or [F, H, W], 1 =
    inside. preserve: keeps its own label in the attention, but its pixels stay the source's. strength: in [0, 1],
    scales the modulation of this region alone.
    """

    phrase: str
    mask: Tensor
    preserve: bool = False
    strength: float = 1.0


@dataclass(frozen=True)
class Areas:
    """Where an edit may change the picture.

    edited: where it is allowed, float32 [F, H, W] in [0, 1] (``edited_area``). kept: what stays the source's inside
    that and in the borders that blend and composite grow around it, [F, H, W] of 0 and 1 (``kept_area``), or None.
    """

    edited: Tensor
    kept: Tensor | None = None

    def at_latent(self, size: tuple[int, int], feather: float) -> Tensor:
        """The latent blend's mask, float32 [F, h, w] (method.md 10). size: (h, w) of the latent; feather: in cells."""
        return latent_mask(self.edited, size, feather, keep=self.kept)


def areas(regions: Sequence[Region], size: tuple[int, int], frames: int) -> Areas:
    """The areas of these regions at ``size`` (H, W) for ``frames`` frames. Errors as in ``sized_mask``."""
    return Areas(edited_area(regions, size, frames), kept_area(regions, size, frames))


def edited_area(regions: Sequence[Region], size: tuple[int, int], frames: int) -> Tensor:
    """Where the edit is allowed: float32 [F, H, W]. Regions are laid on top of each other in their order; an edited one
    adds its mask, a preserved one takes its mask away again, wholly where it is above 0.5."""
    area = torch.zeros(frames, *size)
    for region, mask in zip(regions, sized_masks(regions, size, frames)):
        area = _without(area, mask) if region.preserve else torch.maximum(area, mask)
    return area


def kept_area(regions: Sequence[Region], size: tuple[int, int], frames: int) -> Tensor:
    """The visible part of the preserved regions: float32 [F, H, W], 0 or 1, in the same stacking order.

    Cutting the preserved masks out of ``edited_area`` is not enough: blend and composite grow that area by their soft
    borders, also back over a preserved region. This is what they leave out after growing (``keep`` of editing).
    """
    keep = torch.zeros(frames, *size)
    for region, mask in zip(regions, sized_masks(regions, size, frames)):
        keep = torch.maximum(keep, mask) if region.preserve else _without(keep, mask)
    return (keep > 0.5).float()


def _without(area: Tensor, mask: Tensor) -> Tensor:
    # Above a half the mask counts as whole: 254 of 255 must not leave a trace of 1/255, which "any value > 0" counts.
    return torch.where(mask > 0.5, torch.zeros_like(area), area * (1 - mask))


def frame_masks(regions: Sequence[Region], frames: int) -> list[Tensor]:
    """Each region's mask as float32 [F, h, w], at its own size. Errors as in ``normalise_mask``."""
    return [normalise_mask(region.mask, frames, name) for region, name in zip(regions, _names(regions))]


def sized_masks(regions: Sequence[Region], size: tuple[int, int], frames: int) -> list[Tensor]:
    """Each region's mask as float32 [F, H, W] at ``size``. Errors as in ``sized_mask``."""
    return [sized_mask(region.mask, size, frames, name) for region, name in zip(regions, _names(regions))]


def _names(regions: Sequence[Region]) -> list[str]:
    """What the regions are called in errors."""
    return [f"region {number} ({region.phrase})" for number, region in enumerate(regions, 1)]
