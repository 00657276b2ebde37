"""Who shares an attention slot with us, what happens without memory, and the values that travel with a model."""

import copy
from types import SimpleNamespace

import pytest
import torch

from videograin.editing.regions import Region
from videograin.hosts.comfyui.edit import Edit, RegionTag
from videograin.hosts.comfyui.unet.slots import HostAttention

from ..fake_comfy import (
    FRAMES,
    HEADS,
    HOST,
    NODE,
    SIGMA,
    attend,
    attention,
    conds,
    cross_slot,
    edit_of,
    options_of,
    run_of,
    self_slot,
    space_time,
    tensors,
)

# --- neighbours ---


class IPAdapterSlot:
    """The interface of IPAdapter_plus's Attn2Replace."""

    def __call__(self, q, k, v, extra_options):
        return attention(q, k, v, extra_options["n_heads"]) + 0.1 * q


def test_a_previous_occupant_is_kept_as_a_difference():
    edit, qkv = edit_of(), tensors(keys=7)
    options = options_of(run_of(edit))
    out = attend("attn2", cross_slot(edit).chained(IPAdapterSlot()), qkv, options)
    torch.testing.assert_close(out, attend("attn2", cross_slot(edit), qkv, options) + 0.1 * qkv[0])
    # Where ours does nothing the previous one is alone, bit for bit.
    idle = edit_of(empty_range=True)
    options = options_of(run_of(idle))
    out = attend("attn2", cross_slot(idle).chained(IPAdapterSlot()), qkv, options)
    assert torch.equal(out, IPAdapterSlot()(*qkv, {"n_heads": HEADS}))


def test_add_is_ipadapters():
    edit, qkv, calls = edit_of(), tensors(keys=7), []

    def callback(out, q, k, v, extra_options, *, weight, sigma_start, sigma_end, module_key=""):
        calls.append((weight, extra_options["block"], module_key))
        return weight * out + q

    occupant = cross_slot(edit)
    options = options_of(run_of(edit))
    alone = attend("attn2", occupant, qkv, options)
    occupant.add(callback, weight=0.5, sigma_start=SIGMA + 1, sigma_end=SIGMA - 1, module_key="1")
    occupant.add(callback, weight=2.0, sigma_start=SIGMA + 1, sigma_end=SIGMA, module_key="2")
    occupant.add(callback, weight=9.0, sigma_start=SIGMA - 1, sigma_end=0.0)  # later in the run
    out = attend("attn2", occupant, qkv, options)
    first = alone + (0.5 * alone + qkv[0])
    torch.testing.assert_close(out, first + (2 * first + qkv[0]))
    assert calls == [(0.5, ("input", 1), "1"), (2.0, ("input", 1), "2")]


def test_copies_share_what_is_large_and_keep_what_is_added_apart():
    occupant = cross_slot(edit_of())
    occupant.add(lambda out, *args, **kwargs: 1.0)
    clone = copy.deepcopy({"patches": [occupant]})["patches"][0]
    assert clone is not occupant
    assert clone.edits[0] is occupant.edits[0]
    clone.add(lambda out, *args, **kwargs: 10.0)
    edit, qkv = occupant.edits[0], tensors(keys=7)
    options = options_of(run_of(edit))
    torch.testing.assert_close(attend("attn2", clone, qkv, options), attend("attn2", occupant, qkv, options) + 10)


def test_values_are_their_own_deep_copies():
    edit = edit_of()
    for value in (edit, RegionTag(edit.id, edit.text_labels), run_of(edit), HOST):
        assert copy.deepcopy(value) is value
    assert not hasattr(self_slot(edit), "to")  # hosts call it, with devices and with dtypes


