"""A faithful fake of how ComfyUI calls the attention slots (comfy/ldm/modules/attention.py), and edits for it."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from videograin.attention import DiffusionLevels, LabelMap, Modulation, Schedule, SpaceTime
from videograin.editing.regions import Region
from videograin.editing.settings import AttentionSettings
from videograin.hosts.comfyui.edit import KEY, Edit, tag
from videograin.hosts.comfyui.sampling_run import SamplingRun
from videograin.hosts.comfyui.unet.slots import CrossSlot, HostAttention, SelfSlot

NODE = "ST-Layout Attn Patch"
HEADS, WIDTH, GRID, FRAMES = 2, 16, (4, 6), 3
LEVELS = DiffusionLevels(torch.linspace(0.9991, 0.0047, 1000))
SIGMA = 10.0
T = LEVELS.t(SIGMA)


def attention(q, k, v, heads, mask=None, attn_precision=None, transformer_options=None, **kwargs):
    """The interface of ComfyUI's optimized_attention."""
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)


HOST = HostAttention(attention)


class Block:
    """ComfyUI's lookup of a slot, and what it hands over: a fresh dict without the patches."""

    def __init__(self, slot, key=("input", 1)):
        self.slot, self.key = slot, key

    def __call__(self, q, k, v, transformer_options):
        extra = {k: one for k, one in transformer_options.items() if k not in ("patches", "patches_replace")}
        extra.update(n_heads=HEADS, dim_head=WIDTH // HEADS, attn_precision=None, block=self.key, block_index=0)
        taken = transformer_options.get("patches_replace", {}).get(self.slot, {})
        key = (*self.key, 0) if (*self.key, 0) in taken else self.key
        if key in taken:
            return taken[key](q, k, v, extra)
        return attention(q, k, v, HEADS, attn_precision=None, transformer_options=transformer_options)


def masks(frames=FRAMES):
    left, right = torch.zeros(2, frames, *GRID)
    for frame in range(frames):
        left[frame, :, : 1 + frame % 2] = 1
        right[frame, 1:, -2:] = 1
    return left, right


def edit_of(frames=FRAMES, **options):
    """options: fields of the Edit, or of its AttentionSettings."""
    settings = {
        "regions": tuple(Region(name, mask) for name, mask in zip(("cat", "dog"), masks(frames))),
        "text_labels": torch.tensor([-1, 1, 1, -1, 2, -1, -1]),
    }
    settings.update((name, options.pop(name)) for name in ("regions", "text_labels", "empty_range") if name in options)
    strong = {"self_strength": 0.8, "cross_strength": 0.9, "power": 1.0, "end": 1.0}
    return Edit(attention=AttentionSettings(**{**strong, **options}), **settings)


def conds(edit, positive=("p",), negative=("n",), tokens=7):
    """The guider's conditionings as OUTER_SAMPLE sees them."""

    def entries(names, mark):
        return [
            {**c[1], "cross_attn": c[0], "uuid": name}
            for name in names
            for c in mark([[torch.zeros(1, tokens, 8), {}]])
        ]

    return {"positive": entries(positive, lambda c: tag(c, edit)), "negative": entries(negative, lambda c: c)}


def run_of(*edits, guider=None, frames=FRAMES, **options):
    run = SamplingRun.begin(conds(edits[0], **options) if guider is None else guider, (frames, 4, *GRID), LEVELS)
    for edit in edits:
        run = run.with_edit(edit, NODE)
    return run


def options_of(run, uuids=("n", "p"), order=(1, 0), frames=FRAMES, grid=GRID, **more):
    return {
        KEY: run,
        "cond_or_uncond": list(order),
        "uuids": list(uuids),
        "sigmas": torch.full((frames,), SIGMA),
        "activations_shape": [len(order) * frames, 8, *grid],
        "original_shape": [len(order) * frames, 4, *GRID],
        **more,
    }


def tensors(chunks=2, keys=None, frames=FRAMES, seed=0):
    generator = torch.Generator().manual_seed(seed)
    tokens = GRID[0] * GRID[1]
    lengths = (tokens, keys or tokens, keys or tokens)
    return [torch.randn(chunks * frames, length, WIDTH, generator=generator) for length in lengths]


def attend(slot, occupant, qkv, options, key=("input", 1)):
    return Block(slot, key)(*qkv, {**options, "patches_replace": {slot: {key: occupant}}})


def self_slot(edit, host=HOST, **options):
    return SelfSlot((edit,), host, NODE, **options)


def cross_slot(edit, host=HOST):
    return CrossSlot((edit,), host, NODE)


def space_time(mode="full", anchors=2):
    """An edit without regions."""
    return Edit(attention=AttentionSettings(mode=mode, anchors=anchors))


def arrangement_of(edit):
    return SpaceTime(edit.attention.mode, FRAMES, edit.attention.anchors)


def modulation_of(edit, frames=FRAMES):
    """The edit's modulation, put together by hand."""
    chosen = edit.attention
    span = (chosen.power, chosen.start, chosen.end)
    return Modulation(
        LabelMap([region.mask for region in edit.regions]),
        edit.text_labels,
        Schedule(chosen.self_strength, *span),
        Schedule(chosen.cross_strength, *span),
        self_halves=chosen.self_halves,
        cross_halves=chosen.cross_halves,
        background=chosen.background,
        region_strength=tuple(region.strength for region in edit.regions),
    )


def expected_self(edit, qkv, roles=("uncond", "cond"), grid=GRID):
    return modulation_of(edit).self_attention(
        *qkv, heads=HEADS, grid=grid, roles=roles, t=T, spacetime=arrangement_of(edit)
    )


def expected_cross(edit, qkv, roles=("uncond", "cond"), labels=None):
    return modulation_of(edit).cross_attention(
        *qkv, heads=HEADS, grid=GRID, roles=roles, t=T, frames=FRAMES, text_labels=labels
    )
