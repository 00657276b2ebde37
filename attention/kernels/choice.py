"""The attention kernels that may compute a modulated call: anything that takes queries, keys, values and a scale.

"sdpa" is torch's `scaled_dot_product_attention`, which picks a fused kernel for the device itself. "auto" is the same
wherever modulated attention was measured so far. "xformers" is for devices whose torch has no fused kernel of its own.
"triton" needs no logit range: one pass over the keys does both (one_pass.py); where it does not run, "sdpa" stands in.
Kernels that round queries and keys to 8 bits (SageAttention) are none of these: they would lose the bias.

FlexAttention, whose score function would take the labels as they are, is left out: compiled on a CPU (8 heads, d = 40,
float32, one thread) it took 0.097, 1.62 and 7.2 s at N = 1024, 4096 and 8192 where the wider channels in "sdpa" took
0.034, 0.51 and 1.9 s, and 7 to 15 s of compilation for every new shape. Whether it wins on a GPU is not known.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from ..options import KERNELS


def check_kernel(kernel: str) -> None:
    """Raise ValueError unless `kernel` is one of KERNELS and there is what it needs."""
    if kernel not in KERNELS:
        raise ValueError(f"kernel must be one of {KERNELS}; got {kernel!r}.")
    if kernel == "xformers":
        try:
            import xformers.ops  # noqa: F401
        except ImportError as error:  # not there, or built for another torch
            raise ValueError(
                f"kernel 'xformers' needs the package xformers; importing it failed ({error}). Install the one that "
                "fits this torch (pip install xformers), or choose 'auto'."
            ) from error


def attend(q: Tensor, k: Tensor, v: Tensor, scale: float, kernel: str = "auto") -> Tensor:
    """softmax(scale q k^T) v.

    Args:
        q: [B, heads, N, d]; k, v: [B, heads, M, d]; all of one width d, a multiple of 8.
        kernel: one of KERNELS, checked already. "triton" is not one that takes these: it means "sdpa" here.

    Returns:
        [B, heads, N, d].
    """
    if kernel == "xformers":
        import xformers.ops

        # Heads after tokens there: [B, tokens, heads, d].
        q, k, v = (x.transpose(1, 2) for x in (q, k, v))
        try:
            return xformers.ops.memory_efficient_attention(q, k, v, scale=scale).transpose(1, 2)
        except NotImplementedError as error:  # no operator for this device, dtype or width
            raise ValueError(
                f"kernel 'xformers' cannot compute attention in {q.dtype} on {q.device} with {q.shape[-1]} channels "
                "here; choose 'auto'."
            ) from error
    return F.scaled_dot_product_attention(q, k, v, scale=scale)
