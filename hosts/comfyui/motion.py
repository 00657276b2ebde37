"""Motion and steadiness out of ComfyUI's links: IMAGE, regions and Motion. Imports nothing of ComfyUI."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from torch import Tensor

from ...editing.motion.clip_motion import clip_motion
from ...editing.motion.fill import fill_regions
from ...editing.motion.value import Motion
from ...editing.regions import Region, sized_masks
from ...editing.settings import SteadySettings
from ...editing.steady import Steady
from ...measuring.pictures.motion_pictures import motion_preview
from .errors import naming
from .images import image_of, rgb_bytes

log = logging.getLogger(__name__)


def found_motion(
    images: Tensor, regions: Sequence[Region], *, source: str, missing: str, node: str
) -> tuple[Motion, tuple[Region, ...], list[str], Tensor]:
    """The motion of a clip, its regions with their masks filled, what is to be said of both, and the preview.

    images: IMAGE [F, H, W, 3 or 4]; regions: masks of any size, 1 or F frames; source, missing: as in `clip_motion` and
    `fill_masks`. Regions without a fill come back as they are, filled ones with masks float32 [F, H, W]. The notes are
    logged as warnings, but for those of regions that bend. preview: IMAGE float32 [F, H', W', 3] (`motion_preview`).
    Raises ValueError, with the node's name, for what does not fit.
    """
    with naming(node):
        frames = rgb_bytes(images, "images", node)
        masks = sized_masks(regions, frames.shape[1:3], len(frames))
        motion = clip_motion(frames, masks, source=source)
        filled, masks, fills = fill_regions(regions, masks, motion, frames, missing=missing)
    names = [f"region {number} ({region.phrase!r})" for number, region in enumerate(regions, 1)]
    notes = [*motion.notes(names), *(fill.text(names[fill.region]) for fill in fills)]
    for note in notes:
        log.warning("%s: %s", node, note)
    notes += motion.bending(names)
    return motion, tuple(filled), notes, image_of(motion_preview(frames, filled, masks, motion))


def steady_of(motion: Motion, regions: Sequence[Region], size: tuple[int, int] | None, frames: int) -> Steady:
    """`Steady.of`, with an error for frames of another size than the motion's (size: None = not known yet)."""
    if size is not None and tuple(size) != tuple(motion.size):
        (height, width), (h, w) = motion.size, size
        raise ValueError(
            f"the motion was found on frames of {width} x {height}, these are {w} x {h}; give Clip Motion the frames "
            "that were encoded."
        )
    return Steady.of(motion, tuple(regions), frames)


def steadied_images(
    source: Tensor, edited: Tensor, motion: Motion, regions: Sequence[Region], *, key: bool, dilate: float
) -> Tensor:
    """The pixel parts of a steady edit, before its composite: float32 [F, H, W, 3].

    source, edited: float32 CPU [F, H, W, 3] in [0, 1], of one shape. dilate: pixels around the regions that are the
    edit's too. key: whether the background key acts. Raises ValueError for a motion of another clip.
    """
    steady = steady_of(motion, regions, source.shape[1:3], len(source))
    settings = SteadySettings(enabled=True, key=bool(key))
    out = steady.values(_signed(source), _signed(edited), settings, dilate)
    return (out.clamp(-1, 1).permute(0, 2, 3, 1) + 1) / 2


def _signed(frames: Tensor) -> Tensor:
    return frames.permute(0, 3, 1, 2) * 2 - 1
