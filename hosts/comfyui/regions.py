"""Regions out of ComfyUI's links: MASK and IMAGE tensors, prompts as text. Imports nothing of ComfyUI."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
from torch import Tensor

from ...attention import normalise_mask
from ...editing.doubts import frozen_doubt, region_doubts
from ...editing.mask_images import mask_of_picture, masks_from_colours, masks_from_stack
from ...editing.mask_values import levels_of
from ...editing.regions import Region, sized_masks
from ...measuring.pictures.painting import region_preview
from .errors import naming
from .images import image_of, rgb_bytes

log = logging.getLogger(__name__)
PRESERVE = "preserve:"

# A mask counts above this. Weaker values are traces: video compression leaves them far around a mask, and blend and
# composite would take every one of them for a part of the region.
INSIDE = 0.5


def checked_region(prompt: str, mask: Tensor, *, preserve: bool, strength: float, number: int, node: str) -> Region:
    """A Region with its mask as float32 [H, W] or [F, H, W] on the CPU. number: its place in the chain, from 1.

    Mask values up to 0.5 become 0; the others stay as they are. A mask of 0 and one other value up to 0.5 alone (object
    numbers, a grey) is inside where it has that, and the log says so.

    Raises:
        ValueError: an empty prompt (a preserved region needs one too: the attention tells it by its words), or a mask
            of no form that `normalise_mask` knows. Names the node and the region.
    """
    phrase = prompt.strip()
    if not phrase:
        raise ValueError(
            f"{node}: region {number} has an empty prompt; expected words that stand in the global prompt, also for a "
            "region to preserve. Write what is, or is to be, inside its mask."
        )
    name = f"region {number} ({phrase!r})"
    mask = torch.as_tensor(mask).detach().cpu()
    frames = mask.shape[0] if mask.dim() > 2 else 1
    try:
        checked = normalise_mask(mask, max(1, frames), name)
    except ValueError as error:
        raise ValueError(f"{node}: {error}") from None
    inside = checked.where(checked > INSIDE, 0)
    faint = bool(checked.any()) and not bool(inside.any())
    if faint and (levels := levels_of(checked.numpy())) is not None and len(levels) == 2 and 0 in levels:
        inside, faint = (checked > 0).float(), False
        log.warning(
            "%s: the mask of %s has the values 0 and %.3g alone: %.3g is inside.", node, name, *[max(levels)] * 2
        )
    region = Region(phrase, inside.contiguous(), preserve, float(strength))
    for doubt in region_doubts([region], [inside], number):
        why = " (it is nowhere above 0.5, where the inside begins)" if faint and doubt.code == "empty" else ""
        log.warning("%s: %s%s", node, doubt, why)
    return region


def regions_from_masks(
    items: Sequence[Tensor], prompts: str, arrangement: str, *, strength: float, first: int, node: str
) -> tuple[Region, ...]:
    """One region for each mask that has a line of prompts.

    Args:
        items: what came over the link: MASK [F, H, W] or IMAGE [F, H, W, C], one or a list.
        prompts: one line for each mask; empty = no region; "preserve:" first = a preserved one. Empty lines at the end
            that have no mask are let go; of a stack, whose cut the lines decide, one, and only where the batch divides
            without it and not with it.
        arrangement: "list", "stacked" or "colours".
        first: number of the first region made here, for messages.

    Raises:
        ValueError: no mask, numbers that do not match (both are named), or masks of the wrong form.
    """
    _check_given(items, node)
    lines = [line.strip() for line in prompts.replace("\r\n", "\n").split("\n")]
    if not any(lines):
        raise ValueError(f"{node}: prompts are empty; expected one line for each mask. Write at least one.")
    try:
        masks = _arranged([torch.as_tensor(item) for item in items], lines, arrangement)
    except ValueError as error:
        raise ValueError(f"{node}: {error}") from None
    while len(lines) > len(masks) and not lines[-1]:
        lines.pop()
    if len(lines) != len(masks):
        raise ValueError(
            f"{node}: got {_count(len(masks), 'mask')} and {_count(len(lines), 'line')} of prompts; expected one line "
            f"for each mask. Leave a line empty for a mask that is no region.{_hint(arrangement, masks)}"
        )
    regions: list[Region] = []
    for line, mask in zip(lines, masks):
        if not line:
            continue
        preserve = line.lower().startswith(PRESERVE)
        phrase = line[len(PRESERVE) :] if preserve else line
        number = first + len(regions)
        regions.append(checked_region(phrase, mask, preserve=preserve, strength=strength, number=number, node=node))
    return tuple(regions)


def _check_given(items: Sequence[Tensor | None], node: str) -> None:
    """Raise ValueError where there is no mask at all, or nothing in the place of one."""
    remedy = "connect the masks of a tracker, or Load Image (as Mask)."
    if len(items) == 0:
        raise ValueError(f"{node}: masks: got no mask; {remedy}")
    missing = [number for number, item in enumerate(items, 1) if item is None]
    if missing:
        raise ValueError(f"{node}: masks: got no mask as item {missing[0]} of {len(items)}; {remedy}")


def _arranged(items: list[Tensor], lines: Sequence[str], arrangement: str) -> list[Tensor]:
    """One mask for each region-to-be."""
    if arrangement == "list":
        return [_mask(item) for item in items]
    items = [item[None] if item.dim() == 2 else item for item in items]
    if len({tuple(item.shape[1:]) for item in items}) != 1:
        shapes = " and ".join(str(tuple(item.shape)) for item in items)
        raise ValueError(f"arrangement {arrangement} needs pictures of one size; got {shapes}. Choose list.")
    batch = torch.cat(items)
    if arrangement == "colours":
        return [mask for _, mask in masks_from_colours(batch)]
    count = len(lines)
    if not lines[-1] and len(batch) % count and len(batch) % (count - 1) == 0:
        count -= 1  # a text box's last line break; some line has words, so at least one is left
    return masks_from_stack(_mask(batch), count)


def _mask(item: Tensor) -> Tensor:
    """MASK as it is; of an IMAGE, which has its channels last, the grey values."""
    return mask_of_picture(item) if item.dim() == 4 and item.shape[1] != 1 else item


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _hint(arrangement: str, masks: Sequence[Tensor]) -> str:
    if arrangement == "list" and len(masks) == 1 and masks[0].dim() > 2 and len(masks[0]) > 1:
        return (
            f" The one mask is a batch of {len(masks[0])}: if all its regions are in it, one after the other, choose "
            "the arrangement stacked."
        )
    return ""


def preview(images: Tensor, regions: Sequence[Region], *, node: str) -> Tensor:
    """`measuring.pictures.painting.region_preview` on an IMAGE [F, H, W, 3 or 4]: float32 [F, H', W', 3]."""
    with naming(node):
        frames = rgb_bytes(images, "images", node)
        painted = region_preview(frames, regions)
        pictures = torch.from_numpy(frames).movedim(-1, 1)
        for number, (region, mask) in enumerate(zip(regions, sized_masks(regions, frames.shape[1:3], len(frames))), 1):
            if doubt := frozen_doubt(mask, pictures):
                log.warning("%s: region %d (%r): %s.", node, number, region.phrase, doubt)
    return image_of(painted)
