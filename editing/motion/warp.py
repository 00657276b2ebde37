"""Frames carried along by optical flow, and how much a clip flickers against it. numpy only.

Flow is backward: flow[f, y, x] = (dx, dy) in pixels says that pixel (x, y) of frame f + 1 was at (x + dx, y + dy) in
frame f. Pixel (x, y) has its centre at (x, y).
"""

from __future__ import annotations

import numpy as np


def warp(frame: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """The next frame as the flow predicts it: ``frame`` read at (x + dx, y + dy), bilinearly.

    frame: [H, W] or [H, W, C], uint8 or float; flow: float [H, W, 2]. Returns float64 of the frame's shape in its
    units. Places beyond the frame's edge read the nearest pixel of the edge; ``in_frame`` tells them.
    ValueError where the sizes differ.
    """
    if frame.ndim not in (2, 3) or flow.shape != (*frame.shape[:2], 2):
        raise ValueError(
            f"a flow of {list(flow.shape)} for a frame of {list(frame.shape)}; expected [height, width, 2] of the "
            "same size; compute it at that size"
        )
    height, width = frame.shape[:2]
    x, y = _places(flow)
    x, y = x.clip(0, width - 1), y.clip(0, height - 1)
    left, top = np.floor(x).astype(np.intp), np.floor(y).astype(np.intp)
    right, bottom = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    across, down = x - left, y - top
    if frame.ndim == 3:
        across, down = across[..., None], down[..., None]
    frame = frame.astype(np.float64)
    above = frame[top, left] * (1 - across) + frame[top, right] * across
    below = frame[bottom, left] * (1 - across) + frame[bottom, right] * across
    return above * (1 - down) + below * down


def in_frame(flow: np.ndarray) -> np.ndarray:
    """Whether the place that each pixel came from lies in the frame: bool [H, W] for a flow [H, W, 2]. Half a
    thousandth of a pixel beyond the outermost centres is forgiven to rounding."""
    height, width = flow.shape[:2]
    x, y = _places(flow)
    slack = 5e-4
    return (x >= -slack) & (x <= width - 1 + slack) & (y >= -slack) & (y <= height - 1 + slack)


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


def _places(flow: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where every pixel came from: x and y, float64 [H, W]."""
    height, width = flow.shape[:2]
    x = np.arange(width)[None, :] + flow[..., 0].astype(np.float64)
    y = np.arange(height)[:, None] + flow[..., 1].astype(np.float64)
    return x, y
