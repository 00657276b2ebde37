"""The attention slots, called as ComfyUI's BasicTransformerBlock calls them; no ComfyUI needed."""

import ast
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import videograin
from videograin.attention import SpaceTime, space_time_attention
from videograin.hosts.comfyui.edit import KEY
from videograin.hosts.comfyui.sampling_run import SamplingRun
from videograin.hosts.comfyui.unet.slots import HostAttention

from ..fake_comfy import (
    FRAMES,
    GRID,
    HEADS,
    LEVELS,
    NODE,
    Block,
    attend,
    attention,
    conds,
    cross_slot,
    edit_of,
    expected_cross,
    expected_self,
    options_of,
    run_of,
    self_slot,
    space_time,
    tensors,
)


def test_no_comfy_is_imported():
    """CI has none; what these modules need of the host is handed in."""
    free = ("unet/slots", "unet/slot_call", "unet/call_parts", "edit", "errors", "host_attention", "sampling_run")
    for name in free:
        source = Path(videograin.__file__).parent / "hosts" / "comfyui" / f"{name}.py"
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module]
            assert not any(name.split(".")[0] == "comfy" for name in names)


# --- self-attention ---


def test_without_regions_per_frame_is_the_hosts_own_attention():
    qkv, run = tensors(), SamplingRun.begin({}, (FRAMES, 4, *GRID), LEVELS)
    options = options_of(run)
    assert torch.equal(attend("attn1", self_slot(space_time("per_frame")), qkv, options), Block("attn1")(*qkv, options))


@pytest.mark.parametrize("mode", ["full", "sparse_causal", "key_frames"])
def test_without_regions_frames_see_each_other_and_no_run_is_needed(mode):
    qkv = tensors()
    options = options_of(None)
    del options[KEY]
    expected = space_time_attention(*qkv, heads=HEADS, spacetime=SpaceTime(mode, FRAMES, 2))
    torch.testing.assert_close(attend("attn1", self_slot(space_time(mode)), qkv, options), expected)


@pytest.mark.parametrize("mode", ["full", "sparse_causal", "key_frames", "per_frame"])
@pytest.mark.parametrize("halves", ["both", "cond", "uncond"])
def test_self_attention_is_modulated(mode, halves):
    edit, qkv = edit_of(mode=mode, self_halves=halves), tensors()
    torch.testing.assert_close(
        attend("attn1", self_slot(edit), qkv, options_of(run_of(edit))), expected_self(edit, qkv)
    )


def test_roles_come_from_the_prompts_not_from_their_order():
    edit, qkv = edit_of(self_halves="cond"), tensors()
    run = run_of(edit)
    usual = attend("attn1", self_slot(edit), qkv, options_of(run))
    swapped = [torch.cat(x.chunk(2)[::-1]) for x in qkv]
    # Indices as a guider gives them that evaluates its prompts in another order (DualCFG).
    for order in ((0, 1), (1, 0)):
        out = attend("attn1", self_slot(edit), swapped, options_of(run, ("p", "n"), order))
        torch.testing.assert_close(torch.cat(out.chunk(2)[::-1]), usual)
    for number, name in enumerate(("n", "p")):  # split into calls of their own
        part = [x.chunk(2)[number] for x in qkv]
        out = attend("attn1", self_slot(edit), part, options_of(run, (name,), (1 - number,)))
        torch.testing.assert_close(out, usual.chunk(2)[number])


def test_prompts_nobody_knows_are_told_by_their_index():
    edit, qkv = edit_of(self_halves="cond"), tensors()
    run = run_of(edit)
    out = attend("attn1", self_slot(edit), qkv, options_of(run, ("x", "y")))
    torch.testing.assert_close(out, attend("attn1", self_slot(edit), qkv, options_of(run)))


def test_the_grid_is_the_hosts():
    """A level of another size, as after a down-sampling that rounds up."""
    edit, grid = edit_of(), (3, 2)
    qkv = [x[:, :6] for x in tensors()]
    out = attend("attn1", self_slot(edit), qkv, options_of(run_of(edit), grid=grid))
    torch.testing.assert_close(out, expected_self(edit, qkv, grid=grid))


