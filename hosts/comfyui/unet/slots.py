"""`attention/` inside ComfyUI's UNet: the callables that stand in its attn1 and attn2 replace slots (hosts.md B2).

Nothing here imports comfy; what is needed of the host (its own attention, its out-of-memory exception) is handed in.

Neighbours. A slot holds one callable, and packs reach for it in two ways. Some replace the occupant: then a pack's
patch is lost unless ours calls it (`previous`). IPAdapter_plus instead calls `.add(callback, **kwargs)` on whatever it
finds, so ours has that method and does with the callbacks what IPAdapter's own occupant does.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ....attention import Layer, Modulation, Observer, SpaceTime, TokenGrid, wanting
from ....attention.modulation import Plain
from ..edit import Edit
from ..host_attention import HostAttention
from . import GEOMETRY
from .call_parts import AttendPart, Part, by_treatment
from .slot_call import SlotCall, check_batch, check_keys, check_tokens, frame_indices, read_call, unfit


class AttentionSlot:
    """What stands in a slot: called by the host with (q, k, v, extra_options), extended by IPAdapter through `add`.

    Several of our patches on one model share the slot: a chunk whose conditioning was tagged by one of them is that
    patch's; all other chunks (the negative prompt above all) are the last patch's. An occupant of another pack that
    was there before is kept as a difference: ours(q, k, v) + (previous(q, k, v) - plain(q, k, v)); where ours would be
    plain, it is called alone.

    Args:
        edits: the patches, in the order they were applied.
        host: the host's attention.
        node: names us in messages.
        previous: who stood here before (never one of ours, see `chained`).
        observers: are shown one prompt of a run, always the same (`SamplingRun.shown`): the first one of the last edit
            that has any, else the first positive. Nothing where it is not sampled (another range of timesteps) or only
            on a part of the latent, and not what an IPAdapter adds.
        finest: how many sides of the model's finest level with attention make the latent's (SD1.x 1, SDXL 2).
    """

    attention_type: str

    def __init__(
        self,
        edits: tuple[Edit, ...],
        host: HostAttention,
        node: str,
        previous: Callable | None = None,
        observers: tuple[Observer, ...] = (),
        finest: int = 1,
    ):
        self.edits, self.host, self.node, self.previous, self.observers = edits, host, node, previous, observers
        self.finest = finest
        self._added: list[tuple[Callable, dict]] = []

    def chained(self, previous: Callable | None) -> AttentionSlot:
        """This patch on top of whoever stands in the slot."""
        if isinstance(previous, AttentionSlot):
            new = self.copy()
            new.edits, new.previous = previous.edits + self.edits, previous.previous
            new.observers = previous.observers + self.observers
            new._added = previous._added + self._added
            return new
        new = self.copy()
        new.previous = previous
        return new

    def observed(self, observer: Observer) -> AttentionSlot:
        """The same, shown to one more observer."""
        new = self.copy()
        new.observers = (*self.observers, observer)
        return new

    def copy(self) -> AttentionSlot:
        """Another slot's worth of the same: what is added to one is not added to the other."""
        new = object.__new__(type(self))
        new.__dict__.update(self.__dict__)
        new._added = list(self._added)
        return new

    def __deepcopy__(self, memo) -> AttentionSlot:
        return self.copy()

    def add(self, callback: Callable, **kwargs: Any) -> None:
        """IPAdapter_plus's way in: out += callback(out, q, k, v, extra_options, **kwargs), in the order of adding.

        Called while the noise level lies between kwargs["sigma_start"] and kwargs["sigma_end"]; always without them.
        """
        self._added.append((callback, kwargs))

    def models(self) -> list:
        """The models that the host must load for the previous occupant."""
        return self.previous.models() if hasattr(self.previous, "models") else []

    # Graphs of torch.compile break here: labels and windows change between calls.
    @torch.compiler.disable
    def __call__(self, q: Tensor, k: Tensor, v: Tensor, extra_options: dict, **kwargs: Any) -> Tensor:
        """q [chunks * F, T, heads * d]; k, v [chunks * F, M, heads * d] -> q's shape and dtype."""
        extra = extra_options
        call = read_call(q, extra, self.edits, self.node)
        plain = self.host.plain(extra)
        heads = extra["n_heads"]
        if self.observers:
            # Here, and not where attention is computed: that happens by edits, and after a lack of memory by heads.
            self._show(call, q, k, extra)
        out = self._attend(call, q, k, v, extra, plain)
        if out is None:
            if self.previous is None:
                out = plain(q, k, v, heads)
            else:
                out = self.previous(q, k, v, extra, **kwargs)
        elif self.previous is not None:
            out = out + (self.previous(q, k, v, extra, **kwargs) - plain(q, k, v, heads))
        if self._added:
            sigma = float(extra["sigmas"].detach().flatten()[0]) if "sigmas" in extra else float("inf")
            for callback, options in self._added:
                if options.get("sigma_end", 0.0) <= sigma <= options.get("sigma_start", float("inf")):
                    out = out + callback(out, q, k, v, extra, **options)
        return out.to(q.dtype)

    def _attend(self, call: SlotCall, q: Tensor, k: Tensor, v: Tensor, extra: dict, plain: Plain) -> Tensor | None:
        """The attended values, or None where they would be those of plain attention."""
        raise NotImplementedError

    def _show(self, call: SlotCall, q: Tensor, k: Tensor, extra: dict) -> None:
        if "cond" not in call.roles or call.cropped:
            return
        run = call.run
        if run is None:
            raise RuntimeError(
                f"{self.node}: this sampler does not run ComfyUI's OUTER_SAMPLE wrappers, so that the frames and the "
                "noise level of what is looked at are unknown. Sample with KSampler, SamplerCustom or "
                "SamplerCustomAdvanced."
            )
        t = run.t(extra["sigmas"])
        wanted = wanting(self.observers, self.attention_type, call.grid, run.size, t)
        if not wanted:
            return
        if doubt := unfit(self.attention_type, q, k, call, extra):
            run.say_once(f"unseen {self.attention_type}", self.node, f"{doubt}; such layers are not looked at.")
            return
        number = self._shown(call)
        if number is None:
            return
        frames = frame_indices(extra, call.frames, run, self.node)
        layer = self._layer(call, (number,), self._treatment(call, number, k.shape[1]))
        rows = slice(number * call.frames, (number + 1) * call.frames)
        replace(layer, size=run.size, t=t, frames=frames).show(q[rows], k[rows], extra["n_heads"], wanted)

    def _shown(self, call: SlotCall) -> int | None:
        """The chunk that observers see: of the same prompt in every call, in whatever order and company it comes."""
        run = call.run
        wanted = run.shown(self.edits)
        if any(one in run.roles for one in call.ids):
            return next((number for number, one in enumerate(call.ids) if one == wanted), None)
        # Nobody says which prompts these are. The host puts the first one last.
        conditional = [number for number, role in enumerate(call.roles) if role == "cond"]
        return conditional[-1] if conditional and wanted not in run.tags else None

    def _treatment(self, call: SlotCall, number: int, keys: int) -> Hashable:
        """What is to be done with a chunk; chunks of which it is the same share a Layer."""
        raise NotImplementedError

    def _layer(self, call: SlotCall, chunks: Sequence[int], treatment: Any, plain: Plain | None = None) -> Layer:
        """The layer as these chunks need it."""
        raise NotImplementedError

    def _layer_of(self, call: SlotCall, chunks: Sequence[int], modulation: Modulation | None, **more: Any) -> Layer:
        roles = tuple(call.roles[number] for number in chunks)
        tokens = TokenGrid(call.frames, *call.grid)
        return Layer(self.attention_type, tokens, call.latent, call.t, roles, modulation=modulation, **more)

    def _by_treatment(self, call, treatments: Sequence[Hashable], q, k, v, heads: int, attend: AttendPart) -> Tensor:
        """Chunks of one treatment go through one call, within the memory there is (call_parts.py)."""
        trouble = partial(self._trouble, call)
        return by_treatment(treatments, q, k, v, heads, attend, host=self.host, trouble=trouble)

    def _trouble(self, call: SlotCall, said: str) -> str:
        """What to say of a call that the memory does not suffice for."""
        height, width = GEOMETRY.pixels(call.latent)
        return (
            f"{self.node}: out of memory in attention over {call.frames} frames at {call.grid[0]} x {call.grid[1]} "
            f"tokens ({width} x {height} pixels), also in two halves ({said}). "
            "Connect Long Clip Windows, or lower its `frames`; or make width and height smaller."
        )

    def _say_kernel(self, call: SlotCall, edit: Edit, extra: dict) -> None:
        """Say, once a run, that modulated calls do not go through an attention that would lose their bias."""
        if name := self.host.quantised(extra):
            call.run.say_once(
                "quantised",
                self.node,
                f"attention here is {name}, whose 8-bit queries and keys would lose what steers the "
                f"regions; steered calls go through kernel {edit.attention.kernel!r} instead, all others stay with it.",
                logging.INFO,
            )


