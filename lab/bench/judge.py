"""How good an edit of the rendered world is, from pixels and exact truth. numpy; the reader and its OpenCV when called.

What is judged. The reader (world/reader.py) names colour and shape of what lies where an object of the ideal result is
to be seen. An object is judged in a frame only where the reader, given the ideal frame itself, names it rightly: what
is hidden, or has run together with a twin it touches, is nobody's fault. So the ideal clip scores 1 on everything.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ...measuring.metrics.pixels import MARGIN, border_band, outside, psnr, ssim, structure_error, warp_error
from ...measuring.metrics.steadiness import GONE, absences, colour_flicker, jitter, own_warp_error
from ...world.exact_flow import backward_flow
from ...world.reader import classify, read_background, read_region
from ...world.vocabulary import BACKGROUND_NAMES
from .steadiness import exact_motion, pieces, readable, visible_share
from .tasks import EditTask

BAND = 8  # pixels: half the band round the border
EQUAL = 99.0  # dB: what equal pixels count as, since an infinite value has no mean
CORE = 0.99  # coverage from which a pixel shows nothing but its object


@dataclass(frozen=True)
class Readings:
    """What the reader sees at every object's place: colour and shape, int [K, F] (-1 = nothing, or no shape that fits);
    background: int [F]."""

    colour: np.ndarray
    shape: np.ndarray
    background: np.ndarray


def read_places(frames: np.ndarray, places: np.ndarray) -> Readings:
    """frames: uint8 [F, H, W, 3]; places: bool [K, F, H, W]."""
    seen = [[read_region(frame, place) for frame, place in zip(frames, row)] for row in places]
    colour, shape = (np.array([[getattr(one, n) for one in row] for row in seen]) for n in ("colour", "shape"))
    return Readings(colour, shape, np.array([BACKGROUND_NAMES.index(read_background(frame)) for frame in frames]))


class Judge:
    """Everything about one task that does not depend on the edit; `measure` is called once a system."""

    def __init__(self, task: EditTask):
        self.task = task
        ideal = task.ideal
        self._masks = ideal.masks.numpy()
        self._places, self._cores = self._masks > 0.5, self._masks > CORE
        self._wanted = np.array(task.wanted())[:, :, None]  # [K, (colour, shape), 1]
        truth = read_places(ideal.frames, self._places)
        self.judged_colour = truth.colour == self._wanted[:, 0]
        self.judged_shape = self.judged_colour & (truth.shape == self._wanted[:, 1])
        self._kept = np.array([any(r.keep and k in r.objects for r in task.regions) for k in range(len(self._masks))])
        self._edits_background = any(not region.objects for region in task.regions)
        flow = backward_flow(ideal.scenes, ideal.frames.shape[1:3])
        self._flow, self._valid = flow.vectors.numpy(), flow.seen.numpy()
        self._ideal_warp = _mean(self._warp(ideal.frames))
        self._motion = exact_motion(ideal.scenes, ideal.frames.shape[1:3])
        self._ideal_own, shown = self._own(ideal.frames)
        self._readable = readable(ideal.scenes, self._masks, shown)
        away = visible_share(ideal.scenes, self._masks) < 1 - GONE
        self._absences = list(absences(away, self.judged_shape))

    def measure(self, frames: np.ndarray) -> dict[str, float]:
        """The figures of a finished edit, uint8 [F, H, W, 3]; nan where a task has nothing to judge by.

        colour, object: shares of the edited objects' judged frames with the right colour / colour and shape; kept: the
        same as object, of the objects to be kept; background: share of the frames with the wanted background, where a
        background is edited (by most of its pixels: a second copy of a kept object in it costs nothing). leak: share of
        the judged frames of objects that show the colour wanted of another object; leak_pixels: the same for the pixels
        inside. Not counted is the colour that was there before the edit: where it stays nothing happened, and nothing
        leaked. union: share of the frames in which everything judged is right at once; union_clip: 1 if that is every
        frame, else 0. flicker: standard deviation over time of the mean colour inside each object, in levels of 255
        (root mean square over channels and objects). warp, warp_ideal: mean over the pairs of frames of warp_error x
        1000 (squared, values in [0, 1]) along the exact flow of the ideal result, of the edit and of the ideal frames.
        own, own_ideal: the same along the motion of what the edit itself shows (steadiness.py), of the edit and of the
        ideal frames. centre_jitter, size_jitter: in pixels, and as a share, of the edited objects. identity: share of
        the times that an object was hidden and came back on which the reader names the same colour and shape after as
        before. ideal_psnr: dB against the ideal frames.
        """
        seen = read_places(frames, self._places)
        colour = seen.colour == self._wanted[:, 0]
        both = colour & (seen.shape == self._wanted[:, 1])
        edited, kept = ~self._kept, self._kept
        out = {
            "colour": _share(colour[edited], self.judged_colour[edited]),
            "object": _share(both[edited], self.judged_shape[edited]),
            "kept": _share(both[kept], self.judged_shape[kept]),
            "background": math.nan,
        }
        right = np.where(self.judged_shape, both, colour) | ~self.judged_colour  # [K, F]
        complete, any_judged = right.all(0), self.judged_colour.any(0)
        if self._edits_background:
            there = seen.background == self.task.background
            out["background"] = float(there.mean())
            complete, any_judged = complete & there, np.ones_like(any_judged)
        out["union"] = _share(complete, any_judged)
        out["union_clip"] = float(complete.all()) if any_judged.any() else math.nan
        out["leak"], out["leak_pixels"] = self._leaks(frames, seen)
        out["flicker"] = colour_flicker(frames, self._cores)
        out["warp"], out["warp_ideal"] = _mean(self._warp(frames)), self._ideal_warp
        out["own"], shown = self._own(frames)
        out["own_ideal"] = self._ideal_own
        out["centre_jitter"], out["size_jitter"] = jitter(shown[edited], self._places[edited], self._readable[edited])
        same = [
            (seen.colour[k, before], seen.shape[k, before]) == (seen.colour[k, after], seen.shape[k, after])
            for k, before, after in self._absences
            if edited[k]
        ]
        out["identity"] = float(np.mean(same)) if same else math.nan
        out["ideal_psnr"] = decibels(psnr(frames, self.task.ideal.frames))
        return out

    def _warp(self, frames: np.ndarray) -> np.ndarray:
        return 1000 * warp_error(frames, self._flow, self._valid)

    def _own(self, frames: np.ndarray) -> tuple[float, np.ndarray]:
        """The warp error along the edit's own outlines, and these; the ideal's where nothing is found."""
        shown = pieces(frames, self._places, self._wanted[:, 0, 0].tolist())
        outlines = np.where(shown.any((2, 3), keepdims=True), shown, self._places)
        return 1000 * own_warp_error(frames, self._motion, outlines), shown

    def _leaks(self, frames: np.ndarray, seen: Readings) -> tuple[float, float]:
        """Of the objects that another one's colour can leak into: shares of frames, and of pixels."""
        own, before = self._wanted[:, 0, 0].tolist(), self._before()
        wrong, judged, foreign = [], [], []
        classes = np.stack([classify(frame) for frame in frames])
        for k, colour in enumerate(own):
            others = sorted(set(own) - {colour, before[k]})
            if others:
                wrong.append(np.isin(seen.colour[k], others))
                judged.append(self.judged_colour[k])
                foreign.append(np.isin(classes, others)[self._cores[k]])
        if not wrong:
            return math.nan, math.nan
        return _share(np.stack(wrong), np.stack(judged)), _mean(np.concatenate(foreign))

    def _before(self) -> list[int]:
        """The colour that each object of the ideal result had in the source; a new part's place was the whole's."""
        old = self.task.clip.scenes.colour[0].tolist()
        return old + [old[0]] * (len(self._masks) - len(old))


