"""Graphs that run through but do not edit what was inverted: the log says what is wrong, and nothing of right ones."""

import logging

import comfy.samplers
import pytest
import torch
from comfy_extras import nodes_custom_sampler as core

import nodes
from videograin.editing.regions import Region
from videograin.nodes.ddim_video_inversion import DDIMVideoInversion
from videograin.nodes.latent_blend import LatentBlend
from videograin.nodes.latent_blend_model import LatentBlendModel
from videograin.nodes.st_layout_attn_patch import STLayoutAttnPatch

from .blending import RANGE, STEPS, World
from .test_patch_node import DEFAULTS

pytestmark = pytest.mark.usefixtures("as_the_host_runs")

ADDS_NOTHING = {
    "exp_heun_2_x0",
    "euler",
    "heun",
    "heunpp2",
    "dpm_2",
    "lms",
    "dpm_fast",
    "dpm_adaptive",
    "dpmpp_2m",
    "ddim",
    "uni_pc",
    "uni_pc_bh2",
    "ipndm",
    "ipndm_v",
    "deis",
    "res_multistep",
    "gradient_estimation",
}


@pytest.fixture(scope="module")
def world():
    with torch.inference_mode():
        return World()


@pytest.fixture
def said(caplog):
    """said() -> the warnings since it was last called."""

    def texts():
        found = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING and "videograin" in r.name]
        caplog.clear()
        return found

    return texts


def custom(model, positive, negative, sampler, sigmas, latent, add_noise=False):
    out = core.SamplerCustom().sample(model, add_noise, 5, 4.0, positive, negative, sampler, sigmas, latent)
    return out[0]


@pytest.mark.parametrize("name", comfy.samplers.SAMPLER_NAMES)
def test_samplers_that_add_something_of_their_own(world, said, name):
    fewer = name in comfy.samplers.KSampler.DISCARD_PENULTIMATE_SIGMA_SAMPLERS
    world.custom(world.sampler(name), cfg=4.0)
    world.ksampler(world.patched(), sampler=name, steps=STEPS - fewer, cfg=4.0)
    adding = [text for text in said() if "adds something of its own" in text and "take euler" in text]
    assert [text.split(":")[0] for text in adding] == (
        [] if name in ADDS_NOTHING else ["Latent Blend", "Latent Blend (Model Patch)"]
    )


class Embedded:
    """The embedded model and a clip of two things, inverted; the nodes' outputs for an edit of both."""

    def __init__(self, make):
        self.model, self.text, clip, _, positive, self.latent = make(1, 4)
        self.negative = self.text.encode_from_tokens_scheduled(self.text.tokenize(""))
        inverted = DDIMVideoInversion.execute(self.model, positive, self.latent, 10, "warm", 3, "full", 2, False)
        self.noise, self.inversion, self.sigmas = inverted.args
        self.masks = torch.as_tensor(clip.masks)
        regions = [Region(phrase, mask) for phrase, mask in zip(clip.phrases, self.masks)]
        patched = STLayoutAttnPatch.execute(self.model, self.text, clip.caption, regions=regions, **DEFAULTS)
        self.patched, self.positive, self.mask, _ = patched.args

    def run(self, *, latent=None, sampler="euler", sigmas=None, add_noise=False, blend="sampler", mask=None):
        mask = self.mask if mask is None else mask
        chosen, model = comfy.samplers.sampler_object(sampler), self.patched
        if blend == "sampler":
            chosen = LatentBlend.execute(chosen, self.inversion, mask, **RANGE).args[0]
        elif blend:
            start = blend == "model"
            model = LatentBlendModel.execute(model, self.inversion, mask, **RANGE, start_from_inversion=start).args[0]
        latent, sigmas = latent or self.noise, self.sigmas if sigmas is None else sigmas
        return custom(model, self.positive, self.negative, chosen, sigmas, latent, add_noise)


@pytest.fixture(scope="module")
def embedded(embedded_clip):
    with torch.inference_mode():
        return Embedded(embedded_clip)


