"""The literal form of modulated attention, Eq. 1, 2 and 4 of the paper (method.md 5), for reading and for tests.

Slow and obvious on purpose: it builds the N x M logits. It shares no code with the fused form.
"""

from __future__ import annotations

import torch
from torch import Tensor


def modulated_logits(q: Tensor, k: Tensor, q_labels: Tensor, k_labels: Tensor, strength: Tensor) -> Tensor:
    """Return s'_ij, the modulated logits [B, heads, N, M], in float32 (float64 for float64 inputs).

    Arguments as in `reference_attention`.
    """
    dtype = torch.float64 if q.dtype == torch.float64 else torch.float32
    s = torch.einsum("bhid,bhjd->bhij", q.to(dtype), k.to(dtype)) / q.shape[-1] ** 0.5

    row_max = s.max(dim=-1, keepdim=True).values
    row_min = s.min(dim=-1, keepdim=True).values

    label_i = q_labels[:, None, :, None]
    label_j = k_labels[:, None, None, :]
    positive = (label_i == label_j) & (label_i != -1)  # -1 matches nothing, not even another -1

    c = strength.to(dtype)[:, None, :, None]
    s_positive = s + c * (row_max - s)
    s_negative = s - c * (s - row_min)
    return torch.where(positive, s_positive, s_negative)


def reference_attention(
    q: Tensor, k: Tensor, v: Tensor, q_labels: Tensor, k_labels: Tensor, strength: Tensor
) -> Tensor:
    """Attention with the logits of `modulated_logits`; O(N M) memory.

    Args:
        q: [B, heads, N, d]; k, v: [B, heads, M, d]; any floating dtype.
        q_labels, k_labels: int64 [B, N] and [B, M]; -1 = none.
        strength: c_i in [0, 1), [B, N].

    Returns:
        [B, heads, N, d] in q's dtype. Everything before the last rounding is float32 (float64 for float64 inputs).
    """
    logits = modulated_logits(q, k, q_labels, k_labels, strength)
    probabilities = logits.softmax(dim=-1)
    return (probabilities @ v.to(logits.dtype)).to(q.dtype)
