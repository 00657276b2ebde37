"""Latent Blend in both forms, under stock samplers: outside the mask the result is the source."""

import comfy.model_management
import comfy.samplers
import pytest
import torch
from comfy_extras import nodes_custom_sampler as core

import nodes
from videograin.editing.blend import blend as blend_function
from videograin.editing.composite import latent_mask
from videograin.editing.samplers import sample_euler
from videograin.nodes.latent_blend import LatentBlend
from videograin.nodes.latent_blend_model import LatentBlendModel

from .blending import BLEND, FRAMES, PATCH, RANGE, SIDE, STEPS, World

pytestmark = pytest.mark.usefixtures("as_the_host_runs")


@pytest.fixture(scope="module")
def world():
    with torch.inference_mode():
        return World()


SAMPLERS = [
    "euler",
    "heun",
    "dpmpp_2m",
    "dpm_2",
    "euler_ancestral",
    "dpmpp_sde",
    "uni_pc",
    "dpmpp_2m_sde",
    "ddim",
    "lms",
]


# --- exactness --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cfg", [1.0, 6.0])
@pytest.mark.parametrize("name", ["euler", "heun", "dpmpp_2m"])
def test_sampler_custom(world, name, cfg):
    world.check(world.custom(world.sampler(name), cfg=cfg))


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler(world, name):
    world.check(world.custom(world.sampler(name)))
    dropped = name in comfy.samplers.KSampler.DISCARD_PENULTIMATE_SIGMA_SAMPLERS  # a step more, less its last but one
    world.check(world.ksampler(world.patched(), sampler=name, steps=STEPS - dropped))


@pytest.mark.parametrize("cfg", [1.0, 6.0])
@pytest.mark.parametrize("name", ["euler", "heun", "dpmpp_2m"])
def test_plain_ksampler(world, name, cfg):
    world.check(world.ksampler(world.patched(), cfg=cfg, sampler=name))


def test_sampler_custom_advanced(world):
    guider = comfy.samplers.CFGGuider(world.model)
    guider.set_conds(world.prompt, world.negative)
    guider.set_cfg(3.0)
    out = core.SamplerCustomAdvanced().sample(
        core.Noise_EmptyNoise(), guider, world.sampler(), world.sigmas, world.noise
    )
    world.check(out[0]["samples"])
    world.check(out[1]["samples"])


def test_both_forms_give_the_same_frames(world):
    one = world.custom(world.sampler("heun", feather=1.5), cfg=4.0)
    other = world.ksampler(world.patched(feather=1.5), cfg=4.0, sampler="heun")
    assert torch.allclose(one, other, rtol=0, atol=1e-4 * float(one.abs().max()))


def test_equals_the_blend_of_the_standalone_runner(world):
    """Ours through the host against editing.blend around editing's Euler, on the bare model."""
    base, t = world.model.model, world.inversion
    comfy.model_management.load_models_gpu([world.model])

    def denoise(x, sigma):
        return base.apply_model(x, sigma, c_crossattn=world.prompt[0][0].expand(len(x), -1, -1))

    weights = latent_mask(world.mask, (SIDE, SIDE), 2.0)
    expected = base.process_latent_out(blend_function(sample_euler, t, weights)(denoise, t.noise, t.sigmas))
    got = world.custom(world.sampler(feather=2.0))
    assert torch.allclose(got, expected, rtol=0, atol=1e-4 * float(expected.abs().max()))


def test_the_network_sees_the_trajectory_outside(world):
    seen = []

    def watch(apply, arguments):
        seen.append((float(arguments["timestep"][0]), arguments["input"].clone()))
        return apply(arguments["input"], arguments["timestep"], **arguments["c"])

    for form in ("sampler", "model"):
        model = world.model.clone()
        model.set_model_unet_function_wrapper(watch)
        seen.clear()
        if form == "sampler":
            world.custom(world.sampler("heun"), model=model)
        else:
            world.ksampler(world.patched(model), sampler="heun")
        assert len(seen) == 2 * STEPS - 1
        for sigma, x in seen:
            assert torch.equal(x[~world.inside], world.inversion.at(sigma)[~world.inside])