def test_what_the_host_passes_on_reaches_its_attention():
    seen = []

    def spy(*args, **kwargs):
        seen.append(kwargs)
        return attention(*args, **kwargs)

    options = {**options_of(None), "optimized_attention_override": "someone's"}
    attend("attn1", self_slot(space_time("full"), HostAttention(spy)), tensors(), options)
    attend("attn1", self_slot(space_time("full"), HostAttention(spy, passes_options=False)), tensors(), options)
    assert seen[0]["transformer_options"]["optimized_attention_override"] == "someone's"
    assert set(seen[1]) == {"attn_precision"}


# --- cross-attention ---


@pytest.mark.parametrize("halves", ["both", "cond", "uncond"])
def test_cross_attention_is_modulated(halves):
    edit, qkv = edit_of(cross_halves=halves), tensors(keys=7)
    torch.testing.assert_close(
        attend("attn2", cross_slot(edit), qkv, options_of(run_of(edit))), expected_cross(edit, qkv)
    )


@pytest.mark.parametrize("options", [{"background": "free"}, {"strength": 0.4}, {}])
def test_every_option_reaches_the_modulation(options):
    """Each of them changes the result, and as it does in a modulation put together by hand."""
    strength = options.pop("strength", 1.0)
    edit = edit_of(**options)
    first, second = edit.regions
    edit = replace(edit, regions=(replace(first, strength=strength), second))
    qkv, text = tensors(), tensors(keys=7)
    run = options_of(run_of(edit))
    torch.testing.assert_close(attend("attn1", self_slot(edit), qkv, run), expected_self(edit, qkv))
    out = attend("attn2", cross_slot(edit), text, run)
    torch.testing.assert_close(out, expected_cross(edit, text))
    assert torch.allclose(out, expected_cross(edit_of(), text)) == (options == {} and strength == 1)


def test_repeated_text_repeats_its_labels():
    edit, qkv = edit_of(), tensors(keys=14)
    out = attend("attn2", cross_slot(edit), qkv, options_of(run_of(edit)))
    torch.testing.assert_close(out, expected_cross(edit, qkv, labels=edit.text_labels.repeat(2)))


def test_appended_text_has_no_labels():
    edit, qkv = edit_of(), tensors(1, keys=12)
    guider = conds(edit, tokens=12)
    out = attend("attn2", cross_slot(edit), qkv, options_of(run_of(edit, guider=guider), ("p",), (0,)))
    labels = torch.cat([edit.text_labels, torch.full((5,), -1)])
    torch.testing.assert_close(out, expected_cross(edit, qkv, ("cond",), labels))


def test_text_of_another_length_is_left_alone_and_said_once(caplog):
    edit, qkv = edit_of(), tensors(keys=10)
    options = options_of(run_of(edit))
    for _ in range(2):
        assert torch.equal(attend("attn2", cross_slot(edit), qkv, options), Block("attn2")(*qkv, options))
    assert caplog.text.count("no multiple of the prompt's 7 tokens") == 1


def test_a_prompt_shorter_than_its_tag_is_another_prompt(caplog):
    edit, qkv = edit_of(), tensors(keys=5)
    options = options_of(run_of(edit, tokens=5))
    assert torch.equal(attend("attn2", cross_slot(edit), qkv, options), Block("attn2")(*qkv, options))
    assert "output `positive`" in caplog.text


def test_a_positive_that_is_not_ours_is_left_alone():
    edit, qkv = edit_of(), tensors(chunks=3, keys=7)
    guider = conds(edit, positive=("p",))
    guider["positive"].append({"cross_attn": torch.zeros(1, 7, 8), "uuid": "other"})
    options = options_of(run_of(edit, guider=guider), ("n", "other", "p"), (1, 0, 0))
    out = attend("attn2", cross_slot(edit), qkv, options).chunk(3)
    plain = Block("attn2")(*qkv, options).chunk(3)
    torch.testing.assert_close(out[:2], plain[:2])
    last = [x.chunk(3)[2] for x in qkv]
    torch.testing.assert_close(out[2], expected_cross(edit, last, ("cond",)))


def test_outside_the_schedule_nothing_is_touched():
    edit, qkv = edit_of(mode="per_frame", start=0.9), tensors()
    options = options_of(run_of(edit))
    assert torch.equal(attend("attn1", self_slot(edit), qkv, options), Block("attn1")(*qkv, options))
    qkv = tensors(keys=7)
    assert torch.equal(attend("attn2", cross_slot(edit), qkv, options), Block("attn2")(*qkv, options))


