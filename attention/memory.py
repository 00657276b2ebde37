"""What to do when an attention layer does not fit the memory: once more, in two halves of the heads."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Attend = Callable[[Tensor, Tensor, Tensor, int, "int | None"], Tensor]
"""(q, k, v, heads, part) -> out, all [B, tokens, heads * d]; part: None = all heads, 0 and 1 = their halves."""


def within_memory(
    attend: Attend,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    heads: int,
    *,
    lacks_memory: Callable[[BaseException], bool] = lambda error: isinstance(error, torch.OutOfMemoryError),
    release: Callable[[], None] = torch.cuda.empty_cache,
) -> Tensor:
    """attend(q, k, v, heads, None), and if the memory does not suffice, once more in two halves of the heads.

    Heads are independent of each other, so that the result is the same. What `attend` keeps between calls it must keep
    apart by `part`: both halves may have the same shape.

    Args:
        q, k, v: [B, tokens, heads * d].
        lacks_memory: whether an exception says so. release: gives cached memory back before the second try.

    Raises:
        what `attend` raised, where a half does not fit either, or there is one head alone.
    """
    try:
        return attend(q, k, v, heads, None)
    except Exception as error:
        if heads < 2 or not lacks_memory(error):
            raise
    # Outside the except block, so that the failed call's tensors are let go.
    release()
    first = heads // 2
    border = first * (q.shape[-1] // heads)
    out = torch.empty_like(q)
    for part, count, some in ((0, first, slice(border)), (1, heads - first, slice(border, None))):
        out[..., some] = attend(q[..., some], k[..., some], v[..., some], count, part)
    return out
