"""DDIM Video Inversion inside ComfyUI: up and back down again through stock sampling nodes."""

import gc
import logging
import sys
import types
import weakref

import comfy.model_management
import comfy.samplers
import comfy.utils
import pytest
import torch
from comfy_extras import nodes_custom_sampler as core
from comfy_extras import nodes_model_advanced

from videograin.editing.pipeline import invert_clip
from videograin.editing.settings import AttentionSettings, InversionSettings
from videograin.hosts.comfyui.embedded_model import embedded_model
from videograin.hosts.comfyui.inversion import invert_latent, noise_latent, weights_fingerprint
from videograin.hosts.comfyui.unet.noise import leading_sigmas
from videograin.hosts.comfyui.unet.patch import patch_space_time
from videograin.hosts.diffusers import load_model
from videograin.nodes.ddim_video_inversion import DDIMVideoInversion
from videograin.world.clips import pair_clip

from .tiny import conditioning, tiny_model
from .windows import windowed

pytestmark = pytest.mark.usefixtures("as_the_host_runs")

NODE = "DDIM Video Inversion"
FRAMES = 3
PLAIN = {"steps": 10, "method": "warm", "calls": 3, "spacetime": "full", "key_frames": 2, "collect_features": False}


@pytest.fixture(scope="module")
def clip():
    return pair_clip(3, FRAMES, 64)


@pytest.fixture(scope="module")
def world(clip):
    """(model, source conditioning, negative, LATENT) of the embedded model and a clip it knows."""
    with torch.inference_mode():
        model, text, vae = embedded_model()

        def encode(prompt):
            return text.encode_from_tokens_scheduled(text.tokenize(prompt))

        samples = vae.encode(torch.from_numpy(clip.frames).float() / 255)
        return model, encode(clip.caption), encode(""), {"samples": samples, "batch_index": [4, 5, 6], "mine": "kept"}


def run(world, latent=None, model=None, sigmas=None, **changes):
    arguments = {**PLAIN, **changes}
    out = DDIMVideoInversion.execute(model or world[0], world[1], latent or world[3], **arguments, sigmas=sigmas)
    return out.args


def back(model, positive, negative, noise, sigmas, cfg=1.0, sampler="euler"):
    select = comfy.samplers.sampler_object(sampler)
    out = core.SamplerCustom().sample(model, False, 7, cfg, positive, negative, select, sigmas, noise)
    return out[0]["samples"]


def error(world, latent, noise, inversion, sigmas, mode="full", anchors=2):
    model = patch_space_time(world[0], mode, anchors, node="test")
    off = back(model, world[1], world[2], noise, sigmas) - latent["samples"]
    return float(off.std() / latent["samples"].std())


# --- the way up is the way down ---------------------------------------------------------------------------------------


def test_round_trip_through_latent_and_sampler_custom(world):
    errors = {m: error(world, world[3], *run(world, method=m)) for m in ("ddim", "warm", "fixed_point")}
    assert errors["ddim"] < 1  # 10 steps are few for it
    assert errors["warm"] < 0.1
    assert errors["fixed_point"] < 0.5 * errors["warm"]


@pytest.mark.parametrize(("mode", "anchors"), [("sparse_causal", 2), ("key_frames", 2), ("per_frame", 2)])
def test_round_trip_in_every_mode(world, mode, anchors):
    out = run(world, spacetime=mode, key_frames=anchors, method="fixed_point")
    assert error(world, world[3], *out, mode, anchors) < 0.05
    expected = {"attention": mode, **({"anchors": "2"} if mode == "key_frames" else {})}
    assert expected.items() <= out[1].extra.items()


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_families_and_v_prediction(family):
    model, source = tiny_model(family), conditioning(1, family=family)
    model.model.diffusion_model.out[2].weight.mul_(0.1)  # a random network is too steep for few steps
    samples = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(0)) * 3
    noise, inversion, sigmas = DDIMVideoInversion.execute(
        model, source, {"samples": samples}, **{**PLAIN, "method": "fixed_point", "calls": 8}
    ).args
    assert inversion.family == family
    patched = patch_space_time(model, "full", 2, node="test")
    result = back(patched, source, source, noise, sigmas)
    assert (result - samples).std() < 0.1 * samples.std()
    assert torch.allclose(inversion.clean, model.model.process_latent_in(samples), rtol=1e-6)
    assert torch.allclose(noise["samples"], model.model.process_latent_out(inversion.noise), rtol=1e-5)


