"""What observers are shown in ComfyUI's attention slots: which chunk, when, and that looking on changes nothing."""

import copy
import logging
from types import SimpleNamespace

import pytest
import torch

from videograin.attention import SpaceTime
from videograin.hosts.comfyui.edit import Edit
from videograin.hosts.comfyui.sampling_run import SamplingRun
from videograin.hosts.comfyui.unet.slots import CrossSlot, HostAttention, SelfSlot

from ..fake_comfy import (
    FRAMES,
    GRID,
    HEADS,
    HOST,
    LEVELS,
    NODE,
    Block,
    T,
    attend,
    attention,
    conds,
    edit_of,
    modulation_of,
    options_of,
    run_of,
    space_time,
    tensors,
)

SLOTS = {"self": ("attn1", SelfSlot, None), "cross": ("attn2", CrossSlot, 7)}
KINDS = list(SLOTS)


class Watcher:
    def __init__(self, wanted=True):
        self.wanted, self.asked, self.seen = wanted, [], []

    def wants(self, *question):
        self.asked.append(question)
        return self.wanted

    def add(self, seen):
        self.seen.append(seen)


def look(kind, edits, options, *, keys=None, chunks=2, host=HOST, frames=FRAMES):
    """(what is seen, what comes out, q, k, v) of one call of a slot."""
    slot, occupant, usual = SLOTS[kind]
    watcher, edits = Watcher(), edits if isinstance(edits, tuple) else (edits,)
    qkv = tensors(chunks, keys=keys or usual, frames=frames)
    out = attend(slot, occupant(edits, host, NODE, observers=(watcher,)), qkv, options)
    return watcher.seen, out, qkv


def marks_of(kind, edit, labels=None, mode="full"):
    modulation = modulation_of(edit)
    if kind == "self":
        return modulation.self_bias(("cond",), grid=GRID, t=T, spacetime=SpaceTime(mode, FRAMES))
    return modulation.cross_bias(("cond",), grid=GRID, t=T, text_labels=labels)


def assert_marked(seen, marks):
    matched, strength = marks
    assert torch.equal(seen.matched.q, matched.q)
    assert torch.equal(seen.matched.k, matched.k)
    assert torch.equal(seen.strength.flatten(), strength.flatten())
    assert seen.strength.shape == (FRAMES, GRID[0] * GRID[1])


# --- what is shown ---


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("order", [(1, 0), (0, 1), (0,)])
def test_the_conditional_chunk_whatever_the_order(kind, order):
    edit = edit_of()
    uuids = tuple("pn"[one] for one in order)
    chunks = len(order)
    (seen,), _, (q, k, _) = look(kind, edit, options_of(run_of(edit), uuids, order), chunks=chunks)
    place = order.index(0)
    assert torch.equal(seen.q, q.chunk(chunks)[place])
    assert torch.equal(seen.k, k.chunk(chunks)[place])
    assert (seen.attention_type, seen.heads, seen.grid, seen.size, seen.t) == (kind, HEADS, GRID, GRID, T)
    assert seen.frames is None
    assert seen.spacetime == (SpaceTime("full", FRAMES) if kind == "self" else None)
    assert_marked(seen, marks_of(kind, edit))


@pytest.mark.parametrize("mode", ["full", "sparse_causal", "key_frames", "per_frame"])
def test_keys_are_shown_before_they_are_arranged(mode):
    edit = edit_of(mode=mode)
    (seen,), _, (_, k, _) = look("self", edit, options_of(run_of(edit)))
    assert torch.equal(seen.k, k.chunk(2)[1])
    assert seen.spacetime.mode == mode
    assert_marked(seen, marks_of("self", edit, mode=mode))
    assert seen.spacetime.restore(seen.matched.q).shape == seen.strength.shape


