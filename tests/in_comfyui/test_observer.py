"""Observers on ComfyUI's own models: the output stays, and what is seen is what the other host sees."""

import pytest
import torch
from comfy_api.torch_helpers import set_torch_compile_wrapper

from videograin.attention import SpaceTime
from videograin.editing.attention_features import FeatureCollector
from videograin.editing.pipeline import encode_clip, invert_clip
from videograin.editing.settings import AttentionSettings, InversionSettings
from videograin.hosts.comfyui.embedded_model import embedded_model
from videograin.hosts.comfyui.inversion import invert_latent
from videograin.hosts.comfyui.unet.noise import leading_sigmas
from videograin.hosts.comfyui.unet.patch import edits_of, observe, patch_edit, patch_space_time, tag
from videograin.hosts.diffusers import load_model
from videograin.world.clips import pair_clip

from . import tiny
from .edits import FAMILIES, NODE, apart, edit_of
from .test_patch_neighbours import apply_ipadapter
from .windows import windowed

PATCHES = ["edit", "space-time", "none"]


class Watcher:
    """Copies what it is shown of the wanted kinds."""

    def __init__(self, *kinds):
        self.kinds, self.seen = kinds or ("self", "cross"), []

    def wants(self, attention_type, grid, size, t):
        return attention_type in self.kinds

    def add(self, seen):
        self.seen.append(seen)
        self.q = seen.q.clone()


@pytest.fixture(scope="module", params=FAMILIES)
def any_model(request):
    return tiny.tiny_model(request.param)


@pytest.fixture(scope="module")
def model():
    return tiny.tiny_model("sd1")


def patched_in(how, model, edit):
    """(a model, what its positive prompt must be): with an edit, space-time alone, or as it came."""
    positive = tiny.conditioning(1, family="sdxl")
    if how == "edit":
        return patch_edit(model, edit, node=NODE), tag(positive, edit)
    return (patch_space_time(model, "full", node=NODE) if how == "space-time" else model), positive


# --- the output ---


@pytest.mark.parametrize("how", PATCHES)
def test_the_output_is_the_same_bit_for_bit(any_model, how):
    patched, positive = patched_in(how, any_model, edit_of())
    watcher = Watcher()
    got = tiny.sample(observe(patched, watcher, node="Attention Map"), positive, cfg=7.0)
    assert torch.equal(got, tiny.sample(patched, positive, cfg=7.0))
    assert {seen.attention_type for seen in watcher.seen} == {"self", "cross"}
    assert all((seen.matched is not None) == (how == "edit") for seen in watcher.seen)
    assert all(seen.frames is None and seen.size == (16, 16) for seen in watcher.seen)
    modes = {seen.spacetime for seen in watcher.seen if seen.attention_type == "self"}
    assert modes == {SpaceTime("per_frame" if how == "none" else "full", 3)}
    assert all(seen.spacetime is None for seen in watcher.seen if seen.attention_type == "cross")


def test_every_layer_of_the_conditional_half_is_shown(any_model):
    """As many as the UNet has, in each of two steps, whether the halves come together or not."""
    layers = sum(hasattr(module, "to_q") for module in any_model.model.diffusion_model.modules())
    edit = edit_of()
    for cfg in (1.0, 7.0):
        watcher = Watcher()
        patched, positive = patched_in("edit", any_model, edit)
        tiny.sample(observe(patched, watcher, node=NODE), positive, cfg=cfg)
        assert len(watcher.seen) == 2 * layers
        assert len({seen.t for seen in watcher.seen}) == 2
        for seen in watcher.seen:
            assert seen.q.shape[:2] == (3, seen.grid[0] * seen.grid[1])
            assert seen.strength.shape == seen.q.shape[:2]
            assert seen.k.shape[1] == (77 if seen.attention_type == "cross" else seen.q.shape[1])


@pytest.mark.parametrize("how", PATCHES)
def test_an_ipadapter_before_or_after_is_not_disturbed(any_model, how):
    edit = edit_of()
    for first in (True, False):
        watcher, base = Watcher("cross"), apply_ipadapter(any_model) if first else any_model
        patched, positive = patched_in(how, base, edit)
        watched = observe(patched, watcher, node=NODE)
        if not first:
            patched, watched = apply_ipadapter(patched), apply_ipadapter(watched)
        with_it = tiny.sample(watched, positive, cfg=7.0, steps=1)
        assert torch.equal(with_it, tiny.sample(patched, positive, cfg=7.0, steps=1))
        apart(with_it, tiny.sample(patched_in(how, any_model, edit)[0], positive, cfg=7.0, steps=1))
        assert watcher.seen


@pytest.mark.parametrize("windows", [False, True])
def test_a_window_is_shown_with_its_frames(model, windows):
    watcher, edit = Watcher(), edit_of(4)
    patched, positive = patched_in("edit", model, edit)
    watched = observe(patched, watcher, node=NODE)
    if windows:
        patched, watched = (windowed(one, "standard_static", length=3) for one in (patched, watched))
    noise = tiny.noise_of(4)
    got = tiny.sample(watched, positive, noise=noise, steps=3)
    assert torch.equal(got, tiny.sample(patched, positive, noise=noise, steps=3))
    # Newer hosts put the frame before a window in front of it.
    led = windows and getattr(patched.model_options["context_handler"], "causal_window_fix", False)
    shown = {(0, 1, 2), (0, 1, 2, 3) if led else (1, 2, 3)} if windows else {None}
    assert {seen.frames for seen in watcher.seen} == shown
    assert all(len(seen.q) == len(seen.frames or noise) for seen in watcher.seen)


