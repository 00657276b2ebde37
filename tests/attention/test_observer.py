"""The labels and strengths an observer is shown are those that attention is computed with."""

import pytest
import torch

from videograin.attention import LabelMap, Modulation, Schedule, SpaceTime, reference_attention
from videograin.attention.options import MODES

F, GRID, HEADS, WIDTH = 3, (3, 4), 2, 16
TOKENS = GRID[0] * GRID[1]
WORDS = torch.tensor([0, 1, 1, -1, 2, -1, -1])
T = 0.8


def modulation(**options):
    left, right = torch.zeros(2, F, 6, 8)
    for frame in range(F):
        left[frame, :, : 2 + frame] = 1
        right[frame, 2:, -2:] = 1
    schedule = Schedule(0.7, 1.0, 0.0, 1.0)
    return Modulation(LabelMap([left, right]), WORDS, schedule, schedule, **options)


def qkv(keys=TOKENS):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(F, n, WIDTH, generator=generator) for n in (TOKENS, keys, keys)]


def split(x):
    return x.unflatten(2, (HEADS, -1)).transpose(1, 2)


@pytest.mark.parametrize("mode", MODES)
def test_self_bias_makes_the_literal_formula_equal_to_self_attention(mode):
    edit, spacetime = modulation(region_strength=(0.5, 1.0)), SpaceTime(mode, F).at(finest=True)
    q, k, v = qkv()
    labels, strength = edit.self_bias(("cond",), grid=GRID, t=T, spacetime=spacetime)
    arranged = (split(x) for x in (spacetime.queries(q), spacetime.keys(k), spacetime.keys(v)))
    literal = reference_attention(*arranged, labels.q, labels.k, strength)
    literal = spacetime.restore(literal.transpose(1, 2).flatten(2))
    got = edit.self_attention(q, k, v, heads=HEADS, grid=GRID, roles=("cond",), t=T, spacetime=spacetime)
    torch.testing.assert_close(got, literal)
    assert spacetime.restore(strength).shape == spacetime.restore(labels.q).shape == (F, TOKENS)
    assert strength.max() > 0.1


@pytest.mark.parametrize("background", ["neutral", "paper", "free"])
@pytest.mark.parametrize("times", [1, 2])
def test_cross_bias_makes_the_literal_formula_equal_to_cross_attention(background, times):
    edit, words = modulation(background=background), WORDS.repeat(times) if times > 1 else None
    q, k, v = qkv(times * len(WORDS))
    labels, strength = edit.cross_bias(("cond",), grid=GRID, t=T, text_labels=words)
    literal = reference_attention(*(split(x) for x in (q, k, v)), labels.q, labels.k, strength)
    got = edit.cross_attention(q, k, v, heads=HEADS, grid=GRID, roles=("cond",), t=T, frames=F, text_labels=words)
    torch.testing.assert_close(got, literal.transpose(1, 2).flatten(2))
    assert (strength.shape, labels.q.shape, labels.k.shape) == ((F, TOKENS), (F, TOKENS), (F, times * 7))


@pytest.mark.parametrize(
    ("options", "roles", "t"),
    [
        ({"self_halves": "uncond", "cross_halves": "uncond"}, ("cond",), T),
        ({"self_halves": "cond", "cross_halves": "cond"}, ("uncond",), T),
        ({}, ("cond",), 0.0),
    ],
)
def test_there_are_none_where_nothing_is_modulated(options, roles, t):
    late = Schedule(0.7, 1.0, 0.0, 0.5)  # the first half of the steps: t = 0 lies outside
    edit = Modulation(modulation().label_map, WORDS, late, late, **options)
    assert edit.self_bias(roles, grid=GRID, t=t, spacetime=SpaceTime("full", F)) is None
    assert edit.cross_bias(roles, grid=GRID, t=t) is None


def test_a_strength_of_zero_everywhere_is_none():
    edit = modulation(region_strength=(0.0, 0.0), background="free")
    assert edit.cross_bias(("cond",), grid=GRID, t=T) is None
    assert edit.self_bias(("cond",), grid=GRID, t=T, spacetime=SpaceTime("full", F)) is not None  # the background's
