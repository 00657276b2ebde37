"""Modulated attention on NVIDIA and AMD GPUs in ONE pass over the keys: Eq. 1, 2 and 4 at the work of plain attention.

Softmax of the modulated logits (modulation.py) is a mixture of two plain softmaxes per query, one over the keys of its
own label and one over all others, weighted by exp(c (max - min)) and 1. Each is built up block by block as flash
attention builds it, and the row's maximum and minimum fall out on the way, so that the range needs no pass of its own:

    out_i = (e^b A_same + A_other) / (e^b l_same + l_other),   b = c_i (max_i - min_i)

Tokens are visited sorted by label (through an index; nothing is copied), so that every block of queries has one label
and every block of keys is all of it or all of others: the two sums cost one multiplication per block, as one would.
Logits, maxima and sums are in float32; the queries are not scaled in low precision and no channels are added.

Chosen with kernel "triton". With TRITON_INTERPRET=1 set before triton is imported it runs, slowly, on a CPU
(tests/attention/kernels/test_triton.py). Not yet run on a GPU: no setting picks it by itself before it is measured.
"""

from __future__ import annotations

from contextlib import nullcontext

import torch
import triton
import triton.language as tl
from torch import Tensor

from .plan import Plan
from .triton_range import alignment

ROWS, COLUMNS = 128, 64
"""Queries of a program, and keys it looks at at once; half as many queries where the channels are wide."""

_LOG2E = 1.4426950408889634


@triton.jit
def _sweep(
    queries, k, v, order, key_token, value_token, low_key, high_key, best, least, total, out, scale,
    DIM: tl.constexpr, WIDE: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, WIDEN: tl.constexpr,
):  # fmt: skip
    """Flash attention over the keys order[low_key:high_key]: running maximum and minimum of the products q.k, sum and
    weighted values, with the logits scale * q.k in powers of two."""
    channel = tl.arange(0, WIDE)
    column = tl.arange(0, COLUMNS)
    there_c = channel < DIM
    for start in range(low_key, high_key, COLUMNS):
        there = start + column < high_key
        token = tl.load(order + start + column, mask=there, other=0).to(tl.int64)
        inside = there[:, None] & there_c[None, :]
        keys = tl.load(k + token[:, None] * key_token + channel[None, :], mask=inside, other=0.0)
        values = tl.load(v + token[:, None] * value_token + channel[None, :], mask=inside, other=0.0)
        if WIDEN:
            keys, values = keys.to(tl.float32), values.to(tl.float32)
        products = tl.dot(queries, tl.trans(keys), input_precision="ieee")
        least = tl.minimum(least, tl.min(tl.where(there[None, :], products, float("inf")), 1))
        products = tl.where(there[None, :], products, float("-inf"))
        higher = tl.maximum(best, tl.max(products, 1))
        share = tl.exp2((products - higher[:, None]) * scale[:, None])
        shrink = tl.exp2((best - higher) * scale)
        total = total * shrink + tl.sum(share, 1)
        out = out * shrink[:, None] + tl.dot(share.to(values.dtype), values, input_precision="ieee")
        best = higher
    return best, least, total, out


