"""Cutting conditionings and ControlNets to some of a clip's frames, on fakes with the host's attributes."""

from __future__ import annotations

import types

import pytest
import torch

from videograin.editing.windows import Windows
from videograin.hosts.comfyui.frame_cuts import call_shape, cut_conditioning, cut_control, frames_of_calls, rows

WINDOW = (1, 4, 5)


def numbered(count, *shape):
    """[count, *shape]: row r is r everywhere."""
    return torch.arange(float(count)).view(-1, *[1] * len(shape)).expand(count, *shape)


def numbers(tensor):
    return [int(row.flatten()[0]) for row in tensor]


@pytest.mark.parametrize(("count", "found"), [(6, [1, 4, 5]), (8, [1, 4, 5]), (2, [1, 0, 1]), (5, [1, 4, 0]), (1, [0])])
def test_rows_are_dealt_out_as_to_a_whole_clip(count, found):
    """Frame f of a clip gets row f, and rows that are too few begin again: what ComfyUI's repeat_to_batch_size does."""
    assert numbers(rows(numbered(count, 3), WINDOW)) == found


class Cond:
    """As comfy.conds.CONDRegular."""

    def __init__(self, cond):
        self.cond = cond

    def _copy_with(self, cond):
        return type(self)(cond)

    def size(self):
        return list(self.cond.shape)


class Constant(Cond):
    def size(self):
        return [1]


def test_a_conditioning_is_cut_where_it_has_a_row_for_each_frame():
    words, prompts, area = Cond(torch.rand(1, 77, 4)), Cond(numbered(6, 77, 4)), Constant(numbered(6))
    lists = Cond([numbered(6, 2), numbered(1, 2)])
    entry = {
        "uuid": "id",
        "videograin": "tag",
        "strength": 0.5,
        "mask": numbered(6, 8, 8),
        "model_conds": {"c_crossattn": words, "y": prompts, "constant": area, "list": lists, "odd": object},
    }
    (cut,) = cut_conditioning([entry], WINDOW, {})
    assert {key: cut[key] for key in ("uuid", "videograin", "strength")} == {
        "uuid": "id",
        "videograin": "tag",
        "strength": 0.5,
    }
    assert numbers(cut["mask"]) == [1, 4, 5]
    assert cut["model_conds"]["c_crossattn"] is words
    assert numbers(cut["model_conds"]["y"].cond) == [1, 4, 5]
    assert cut["model_conds"]["constant"] is area
    assert [numbers(one) for one in cut["model_conds"]["list"].cond] == [[1, 4, 5], [0]]
    assert cut["model_conds"]["odd"] is object
    # what came in stays as it is
    assert len(entry["mask"]) == len(prompts.cond) == 6
    assert entry["model_conds"]["y"] is prompts


def test_no_conditioning_stays_none():
    assert cut_conditioning(None, WINDOW, {}) is None


def control(hint, previous=None, **more):
    base = {"cond_hint_original": hint, "cond_hint": "made of all", "previous_controlnet": previous}
    return types.SimpleNamespace(**base, extra_concat_orig=[], network=object(), **more)


def test_a_control_gets_the_hints_of_its_frames_and_shares_the_rest():
    whole = control(numbered(6, 3, 8, 8))
    cut = cut_control(whole, WINDOW, {})
    assert numbers(cut.cond_hint_original) == [1, 4, 5]
    assert cut.cond_hint is None
    assert cut.network is whole.network
    assert (len(whole.cond_hint_original), whole.cond_hint) == (6, "made of all")


def test_one_control_of_two_conditionings_is_one_object_still():
    one, made = control(numbered(6, 3, 8, 8)), {}
    cuts = [cut_conditioning([{"control": one}], WINDOW, made)[0]["control"] for _ in range(2)]
    assert cuts[0] is cuts[1] is not one


def test_what_needs_no_cutting_stays_the_object_that_it_is():
    single, advanced = control(numbered(1, 3, 8, 8)), control(numbered(6, 3, 8, 8), sub_idxs=None)
    assert cut_control(None, WINDOW, {}) is None
    assert cut_control(single, WINDOW, {}) is single
    assert cut_control(advanced, WINDOW, {}) is advanced


@pytest.mark.parametrize("first", ["single", "advanced"])
def test_a_chain_is_cut_where_it_has_hints_to_cut(first):
    """The object in front keeps its own hints, but is followed by another."""
    more = {"sub_idxs": None} if first == "advanced" else {}
    behind = control(numbered(6, 3, 8, 8))
    chain = control(numbered(6 if more else 1, 3, 8, 8), behind, **more)
    cut = cut_control(chain, WINDOW, {})
    assert cut is not chain
    assert cut.cond_hint_original is chain.cond_hint_original
    assert cut.cond_hint == "made of all"
    assert numbers(cut.previous_controlnet.cond_hint_original) == [1, 4, 5]
    assert chain.previous_controlnet is behind


def test_masks_of_an_inpaint_control_go_with_the_hints():
    """They are dealt out to the hints: of 3 hints with 2 masks the third has the first mask again."""
    whole = control(numbered(3, 3, 8, 8))
    whole.extra_concat_orig = [numbered(2, 1, 8, 8), numbered(1, 1, 1, 1)]
    cut = cut_control(whole, (1, 2, 5), {})
    assert numbers(cut.cond_hint_original) == [1, 2, 2]
    assert [numbers(one) for one in cut.extra_concat_orig] == [[1, 0, 0], [0]]


def test_copies_for_other_gpus_are_cut_as_well():
    whole = control(numbered(6, 3, 8, 8))
    whole.multigpu_clones = {"cuda:1": control(numbered(6, 3, 8, 8))}
    cut = cut_control(whole, WINDOW, {})
    assert numbers(cut.multigpu_clones["cuda:1"].cond_hint_original) == [1, 4, 5]
    assert len(whole.multigpu_clones["cuda:1"].cond_hint_original) == 6


@pytest.mark.parametrize(
    ("handler", "frames"),
    [
        (None, 32),
        (types.SimpleNamespace(context_length=12, dim=0), 12),
        (types.SimpleNamespace(context_length=48, dim=0), 32),
        (types.SimpleNamespace(context_length=12, dim=2), 32),
        (object(), 32),
    ],
)
def test_the_shape_of_one_call(handler, frames):
    options = {} if handler is None else {"context_handler": handler}
    assert call_shape((32, 4, 64, 48), options) == [frames, 4, 64, 48]
    assert call_shape((32, 4, 64, 48), None) == [32, 4, 64, 48]


def test_frames_of_calls_counts_what_windows_share_in_each():
    class Handler:
        windows = Windows(4, 1, 1)

    windows = Windows(4, 1, 1).split(9)  # 4 + 3 or 4 frames each, anchors included
    assert frames_of_calls((9, 4, 8, 8), {"context_handler": Handler()}) == sum(len(w.indices) for w in windows) > 9
    assert frames_of_calls((4, 4, 8, 8), {"context_handler": Handler()}) == 4
    assert frames_of_calls((9, 4, 8, 8), {"context_handler": object()}) == 9
    assert frames_of_calls((9, 4, 8, 8), None) == 9
