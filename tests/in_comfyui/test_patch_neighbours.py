"""Other patches on the same model, before and after ours: faithful fakes, and ComfyUI's own nodes."""

import copy
import logging
from dataclasses import replace

import comfy.ldm.modules.attention
import comfy.model_patcher
import pytest
import torch
from comfy_api.torch_helpers import set_torch_compile_wrapper
from comfy_extras.nodes_hypertile import HyperTile
from comfy_extras.nodes_pag import PerturbedAttentionGuidance
from comfy_extras.nodes_tomesd import TomePatchModel

from nodes import ConditioningCombine
from videograin.hosts.comfyui.edit import KEY
from videograin.hosts.comfyui.families import family_of
from videograin.hosts.comfyui.unet.patch import blocks, patch_edit, patch_space_time, tag
from videograin.hosts.comfyui.unet.slots import AttentionSlot, CrossSlot, SelfSlot

from . import tiny
from .core import run
from .edits import FAMILIES, NODE, apart, close, edit_of, edited, moving_masks


@pytest.fixture(scope="module", params=FAMILIES)
def any_model(request):
    return tiny.tiny_model(request.param)


@pytest.fixture(scope="module")
def model():
    return tiny.tiny_model("sd1")


# --- neighbours ---


class FakeIPAdapter:
    """The interface of IPAdapter_plus's Attn2Replace: stands in an attn2 slot, or is added to who stands there."""

    def __init__(self, callback, **kwargs):
        self.added = [(callback, kwargs)]

    def add(self, callback, **kwargs):
        self.added.append((callback, kwargs))

    def __call__(self, q, k, v, extra_options):
        out = comfy.ldm.modules.attention.optimized_attention(q, k, v, extra_options["n_heads"])
        for callback, kwargs in self.added:
            out = out + callback(out, q, k, v, extra_options, **kwargs)
        return out


def apply_ipadapter(model, weight=0.3):
    """As IPAdapter_plus does: into the slots of a clone, or `.add` to whoever is in them."""

    def callback(out, q, k, v, extra_options, weight, **kwargs):
        return weight * torch.tanh(q) / (extra_options["block"][1] + 1)

    kwargs = {"weight": weight, "sigma_start": 999999999.9, "sigma_end": 0.0}
    model = model.clone()
    options = model.model_options["transformer_options"].copy()
    options["patches_replace"] = {**options.get("patches_replace", {})}
    taken = options["patches_replace"]["attn2"] = {**options["patches_replace"].get("attn2", {})}
    deep = family_of(model, "test").name_of(model) == "sdxl"
    keys = [
        (name, number, index) if deep else (name, number)
        for name, number, depth in blocks(model)
        for index in range(depth if deep else 1)
    ]
    for key in keys:
        if key in taken:
            taken[key].add(callback, **kwargs)
        else:
            taken[key] = FakeIPAdapter(callback, **kwargs)
            model.model_options["transformer_options"] = options
    return model


def test_an_ipadapter_works_before_and_after_us(any_model):
    edit, positive = edit_of(), tiny.conditioning(1, family="sdxl")
    before = patch_edit(apply_ipadapter(any_model), edit, node=NODE)
    after = apply_ipadapter(patch_edit(any_model, edit, node=NODE))
    results = [tiny.sample(m, tag(positive, edit), cfg=7.0, steps=1) for m in (before, after)]
    close(*results)
    apart(results[0], edited(any_model, edit, positive, cfg=7.0, steps=1))
    apart(results[0], tiny.sample(apply_ipadapter(any_model), positive, cfg=7.0, steps=1))


def test_an_ipadapter_is_untouched_where_we_do_nothing(model):
    edit = edit_of(mode="per_frame", empty_range=True)
    alone = tiny.sample(apply_ipadapter(model), tiny.conditioning(1), cfg=7.0)
    assert torch.equal(edited(apply_ipadapter(model), edit, cfg=7.0), alone)


def test_what_is_added_to_a_clone_stays_with_the_clone(model):
    edit, positive = edit_of(), tiny.conditioning(1)
    patched = patch_edit(model, edit, node=NODE)
    before = tiny.sample(patched, tag(positive, edit), steps=1)
    weak, strong = apply_ipadapter(patched, 0.3), apply_ipadapter(patched, 0.9)
    results = [tiny.sample(m, tag(positive, edit), steps=1) for m in (weak, strong)]
    apart(*results)
    assert torch.equal(tiny.sample(patched, tag(positive, edit), steps=1), before)
    assert torch.equal(tiny.sample(weak, tag(positive, edit), steps=1), results[0])


def test_clones_are_separate_also_where_the_host_copies_no_objects(model, monkeypatch):
    """Newer hosts copy dicts and lists of the options, not what is in them."""

    def dicts_and_lists(value, *memo):
        if isinstance(value, dict):
            return {key: dicts_and_lists(one) for key, one in value.items()}
        return [dicts_and_lists(one) for one in value] if isinstance(value, list) else value

    if hasattr(comfy.model_patcher, "copy"):  # else it is such a host
        monkeypatch.setattr("comfy.model_patcher.copy.deepcopy", dicts_and_lists)
    patched = patch_edit(model, edit_of(), node=NODE)
    clone = patched.clone()
    taken = [m.model_options["transformer_options"]["patches_replace"] for m in (patched, clone)]
    for slot, kind in (("attn1", SelfSlot), ("attn2", CrossSlot)):
        for key, occupant in taken[0][slot].items():
            assert type(occupant) is type(taken[1][slot][key]) is kind
            assert occupant is not taken[1][slot][key]
            assert occupant.edits[0] is taken[1][slot][key].edits[0]  # what is large and immutable is shared


