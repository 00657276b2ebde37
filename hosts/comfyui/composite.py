"""IMAGE and MASK as ComfyUI hands them over, brought to what the pixel composite takes. Imports no ComfyUI."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from torch import Tensor

from ...editing.composite import composite
from ...editing.doubts import frozen_doubt
from ...editing.mask_shapes import sized_mask
from ...editing.motion.value import Motion
from ...editing.regions import Region
from .errors import naming
from .images import rgb_frames
from .motion import steadied_images

PRESERVED = "the preserved regions (input `preserved`)"

log = logging.getLogger(__name__)


def composite_images(
    source: Tensor,
    edited: Tensor,
    mask: Tensor,
    *,
    dilate: float = 8.0,
    feather: float = 8.0,
    preserved: Tensor | None = None,
    motion: Motion | None = None,
    regions: Sequence[Region] | None = None,
    key: bool = True,
    node: str,
) -> Tensor:
    """IMAGE float32 CPU [F, H, W, 3]: edited inside the grown mask, bit for bit source outside (editing.composite).

    source, edited: IMAGE [F, H, W, 3], same frames and size; a fourth channel is dropped and the log says so. mask,
    preserved: any form of attention.normalise_mask; at another size than H, W, but of that shape, they are scaled by
    area, so that every pixel that the mask touches belongs to it, and a pixel is preserved where more than half of it
    is. motion, regions:
    both or neither; with them the edited frames are first held steady (`steadied_images`), with `key` or without.
    Raises ValueError, with the node's name, for what does not fit.
    """
    with naming(node):
        below, above = rgb_frames(source, "source", node), rgb_frames(edited, "edited", node)
        if len(below) != len(above):
            raise ValueError(
                f"source has {len(below)} frames, edited has {len(above)}; give the frames that were encoded, all of "
                "them."
            )
        if below.shape != above.shape:
            raise ValueError(
                f"source is {_size(below)} pixels, edited is {_size(above)}; bring both to one size with Upscale Image "
                "(ImageScale) before VAE Encode."
            )
        if (motion is None) != (regions is None):
            given, other = ("regions", "motion") if motion is None else ("motion", "regions")
            raise ValueError(
                f"`{given}` is connected without `{other}`; connect both outputs of Clip Motion, or neither of them."
            )
        if motion is not None and regions is not None:
            above = steadied_images(below, above, motion, regions, key=key, dilate=float(dilate))
        size, count = tuple(below.shape[1:3]), len(below)
        region = sized_mask(mask, size, count, "the edited regions (input `mask`)").cpu()
        if not region.any():
            log.warning("%s: the mask is empty, so the result is the source; check the mask.", node)
        elif doubt := frozen_doubt(region, below.movedim(-1, 1)):
            log.warning("%s: %s.", node, doubt)
        return composite(
            below,
            above,
            region,
            dilate=float(dilate),
            feather=float(feather),
            keep=None if preserved is None else sized_mask(preserved, size, count, PRESERVED).cpu(),
        )


def _size(frames: Tensor) -> str:
    return f"{frames.shape[2]} x {frames.shape[1]}"
