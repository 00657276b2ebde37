"""Logit ranges, the finest level and the host's kernels in the attention slots; no ComfyUI needed."""

import functools
import logging
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

import videograin.attention.range_memory as range_memory
from videograin.attention import SpaceTime, space_time_attention
from videograin.attention.kernels.logit_range import logit_range
from videograin.hosts.comfyui.edit import KEY
from videograin.hosts.comfyui.host_attention import HostAttention
from videograin.hosts.comfyui.unet.slots import SelfSlot

from ..fake_comfy import (
    FRAMES,
    GRID,
    HEADS,
    HOST,
    LEVELS,
    NODE,
    SIGMA,
    arrangement_of,
    attend,
    attention,
    cross_slot,
    edit_of,
    modulation_of,
    options_of,
    run_of,
    self_slot,
    space_time,
    tensors,
)

STEPS = 3
REUSE = {"range": "reuse", "range_steps": STEPS}


@pytest.fixture
def measured(monkeypatch):
    """Shapes of the queries whose range was measured for a memory."""
    seen = []

    def counted(q, k):
        seen.append(tuple(q.shape))
        return logit_range(q, k)

    monkeypatch.setattr(range_memory, "logit_range", counted)
    return seen


def at(options, sigma):
    return {**options, "sigmas": torch.full((len(options["sigmas"]),), float(sigma))}


def literal(edit, qkv, sigma, range_of, roles=("uncond", "cond")):
    """The edit with the range of other queries and keys, by the literal formula's own parts."""
    modulation, spacetime = modulation_of(edit), arrangement_of(edit)
    t = LEVELS.t(sigma)
    split = [
        arrange(x).unflatten(2, (HEADS, -1)).transpose(1, 2)
        for arrange, x in zip((spacetime.queries, spacetime.keys, spacetime.keys), qkv)
    ]
    old = [
        arrange(x).unflatten(2, (HEADS, -1)).transpose(1, 2)
        for arrange, x in zip((spacetime.queries, spacetime.keys), range_of)
    ]
    labels, c = modulation.self_bias(roles, grid=GRID, t=t, spacetime=spacetime)
    labels, c = labels.repeat(len(roles)), c.repeat(len(roles), 1)
    known = logit_range(*old)
    same = (labels.q[:, :, None] == labels.k[:, None, :]) & (labels.q[:, :, None] >= 0)
    q, k, v = split
    logits = (q @ k.transpose(2, 3)) / q.shape[-1] ** 0.5
    logits = (1 - c)[:, None, :, None] * logits + (c[:, None] * known)[..., None] * same[:, None]
    out = (logits.softmax(-1) @ v).transpose(1, 2).flatten(2)
    return spacetime.restore(out)


# --- reuse ---


@pytest.mark.parametrize("mode", ["full", "key_frames"])
def test_a_range_serves_so_many_noise_levels(measured, mode):
    """The second and the third level get the first one's range; the fourth its own."""
    edit = edit_of(mode=mode, **REUSE)
    run, slot = run_of(edit), self_slot(edit)
    steps = [tensors(seed=number) for number in range(4)]
    for number, (sigma, qkv) in enumerate(zip((10.0, 8.0, 6.0, 5.0), steps)):
        out = attend("attn1", slot, qkv, at(options_of(run), sigma))
        torch.testing.assert_close(out, literal(edit, qkv, sigma, steps[0 if number < 3 else 3]), rtol=1e-4, atol=1e-5)
    assert len(measured) == 2
    other = literal(edit, steps[1], 8.0, steps[1])
    assert not torch.allclose(literal(edit, steps[1], 8.0, steps[0]), other, atol=1e-3)


def test_one_step_is_the_exact_range_bit_for_bit():
    qkv = [tensors(seed=number) for number in range(3)]
    outs = []
    for edit in (edit_of(range="reuse", range_steps=1), edit_of()):
        run = options_of(run_of(edit))
        outs.append([attend("attn1", self_slot(edit), one, at(run, s)) for one, s in zip(qkv, (10.0, 8.0, 6.0))])
    assert all(torch.equal(*pair) for pair in zip(*outs))


