"""Motion by registration: of every region and pair of frames the best of several guesses, refined ("contest")."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from functools import cached_property

import numpy as np
import torch

from .bending import bent_fits, displacements
from .optical_flow import consistent, dis
from .registration import FULL, LEAST, SHORT, SURE, Fit, Registration, View, moments, shift, wider
from .value import BACKGROUND, CUT, RegionMotion

SIDE = 128  # frames are shrunk until their shorter side has about so many pixels,
SMALL, LARGEST = 150, 384  # but not until the smallest region has fewer than these, up to this side
WIDER, AROUND = (
    2,
    6,
)  # pixels that other regions are widened by before they are left out; all regions, from the background
HOLE = 5  # pixels: narrower holes in other regions' masks are left out with them
NESTED = 0.5  # of a region lies inside another: it is a part on it
DOUBT = 0.15  # a loss from which on other ways are tried; and a frame without a mask does not show the region
BACK, BETTER = 3, 0.8  # frames further back that are tried; their fit must be so much better
NEAR = 1.0  # pixels from what its neighbours say: a step is not tried again
EMPTY = 12  # pixels (of the shrunk frame): a smaller mask says nothing
TRUST = (0.10, 0.25)  # 1 - IoU of registered outlines, median over a clip: trusted up to the first, not from the second


class Scene:
    """A clip at working size. frames: uint8 [F, H, W, 3]; masks: [K, F, H, W] in [0, 1]."""

    def __init__(self, frames: np.ndarray, masks: torch.Tensor):
        height, width = frames.shape[1:3]
        self.scale = max(1.0, min(min(height, width) / SIDE, max(_fineness(masks), min(height, width) / LARGEST)))
        self.size = (round(height / self.scale), round(width / self.scale))
        pixels = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float()
        self.frames = _softened(_shrunk(pixels, self.size) / FULL)
        self.masks = _shrunk(masks.float(), self.size)
        self.soft = _softened(self.masks)
        self._flows: dict[tuple[int, int], np.ndarray] = {}
        self.units = np.diag([width / self.size[1], height / self.size[0], 1.0])  # small places to places of the clip

    def with_masks(self, masks: torch.Tensor) -> Scene:
        """The same frames with other masks, [K, F, h, w] at working size."""
        out = copy(self)
        out.masks, out.soft = masks, _softened(masks)
        return out

    def views(self, region: int) -> list[View]:
        """Of every frame, for a region; -1 = the background."""
        if region >= 0:
            masks = self.soft[region]
        else:
            masks = torch.ones(len(self.frames), *self.size)
            masks = (self.masks.amax(0) < 0.5).float() if len(self.masks) else masks
        out = []
        for f, frame in enumerate(self.frames):
            own = masks[f]
            cover = torch.zeros_like(own)
            for other in range(len(self.masks)):
                if other == region:
                    continue
                mask = (self.masks[other, f] > 0.5).float()
                if region >= 0 and other < region and float((mask * (own > 0.5)).sum()) > NESTED * float(own.sum()):
                    continue  # a part lies on it
                cover = torch.maximum(cover, mask)
            free = 1 - wider(_closed(cover), WIDER if region >= 0 else AROUND)
            known = float((own > 0.5).sum()) >= EMPTY
            out.append(View(torch.cat([frame, own[None]]), free, known))
        return out

    def flow(self, i: int, j: int) -> tuple[np.ndarray, np.ndarray]:
        """OpenCV's flow from frame i to frame j, float32 [h, w, 2] in small pixels, and where the flow back agrees."""
        for pair in ((i, j), (j, i)):
            if pair not in self._flows:
                self._flows[pair] = self._estimate(*(self._pictures[f] for f in pair))
        return self._flows[i, j], consistent(self._flows[i, j], self._flows[j, i])

    @cached_property
    def _estimate(self) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
        return dis().flow

    @cached_property
    def _pictures(self) -> np.ndarray:
        return (self.frames * FULL).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()

    def at_clip_size(self, motion: RegionMotion) -> RegionMotion:
        return motion.in_units(self.units)


def _fineness(masks: torch.Tensor) -> float:
    """By how much masks [K, F, H, W] may be shrunk until the smallest region has SMALL pixels (the median over the
    frames that show it)."""
    areas = (masks > 0.5).flatten(2).sum(2)
    seen = [float(one[one > 0].float().median()) for one in areas if bool((one > 0).any())]
    return (min(seen) / SMALL) ** 0.5 if seen else float("inf")


