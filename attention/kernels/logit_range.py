"""The range of every row of logits, max_j s_ij - min_j s_ij, in one streaming pass (method.md 6).

The modulation of Eq. 1-5 needs two numbers per query row, the largest and the smallest logit, over ALL keys.
They are found tile by tile with a running maximum and minimum: no softmax, no values, never an N x M tensor.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import torch
from torch import Tensor

from .trust import trusted

# Logits held at once (all heads of the batch together): 2 MB in float32 stay in a CPU's cache (measured twice as
# fast as 16 MB), an accelerator wants larger launches.
_TILE_CPU = 2**19
_TILE_ACCELERATOR = 2**26
_SMALLEST_SIDE = 128


def logit_range(q: Tensor, k: Tensor, *, chunk: int | None = None) -> Tensor:
    """Return max_j s_ij - min_j s_ij of the logits s_ij = q_i . k_j / sqrt(d).

    Args:
        q: queries [B, heads, N, d], any floating dtype.
        k: keys [B, heads, M, d], same dtype; M >= 1.
        chunk: side of a tile in tokens, >= 1, for the tiled pass in torch. None picks one that keeps a tile near
            0.5 M logits on a CPU and 64 M on an accelerator - and leaves the work to a Triton kernel on CUDA and ROCm
            devices where that runs. The result does not depend on it beyond rounding.

    Returns:
        [B, heads, N], >= 0: float32 (float64 for float64 inputs). Low-precision inputs are multiplied in
        float32, because an error of the range is an error of the bias of every positive pair of the row.

    Raises:
        ValueError: shapes that do not fit each other, no keys, chunk < 1.
    """
    if q.dim() != 4 or k.dim() != 4 or q.shape[:2] != k.shape[:2] or q.shape[3] != k.shape[3]:
        raise ValueError(
            f"logit_range: expected q [B, heads, N, d] and k [B, heads, M, d] with equal B, heads and d; "
            f"got q {tuple(q.shape)} and k {tuple(k.shape)}. Split the heads before the call."
        )
    if k.shape[2] == 0:
        raise ValueError(f"logit_range: expected at least one key; got k {tuple(k.shape)}. A range needs keys.")
    if chunk is not None and chunk < 1:
        raise ValueError(
            f"logit_range: chunk (a tile's side in tokens) must be >= 1; got {chunk}. Pass None to choose."
        )

    if chunk is None and q.device.type == "cuda" and q.dtype != torch.float64:  # ROCm's devices say "cuda" too
        kernel = _kernel(q.device, q.dtype, q.shape[3])
        if kernel is not None:
            return kernel(q, k)
    return _tiled(q, k, chunk)


def _tiled(q: Tensor, k: Tensor, chunk: int | None) -> Tensor:
    """The pass in torch, on any device."""
    batch, heads, rows, dim = q.shape
    dtype = torch.float64 if q.dtype == torch.float64 else torch.float32
    q = q.reshape(batch * heads, rows, dim)
    k = k.reshape(batch * heads, -1, dim).transpose(1, 2)
    if chunk is None:
        tile = _TILE_CPU if q.device.type == "cpu" else _TILE_ACCELERATOR
        chunk = max(_SMALLEST_SIDE, math.isqrt(tile // max(1, batch * heads)))

    found = torch.empty(batch * heads, rows, dtype=dtype, device=q.device)

    def new_tile(chunk: int) -> Tensor | None:
        if _differentiates(q, k):
            return None
        side = min(chunk, rows) * min(chunk, k.shape[2])
        return torch.empty(batch * heads * side, dtype=dtype, device=q.device)

    # One tile for all logits: to ask the system for memory again and again takes longer than to fill it.
    try:
        tile = new_tile(chunk)
    except torch.OutOfMemoryError:
        if chunk <= _SMALLEST_SIDE:
            raise
        chunk //= 2  # a fourth of the memory; where that is not there either, let the host make room
        tile = new_tile(chunk)
    for row in range(0, rows, chunk):
        queries = q[:, row : row + chunk].to(dtype) * dim**-0.5
        top = low = None
        for column in range(0, k.shape[2], chunk):
            keys = k[:, :, column : column + chunk].to(dtype)
            logits = torch.bmm(queries, keys, out=_room(tile, queries, keys))
            tile_top, tile_low = logits.amax(-1), logits.amin(-1)
            top = tile_top if top is None else torch.maximum(top, tile_top)
            low = tile_low if low is None else torch.minimum(low, tile_low)
        assert top is not None  # there is a key: `logit_range` asks
        assert low is not None
        found[:, row : row + chunk] = top - low
    return found.reshape(batch, heads, rows)


def _differentiates(*tensors: Tensor) -> bool:
    return torch.is_grad_enabled() and any(x.requires_grad for x in tensors)


def _room(tile: Tensor | None, queries: Tensor, keys: Tensor) -> Tensor | None:
    """The place of [B, rows, d] @ [B, d, columns] in `tile`; None, a new one, without a tile."""
    if tile is None:
        return None
    shape = (queries.shape[0], queries.shape[1], keys.shape[2])
    return tile[: math.prod(shape)].view(shape)


@functools.cache
def _kernel(device: torch.device, dtype: torch.dtype, dim: int) -> Callable[[Tensor, Tensor], Tensor] | None:
    """The Triton kernel, if it runs on this device for this dtype and width and gives what the tiled pass gives."""

    def load() -> Callable[[Tensor, Tensor], Tensor]:
        from .triton_range import triton_logit_range

        return triton_logit_range

    def check(kernel: Callable[[Tensor, Tensor], Tensor]) -> None:
        g = torch.Generator().manual_seed(0)
        q, k = (torch.randn(1, 2, tokens, dim, generator=g).to(device, dtype) for tokens in (150, 100))
        torch.testing.assert_close(kernel(q, k), _tiled(q, k, None), rtol=1e-4, atol=1e-4)

    return trusted(
        load,
        check,
        "the logit range of modulated attention is found in torch, not by the Triton kernel, which is faster",
    )
