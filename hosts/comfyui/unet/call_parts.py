"""A call of an attention slot in parts: chunks by what is to be done with them, heads by the memory there is.

Nothing here imports comfy.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ....attention import within_memory
from ..host_attention import HostAttention


@dataclass(frozen=True)
class Part:
    """What one computation is of.

    Attributes:
        chunks: which of the call's chunks.
        heads: how many heads.
        half: None = all of them; 0, 1 = which half, after the memory did not suffice for all.
    """

    chunks: tuple[int, ...]
    heads: int
    half: int | None = None


AttendPart = Callable[[Any, Part, Tensor, Tensor, Tensor], Tensor]
"""(treatment of the chunks, part, q, k, v) -> out; q, k, v and out of this part alone."""


def by_treatment(
    treatments: Sequence[Hashable],
    q: Tensor,
    k: Tensor,
    v: Tensor,
    heads: int,
    attend: AttendPart,
    *,
    host: HostAttention,
    trouble: Callable[[str], str],
) -> Tensor:
    """Chunks of one treatment go through one call of `attend`, in two halves of the heads where the memory demands it.

    Args:
        treatments: what is to be done with each chunk of the batch.
        q, k, v: [chunks * F, tokens, heads * d].
        trouble: what to say where two halves do not help: (first line of the host's exception) -> message.

    Returns:
        As q.

    Raises:
        the host's exception for a lack of memory, with that message.
    """
    groups: dict[Hashable, list[int]] = {}
    for number, treatment in enumerate(treatments):
        groups.setdefault(treatment, []).append(number)

    def of(treatment: Hashable, which: list[int], q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        def part(q: Tensor, k: Tensor, v: Tensor, heads: int, half: int | None) -> Tensor:
            return attend(treatment, Part(tuple(which), heads, half), q, k, v)

        try:
            return within_memory(part, q, k, v, heads, lacks_memory=host.lacks_memory, release=host.release)
        except host.out_of_memory as error:
            if not host.lacks_memory(error):
                raise
            lack, said = type(error), str(error)
        # Outside the except block, so that the failed call's tensors are let go.
        host.release()
        raise lack(trouble(said.splitlines()[0] if said else "no details"))

    if len(groups) == 1:
        return of(treatments[0], list(range(len(treatments))), q, k, v)
    out = torch.empty_like(q).unflatten(0, (len(treatments), -1))
    for treatment, which in groups.items():
        some = (x.unflatten(0, (len(treatments), -1))[which].flatten(0, 1) for x in (q, k, v))
        out[which] = of(treatment, which, *some).unflatten(0, (len(which), -1)).to(out.dtype)
    return out.flatten(0, 1)
