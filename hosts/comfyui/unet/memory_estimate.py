"""How much more memory space-time attention needs than the attention ComfyUI reckons with. Imports no comfy.

Attention is fused and never holds logits, so everything here is linear in the number of tokens. ComfyUI's own estimate
knows the plain attention of the same frames; on top of that come the gathered keys and values of the seen frames, and
where attention is modulated the widened queries, keys and values (method.md 6), of some heads at a time, and one tile
of the logit range. Computed from the tensors, not measured on a GPU; the tests measure the same sums on the CPU.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ....attention import SpaceTime
from ....attention.fused import WORKSPACE

TILE = 2**26 * 4
"""Bytes of one tile of logits in `logit_range` on an accelerator."""

LOOKING = 2**29
"""Bytes that an observer may hold on an accelerator while it looks at a layer."""


@dataclass(frozen=True)
class Level:
    """One attention layer: tokens of a frame, channels (heads * d), heads, and whether no other layer has more tokens
    (which "full_coarse" asks)."""

    tokens: int
    channels: int
    heads: int
    finest: bool = False


def peak_bytes(
    levels: Sequence[Level],
    *,
    frames: int,
    regions: int,
    range_steps: int = 1,
    kept: int | None = None,
    **call,
) -> int:
    """Bytes that a network whose attention layers are `levels` holds on top: the hungriest layer's `attention_bytes`,
    for one chunk, and the logit ranges (float32) that are kept of all layers, of both halves of a guided run.

    kept: the frames that ranges are kept of; more than `frames` where a clip is seen in windows. None = frames.
    """
    hungriest = max(
        attention_bytes(one, frames=frames, regions=regions, range_steps=range_steps, **call) for one in levels
    )
    keeps = regions > 0 and range_steps > 1
    ranges = sum(2 * 4 * (kept or frames) * one.tokens * one.heads for one in levels)
    return hungriest + (ranges if keeps else 0)


def attention_bytes(
    level: Level,
    *,
    frames: int,
    mode: str,
    key_frames: int,
    regions: int,
    element: int,
    range_steps: int = 1,
    tile: int = TILE,
) -> int:
    """Bytes that one self-attention call holds beside q, k, v and its output, at its peak, for one chunk.

    Args:
        frames: F of the chunk. mode, key_frames: see `SpaceTime`.
        regions: R of a modulated call; 0 = not modulated.
        element: bytes of a number (2 in fp16 and bf16).
        range_steps: as of `Modulation`. What is kept for more than one of them is not in it.
    """
    one = frames * level.tokens * level.channels * element  # q, or k, or v, or the output
    spacetime = SpaceTime(mode, frames, key_frames).at(level.finest)
    seen = 1 if spacetime.mode == "full" else spacetime.seen.shape[1]
    gathered = 0 if spacetime.mode in ("full", "per_frame") else 2 * seen * one
    if regions == 0:
        return gathered
    dim = level.channels // level.heads
    # One channel a label, two in low precision, and up to a multiple of 8.
    width = math.ceil((dim + (regions + 1) * (2 if element < 4 else 1)) / 8) * 8 / dim
    widened = 2 * (1 + seen) * width * one  # queries, keys, values and what the kernel makes of them
    # Of so many heads at a time as fit the workspace (attention/fused.py).
    heads = min(level.heads, max(1, int(WORKSPACE // (widened / level.heads))))
    attending = one + widened  # the scaled queries as well
    share = heads / level.heads
    # Copies of queries and keys: of the same heads, or beforehand of all.
    ranging = (1 + seen) * one * (share if range_steps == 1 else 1)
    return int(gathered + max(ranging + tile, attending * share))


def enlarged(noise_shape: Sequence[int], required: float, extra: float) -> list[int]:
    """noise_shape with so many more rows that the host, whose estimate is proportional to them, reserves `extra` more.

    Rows and not frames: ComfyUI's context windows cut the frames of the estimate down to a window's.

    Args:
        noise_shape: [F, C, h, w]. required: the host's estimate for it, bytes.
    """
    shape = list(noise_shape)
    if required > 0 and extra > 0:
        shape[-2] = math.ceil(shape[-2] * (1 + extra / required))
    return shape