# --- the plain KSampler -----------------------------------------------------------------------------------------------


def test_start_from_inversion_makes_seed_and_latent_irrelevant(world):
    model = world.patched()
    first = world.ksampler(model, seed=1)
    empty = {"samples": torch.zeros(FRAMES, 4, SIDE, SIDE)}
    assert torch.equal(first, world.ksampler(model, seed=2, latent=empty))
    free = world.patched(start_from_inversion=False)
    one, two = world.ksampler(free, seed=1), world.ksampler(free, seed=2)
    world.check(one)
    world.check(two)
    assert not torch.allclose(one[world.inside], two[world.inside])


# With a soft border as well: it must not be mixed once more where one run ends and the next begins.
@pytest.mark.parametrize("feather", [0.0, 1.0])
def test_ksampler_advanced(world, feather):
    def advanced(model, latent, start, end, leftover):
        out = nodes.KSamplerAdvanced().sample(
            model,
            "disable",
            0,
            STEPS,
            4.0,
            "euler",
            "ddim_uniform",
            world.prompt,
            world.negative,
            latent,
            start,
            end,
            leftover,
        )
        return out[0]

    patched = world.patched(feather=feather)
    whole = advanced(patched, world.noise, 0, 10000, "disable")["samples"]
    if feather == 0:
        world.check(whole)
    first = advanced(patched, world.noise, 0, 2, "enable")
    back = world.model.model.process_latent_in(first["samples"])
    reference = world.inversion.at(float(world.sigmas[2]))
    outside = latent_mask(world.mask, world.inversion.size, feather)[:, None].expand_as(back) == 0
    assert torch.allclose(back[outside], reference[outside], rtol=1e-5)
    onwards = world.patched(start_from_inversion=False, feather=feather)
    second = advanced(onwards, first, 2, 10000, "disable")["samples"]
    assert torch.allclose(second, whole, rtol=0, atol=1e-4 * float(whole.abs().max()))
    again = advanced(patched, first, 2, 10000, "disable")["samples"]
    assert not torch.allclose(again[world.inside], whole[world.inside], atol=1e-2)


def test_a_run_of_the_sampler_form_may_be_split(world):
    sampler = world.sampler(feather=1.0)
    whole = world.custom(sampler)
    half = {"samples": world.custom(sampler, sigmas=world.sigmas[:3])}
    both = world.custom(sampler, sigmas=world.sigmas[2:], noise=half)
    assert torch.allclose(both, whole, rtol=0, atol=1e-4 * float(whole.abs().max()))


@pytest.mark.parametrize("steps", [2, 4, 5])
def test_fewer_steps_than_the_inversion_are_interpolated(world, steps):
    world.check(world.ksampler(world.patched(), steps=steps))


@pytest.mark.parametrize(("scheduler", "steps"), [("normal", STEPS), ("ddim_uniform", 10)])
def test_a_schedule_that_starts_above_the_inversion(world, scheduler, steps):
    calls = []

    def count(apply, arguments):
        calls.append(1)
        return apply(arguments["input"], arguments["timestep"], **arguments["c"])

    model = world.model.clone()
    model.set_model_unet_function_wrapper(count)
    with pytest.raises(ValueError, match=f"{PATCH}: the sampler runs .*ddim_uniform.*divides 1000"):
        world.ksampler(world.patched(model), steps=steps, scheduler=scheduler)
    sigmas = comfy.samplers.calculate_sigmas(world.model.get_model_object("model_sampling"), scheduler, steps)
    with pytest.raises(ValueError, match=f"{BLEND}: the sampler runs .*connect the sigmas output"):
        world.custom(world.sampler(), model=model, sigmas=sigmas)
    assert calls == []


# --- range and mask ---------------------------------------------------------------------------------------------------


