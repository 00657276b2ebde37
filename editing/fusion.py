"""Edits that hold in time: what the frames say of a region, brought together along the source's motion (method.md 11).

A picture model decides every frame by itself, so that what it draws jumps and pulses. Three functions of values:

- `fuse`: every place of a region becomes the median of what all frames show there, carried along the region's motion.
  Of the predicted x0 at every step, and once of the decoded pixels.
- `background`: the source with everything that regions cover filled from frames that show what is behind.
- `keyed`: inside a region, pixels that show the source's own background are put back to it.

Frames between which the motion is cut never see each other: there each keeps its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, adaptive_max_pool2d, avg_pool2d

from ..attention.coverage import visible_parts
from .composite import composite_weight
from .motion.places import inside, sample, size_of
from .motion.value import BACKGROUND, Motion

NEIGHBOURS = 16
"""So many frames at most, its own among them, make a frame's median: the nearest ones."""
MOST, ALL = 0.5, 0.999
"""Parts of what is read that must be a region's, or the background's, to count."""
KEY = (0.1, 0.25)
"""Differences from the background, values in [-1, 1]: below the first it is background, above the second the edit."""


@dataclass(frozen=True)
class Shares:
    """Which cells belong to which region.

    of: float32 [K, F, h, w], how much of a cell is a region's; sums to 1 where any region touches, else 0, so that a
    touched cell is fused whole and regions that meet divide it. most: bool [K, F, h, w], whether a region touches the
    cell and has more than half of it: what is read from there is the region's.
    """

    of: Tensor
    most: Tensor

    @classmethod
    def at(cls, masks: Tensor, size: tuple[int, int]) -> Shares:
        """masks: float [K, F, H, W] in [0, 1], later regions on top. size: (h, w) of the cells."""
        seen = visible_parts(masks.float())[1:]
        cover = adaptive_avg_pool2d(seen, size)
        touched = adaptive_max_pool2d(seen, size) > 0
        total = cover.sum(0, keepdim=True)
        share = torch.where(total > 0, cover / total.clamp(min=1e-12), torch.zeros_like(cover))
        return cls(share, touched & (share > 0.5))


def widened(masks: Tensor, pixels: float) -> Tensor:
    """Masks [K, F, H, W] grown by so many pixels, but not over what is seen of other regions: float32 of 0 and 1."""
    seen = visible_parts(masks.float())[1:] > 0.5
    out = torch.empty(masks.shape)
    for k, region in enumerate(seen):
        others = torch.cat([seen[:k], seen[k + 1 :]]).any(0)
        out[k] = _grown(region, pixels) & ~others
    return out


@dataclass(frozen=True)
class Reading:
    """Where the values of one region in one frame are read in the frames round it: the same at every step.

    region, frame: indices; box: the part of the frame's cells that is looked at; share: float32 [a, b], how much of
    each is the region's; near: the other frames, N of them; places: float32 [N, a, b, 2], where in them the cells lie,
    in pixels; counts: bool [N, a, b], inside the picture and the region's there.
    """

    region: int
    frame: int
    box: tuple[slice, slice]
    share: Tensor
    near: tuple[int, ...]
    places: Tensor
    counts: Tensor


def readings(motion: Motion, shares: Shares, regions: Sequence[int] | None = None) -> Iterator[Reading]:
    """All there is to read for `fuse` with the same arguments, one region and frame at a time: kept, it is 12 bytes a
    cell and neighbour."""
    for k in range(len(motion.regions)) if regions is None else regions:
        for i in range(motion.frames):
            share = shares.of[k, i]
            near = _linked(motion, k, i)
            if not near or not bool(share.any()):
                continue
            box = _box(share > 0)
            places, counts = _ways(motion, k, i, near, box, shares.most[k], MOST)
            yield Reading(k, i, box, share[box], near, places, counts)


def fuse(
    values: Tensor,
    motion: Motion,
    shares: Shares,
    regions: Sequence[int] | None = None,
    strength: float = 1.0,
    known: Iterable[Reading] | None = None,
) -> Tensor:
    """Every region's cells drawn to the median of the frames along its motion.

    values: floating [F, C, h, w], a predicted x0 or pixels. shares: on the same cells. regions: which are fused, all if
    None. strength: 0 returns the values untouched, 1 the median. known: `readings` of these, where they are kept. Per
    region k, frame i and its neighbours j:

        w_ij  = values_j read bicubically at the place in frame j of frame i's cell; w_ii = values_i, not read
        valid = the place lies in the picture, and region k has most of what is there in frame j
        values_i <- values_i + strength * sum_k share_k (median over valid j of w_ij - values_i)

    The median is per channel, of an even number the mean of the middle two. Memory: the neighbours' values inside one
    region's box in one frame.
    """
    if strength == 0 or (regions is not None and not len(regions)):
        return values
    out = values.clone()
    for one in readings(motion, shares, regions) if known is None else known:
        own = values[one.frame][(slice(None), *one.box)]
        read = sample(values[list(one.near)].float(), one.places, motion.size)
        counts = one.counts.to(own.device)
        median = _median(torch.cat([own[None].float(), read]), torch.cat([torch.ones_like(counts[:1]), counts]))
        out[one.frame][(slice(None), *one.box)] += strength * one.share.to(values) * (median.to(values) - own)
    return out


