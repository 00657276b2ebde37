"""A model family that the code has never heard of: a small transformer over all frames, trained by flow matching.

It has what a host gives for a family (a denoiser that makes a `Layer` per call, noise levels) and nothing else; the
modulation, the inversion, the samplers and the blend are the ones of every family.
"""

from types import SimpleNamespace

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from videograin.attention import FlowLevels, Layer, TokenGrid, text_labels
from videograin.editing.blend import blend
from videograin.editing.inversion import invert
from videograin.editing.region_modulation import build_modulation, modulated_steps
from videograin.editing.samplers import SAMPLERS
from videograin.editing.settings import AttentionSettings

FRAMES, CHANNELS, GRID, WIDTH, HEADS, WORDS = 3, 4, (4, 6), 16, 2, 5
LEVELS = FlowLevels(shift=3.0)
SIGMAS = torch.tensor([LEVELS.sigma(1 - step / 10) for step in range(11)]) * 0.97


def seeded(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class Transformer:
    """One block: self-attention over `registers` and the tokens of all frames in one row, then the text."""

    def __init__(self, registers=0, modulation=None, layers=("self", "cross")):
        self.tokens, self.modulation, self.layers = TokenGrid(FRAMES, *GRID, prefix=registers), modulation, layers
        self.inward, self.outward = seeded(CHANNELS, WIDTH), seeded(WIDTH, CHANNELS, seed=1) / WIDTH
        self.registers, self.text = seeded(1, registers, WIDTH, seed=2), seeded(1, WORDS, WIDTH, seed=3)

    def velocity(self, x, sigma):
        own = x.permute(0, 2, 3, 1).reshape(1, -1, CHANNELS) @ self.inward
        row = torch.cat([self.registers, own + LEVELS.timestep(sigma) / 1000], dim=1)
        for kind in self.layers:
            layer = Layer(kind, self.tokens, GRID, LEVELS.t(sigma), ("cond",), modulation=self.modulation)
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
