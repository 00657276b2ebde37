"""The node ST-Layout Attn Patch: what it checks, what it says, what comes out of it; on the embedded model."""

import sys

import pytest
import torch

from videograin.editing.regions import Region, edited_area, kept_area
from videograin.editing.settings import AttentionSettings
from videograin.hosts.comfyui.edit import KEY, Edit
from videograin.hosts.comfyui.embedded_model import embedded_model
from videograin.hosts.comfyui.notices import NOTICES
from videograin.hosts.comfyui.unet.patch import edits_of, patch_edit, patch_space_time, tag
from videograin.hosts.comfyui.unet.prompts import encode_regions
from videograin.nodes.st_layout_attn_patch import STLayoutAttnPatch

from . import tiny
from .edits import NODE, apart, moving_masks

PROMPT = "a red circle and a blue square on sand"
PHRASES = ("red circle", "blue square")
DEFAULTS = {
    "self_strength": 0.3,
    "cross_strength": 1.0,
    "start_percent": 0.0,
    "end_percent": 0.3,
    "self_halves": "both",
    "cross_halves": "cond",
    "spacetime": "full",
    "key_frames": 2,
    "background": "neutral",
    "missing_phrase": "error",
    "splice": True,
    "power": 5.0,
    "row_range": "exact",
    "range_steps": 3,
    "range_every": 8,
    "kernel": "auto",
}


@pytest.fixture(scope="module")
def world():
    with torch.inference_mode():
        model, clip, _ = embedded_model()
    return model, clip


def two_regions(frames=3, **options):
    return tuple(Region(phrase, mask, **options) for phrase, mask in zip(PHRASES, moving_masks(frames)))


def output(world, regions=None, prompt=PROMPT, **options):
    model, clip = world
    with torch.inference_mode():
        return STLayoutAttnPatch.execute(
            model=model, clip=clip, prompt=prompt, regions=regions, **{**DEFAULTS, **options}
        )


def node(*args, **options):
    return output(*args, **options).result


def negative(world):
    with torch.inference_mode():
        return world[1].encode_from_tokens_scheduled(world[1].tokenize(""))


def test_the_defaults_are_the_schemas():
    """What the tests call with is what a fresh node has, in its order; the ids are frozen."""
    schema = STLayoutAttnPatch.define_schema()
    assert schema.node_id == "VideoGrainSTLayoutAttnPatch"
    assert [i.id for i in schema.inputs] == ["model", "clip", "prompt", "regions", *DEFAULTS]
    assert {i.id: i.default for i in schema.inputs if i.id in DEFAULTS} == DEFAULTS
    assert [o.display_name for o in schema.outputs] == ["model", "positive", "mask", "preserved"]
    assert all(part.tooltip for part in schema.inputs + schema.outputs)
    assert schema.description


def test_what_saves_time_stands_behind_show_advanced_and_reaches_the_edit(world):
    inputs = {i.id: i for i in STLayoutAttnPatch.define_schema().inputs}
    hidden = [name for name, one in inputs.items() if one.as_dict().get("advanced")]
    assert hidden == ["row_range", "range_steps", "range_every", "kernel"]
    assert all(inputs[name].optional for name in hidden)
    model = node(world, two_regions(), row_range="reuse", range_steps=2, range_every=4, kernel="sdpa")[0]
    (edit,) = edits_of(model)
    assert (edit.attention.steps_of_a_range, edit.attention.kernel) == (2, "sdpa")


def test_a_workflow_with_sampled_ranges_is_exact_and_says_so_once(world, caplog):
    model = node(world, two_regions(), row_range="sampled", range_every=4)[0]
    (edit,) = edits_of(model)
    assert edit.attention.steps_of_a_range == 1
    assert caplog.text.count("sampled") == 1
    assert f"{NODE}: row_range: sampled is not there any more, the exact range is found; write exact" in caplog.text


def test_a_kernel_that_is_not_installed_is_refused_at_the_node(world, monkeypatch):
    monkeypatch.setitem(sys.modules, "xformers", None)
    monkeypatch.setitem(sys.modules, "xformers.ops", None)
    with pytest.raises(ValueError, match=rf"^{NODE}: kernel 'xformers' needs the package xformers"):
        node(world, two_regions(), kernel="xformers")


def test_prompts_from_before_these_inputs_run_as_they_did(world):
    """An API prompt that does not have them: execute gets what it names."""
    old = {name: value for name, value in DEFAULTS.items() if name not in ("row_range", "range_steps", "range_every")}
    old.pop("kernel")
    with torch.inference_mode():
        model = STLayoutAttnPatch.execute(
            model=world[0], clip=world[1], prompt=PROMPT, regions=two_regions(), **old
        ).result[0]
    (edit,) = edits_of(model)
    assert (edit.attention.steps_of_a_range, edit.attention.kernel) == (1, "auto")


