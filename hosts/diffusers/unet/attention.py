"""`attention/` inside diffusers' UNet: attention processors that come and go with one call (method.md 3 and 5).

Nothing here imports diffusers: a processor only uses what `diffusers.models.attention_processor.Attention` offers.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ....attention import Layer, Modulation, Observer, RangeMemory, SpaceTime, TokenGrid, wanting, within_memory

# Processors that compute plain attention from to_q, to_k, to_v, to_out alone, so that ours may stand in for them.
PLAIN_PROCESSORS = frozenset({"AttnProcessor", "AttnProcessor2_0", "SlicedAttnProcessor", "XFormersAttnProcessor"})


def sdpa(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """diffusers' own attention (AttnProcessor2_0): q [B, N, heads*d], k and v [B, M, heads*d] -> [B, N, heads*d]."""
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


@dataclass
class UNetCall:
    """What the processors need to know about one UNet call. `grid` (h, w) is set by each transformer as it starts.

    size: (h, w) of the latent. observer: who is shown the queries and keys of the conditional half, if anybody.
    indices: which frames of the clip the rows of a chunk are, None = all. ranges: the logit ranges that are kept during
    the run. finest: how often the latent's side is halved at the finest level with attention.
    """

    t: float
    roles: tuple[str, ...]
    spacetime: SpaceTime
    modulation: Modulation | None
    size: tuple[int, int] | None = None
    observer: Observer | None = None
    indices: tuple[int, ...] | None = None
    ranges: RangeMemory | None = None
    finest: int = 0
    grid: tuple[int, int] | None = None

    def layer(self, attention_type: str, spacetime: SpaceTime | None = None, place: Hashable = None) -> Layer:
        """The layer that is called now; spacetime: its own."""
        return Layer(
            attention_type,
            TokenGrid(self.spacetime.frames, *self.grid),
            self.size,
            self.t,
            self.roles,
            spacetime,
            self.modulation,
            sdpa,
            self.indices,
            ranges=self.ranges,
            place=place,
        )

    def show(self, layer: Layer, q: Tensor, k: Tensor, heads: int) -> None:
        """Show the observer a layer, if it wants it."""
        if self.observer is not None and "cond" in self.roles:
            wanted = wanting((self.observer,), layer.attention_type, self.grid, self.size, self.t)
            layer.show(q, k, heads, wanted)


class RegionProcessor:
    """Attention processor of one Attention module of the UNet's transformer blocks, self and cross alike.

    name: the module's. halvings: how often the latent's side is halved where it stands.
    """

    def __init__(self, call: UNetCall, name: str = "", halvings: int = 0):
        self.call, self.name = call, name
        self.spacetime = call.spacetime.at(finest=halvings == call.finest)

    # Graphs of torch.compile break here: the labels and their bookkeeping would be traced anew for every layer.
    @torch.compiler.disable
    def __call__(
        self,
        attn: nn.Module,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        """hidden_states [chunk*F, T, C] -> the same shape; a context [chunk*F, L, C'] makes it cross-attention."""
        if attention_mask is not None:
            raise ValueError(
                f"attention mask of shape {tuple(attention_mask.shape)} given to the UNet; expected none, because "
                "modulated attention needs every key of a row (method.md 6). Call the UNet without masks."
            )
        context = hidden_states
        if encoder_hidden_states is not None:
            context = encoder_hidden_states
            if attn.norm_cross is not None:
                context = attn.norm_encoder_hidden_states(context)
        q, k, v = attn.to_q(hidden_states), attn.to_k(context), attn.to_v(context)
        attend = self._self if encoder_hidden_states is None else self._cross
        out = attend(q, k, v, attn.heads).to(q.dtype)
        out = attn.to_out[1](attn.to_out[0](out))
        if attn.residual_connection:
            out = out + hidden_states
        return out / attn.rescale_output_factor

    def _self(self, q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
        call = self.call
        layer = call.layer("self", self.spacetime, (self.name, call.roles, call.indices))
        call.show(layer, q, k, heads)
        return within_memory(layer.attend_self, q, k, v, heads)

    def _cross(self, q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
        layer = self.call.layer("cross")
        self.call.show(layer, q, k, heads)

        def attend(q: Tensor, k: Tensor, v: Tensor, heads: int, part: int | None) -> Tensor:
            return layer.attend_cross(q, k, v, heads)

        return within_memory(attend, q, k, v, heads)


@contextmanager
def installed(unet: nn.Module, transformers: type, call: UNetCall) -> Iterator[None]:
    """Put our processors into `unet` for the time of a `with` block and take them out again, whatever happens.

    transformers: the class whose instances give the token grid (diffusers' Transformer2DModel), read from the
    height and width of what enters them, never guessed from a token count.
    """
    previous = dict(unet.attn_processors)
    _check_processors(previous)  # they may have changed since check_attention saw them
    hooks = []

    def note_grid(module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
        entering = args[0] if args else kwargs["hidden_states"]
        call.grid = tuple(entering.shape[-2:])

    try:
        for module in unet.modules():
            if isinstance(module, transformers):
                hooks.append(module.register_forward_pre_hook(note_grid, with_kwargs=True))
        blocks = len(unet.down_blocks)
        unet.set_attn_processor({name: RegionProcessor(call, name, _halvings(name, blocks)) for name in previous})
        yield
    finally:
        for hook in hooks:
            hook.remove()
        unet.set_attn_processor(previous)


def _halvings(name: str, blocks: int) -> int:
    """How often the latent's side is halved where a module of a UNet with so many down blocks stands, by its name."""
    kind, number = name.split(".")[:2]
    if kind == "down_blocks":
        return int(number)
    return blocks - 1 - int(number) if kind == "up_blocks" else blocks - 1


def check_attention(unet: nn.Module) -> None:
    """Refuse a UNet whose attention our processors would not reproduce (IP-Adapter, fused projections, ...)."""
    processors = unet.attn_processors
    _check_processors(processors)
    for name in (key.removesuffix(".processor") for key in processors):
        attn = unet.get_submodule(name)
        parts = ("group_norm", "spatial_norm", "norm_q", "norm_k", "added_kv_proj_dim")
        extra = [part for part in parts if getattr(attn, part, None) is not None]
        if extra or not getattr(attn, "scale_qk", True):
            raise ValueError(
                f"attention module {name} has {', '.join(extra) or 'unscaled logits'}, which no SD1.x, SD2.x or SDXL "
                "UNet has; load one of those."
            )


def _check_processors(processors: dict[str, Any]) -> None:
    foreign = sorted({type(processor).__name__ for processor in processors.values()} - PLAIN_PROCESSORS)
    if foreign:
        raise ValueError(
            f"the UNet carries attention processors of type {', '.join(foreign)}, whose work would be lost; expected "
            f"plain ones ({', '.join(sorted(PLAIN_PROCESSORS))}). Unload what put them there (IP-Adapter, fused "
            "projections) and load plain ones with unet.set_default_attn_processor()."
        )