def test_where_the_host_repeats_the_prompt_its_labels_are_repeated():
    edit = edit_of()
    (seen,), _, _ = look("cross", edit, options_of(run_of(edit)), keys=14)
    assert_marked(seen, marks_of("cross", edit, edit.text_labels.repeat(2)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "options",
    [
        {"start": 0.9},
        {"self_halves": "uncond", "cross_halves": "uncond"},
    ],
)
def test_what_is_not_modulated_has_no_bias(kind, options):
    edit = edit_of(**options)
    (seen,), _, _ = look(kind, edit, options_of(run_of(edit)))
    assert (seen.matched, seen.strength, seen.t) == (None, None, T)


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_without_regions_is_shown_too(kind):
    edit = space_time("per_frame")
    (seen,), out, qkv = look(kind, edit, options_of(run_of(edit_of())))
    assert (seen.matched, seen.strength, seen.t) == (None, None, T)
    slot = SLOTS[kind][0]
    assert torch.equal(out, Block(slot)(*qkv, options_of(None)))


@pytest.mark.parametrize("kind", KINDS)
def test_of_several_edits_the_chunks_own_is_shown(kind):
    """The last patch is not the tagged one's: the positive prompt belongs to the first."""
    first, last = edit_of(), edit_of(self_strength=0.2, mode="per_frame")
    run = run_of(first, last)
    (seen,), _, _ = look(kind, (first, last), options_of(run))
    assert_marked(seen, marks_of(kind, first))


@pytest.mark.parametrize("kind", KINDS)
def test_of_several_positive_prompts_the_tagged_one_is_shown(kind):
    edit = edit_of()
    tagged = conds(edit)["positive"][0]
    bare = {"cross_attn": tagged["cross_attn"], "uuid": "q"}
    guider = {"positive": [bare, tagged], "negative": conds(edit)["negative"]}
    options = options_of(run_of(edit, guider=guider), ("n", "q", "p"), (1, 0, 0))
    (seen,), _, (q, _, _) = look(kind, edit, options, chunks=3)
    assert torch.equal(seen.q, q.chunk(3)[2])
    assert_marked(seen, marks_of(kind, edit))


def positives(edit=None):
    """A run whose positive prompts are p and q, in this order: tagged, or without any edit of ours."""
    guider = conds(edit or edit_of(), ("p", "q"))
    if edit is None:
        guider["positive"] = [{"cross_attn": torch.zeros(1, 7, 8), "uuid": name} for name in "pq"]
        return SamplingRun.begin(guider, (FRAMES, 4, *GRID), LEVELS)
    return run_of(edit, guider=guider)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("edit", [None, edit_of()])
@pytest.mark.parametrize("order", ["nqp", "qpn", "pqn"])
def test_of_several_positives_the_first_is_shown_whatever_the_order(kind, edit, order):
    """The host turns its batch round, so that the first of the conditioning comes last."""
    options = options_of(positives(edit), tuple(order), [int(one == "n") for one in order])
    (seen,), _, (q, _, _) = look(kind, edit or space_time("per_frame"), options, chunks=3)
    assert torch.equal(seen.q, q.chunk(3)[order.index("p")])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("edit", [None, edit_of()])
def test_prompts_in_calls_of_their_own_are_not_mixed(kind, edit):
    """As the host calls them where the memory does not suffice for all at once."""
    run = positives(edit)
    shown = {}
    for name in "nqp":
        options = options_of(run, (name,), (int(name == "n"),))
        shown[name] = len(look(kind, edit or space_time("per_frame"), options, chunks=1)[0])
    assert shown == {"n": 0, "q": 0, "p": 1}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ids", [(), ("x", "y", "z")])
def test_where_nobody_names_the_prompts_the_last_of_the_batch_is_the_first(kind, ids):
    (seen,), _, (q, _, _) = look(kind, space_time("per_frame"), options_of(positives(), ids, (1, 0, 0)), chunks=3)
    assert torch.equal(seen.q, q.chunk(3)[2])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("regions", [True, False])
def test_a_window_says_which_frames_it_has(kind, regions):
    edit = edit_of(6) if regions else space_time("full")
    run = run_of(edit_of(6), frames=6) if not regions else run_of(edit, frames=6)
    (seen,), _, _ = look(kind, edit, options_of(run, context_window=SimpleNamespace(index_list=[5, 0, 2], dim=0)))
    assert seen.frames == (5, 0, 2)
    if regions:
        part = modulation_of(edit, 6).select((5, 0, 2))
        spacetime = SpaceTime("full", 3)
        marks = (
            part.self_bias(("cond",), grid=GRID, t=T, spacetime=spacetime)
            if kind == "self"
            else part.cross_bias(("cond",), grid=GRID, t=T)
        )
        assert_marked(seen, marks)


# --- what is not ---


@pytest.mark.parametrize("kind", KINDS)
def test_not_the_negative_prompt_and_not_a_part_of_the_latent(kind):
    edit = edit_of()
    assert look(kind, edit, options_of(run_of(edit), ("n",), (1,)), chunks=1)[0] == []
    assert look(kind, edit, options_of(run_of(edit), original_shape=[6, 4, 2, 2]))[0] == []


@pytest.mark.parametrize("kind", KINDS)
def test_who_does_not_want_a_layer_is_not_shown_it(kind):
    slot, occupant, keys = SLOTS[kind]
    edit, bored, keen = edit_of(), Watcher(wanted=False), Watcher()
    both = occupant((edit,), HOST, NODE, observers=(bored, keen))
    attend(slot, both, tensors(keys=keys), options_of(run_of(edit)))
    assert bored.asked == keen.asked == [(kind, GRID, GRID, T)]
    assert (len(bored.seen), len(keen.seen)) == (0, 1)


@pytest.mark.parametrize("kind", KINDS)
def test_merged_tokens_are_not_shown_and_the_log_says_so_once(kind, caplog):
    caplog.set_level(logging.WARNING)
    slot, occupant, keys = SLOTS[kind]
    edit, watcher = space_time("per_frame"), Watcher()
    options = options_of(run_of(edit_of()))
    q, k, v = tensors(keys=keys)
    short = (q[:, :20], k[:, :20], v[:, :20])
    for _ in range(2):
        out = attend(slot, occupant((edit,), HOST, NODE, observers=(watcher,)), short, options)
    assert torch.equal(out, Block(slot)(*short, options))
    assert watcher.seen == []
    assert caplog.text.count(f"{kind}-attention came with queries [6, 20]") == 1
    assert "such layers are not looked at" in caplog.text


def test_another_prompts_rows_in_cross_attention_are_not_shown(caplog):
    """NAG appends keys to the batch; where nothing is modulated it may go on."""
    edit, watcher = space_time("per_frame"), Watcher()
    q, k, v = tensors(keys=7)
    more = torch.cat([k, k[:3]]), torch.cat([v, v[:3]])
    previous = lambda q, k, v, extra, **kwargs: q * 2  # noqa: E731
    occupant = CrossSlot((edit,), HOST, NODE, previous, (watcher,))
    assert torch.equal(attend("attn2", occupant, (q, *more), options_of(run_of(edit_of()))), q * 2)
    assert watcher.seen == []
    assert "NAG" in caplog.text


@pytest.mark.parametrize("kind", KINDS)
def test_samplers_that_say_nothing_of_the_run_are_refused(kind):
    with pytest.raises(RuntimeError, match=r"OUTER_SAMPLE.*noise level.*KSampler"):
        look(kind, space_time("per_frame"), options_of(None))


# --- looking on ---


@pytest.mark.parametrize("kind", KINDS)
def test_it_changes_nothing(kind):
    slot, occupant, _ = SLOTS[kind]
    edit = edit_of()
    options = options_of(run_of(edit))
    _, out, qkv = look(kind, edit, options)
    assert torch.equal(out, attend(slot, occupant((edit,), HOST, NODE), qkv, options))


@pytest.mark.parametrize("kind", KINDS)
def test_without_memory_heads_are_halved_and_the_whole_is_shown_once(kind, monkeypatch):
    import videograin.attention.modulation as modulator

    class Full(RuntimeError):
        pass

    halves, original = [], modulator.attend_matched

    def scarce(q, *args, **kwargs):
        halves.append(q.shape[1])
        if q.shape[1] > 1:
            raise Full
        return original(q, *args, **kwargs)

    monkeypatch.setattr(modulator, "attend_matched", scarce)
    edit = edit_of()
    host = HostAttention(attention, out_of_memory=(Full,))
    (seen,), _, (q, _, _) = look(kind, edit, options_of(run_of(edit)), host=host)
    assert halves == [2, 1, 1]
    assert (seen.heads, seen.q.shape) == (HEADS, q.chunk(2)[1].shape)


@pytest.mark.parametrize("kind", KINDS)
def test_observers_stay_when_another_patch_comes_on_top(kind):
    slot, occupant, keys = SLOTS[kind]
    edit, one, two = edit_of(), Watcher(), Watcher()
    stack = occupant((edit,), HOST, NODE).observed(one)
    assert occupant((Edit(),), HOST, NODE).chained(stack).observers == (one,)
    assert stack.observed(two).observers == (one, two)
    assert stack.observers == (one,)
    for copied in (stack.copy(), copy.deepcopy(stack)):
        attend(slot, copied, tensors(keys=keys), options_of(run_of(edit)))
    assert len(one.seen) == 2  # shown to the observer itself, not to a copy of it


@pytest.mark.parametrize("kind", KINDS)
def test_a_previous_occupant_and_what_is_added_go_on(kind):
    slot, occupant, keys = SLOTS[kind]
    edit, watcher = edit_of(), Watcher()
    qkv, options = tensors(keys=keys), options_of(run_of(edit))

    def stack(*observers):
        made = occupant((edit,), HOST, NODE, lambda q, k, v, extra, **kwargs: q * 0.5, observers)
        made.add(lambda out, *args, **kwargs: 3.0)
        return made

    assert torch.equal(attend(slot, stack(watcher), qkv, options), attend(slot, stack(), qkv, options))
    assert len(watcher.seen) == 1
