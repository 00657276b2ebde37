"""How alike two clips are, pixel by pixel, over the pixels that count. numpy and OpenCV (imported when first used).

Clips are uint8 [F, H, W, 3] RGB. A weight is float or bool [F, H, W], or [H, W] for every frame: how much each pixel
counts. A pixel of weight 0 plays no part at all, not even through a window or a gradient that reaches over to it, so
"outside the mask" means what it says. Every function says its unit and range.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from ...editing.motion.optical_flow import FlowError
from ...editing.motion.warp import in_frame, warp

LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
WINDOW, SIGMA = 11, 1.5  # of SSIM, as published
MARGIN = 16  # pixels: "outside" in the figures is farther than this from what may have changed
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


def psnr(a: np.ndarray, b: np.ndarray, weight: np.ndarray | None = None) -> float:
    """Peak signal-to-noise ratio in dB over all frames together, peak 255: 10 log10(255^2 / MSE), MSE weighted.

    a, b: uint8 [F, H, W, 3]; weight: of every pixel, bool or float >= 0 [F, H, W], None = all alike. inf where the
    pixels are equal, nan where the weight is 0 everywhere. ValueError for clips or a weight that do not match.
    """
    error = count = 0.0
    for x, y, w in _pairs(a, b, weight):
        square = ((x.astype(np.float64) - y) ** 2).sum(axis=-1)  # whole numbers: of bool weights every sum is exact
        error, count = error + float((w * square).sum()), count + 3 * float(w.sum())
    if not count:
        return math.nan
    return math.inf if error == 0 else 10 * math.log10(255**2 / (error / count))


def ssim(a: np.ndarray, b: np.ndarray, weight: np.ndarray | None = None) -> float:
    """Structural similarity (Wang et al. 2004) of the luma, weighted mean over pixels and frames; at most 1 = equal.

    Gaussian window 11 x 11 with sigma 1.5, K1 = 0.01, K2 = 0.03, L = 255, biased moments. The moments of a window are
    weighted by ``weight`` too and end at the frame's edge: nothing is padded. nan where the weight is 0 everywhere.
    ValueError as for ``psnr``.
    """
    total = count = 0.0
    for first, second, w in _pairs(a, b, weight):
        x, y = luma(first), luma(second)
        covered = _blurred(w)
        seen = covered > 1e-12
        divisor = np.where(seen, covered, 1.0)

        def moment(value: np.ndarray, w: np.ndarray = w, divisor: np.ndarray = divisor) -> np.ndarray:
            return _blurred(w * value) / divisor

        mean_x, mean_y = moment(x), moment(y)
        var_x, var_y = moment(x * x) - mean_x**2, moment(y * y) - mean_y**2
        covariance = moment(x * y) - mean_x * mean_y
        similarity = (2 * mean_x * mean_y + C1) * (2 * covariance + C2)
        similarity /= (mean_x**2 + mean_y**2 + C1) * (var_x + var_y + C2)
        w = np.where(seen, w, 0.0)
        total, count = total + float((w * similarity).sum()), count + float(w.sum())
    return total / count if count else math.nan


def structure_error(a: np.ndarray, b: np.ndarray, weight: np.ndarray | None = None) -> float:
    """How much the edges differ, from gradients alone (it needs no network, unlike LPIPS): 0 = the same edges up to a
    constant offset of brightness, 1 = no edge in common.

    With g = (dx, dy) the central differences of the luma:  sum w |g_a - g_b| / sum w (|g_a| + |g_b|)  over all pixels
    and frames. The triangle inequality keeps it in [0, 1]; a contrast scaled by s gives |1 - s| / (1 + s). A pixel's
    weight is the least one of itself and the four neighbours that its gradient reads; at the frame's edge the
    difference is one-sided. 0 where neither clip has an edge, nan where no pixel has a weight. ValueError as for
    ``psnr``, and for frames smaller than 2 x 2.
    """
    difference = size = count = 0.0
    for first, second, w in _pairs(a, b, weight):
        if min(w.shape) < 2:
            raise ValueError(f"frames of {list(w.shape)} have no edges; expected 2 x 2 pixels or more; enlarge them")
        g, h = np.stack(np.gradient(luma(first))), np.stack(np.gradient(luma(second)))
        w = _least_of_cross(w)
        difference += float((w * np.hypot(*(g - h))).sum())
        size += float((w * (np.hypot(*g) + np.hypot(*h))).sum())
        count += float(w.sum())
    if not count:
        return math.nan
    return difference / size if size else 0.0


def border_band(mask: np.ndarray, width: float = 8) -> np.ndarray:
    """The band round the border of a mask: float32 [F, H, W], 1 where a pixel inside lies at most ``width`` pixels from
    the nearest one outside, or the other way round (distances between pixel centres); 0 elsewhere.

    mask: float or bool [F, H, W], > 0.5 = inside. The frame's edge is no border: an empty or full mask has no band.
    """
    inside = _frames_of(mask) > 0.5
    band = [(_distance(one) <= width) & (_distance(~one) <= width) for one in inside]
    return np.stack(band).astype(np.float32)


def outside(mask: np.ndarray, dilate: float = 0) -> np.ndarray:
    """What a mask leaves: float32 [F, H, W], 1 where a pixel lies farther than ``dilate`` pixels from every pixel that
    the mask touches (> 0; distances between pixel centres), 0 elsewhere. mask: float or bool [F, H, W]."""
    touched = _frames_of(mask) > 0
    return np.stack([_distance(one) > dilate for one in touched]).astype(np.float32)


def luma(frames: np.ndarray) -> np.ndarray:
    """The luma (BT.601) of RGB [..., 3], float64 in the same units."""
    return frames.astype(np.float64) @ LUMA


def _pairs(
    a: np.ndarray, b: np.ndarray, weight: np.ndarray | None
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Frame by frame (no float copy of a clip): both frames and the float64 weight [H, W]."""
    if a.ndim != 4 or a.shape[-1] != 3 or a.shape != b.shape or a.dtype != np.uint8 or b.dtype != np.uint8:
        raise ValueError(
            f"clips are {a.dtype} {list(a.shape)} and {b.dtype} {list(b.shape)}; expected two uint8 [frames, height, "
            "width, 3] of one shape; cut or resize them"
        )
    if weight is None:
        whole = np.ones(a.shape[1:3])
    elif weight.shape not in (a.shape[:3], a.shape[1:3]):
        raise ValueError(
            f"the weight is {list(weight.shape)}; expected {list(a.shape[:3])} or {list(a.shape[1:3])}, as the clips "
            "have it; resize the mask"
        )
    elif weight.ndim == 2:
        whole = weight.astype(np.float64)
    for index in range(len(a)):
        yield a[index], b[index], whole if weight is None or weight.ndim == 2 else weight[index].astype(np.float64)


