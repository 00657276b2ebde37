"""A model family that the code has never heard of: a small transformer over all frames, trained by flow matching.

It has what a host gives for a family (a denoiser that makes a `Layer` per call; as `Flow`, a whole `Model` of
editing/model.py) and nothing else; the modulation, the inversion, the samplers, the blend and the pipeline are the ones
of every family.
"""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from videograin.attention import FlowLevels, Layer, SpaceTime, TokenGrid, phrase_occurrences, text_labels, wanting
from videograin.editing import trajectory_file
from videograin.editing.blend import blend
from videograin.editing.inversion import invert
from videograin.editing.model import EncodedRegions, LatentGeometry
from videograin.editing.pipeline import edit_clip, invert_clip
from videograin.editing.prompt_text import PromptError
from videograin.editing.region_modulation import build_modulation, modulated_steps
from videograin.editing.regions import Region
from videograin.editing.samplers import SAMPLERS
from videograin.editing.settings import (
    AttentionSettings,
    BlendSettings,
    CompositeSettings,
    SamplingSettings,
    SteadySettings,
)
from videograin.editing.trajectory import TrajectoryError
from videograin.measuring.round_trip import measure_round_trip

FRAMES, CHANNELS, GRID, WIDTH, HEADS, WORDS = 3, 4, (4, 6), 16, 2, 5
LEVELS = FlowLevels(shift=3.0)
SIGMAS = torch.tensor([LEVELS.sigma(1 - step / 10) for step in range(11)]) * 0.97