def test_equals_the_standalone_runner(world, clip):
    """Same weights, clip and settings: the same trajectory, at the same scale, with the same notes."""
    noise, inversion, sigmas = run(world)
    theirs = invert_clip(
        load_model(),
        clip.frames,
        clip.caption,
        steps=10,
        inversion=InversionSettings(method="warm"),
        attention=AttentionSettings(mode="full"),
    )
    assert torch.allclose(sigmas, theirs.sigmas, rtol=2e-5)
    assert torch.allclose(inversion.latents, theirs.latents, rtol=0, atol=2e-3 * float(theirs.latents.abs().max()))
    for key in ("attention", "dtype", "latent_scale"):
        assert inversion.extra[key] == theirs.extra[key]
    assert (inversion.family, inversion.method) == (theirs.family, theirs.method)
    assert torch.allclose(noise_latent(theirs)["samples"], noise["samples"], rtol=0, atol=0.05)


# --- schedules --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [1, 10, 30, 50, 999])
def test_sigmas_are_the_diffusers_hosts(world, steps):
    ours = leading_sigmas(world[0], steps)
    assert torch.allclose(ours, load_model().sigmas(steps), rtol=2e-5)
    if 1000 % steps == 0 and steps > 1:
        theirs = comfy.samplers.calculate_sigmas(world[0].get_model_object("model_sampling"), "ddim_uniform", steps)
        assert torch.equal(ours, theirs)


def test_connected_sigmas_replace_the_steps(world):
    normal = comfy.samplers.calculate_sigmas(world[0].get_model_object("model_sampling"), "normal", 4)
    noise, inversion, sigmas = run(world, sigmas=normal, steps=50)
    assert torch.equal(sigmas, normal)
    assert inversion.steps == 4
    assert torch.equal(inversion.sigmas, normal)
    assert noise["samples"].shape == world[3]["samples"].shape


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda s: s.flip(0), "descending"),
        (lambda s: s[[0, 1, 1, 2]], "strictly"),
        (lambda s: s[:1], "at least 2"),
        (lambda s: s * 2, "highest noise level"),
    ],
)
def test_wrong_sigmas(world, make, says):
    with pytest.raises(ValueError, match=says) as caught:
        run(world, sigmas=make(leading_sigmas(world[0], 10)))
    assert str(caught.value).startswith(NODE)


def test_sigmas_that_end_above_zero_are_taken_and_said(world, caplog):
    cut = leading_sigmas(world[0], 10)[:8]
    _, inversion, _ = run(world, sigmas=cut)
    assert float(inversion.sigmas[-1]) == float(cut[-1]) > 0
    assert "not 0" in caplog.text


@pytest.mark.parametrize("steps", [0, 1000])
def test_wrong_steps(world, steps):
    with pytest.raises(ValueError, match=f"{NODE}: input `steps`: expected a whole number from 1 to 999, got {steps}"):
        run(world, steps=steps)


def test_other_samplings_are_refused_by_name(world):
    continuous = nodes_model_advanced.ModelSamplingContinuousEDM().patch(world[0], "edm", 80.0, 0.002)[0]
    with pytest.raises(ValueError, match=f"{NODE}: model: expected eps- or v-prediction .*ContinuousEDM"):
        run(world, model=continuous)
    zero_snr = nodes_model_advanced.ModelSamplingDiscrete().patch(world[0], "v_prediction", True)[0]
    top = zero_snr.get_model_object("model_sampling").sigmas[[999, 500, 1]]
    with pytest.raises(ValueError, match=f"{NODE}: sigmas: .*zero terminal SNR"):
        run(world, model=zero_snr, sigmas=top)


