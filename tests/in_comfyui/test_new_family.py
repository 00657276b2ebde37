"""A new model family (flow_family/) by its folder and its record alone, in what the nodes call."""

import logging

import comfy.samplers
import numpy as np
import pytest
import torch
from comfy_extras import nodes_custom_sampler as core

from videograin.attention.options import MAP_LEVELS
from videograin.editing.attention_features import FeatureCollector
from videograin.editing.regions import Region
from videograin.editing.settings import AttentionSettings
from videograin.hosts.comfyui.blend import blended_model, blended_sampler
from videograin.hosts.comfyui.edit import Edit, tag
from videograin.hosts.comfyui.families import family_of
from videograin.hosts.comfyui.inversion import check_sigmas_of, invert_latent, noise_latent
from videograin.hosts.comfyui.layout import source_words
from videograin.hosts.comfyui.observed_sampling import check_look, edit_in, phrases_to_look_at, sample_looking
from videograin.hosts.comfyui.round_trip import clean_samples, sample_back
from videograin.hosts.comfyui.steady import steadied_model
from videograin.measuring.attention_probe import AttentionProbe
from videograin.nodes.clip_motion import ClipMotion

from .flow_family import FLOW
from .flow_family.network import Format, flow_model, seeded
from .tiny import tiny_model

pytestmark = pytest.mark.usefixtures("as_the_host_runs")

NODE, FRAMES, GRID, STEPS = "A Node", 3, (4, 6), 10
CLIP, SOURCE, PROMPT = ["a", "red", "square", "cross", "sand"], "a red square", "a red cross"
MASK = torch.zeros(FRAMES, 32, 48)
for _frame in range(FRAMES):
    MASK[_frame, 8:24, 8 * _frame : 8 * _frame + 24] = 1
INSIDE = MASK[:, ::8, ::8].bool()[:, None].expand(-1, 4, -1, -1)


class World:
    def __init__(self):
        self.model = flow_model()
        self.source, self.negative = self.encoded(SOURCE).prompt, self.encoded("sand").prompt
        self.latent = {"samples": Format().process_out(seeded(FRAMES, 4, *GRID, seed=4)), "mine": "kept"}
        self.sigmas = FLOW.noise.leading_sigmas(self.model, STEPS)
        self.collector = FeatureCollector(FRAMES, "full")
        self.inversion = self.inverted(self.sigmas, observer=self.collector)
        self.noise = noise_latent(self.inversion, self.latent, FLOW)
        encoded = self.encoded(PROMPT, "cross")
        settings = AttentionSettings(self_strength=0.5, cross_strength=1.0, power=0, end=0.5, background="free")
        self.edit = Edit((Region("cross", MASK),), encoded.labels, settings)
        self.positive = tag(encoded.prompt, self.edit)
        self.plain = FLOW.patch.patch_space_time(self.model, "full", node=NODE)
        self.patched = FLOW.patch.patch_edit(self.model, self.edit, node=NODE)

    def encoded(self, prompt, *phrases):
        return FLOW.prompts.encode_regions(CLIP, prompt, phrases, node=NODE)

    def inverted(self, sigmas, **options):
        return invert_latent(self.model, self.source, self.latent, sigmas, node=NODE, family=FLOW, **options)

    def sampled(self, model, positive, sampler=None, cfg=2.0, latent=None, sigmas=None):
        """SamplerCustom, no noise added -> its samples."""
        sampler, latent = sampler or comfy.samplers.sampler_object("euler"), latent or self.noise
        given = (sampler, self.sigmas if sigmas is None else sigmas, latent)
        return core.SamplerCustom().sample(model, False, 0, cfg, positive, self.negative, *given)[0]["samples"]


@pytest.fixture(scope="module")
def world():
    with torch.inference_mode():
        return World()


def apart(one, other):
    return float((one - other).norm() / other.norm())


def test_its_models_are_known_by_the_record_alone(world):
    assert FLOW.name_of(world.model) == FLOW.name_of(world.model.model) == "flow"
    assert FLOW.name_of(tiny_model()) is None
    with pytest.raises(ValueError, match=r"^A Node: input `model`: supports SD1\.x.*; got Config"):
        family_of(world.model, NODE)


def test_the_inversion_passes_a_latent_link_and_comes_back(world):
    inversion, frames = world.inversion, world.latent["samples"]
    assert (inversion.family, inversion.steps, world.noise["mine"]) == ("flow", STEPS, "kept")
    assert inversion.made.latent_scale is None
    torch.testing.assert_close(inversion.clean, Format().process_in(frames))
    torch.testing.assert_close(clean_samples(inversion, FLOW), frames)
    started = []

    def start(model, x, sigmas, **options):
        started.append(x.clone())
        return x

    world.sampled(world.model, world.source, comfy.samplers.KSAMPLER(start))
    torch.testing.assert_close(started[0], inversion.noise)
    back = world.sampled(world.plain, world.source, cfg=1.0)
    assert apart(back, frames) < 0.1 * apart(inversion.noise, inversion.clean)
    torch.testing.assert_close(sample_back(world.model, world.source, inversion, node=NODE, family=FLOW), back)