def test_two_of_our_patches_each_serve_their_own_conditioning(model):
    """cfg 1, one step, two positives: the average of what each edit does alone."""
    one, two = edit_of(mode="sparse_causal"), edit_of(masks=[m.flip(-1) for m in moving_masks(3)])
    positives = [tag(tiny.conditioning(n), edit) for n, edit in ((1, one), (2, two))]
    stacked = patch_edit(patch_edit(model, one, node=NODE), two, node=NODE)
    (both,) = ConditioningCombine().combine(*positives)
    alone = [edited(model, edit, tiny.conditioning(n), steps=1) for n, edit in ((1, one), (2, two))]
    close(tiny.sample(stacked, both, steps=1), (alone[0] + alone[1]) / 2)
    apart(*alone, 1e-4)
    # With the negative prompt: it belongs to the later patch.
    cfg = tiny.sample(stacked, positives[1], cfg=7.0, steps=1)
    close(cfg, edited(model, two, tiny.conditioning(2), cfg=7.0, steps=1))


def test_slots_with_longer_keys_are_taken_over_too(model):
    """ComfyUI looks up (block, n, index) before (block, n): ours must not be hidden by it."""
    calls = []

    def occupant(q, k, v, extra):
        calls.append(extra["block"])
        return comfy.ldm.modules.attention.optimized_attention(q, k, v, extra["n_heads"])

    edit, taken = edit_of(), model.clone()
    for slot in ("attn1", "attn2"):
        taken.set_model_patch_replace(occupant, slot, "middle", 0, 0)
    close(edited(taken, edit, cfg=7.0, steps=1), edited(model, edit, cfg=7.0, steps=1))
    assert calls == [("middle", 0)] * 2


def test_shorter_keys_on_sdxl_are_kept_under_ours():
    model, edit, calls = tiny.tiny_model("sdxl"), edit_of(), []

    def occupant(q, k, v, extra):
        calls.append(extra["block_index"])
        return v[:, :1] + 0 * q

    taken = model.clone()
    taken.set_model_attn2_replace(occupant, "middle", 0)
    apart(edited(taken, edit, steps=1), edited(model, edit, steps=1), 1e-4)
    assert calls == [0, 1, 2]


def test_perturbed_attention_guidance_takes_the_middle_for_its_own_call(model):
    edit = edit_of()
    guided = run(PerturbedAttentionGuidance, patch_edit(model, edit, node=NODE), 3.0)[0]
    out = tiny.sample(guided, tag(tiny.conditioning(1), edit), cfg=7.0)
    assert out.isfinite().all()
    apart(out, edited(model, edit, cfg=7.0))


def test_merged_tokens_are_refused_with_masks_and_work_without(model):
    def merged(m):
        return run(TomePatchModel, m, 0.5)[0]

    edit = edit_of()
    with pytest.raises(ValueError, match=r"ToMe / Token Merging.*Remove it"):
        tiny.sample(merged(patch_edit(model, edit, node=NODE)), tag(tiny.conditioning(1), edit))
    assert tiny.sample(merged(patch_space_time(model, "full", node=NODE)), tiny.conditioning(1)).isfinite().all()


def test_tiles_are_refused(model):
    tiled = run(HyperTile, patch_space_time(model, "full", node=NODE), 32, 2, 0, False)[0]
    with pytest.raises(ValueError, match=r"HyperTile.*Remove it"):
        tiny.sample(tiled, tiny.conditioning(1), noise=tiny.noise_of(2, (64, 64)), steps=1)


@tiny.needs_overrides
def test_the_hosts_attention_override_sees_unmodulated_space_time_attention(model):
    shapes = []

    def override(func, q, k, v, heads, **kwargs):
        shapes.append((tuple(q.shape[:2]), kwargs["attn_precision"]))
        return func(q, k, v, heads, **kwargs)

    patched = patch_space_time(model, "full", node=NODE)
    patched.model_options["transformer_options"]["optimized_attention_override"] = override
    tiny.sample(patched, tiny.conditioning(1), steps=1)
    assert ((1, 3 * 256), None) in shapes  # three frames of 16 x 16 as one picture


def test_every_value_of_ours_is_its_own_deep_copy(model, caplog):
    caplog.set_level(logging.WARNING)
    edit = edit_of()
    patched = patch_edit(model, edit, node=NODE)
    for taken in patched.model_options["transformer_options"]["patches_replace"].values():
        for occupant in taken.values():
            assert isinstance(occupant, AttentionSlot)
            assert copy.deepcopy(occupant).edits[0] is edit
            assert not hasattr(occupant, "to")
    put = tag(tiny.conditioning(1), edit)[0][1][KEY]
    assert copy.deepcopy(put) is put
    assert replace(edit).id != edit.id


@pytest.mark.parametrize(("compiled_first", "steps"), [(True, 1), (False, 1), (False, 2)])
def test_a_compiled_model_gives_the_same(model, compiled_first, steps):
    """ComfyUI's TorchCompileModel, with the backend that needs no compiler: our slots are graph breaks."""
    edit, other = edit_of(range="reuse", range_steps=steps), model.clone()
    if compiled_first:
        set_torch_compile_wrapper(model=other, backend="eager")
    other = patch_edit(other, edit, node=NODE)
    if not compiled_first:
        set_torch_compile_wrapper(model=other, backend="eager")
    close(tiny.sample(other, tag(tiny.conditioning(1), edit), cfg=7.0), edited(model, edit, cfg=7.0))