def measure_rest(
    decoded: np.ndarray, finished: np.ndarray, vae: np.ndarray, task: EditTask, area: np.ndarray, keep: np.ndarray
) -> dict[str, float]:
    """What an edit did to all that it was not to touch. Clips uint8 [F, H, W, 3]; area, keep: float [F, H, W].

    Against the source through the autoencoder alone (`vae`), before any pixel composite (`decoded`), over the pixels
    more than MARGIN from the area that may change: outside_psnr in dB, outside_ssim, outside_structure (pixels.py).
    kept_psnr: of preserved regions, `finished` against the source. band_psnr: `finished` against the ideal frames in
    the band of BAND pixels to both sides of the area's border: seams. Equal pixels count as EQUAL dB; nan without
    pixels.
    """
    far = outside(area, dilate=MARGIN)
    return {
        "outside_psnr": decibels(psnr(decoded, vae, far)),
        "outside_ssim": ssim(decoded, vae, far),
        "outside_structure": structure_error(decoded, vae, far),
        "kept_psnr": decibels(psnr(finished, task.clip.frames, keep)),
        "band_psnr": decibels(psnr(finished, task.ideal.frames, border_band(area, BAND))),
    }


def decibels(value: float) -> float:
    """A PSNR that has a mean: at most EQUAL; nan stays."""
    return min(value, EQUAL) if not math.isnan(value) else value


def _share(right: np.ndarray, judged: np.ndarray) -> float:
    """Share of what is right among what is judged (bool arrays of one shape); nan where nothing is."""
    return float(right[judged].mean()) if judged.any() else math.nan


def _mean(values: Iterable[float]) -> float:
    numbers = np.asarray(values, dtype=np.float64)
    numbers = numbers[~np.isnan(numbers)]
    return float(numbers.mean()) if len(numbers) else math.nan
