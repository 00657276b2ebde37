"""The order in which the one-pass kernels walk the tokens: sorted by label, in blocks."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


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