def _frames_of(mask: np.ndarray) -> np.ndarray:
    if mask.ndim != 3:
        raise ValueError(f"a mask is {list(mask.shape)}; expected [frames, height, width]; add the missing axis")
    return mask


def _distance(inside: np.ndarray) -> np.ndarray:
    """The distance of every pixel to the nearest one inside, in pixels; inf where there is none. inside: bool [H, W]"""
    import cv2

    if not inside.any():
        return np.full(inside.shape, np.inf)
    return cv2.distanceTransform((~inside).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)


def _blurred(value: np.ndarray) -> np.ndarray:
    import cv2

    return cv2.GaussianBlur(value, (WINDOW, WINDOW), SIGMA, borderType=cv2.BORDER_CONSTANT)


def _least_of_cross(weight: np.ndarray) -> np.ndarray:
    """For every pixel the least weight of itself and its four neighbours in the frame."""
    import cv2

    return cv2.erode(weight, cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3)))


def squared_error(a: np.ndarray, b: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Mean squared difference of two uint8 clips [F, H, W, 3] in units of 1/255; nan if ``mask`` selects nothing.

    mask: bool [F, H, W] (or [H, W], then for every frame): the pixels that count; None = all. ValueError for clips of
    two shapes.
    """
    if a.shape != b.shape:
        raise ValueError(f"clips of {list(a.shape)} and {list(b.shape)} cannot be compared; expected one shape; resize")
    total, count = 0.0, 0
    for index in range(len(a)):  # frame by frame: no float copy of the whole clip
        square = (a[index].astype(np.float64) - b[index].astype(np.float64)) ** 2
        if mask is not None:
            square = square[mask if mask.ndim == 2 else mask[index]]
        total, count = total + float(square.sum()), count + square.size
    return total / count if count else math.nan


def dilated(mask: np.ndarray, pixels: int) -> np.ndarray:
    """A bool mask [F, H, W] grown by a disc of radius ``pixels`` in every frame."""
    if pixels <= 0:
        return mask.astype(bool)
    import cv2

    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * pixels + 1, 2 * pixels + 1))
    return np.stack([cv2.dilate(frame.astype(np.uint8), kernel).astype(bool) for frame in mask])


def psnr_outside(a: np.ndarray, b: np.ndarray, area: np.ndarray, *, dilate: int = MARGIN) -> float:
    """PSNR in dB of two clips uint8 [F, H, W, 3], of the pixels farther than ``dilate`` pixels from ``area`` (float or
    bool [F, H, W], > 0 = inside)."""
    return psnr(a, b, ~dilated(np.asarray(area) > 0, dilate))


def psnr_outside_blend(decoded: np.ndarray, vae: np.ndarray, blend_mask: np.ndarray, dilate: int = MARGIN) -> float:
    """PSNR in dB of a decoded edit against the clip's VAE round trip, farther than ``dilate`` pixels from the BLEND
    mask: what the latent blend alone keeps, before any pixel composite.

    decoded, vae: uint8 [F, H, W, 3]; blend_mask: float [F, h, w] at latent size (EditResult.blend_mask; numpy or a CPU
    tensor), > 0 = may have changed, each cell H / h by W / w (8 x 8) pixels. inf when the pixels are equal, nan when
    none lies outside. ValueError for a mask that does not tile the frames.
    """
    mask = np.asarray(blend_mask) > 0
    count, height, width = decoded.shape[:3]
    if mask.ndim != 3 or len(mask) != count or height % mask.shape[1] or width % mask.shape[2]:
        raise ValueError(
            f"a blend mask of {list(mask.shape)} does not tile frames of {list(decoded.shape)}; expected [F, h, w] "
            "with whole cells of pixels; pass EditResult.blend_mask of the same edit"
        )
    pixels = mask.repeat(height // mask.shape[1], axis=1).repeat(width // mask.shape[2], axis=2)
    return psnr(decoded, vae, ~dilated(pixels, dilate))


def equal_outside(a: np.ndarray, b: np.ndarray, support: np.ndarray) -> bool:
    """Whether two clips have the same values outside ``support``; True where that leaves no pixel.

    a, b: [F, H, W, 3], any dtypes, compared by ==: of uint8 clips it is bit for bit; -0.0 equals 0.0, NaN never equals.
    support: bool [F, H, W], e.g. of `editing.composite.composite_support`.
    """
    return bool((a[~support] == b[~support]).all())


def mean_change(a: np.ndarray, b: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Root mean squared difference of two uint8 clips [F, H, W, 3] as a share of full scale, 0..1; nan when ``mask``
    (as in `squared_error`) selects nothing."""
    return math.sqrt(squared_error(a, b, mask)) / 255


def flicker(frames: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Root mean squared difference between neighbouring frames, as a share of full scale; 0 for a single frame.

    Compare the figure of an edit with that of its source: motion counts too. mask: bool [F, H, W]; a pair of frames
    counts where both are inside."""
    if len(frames) < 2:
        return 0.0
    both = None if mask is None else mask[1:] & mask[:-1]
    return mean_change(frames[1:], frames[:-1], both)


def warp_error(
    frames: np.ndarray, backward_flow: np.ndarray, valid: np.ndarray | None = None, *, norm: str = "squared"
) -> np.ndarray:
    """How far each frame is from the frame before it, carried along by the flow: float64 [F - 1], one value a pair.

    For a pair (f, f + 1): the weighted mean over pixels and channels of d^2 (``squared``) or |d| (``absolute``), with
    d = frame f + 1 - warp(frame f, flow[f]) and values in [0, 1] (of uint8: divided by 255). Squared is what Lai et al.
    2018 and the papers after it take; 0 = carried along exactly. Papers show the mean over the pairs x 100 or x 1000.

    frames: uint8 [F, H, W, 3], F >= 2; backward_flow: float [F - 1, H, W, 2]; valid: float or bool [F - 1, H, W], the
    weight of every pixel of frames 1, 2, ... (0 = occluded in the frame before); None = all. Pixels that came from
    beyond the frame's edge never count. nan for a pair of which no pixel counts. ValueError for other shapes.
    """
    if norm not in ("squared", "absolute"):
        raise ValueError(f"norm is {norm!r}; expected 'squared' or 'absolute'; choose one")
    if frames.ndim != 4 or frames.dtype != np.uint8 or len(frames) < 2:
        raise ValueError(
            f"frames are {frames.dtype} {list(frames.shape)}; expected uint8 [frames, height, width, 3], two frames or "
            "more; pass a longer clip"
        )
    pairs = (len(frames) - 1, *frames.shape[1:3])
    if backward_flow.shape != (*pairs, 2) or (valid is not None and valid.shape != pairs):
        told = "" if valid is None else f" and valid of {list(valid.shape)}"
        raise ValueError(
            f"a flow of {list(backward_flow.shape)}{told} for frames of {list(frames.shape)}; expected "
            f"{[*pairs, 2]} and {list(pairs)}; compute them from a clip of this size"
        )
    errors = np.full(pairs[0], np.nan)
    for index, flow in enumerate(backward_flow):
        weight = in_frame(flow).astype(np.float64)
        if valid is not None:
            weight = weight * valid[index]
        if weight.any():
            difference = (frames[index + 1] - warp(frames[index], flow)) / 255
            value = difference**2 if norm == "squared" else np.abs(difference)
            errors[index] = (weight * value.mean(axis=-1)).sum() / weight.sum()
    return errors


def end_point_error(flow: np.ndarray, other: np.ndarray, valid: np.ndarray) -> float:
    """Mean distance in pixels between two flows [P, H, W, 2], weighted by ``valid`` [P, H, W]; nan without weight.
    Pair by pair in float64, so that a long clip needs no more room than a short one. FlowError for other shapes."""
    if flow.shape != other.shape or valid.shape != flow.shape[:-1]:
        raise FlowError(
            f"flows are {list(flow.shape)} and {list(other.shape)}, valid is {list(valid.shape)}; expected flows of "
            f"one shape and valid {list(flow.shape[:-1])}; compute them at one size"
        )
    total = weights = 0.0
    for one, theirs, seen in zip(flow, other, valid):
        weight = seen.astype(np.float64)
        total += float((weight * np.sqrt(((one.astype(np.float64) - theirs) ** 2).sum(axis=-1))).sum())
        weights += float(weight.sum())
    return total / weights if weights else float("nan")
