"""Edits that hold in time: what the frames say of a region, brought together along the source's motion (method.md 11).

A picture model decides every frame by itself, so that what it draws jumps and pulses. Three functions of values:

- `fuse`: every place of a region becomes the mean or the median of what all frames show there, carried along the
  region's motion. Of the predicted x0 at every step (mean), and once of the decoded pixels (median: it stays sharp).
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
"""So many frames at most, its own among them, are brought together: the nearest ones."""
MOST, ALL = 0.5, 0.999
"""Parts of what is read that must be a region's, or the background's, to count."""
KEY = (0.25, 0.5)
"""Differences from the background, as parts of the edited thing's: below the first it is background, above the second
the thing."""
FAINT, MOST_APART = 0.1, 0.8
"""Smaller differences, values in [-1, 1], say nothing of the thing's; larger ones count as this."""
ALIKE, TWICE, SLIGHT = 0.1, 2.0, 0.02
"""Of differences along the background's motion and a region's, values in [-1, 1]: what is background (`beside`)."""
SOFT = 4
"""Pixels over which the key fades beyond what is known of the background."""
LEAST = 0.1
"""Part of a mask that must surely be background before any of it counts as that."""
RIM = 2
"""Pixels round a thing that are not counted as background: its soft edge."""
SHADES = 8
"""So many of a channel tell colours apart."""


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
    average: str = "median",
) -> Tensor:
    """Every region's cells drawn to the median, or the mean, of the frames along its motion.

    values: floating [F, C, h, w], a predicted x0 or pixels. shares: on the same cells. regions: which are fused, all if
    None. strength: 0 returns the values untouched, 1 the average. known: `readings` of these, where they are kept.
    average: "mean" or "median". Per region k, frame i and its neighbours j:

        w_ij  = values_j read bicubically at the place in frame j of frame i's cell; w_ii = values_i, not read
        valid = the place lies in the picture, and region k has most of what is there in frame j
        values_i <- values_i + strength * sum_k share_k (average over valid j of w_ij - values_i)

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
        of_all = torch.cat([own[None].float(), read]), torch.cat([torch.ones_like(counts[:1]), counts])
        agreed = _mean(*of_all) if average == "mean" else _median(*of_all)
        out[one.frame][(slice(None), *one.box)] += strength * one.share.to(values) * (agreed.to(values) - own)
    return out


def neighbours(frame: int, frames: int) -> range:
    """The NEIGHBOURS frames around a frame, itself among them; all where there are fewer."""
    first = min(max(frame - NEIGHBOURS // 2, 0), max(frames - NEIGHBOURS, 0))
    return range(first, min(first + NEIGHBOURS, frames))


def background(source: Tensor, motion: Motion, masks: Tensor, wide: bool = True) -> tuple[Tensor, Tensor]:
    """The source without its things: where they lie, the median of the other frames along the background's motion.

    source: floating [F, 3, H, W] in [-1, 1]; masks: [K, F, H, W] in [0, 1]; wide: they may be wider than the things,
    and what is background in them is looked for (`beside`). Returns it and where it is known, bool [F, H, W].
    """
    shown = ~_grown(masks.amax(0) > 0, 1) if len(masks) else torch.ones(source[:, 0].shape, dtype=torch.bool)
    if wide:
        for k, mask in enumerate(masks):
            shown |= beside(source, motion, k, mask)
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


def beside(source: Tensor, motion: Motion, region: int, mask: Tensor) -> Tensor:
    """Where a mask [F, H, W] holds background, which it does round the thing where it is a box: bool [F, H, W].

    Measured is by how much the frames differ along a motion: largest channel difference, 3 x 3 mean, of the region's
    motion the median, of the background's the lower quartile, since things cover it at times. A pixel is surely the
    one's along whose motion it differs little, and at least TWICE as much along the other's. What agrees with both, as
    all that is flat does, is the background's where its colour is commoner among what surely is. Nothing where either
    motion is not known.
    """
    shown, thing, either = (torch.zeros(mask.shape, dtype=torch.bool) for _ in range(3))
    for i in range(len(source)):
        both = [_linked(motion, k, i) for k in (BACKGROUND, region)]
        inside_mask = mask[i] > 0
        if min(map(len, both)) < 2 or not bool(inside_mask.any()):
            continue
        box = _box(inside_mask)
        still = _unlike(source, motion, BACKGROUND, i, both[0], box, 0.25)
        carried = _unlike(source, motion, region, i, both[1], box, 0.5)
        covered = inside_mask[box]
        shown[i][box] = covered & (still < ALIKE) & (carried > TWICE * still + SLIGHT)
        thing[i][box] = covered & (carried < ALIKE) & (still > TWICE * carried + SLIGHT)
        either[i][box] = covered & (still < ALIKE) & ~shown[i][box] & ~thing[i][box]
    if int(shown.sum()) < LEAST * int((mask > 0).sum()):
        return torch.zeros_like(shown)  # the mask fits its thing: what looks like background there is its flat inside
    colours = ((source.movedim(1, -1) + 1) * (SHADES / 2)).long().clamp(0, SHADES - 1)
    colours = (colours * torch.tensor([SHADES**2, SHADES, 1])).sum(-1)
    common = [colours[sure].bincount(minlength=SHADES**3) / sure.sum().clamp(min=1) for sure in (shown, thing)]
    alike = either & (common[0] > common[1])[colours]
    shown, thing = ((told & _most_round(told)) for told in (shown | alike, thing | (either & ~alike)))
    return shown & ~_grown(thing, RIM)


def _most_round(told: Tensor) -> Tensor:
    """Where most of 5 x 5 pixels are told so: single ones are chance. bool [F, H, W]."""
    return avg_pool2d(told.float(), 5, 1, 2) > 0.5


def _unlike(
    source: Tensor, motion: Motion, region: int, i: int, near: Sequence[int], box: tuple[slice, slice], part: float
) -> Tensor:
    """By how much the frames ``near`` differ from frame i along a motion: [a, b] in a box, the value below which a
    ``part`` of them lie; 0 where none has the place."""
    places = torch.stack([motion.places(region, i, j, motion.size)[box] for j in near])
    there = sample(source[list(near)], places, motion.size)
    apart = contrast(there, source[i][(slice(None), *box)][None])[:, 0]
    apart = torch.where(inside(places, motion.size), apart, torch.full_like(apart, float("nan")))
    return apart.nanquantile(part, dim=0).nan_to_num()


def keyed(
    fused: Tensor, raw: Tensor, behind: Tensor, known: Tensor, motion: Motion, shares: Shares, regions: Sequence[int]
) -> Tensor:
    """Pixels of the regions in which the edit shows the source's background, put back to it.

    fused: [F, 3, H, W] in [-1, 1] after `fuse`; raw: the same before it, since the fused frames' dragged-along
    background would pass for the thing; behind, known: of `background`. shares: of the widened regions.

        d = largest channel difference of raw and behind, 3 x 3 mean, fused along the regions
        D = the thing's own: the median of d in the region, of all frames, where it is above 0.1; at most 0.8
        out = behind + smoothstep(d; D / 4, D / 2) (fused - behind), where behind is known, fading beyond
    """
    behind, sure = _reaching(behind, known)
    apart = fuse(contrast(raw, behind), motion, shares, regions)
    whole = torch.full_like(apart, MOST_APART)
    for k in regions:
        if (own := own_contrast(apart[:, 0][shares.most[k] & known])) is not None:
            whole = torch.where(shares.most[k][:, None], own, whole)
    part = ((apart / whole - KEY[0]) / (KEY[1] - KEY[0])).clamp(0, 1)
    alpha = part * part * (3 - 2 * part)
    inside_regions = shares.of[list(regions)].sum(0) > 0 if len(regions) else torch.zeros_like(known)
    sure = sure * inside_regions[:, None]
    return torch.where(sure > 0, fused + sure * (1 - alpha) * (behind - fused), fused)


def contrast(raw: Tensor, behind: Tensor) -> Tensor:
    """By how much pictures [F, 3, H, W] in [-1, 1] differ: largest channel difference, 3 x 3 mean, [F, 1, H, W]. The d
    of `keyed` before it is fused."""
    apart = (raw - behind).abs().amax(1, keepdim=True)
    return avg_pool2d(apart, 3, 1, 1, count_include_pad=False)


def own_contrast(apart: Tensor) -> Tensor | None:
    """The D of `keyed`, from the values of d in a region, [N]; None where it shows nothing but background."""
    told = apart[apart > FAINT]
    return told.median().clamp(max=MOST_APART) if len(told) else None


def _reaching(behind: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """The background carried SOFT pixels on from where it is known, and how sure that is, since a rim would show: 1
    where it is known, falling to 0. [F, 3, H, W], [F, 1, H, W]."""
    there, side = known.float()[:, None], 2 * SOFT + 1
    near = avg_pool2d(there, side, 1, SOFT, count_include_pad=False)
    mean = avg_pool2d(behind * there, side, 1, SOFT, count_include_pad=False) / near.clamp(min=1e-6)
    return torch.where(known[:, None], behind, mean), torch.where(known[:, None], 1.0, (2 * near).clamp(max=1))


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


def _mean(read: Tensor, valid: Tensor) -> Tensor:
    """The mean over the first axis of what is valid, of which there is some everywhere: as `_median`."""
    weight = valid[:, None].to(read)
    return (read * weight).sum(0) / weight.sum(0)


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