# --- what comes in ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("samples", "says"),
    [
        (torch.zeros(2, 4, 8, 8), "VAE Encode of your frames"),
        (torch.ones(1, 16, 3, 8, 8), r"got \[1, 16, 3, 8, 8\]"),
        (torch.ones(2, 16, 8, 8), r"\[F, 4, h, w\], got \[2, 16, 8, 8\]"),
        (torch.ones(0, 4, 8, 8), "at least 1 frame"),
        (torch.full((2, 4, 8, 8), torch.nan), "NaN"),
    ],
)
def test_wrong_latents(world, samples, says):
    with pytest.raises(ValueError, match=says) as caught:
        run(world, {"samples": samples})
    assert str(caught.value).startswith(f"{NODE}: latent_image")


def test_no_conditioning(world):
    with pytest.raises(ValueError, match=f"{NODE}: the conditioning is empty"):
        DDIMVideoInversion.execute(world[0], [], world[3], **PLAIN)


def test_what_else_the_latent_holds(world, caplog):
    noise, _, _ = run(world, {**world[3], "noise_mask": torch.ones(1, 64, 64)}, steps=2)
    assert noise.keys() == {"samples", "batch_index", "mine"}
    assert (noise["batch_index"], noise["mine"]) == ([4, 5, 6], "kept")
    assert "noise mask is dropped" in caplog.text
    assert "samples" in world[3]


def test_one_frame_is_inverted_and_the_log_says_what_is_missing(world, caplog):
    _, inversion, _ = run(world, {"samples": world[3]["samples"][:1]}, steps=2)
    assert inversion.frames == 1
    assert "1 frame" in caplog.text


def test_guidance_patches_of_others_have_no_part_in_it(world):
    """A model with a CFG function and a post-CFG function (PAG and its like) is inverted without them."""
    model = world[0].clone()
    model.set_model_sampler_cfg_function(lambda args: args["cond"] * 2, disable_cfg1_optimization=True)
    model.set_model_sampler_post_cfg_function(lambda args: args["denoised"] + 1, disable_cfg1_optimization=True)
    assert torch.equal(run(world, model=model, steps=2)[1].latents, run(world, steps=2)[1].latents)


# --- what comes out ---------------------------------------------------------------------------------------------------


def test_the_trajectory_knows_what_it_belongs_to(world):
    _, inversion, _ = run(world, method="fixed_point", calls=2, spacetime="key_frames", key_frames=1)
    assert inversion.latents.dtype == torch.float32
    assert inversion.latents.device.type == "cpu"
    assert inversion.method == "fixed_point(2)"
    assert inversion.family == "sd1"
    assert len(inversion.model) == 12
    assert inversion.extra == {
        "attention": "key_frames",
        "anchors": "1",
        "dtype": "float32",
        "host": "comfyui",
        "latent_scale": "1.1304",
    }
    assert inversion.features is None


def test_the_fingerprint_is_of_the_weights_alone(world):
    model = world[0]
    same = weights_fingerprint(model)
    assert same == weights_fingerprint(embedded_model()[0])
    assert same != weights_fingerprint(tiny_model())
    key = "diffusion_model.input_blocks.0.0.weight"
    merged = model.clone()
    merged.add_patches({key: (torch.ones_like(model.model.diffusion_model.input_blocks[0][0].weight),)})
    comfy.model_management.load_models_gpu([merged])
    try:
        assert weights_fingerprint(merged) == weights_fingerprint(model) == same
    finally:
        comfy.model_management.unload_all_models()
    assert weights_fingerprint(model) == same


def test_weights_that_cannot_be_read_have_no_fingerprint(world):
    class Odd:
        diffusion_model = torch.nn.Linear(1, 1, device="meta")

    class Patcher:
        model, backup = Odd, {}

    assert weights_fingerprint(Patcher) == ""


# --- the host's services ----------------------------------------------------------------------------------------------


def state(model):
    replaced = model.model_options["transformer_options"].get("patches_replace", {})
    return set(model.model_options), set(replaced), dict(model.wrappers), len(model.patches), dict(model.object_patches)


def test_the_second_run_equals_the_first_and_the_model_stays_unpatched(world):
    before = state(world[0])
    first, second = run(world), run(world)
    assert state(world[0]) == before
    assert torch.equal(first[1].latents, second[1].latents)
    assert torch.equal(first[0]["samples"], second[0]["samples"])


