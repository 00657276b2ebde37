"""Probabilities before and after modulation against the literal formula, and against what the modulator computes."""

import pytest
import torch

from videograin.attention import LabelMap, LayerCall, Modulation, Schedule, SpaceTime
from videograin.attention.fused import match_labels
from videograin.attention.options import MODES
from videograin.attention.reference import modulated_logits
from videograin.measuring import attention_weights as module
from videograin.measuring.attention_weights import cross_tiles, self_row

FRAMES, GRID, HEADS, DIM, WORDS = 3, (2, 3), 2, 5, 7
TOKENS = GRID[0] * GRID[1]
T = 0.9


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def labels(low, high, *shape, seed=0):
    return torch.randint(low, high, shape, generator=torch.Generator().manual_seed(seed))


def split(x):
    """[n, tokens, heads * d] -> [n, heads, tokens, d]."""
    return x.unflatten(2, (HEADS, DIM)).transpose(1, 2)


def see(kind, q, k, **more):
    return LayerCall(kind, q, k, HEADS, GRID, (4, 6), T, **more)


def whole(seen):
    """(before, after) of a cross-attention layer, [F, heads, T, M]."""
    parts = [torch.full((FRAMES, HEADS, TOKENS, seen.k.shape[1]), float("nan")) for _ in range(2)]
    for tile in cross_tiles(seen):
        for part, p in zip(parts, (tile.before, tile.after)):
            part[tile.place, :, tile.rows] = p
    return parts


@pytest.fixture
def layer():
    """q, k and labels of a cross-attention layer; every other word belongs to nobody."""
    q, k = 2 * randn(FRAMES, TOKENS, HEADS * DIM, seed=1), randn(FRAMES, WORDS, HEADS * DIM, seed=2)
    q_labels, k_labels = labels(0, 4, FRAMES, TOKENS, seed=3), labels(-1, 3, FRAMES, WORDS, seed=4)
    return q, k, q_labels, k_labels, 0.95 * torch.rand(FRAMES, TOKENS, generator=torch.Generator().manual_seed(5))


# --- cross-attention --------------------------------------------------------------------------------------------------


def test_cross_is_the_literal_formula(layer):
    q, k, q_labels, k_labels, strength = layer
    before, after = whole(see("cross", q, k, matched=match_labels(q_labels, k_labels), strength=strength))
    expected = modulated_logits(split(q), split(k), q_labels, k_labels, strength).softmax(-1)
    torch.testing.assert_close(after, expected, rtol=1e-4, atol=1e-6)
    plain = modulated_logits(split(q), split(k), q_labels, k_labels, 0 * strength).softmax(-1)
    torch.testing.assert_close(before, plain, rtol=1e-4, atol=1e-6)
    assert (after - before).abs().max() > 0.1


def test_where_nothing_is_modulated_after_is_before(layer):
    for tile in cross_tiles(see("cross", *layer[:2])):
        assert tile.after is tile.before


@pytest.mark.parametrize("tile", [1, 20, 30, 10**6])
def test_tiles_change_nothing_and_are_no_larger_than_they_may(layer, monkeypatch, tile):
    q, k, q_labels, k_labels, strength = layer
    seen = see("cross", q, k, matched=match_labels(q_labels, k_labels), strength=strength)
    one = whole(seen)
    monkeypatch.setattr(module, "_TILE_CPU", tile)
    for a, b in zip(whole(seen), one):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)
    sizes = [tile.before.numel() for tile in cross_tiles(seen)]
    assert max(sizes) <= max(tile, HEADS * WORDS)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_any_float_is_computed_in_float32(layer, dtype):
    q, k = (x.to(dtype) for x in layer[:2])
    before = whole(see("cross", q, k))[0]
    torch.testing.assert_close(before, whole(see("cross", q.float(), k.float()))[0])
    assert before.dtype == torch.float32


# --- self-attention ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_a_row_is_the_literal_formula_over_the_frames_it_sees(mode):
    spacetime = SpaceTime(mode, FRAMES, 1).at(finest=True)
    q, k = 2 * randn(FRAMES, TOKENS, HEADS * DIM, seed=1), randn(FRAMES, TOKENS, HEADS * DIM, seed=2)
    of = labels(0, 3, FRAMES, TOKENS, seed=3)
    strength = 0.9 * torch.rand(FRAMES, TOKENS, generator=torch.Generator().manual_seed(4))
    matched = match_labels(spacetime.queries(of), spacetime.keys(of))
    seen = see("self", q, k, spacetime=spacetime, matched=matched, strength=strength)
    for place in range(FRAMES):
        for token in (0, TOKENS - 1):
            frames = spacetime.seen[place].unique()
            keys, key_labels = split(k)[frames].transpose(0, 1).flatten(1, 2)[None], of[frames].flatten()[None]
            for c, got in zip((0 * strength, strength), self_row(seen, place, token)):
                row = modulated_logits(
                    split(q)[place : place + 1, :, token : token + 1],
                    keys,
                    of[place, token].view(1, 1),
                    key_labels,
                    c[place, token].view(1, 1),
                )
                expected = torch.zeros(FRAMES, TOKENS)
                expected[frames] = row.softmax(-1).mean((0, 1, 2)).unflatten(0, (len(frames), TOKENS))
                torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-6)
                assert abs(float(got.sum()) - 1) < 1e-5


# --- against the modulator --------------------------------------------------------------------------------------------


@pytest.fixture
def modulation():
    masks = torch.zeros(2, FRAMES, 8, 12)
    masks[0, :, :, :5] = 1
    masks[1, 1:, 2:, 6:] = 1
    words = torch.tensor([-1, 1, 1, -1, 2, -1, -1])
    half = Schedule(0.8, 1.0, 0.0, 1.0)
    return Modulation(LabelMap(list(masks)), words, half, half, region_strength=(1.0, 0.7))


def test_cross_probabilities_are_those_that_the_modulator_attends_with(modulation):
    q, k, v = (randn(FRAMES, n, HEADS * DIM, seed=n + s) for s, n in enumerate((TOKENS, WORDS, WORDS)))
    options = {"grid": GRID, "t": T}
    matched, strength = modulation.cross_bias(("cond",), **options)
    _, after = whole(see("cross", q, k, matched=matched, strength=strength))
    out = modulation.cross_attention(q, k, v, heads=HEADS, roles=("cond",), frames=FRAMES, **options)
    torch.testing.assert_close((after @ split(v)).transpose(1, 2).flatten(2), out, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mode", MODES)
def test_self_probabilities_are_those_that_the_modulator_attends_with(modulation, mode):
    """One head: then the mean over heads is the row that is attended with."""
    q, k, v = (randn(FRAMES, TOKENS, DIM, seed=s) for s in range(3))
    options = {"grid": GRID, "t": T, "spacetime": SpaceTime(mode, FRAMES).at(finest=True)}
    matched, strength = modulation.self_bias(("cond",), **options)
    strength = options["spacetime"].restore(strength)
    seen = LayerCall("self", q, k, 1, GRID, (4, 6), T, None, options["spacetime"], matched, strength)
    out = modulation.self_attention(q, k, v, heads=1, roles=("cond",), **options)
    for place, token in ((0, 0), (1, 4), (2, 5)):
        _, after = self_row(seen, place, token)
        torch.testing.assert_close(after.flatten() @ v.flatten(0, 1), out[place, token], rtol=1e-4, atol=1e-5)