def test_two_of_our_patches_in_one_slot():
    one, two = edit_of(mode="sparse_causal"), edit_of(self_strength=0.4)
    guider = {
        "positive": conds(one, ("a",))["positive"] + conds(two, ("b",))["positive"],
        "negative": conds(one)["negative"],
    }
    run = run_of(one, two, guider=guider)
    options = options_of(run, ("n", "a", "b"), (1, 0, 0))
    for slot, occupant, keys in (("attn1", self_slot, None), ("attn2", cross_slot, 7)):
        qkv = tensors(3, keys)
        stacked = occupant(two).chained(occupant(one))
        assert stacked.edits == (one, two)
        assert stacked.previous is None
        out = attend(slot, stacked, qkv, options).chunk(3)
        for number, (edit, name, order) in enumerate([(two, "n", 1), (one, "a", 0), (two, "b", 0)]):
            part = [x.chunk(3)[number] for x in qkv]
            alone = attend(slot, occupant(edit), part, options_of(run, (name,), (order,)))
            torch.testing.assert_close(out[number], alone)


def test_stacking_keeps_who_was_there_before():
    previous, one, two = IPAdapterSlot(), edit_of(), edit_of()
    first = cross_slot(one).chained(previous)
    first.add(lambda out, *args, **kwargs: 3.0)
    stacked = cross_slot(two).chained(first)
    assert stacked.previous is previous
    qkv, options = tensors(keys=7), options_of(run_of(two, one))
    expected = attend("attn2", cross_slot(two), qkv, options) + 0.1 * qkv[0] + 3
    torch.testing.assert_close(attend("attn2", stacked, qkv, options), expected)


def test_the_models_of_a_previous_occupant_are_loaded():
    previous = SimpleNamespace(models=lambda: ["a model"])
    assert cross_slot(edit_of()).chained(previous).models() == ["a model"]
    assert cross_slot(edit_of()).models() == []


# --- memory ---


class Scarce:
    """A host whose attention has room for so many heads."""

    class Full(RuntimeError):
        pass

    def __init__(self, heads):
        self.heads, self.released = heads, 0

    def host(self):
        return HostAttention(self.attend, out_of_memory=(self.Full,), release=self.release)

    def attend(self, q, k, v, heads, **kwargs):
        if heads > self.heads:
            raise self.Full("no room for 10 GiB\nmore of the same")
        return attention(q, k, v, heads)

    def release(self):
        self.released += 1


@pytest.mark.parametrize("mode", ["full", "key_frames"])
def test_without_room_attention_goes_in_two_halves(mode):
    qkv, scarce = tensors(), Scarce(1)
    out = attend("attn1", self_slot(space_time(mode), scarce.host()), qkv, options_of(None))
    torch.testing.assert_close(out, attend("attn1", self_slot(space_time(mode)), qkv, options_of(None)))
    assert scarce.released == 1


def test_modulated_attention_goes_in_two_halves_too(monkeypatch):
    import videograin.attention.modulation as modulator

    edit, qkv, heads = edit_of(), tensors(), []
    options = options_of(run_of(edit))
    expected = attend("attn1", self_slot(edit), qkv, options)
    original = modulator.attend_matched

    def scarce(q, *args, **kwargs):
        heads.append(q.shape[1])
        if q.shape[1] > 1:
            raise Scarce.Full
        return original(q, *args, **kwargs)

    monkeypatch.setattr(modulator, "attend_matched", scarce)
    torch.testing.assert_close(attend("attn1", self_slot(edit, Scarce(HEADS).host()), qkv, options), expected)
    assert heads == [2, 1, 1]


def test_without_any_room_the_error_says_what_to_do():
    with pytest.raises(Scarce.Full, match=r"3 frames at 4 x 6 tokens.*no room for 10 GiB\)\. Connect Long Clip"):
        attend("attn1", self_slot(space_time("full"), Scarce(0).host()), tensors(), options_of(None))


@pytest.mark.parametrize("mode", ["full", "full_coarse", "key_frames"])
def test_the_error_names_frames_size_and_what_to_change(mode):
    """Not `spacetime`: all modes take about the same memory."""
    with pytest.raises(Scarce.Full) as raised:
        attend("attn1", self_slot(space_time(mode), Scarce(0).host()), tensors(), options_of(None))
    said = str(raised.value)
    assert said.startswith(f"{NODE}: out of memory in attention over 3 frames")
    assert "48 x 32 pixels" in said
    assert said.endswith("Connect Long Clip Windows, or lower its `frames`; or make width and height smaller.")
    assert "spacetime" not in said


