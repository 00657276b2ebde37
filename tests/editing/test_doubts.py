"""Doubts: each kind in the one case that calls for it, and none in an edit that is meant."""

import pytest
import torch

from videograin.editing.doubts import doubts
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
        ([torch.ones(4, 8)], True),
        ([LEFT, RIGHT], True),  # by two regions together
        ([LEFT], False),
        ([torch.ones(4, 8) * 0.4], False),  # a veil through which it shows
        ([torch.stack([torch.ones(4, 8), RIGHT[0]])], False),  # seen in one frame
        ([torch.ones(2, 4)], True),  # masks of another size
    ],
)
def test_a_region_wholly_under_later_ones(above, hidden):
    regions = (Region("a cat", torch.ones(2, 4, 8)), *(Region(f"thing {n}", mask) for n, mask in enumerate(above)))
    assert codes(regions) == ([("hidden", 1)] if hidden else [])


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
