"""The logit range on NVIDIA and AMD GPUs: one Triton kernel, one pass over the keys (method.md 6).

A block of queries stays on the chip while all keys stream past; the running maximum and minimum of every query are the
only results. Nothing of size N x M is ever written, and unlike attention there is no exponential, no sum and no value.
Needs triton, which PyTorch's GPU builds bring along. With TRITON_INTERPRET=1 set before triton is imported it runs,
slowly, on a CPU (tests/attention/kernels/test_triton.py).
"""

from __future__ import annotations

from contextlib import nullcontext

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def _range_kernel(
    q, k, out, rows, keys, heads, q_batch, q_head, q_token, k_batch, k_head, k_token,
    DIM: tl.constexpr, WIDE: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, WIDEN: tl.constexpr,
    ALIGN: tl.constexpr,
):  # fmt: skip
    """One block of rows of one head. WIDE: DIM rounded up to a power of two. WIDEN: multiply in float32. ALIGN: divides
    all strides."""
    # One dimension: the others of a grid end at 65,535. 64 bits: offsets of long clips go beyond 2^31.
    blocks = tl.cdiv(rows, ROWS)
    place = (tl.program_id(0) // blocks).to(tl.int64)
    batch, head = place // heads, place % heads
    row = tl.program_id(0) % blocks * ROWS + tl.arange(0, ROWS)
    channel = tl.arange(0, WIDE)
    column = tl.arange(0, COLUMNS)
    q += tl.multiple_of(batch * q_batch + head * q_head, ALIGN)
    k += tl.multiple_of(batch * k_batch + head * k_head, ALIGN)
    row_there, channel_there = row < rows, channel < DIM
    queries = tl.load(
        q + row.to(tl.int64)[:, None] * q_token + channel[None, :],
        mask=row_there[:, None] & channel_there[None, :],
        other=0.0,
    )
    if WIDEN:
        queries = queries.to(tl.float32)
    # Running extremes of every column of the tile, brought together once at the end: in the loop each logit costs one
    # product, one maximum and one minimum, and nothing crosses between threads.
    top = tl.full([ROWS, COLUMNS], float("-inf"), tl.float32)
    low = tl.full([ROWS, COLUMNS], float("inf"), tl.float32)
    whole = keys // COLUMNS * COLUMNS
    for start in range(0, whole, COLUMNS):
        seen = tl.load(
            k + (start + column).to(tl.int64)[None, :] * k_token + channel[:, None],
            mask=channel_there[:, None],
            other=0.0,
        )
        if WIDEN:
            seen = seen.to(tl.float32)
        logits = tl.dot(queries, seen, input_precision="ieee")  # not tf32: an error here is one of the bias
        top = tl.maximum(top, logits)
        low = tl.minimum(low, logits)
    if whole < keys:
        there = whole + column < keys
        seen = tl.load(
            k + (whole + column).to(tl.int64)[None, :] * k_token + channel[:, None],
            mask=channel_there[:, None] & there[None, :],
            other=0.0,
        )
        if WIDEN:
            seen = seen.to(tl.float32)
        logits = tl.dot(queries, seen, input_precision="ieee")
        top = tl.where(there[None, :], tl.maximum(top, logits), top)
        low = tl.where(there[None, :], tl.minimum(low, logits), low)
    tl.store(out + place * rows + row, tl.max(top, 1) - tl.min(low, 1), mask=row_there)


def triton_logit_range(q: Tensor, k: Tensor) -> Tensor:
    """`logit_range` in float16, bfloat16 or float32: float32 [B, heads, N].

    q [B, heads, N, d], k [B, heads, M, d]: any strides, but channels side by side (else they are copied). Products of
    float16 and bfloat16 are exact and summed in float32.
    """
    batch, heads, rows, dim = q.shape
    q, k = (x if x.stride(-1) == 1 else x.contiguous() for x in (q, k))
    out = torch.empty(batch, heads, rows, dtype=torch.float32, device=q.device)
    if out.numel() == 0:
        return out
    wide = max(16, triton.next_power_of_2(dim))
    block, columns = tile(wide, q.element_size())
    # Triton's interpreter keeps bfloat16 as bare 16-bit integers and would multiply those.
    widen = q.device.type == "cpu" and q.dtype == torch.bfloat16
    grid = (triton.cdiv(rows, block) * batch * heads,)
    with torch.cuda.device(q.device) if q.is_cuda else nullcontext():  # Triton launches on the current device
        _range_kernel[grid](
            q, k, out, rows, k.shape[2], heads, *q.stride()[:3], *k.stride()[:3],
            DIM=dim, WIDE=wide, ROWS=block, COLUMNS=columns, WIDEN=widen, ALIGN=alignment(q, k), num_warps=8,
        )  # fmt: skip
    return out.mul_(dim**-0.5)


def tile(wide: int, element: int) -> tuple[int, int]:
    """Queries of a program, and keys it looks at at once: what fits a chip's shared memory. wide: channels; element:
    bytes of one."""
    return (128 if wide * element <= 256 else 64), (64 if element == 2 and wide <= 128 else 32)


def alignment(*tensors: Tensor) -> int:
    """16 bytes' worth of elements where every token begins at a multiple of it, else 1. Triton finds out by itself only
    where strides are multiples of 16 elements; SD 1.5's 40 channels are not, and would be read 2 bytes at a time."""
    count = max(1, 16 // tensors[0].element_size())
    fits = all(x.data_ptr() % 16 == 0 and not any(side % count for side in x.stride()[:3]) for x in tensors)
    return count if fits else 1