def test_a_compiled_model_is_shown_too(model):
    watcher, edit = Watcher(), edit_of()
    patched, positive = patched_in("edit", model, edit)
    plain = Watcher()
    tiny.sample(observe(patched, plain, node=NODE), positive, steps=1)
    compiled = observe(patched, watcher, node=NODE)
    set_torch_compile_wrapper(model=compiled, backend="eager")
    tiny.sample(compiled, positive, steps=1)
    assert [(seen.attention_type, seen.grid) for seen in watcher.seen] == [
        (seen.attention_type, seen.grid) for seen in plain.seen
    ]
    torch.testing.assert_close(watcher.q, plain.q, rtol=1e-4, atol=1e-4)


def test_only_the_clone_is_watched_and_every_run_anew(model):
    watcher, edit = Watcher(), edit_of()
    patched, positive = patched_in("edit", model, edit)
    watched = observe(patched, watcher, node=NODE)
    tiny.sample(patched, positive, steps=1)
    tiny.sample(model, positive, steps=1)
    assert watcher.seen == []
    tiny.sample(watched, positive, steps=1)
    first = len(watcher.seen)
    tiny.sample(watched.clone(), positive, steps=1)  # another node, a LoRA say, comes after
    assert len(watcher.seen) == 2 * first > 0


def test_an_edit_applied_after_the_observer_is_seen(model):
    watcher, edit = Watcher(), edit_of()
    watched, positive = patched_in("edit", observe(model, watcher, node="Attention Map"), edit)
    got = tiny.sample(watched, positive, cfg=7.0, steps=1)
    assert torch.equal(got, tiny.sample(patched_in("edit", model, edit)[0], positive, cfg=7.0, steps=1))
    assert all(seen.matched is not None for seen in watcher.seen)
    assert {seen.attention_type for seen in watcher.seen} == {"self", "cross"}


def test_the_edits_on_a_model_are_known_in_their_order(any_model):
    first, last = edit_of(), edit_of(mode="per_frame")
    assert edits_of(any_model) == ()
    one = patch_edit(any_model, first, node=NODE)
    assert edits_of(one) == (first,)
    assert edits_of(observe(patch_edit(one, last, node=NODE), Watcher(), node=NODE)) == (first, last)
    assert edits_of(patch_space_time(any_model, "key_frames", 3, node=NODE))[-1].attention.anchors == 3


def test_room_for_the_observer_is_reserved(model, monkeypatch):
    import comfy.model_base

    rows, original = [], comfy.model_base.BaseModel.memory_required
    monkeypatch.setattr(
        comfy.model_base.BaseModel,
        "memory_required",
        lambda self, shape, **kwargs: rows.append(shape[0] * shape[2]) or original(self, shape, **kwargs),
    )
    tiny.sample(observe(model, Watcher(), node=NODE), tiny.conditioning(1), steps=1)
    watched = max(rows)
    rows.clear()
    tiny.sample(model, tiny.conditioning(1), steps=1)
    assert watched > max(rows)


# --- against the other host ---


STEPS = 4


@pytest.fixture(scope="module")
def clip():
    return pair_clip(5, 4, 128)


def collected(clip, latents, level, mode, span):
    """Features of an inversion of these latents, through ComfyUI."""
    with torch.inference_mode():
        model, text, _ = embedded_model()
        collector = FeatureCollector(len(latents), level, *span)
        positive = text.encode_from_tokens_scheduled(text.tokenize(clip.caption))
        latent = {"samples": latents / model.get_model_object("latent_format").scale_factor}
        sigmas = leading_sigmas(model, STEPS)
        found = invert_latent(model, positive, latent, sigmas, method="ddim", mode=mode, observer=collector, node=NODE)
    return found, collector.result()


@pytest.mark.parametrize(
    ("level", "mode", "span"),
    [("half", "full", (0.0, 1.0)), ("full", "key_frames", (0.0, 1.0)), ("half", "full", (0.0, 0.6))],
)
def test_features_are_those_of_the_other_host(clip, level, mode, span):
    twin = load_model()
    latents = encode_clip(twin, clip.frames)
    here, got = collected(clip, latents, level, mode, span)
    there = invert_clip(
        twin,
        clip.frames,
        clip.caption,
        steps=STEPS,
        inversion=InversionSettings(method="ddim"),
        attention=AttentionSettings(mode=mode),
        latents=latents,
        features=level,
        feature_range=span,
    )
    expected = there.features
    assert (got.grid, got.calls, got.level) == (expected.grid, expected.calls, expected.level)
    assert got.cross.shape == expected.cross.shape == (4, got.grid[0] * got.grid[1], 77)
    torch.testing.assert_close(here.latents, there.latents, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(got.values, expected.values, rtol=2e-3, atol=1e-4)
    torch.testing.assert_close(got.cross, expected.cross, rtol=2e-3, atol=1e-4)
    assert float(got.cross[..., 1:].amax()) > 0.02  # some words are looked at


def test_features_of_windows_cover_every_frame(model):
    collector = FeatureCollector(4)
    watched = windowed(observe(model, collector, node=NODE), "standard_static", length=3)
    tiny.sample(watched, tiny.conditioning(1), noise=tiny.noise_of(4), steps=3)
    features = collector.result()
    whole = FeatureCollector(4)
    tiny.sample(observe(model, whole, node=NODE), tiny.conditioning(1), noise=tiny.noise_of(4), steps=3)
    # The image model sees each frame alone, so that windows change nothing; each frame is averaged over its own calls.
    torch.testing.assert_close(features.values, whole.result().values, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(features.cross, whole.result().cross, rtol=1e-3, atol=1e-5)
