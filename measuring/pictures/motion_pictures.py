"""A clip's motion for people: what the frame before shows, carried along it, beside the frame. OpenCV, when used."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ...editing.motion.value import BACKGROUND, CUT, Motion
from ...editing.regions import Region
from .painting import GAP, HIGHEST, LEGIBLE, PAPER, legend_of, legend_strip, region_colour, text_row


def motion_preview(
    frames: np.ndarray, regions: Sequence[Region], masks: Sequence[Tensor], motion: Motion
) -> np.ndarray:
    """Every frame, and beside it what the earlier frame that it hangs on would make of it: the background and every
    region carried along its motion, regions outlined. What nothing is carried to is grey. Below, a line for each: from
    which frame, with which loss.

    frames: uint8 [F, H, W, 3]; masks: the regions' own, float32 [F, H, W]; motion: of these frames and regions. Small
    frames are enlarged by a whole factor. Returns uint8 [F, H', W', 3].
    """
    import cv2

    height, width = frames.shape[1:3]
    scale = max(1, min(-(-LEGIBLE // (2 * width)), HIGHEST // height))
    size = width * scale, height * scale
    across = 2 * size[0] + GAP
    names, kinds = [*legend_of(regions), "background"], [*range(len(regions)), BACKGROUND]
    strips = [
        legend_strip(
            [f"{name}: {step_text(motion, kind, f)}" for name, kind in zip(names, kinds)], across, hollow={len(names)}
        )
        for f in range(len(frames))
    ]
    most = max(len(strip) for strip in strips)
    text = max(14, across // 28)
    pictures = []
    for f, strip in enumerate(strips):
        both = [frames[f], carried(frames, masks, motion, f)]
        one, other = (cv2.resize(picture, size, interpolation=cv2.INTER_NEAREST) for picture in both)
        between = np.full((size[1], GAP, 3), PAPER, np.uint8)
        title = text_row([(f"frame {f}", 0.25), ("carried here", 0.75)], across, text)
        below = np.full((most - len(strip), across, 3), PAPER, np.uint8)
        pictures.append(np.concatenate([title, np.concatenate([one, between, other], 1), strip, below]))
    return np.stack(pictures)


def carried(frames: np.ndarray, masks: Sequence[Tensor], motion: Motion, f: int) -> np.ndarray:
    """What the earlier frames make of frame f along the motion, uint8 [H, W, 3]; arguments as in `motion_preview`."""
    import cv2

    out = (128 + 0.3 * (frames[f].mean(2, keepdims=True) - 128)).repeat(3, 2)
    owned = torch.stack(list(masks)) if len(masks) else torch.zeros(0, *frames.shape[:3])
    behind = (owned > 0.5).any(0)
    for k in (BACKGROUND, *range(len(masks))):
        start = int(motion.of(k).before[f])
        if start < 0 or motion.of(k).form == "off":
            continue
        inside = (~behind[start] if k == BACKGROUND else owned[k, start] > 0.5).float()
        pixels = torch.from_numpy(np.ascontiguousarray(frames[start])).permute(2, 0, 1).float()
        values, seen = motion.carry(torch.cat([pixels, inside[None]]), k, f, start, "bilinear")
        there = ((values[3] > 0.5) & seen).numpy()
        out[there] = values[:3].permute(1, 2, 0).numpy()[there]
        if k != BACKGROUND:
            core = cv2.erode(there.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
            out[there & ~core] = region_colour(k + 1)
    return np.clip(out.round(), 0, 255).astype(np.uint8)


def step_text(motion: Motion, region: int, f: int) -> str:
    """How a region comes to frame f: "from frame 2, loss 0.05", of a step that bends "..., dense"."""
    one = motion.of(region)
    if one.form == "off":
        return "no motion found"
    if not one.present[f]:
        return "not seen"
    loss = float(one.losses[f])
    if one.before[f] >= 0:
        bent = ", dense" if one.bends is not None and one.bends[:, f].any() else ""
        return f"from frame {one.before[f]}, loss {loss:.2f}{bent}"
    return f"cut, loss {loss:.2f} (above {CUT})" if np.isfinite(loss) else "begins here"
