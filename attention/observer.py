"""How anyone sees attention: one layer of one network call as a value, and who is shown it.

A host asks every observer, in every self- and cross-attention layer, whether it wants that layer, and shows it the
queries and keys of the conditional chunk before the layer computes anything. Nothing is copied and nothing is changed:
with and without an observer a model computes the same, and without one nothing is done at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from .fused import Matched
from .label_map import Grid
from .old_names import renamed
from .spacetime import SpaceTime

ATTENTION_TYPES = ("self", "cross")


@renamed(kind="attention_type")
@dataclass(frozen=True, eq=False)
class LayerCall:
    """One attention layer of one network call: its conditional chunk alone, of F frames and T = h * w tokens.

    Attributes:
        attention_type: "self" or "cross".
        q: [F, T, heads * d], as to_q makes it; any float dtype and device.
        k: [F, M, heads * d], as to_k makes it, not yet arranged in space and time: M = T in self-attention; in
            cross-attention the text tokens of the call, L or, where the host repeated the prompt, a multiple of L.
        heads: number of heads.
        grid: (h, w) of the layer.
        size: (h, w) of the latent.
        t: noise level, timestep / 1000, in [0, 1).
        frames: which frames of the clip the rows are (a context window), in their order; None = all of them.
        spacetime: which of these F frames sees which (self-attention; None in cross-attention).
        matched: labels of queries and keys if the layer is modulated here, else None: then what is computed is plain
            attention. In cross-attention matched.q is [F, T] and matched.k [F, M]; in self-attention they are arranged
            as attention is computed: [1, F * T] both in mode "full", [F, T] and [F, K * T] in the others
            (`spacetime.restore(matched.q)` is [F, T] in any mode). On the CPU. Source: `Modulation.self_bias` and
            `Modulation.cross_bias`.
        strength: c_i in [0, 1), float32 [F, T] in any mode, CPU; None exactly where `matched` is.
    """

    attention_type: str
    q: Tensor
    k: Tensor
    heads: int
    grid: Grid
    size: Grid
    t: float
    frames: tuple[int, ...] | None = None
    spacetime: SpaceTime | None = None
    matched: Matched | None = None
    strength: Tensor | None = None


class Observer(Protocol):
    """Who is shown attention. Whatever it keeps it copies: q and k belong to the call. On an accelerator it may hold
    512 MB while it looks at a layer (as float32 logits and probabilities of 2**25 pairs do): ComfyUI is told of them.

    It may be shown the same call in any number of layers, and a clip in windows of frames that overlap. It is its own
    deep copy, because hosts deep-copy what their models carry.
    """

    def wants(self, attention_type: str, grid: Grid, size: Grid, t: float) -> bool:
        """Whether `add` shall be called for this layer. Asked in every layer of every call: make it cheap."""
        ...

    def add(self, seen: LayerCall) -> None: ...

    def __deepcopy__(self, memo) -> Observer: ...