@pytest.mark.parametrize("method", ["ddim", "warm", "fixed_point"])
def test_progress_ends_at_all_of_it(world, method, monkeypatch):
    seen = []
    monkeypatch.setattr(comfy.utils, "PROGRESS_BAR_HOOK", lambda value, total, *_, **__: seen.append((value, total)))
    run(world, method=method, steps=5)
    assert seen == sorted(seen)
    assert set(seen) <= {(k, 5) for k in range(1, 6)}  # newer hosts leave out what comes too soon after another
    assert seen[-1] == (5, 5)


def test_cancel_stops_at_the_next_call_and_leaves_nothing(world, monkeypatch):
    before = state(world[0])
    calls = []

    def cancelled(value, *_, **__):
        calls.append(value)
        comfy.model_management.interrupt_current_processing()

    monkeypatch.setattr(comfy.utils, "PROGRESS_BAR_HOOK", cancelled)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        run(world, steps=5)
    assert calls == [1]
    assert not comfy.model_management.processing_interrupted()
    assert state(world[0]) == before
    monkeypatch.undo()
    assert torch.isfinite(run(world, steps=2)[1].latents).all()


def test_a_failure_leaves_the_model_unpatched_and_frees_the_rest(world, monkeypatch):
    before, made = state(world[0]), []
    original = type(world[0]).clone

    def clone(self):
        made.append(weakref.ref(patched := original(self)))
        return patched

    def fail(*_, **__):
        raise RuntimeError("the preview broke")

    monkeypatch.setattr(type(world[0]), "clone", clone)
    monkeypatch.setattr(comfy.utils, "PROGRESS_BAR_HOOK", fail)
    with pytest.raises(RuntimeError, match="the preview broke") as caught:
        run(world, steps=5)
    del caught
    sys.last_exc = sys.last_value = sys.last_traceback = None
    gc.collect()
    assert state(world[0]) == before
    assert made
    assert [ref() for ref in made] == [None] * len(made)


def test_out_of_memory_says_what_to_lower_and_stays_out_of_memory(world, monkeypatch, caplog):
    def full(*_, **__):
        raise comfy.model_management.OOM_EXCEPTION("no room")

    monkeypatch.setattr(comfy.utils, "PROGRESS_BAR_HOOK", full)
    with pytest.raises(comfy.model_management.OOM_EXCEPTION):
        run(world, steps=2)
    assert f"{FRAMES} frames of 64 x 64 pixels with spacetime full" in caplog.text


def test_errors_of_the_run_name_their_own_node(world, monkeypatch):
    model, positive, *_ = world
    nothing = [[torch.full_like(positive[0][0], float("nan")), {}]]
    with pytest.raises(ValueError, match=f"^{NODE}: "):
        run((model, nothing, *_), steps=2)

    def broken(*_, **__):
        raise ValueError("something in another pack")

    monkeypatch.setattr(comfy.utils, "PROGRESS_BAR_HOOK", broken)
    with pytest.raises(ValueError, match=r"^something in another pack$"):
        run(world, steps=2)


@pytest.mark.parametrize("collect_features", [False, True])
def test_the_model_is_checked_before_the_frames(world, collect_features):
    other = types.SimpleNamespace(model=types.SimpleNamespace(model_config=object(), diffusion_model=object()))
    with pytest.raises(ValueError, match=r"supports SD1\.x, SD2\.x and SDXL UNets"):
        run(world, model=other, collect_features=collect_features)


def test_context_windows(world):
    windows = windowed(world[0], "standard_static", "pyramid")
    how = {"steps": FRAMES - 1, "method": "fixed_point", "calls": 8}
    noise, inversion, sigmas = run(world, model=windows, **how)
    assert not torch.equal(inversion.noise, run(world, **how)[1].noise)
    model = patch_space_time(windows, "full", 2, node="test")
    result = back(model, world[1], world[2], noise, sigmas)
    assert (result - world[3]["samples"]).std() < 0.1 * world[3]["samples"].std()


def test_invert_latent_alone_is_what_the_node_calls(world, caplog):
    caplog.set_level(logging.WARNING)
    sigmas = leading_sigmas(world[0], 10)
    alone = invert_latent(world[0], world[1], world[3], sigmas, node="x")
    assert torch.equal(alone.latents, run(world)[1].latents)
    assert caplog.text == ""
