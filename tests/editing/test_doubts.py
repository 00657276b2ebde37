"""Doubts: each kind in the one case that calls for it, and none in an edit that is meant."""

import re

import pytest
import torch

from videograin.editing.doubts import doubts, frame_ranges, frozen_doubt, region_doubts
from videograin.editing.regions import Region
from videograin.editing.settings import AttentionSettings

LEFT, RIGHT = torch.zeros(2, 4, 8), torch.zeros(2, 4, 8)
LEFT[..., :4], RIGHT[..., 4:] = 1, 1
MEANT = (Region("a cat", LEFT), Region("a dog", RIGHT))


def codes(regions=MEANT, attention=None, **run):
    return [(doubt.code, doubt.region) for doubt in doubts(regions, (4, 8), 2, attention or AttentionSettings(), **run)]


def test_an_edit_that_is_meant_gives_none():
    assert codes() == codes(guidance=1.0, active=3, steps=3) == codes(()) == []


def test_empty_by_one_rule_for_all_hosts():
    dust = torch.full((2, 4, 8), 1 / 1024)  # less than half a step of an 8-bit mask
    assert codes((MEANT[0], Region("a dog", dust))) == [("empty", 2)]
    once = RIGHT.clone()
    once[1] = 0
    (doubt,) = doubts((MEANT[0], Region("a dog", once)), (4, 8), 2, AttentionSettings())
    assert "empty mask in 1 of 2 frames, first 1" in doubt.text


@pytest.mark.parametrize(
    ("above", "hidden"),
    [
        ([torch.ones(4, 8)], "hidden by .*\\(region 2 \\('thing 0'\\)\\)"),
        ([LEFT, RIGHT], "hidden by .*\\(region 2 .*, region 3 .*\\)"),  # by two regions together
        ([LEFT], ""),
        ([torch.ones(4, 8) * 0.4], ""),  # a veil through which it shows
        ([torch.stack([torch.ones(4, 8), RIGHT[0]])], "hidden in frame 0 by"),
        ([torch.stack([RIGHT[0], torch.ones(4, 8)])], "hidden in frame 1 by"),
        ([torch.ones(2, 4)], "hidden by"),  # masks of another size
    ],
)
def test_a_region_wholly_under_later_ones_is_named_with_frames_and_regions(above, hidden):
    regions = (Region("a cat", torch.ones(2, 4, 8)), *(Region(f"thing {n}", mask) for n, mask in enumerate(above)))
    found = [doubt for doubt in doubts(regions, (4, 8), 2, AttentionSettings()) if doubt.code == "hidden"]
    assert [doubt.region for doubt in found] == [1] * bool(hidden)
    assert all(re.search(f"^region 1 \\('a cat'\\) is wholly {hidden}", doubt.text) for doubt in found)


def test_masks_of_everything_or_next_to_nothing_are_said_with_their_area():
    whole = torch.ones(2, 4, 8)
    (doubt,) = doubts((Region("a cat", whole),), (4, 8), 2, AttentionSettings())
    assert (doubt.code, doubt.region) == ("everything", 1)
    assert "100 %" in doubt.text
    once = torch.stack([whole[0], LEFT[0]])
    assert codes((Region("a cat", once),)) == []
    for size, side, said in ((256, 8, "64 of 65536 pixels (0.10%)"), (256, 9, ""), (64, 1, "1 of 4096"), (64, 2, "")):
        speck = torch.zeros(2, size, size)
        speck[0, :side, :side] = 1  # not there in the other frame
        found = doubts((Region("a cat", speck),), (size, size), 2, AttentionSettings())
        assert [doubt.code for doubt in found] == ["empty"] + ["tiny"] * bool(said)
        assert said in found[-1].text


def test_frames_are_named_in_runs():
    runs = {(3,): "frame 3", (0, 1, 2, 5): "frames 0 to 2, 5", (2, 4): "frames 2, 4"}
    assert {frames: frame_ranges(frames) for frames in runs} == runs


def test_regions_that_change_nothing_or_share_a_phrase():
    assert codes((MEANT[0], Region("A  Cat", RIGHT, strength=0.0))) == [("region_off", 2), ("repeated", 2)]
    assert codes(tuple(Region(r.phrase, r.mask, preserve=True) for r in MEANT)) == [("all_kept", None)]


def test_attention_that_is_not_modulated():
    assert codes(attention=AttentionSettings(self_strength=0.0)) == [("off", None)]
    assert codes(attention=AttentionSettings(self_strength=0.0, cross_strength=0.0), active=0) == [("off", None)]
    assert codes(active=0, steps=3) == [("range", None)]
    uncond = AttentionSettings(self_halves="uncond", cross_halves="uncond")
    assert codes(attention=uncond) == codes(attention=uncond, guidance=2.0) == []
    assert codes(attention=uncond, guidance=1.0, active=0) == [("half", None)] * 2


# --- a mask that stays ---


@pytest.fixture
def moving():
    """A bright square goes right on a wall, 2 of 16 pixels a frame: (pictures [5, 1, 16, 16], masks [5, 16, 16])."""
    wall = torch.rand(16, 16, generator=torch.Generator().manual_seed(0)) * 0.2
    masks = torch.zeros(5, 16, 16)
    for frame in range(5):
        masks[frame, 4:8, 2 * frame : 2 * frame + 4] = 1
    return wall.where(masks == 0, torch.ones(()))[:, None], masks


def test_a_mask_that_stays_where_the_thing_leaves_it_is_named_with_the_frame(moving):
    pictures, masks = moving
    still = masks[:1].expand_as(masks)
    assert "the same in all 5 frames, but from frame 1 on" in frozen_doubt(still, pictures)
    assert frozen_doubt(masks, pictures) is None


def test_a_mask_that_may_stay(moving):
    pictures, masks = moving
    still = masks[:1].expand_as(masks)
    assert frozen_doubt(still, pictures[:1].expand_as(pictures)) is None  # nothing moves
    assert frozen_doubt(torch.zeros_like(still), pictures) is None
    assert frozen_doubt(torch.ones_like(still), pictures) is None
    assert frozen_doubt(still[:1], pictures[:1]) is None
    assert frozen_doubt(still.flip(1), pictures) is None  # the wall
    assert frozen_doubt(still, torch.rand(5, 3, 16, 16)) is None  # no video


def test_regions_are_numbered_from_the_first_one_on():
    whole = torch.ones(2, 4, 8)
    regions = [Region("a cat", LEFT), Region("a dog", LEFT), Region("a hat", whole)]
    found = [
        doubt for doubt in region_doubts(regions, [region.mask for region in regions], 3) if doubt.code == "hidden"
    ]
    assert [doubt.region for doubt in found] == [3, 4]
    assert found[0].text.startswith("region 3 ('a cat') is wholly hidden")
    assert found[0].text.endswith("(region 4 ('a dog'), region 5 ('a hat'))")
    assert found[1].text.endswith("(region 5 ('a hat'))")
