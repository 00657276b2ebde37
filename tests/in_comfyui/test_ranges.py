"""Logit ranges, full_coarse and kernels on tiny random models of ComfyUI's own classes, sampled by ComfyUI."""

import logging

import pytest
import torch

from videograin.hosts.comfyui.unet.patch import observe, patch_edit, patch_space_time, tag

from . import tiny
from .edits import NODE, apart, close, edit_of, edited, moving_masks
from .test_patch_calls import cannot_batch

STEPS = 3
REUSE = {"range": "reuse", "range_steps": STEPS}
RUN = {"cfg": 7.0, "steps": 4}
# The tiny SD1 UNet: blocks at its latent's full side, and at half of it.
FINE, COARSE = (("input", 1), ("output", 2), ("output", 3)), (("input", 3), ("middle", 0), ("output", 0), ("output", 1))


@pytest.fixture(scope="module")
def model():
    return tiny.tiny_model("sd1")


# --- full_coarse ---


def test_full_coarse_is_key_frames_at_the_finest_level_and_full_elsewhere(model):
    """Put together block by block from the two modes' own slots."""
    frames = {"frames": 5, "steps": 2, "cfg": 7.0}
    by_mode = {mode: patch_space_time(model, mode, 1, node=NODE) for mode in ("full", "key_frames", "full_coarse")}
    by_hand = by_mode["full"].clone()
    slots = by_mode["key_frames"].model_options["transformer_options"]["patches_replace"]["attn1"]
    assert set(slots) == {*FINE, *COARSE}
    for key in FINE:
        by_hand.set_model_patch_replace(slots[key], "attn1", *key)
    outs = {mode: tiny.sample(one, tiny.conditioning(1), **frames) for mode, one in by_mode.items()}
    assert torch.equal(outs["full_coarse"], tiny.sample(by_hand, tiny.conditioning(1), **frames))
    apart(outs["full_coarse"], outs["full"], 1e-4)
    apart(outs["full_coarse"], outs["key_frames"], 1e-4)


def test_the_finest_level_of_sdxl_is_half_its_latent():
    """The tiny one has attention at that level alone."""
    model, positive = tiny.tiny_model("sdxl"), tiny.conditioning(1, family="sdxl")
    outs = [
        tiny.sample(patch_space_time(model, mode, 1, node=NODE), positive, frames=5)
        for mode in ("full_coarse", "key_frames")
    ]
    assert torch.equal(*outs)


@pytest.mark.parametrize("size", [(16, 16), (13, 22)])
def test_edits_have_both_arrangements_too(model, size):
    class Watcher:
        def __init__(self):
            self.modes = {}

        def __deepcopy__(self, memo):
            return self

        def wants(self, attention_type, grid, size, t):
            return attention_type == "self"

        def add(self, seen):
            assert seen.matched is not None
            self.modes.setdefault(seen.grid, set()).add(seen.spacetime.mode)

    masks = moving_masks(3, tuple(8 * side for side in size))
    watcher, edit = Watcher(), edit_of(masks=masks, mode="full_coarse", anchors=1)
    noise = tiny.noise_of(3, size)
    patched = patch_edit(model, edit, node=NODE)
    watched = observe(patched, watcher, node=NODE)
    out = tiny.sample(watched, tag(tiny.conditioning(1), edit), noise=noise, steps=1)
    half = tuple(-(-side // 2) for side in size)
    assert watcher.modes == {size: {"key_frames"}, half: {"full"}}
    full = edited(model, edit_of(masks=masks), tiny.conditioning(1), noise=noise, steps=1)
    apart(out, full, 1e-4)


# --- logit ranges ---


def test_one_level_a_range_changes_nothing(model):
    assert torch.equal(edited(model, edit_of(range="reuse", range_steps=1), **RUN), edited(model, edit_of(), **RUN))


@pytest.mark.parametrize("sampler", ["euler", "heun"])
def test_reuse_changes_the_edit_a_little(model, sampler):
    exact = edited(model, edit_of(), sampler=sampler, **RUN)
    plain = tiny.sample(patch_space_time(model, "full", node=NODE), tiny.conditioning(1), sampler=sampler, **RUN)
    saved = edited(model, edit_of(**REUSE), sampler=sampler, **RUN)
    apart(saved, exact, 1e-6)
    assert float((saved - exact).abs().max()) < 0.3 * float((plain - exact).abs().max())


def test_cross_attention_is_always_exact(model):
    off = {"self_strength": 0.0}
    assert torch.equal(edited(model, edit_of(**REUSE, **off), **RUN), edited(model, edit_of(**off), **RUN))


def test_prompts_in_one_call_and_in_two_give_the_same(model):
    edit = edit_of(**REUSE)
    patched = patch_edit(model, edit, node=NODE)
    together = tiny.sample(patched, tag(tiny.conditioning(1), edit), **RUN)
    close(tiny.sample(cannot_batch(patched), tag(tiny.conditioning(1), edit), **RUN), together)


def test_nothing_is_kept_from_one_run_to_the_next(model):
    edit, positive = edit_of(**REUSE), tiny.conditioning(1)
    patched = patch_edit(model, edit, node=NODE)
    runs = [tiny.sample(patched, tag(positive, edit), noise=tiny.noise_of(3, seed=s), **RUN) for s in (1, 2, 1)]
    assert torch.equal(runs[0], runs[2])


# --- the host's attention ---


@tiny.needs_overrides
def test_steered_calls_pass_sage_attention_by(model, caplog):
    """As KJNodes puts it on a model. Here it would destroy what goes through it."""
    caplog.set_level(logging.INFO)
    edit = edit_of(self_halves="both", cross_halves="both")
    seen = []

    def attention_override_sage(func, q, k, v, heads, *args, **kwargs):
        seen.append(q.shape)
        return func(q, k, v, heads, *args, **kwargs) * float("nan")

    patched = patch_edit(model, edit, node=NODE)
    patched.model_options["transformer_options"]["optimized_attention_override"] = attention_override_sage
    out = tiny.sample(patched, tag(tiny.conditioning(1), edit), **RUN)
    assert torch.equal(out, edited(model, edit, **RUN))
    assert seen == []
    assert caplog.text.count("attention here is attention_override_sage") == 1