def test_cross_attention_without_any_room_does_not_blame_the_arrangement():
    edit = edit_of(cross_halves="cond")
    with pytest.raises(Scarce.Full, match="out of memory in attention over 3 frames") as raised:
        attend("attn2", cross_slot(edit, Scarce(0).host()), tensors(keys=7), options_of(run_of(edit)))
    assert "spacetime" not in str(raised.value)


# --- the edit ---


def test_the_edit_knows_its_extent_and_its_doubts():
    none = torch.zeros(3, 8, 8)
    some = none.clone()
    some[1] = 1
    edit = edit_of(
        regions=(Region("a  Cat", some), Region("dog", none, strength=0.0), Region("a cat", torch.ones(16, 4))),
        text_labels=torch.tensor([1, 2, 3]),
        self_strength=0.0,
    )
    assert edit.extent() == (3, (16, 8))
    doubts = "\n".join(map(str, edit.doubts(NODE)))
    assert "self_strength is 0" in doubts
    assert "cross_strength" not in doubts
    assert "region 1 ('a  Cat') has an empty mask in 2 of 3 frames, first 0" in doubts
    assert "region 2 ('dog') has an empty mask in every frame" in doubts
    assert "region 2 ('dog') has strength 0" in doubts
    assert "region 3 ('a cat') has the same prompt as region 1" in doubts
    assert edit_of().doubts(NODE) == []
    (kept,) = edit_of(regions=(Region("x", torch.eye(8).expand(3, -1, -1), True),)).doubts(NODE)
    assert kept.text == "every region is preserved: nothing is edited"
    unequal = edit_of(regions=(Region("cat", some), Region("dog", torch.ones(5, 8, 8))))
    with pytest.raises(ValueError, match=rf"^{NODE}: mask of region 1"):
        unequal.doubts(NODE)


def test_an_edit_needs_labels_with_its_regions_and_makes_a_modulation_once():
    with pytest.raises(ValueError, match="text_labels"):
        Edit(regions=(Region("cat", torch.ones(4, 4)),))
    with pytest.raises(ValueError, match="mode"):
        space_time("sideways")
    edit = edit_of()
    assert edit.modulation(3) is edit.modulation(3)
    assert Edit().modulation(3) is None
    assert not edit_of(self_strength=0.0, cross_strength=0.0).modulates


def test_an_empty_range_modulates_at_no_noise_level_and_is_said():
    edit = edit_of(empty_range=True)
    assert edit.modulates  # its masks are checked and its prompts are told apart all the same
    made = edit.modulation(FRAMES)
    assert {made.self_schedule.xi(t) for t in (1.0, 0.5, 0.0)} == {made.cross_schedule.xi(1.0)} == {0.0}
    (doubt,) = edit.doubts(NODE)
    assert (doubt.code, doubt.region) == ("range", None)
    assert doubt.text.startswith("start_percent is not below end_percent")


# --- where the conditioning went ---


def warnings_of(caplog, guider, edit):
    caplog.clear()
    run_of(edit, guider=guider)
    return [record.getMessage() for record in caplog.records]


def test_a_positive_that_does_not_come_from_the_patch_is_said(caplog):
    for strength, words in ((0.9, "words: cross-attention is not modulated. Connect"), (0.0, "words. Connect")):
        edit = edit_of(cross_strength=strength)
        assert warnings_of(caplog, conds(edit), edit) == []
        (said,) = warnings_of(caplog, conds(edit_of()), edit)
        assert said.startswith(f"{NODE}: no conditioning of this run comes from the node's output `positive`")
        assert words in said


def test_a_positive_at_the_negative_input_is_said(caplog):
    edit = edit_of()
    sides = conds(edit)
    swapped = {"positive": sides["negative"], "negative": sides["positive"]}
    assert "came to the sampler's negative input alone" in warnings_of(caplog, swapped, edit)[0]
    both = {"positive": sides["positive"], "negative": sides["positive"]}
    assert warnings_of(caplog, both, edit) == []


def test_a_positive_that_another_node_has_shortened_is_said(caplog):
    edit = edit_of()
    shortened = conds(edit)
    shortened["positive"][0]["cross_attn"] = torch.zeros(1, 5, 8)
    assert "another node has shortened the conditioning" in warnings_of(caplog, shortened, edit)[0]