@pytest.mark.parametrize("blend", [None, "sampler", "model", "own start"])
def test_a_right_graph_says_nothing(embedded, said, blend):
    embedded.run(blend=blend)
    embedded.run(blend=blend, sampler="dpmpp_2m")
    half = embedded.run(blend=blend, sigmas=embedded.sigmas[:5])
    if blend != "model":
        embedded.run(blend=blend, sigmas=embedded.sigmas[4:], latent=half)
    assert said() == []


@pytest.mark.parametrize("blend", ["sampler", "own start"])
def test_a_blend_that_does_not_start_from_the_inversion(embedded, said, blend):
    embedded.run(blend=blend, add_noise=True)
    embedded.run(blend=blend, latent=embedded.latent)
    embedded.run(blend=blend, latent=embedded.latent, add_noise=True)
    embedded.run(blend=blend, latent={"samples": embedded.noise["samples"] * 0.9})
    reasons = ["noise was added", "frames without noise", "fresh noise, or another", "changed on the way"]
    texts = said()
    assert len(texts) == len(reasons)
    for text, reason in zip(texts, reasons):
        assert text.startswith("Latent Blend")
        assert "does not start from the inverted latents" in text
        assert reason in text
        assert "`noise` of DDIM Video Inversion" in text


def test_an_edit_without_a_blend_that_does_not_start_from_an_inversion(embedded, said):
    embedded.run(blend=None, add_noise=True)
    assert "is added to latents that are noise already" in said()[0]
    embedded.run(blend=None, latent=embedded.latent)
    assert "its latents have hardly any noise in them" in said()[0]
    embedded.run(blend=None, sampler="euler_ancestral")
    assert "adds something of its own" in said()[0]
    nodes.KSampler().sample(
        embedded.patched, 5, 10, 4.0, "euler", "normal", embedded.positive, embedded.negative, embedded.noise, 1.0
    )
    assert "is added to latents that are noise already" in said()[0]
    nodes.KSampler().sample(
        embedded.patched, 5, 10, 4.0, "euler", "normal", embedded.positive, embedded.negative, embedded.latent, 1.0
    )
    assert "in which the clip's frames do not show" in said()[0]


def test_a_video_of_noise_alone_and_a_light_change_of_the_frames_say_nothing(embedded, said):
    empty = {"samples": torch.zeros_like(embedded.latent["samples"])}
    run = (embedded.positive, embedded.negative)
    nodes.KSampler().sample(embedded.patched, 5, 4, 4.0, "euler_ancestral", "normal", *run, empty, 1.0)
    nodes.KSampler().sample(embedded.patched, 5, 4, 4.0, "dpmpp_sde", "normal", *run, embedded.latent, 0.5)
    assert said() == []


@pytest.mark.parametrize("blend", ["sampler", "model"])
def test_other_levels_than_the_inversions(embedded, said, blend):
    embedded.run(blend=blend, sigmas=torch.cat([embedded.sigmas[:-1:2], embedded.sigmas[-1:]]))
    text = said()[0]
    assert "takes 5 steps" in text
    assert "4 levels are left out of" in text
    assert "`sigmas`" in text
    between = embedded.sigmas.clone()
    between[3] = (between[3] + between[4]) / 2
    embedded.run(blend=blend, sigmas=between)
    assert "1 of its noise levels lie between" in said()[0]


@pytest.mark.parametrize("frames", [1, 4])
def test_a_mask_that_stays_where_the_clip_moves(embedded, said, frames):
    embedded.run(mask=embedded.masks[0][:1].expand(frames, -1, -1))
    assert "the mask is the same in all 4 frames, but from frame" in said()[0]


def test_a_model_that_is_run_as_what_it_is_not_is_said_by_the_inversion(embedded, said):
    from comfy_extras.nodes_model_advanced import ModelSamplingDiscrete

    def invert(model):
        DDIMVideoInversion.execute(model, embedded.positive, embedded.latent, 10, "warm", 3, "full", 2, False)
        return [text for text in said() if "predictions do not fit" in text]

    assert invert(embedded.model) == []
    (text,) = invert(ModelSamplingDiscrete().patch(embedded.model, "v_prediction", False)[0])
    assert text.startswith("DDIM Video Inversion: ")
    assert "ModelSamplingDiscrete" in text
