"""Our patches on a ComfyUI model: which models, which slots, what happens when a run begins (hosts.md B2, B3)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from comfy import model_management, supported_models
from comfy.ldm.modules import attention as host_modules
from comfy.ldm.modules.diffusionmodules.openaimodel import Downsample, Upsample
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import CallbacksMP, WrappersMP

from ....attention import Observer
from ....editing.settings import AttentionSettings
from ..comfy_attention import comfy_attention
from ..edit import KEY, Edit, tag
from ..edited_runs import prepare_runs
from ..frame_cuts import call_shape, frames_of_calls
from .memory_estimate import LOOKING, Level, enlarged, peak_bytes
from .noise import noise_levels
from .slots import AttentionSlot, CrossSlot, SelfSlot

__all__ = [
    "blocks",
    "check_level",
    "edits_of",
    "observe",
    "patch_edit",
    "patch_space_time",
    "space_time_of",
    "tag",
]

SLOTS = {"attn1": SelfSlot, "attn2": CrossSlot}


def patch_space_time(
    model: ModelPatcher, mode: str, key_frames: int = 2, *, node: str, observer: Observer | None = None
) -> ModelPatcher:
    """A clone whose self-attention is space-time, not modulated (inversion; the patch without regions).

    Args:
        mode, key_frames: see `attention.SpaceTime`.
        node: names us in messages.
        observer: is shown every attention layer (`observe`), or None.

    Raises:
        ValueError: an unknown mode.
    """
    patched = _patched(model, Edit(attention=AttentionSettings(mode=mode, anchors=key_frames)), node)
    return patched if observer is None else observe(patched, observer, node=node)


def patch_edit(model: ModelPatcher, edit: Edit, *, node: str) -> ModelPatcher:
    """A clone that samples with `edit`. The positive conditioning must be tagged with the same edit (`tag`)."""
    return _patched(model, edit, node)


def observe(model: ModelPatcher, observer: Observer, *, node: str) -> ModelPatcher:
    """A clone that computes the same and shows the observer its self- and cross-attention (`LayerCall`).

    Shown is one prompt of a run: the first that belongs to an edit, else the first positive (`SamplingRun.shown`). What
    was patched before is seen as it is computed; a model without our patches stays the image model it is. Apply it
    after ST-Layout Attn Patch, and after other nodes that take attention slots: who takes one afterwards may hide it.

    Args:
        node: names us in messages.
    """
    edits = edits_of(model)
    if edits:
        model = model.clone()
    else:
        edits = (Edit(attention=AttentionSettings(mode="per_frame")),)
        model = _patched(model, edits[0], node)
    host, places, finest = comfy_attention(), list(blocks(model)), finest_level(model)
    for slot, kind in SLOTS.items():

        def watched(previous: Any, kind: type[AttentionSlot] = kind) -> AttentionSlot:
            ours = previous if isinstance(previous, AttentionSlot) else kind(edits, host, node, previous, finest=finest)
            return ours.observed(observer)

        _occupy(model, slot, watched, places, deep=slot == "attn2" and _is_sdxl(model))
    _reserve(model, lambda *_: LOOKING)
    return model


def edits_of(model: ModelPatcher) -> tuple[Edit, ...]:
    """Our patches on a model, in the order they were applied. Every slot of ours knows all of them."""
    replace = model.model_options["transformer_options"].get("patches_replace", {})
    ours = (one for slot in SLOTS for one in replace.get(slot, {}).values() if isinstance(one, AttentionSlot))
    return max((one.edits for one in ours), key=len, default=())


def space_time_of(options: Mapping[str, Any]) -> tuple[str | None, int | None]:
    """(mode, key frames) of the self-attention of a run by its model_options.

    A model without our patch attends within each frame; where another pack has taken the slots over, nothing is known.
    """
    slots = options.get("transformer_options", {}).get("patches_replace", {}).get("attn1", {}).values()
    edits = [slot.edits[-1] for slot in slots if isinstance(slot, SelfSlot)]
    if edits:
        return edits[0].attention.mode, edits[0].attention.anchors
    return None if slots else "per_frame", None


def blocks(model: ModelPatcher) -> Iterator[tuple[str, int, int]]:
    """The UNet's transformers in the order they run: (name, number, depth), as in the keys of the replace slots."""
    unet = model.model.diffusion_model
    middle = [unet.middle_block] if unet.middle_block is not None else []
    for name, parts in (("input", unet.input_blocks), ("middle", middle), ("output", unet.output_blocks)):
        for number, part in enumerate(parts):
            for module in part:
                if isinstance(module, host_modules.SpatialTransformer):
                    yield name, number, len(module.transformer_blocks)


def check_level(model: ModelPatcher, wanted: str, sides: Mapping[str, int], name: str) -> None:
    """ValueError where the UNet has no attention at a level, as SDXL at its latent's full side.

    sides: every level's name -> how many sides of it make the latent's, 0 = all levels. name: of the input, for the
    message.
    """
    found = {0} | {side for side, _ in _transformers(model)}
    if sides[wanted] not in found:
        there = " or ".join(level for level, side in sides.items() if side in found)
        raise ValueError(f"{name}: this model has no attention at {wanted} the latent's side; choose {there}.")


def finest_level(model: ModelPatcher) -> int:
    """How many sides of the UNet's finest level with attention make the latent's: 1 in SD1.x and SD2.x, 2 in SDXL."""
    return min(side for side, _ in _transformers(model))


