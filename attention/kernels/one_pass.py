"""Kernel "triton": modulated attention in one pass over the keys, where a GPU can run it (triton_attention.py).

What is here needs no triton: the order in which tokens are visited, and the question whether the kernel can be used.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor

from ..reference import reference_attention
from .plan import make_plan
from .trust import trusted


@functools.cache
def one_pass_kernel(device: torch.device, dtype: torch.dtype, dim: int) -> Callable[..., Tensor] | None:
    """`triton_modulated_attention`, if it runs on this device for this dtype and width and gives what the literal
    formula gives; else None, and a warning, once a process, that two passes are made instead."""

    def load() -> Callable[..., Tensor]:
        if device.type != "cuda":  # ROCm's devices say "cuda" too
            raise RuntimeError(f"it needs an NVIDIA or AMD GPU, the model runs on {device}")
        if dtype == torch.float64:
            raise RuntimeError("it computes in float32")
        from .triton_attention import triton_modulated_attention

        return triton_modulated_attention

    def check(kernel: Callable[..., Tensor]) -> None:
        from .triton_attention import block_rows

        g = torch.Generator().manual_seed(0)
        q, k, v = (torch.randn(1, 2, n, dim, generator=g).to(device, dtype) for n in (150, 100, 100))
        of_q, of_k = (torch.randint(-1, 2, (1, n), generator=g) for n in (150, 100))
        c = torch.rand(1, 150, generator=g) * 0.9
        plan = make_plan(of_q, of_k, 2, block_rows(dim, q.element_size())).to(device)
        exact = reference_attention(
            q.double(), k.double(), v.double(), of_q.to(device), of_k.to(device), c.double().to(device)
        )
        rough = 1e-4 if dtype == torch.float32 else 2e-2
        torch.testing.assert_close(kernel(q, k, v, plan, c.to(device)).double(), exact, rtol=rough, atol=rough)

    return trusted(load, check, "modulated attention makes two passes over the keys, kernel 'triton' cannot be used")
