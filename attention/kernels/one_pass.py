"""Kernel "triton": modulated attention in one pass over the keys, where a GPU can run it (triton_attention.py).

What is here needs no triton: the order in which tokens are visited, and the question whether the kernel can be used.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..reference import reference_attention
from .trust import trusted


@dataclass(frozen=True, eq=False)
class Plan:
    """In what order tokens are visited, and which blocks they make.

    Attributes:
        q_order, k_order: int32 [P, N] and [P, M], tokens sorted by label; P rows of labels, which a batch repeats.
        blocks: int32 [P, most, 4]: the queries q_order[first:end] of one label, and that label's keys
            k_order[same_first:same_end]; first = end where a row has fewer blocks than the others.
    """

    q_order: Tensor
    k_order: Tensor
    blocks: Tensor

    def to(self, device: torch.device) -> Plan:
        return Plan(self.q_order.to(device), self.k_order.to(device), self.blocks.to(device))


def make_plan(q_labels: Tensor, k_labels: Tensor, count: int, rows: int) -> Plan:
    """Sort tokens by label and cut the queries of each label into blocks of at most `rows`.

    q_labels, k_labels: int64 [P, N] and [P, M], 0..count - 1, or -1, which matches nothing (`Matched`).
    """
    tables = []
    for of_q, of_k in zip(q_labels, k_labels):
        counts = [torch.bincount(x + 1, minlength=count + 1).tolist() for x in (of_q, of_k)]
        table, first, key = [], 0, 0
        for group, (queries, keys) in enumerate(zip(*counts)):
            same = (key, key + keys) if group else (0, 0)  # group 0 is -1
            end = first + queries
            table += [(start, min(start + rows, end), *same) for start in range(first, end, rows)]
            first, key = end, key + keys
        tables.append(table)
    most = max(map(len, tables))
    filled = [table + [(0, 0, 0, 0)] * (most - len(table)) for table in tables]
    q_order, k_order = (x.argsort(dim=1, stable=True).int() for x in (q_labels, k_labels))
    return Plan(q_order, k_order, torch.tensor(filled, dtype=torch.int32).reshape(len(tables), most, 4))


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
