"""A Layer against the literal formula, in both layouts of a batch: a row per frame, and a row per chunk."""

from dataclasses import replace

import pytest
import torch

from videograin.attention import (
    LabelMap,
    Layer,
    Modulation,
    Schedule,
    SpaceTime,
    TokenGrid,
    normalise_mask,
    reference_attention,
    wanting,
)
from videograin.attention.modulation import plain_of_torch

F, GRID, HEADS, WIDTH, T = 3, (3, 4), 2, 16, 0.8
WORDS = torch.tensor([0, 1, 1, -1, 2, -1, -1])
ON, OFF = Schedule(0.7, 1.0, 0.0, 1.0), Schedule(0.0, 1.0, 0.0, 1.0)


def modulation(self_schedule=ON, cross_schedule=ON, **options):
    left, right = torch.zeros(2, F, 6, 8)
    for frame in range(F):
        left[frame, :, : 2 + frame] = 1
        right[frame, 2:, -2:] = 1
    return Modulation(LabelMap([left, right]), WORDS, self_schedule, cross_schedule, **options)


def layer(attention_type, *, prefix=0, suffix=0, roles=("uncond", "cond"), **options):
    return Layer(attention_type, TokenGrid(F, *GRID, prefix, suffix), (6, 8), T, roles, **options)


def randn(rows, tokens, seed=0):
    return torch.randn(rows, tokens, WIDTH, generator=torch.Generator().manual_seed(seed))


def split(x):
    return x.unflatten(2, (HEADS, -1)).transpose(1, 2)


def literal(q, k, v, labels, strength):
    out = reference_attention(split(q), split(k), split(v), labels.q, labels.k, strength)
    return out.transpose(1, 2).flatten(2)


@pytest.mark.parametrize("mode", ["full", "key_frames", "per_frame"])
def test_self_attention_is_the_literal_formula(mode):
    edit, spacetime = modulation(), SpaceTime(mode, F)
    q, k, v = (randn(F, 12, seed) for seed in range(3))
    one = layer("self", roles=("cond",), spacetime=spacetime, modulation=edit)
    bias = edit.self_bias(("cond",), grid=GRID, t=T, spacetime=spacetime)
    expected = spacetime.restore(literal(spacetime.queries(q), spacetime.keys(k), spacetime.keys(v), *bias))
    torch.testing.assert_close(one.attend_self(q, k, v, HEADS), expected)


def test_a_row_per_chunk_gives_what_a_row_per_frame_gives():
    edit = modulation()
    frames = [randn(2 * F, 12, seed) for seed in range(3)]
    rows = [x.unflatten(0, (2, F)).flatten(1, 2) for x in frames]
    text, values = randn(2, 7, 3), randn(2, 7, 4)
    one = layer("self", spacetime=SpaceTime("full", F), modulation=edit)
    got, expected = one.attend_self(*rows, HEADS), one.attend_self(*frames, HEADS)
    assert torch.equal(got.unflatten(1, (F, -1)).flatten(0, 1), expected)
    one = layer("cross", modulation=edit)
    got = one.attend_cross(rows[0], text, values, HEADS)
    expected = one.attend_cross(frames[0], *(x.repeat_interleave(F, 0) for x in (text, values)), HEADS)
    assert torch.equal(got.unflatten(1, (F, -1)).flatten(0, 1), expected)


def test_tokens_of_no_frame_see_the_text_as_without_an_edit():
    edit, prefix, suffix = modulation(), 2, 1
    q, k, v = randn(2, prefix + F * 12 + suffix), randn(2, 7, 1), randn(2, 7, 2)
    got = layer("cross", prefix=prefix, suffix=suffix, modulation=edit).attend_cross(q, k, v, HEADS)
    plain = plain_of_torch(q, k, v, HEADS)
    assert got.shape == q.shape
    for which in (slice(prefix), slice(-suffix, None)):
        torch.testing.assert_close(got[:, which], plain[:, which])
    own = q[1:, prefix:-suffix].unflatten(1, (F, -1)).flatten(0, 1)
    keys, values = (x[1:].repeat_interleave(F, 0) for x in (k, v))
    expected = literal(own, keys, values, *edit.cross_bias(("cond",), grid=GRID, t=T))
    torch.testing.assert_close(got[1, prefix:-suffix], expected.flatten(0, 1))
    torch.testing.assert_close(got[0], plain[0])  # the unconditional half
    assert not torch.allclose(got[1], plain[1])


@pytest.mark.parametrize("prefix", [0, 2])
def test_strength_0_changes_no_bit(prefix):
    q, k, v = (randn(2, prefix + F * 12, seed) for seed in range(3))
    edit = modulation(OFF, OFF)
    assert torch.equal(
        layer("self", prefix=prefix, modulation=edit).attend_self(q, k, v, HEADS), plain_of_torch(q, k, v, HEADS)
    )
    text = randn(2, 7, 4)
    got = layer("cross", prefix=prefix, modulation=edit).attend_cross(q, text, text, HEADS)
    assert torch.equal(got, plain_of_torch(q, text, text, HEADS))


