"""Modulated attention: one function for self- and cross-attention (paper Eq. 1, 2, 4; method.md 5 and 6).

    s'_ij = s_ij + c_i (max_j s_ij - s_ij)    if label(i) = label(j)
    s'_ij = s_ij - c_i (s_ij - min_j s_ij)    otherwise

Both cases share the factor (1 - c_i), and softmax ignores a constant per row, so

    softmax_j(s'_ij) = softmax_j((1 - c_i) s_ij + c_i (max_i - min_i) [label(i) = label(j)]).

The bias is of low rank: one extra channel per label on queries and keys carries it through any attention kernel.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from .kernels.choice import attend
from .kernels.logit_range import logit_range as measure_logit_range
from .kernels.one_pass import one_pass_kernel
from .kernels.plan import Plan, make_plan
from .old_names import renamed
from .reference import reference_attention

METHODS = ("fused", "reference")

# Widths that every fused kernel accepts without a copy or a fall-back.
_ALIGN = 8

# Bytes that the copies with wider channels may take at a time: less than the 64 MB that modulation may cost a layer
# beside q, k, v and the result, and large enough to keep any device busy.
WORKSPACE = 40 * 2**20

# Up to this label a table numbers them in one pass; larger ones are sorted.
_TABLE = 4096


def plain_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Ordinary attention, logits q.k / sqrt(d): q [B, heads, N, d], k and v [B, heads, M, d] -> [B, heads, N, d]."""
    return F.scaled_dot_product_attention(q, k, v)


@renamed(row_range="logit_range")
def modulated_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    q_labels: Tensor,
    k_labels: Tensor,
    strength: Tensor,
    method: str = "fused",
    *,
    logit_range: Tensor | None = None,
) -> Tensor:
    """Attention whose logits are pulled up between equal labels and pushed down between different ones.

    Args:
        q: queries [B, heads, N, d]; k, v: keys and values [B, heads, M, d]. float64, float32, float16 or bfloat16.
        q_labels, k_labels: int64 [B, N] and [B, M]. Any integers >= 0; -1 = none, which matches nothing,
            not even another -1. Only equality matters; a label that stands on one side alone is harmless.
        strength: c_i in [0, 1), floating, [B, N]. 0 leaves a row as it is; if ALL are 0 the call IS
            `plain_attention`, bit for bit.
        method: "fused" (method.md 6: any attention kernel, no N x M tensor) or "reference" (the literal formula).
        logit_range: the rows' max - min of the logits, [B, heads, N], if already known (see `logit_range`);
            None measures it. For "fused" only.

    Labels, strength and logit_range may live on another device than q: they follow it. Kept on the CPU they cost no
    synchronisation with an accelerator.

    Returns:
        [B, heads, N, d], q's dtype and device. In float16 and bfloat16 the one rounding that plain attention does not
        have is that of the queries scaled by 1 - c_i; it grows with the logits (measured: 1.3 times plain attention's
        own error at logits of standard deviation 2, 2.4 times at 9).

    Raises:
        ValueError: shapes, dtypes or values other than the above.
    """
    _check_tensors(q, k, v)
    _check_labels("q_labels", q_labels, (q.shape[0], q.shape[2]))
    _check_labels("k_labels", k_labels, (k.shape[0], k.shape[2]))
    if method not in METHODS:
        raise ValueError(f"modulated_attention: method must be one of {METHODS}; got {method!r}.")
    if logit_range is not None and method != "fused":
        raise ValueError(
            f"modulated_attention: logit_range is used by method 'fused' alone; got method {method!r}. Leave it out."
        )
    if logit_range is not None and logit_range.shape != q.shape[:3]:
        raise ValueError(
            f"modulated_attention: logit_range must be [B, heads, N] = {tuple(q.shape[:3])}; "
            f"got {tuple(logit_range.shape)}. Measure it again for these queries."
        )
    if _strongest(strength, (q.shape[0], q.shape[2])) == 0:
        return plain_attention(q, k, v)

    return attend_matched(q, k, v, match_labels(q_labels, k_labels), strength, method, logit_range=logit_range)


@dataclass(frozen=True)
class Matched:
    """Labels of queries and keys, numbered so that they can be laid into channels.

    Attributes:
        q, k: int64 [B, N] and [B, M], 0..count - 1; -1 for labels that stand on one side alone, or are none.
        count: how many labels stand on both sides.
        base: the labels that these repeat, or None.
    """

    q: Tensor
    k: Tensor
    count: int
    base: Matched | None = field(default=None, repr=False)
    # Made once for the many calls of a level; two threads may both, and would store equal values.
    _plans: dict[tuple, Plan] = field(default_factory=dict, init=False, repr=False)

    def repeat(self, times: int) -> Matched:
        """The same labels for `times` equal parts of a batch."""
        if times == 1:
            return self
        return Matched(self.q.repeat(times, 1), self.k.repeat(times, 1), self.count, self.base or self)

    def plan(self, rows: int, device: torch.device) -> Plan:
        """In which order tokens are visited in blocks of `rows` queries (`make_plan`); of the labels that are repeated,
        once."""
        if self.base is not None:
            return self.base.plan(rows, device)
        key = (rows, device)
        if key not in self._plans:
            self._plans[key] = make_plan(self.q.cpu(), self.k.cpu(), self.count, rows).to(device)
        return self._plans[key]


