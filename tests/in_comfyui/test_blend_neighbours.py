"""Latent Blend among others: what does not fit is said, nothing is left behind, other patches go on working."""

import copy

import comfy.model_management
import comfy.samplers
import comfy.utils
import pytest
import torch

from videograin.editing.composite import latent_mask
from videograin.hosts.comfyui.blend import blended_model, blended_sampler
from videograin.hosts.comfyui.unet.patch import patch_space_time
from videograin.nodes.latent_blend import LatentBlend
from videograin.nodes.latent_blend_model import LatentBlendModel

from .blending import BLEND, FRAMES, PATCH, RANGE, SIDE, STEPS, World
from .tiny import tiny_model
from .windows import windowed

pytestmark = pytest.mark.usefixtures("as_the_host_runs")


@pytest.fixture(scope="module")
def world():
    with torch.inference_mode():
        return World()


# --- what does not fit ------------------------------------------------------------------------------------------------


def test_another_number_of_frames_or_another_size(world):
    fewer = {"samples": world.noise["samples"][:2]}
    larger = {"samples": torch.ones(FRAMES, 4, SIDE, 2 * SIDE)}
    for noise, says in ((fewer, "given 2 frames of 8 x 8 .* has 3 of 8 x 8"), (larger, "given 3 frames of 16 x 8")):
        with pytest.raises(ValueError, match=f"{BLEND}: the sampler was {says}"):
            world.custom(world.sampler(), noise=noise)
        with pytest.raises(ValueError, match=f"{PATCH}: the sampler was {says}"):
            world.ksampler(world.patched(), latent=noise)


def test_a_sampler_without_a_function_is_refused_by_name(world):
    class Own:
        def sample(self, *args, **kwargs):
            """As some packs do it."""

    with pytest.raises(ValueError, match=rf"{BLEND}: sampler: Own has no sampler function.*Model Patch"):
        LatentBlend.execute(Own(), world.inversion, world.mask, **RANGE)


def test_another_family(world):
    other = tiny_model("sd2")
    with pytest.raises(
        ValueError, match=f"{PATCH}: the inversion was made with a model of family sd1, this one is sd2"
    ):
        world.patched(other)
    with pytest.raises(
        ValueError, match=f"{BLEND}: the inversion was made with a model of family sd1, this one is sd2"
    ):
        world.custom(world.sampler(), model=other)


def test_another_checkpoint_and_another_attention_are_said(world, caplog):
    world.custom(world.sampler())
    assert caplog.text == ""
    world.custom(world.sampler(), model=tiny_model(seed=1))
    assert "another checkpoint" in caplog.text
    caplog.clear()
    full = patch_space_time(world.model, "full", 2, node="x")
    world.custom(world.sampler(), model=full)
    world.ksampler(world.patched(full))
    said = "was made with attention per_frame, this run uses attention full"
    assert [record.message.count(said) for record in caplog.records] == [1, 1]


def test_a_noise_mask_is_said(world, caplog):
    world.custom(world.sampler(), noise={**world.noise, "noise_mask": torch.ones(1, 64, 64)})
    assert "the latent has a noise mask" in caplog.text


# --- neighbours and state ---------------------------------------------------------------------------------------------


def test_options_of_the_sampler_are_kept(world):
    sampler = comfy.samplers.ksampler("dpmpp_sde", {"eta": 0.0, "s_noise": 1.0}, {"random": True})
    wrapped = blended_sampler(sampler, world.inversion, world.mask, node=BLEND)
    assert type(wrapped) is type(sampler)
    assert wrapped.extra_options == sampler.extra_options
    assert wrapped.inpaint_options == {"random": True}
    assert wrapped.sampler_function is not sampler.sampler_function
    sampler_now, wrapped.extra_options["eta"] = sampler.extra_options["eta"], 1.0
    assert sampler.extra_options["eta"] == sampler_now


def test_the_second_run_equals_the_first_and_the_model_stays_unpatched(world):
    before = dict(world.model.wrappers), copy.copy(world.model.model_options["transformer_options"])
    sampler, model = world.sampler("dpmpp_2m"), world.patched()
    assert torch.equal(world.custom(sampler, cfg=3.0), world.custom(sampler, cfg=3.0))
    assert torch.equal(world.ksampler(model, cfg=3.0), world.ksampler(model, cfg=3.0))
    assert (dict(world.model.wrappers), world.model.model_options["transformer_options"]) == before
    plain = world.ksampler(world.model)
    assert (plain - world.latent["samples"])[~world.inside].abs().mean() > 0.1


def test_samplers_that_write_into_their_sigmas_change_no_link(world):
    before = world.sigmas.clone(), world.inversion.sigmas.clone()
    world.custom(world.sampler("uni_pc"))
    world.ksampler(world.patched(), sampler="uni_pc", steps=STEPS - 1)
    assert torch.equal(world.sigmas, before[0])
    assert torch.equal(world.inversion.sigmas, before[1])


def test_clones_share_the_trajectory_and_do_not_copy_it(world):
    def refuse(*_):
        raise AssertionError("copied")

    model = blended_model(world.model, world.inversion, world.mask, feather=0.0, node="x")
    kind = type(world.inversion)
    kind.__deepcopy__ = refuse
    try:
        clone = model.clone().clone()
        copy.deepcopy(model.model_options)
    finally:
        del kind.__deepcopy__
    world.check(world.ksampler(clone))


def test_blend_on_a_space_time_model(world):
    full = patch_space_time(world.model, "full", 2, node="x")
    world.check(world.custom(world.sampler(), model=full, cfg=3.0))
    world.check(world.ksampler(world.patched(full), cfg=3.0))


def test_two_blends_keep_both_outsides(world):
    other = torch.zeros(64, 64)
    other[:, :24] = 1
    both = world.inside & (latent_mask(other[None].expand(FRAMES, -1, -1), (SIDE, SIDE), 0.0)[:, None] > 0)
    source = world.latent["samples"]
    twice = LatentBlend.execute(world.sampler(), world.inversion, other, **RANGE).args[0]
    model = LatentBlendModel.execute(world.patched(), world.inversion, other, **RANGE, start_from_inversion=True).args[
        0
    ]
    for result in (world.custom(twice), world.ksampler(model)):
        assert torch.allclose(result[~both], source[~both], rtol=1e-6)
        assert (result - source)[both].abs().mean() > 0.05 * source.std()


def test_context_windows(world):
    windows = windowed(world.model, "standard_uniform", "flat")
    full = patch_space_time(windows, "full", 2, node="x")
    world.check(world.custom(world.sampler(), model=full, sigmas=world.sigmas[[0, 2, STEPS]], cfg=3.0))
    world.check(world.ksampler(world.patched(full), steps=FRAMES - 1, cfg=3.0))


@pytest.mark.parametrize("form", ["sampler", "model"])
def test_cancel_and_progress(world, form, monkeypatch):
    seen = []
    monkeypatch.setattr(comfy.utils, "PROGRESS_BAR_HOOK", lambda value, total, *_, **__: seen.append((value, total)))

    def run():
        return world.custom(world.sampler()) if form == "sampler" else world.ksampler(world.patched())

    run()
    assert seen[-1] == (STEPS, STEPS)

    def cancel(*_, **__):
        raise comfy.model_management.InterruptProcessingException

    monkeypatch.setattr(comfy.utils, "PROGRESS_BAR_HOOK", cancel)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        run()
    monkeypatch.undo()
    world.check(run())