def seeded(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class Transformer:
    """One block: self-attention over `registers` and the tokens of all frames in one row, then the text."""

    def __init__(self, registers=0, modulation=None, layers=("self", "cross"), **more):
        self.tokens, self.modulation, self.layers = TokenGrid(FRAMES, *GRID, prefix=registers), modulation, layers
        self.more, self.role, self.observers = more, "cond", ()
        self.inward, self.outward = seeded(CHANNELS, WIDTH), seeded(WIDTH, CHANNELS, seed=1) / WIDTH
        self.registers, self.text = seeded(1, registers, WIDTH, seed=2), seeded(1, WORDS, WIDTH, seed=3)

    def velocity(self, x, sigma):
        own = x.permute(0, 2, 3, 1).reshape(1, -1, CHANNELS) @ self.inward
        row = torch.cat([self.registers, own + LEVELS.timestep(sigma) / 1000], dim=1)
        for kind in self.layers:
            how = {"modulation": self.modulation, **(self.more if kind == "self" else {})}
            layer = Layer(kind, self.tokens, GRID, LEVELS.t(sigma), (self.role,), **how)
            keys = row if kind == "self" else self.text
            layer.show(row, keys, HEADS, wanting(self.observers, kind, GRID, GRID, LEVELS.t(sigma)))
            if kind == "self":
                row = row + layer.attend_self(row, row, row, HEADS)
            else:
                row = row + layer.attend_cross(row, self.text, self.text, HEADS)
        own = row[:, self.tokens.prefix :] @ self.outward
        return own.reshape(FRAMES, *GRID, CHANNELS).permute(0, 3, 1, 2)

    def __call__(self, x, sigma, **extra):
        return x - float(sigma.flatten()[0]) * self.velocity(x, sigma)


def mask():
    """A region that moves to the right."""
    masks = torch.zeros(FRAMES, *GRID)
    for frame in range(FRAMES):
        masks[frame, 1:3, frame : frame + 3] = 1
    return masks


def steered(self_strength=0.0, cross_strength=0.0, end=0.5):
    settings = AttentionSettings(
        self_strength=self_strength, cross_strength=cross_strength, power=0, end=end, background="free"
    )
    return build_modulation([mask()], text_labels(WORDS, [(2, 3)], [0]), settings, [1.0])


X = seeded(FRAMES, CHANNELS, *GRID, seed=4)


def sampled(network, sampler=SAMPLERS["euler"]):
    return sampler(network, X, SIGMAS)


@pytest.mark.parametrize("registers", [0, 2])
def test_strength_0_changes_no_bit(registers):
    plain = sampled(Transformer(registers))
    assert torch.equal(sampled(Transformer(registers, steered())), plain)
    assert torch.isfinite(plain).all()


def test_the_plain_network_is_torch_s_attention():
    network, split = Transformer(layers=("self",)), lambda row: row.unflatten(2, (HEADS, -1)).transpose(1, 2)
    row = X.permute(0, 2, 3, 1).reshape(1, -1, CHANNELS) @ network.inward + 0.5
    attended = scaled_dot_product_attention(*[split(row)] * 3).transpose(1, 2).flatten(2)
    expected = ((row + attended) @ network.outward).reshape(FRAMES, *GRID, CHANNELS).permute(0, 3, 1, 2)
    torch.testing.assert_close(network.velocity(X, torch.tensor(0.5)), expected)


@pytest.mark.parametrize(("kind", "registers"), [("self", 0), ("cross", 0), ("cross", 2)])
def test_the_region_s_tokens_change(kind, registers):
    """And in cross-attention no others; in self-attention the background is a label like any other."""
    edit, layers, inside = steered(**{f"{kind}_strength": 0.8}), (kind,), mask().bool()
    for sigma, active in ((0.9, True), (0.2, False)):
        sigma = torch.tensor(sigma)
        plain = Transformer(registers, layers=layers).velocity(X, sigma)
        moved = (Transformer(registers, edit, layers).velocity(X, sigma) - plain).abs().amax(1)
        if not active:
            assert not moved.any()
            continue
        assert moved[inside].min() > 1e-4
        if kind == "cross":
            assert moved[~inside].max() < 1e-6


def test_ranges_are_parts_of_the_run():
    model = SimpleNamespace(levels=LEVELS)
    levels = [LEVELS.t(float(sigma)) for sigma in SIGMAS[:-1]]
    assert modulated_steps(model, steered(cross_strength=1.0), SIGMAS, 1.0) == sum(t > 0.5 for t in levels)


def test_an_edit_stays_on_its_inversion_outside_the_region():
    trajectory = invert(Transformer(), X, SIGMAS)
    back = SAMPLERS["euler"](Transformer(), trajectory.noise, SIGMAS)
    assert (back - X).abs().max() < (trajectory.noise - X).abs().max() / 10
    held = blend(SAMPLERS["euler"], trajectory, mask(), end=1.0, t_of=LEVELS.t)
    edited = held(Transformer(modulation=steered(0.5, 1.0)), trajectory.noise, SIGMAS)
    outside = (mask() == 0)[:, None].expand_as(X)
    assert torch.equal(edited[outside], X[outside])
    assert not torch.equal(edited[~outside], back[~outside])


CELL, PAD = 8, "-"
TEXT, TABLE = [PAD, "a", "red", "square", "cross", "sand"], seeded(6, WIDTH, seed=5)
SOURCE, PROMPT = "a red square", "a red cross"


class Guided:
    """The network of an edit: the conditional and, where there is guidance, the unconditional half."""

    def __init__(self, text, negative, guidance, spacetime, modulation, observer):
        self.cond = Transformer(1, modulation, spacetime=spacetime)
        self.cond.text, self.cond.observers = text, () if observer is None else (observer,)
        self.uncond, self.guidance = None, guidance
        if guidance != 1:
            self.uncond = Transformer(1, modulation, spacetime=spacetime)
            self.uncond.text, self.uncond.role = negative, "uncond"

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        pass

    def __call__(self, x, sigma, **extra):
        cond = self.cond(x, sigma)
        if self.uncond is None:
            return cond
        uncond = self.uncond(x, sigma)
        return uncond + self.guidance * (cond - uncond)


class Flow:
    """A `Model`: what docs/adding.md asks of a family, without ControlNets and windows."""

    family, fingerprint, device, dtype, latent_scale = "flow", "f10e", torch.device("cpu"), torch.float32, None
    levels, geometry, attention_halvings = LEVELS, LatentGeometry(CELL, CHANNELS), frozenset({0})

    def sigmas(self, steps):
        return torch.tensor([LEVELS.sigma(1 - step / steps) for step in range(steps + 1)]) * 0.97

    def encode_frames(self, frames):
        colours = torch.from_numpy(frames).float().permute(0, 3, 1, 2) / 127.5 - 1
        cells = torch.nn.functional.avg_pool2d(colours, CELL)
        return torch.cat([cells, cells.mean(1, keepdim=True)], dim=1)

    def decode_latents(self, latents):
        pixels = latents[:, :3].repeat_interleave(CELL, 2).repeat_interleave(CELL, 3)
        return (pixels * 127.5 + 127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()

    def _ids(self, text):
        if wrong := [word for word in text.split() if word not in TEXT]:
            raise PromptError(f"this family does not know {wrong[0]!r}.")
        return [TEXT.index(word) for word in text.split()]

    def encode_prompt(self, text):
        ids = self._ids(text)
        return TABLE[ids + [0] * (WORDS - len(ids))][None]

    def encode_regions(self, global_prompt, phrases, splice=True):
        places, length = self.word_positions(global_prompt, phrases)
        spans = [found[0] for found in places]
        labels = text_labels(length, spans, [])
        return EncodedRegions(self.encode_prompt(global_prompt), spans, labels, global_prompt)

    def word_positions(self, prompt, phrases):
        ids = self._ids(prompt)
        return [phrase_occurrences(ids, self._ids(phrase)) for phrase in phrases], WORDS

    def denoiser(self, prompt, *, frames, windows=None, spacetime="full", key_frames=2, **options):
        given = {"negative": None, "guidance": 1.0, "modulation": None, "observer": None, "controlnet": None} | options
        assert (frames, windows, given.pop("controlnet")) == (FRAMES, None, None)
        return Guided(prompt, spacetime=SpaceTime(spacetime, frames, key_frames), **given)


@pytest.fixture(scope="module")
def clip():
    cells = np.random.default_rng(0).integers(0, 255, (FRAMES, *GRID, 3), np.uint8)
    return cells.repeat(CELL, axis=1).repeat(CELL, axis=2)


@pytest.fixture(scope="module")
def inverted(clip):
    return invert_clip(Flow(), clip, SOURCE, steps=10)


def edited(clip, inverted, **strengths):
    """With cross-attention alone: beside the register modulated self-attention is refused."""
    big = mask().repeat_interleave(CELL, 1).repeat_interleave(CELL, 2)
    attention = AttentionSettings(**{"self_strength": 0.0, "power": 0, "end": 0.5, **strengths})
    sampling, composite = SamplingSettings(steps=10, guidance=2), CompositeSettings(feather=0, dilate=0)
    how = {"sampling": sampling, "attention": attention, "composite": composite, "blend": BlendSettings(feather=0)}
    return edit_clip(Flow(), clip, inverted, PROMPT, [Region("cross", big)], negative="sand", **how)


def test_the_pipeline_inverts_it_and_comes_back(clip, inverted, tmp_path):
    assert inverted.latents.shape == (11, FRAMES, CHANNELS, *GRID)
    assert (inverted.family, inverted.model) == ("flow", "f10e")
    assert inverted.extra == {"attention": "full", "dtype": "float32"}  # no latent_scale: it has none
    trip = measure_round_trip(Flow(), inverted)
    assert (trip.vae == clip).all()
    assert trip.psnr > 20
    trajectory_file.save(inverted, tmp_path / "flow.safetensors")
    assert torch.equal(trajectory_file.load(tmp_path / "flow.safetensors").latents, inverted.latents)


def test_the_pipeline_collects_its_features(clip, inverted):
    looked = invert_clip(Flow(), clip, SOURCE, steps=10, features="full")
    assert torch.equal(looked.latents, inverted.latents)
    assert looked.features.grid == GRID
    assert looked.features.cross.shape == (FRAMES, GRID[0] * GRID[1], WORDS)


def test_the_pipeline_edits_its_region_alone(clip, inverted):
    result, plain = (edited(clip, inverted, cross_strength=strength) for strength in (1.0, 0.0))
    inside = mask().bool()
    outside = (~inside)[:, None].expand_as(result.latents)
    assert torch.equal(result.latents[outside], inverted.clean[outside])
    assert not torch.equal(result.latents, plain.latents)
    pixels = inside.repeat_interleave(CELL, 1).repeat_interleave(CELL, 2).numpy()
    assert (result.frames[~pixels] == clip[~pixels]).all()
    assert (result.frames[pixels] != clip[pixels]).any()
    assert (result.spans, result.modulated_steps) == (((2,),), 5)


def test_what_it_cannot_do_is_an_error(clip, inverted):
    with pytest.raises(ValueError, match=r"space-time attention 'key_frames' .* one row for all 3 frames"):
        invert_clip(Flow(), clip, SOURCE, steps=10, attention=AttentionSettings(mode="key_frames"))
    with pytest.raises(ValueError, match="1 tokens that belong to no frame cannot be modulated"):
        edited(clip, inverted, self_strength=0.5)
    other = Flow()
    other.family = "another"
    with pytest.raises(TrajectoryError, match="family: the inversion has 'flow', the edit 'another'"):
        edit_clip(other, clip, inverted, PROMPT, sampling=SamplingSettings(steps=10), steady=SteadySettings())