def match_labels(q_labels: Tensor, k_labels: Tensor) -> Matched:
    """Number, in rising order, the labels >= 0 that stand on both sides.

    Args:
        q_labels, k_labels: int64, any shapes, not empty; >= -1 (not checked).
    """
    k_labels = k_labels.to(q_labels.device)
    if max(int(q_labels.max()), int(k_labels.max())) <= _TABLE:
        number, count = _by_table(q_labels, k_labels)
    else:
        number, count = _by_sorting(q_labels, k_labels)
    return Matched(number(q_labels), number(k_labels), count)


def _by_table(q_labels: Tensor, k_labels: Tensor):
    """(labels -> numbers, count) by counting: one pass whatever the number of tokens."""
    # Position label + 1, so that -1 has one too.
    of_q, of_k = (torch.bincount(labels.flatten() + 1, minlength=_TABLE + 2) for labels in (q_labels, k_labels))
    shared = (of_q > 0) & (of_k > 0)
    shared[0] = False  # -1 matches nothing
    numbers = torch.where(shared, shared.cumsum(0) - 1, -1)
    return lambda labels: numbers[labels + 1], int(shared.sum())


def _by_sorting(q_labels: Tensor, k_labels: Tensor):
    """(labels -> numbers, count) for labels of any size."""
    of_q, of_k = q_labels.unique(), k_labels.unique()
    shared = of_q[torch.isin(of_q, of_k) & (of_q >= 0)]

    def number(labels: Tensor) -> Tensor:
        if len(shared) == 0:
            return torch.full_like(labels, -1)
        index = torch.searchsorted(shared, labels.contiguous()).clamp(max=len(shared) - 1)
        return torch.where(shared[index] == labels, index, -1)

    return number, len(shared)


def attend_matched(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    labels: Matched,
    strength: Tensor,
    method: str = "fused",
    *,
    logit_range: Tensor | None = None,
    kernel: str = "auto",
) -> Tensor:
    """`modulated_attention` for labels that are matched already (see there), without its scans of labels and strength.

    For `Modulation`, which makes labels and strengths once per level and uses them in many calls. Of the arguments
    only q, k and v are checked; a strength of 0 everywhere is modulated like any other.
    """
    _check_tensors(q, k, v)
    if method == "reference":
        device = q.device
        return reference_attention(q, k, v, labels.q.to(device), labels.k.to(device), strength.to(device))
    if in_one_pass(q, kernel):
        return attend_in_one_pass(one_pass_kernel(q.device, q.dtype, q.shape[3]), q, k, v, labels, strength)
    return _fused(q, k, v, labels, strength, logit_range, kernel)


def in_one_pass(q: Tensor, kernel: str) -> bool:
    """Whether a call with these queries [B, heads, N, d] needs no logit range."""
    return kernel == "triton" and one_pass_kernel(q.device, q.dtype, q.shape[3]) is not None


def attend_in_one_pass(one_pass, q: Tensor, k: Tensor, v: Tensor, labels: Matched, strength: Tensor) -> Tensor:
    """`attend_matched` by `triton_modulated_attention`: nothing is copied, and no logit range is needed."""
    from .kernels.triton_attention import block_rows

    plan = labels.plan(block_rows(q.shape[3], q.element_size()), q.device)
    return one_pass(q, k, v, plan, strength.to(q.device, torch.float32))


def _fused(q, k, v, labels, strength, logit_range, kernel):
    """A part of the batch and heads at a time, so that the copies with wider channels stay within WORKSPACE."""
    # Laid out as hosts merge heads, so that merging them is a view.
    out = q.new_empty(q.shape[0], q.shape[2], q.shape[1], q.shape[3]).transpose(1, 2)
    wide = torch.float64 if q.dtype == torch.float64 else torch.float32
    c = strength.to(q.device, wide if logit_range is None else logit_range.dtype)[:, None, :]
    for part in _parts(q, k, labels.count):
        some = part[0]
        matched = Matched(labels.q[some], labels.k[some], labels.count)
        known = None if logit_range is None else logit_range[part].to(q.device)
        out[part] = _fused_part(q[part], k[part], v[part], matched, c[some], known, kernel)
    return out