# --- frames ---


@pytest.mark.parametrize(
    "how",
    [
        lambda indices: {"ad_params": {"sub_idxs": indices, "full_length": 6}},
        lambda indices: {"context_window": SimpleNamespace(index_list=indices, dim=0)},
        # AnimateDiff-Evolved without windows, in ComfyUI's windows.
        lambda indices: {
            "ad_params": {"sub_idxs": None},
            "context_window": SimpleNamespace(index_list=indices, dim=0),
        },
    ],
)
@pytest.mark.parametrize("indices", [[3, 4, 5], [5, 0, 2], [1, 1, 4]])
def test_a_window_has_the_masks_of_its_frames(how, indices):
    edit = edit_of(6)
    own = edit_of(regions=tuple(replace(region, mask=region.mask[indices]) for region in edit.regions))
    run = run_of(edit, frames=6)
    for slot, occupant, keys in (("attn1", self_slot, None), ("attn2", cross_slot, 7)):
        qkv = tensors(keys=keys)
        out = attend(slot, occupant(edit), qkv, options_of(run, **how(indices)))
        torch.testing.assert_close(out, attend(slot, occupant(own), qkv, options_of(run_of(own))))


def test_a_window_left_over_from_before_is_not_believed():
    edit, qkv = edit_of(), tensors()
    options = options_of(run_of(edit))
    stale = {**options, "context_window": SimpleNamespace(index_list=[0, 1], dim=0)}
    assert torch.equal(attend("attn1", self_slot(edit), qkv, stale), attend("attn1", self_slot(edit), qkv, options))


@pytest.mark.parametrize(
    ("more", "why"),
    [({}, "nothing says which"), ({"ad_params": {"sub_idxs": [0, 1]}}, "the context window names 2")],
)
def test_frames_that_nobody_names_are_an_error(more, why):
    edit = edit_of(5)
    message = rf"{NODE}: a call with 3 of the run's 5 frames, and {why}.*Use Long Clip Windows, or AnimateDiff-Evolved"
    with pytest.raises(ValueError, match=message):
        attend("attn1", self_slot(edit), tensors(), options_of(run_of(edit, frames=5), **more))


def test_a_cropped_latent_is_not_modulated(caplog):
    edit, qkv = edit_of(), tensors()
    options = options_of(run_of(edit), original_shape=[2 * FRAMES, 4, 2, 2])
    expected = space_time_attention(*qkv, heads=HEADS, spacetime=SpaceTime("full", FRAMES))
    torch.testing.assert_close(attend("attn1", self_slot(edit), qkv, options), expected)
    text = tensors(keys=7)
    assert torch.equal(attend("attn2", cross_slot(edit), text, options), Block("attn2")(*text, options))
    assert caplog.text.count("masks do not apply") == 1


def test_mask_frames_must_fit_the_run():
    with pytest.raises(ValueError, match=rf"^{NODE}: mask of region 1 \(cat\): expected 1 frame or 5.*got 3"):
        run_of(edit_of(3), frames=5)


def test_other_samplers_are_refused_where_masks_are_needed():
    options = options_of(None)
    with pytest.raises(RuntimeError, match="OUTER_SAMPLE"):
        attend("attn1", self_slot(edit_of()), tensors(), options)


def test_tiles_and_merged_tokens_are_refused():
    edit = edit_of()
    options = options_of(run_of(edit))
    q, k, v = tensors()
    with pytest.raises(ValueError, match=r"20 tokens for a grid of 4 x 6 = 24.*ToMe"):
        attend("attn1", self_slot(edit), (q[:, :20], k, v), options)
    with pytest.raises(ValueError, match="20 tokens"):
        attend("attn2", cross_slot(edit), (q[:, :20], *tensors(keys=7)[1:]), options)
    with pytest.raises(ValueError, match=r"48 keys for 24 queries.*reference-only"):
        attend("attn1", self_slot(edit), (q, torch.cat([k, k], 1), torch.cat([v, v], 1)), options)
    with pytest.raises(ValueError, match=r"batch of 12 for 6 pictures.*HyperTile"):
        attend("attn1", self_slot(edit), [torch.cat([x, x]) for x in (q, k, v)], options)