class SelfSlot(AttentionSlot):
    """In attn1: space-time attention of every chunk by its edit's arrangement, modulated where the edit says so."""

    attention_type = "self"

    def _attend(self, call, q, k, v, extra, plain):
        def leaves(edit: Edit) -> bool:
            modulation = call.modulation(edit)
            idle = modulation is None or modulation.self_schedule.xi(call.t) == 0
            return idle and (edit.attention.mode == "per_frame" or call.frames == 1)

        check_batch(q, extra, self.node)
        for edit in call.edits:
            if call.modulation(edit) is not None:
                check_tokens(q, k, call, self.node)
        if all(leaves(edit) for edit in call.edits):
            return None

        def attend(edit: Edit, part: Part, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            layer = self._layer(call, part.chunks, edit, plain)
            if layer.modulation is not None and layer.modulation.self_schedule.xi(call.t) > 0:
                self._say_kernel(call, edit, extra)
            layer = replace(layer, ranges=call.run and call.run.ranges, place=self._place(call, edit, part, q, extra))
            return layer.attend_self(q, k, v, part.heads, part.half)

        return self._by_treatment(call, call.edits, q, k, v, extra["n_heads"], attend)

    def _treatment(self, call, number, keys):
        return call.edits[number]

    def _layer(self, call, chunks, treatment, plain=None):
        chosen = treatment.attention
        spacetime = SpaceTime(chosen.mode, call.frames, chosen.anchors).at(call.on_level(self.finest))
        return self._layer_of(call, chunks, call.modulation(treatment), spacetime=spacetime, plain=plain)

    def _place(self, call: SlotCall, edit: Edit, part: Part, q: Tensor, extra: dict) -> Hashable:
        """What a range measured here belongs to (`RangeMemory.find`); None where the host does not say it."""
        prompts = tuple(call.ids[number] for number in part.chunks)
        if None in prompts or extra.get("block") is None:
            return None
        layer = (*extra["block"], extra.get("block_index"), extra.get("transformer_index"))
        return (edit.id, layer, prompts, call.indices, q.device)


class CrossSlot(AttentionSlot):
    """In attn2: the modulated cross-attention of the chunks that belong to an edit, plain attention of the others.

    Text labels of a chunk: a tagged conditioning's are its tag's. An untagged "uncond" one (the negative prompt) has
    the last patch's, at the same positions, as in the diffusers host; they matter only where cross_halves says so. An
    untagged "cond" one has none and is not modulated. Where the host repeats an embedding to the length of a longer
    one, its labels are repeated likewise; keys that are no multiple (another pack has put its own there) are not
    modulated, which the log says once.
    """

    attention_type = "cross"

    def _attend(self, call, q, k, v, extra, plain):
        if not any(edit.modulates for edit in self.edits):
            return None
        check_keys(q, k, self.node)
        treatments = [self._treatment(call, number, k.shape[1]) for number in range(len(call.edits))]
        if all(treatment is None for treatment in treatments):
            return None
        check_batch(q, extra, self.node)
        check_tokens(q, None, call, self.node)

        def attend(treatment, part: Part, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            if treatment is None:
                return plain(q, k, v, part.heads)
            self._say_kernel(call, treatment[0], extra)
            return self._layer(call, part.chunks, treatment, plain).attend_cross(q, k, v, part.heads)

        return self._by_treatment(call, treatments, q, k, v, extra["n_heads"], attend)

    def _layer(self, call, chunks, treatment, plain=None):
        if treatment is None:
            return self._layer_of(call, chunks, None, plain=plain)
        edit, labels = treatment
        return self._layer_of(call, chunks, call.modulation(edit), text_labels=torch.tensor(labels), plain=plain)

    def _treatment(self, call: SlotCall, number: int, keys: int) -> tuple[Edit, tuple[int, ...]] | None:
        """(edit, labels of the keys) of a chunk; None = not modulated in this call."""
        edit, role, tag = call.edits[number], call.roles[number], call.tags[number]
        modulation = call.modulation(edit)
        if modulation is None or modulation.cross_halves not in ("both", role):
            return None
        if modulation.cross_schedule.xi(call.t) == 0:
            return None
        if tag is not None and tag.edit == edit.id:
            labels = tag.labels
        elif role == "uncond":
            labels = edit.text_labels
        else:
            return None
        if keys % len(labels):
            call.run.say_once(
                f"keys {keys}",
                self.node,
                f"cross-attention came with {keys} text keys, no multiple of the prompt's {len(labels)} "
                "tokens: another node has put its own in their place. This prompt's cross-attention is not modulated.",
            )
            return None
        return edit, tuple(labels.repeat(keys // len(labels)).tolist())