def _parts(q: Tensor, k: Tensor, count: int) -> Iterator[tuple[slice, slice]]:
    """Slices of batch and heads, each within WORKSPACE where that is possible."""
    batch, heads, rows, dim = q.shape
    channels = _round_up(dim + _channels(q.dtype) * count)
    # For one head of one row of the batch: the queries, keys, values and outputs of the kernel.
    one = 2 * (rows + k.shape[2]) * channels * q.element_size()
    together = max(1, WORKSPACE // max(1, one))
    some_heads = min(heads, together)
    some_rows = max(1, together // heads)
    for row in range(0, batch, some_rows):
        for head in range(0, heads, some_heads):
            yield slice(row, row + some_rows), slice(head, head + some_heads)


def _channels(dtype: torch.dtype) -> int:
    """Channels a label takes: 8 or 11 bits are not enough for a bias of tens, a second channel carries the rest."""
    return 2 if dtype in (torch.float16, torch.bfloat16) else 1


def _fused_part(q, k, v, labels, c, logit_range, kernel):
    dim, count = q.shape[-1], labels.count
    if count and logit_range is None:
        logit_range = measure_logit_range(q, k)
    width = _round_up(dim + _channels(q.dtype) * count)
    wide_q = _room(q, width)
    # Rounded once, in q's dtype, after the product: (1 - c) rounded by itself would scale a whole row of logits.
    wide_q[..., :dim] = q * (1 - c)[..., None]
    if count == 0:  # no pair is positive
        return plain_attention(wide_q[..., :dim], k, v)

    # The kernel multiplies every product by 1 / sqrt(d), the bias's too. The sqrt(d) that takes it back is shared:
    # a power of two, exact in any dtype, on the keys; the rest, close to 1, on the queries.
    key_weight = 2.0 ** round(math.log2(dim) / 2)
    bias = (c * logit_range) * (dim**0.5 / key_weight)
    bias = bias.clamp(max=torch.finfo(q.dtype).max)
    high = bias.to(q.dtype)
    parts = [high, (bias - high).to(q.dtype)][: _channels(q.dtype)]

    wide_k, wide_v = (_room(x, width) for x in (k, v))
    wide_k[..., :dim], wide_v[..., :dim] = k, v
    q_onehot = _onehot(labels.q, count, q)
    k_onehot = _onehot(labels.k, count, k) * key_weight
    for n, part in enumerate(parts):
        channels = slice(dim + n * count, dim + (n + 1) * count)
        wide_q[..., channels] = part[..., None] * q_onehot[:, None]
        wide_k[..., channels] = k_onehot[:, None]
    # q, k and v are equally wide: with unequal widths the CPU's fused kernel is not chosen.
    return attend(wide_q, wide_k, wide_v, dim**-0.5, kernel)[..., :dim]


def _onehot(index: Tensor, count: int, like: Tensor) -> Tensor:
    """[B, N] -> [B, N, count] of like's dtype and device; -1 is the zero vector."""
    index = index.to(like.device)
    return (index[..., None] == torch.arange(count, device=like.device)).to(like.dtype)


def _room(x: Tensor, width: int) -> Tensor:
    """Room for x [B, heads, N, d] with `width` channels, zeros beyond its own; its own are yet to be written."""
    wide = x.new_empty(*x.shape[:-1], width)
    wide[..., x.shape[-1] :] = 0
    return wide


def _round_up(width: int) -> int:
    return -(-width // _ALIGN) * _ALIGN


def _check_tensors(q: Tensor, k: Tensor, v: Tensor) -> None:
    if q.dim() != 4 or k.dim() != 4 or q.shape[:2] != k.shape[:2] or q.shape[3] != k.shape[3] or k.shape != v.shape:
        raise ValueError(
            f"modulated_attention: expected q [B, heads, N, d] and k, v [B, heads, M, d]; got q {tuple(q.shape)}, "
            f"k {tuple(k.shape)}, v {tuple(v.shape)}. Split the heads before the call."
        )
    if k.shape[2] == 0:
        raise ValueError(f"modulated_attention: expected at least one key; got k {tuple(k.shape)}.")
    if not q.is_floating_point() or not (q.dtype == k.dtype == v.dtype):
        raise ValueError(
            f"modulated_attention: q, k and v must share one floating dtype; got {q.dtype}, {k.dtype}, {v.dtype}. "
            f"Cast them first."
        )


def _check_labels(name: str, labels: Tensor, shape: tuple[int, int]) -> None:
    if tuple(labels.shape) != shape or labels.dtype != torch.int64:
        raise ValueError(
            f"modulated_attention: {name} must be int64 {list(shape)} (one label per token); "
            f"got {labels.dtype} {list(labels.shape)}."
        )
    if labels.numel() and (lowest := int(labels.min())) < -1:
        raise ValueError(f"modulated_attention: {name} must be >= 0, or -1 for none; got {lowest}.")


def _strongest(strength: Tensor, shape: tuple[int, int]) -> float:
    if tuple(strength.shape) != shape or not strength.is_floating_point():
        raise ValueError(
            f"modulated_attention: strength must be floating {list(shape)} (one c per query); "
            f"got {strength.dtype} {list(strength.shape)}."
        )
    if strength.numel() == 0:
        return 0.0
    low, high = torch.stack(strength.aminmax()).tolist()
    if not (low >= 0 and high < 1):  # written so that NaN fails as well
        raise ValueError(
            f"modulated_attention: strength must lie in [0, 1); got {low} to {high}. "
            f"At 1 a row forgets its logits; clamp it below (Schedule does)."
        )
    return high