@triton.jit
def _attention_kernel(
    q, k, v, out, strength, q_order, k_order, blocks, heads, rows, keys, patterns, most, root,
    q_batch, q_head, q_token, k_batch, k_head, k_token, v_batch, v_head, v_token, o_batch, o_head, o_token,
    DIM: tl.constexpr, WIDE: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, WIDEN: tl.constexpr,
    ALIGN: tl.constexpr,
):  # fmt: skip
    """One block of queries of one label, of one head. root: 1 / sqrt(d) in powers of two. ALIGN divides all strides."""
    # One dimension: the others of a grid end at 65,535. 64 bits: offsets of long clips go beyond 2^31.
    place = (tl.program_id(0) // most).to(tl.int64)
    batch, head = place // heads, place % heads
    pattern = batch % patterns
    block = blocks + (pattern * most + tl.program_id(0) % most) * 4
    first, end = tl.load(block), tl.load(block + 1)
    if first < end:
        same_first, same_end = tl.load(block + 2), tl.load(block + 3)
        q += tl.multiple_of(batch * q_batch + head * q_head, ALIGN)
        k += tl.multiple_of(batch * k_batch + head * k_head, ALIGN)
        v += tl.multiple_of(batch * v_batch + head * v_head, ALIGN)
        out += tl.multiple_of(batch * o_batch + head * o_head, ALIGN)
        k_order += pattern * keys
        row = first + tl.arange(0, ROWS)
        there = row < end
        token = tl.load(q_order + pattern * rows + row, mask=there, other=0).to(tl.int64)
        channel = tl.arange(0, WIDE)
        inside = there[:, None] & (channel < DIM)[None, :]
        queries = tl.load(q + token[:, None] * q_token + channel[None, :], mask=inside, other=0.0)
        if WIDEN:
            queries = queries.to(tl.float32)
        c = tl.load(strength + batch * rows + token, mask=there, other=0.0)
        scale = (1.0 - c) * root

        none = tl.full([ROWS], float("-inf"), tl.float32)
        least = tl.full([ROWS], float("inf"), tl.float32)
        zero = tl.zeros([ROWS], tl.float32)
        nothing = tl.zeros([ROWS, WIDE], tl.float32)
        own_best, least, own_total, own = _sweep(
            queries, k, v, k_order, k_token, v_token, same_first, same_end, none, least, zero, nothing, scale,
            DIM, WIDE, ROWS, COLUMNS, WIDEN,
        )  # fmt: skip
        best, least, total, other = _sweep(
            queries, k, v, k_order, k_token, v_token, 0, same_first, none, least, zero, nothing, scale,
            DIM, WIDE, ROWS, COLUMNS, WIDEN,
        )  # fmt: skip
        best, least, total, other = _sweep(
            queries, k, v, k_order, k_token, v_token, same_end, keys, best, least, total, other, scale,
            DIM, WIDE, ROWS, COLUMNS, WIDEN,
        )  # fmt: skip
        bias = c * (tl.maximum(own_best, best) - least) * root
        own_level, level = own_best * scale + bias, best * scale
        top = tl.maximum(own_level, level)
        own_weight, weight = tl.exp2(own_level - top), tl.exp2(level - top)
        mixed = own * own_weight[:, None] + other * weight[:, None]
        mixed = mixed / (own_total * own_weight + total * weight)[:, None]
        tl.store(out + token[:, None] * o_token + channel[None, :], mixed.to(out.dtype.element_ty), mask=inside)


def triton_modulated_attention(
    q: Tensor, k: Tensor, v: Tensor, plan: Plan, strength: Tensor, out: Tensor | None = None
) -> Tensor:
    """`attend_matched` in float16, bfloat16 or float32, without a pass for the logit range.

    Args:
        q [B, heads, N, d], k and v [B, heads, M, d]: any strides, but channels side by side (else they are copied).
        plan: from `make_plan` with rows = block_rows(d, element size), on q's device; B is a multiple of its P rows:
            row b of the batch has the labels of row b % P.
        strength: c_i in [0, 1), float32 [B, N], on q's device.
        out: where to write, [B, heads, N, d]; None = a new tensor laid out as hosts merge heads.
    """
    batch, heads, rows, dim = q.shape
    if out is None:
        out = q.new_empty(batch, rows, heads, dim).transpose(1, 2)
    q, k, v = (x if x.stride(-1) == 1 else x.contiguous() for x in (q, k, v))
    patterns, most = plan.blocks.shape[:2]
    if out.numel() == 0:
        return out
    # Triton's interpreter keeps bfloat16 as bare 16-bit integers and would multiply those.
    widen = q.device.type == "cpu" and q.dtype == torch.bfloat16
    grid = (most * batch * heads,)
    with torch.cuda.device(q.device) if q.is_cuda else nullcontext():  # Triton launches on the current device
        _attention_kernel[grid](
            q, k, v, out, strength.contiguous(), plan.q_order, plan.k_order, plan.blocks,
            heads, rows, k.shape[2], patterns, most, dim**-0.5 * _LOG2E,
            *q.stride()[:3], *k.stride()[:3], *v.stride()[:3], *out.stride()[:3],
            DIM=dim, WIDE=max(16, triton.next_power_of_2(dim)), ROWS=block_rows(dim, q.element_size()),
            COLUMNS=block_columns(dim, q.element_size()), WIDEN=widen, ALIGN=alignment(q, k, v, out), num_warps=8,
        )  # fmt: skip
    return out


def block_rows(dim: int, element: int) -> int:
    """Queries of a program; dim: channels; element: bytes of one. What fits a chip's registers and shared memory."""
    return ROWS if max(16, triton.next_power_of_2(dim)) * element <= 256 else ROWS // 2


def block_columns(dim: int, element: int) -> int:
    return COLUMNS if element == 2 and dim <= 64 else COLUMNS // 2