def _softened(values: torch.Tensor) -> torch.Tensor:
    """1 2 1 in both directions: read between its pixels, a picture is as soft as at them."""
    kernel = torch.tensor([0.25, 0.5, 0.25])
    flat = torch.nn.functional.pad(values.flatten(0, 1)[:, None], (1, 1, 1, 1), mode="replicate")
    return torch.nn.functional.conv2d(flat, (kernel[:, None] * kernel)[None, None])[:, 0].view_as(values)


def _closed(mask: torch.Tensor) -> torch.Tensor:
    return torch.maximum(mask, 1 - wider(1 - wider(mask, HOLE), HOLE))


def _shrunk(values: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    if tuple(values.shape[-2:]) == size:
        return values
    return torch.nn.functional.interpolate(values, size, mode="area")


Fits = dict[int, tuple[int, Fit]]  # frame: the frame it hangs on, and how


def region_motion(scene: Scene, region: int, behind: RegionMotion | None = None, *, bends: bool = True) -> RegionMotion:
    """The motion of a region (-1 = the background) at working size. behind: the background's, at working size; bends:
    whether the region may bend (the background never does)."""
    views = scene.views(region)
    outline = 1.0 if region >= 0 else 0.0
    fits = _chain(views, outline, behind)
    if outline:
        apart = [1 - fit.overlap for _, fit in fits.values() if fit.loss < 1]
        doubt = float(np.median(apart)) if apart else 0.0
        outline = float(np.clip((TRUST[1] - doubt) / (TRUST[1] - TRUST[0]), 0, 1))
    fits = _again(views, outline, behind, fits)
    if bends and region != BACKGROUND:

        def against(i: int, j: int, guess: np.ndarray) -> Registration:
            return Registration(views[i], views[j], outline, _behind(behind, i, j), guess)

        fits = bent_fits(fits, against, scene.flow)
    return chained(fits, views, _unmasked(views, behind, fits))


def chained(fits: Fits, views: Sequence[View], unmasked: Fits | None = None) -> RegionMotion:
    """Fits as a motion, cut where the loss is above CUT. unmasked: those of frames without a mask, to any other frame;
    the region is seen there where they fit."""
    count = len(views)
    before, steps = np.full(count, -1), np.repeat(np.eye(3)[None], count, 0)
    losses, present = np.full(count, np.nan), np.array([view.known for view in views])
    for f, (earlier, fit) in fits.items():
        losses[f] = fit.loss
        if fit.loss <= CUT:
            before[f], steps[f] = earlier, fit.matrix
    unmasked = unmasked or {}
    for f, (other, fit) in sorted(unmasked.items()):
        if fit.loss > DOUBT:
            continue
        present[f], losses[f] = True, fit.loss
        if other < f:
            before[f], steps[f] = other, fit.matrix
            continue
        # Frames before the first mask: they make a row that ends in it.
        row = [g for g in range(f) if present[g]]
        if row:
            here = RegionMotion(before, steps, losses, present).matrix(row[-1], row[0]) if len(row) > 1 else np.eye(3)
            start = unmasked[row[0]][1].matrix
            before[f], steps[f] = row[-1], fit.matrix @ np.linalg.inv(start) @ here
        else:
            losses[f] = np.nan
        before[other], steps[other], losses[other] = f, np.linalg.inv(fit.matrix), fit.loss
    bends = _bends(fits, before, views)
    if (losses > CUT).any() and (before < 0).all():
        form = "off"
    else:
        form = "similarity" if bends is None else "dense"
    return RegionMotion(before, steps, losses, present, form, bends)


def _bends(fits: Fits, before: np.ndarray, views: Sequence[View]) -> np.ndarray | None:
    """The sheets of all steps that are taken, as `RegionMotion.bends`; None without any."""
    bent = {f: fit for f, (start, fit) in fits.items() if fit.sheet is not None and before[f] == start}
    if not bent:
        return None
    found = {f: displacements(fit, views[f].size) for f, fit in bent.items()}
    out = np.zeros((2, len(views), *next(iter(found.values())).shape[1:]), np.float32)
    for f, one in found.items():
        out[:, f] = one
    return out


def _chain(views: Sequence[View], outline: float, behind: RegionMotion | None) -> Fits:
    """A fit for every frame with a mask, after the first, to the last one before it."""
    out: Fits = {}
    last, speed = -1, np.eye(3)
    for f, view in enumerate(views):
        if not view.known:
            continue
        if last >= 0:
            guess = _power(speed, f - last)
            one = Registration(views[last], view, outline, _behind(behind, last, f), guess)
            out[f] = last, one.best([*_starts(one, guess), *one.search(np.eye(3))])
            if out[f][1].loss <= CUT:
                speed = _power(out[f][1].matrix, 1 / (f - last))
        last = f
    return out


def _again(views: Sequence[View], outline: float, behind: RegionMotion | None, fits: Fits) -> Fits:
    """A second round: what the steps before and after a step say of it is known now, and how good the outlines are. A
    frame that its step does not fit well hangs on one further back, where that fits better: of a region that passes
    behind another, two neighbours may show no common part."""
    out = dict(fits)
    seen = [float((view.mask * view.free).sum()) for view in views]
    for f, (last, fit) in fits.items():
        near = [(g, start, one) for g, (start, one) in fits.items() if g == last or start == f]
        sure = [one for one in near if one[2].loss <= DOUBT] or near
        speeds = [_power(one.matrix, 1 / (g - start)) for g, start, one in sure]
        speed = np.mean(speeds, 0) if speeds else np.eye(3)

        def against(start: int, f=f, speed=speed, known=bool(speeds)) -> Registration:
            # The less of a region is seen, the more what the steps beside this one say counts.
            share = max(min(seen[start], seen[f]) / max(max(seen), 1.0), LEAST)
            guess = _power(speed, f - start)
            return Registration(
                views[start], views[f], outline, _behind(behind, start, f), guess, SURE / share if known else SHORT
            )

        one = against(last)
        if (outline == 1 or behind is None) and fit.loss <= DOUBT and one.apart(fit.matrix, one.expected) < NEAR:
            continue
        starts = [fit.matrix, *_starts(one, one.expected)]
        best = one.best(starts if outline == 1 else [*starts, *one.search(one.expected)])
        out[f] = last, best
        if best.loss <= DOUBT or behind is None:
            continue
        for start in [g for g in range(last) if views[g].known][-BACK:]:
            one = against(start)
            other = one.best([one.expected, *one.search(one.expected)])
            if other.rank < BETTER * out[f][1].rank:
                out[f] = start, other
    return out


def _unmasked(views: Sequence[View], behind: RegionMotion | None, fits: Fits) -> Fits:
    """Fits from the nearest frame with a mask to every frame without one, by colours alone: the mask may be missing
    there, or the region hidden. What a fit of the frames before and after such a gap says of the way is the guess."""
    masked = [f for f, view in enumerate(views) if view.known]
    out: Fits = {}
    for f in [f for f, view in enumerate(views) if masked and not view.known]:
        earlier, later = [g for g in masked if g < f], [g for g in masked if g > f]
        a = earlier[-1] if earlier else later[0]
        if earlier and later and fits[later[0]][1].loss <= CUT:
            guess = _power(fits[later[0]][1].matrix, (f - a) / (later[0] - a))
        else:  # on at the speed of the nearest step
            near = a if earlier else next((g for g in later[1:] if g in fits), None)
            guess = np.eye(3)
            if near is not None and near in fits and fits[near][1].loss <= CUT:
                guess = _power(fits[near][1].matrix, (f - a) / (near - fits[near][0]))
        one = Registration(views[a], views[f], 0.0, _behind(behind, a, f), guess, SURE)
        out[f] = a, one.best([guess, *one.search(guess)])
    return out


def _starts(one: Registration, guess: np.ndarray) -> list[np.ndarray]:
    (here, _), (there, _) = moments(one.first.mask), moments(one.second.mask)
    return [guess, np.eye(3), shift(*(there - here))]


def _behind(behind: RegionMotion | None, i: int, j: int) -> np.ndarray | None:
    return behind.matrix(i, j) if behind is not None and behind.linked(i, j) else None


def _power(matrix: np.ndarray, exponent: float) -> np.ndarray:
    """A similarity taken ``exponent`` times: shift, growth and turn each in proportion (about the origin)."""
    if exponent == 1:
        return matrix
    values, vectors = np.linalg.eig(matrix.astype(complex))
    if abs(np.linalg.det(vectors)) < 1e-8:  # a mere shift cannot be brought to diagonal form
        out = matrix.copy()
        out[:2, 2] *= exponent
        out[:2, :2] = np.eye(2)
        return out
    return (vectors @ np.diag(values**exponent) @ np.linalg.inv(vectors)).real
