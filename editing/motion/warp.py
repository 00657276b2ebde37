"""Frames carried along by optical flow, and how much a clip flickers against it. numpy only.

Flow is backward: flow[f, y, x] = (dx, dy) in pixels says that pixel (x, y) of frame f + 1 was at (x + dx, y + dy) in
frame f. Pixel (x, y) has its centre at (x, y).
"""

from __future__ import annotations

import numpy as np


def warp(frame: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """The next frame as the flow predicts it: ``frame`` read at (x + dx, y + dy), bilinearly.

    frame: [H, W] or [H, W, C], uint8 or float; flow: float [H, W, 2], without NaN, which names no place. Returns
    float64 of the frame's shape in its units. Places beyond the frame's edge read the nearest pixel of the edge;
    ``in_frame`` tells them. A pixel is NaN where any of the four that it is mixed from is, also at weight 0.
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


def _places(flow: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where every pixel came from: x and y, float64 [H, W]."""
    height, width = flow.shape[:2]
    x = np.arange(width)[None, :] + flow[..., 0].astype(np.float64)
    y = np.arange(height)[:, None] + flow[..., 1].astype(np.float64)
    return x, y
