"""Holes in masks, and masks that are missing, filled by the motion: by what other frames say of the same places."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, max_pool2d

from ...attention import normalise_mask
from ...attention.options import MISSING
from ..regions import Region
from .registration import FULL
from .value import Motion, MotionError, frame_list

NEIGHBOURS = 4  # frames to each side that are asked
MATCHES = 0.5  # of FULL: a place whose colours, mean of 3 x 3 pixels, differ by less shows the same thing
TIE = 0.05  # of FULL: of two regions that fit a place alike, the later one, which lies on top, has it
THIN = 1  # pixels: what is not wider than twice that and one is no hole, but the outline


@dataclass(frozen=True)
class Fill:
    """What was filled. region: its index; frames: in which; missing: whole masks, not holes."""

    region: int
    frames: tuple[int, ...]
    missing: bool

    def text(self, name: str = "", file: str = "") -> str:
        """One line. name: the region's; file: its mask's, if it has one."""
        what = "no mask" if self.missing else "holes in the mask"
        where = f" ({file})" if file else ""
        return (
            f"{name or f'region {self.region + 1}'}{where}: {what} in {frame_list(self.frames)}; filled by the motion"
        )


def fill_masks(
    masks: Sequence[Tensor], motion: Motion, frames: np.ndarray, *, missing: str = "fill"
) -> tuple[list[Tensor], list[Fill]]:
    """Masks without holes, and with those that were missing.

    masks: one a region, [F, H, W] or one of all frames, in [0, 1]; motion, frames: the same clip's.
    missing: "fill", or "absent": a frame without a mask stays one in which the region is not seen (holes are filled).

    A place is filled where most of the frames that are linked with this one (the nearest 4 to each side) have it in
    their mask and show the same colours there, and where no other region has a mask; in a frame with a mask only inside
    that mask's convex hull, so that a box drawn to stay never follows the thing. Two regions that both claim a
    place without a mask: the one whose colours fit better, the later one if both do. Nothing is taken away, and masks
    without holes come back as they are. Returns float32 masks [F, H, W] and what was filled. MotionError for another
    ``missing``, and for masks or frames of another number or size than the motion's.
    """
    if missing not in MISSING:
        raise MotionError(f"missing: {missing!r} does not exist; expected one of {', '.join(MISSING)}.")
    count, size = len(frames), motion.size
    if frames.shape != (count, *size, 3) or count != motion.frames or len(masks) != len(motion.regions):
        raise MotionError(
            f"fill: {len(masks)} masks for frames of {list(frames.shape)}; expected the clip of the motion: "
            f"{len(motion.regions)} masks, [{motion.frames}, {size[0]}, {size[1]}, 3]."
        )
    sized = torch.stack([normalise_mask(mask, count, f"region {n}") for n, mask in enumerate(masks, 1)]).clone()
    pixels = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float() / FULL
    empty = ~(sized > 0.5).flatten(2).any(2)
    out, fills = sized.clone(), {}
    for f in range(count):
        claims, misfits = torch.zeros_like(sized[:, 0]), torch.full_like(sized[:, 0], torch.inf)
        for k in range(len(sized)):
            if empty[k, f] and missing == "absent":
                continue
            claim, misfit = _claim(sized[k], empty[k], motion, k, f, pixels)
            claim = claim * (_without(sized, k)[f] <= 0.5)
            if not empty[k, f]:
                new = _opened((claim > 0.5).float() * ((sized[k, f] <= 0.5) & _hull(sized[k, f])))
                claim = torch.where(new > 0.5, claim, torch.zeros_like(claim))
            claims[k] = claim
            misfits[k] = torch.where(claim > 0, misfit, torch.inf)
        owner = _owner(misfits)
        for k, claim in enumerate(claims):
            claim = claim * (owner == k)
            if (claim > 0.5).any():
                out[k, f] = torch.maximum(out[k, f], claim)
                fills.setdefault((k, bool(empty[k, f])), []).append(f)
    return list(out), [Fill(k, tuple(found), gone) for (k, gone), found in sorted(fills.items())]


def fill_regions(
    regions: Sequence[Region], masks: Sequence[Tensor], motion: Motion, frames: np.ndarray, *, missing: str = "fill"
) -> tuple[list[Region], list[Tensor], list[Fill]]:
    """`fill_masks` of regions whose masks at the frames' size are ``masks``: the regions, of which those without a fill
    come back as they are, all masks, and what was filled."""
    if not regions:
        return [], [], []
    filled, fills = fill_masks(masks, motion, frames, missing=missing)
    changed = {fill.region for fill in fills}
    mended = [replace(region, mask=filled[k]) if k in changed else region for k, region in enumerate(regions)]
    return mended, filled, fills


def _claim(masks: Tensor, empty: Tensor, motion: Motion, k: int, f: int, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """What the other frames say of region k in frame f: how much of each pixel is in it [H, W], 0 where fewer than half
    of them have it, and by how much their colours differ there (of FULL)."""
    linked = [g for g in range(len(masks)) if g != f and not empty[g] and motion.of(k).linked(f, g)]
    near = sorted(linked, key=lambda g: abs(g - f))
    near = [g for side in (-1, 1) for g in [g for g in near if (g - f) * side > 0][:NEIGHBOURS]]
    votes = inside = difference = torch.zeros_like(masks[0])
    for g in near:
        both, seen = motion.carry(torch.cat([pixels[g], masks[g][None]]), k, f, g, "bilinear")
        apart = (both[:3] - pixels[f]).pow(2).mean(0).sqrt().clamp(max=1)
        apart = avg_pool2d(apart[None, None], 3, 1, 1, count_include_pad=False)[0, 0]
        same = both[3] * seen * (apart < MATCHES)
        votes = votes + seen
        inside = inside + same
        difference = difference + apart * same
    if not near:
        return inside, difference
    share = inside / votes.clamp(min=1)
    return torch.where(share > 0.5, share, torch.zeros_like(share)), difference / inside.clamp(min=1e-6)


def _without(masks: Tensor, k: int) -> Tensor:
    """The largest mask of all regions but k, [F, H, W]; of those that k lies on as a part, what is round it."""
    others = [masks[n] for n in range(len(masks)) if n != k and not _nested(masks[k], masks[n])]
    return torch.stack(others).amax(0) if others else torch.zeros_like(masks[0])


def _nested(part: Tensor, whole: Tensor) -> bool:
    inside = part > 0.5
    return float((inside & (whole > 0.5)).sum()) > 0.5 * float(inside.sum()) > 0


def _owner(misfits: Tensor) -> Tensor:
    """Of every pixel the last region whose misfit [K, H, W] is within TIE of the least."""
    order = torch.arange(len(misfits))[:, None, None]
    least = misfits.amin(0)
    return torch.where((misfits <= least + TIE) & misfits.isfinite(), order, -1).amax(0)


def _hull(mask: Tensor) -> Tensor:
    """The convex hull of a mask [H, W] with something in it, bool."""
    import cv2

    ys, xs = (mask > 0.5).nonzero(as_tuple=True)
    outline = cv2.convexHull(torch.stack([xs, ys], -1).int().numpy())
    return torch.from_numpy(cv2.fillConvexPoly(np.zeros(mask.shape, np.uint8), outline, 1) > 0)


def _opened(mask: Tensor) -> Tensor:
    side = 2 * THIN + 1
    kept = 1 - max_pool2d(1 - mask[None, None], side, 1, THIN)
    return max_pool2d(kept, side, 1, THIN)[0, 0]