def test_a_level_that_is_evaluated_twice_counts_once(measured):
    """Heun: levels 10 8 8 6 6 4 4; three of them share a range however often they are evaluated."""
    edit = edit_of(**REUSE)
    run, slot = run_of(edit), self_slot(edit)
    for sigma in (10.0, 8.0, 8.0, 6.0, 6.0, 4.0, 4.0):
        attend("attn1", slot, tensors(), at(options_of(run), sigma))
    assert len(measured) == 2


def test_prompts_in_one_call_and_in_two_never_share(measured):
    """A batch of both, then each alone, then both: every call finds its own range."""
    edit = edit_of(**REUSE)
    run, slot = run_of(edit), self_slot(edit)
    both = tensors(seed=1)
    parts = {name: [x.chunk(2)[number] for x in tensors(seed=2)] for number, name in enumerate(("n", "p"))}
    attend("attn1", slot, both, at(options_of(run), 10.0))
    for number, name in enumerate(("n", "p")):
        out = attend("attn1", slot, parts[name], at(options_of(run, (name,), (1 - number,)), 8.0))
        expected = literal(edit, parts[name], 8.0, parts[name], roles=(("uncond", "cond")[number],))
        torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-5)
    late = tensors(seed=3)
    out = attend("attn1", slot, late, at(options_of(run), 6.0))
    torch.testing.assert_close(out, literal(edit, late, 6.0, both), rtol=1e-4, atol=1e-5)
    # In the other order the rows are other prompts'.
    swapped = attend("attn1", slot, late, at(options_of(run, ("p", "n"), (0, 1)), 6.0))
    torch.testing.assert_close(swapped, literal(edit, late, 6.0, late, roles=("cond", "uncond")), rtol=1e-4, atol=1e-5)
    assert len(measured) == 4


def test_layers_and_edits_have_ranges_of_their_own(measured):
    one = edit_of(**REUSE)
    two = replace(one)
    run = run_of(one, two)
    for edit, key, index in (
        (one, ("input", 1), 0),
        (one, ("input", 1), 1),
        (one, ("input", 2), 0),
        (one, ("output", 1), 0),
        (two, ("input", 1), 0),
    ):
        slot, options = self_slot(edit), at(options_of(run), 10.0)
        extra = {**options, "n_heads": HEADS, "attn_precision": None, "block": key, "block_index": index}
        for _ in range(2):
            slot(*tensors(), extra)
    assert len(measured) == 5


def test_a_host_that_does_not_say_whose_rows_these_are_gets_them_measured(measured):
    edits = edit_of(**REUSE), edit_of()
    runs = [options_of(run_of(edit)) for edit in edits]
    for number, sigma in enumerate((10.0, 8.0)):
        kept, exact = (
            attend("attn1", self_slot(edit), tensors(seed=number), at({**run, "uuids": []}, sigma))
            for edit, run in zip(edits, runs)
        )
        assert torch.equal(kept, exact)
    assert not measured


def test_windows_that_move_do_not_fill_the_memory(measured):
    """Each level has windows of its own; what the last levels cannot use is dropped."""
    edit = edit_of(12, **REUSE)
    run, slot, kept = run_of(edit, frames=12), self_slot(edit), []
    for step in range(12):
        for start in range(3):
            window = SimpleNamespace(index_list=[(3 * start + step + n) % 12 for n in range(FRAMES)], dim=0)
            attend("attn1", slot, tensors(), at(options_of(run, context_window=window), 14.0 - step))
        kept.append((len(run.ranges), len(run._windows)))
    most_ranges, most_labels = (max(counts) for counts in zip(*kept))
    assert most_ranges <= 3 * STEPS
    assert most_labels <= 3 * 3  # of this level, the one before, and what was there before that
    assert len(measured) > 3  # they did move


def test_windows_that_stay_find_their_ranges_again(measured):
    edit = edit_of(6, **REUSE)
    run, slot = run_of(edit, frames=6), self_slot(edit)
    for sigma in (10.0, 8.0, 6.0):
        for indices in ([0, 1, 2], [3, 4, 5]):
            window = SimpleNamespace(index_list=indices, dim=0)
            attend("attn1", slot, tensors(), at(options_of(run, context_window=window), sigma))
    assert len(measured) == 2


