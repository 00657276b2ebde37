"""Attention probabilities of one layer of one call, as they are without modulation and as the modulation makes them.

Both come from the same queries and keys of the same call: "before" is not another run. Of the modulated logits only
their softmax is made, in the form of method.md 6 (a row's constant is left out),

    s'_ij = (1 - c_i) s_ij + c_i (max_i - min_i) [label(i) = label(j)],

which the tests hold against the literal formula of attention/reference.py. float32, a tile at a time: no array here
grows with tokens x tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..attention.observer import LayerCall

# Probabilities held at once, all heads: 16 MB in float32 on a CPU, 64 MB on an accelerator.
_TILE_CPU = 2**22
_TILE_ACCELERATOR = 2**24


@dataclass(frozen=True)
class Tile:
    """Some query rows of one frame, with all their keys.

    Attributes:
        place: the frame's place in the call (not in the clip, see LayerCall.frames).
        rows: which tokens of the frame.
        before, after: float32 [heads, n, M], rows sum to 1; one tensor twice where the layer is not modulated.
    """

    place: int
    rows: slice
    before: Tensor
    after: Tensor


def cross_tiles(seen: LayerCall) -> Iterator[Tile]:
    """All of a cross-attention layer, tile by tile, frame by frame."""
    _, tokens, width = seen.q.shape
    words = seen.k.shape[1]
    limit = _TILE_CPU if seen.q.device.type == "cpu" else _TILE_ACCELERATOR
    step = max(1, limit // (seen.heads * words))
    for place in range(len(seen.q)):
        keys = _heads(seen.k[place], seen.heads).transpose(1, 2) * (width // seen.heads) ** -0.5
        for first in range(0, tokens, step):
            rows = slice(first, min(first + step, tokens))
            logits = _heads(seen.q[place, rows], seen.heads) @ keys
            before = after = logits.softmax(-1)
            if seen.matched is not None:
                labels = seen.matched.q[place, rows], seen.matched.k[place]
                after = modulated(logits, *labels, seen.strength[place, rows])
            yield Tile(place, rows, before, after)


def self_row(seen: LayerCall, place: int, token: int) -> tuple[Tensor, Tensor]:
    """Where one token looks in a self-attention layer: (before, after), float32 CPU [F, T], the mean over the heads.

    place: the token's frame in the call. The F frames are the call's; those it does not look at are 0, the sum is 1.
    """
    arranged = seen.spacetime
    frames = arranged.seen[place]
    query = seen.q[place, token].unflatten(0, (seen.heads, 1, -1)).float()
    scale = query.shape[2] ** -0.5
    # Frame by frame: a float32 copy of all keys of the clip would be larger than anything else here.
    logits = torch.cat([query @ _heads(seen.k[f], seen.heads).transpose(1, 2) for f in frames.tolist()], 2) * scale
    before = after = logits.softmax(-1)
    if seen.matched is not None:
        label = arranged.restore(seen.matched.q)[place, token, None]
        keys = seen.matched.k[0 if arranged.mode == "full" else place]
        after = modulated(logits, label, keys, seen.strength[place, token, None])
    empty = torch.zeros(seen.q.shape[:2])
    # A frame can stand twice among the keys (sparse_causal): its two halves are added up.
    both = (empty.index_add(0, frames, p.mean((0, 1)).unflatten(0, (len(frames), -1)).cpu()) for p in (before, after))
    return tuple(both)


def modulated(logits: Tensor, q_labels: Tensor, k_labels: Tensor, strength: Tensor) -> Tensor:
    """The softmax of modulated rows.

    Args:
        logits: float32 [heads, n, M], with ALL keys of a row.
        q_labels, k_labels: int64 [n] and [M]; -1 matches nothing.
        strength: c_i of the rows, [n].
    """
    q_labels, k_labels, c = (x.to(logits.device) for x in (q_labels, k_labels, strength))
    c = c.to(logits.dtype)[:, None]
    same = (q_labels[:, None] == k_labels) & (q_labels[:, None] >= 0)
    low, high = logits.aminmax(dim=-1, keepdim=True)
    return ((1 - c) * logits + c * (high - low) * same).softmax(-1)


def _heads(x: Tensor, heads: int) -> Tensor:
    """[n, heads * d] -> float32 [heads, n, d]."""
    return x.unflatten(1, (heads, -1)).transpose(0, 1).float()