def levels(model: ModelPatcher, size: tuple[int, int]) -> list[Level]:
    """The self-attention layers of the UNet in the order they run, for a latent of `size` (h, w)."""
    finest, found = finest_level(model), []
    for sides, module in _transformers(model):
        tokens = math.prod(math.ceil(side / sides) for side in size)
        for block in module.transformer_blocks:
            heads = block.attn1.heads
            found.append(Level(tokens, block.attn1.dim_head * heads, heads, sides == finest))
    return found


def _transformers(model: ModelPatcher) -> Iterator[tuple[int, torch.nn.Module]]:
    """The UNet's transformers in the order they run, each with how many sides of its tokens make the latent's."""
    unet, halvings = model.model.diffusion_model, 0
    for part in (*unet.input_blocks, unet.middle_block or (), *unet.output_blocks):
        for module in part:
            if isinstance(module, host_modules.SpatialTransformer):
                yield 2**halvings, module
            halvings += isinstance(module, Downsample) - isinstance(module, Upsample)


def _patched(model: ModelPatcher, edit: Edit, node: str) -> ModelPatcher:
    host, finest = comfy_attention(), finest_level(model)
    model = model.clone()
    places = list(blocks(model))
    _occupy(model, "attn1", SelfSlot((edit,), host, node, finest=finest).chained, places, deep=False)
    # A slot left alone is a slot that others can have; but where we are already, the last patch must be known.
    taken = model.model_options["transformer_options"].get("patches_replace", {}).get("attn2", {})
    known = any(isinstance(one, AttentionSlot) for one in taken.values())
    if edit.modulates and (known or edit.attention.cross_strength > 0):
        _occupy(model, "attn2", CrossSlot((edit,), host, node).chained, places, deep=_is_sdxl(model))

    def extra(patcher: Any, noise_shape: Any, kept: int) -> int:
        return peak_bytes(
            levels(patcher, tuple(noise_shape[-2:])),
            frames=noise_shape[0],
            mode=edit.attention.mode,
            key_frames=edit.attention.anchors,
            regions=len(edit.regions) if edit.modulates else 0,
            range_steps=edit.attention.steps_of_a_range,
            kept=kept,
            element=model_management.dtype_size(patcher.model.manual_cast_dtype or patcher.model_dtype()),
        )

    prepare_runs(model, edit, noise_levels, node)
    _reserve(model, extra)
    if not any(_separate_slots in listed for listed in model.callbacks.get(CallbacksMP.ON_CLONE, {}).values()):
        model.add_callback_with_key(CallbacksMP.ON_CLONE, KEY, _separate_slots)
    return model


def _reserve(model: ModelPatcher, extra: Callable[[Any, Any, int], int]) -> None:
    """Let the host free what our work takes on top of what it reckons with: extra(patcher, noise_shape, frames of all
    windows together) bytes.

    Both are reckoned for one call: with context windows that is a window, to which their wrapper, before or after this
    one, cuts the host's own estimate.
    """

    def reserve(executor: Any, patcher: Any, noise_shape: Any, *args: Any, **kwargs: Any) -> Any:
        options = kwargs.get("model_options") or patcher.model_options
        call = call_shape(noise_shape, options)
        required = patcher.model.memory_required(call)
        more = extra(patcher, call, frames_of_calls(noise_shape, options))
        return executor(patcher, enlarged(noise_shape, required, more), *args, **kwargs)

    model.add_wrapper_with_key(WrappersMP.PREPARE_SAMPLING, KEY, reserve)


def _occupy(
    model: ModelPatcher,
    slot: str,
    on_top: Callable[[Any], AttentionSlot],
    places: list[tuple[str, int, int]],
    deep: bool,
) -> None:
    """Put on_top(whoever is there, or None) into one slot of every transformer.

    ComfyUI looks up (name, number, index) first and (name, number) then. Ours takes the longer form where `deep` says
    so, because IPAdapter does on SDXL and would else hide it, and the shorter one otherwise; longer keys that others
    have taken already are always taken over too.
    """
    taken = model.model_options["transformer_options"].get("patches_replace", {}).get(slot, {})
    keys: dict[tuple, Any] = {}
    for name, number, depth in places:
        short = (name, number)
        long = [(name, number, index) for index in range(depth)]
        if deep:
            keys.update({key: taken.get(key, taken.get(short)) for key in long})
        else:
            keys[short] = taken.get(short)
            keys.update({key: taken[key] for key in long if key in taken})
    for key, previous in keys.items():
        model.set_model_patch_replace(on_top(previous), slot, *key)


def _is_sdxl(model: ModelPatcher) -> bool:
    return isinstance(model.model.model_config, supported_models.SDXL)


def _separate_slots(parent: ModelPatcher, clone: ModelPatcher) -> None:
    """ON_CLONE: give the clone's slots occupants of its own, so that `add` on one does not reach the other.

    ComfyUI 0.3.64 copies them by itself (deep copy), newer hosts do not.
    """
    options = dict(clone.model_options["transformer_options"])
    replace = {slot: dict(taken) for slot, taken in options.get("patches_replace", {}).items()}
    for taken in replace.values():
        taken.update({key: one.copy() for key, one in taken.items() if isinstance(one, AttentionSlot)})
    options["patches_replace"] = replace
    clone.model_options["transformer_options"] = options