def test_the_memory_is_the_runs():
    """It outlives a second edit in the same run, and no run has another one's."""
    one, two = edit_of(**REUSE), edit_of()
    run = run_of(one)
    assert run.with_edit(two, NODE).ranges is run.ranges
    assert run_of(one).ranges is not run.ranges


def test_halves_of_the_heads_have_ranges_of_their_own(measured, monkeypatch):
    """Two heads a half: equal shapes. The first level runs out of memory, the second too: it reuses by halves."""
    import videograin.attention.modulation as modulator

    class Full(RuntimeError):
        pass

    original = modulator.attend_matched

    def scarce(q, *args, **kwargs):
        if q.shape[1] == HEADS:
            raise Full
        return original(q, *args, **kwargs)

    edit = edit_of(**REUSE)
    run = run_of(edit)
    slot = self_slot(edit, HostAttention(attention, out_of_memory=(Full,)))
    first, second = tensors(seed=1), tensors(seed=2)
    monkeypatch.setattr(modulator, "attend_matched", scarce)
    for sigma, qkv in ((10.0, first), (8.0, second)):
        out = attend("attn1", slot, qkv, at(options_of(run), sigma))
        torch.testing.assert_close(out, literal(edit, qkv, sigma, first), rtol=1e-4, atol=1e-5)


def test_kernels_are_checked_where_the_edit_is_made():
    with pytest.raises(ValueError, match=r"kernel: 'sage' is not allowed; expected one of"):
        edit_of(kernel="sage")
    assert edit_of(kernel="sdpa").modulation(FRAMES).kernel == "sdpa"


# --- full_coarse ---


@pytest.mark.parametrize("modulated", [True, False])
@pytest.mark.parametrize(
    ("finest", "grid", "mode"),
    [(1, (4, 6), "key_frames"), (2, (4, 6), "full"), (1, (2, 3), "full"), (2, (2, 3), "key_frames"), (4, (1, 2), None)],
)
def test_full_coarse_is_key_frames_at_the_finest_level_and_full_elsewhere(modulated, finest, grid, mode):
    """The latent is 4 x 6. Halving rounds up: a quarter of it is 1 x 2."""
    mode = mode or "key_frames"
    edits = [edit_of(mode=one, anchors=1) if modulated else space_time(one, 1) for one in ("full_coarse", mode)]
    tokens = grid[0] * grid[1]
    qkv = [x[:, :tokens] for x in tensors()]
    outs = []
    for edit in edits:
        slot = SelfSlot((edit,), HOST, NODE, finest=finest)
        run = run_of(edit) if modulated else None
        outs.append(attend("attn1", slot, qkv, options_of(run, grid=grid)))
    assert torch.equal(*outs)
    other = {"full": "key_frames", "key_frames": "full"}[mode]
    assert not torch.allclose(outs[0], space_time_attention(*qkv, heads=HEADS, spacetime=SpaceTime(other, FRAMES, 1)))


def test_a_cropped_area_has_the_levels_of_its_own_latent():
    """2 x 2 of the latent's cells: as many tokens as a coarse level of the whole, and yet the finest there is."""
    edit, grid = edit_of(mode="full_coarse", anchors=1), (2, 2)
    qkv = [x[:, :4] for x in tensors()]
    options = options_of(run_of(edit), grid=grid, original_shape=[2 * FRAMES, 4, *grid])
    out = attend("attn1", self_slot(edit), qkv, options)
    expected = space_time_attention(*qkv, heads=HEADS, spacetime=SpaceTime("key_frames", FRAMES, 1))
    torch.testing.assert_close(out, expected)


@pytest.mark.parametrize("grid", [(4, 6), (2, 3)])
def test_a_window_of_full_coarse_is_a_clip_of_its_own(grid):
    edit, window = edit_of(6, mode="full_coarse", anchors=1), [5, 0, 3]
    own = edit_of(mode="full_coarse", anchors=1, regions=tuple(replace(r, mask=r.mask[window]) for r in edit.regions))
    qkv = [x[:, : grid[0] * grid[1]] for x in tensors()]
    named = {"ad_params": {"sub_idxs": window}}
    out = attend("attn1", self_slot(edit), qkv, options_of(run_of(edit, frames=6), grid=grid, **named))
    torch.testing.assert_close(out, attend("attn1", self_slot(own), qkv, options_of(run_of(own), grid=grid)))