def test_the_outputs_are_the_edit(world):
    regions = two_regions()
    model, positive, mask, preserved = node(world, regions)
    conditioning, _, labels, _ = encode_regions(world[1], PROMPT, PHRASES, splice=True, missing="error", node=NODE)
    by_hand = Edit(regions, labels, AttentionSettings(self_strength=0.3, cross_strength=1.0, power=5.0, end=0.3))
    empty = negative(world)
    out = tiny.sample(model, positive, empty, cfg=5.0)
    expected = tiny.sample(patch_edit(world[0], by_hand, node=NODE), tag(conditioning, by_hand), empty, cfg=5.0)
    assert torch.equal(out, expected)
    assert torch.equal(mask, edited_area(regions, (32, 32), 3))
    assert mask.shape == preserved.shape == (3, 32, 32)
    assert not preserved.any()
    apart(out, tiny.sample(patch_space_time(world[0], "full", node=NODE), positive, empty, cfg=5.0), 1e-3)


def test_preserved_regions_are_no_part_of_the_edit(world):
    regions = (two_regions()[0], Region(PHRASES[1], torch.ones(20, 48), preserve=True))
    _, _, mask, preserved = node(world, regions)
    assert mask.shape == preserved.shape == (3, 32, 32)  # a mask of one value all over has no shape of its own
    assert torch.equal(preserved, kept_area(regions, (32, 32), 3))
    assert preserved.all()
    assert not mask.any()


def test_static_masks_alone_give_one_frame(world):
    regions = tuple(Region(region.phrase, region.mask[0]) for region in two_regions())
    model, positive, mask, _ = node(world, regions)
    assert mask.shape == (1, 32, 32)
    assert tiny.sample(model, positive, negative(world), frames=2).isfinite().all()


@pytest.mark.parametrize("regions", [None, ()])
def test_without_regions_space_time_attention_alone(world, regions):
    model, positive, mask, preserved = node(world, regions, spacetime="sparse_causal")
    assert KEY not in positive[0][1]
    assert mask.shape == preserved.shape == (1, 64, 64)
    assert mask.all()  # the whole frame may change: blend and composite let it
    assert not preserved.any()
    assert set(model.model_options["transformer_options"]["patches_replace"]) == {"attn1"}
    out = tiny.sample(model, positive, negative(world))
    by_hand = patch_space_time(world[0], "sparse_causal", node=NODE)
    assert torch.equal(out, tiny.sample(by_hand, positive, negative(world)))


def test_strength_0_is_the_unpatched_model_bit_for_bit(world, caplog):
    model, positive, mask, _ = node(world, two_regions(), self_strength=0.0, cross_strength=0.0)
    assert "the model goes out unpatched" in caplog.text
    assert mask.any()
    options = {"cfg": 5.0, "steps": 3}
    with torch.inference_mode():
        plain = world[1].encode_from_tokens_scheduled(world[1].tokenize(PROMPT))
    out = tiny.sample(model, positive, negative(world), **options)
    assert torch.equal(out, tiny.sample(world[0], plain, negative(world), **options))


def test_what_is_hardly_meant_is_said_in_the_log_and_on_the_node(world, caplog):
    regions = two_regions()
    odd = (regions[0], Region(PHRASES[1], torch.zeros(8, 8)))
    out = output(world, odd, cross_strength=0.0, start_percent=0.5)
    shown = "\n".join(one["text"] for one in out.ui[NOTICES])
    for part in ("cross_strength is 0", "start_percent is not below", "region 2 ('blue square') has an empty mask"):
        assert f"{NODE}: " in caplog.text
        assert part in caplog.text
        assert part in shown
    assert output(world, regions).ui is None


def test_a_range_turned_round_modulates_nothing(world):
    model, positive, _, _ = node(world, two_regions(), start_percent=1.0, end_percent=0.0, power=0.0)
    space_time = patch_space_time(world[0], "full", node=NODE)
    out = [tiny.sample(m, positive, negative(world), cfg=5.0) for m in (model, space_time)]
    assert torch.equal(*out)


def test_masks_that_do_not_fit_each_other_are_refused_at_the_node(world):
    masks = moving_masks(3)
    regions = (Region(PHRASES[0], masks[0]), Region(PHRASES[1], masks[1][:2]))
    with pytest.raises(ValueError, match=rf"^{NODE}: mask of region 2 \(blue square\): expected 1 frame or 3.*got 2"):
        node(world, regions)


def test_a_phrase_that_does_not_occur_is_refused_or_appended(world):
    regions = (Region("green cross", moving_masks(3)[0]),)
    with pytest.raises(ValueError, match=rf"^{NODE}: region 1.*'green cross' does not occur"):
        node(world, regions)
    _, positive, _, _ = node(world, regions, missing_phrase="append")
    assert (positive[0][1][KEY].labels == 1).sum() == 2


def test_other_models_are_refused_before_anything_is_encoded(world):
    with pytest.raises(ValueError, match=rf"^{NODE}: input `model`: supports SD1.x, SD2.x and SDXL UNets; got str"):
        node(("no model", None), two_regions())


def test_the_parent_model_stays_as_it_was(world):
    before = tiny.sample(world[0], negative(world))
    model, positive, _, _ = node(world, two_regions())
    tiny.sample(model, positive, negative(world))
    assert not world[0].model_options["transformer_options"]
    assert not world[0].wrappers
    assert torch.equal(tiny.sample(world[0], negative(world)), before)