def test_the_range_is_in_fractions_of_the_run(world):
    """t is 0.801, 0.601, 0.401, ...: with end_percent 0.5 the first two levels are blended, those below are not."""
    seen = []

    def spy(executor, x, timestep, *args, **kwargs):
        seen.append((float(timestep[0]), x.clone()))
        return executor(x, timestep, *args, **kwargs)

    model = world.model.clone()
    model.add_wrapper_with_key("predict_noise", "spy", spy)
    late = world.sampler(end_percent=0.5)
    patched = world.patched(end_percent=0.5).clone()
    patched.add_wrapper_with_key("predict_noise", "spy", spy)
    for run in (lambda: world.custom(late, model=model), lambda: world.ksampler(patched)):
        result = run()
        held = [torch.equal(x[~world.inside], world.inversion.at(s)[~world.inside]) for s, x in seen]
        assert held == [True, True, False, False, False]
        seen.clear()
        source = world.latent["samples"]
        assert (result - source)[~world.inside].abs().mean() > 1e-3 * source.std()


@pytest.mark.parametrize("form", ["sampler", "patched"])
def test_a_range_that_is_none(world, form, caplog):
    with pytest.raises(ValueError, match=r"start_percent 0\.6 lies after end_percent 0\.5; swap them"):
        getattr(world, form)(start_percent=0.6, end_percent=0.5)
    getattr(world, form)(start_percent=0.5, end_percent=0.5)
    assert "start_percent equals end_percent" in caplog.text


def test_masks_of_any_form(world):
    expected = None
    static = world.mask[0]
    for mask in (
        static,
        static[None],
        static.expand(FRAMES, -1, -1),
        static.expand(FRAMES, -1, -1)[:, None],
        static > 0,
    ):
        sampler = LatentBlend.execute(comfy.samplers.ksampler("euler"), world.inversion, mask, **RANGE).args[0]
        result = world.custom(sampler)
        assert expected is None or torch.equal(result, expected)
        expected = result
    small = torch.nn.functional.max_pool2d(static[None, None], 8)[0, 0]  # one value a latent cell
    sampler = LatentBlend.execute(comfy.samplers.ksampler("euler"), world.inversion, small, **RANGE).args[0]
    assert torch.equal(world.custom(sampler), expected)


def test_a_mask_of_another_number_of_frames(world):
    with pytest.raises(
        ValueError, match=rf"{BLEND}: mask of the edited regions \(input `mask`\): expected 1 frame or {FRAMES}.*got 2"
    ):
        LatentBlend.execute(comfy.samplers.ksampler("euler"), world.inversion, world.mask[:2], **RANGE)
    with pytest.raises(
        ValueError, match=rf"{PATCH}: mask of the edited regions \(input `mask`\): expected 1 frame or {FRAMES}.*got 2"
    ):
        LatentBlendModel.execute(world.model, world.inversion, world.mask[:2], **RANGE, start_from_inversion=True)


def test_an_empty_mask_gives_the_source_and_a_warning(world, caplog):
    sampler = LatentBlend.execute(comfy.samplers.ksampler("euler"), world.inversion, world.mask * 0, **RANGE).args[0]
    assert "the mask is empty" in caplog.text
    assert torch.allclose(world.custom(sampler), world.latent["samples"], rtol=1e-6)


def test_a_full_mask_is_no_blend(world):
    sampler = LatentBlend.execute(comfy.samplers.ksampler("euler"), world.inversion, torch.ones(64, 64), **RANGE).args[
        0
    ]
    assert torch.equal(world.custom(sampler), world.custom(comfy.samplers.ksampler("euler")))


def test_preserved_stays_the_source_inside_the_mask_at_any_size(world):
    keep = torch.zeros(1, 128, 128)
    keep[:, 48:80] = 1  # rows 3 and 4 of 8 cells
    source = world.latent["samples"]
    for result in (
        world.custom(world.sampler(feather=2.0, preserved=keep)),
        world.ksampler(world.patched(feather=2.0, preserved=keep)),
    ):
        assert torch.allclose(result[:, :, 3:5], source[:, :, 3:5], rtol=1e-6)
        rest = world.inside.clone()
        rest[:, :, 3:5] = False
        assert (result - source)[rest].abs().mean() > 0.05 * source.std()
