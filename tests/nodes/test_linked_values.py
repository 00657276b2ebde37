"""Values that come over a link, which ComfyUI does not check; the host tests do the same for every node there is."""

import math

import pytest
import torch

MASK = torch.nn.functional.pad(torch.ones(1, 8, 8), (4, 4, 4, 4))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("frames", 65),
        ("frames", 1),
        ("frames", 2.5),
        ("frames", True),
        ("frames", None),
        ("frames", math.nan),
        ("seed", -1),
        ("seed", 2**32),
        ("size", 520),
        ("size", 1),
        ("size", 100),
        ("size", math.inf),
        ("motion", "nope"),
        ("motion", 3),
    ],
)
def test_a_demo_clip_of_what_its_schema_forbids_is_refused_by_name(node_class, name, value):
    good = {"frames": 2, "seed": 1, "size": 64, "motion": "apart"}
    with pytest.raises(ValueError, match=rf"^Demo Clip: input `{name}`: expected .*, got {value!r}; correct what"):
        node_class("demo_clip", "DemoClip").execute(**good | {name: value})


def test_the_ends_of_a_range_are_allowed(node_class):
    images = node_class("demo_clip", "DemoClip").execute(frames=2, seed=2**32 - 1, size=64, motion="crossing").args[0]
    assert images.shape == (2, 64, 64, 3)


@pytest.mark.parametrize("strength", [math.nan, math.inf, -math.inf, -1.0, 1.01, "1", None, True])
def test_a_strength_outside_its_range_is_refused_by_name(node_class, strength):
    with pytest.raises(ValueError, match=r"^Region Prompt: input `strength`: expected a number from 0 to 1, got"):
        node_class("region_prompt", "RegionPrompt").execute("a cat", MASK, "edit", strength)


def test_whole_numbers_and_numbers_of_numpy_are_numbers(node_class):
    prompt = node_class("region_prompt", "RegionPrompt")
    for strength in (1, 0, torch.ones(1).numpy()[0]):
        (region,) = prompt.execute("a cat", MASK, "preserve", strength).args[0]
        assert region.strength == strength


def test_every_item_of_a_list_is_checked(node_class):
    masks = node_class("regions_from_masks", "RegionsFromMasks")
    assert len(masks.execute([MASK], ["a cat"], ["list"], [0.5]).args[0]) == 1
    with pytest.raises(ValueError, match=r"^Regions from Masks: input `arrangement`: expected one of list, stacked"):
        masks.execute([MASK], ["a cat"], ["nope"], [0.5])
    with pytest.raises(ValueError, match=r"^Regions from Masks: input `strength`"):
        masks.execute([MASK], ["a cat"], ["list"], [0.5, math.nan])


def test_a_class_that_the_host_clones_checks_once(node_class):
    demo = node_class("demo_clip", "DemoClip")
    clone = type("DemoClipClone", (demo, *demo.__bases__), dict(demo.__dict__))
    assert clone.__dict__["execute"] is demo.__dict__["execute"]
    with pytest.raises(ValueError, match="input `frames`"):
        clone.execute(frames=65, seed=1, size=64, motion="apart")