def test_modulated_self_attention_beside_tokens_of_no_frame_is_refused():
    q = randn(2, 2 + F * 12)
    with pytest.raises(ValueError, match="over 2 tokens that belong to no frame cannot be modulated"):
        layer("self", prefix=2, modulation=modulation()).attend_self(q, q, q, HEADS)


@pytest.mark.parametrize("mode", ["per_frame", "key_frames", "sparse_causal", "full_coarse"])
@pytest.mark.parametrize("edit", [None, modulation(), modulation(OFF, OFF)])
def test_a_row_of_all_frames_takes_no_other_arrangement_than_full(mode, edit):
    q, refused = (
        randn(2, F * 12),
        rf"'{mode}' in a layer .* one row for all 3 frames.*expected 'full'; set attention.mode",
    )
    one = layer("self", spacetime=SpaceTime(mode, F), modulation=edit)
    with pytest.raises(ValueError, match=refused):
        one.attend_self(q, q, q, HEADS)
    with pytest.raises(ValueError, match=refused):
        one.show(q, q, HEADS, [Watcher()])
    full, free = (replace(one, spacetime=spacetime) for spacetime in (SpaceTime("full", F), None))
    assert torch.equal(full.attend_self(q, q, q, HEADS), free.attend_self(q, q, q, HEADS))
    text = randn(2, 7, 1)  # what all frames see is not asked for in cross-attention
    assert replace(one, attention_type="cross").attend_cross(q, text, text, HEADS).shape == q.shape


@pytest.mark.parametrize("attention_type", ["self", "cross"])
@pytest.mark.parametrize("rows", ["a row per frame", "a row per chunk"])
def test_masks_of_one_frame_are_refused_with_the_way_to_extend_them(attention_type, rows):
    still = torch.zeros(1, 6, 8)
    still[:, :, :4] = 1
    q, text = randn(2, F * 12), randn(2, 7, 1)
    if rows == "a row per frame":
        q, text = q.unflatten(1, (F, -1)).flatten(0, 1), text.repeat_interleave(F, 0)
    keys = q if attention_type == "self" else text

    def attended(mask):
        edit = Modulation(LabelMap([mask]), torch.tensor([0, 1, 1, -1, -1, -1, -1]), ON, ON)
        one = layer(attention_type, spacetime=SpaceTime("full", F), modulation=edit)
        return getattr(one, f"attend_{attention_type}")(q, keys, keys, HEADS)

    with pytest.raises(ValueError, match=r"3 frames, the label map has 1; .* for masks of one frame normalise_mask"):
        attended(still)
    extended = normalise_mask(still, F, "region 1")
    assert torch.equal(attended(extended), attended(still.repeat(F, 1, 1)))


class Watcher:
    def __init__(self, wants=True):
        self.answer, self.asked, self.shown = wants, [], []

    def wants(self, *question):
        self.asked.append(question)
        return self.answer

    def add(self, shown):
        self.shown.append(shown)


@pytest.mark.parametrize("attention_type", ["self", "cross"])
def test_observers_are_shown_the_conditional_frames_alike_in_both_layouts(attention_type):
    q, k = randn(2, 2 + F * 12), randn(2, 2 + F * 12 if attention_type == "self" else 7, 1)
    rows, frames = Watcher(), Watcher()
    one = layer(attention_type, prefix=2, modulation=modulation())
    one.show(q, k, HEADS, [rows])
    keys = one.tokens.frames_of(k) if attention_type == "self" else k.repeat_interleave(F, 0)
    plain = replace(one, tokens=TokenGrid(F, *GRID), spacetime=SpaceTime("full", F))
    plain.show(one.tokens.frames_of(q), keys, HEADS, [frames])
    (a,), (b,) = rows.shown, frames.shown
    for name in ("q", "k", "strength"):
        assert torch.equal(getattr(a, name), getattr(b, name))
    assert torch.equal(a.matched.q, b.matched.q)
    assert torch.equal(a.matched.k, b.matched.k)
    assert a.q.shape == (F, 12, WIDTH)
    assert a.spacetime == b.spacetime
    assert (a.spacetime is None) == (attention_type == "cross")


def test_nobody_is_shown_a_call_without_a_conditional_half():
    watcher = Watcher()
    layer("cross", roles=("uncond",)).show(randn(F, 12), randn(F, 7), HEADS, [watcher])
    assert watcher.shown == []


def test_every_observer_is_asked_once():
    yes, no = Watcher(), Watcher(False)
    assert wanting([yes, no], "self", GRID, (6, 8), T) == (yes,)
    assert yes.asked == no.asked == [("self", GRID, (6, 8), T)]


@pytest.mark.parametrize("sides", [(0, 3, 4), (3, 0, 4), (3, 3, 4, -1)])
def test_impossible_grids_are_refused(sides):
    with pytest.raises(ValueError, match="must be >= 1, prefix and suffix >= 0; got TokenGrid"):
        TokenGrid(*sides)