def neighbours(frame: int, frames: int) -> range:
    """The NEIGHBOURS frames around a frame, itself among them; all where there are fewer."""
    first = min(max(frame - NEIGHBOURS // 2, 0), max(frames - NEIGHBOURS, 0))
    return range(first, min(first + NEIGHBOURS, frames))


def background(source: Tensor, motion: Motion, masks: Tensor) -> tuple[Tensor, Tensor]:
    """The source without its regions: where they lie, the median of the other frames along the background's motion.

    source: floating [F, 3, H, W]; masks: [K, F, H, W] in [0, 1]. Returns it and where it is known, bool [F, H, W].
    """
    shown = ~_grown(masks.amax(0) > 0, 1) if len(masks) else torch.ones(source[:, 0].shape, dtype=torch.bool)
    out, known = source.clone(), shown.clone()
    for i in range(len(source)):
        near, hidden = _linked(motion, BACKGROUND, i), ~shown[i]
        if not near or not bool(hidden.any()):
            continue
        box = _box(hidden)
        places, counts = _ways(motion, BACKGROUND, i, near, box, shown, ALL)
        median = _median(sample(source[list(near)], places, motion.size), counts)
        there = hidden[box] & counts.any(0)
        out[i][(slice(None), *box)] = torch.where(there, median, out[i][(slice(None), *box)])
        known[i][box] |= there
    return out, known


def keyed(
    fused: Tensor, raw: Tensor, behind: Tensor, known: Tensor, motion: Motion, shares: Shares, regions: Sequence[int]
) -> Tensor:
    """Pixels of the regions in which the edit shows the source's background, put back to it.

    fused: [F, 3, H, W] in [-1, 1] after `fuse`; raw: the same before it, since the fused frames' dragged-along
    background would pass for the thing; behind, known: of `background`. shares: of the widened regions.

        d = largest channel difference of raw and behind, 3 x 3 mean, fused along the regions
        out = behind + smoothstep(d; 0.1, 0.25) (fused - behind), where behind is known
    """
    apart = (raw - behind).abs().amax(1, keepdim=True)
    apart = avg_pool2d(apart, 3, 1, 1, count_include_pad=False)
    apart = fuse(apart, motion, shares, regions)
    part = ((apart - KEY[0]) / (KEY[1] - KEY[0])).clamp(0, 1)
    alpha = part * part * (3 - 2 * part)
    inside_regions = shares.of[list(regions)].sum(0) > 0 if len(regions) else torch.zeros_like(known)
    return torch.where((known & inside_regions)[:, None], behind + alpha * (fused - behind), fused)


def _linked(motion: Motion, region: int, i: int) -> tuple[int, ...]:
    """The neighbours of frame i in which it is known where the region is."""
    return tuple(j for j in neighbours(i, motion.frames) if j != i and motion.of(region).linked(i, j))


def _ways(
    motion: Motion,
    region: int,
    i: int,
    near: Sequence[int],
    box: tuple[slice, slice],
    shown: Tensor,
    least: float,
) -> tuple[Tensor, Tensor]:
    """Where the cells of frame i's box lie in the frames ``near`` and whether what is read there counts: inside the
    picture, more than `least` of it `shown` (bool [F, h, w]). float32 [N, a, b, 2], bool [N, a, b]."""
    places = torch.stack([motion.places(region, i, j, size_of(shown))[box] for j in near])
    theirs = sample(shown[list(near)][:, None].float(), places, motion.size, "bilinear")[:, 0] > least
    return places, inside(places, motion.size) & theirs


def _median(read: Tensor, valid: Tensor) -> Tensor:
    """The median over the first axis of what is valid: [n, C, h, w], [n, h, w] -> [C, h, w]; 0 where nothing is."""
    valid = valid[:, None]
    count = valid.sum(0)
    ordered = torch.where(valid, read, torch.full_like(read, float("inf"))).sort(0).values
    last = (count - 1).clamp(min=0)
    low, high = (ordered.gather(0, index.expand(1, *read.shape[1:]))[0] for index in (last // 2, (last + 1) // 2))
    return torch.where(count > 0, (low + high) / 2, torch.zeros_like(low))


def _box(mask: Tensor) -> tuple[slice, slice]:
    """The smallest box around a mask [h, w] with anything in it."""
    rows, columns = mask.any(1).nonzero().flatten(), mask.any(0).nonzero().flatten()
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _grown(masks: Tensor, pixels: float) -> Tensor:
    """bool [F, H, W] grown by so many pixels."""
    return torch.from_numpy(composite_weight(masks, dilate=pixels, feather=0) == 1)