def test_another_patch_on_top_keeps_the_level():
    edit = edit_of(mode="full_coarse", anchors=1)
    below = SelfSlot((edit_of(),), HOST, NODE, finest=2)
    stack = SelfSlot((edit,), HOST, NODE, finest=2).chained(below)
    assert stack.finest == stack.copy().finest == 2


def test_observers_see_the_arrangement_of_the_level():
    from .test_observer import Watcher

    edit, watcher = edit_of(mode="full_coarse", anchors=1), Watcher()
    for grid in ((4, 6), (2, 3)):
        qkv = [x[:, : grid[0] * grid[1]] for x in tensors()]
        attend("attn1", self_slot(edit).observed(watcher), qkv, options_of(run_of(edit), grid=grid))
    assert [seen.spacetime.mode for seen in watcher.seen] == ["key_frames", "full"]
    assert all(seen.strength.shape == (FRAMES, seen.grid[0] * seen.grid[1]) for seen in watcher.seen)


# --- 8-bit attention of the host ---


def attention_sage(q, k, v, heads, **kwargs):
    return attention(q, k, v, heads)


class SageSomething:
    def __call__(self, func, *args, **kwargs):
        return func(*args, **kwargs)


def usage_of_messages(func, *args, **kwargs):
    return func(*args, **kwargs)


@pytest.mark.parametrize(
    ("host", "override", "name"),
    [
        (HostAttention(attention_sage), None, "attention_sage"),
        (HostAttention(attention, current=lambda: attention_sage), None, "attention_sage"),
        (HostAttention(attention), attention_sage, "attention_sage"),
        (HostAttention(attention), functools.partial(attention_sage, heads=1), "attention_sage"),
        (HostAttention(attention), SageSomething(), "SageSomething"),
        (HostAttention(attention_sage), usage_of_messages, ""),  # the override goes first
        (HostAttention(attention, passes_options=False), attention_sage, ""),  # a host that knows no overrides
        (HostAttention(attention), None, ""),
    ],
)
def test_attention_in_8_bits_is_told_by_its_name(host, override, name):
    extra = {} if override is None else {"optimized_attention_override": override}
    assert host.quantised(extra) == name


def test_steered_calls_pass_8_bit_attention_by_and_the_log_says_so_once_a_run(caplog):
    caplog.set_level(logging.INFO)
    calls = []

    def attention_sage(q, k, v, heads, **kwargs):
        calls.append(tuple(q.shape))
        return attention(q, k, v, heads)

    host, edit = HostAttention(attention_sage), edit_of(self_halves="cond", cross_halves="cond")
    qkv, text = tensors(), tensors(keys=7)
    for expected in (1, 2):  # once a run, whatever the layers and noise levels
        options = options_of(run_of(edit))
        for sigma in (10.0, 8.0):
            calls.clear()
            out = attend("attn1", self_slot(edit, host), qkv, at(options, sigma))
            attend("attn2", cross_slot(edit, host), text, at(options, sigma))
            # The half that is not steered alone: all frames as one picture, then each frame's own.
            assert calls == [(1, FRAMES * 24, qkv[0].shape[2]), (FRAMES, 24, qkv[0].shape[2])]
        assert caplog.text.count("attention here is attention_sage") == expected
    options = at(options_of(run_of(edit)), SIGMA)
    torch.testing.assert_close(
        attend("attn1", self_slot(edit, host), qkv, options), attend("attn1", self_slot(edit), qkv, options)
    )
    assert out.isfinite().all()


def test_without_steering_nothing_is_said(caplog):
    caplog.set_level(logging.INFO)
    host, edit = HostAttention(attention_sage), edit_of(start=0.9)
    options = options_of(run_of(edit))
    attend("attn1", self_slot(edit, host), tensors(), options)
    attend("attn2", cross_slot(edit, host), tensors(keys=7), options)
    plain = options_of(None)
    del plain[KEY]
    attend("attn1", self_slot(space_time("full"), host), tensors(), plain)
    assert "attention_sage" not in caplog.text