def test_an_inversion_may_end_above_the_clean_latents(world):
    """The host divides what it samples by the share of the frames that is left at the last level."""
    part = world.inverted(world.sigmas[:-3])
    back = sample_back(world.model, world.source, part, node=NODE, family=FLOW)
    torch.testing.assert_close(clean_samples(part, FLOW), world.latent["samples"])
    assert apart(back, world.latent["samples"]) < 0.1
    blended = blended_model(world.patched, part, MASK, feather=0.0, node=NODE, family=FLOW)
    edited = world.sampled(blended, world.positive, sigmas=part.sigmas)
    torch.testing.assert_close(edited[~INSIDE], world.latent["samples"][~INSIDE])


def test_schedules_are_judged_by_its_own_levels(world):
    with pytest.raises(ValueError, match=r"^sigmas: the schedule begins at 1, pure noise"):
        check_sigmas_of(FLOW, world.model, torch.tensor([1.0, 0.5, 0.0]))
    with pytest.raises(ValueError, match=r"^model: expected flow matching"):
        check_sigmas_of(FLOW, tiny_model(), world.sigmas)


def test_features_and_names_are_found(world):
    features = world.collector.result()
    assert features.grid == GRID
    words = source_words(CLIP, SOURCE, "red square", features, FLOW.prompts.word_positions, node=NODE)
    assert words.spans == (((1, 2),),)


def test_strength_0_changes_no_bit(world):
    off = Edit(world.edit.regions, world.edit.text_labels, AttentionSettings(self_strength=0.0, cross_strength=0.0))
    nothing = FLOW.patch.patch_edit(world.model, off, node=NODE)
    positive = world.encoded(PROMPT).prompt
    assert torch.equal(world.sampled(nothing, positive), world.sampled(world.plain, positive))


def test_both_blends_keep_the_clip_outside_the_region(world, caplog):
    """Whatever the model form is given: it starts from the inversion by itself."""
    how = {"feather": 0.0, "node": NODE, "family": FLOW}
    wrapped = blended_sampler(comfy.samplers.sampler_object("euler"), world.inversion, MASK, **how)
    model = blended_model(world.patched, world.inversion, MASK, **how)
    with caplog.at_level(logging.WARNING):
        one = world.sampled(world.patched, world.positive, wrapped)
        two = world.sampled(model, world.positive, latent=world.latent)
    assert not caplog.records
    torch.testing.assert_close(one, two)
    frames, unmodulated = world.latent["samples"], world.sampled(world.plain, world.positive, wrapped)
    torch.testing.assert_close(one[~INSIDE], frames[~INSIDE])
    assert apart(one[INSIDE], frames[INSIDE]) > 0.05
    assert apart(one[INSIDE], unmodulated[INSIDE]) > 1e-3
    early = blended_model(world.patched, world.inversion, MASK, **how, end=0.5)
    assert apart(world.sampled(early, world.positive)[~INSIDE], frames[~INSIDE]) > 1e-3


def test_a_probe_sees_the_modulation_and_changes_nothing(world):
    edit, labels, length = edit_in(FLOW, world.patched, world.positive)
    assert edit is world.edit
    phrases = phrases_to_look_at(FLOW, ["red", "cross"], edit, labels, length, CLIP, PROMPT)
    assert [phrase.positions for phrase in phrases] == [(1,), (2,)]
    probe = AttentionProbe(FRAMES, phrases, length=length, level="full")
    check_look(FLOW, world.patched, world.sigmas, probe)
    assert "half" in MAP_LEVELS
    with pytest.raises(ValueError, match=r"^level: this model has attention at the latent's full side alone"):
        check_look(FLOW, world.patched, world.sigmas, AttentionProbe(FRAMES, phrases, length=length, level="half"))
    euler = comfy.samplers.sampler_object("euler")
    given = (world.positive, world.negative, 2.0, euler, world.sigmas, world.noise, probe)
    looked = sample_looking(FLOW, world.patched, *given, node=NODE)["samples"]
    assert torch.equal(looked, world.sampled(world.patched, world.positive))
    maps = probe.result()
    inside = INSIDE[:, 0]
    assert maps.modulated > 0
    assert (maps.after - maps.before)[1][inside].min() > 0


def test_predictions_are_fused_along_a_motion_where_the_run_says_so(world):
    images = torch.from_numpy(np.random.default_rng(0).random((1, 32, 48, 3), np.float32)).repeat(FRAMES, 1, 1, 1)
    motion, regions, _ = ClipMotion.execute(images, world.edit.regions, "auto", "fill").args
    plain = world.sampled(world.patched, world.positive)
    late, all_the_time = (
        world.sampled(
            steadied_model(world.patched, motion, regions, start=start, node=NODE, family=FLOW), world.positive
        )
        for start in (1.0, 0.0)
    )
    assert torch.equal(late, plain)
    assert apart(all_the_time, plain) > 1e-3
