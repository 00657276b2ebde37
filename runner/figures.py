"""The figures a report gives, from pixels alone. numpy only; every function says its unit and range. ``psnr`` is
`evaluation.frames`' own."""

from __future__ import annotations

import math

import numpy as np

from ..evaluation.frames import psnr


def squared_error(a: np.ndarray, b: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Mean squared difference of two uint8 clips [F, H, W, 3] in units of 1/255; nan if ``mask`` selects nothing.

    mask: bool [F, H, W] (or [H, W], then for every frame): the pixels that count; None = all.
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


def psnr_outside(a: np.ndarray, b: np.ndarray, area: np.ndarray, *, dilate: int = 16) -> float:
    """PSNR in dB of the pixels farther than ``dilate`` pixels from ``area`` (float or bool [F, H, W], > 0 = inside)."""
    return psnr(a, b, ~dilated(np.asarray(area) > 0, dilate))


def psnr_outside_blend(decoded: np.ndarray, vae: np.ndarray, blend_mask: np.ndarray, dilate: int = 16) -> float:
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
    """Whether two clips are bit-identical outside ``support`` (bool [F, H, W], e.g. editing.composite_support)."""
    return bool((a[~support] == b[~support]).all())


def mean_change(a: np.ndarray, b: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Root mean squared difference as a share of full scale, 0..1; nan when ``mask`` selects nothing."""
    return math.sqrt(squared_error(a, b, mask)) / 255


def flicker(frames: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Root mean squared difference between neighbouring frames, as a share of full scale; 0 for a single frame.

    Compare the figure of an edit with that of its source: motion counts too. mask: bool [F, H, W]; a pair of frames
    counts where both are inside."""
    if len(frames) < 2:
        return 0.0
    both = None if mask is None else mask[1:] & mask[:-1]
    return mean_change(frames[1:], frames[:-1], both)
