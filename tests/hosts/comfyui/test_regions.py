"""Regions out of what comes over ComfyUI's links; no ComfyUI needed."""

import logging

import pytest
import torch

from videograin.hosts.comfyui.regions import checked_region, preview, regions_from_masks


def region(prompt="a cup", mask=None, **options):
    mask = torch.ones(3, 4, 6) if mask is None else mask
    return checked_region(
        prompt, mask, **{"preserve": False, "strength": 1.0, "number": 2, "node": "Region Prompt", **options}
    )


def made(items, prompts, arrangement="list", first=1):
    return regions_from_masks(items, prompts, arrangement, strength=0.5, first=first, node="Regions from Masks")


@pytest.mark.parametrize("shape", [(4, 6), (1, 4, 6), (3, 4, 6), (3, 1, 4, 6)])
def test_masks_of_every_customary_form_are_taken(shape):
    found = region(" a cup\n", torch.full(shape, 0.75, dtype=torch.float64))
    assert (found.phrase, found.preserve, found.strength) == ("a cup", False, 1.0)
    assert found.mask.dtype == torch.float32
    assert found.mask.shape == (shape[0] if len(shape) > 2 else 1, 4, 6)
    assert (found.mask == 0.75).all()
    assert region("a cup", torch.ones(shape, dtype=torch.bool)).mask.min() == 1


def test_wrong_masks_name_node_and_region():
    for bad, why in [
        (torch.ones(3, 4, 6) * 255, r"expected values in \[0, 1\]; got 255 to 255"),
        (torch.ones(2, 4, 6, 3), r"expected \[H, W\]"),
        (torch.ones(3, 4, 6, dtype=torch.int64), "expected bool, floating or uint8"),
        (torch.full((1, 4, 6), float("nan")), r"expected values in \[0, 1\]"),
        (torch.ones(0, 4, 6), r"expected \[H, W\]"),
    ]:
        with pytest.raises(ValueError, match=r"^Region Prompt: mask of region 2 \('a cup'\): " + why):
            region(mask=bad)


@pytest.mark.parametrize("preserve", [False, True])
def test_an_empty_prompt_is_refused_also_for_a_preserved_region(preserve):
    with pytest.raises(ValueError, match="Region Prompt: region 2 has an empty prompt"):
        region(" \n", preserve=preserve)


def test_empty_masks_and_strength_0_are_allowed_and_noted(caplog):
    with caplog.at_level(logging.WARNING):
        region(mask=torch.zeros(4, 6), strength=0.0)
    assert "Region Prompt: region 2 ('a cup') has an empty mask in every frame: nothing" in caplog.text
    assert "region 2 ('a cup') has strength 0" in caplog.text
    caplog.clear()
    region(mask=torch.ones(4, 6))
    assert "region 2 ('a cup') covers the whole picture (100 %)" in caplog.text
    caplog.clear()
    region(mask=torch.eye(4, 6))
    assert caplog.text == ""


def test_a_list_is_one_region_an_item_and_empty_lines_skip():
    masks = [torch.full((2, 4, 6), value) for value in (0.6, 0.7, 0.8)]
    first, second = made(masks, "a cup\n\npreserve: a hand\n\n\n")
    assert (first.phrase, first.preserve, first.strength) == ("a cup", False, 0.5)
    assert (second.phrase, second.preserve) == ("a hand", True)
    assert torch.equal(first.mask, masks[0])
    assert torch.equal(second.mask, masks[2])


def test_black_and_white_pictures_are_masks():
    picture = torch.zeros(2, 4, 6, 3)
    picture[:, :2] = 1
    (found,) = made([picture], "a cup")
    assert torch.equal(found.mask, picture[..., 0])
    with pytest.raises(ValueError, match=r"^Regions from Masks: expected a mask .* arrangement colours"):
        made([picture * torch.tensor([1.0, 0, 0])], "a cup")


def test_a_stack_is_cut_by_the_lines():
    stack = torch.arange(6).reshape(6, 1, 1).expand(6, 4, 6) / 20 + 0.6
    first, second = made([stack], "a cup\na hand", "stacked")
    assert first.mask[:, 0, 0].tolist() == pytest.approx([0.6, 0.65, 0.7])
    assert second.mask[:, 0, 0].tolist() == pytest.approx([0.75, 0.8, 0.85])
    (only,) = made([stack], "\na hand", "stacked")
    assert torch.equal(only.mask, second.mask)
    with pytest.raises(ValueError, match=r"^Regions from Masks: the stacked batch has 6 masks, .* by 4 regions"):
        made([stack], "a\nb\nc\nd", "stacked")


@pytest.mark.parametrize(
    ("prompts", "masks", "starts"),
    [
        ("x\n", 6, [0]),  # divides by both 2 and 1: every line counts, the empty one leaves the second half out
        ("x\n", 7, [0]),  # 7 divides by 1 alone: the line break at the end is none of a region
        ("x\ny\n", 4, [0, 2]),
        ("x\r\ny\r\n", 4, [0, 2]),
        ("x\ny\n", 6, [0, 2]),
        ("x\n\ny", 6, [0, 4]),
        ("x\n \n", 4, [0]),
        ("x\n\n", 4, [0]),
    ],
)
def test_every_line_of_a_stack_counts_but_for_a_last_line_break(prompts, masks, starts):
    stack = torch.arange(masks).reshape(masks, 1, 1).expand(masks, 4, 6) / 100 + 0.6
    found = made([stack], prompts, "stacked")
    assert [round(100 * (r.mask[0, 0, 0].item() - 0.6)) for r in found] == starts
    lengths = {("x\n", 6): 3, ("x\n", 7): 7}
    assert {len(r.mask) for r in found} == {lengths.get((prompts, masks), 2)}


def test_a_stack_that_divides_neither_way_is_refused():
    for prompts, regions in [("x\ny\n", 3), ("x\ny\nz\n\n", 5)]:
        with pytest.raises(ValueError, match=f"7 masks, which do not divide by {regions} regions"):
            made([torch.ones(7, 4, 6)], prompts, "stacked")


@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\n\n \n"])
def test_line_breaks_at_the_end_of_other_arrangements_are_let_go(end):
    images = torch.zeros(1, 4, 6, 3)
    images[:, 1, 1, 0] = images[:, 2, 2, 1] = 1
    for items, arrangement in [([torch.ones(4, 6)] * 2, "list"), ([images], "colours")]:
        assert [r.phrase for r in made(items, "a cup\na hand" + end, arrangement)] == ["a cup", "a hand"]
        assert [r.phrase for r in made(items, "a cup\n" + end, arrangement)] == ["a cup"]  # the second is left out


@pytest.mark.parametrize("arrangement", ["list", "stacked", "colours"])
@pytest.mark.parametrize(
    ("items", "what"),
    [
        ([], "got no mask; connect"),
        ([None], "got no mask as item 1 of 1; connect"),
        ([torch.ones(4, 6), None], "got no mask as item 2 of 2; connect"),
    ],
)
def test_no_mask_is_said_before_anything_else(items, what, arrangement):
    for prompts in ("a cup", ""):
        with pytest.raises(ValueError, match=f"^Regions from Masks: masks: {what}"):
            made(items, prompts, arrangement)


def test_colours_become_regions_in_order():
    images = torch.zeros(2, 4, 6, 3)
    images[:, 1, 1] = torch.tensor([0, 1.0, 0])
    images[:, 2, 2] = torch.tensor([1.0, 0, 0])
    green, red = made([images], "a cup\na hand", "colours")
    assert green.mask.nonzero().tolist() == [[0, 1, 1], [1, 1, 1]]
    assert red.mask.nonzero().tolist() == [[0, 2, 2], [1, 2, 2]]
    parts = made([images[:1], images[1:]], "a cup\na hand", "colours")  # frames as a list are one clip
    assert torch.equal(parts[0].mask, green.mask)
    with pytest.raises(ValueError, match="got 2 masks and 1 line of prompts"):
        made([images], "a cup", "colours")
    with pytest.raises(ValueError, match=r"^Regions from Masks: arrangement colours needs pictures of one size"):
        made([images, images[:, :2]], "a cup\na hand", "colours")
    with pytest.raises(ValueError, match=r"^Regions from Masks: the label images have .* anti-aliased"):
        made([torch.rand(1, 16, 16, 3)], "a cup", "colours")


def test_counts_that_differ_are_named():
    masks = [torch.ones(4, 6)] * 3
    with pytest.raises(ValueError, match="got 3 masks and 2 lines of prompts; expected one line for each mask"):
        made(masks, "a cup\na hand")
    with pytest.raises(ValueError, match=r"got 1 mask and 2 lines of prompts.*a batch of 8.*arrangement stacked"):
        made([torch.ones(8, 4, 6)], "a cup\na hand")
    with pytest.raises(ValueError, match="prompts are empty"):
        made(masks, " \n\n")


def test_regions_count_on_from_those_below():
    with pytest.raises(ValueError, match=r"mask of region 4 \('a hand'\)"):
        made([torch.ones(4, 6), torch.ones(4, 6) * 9], "a cup\na hand", first=3)
    with pytest.raises(ValueError, match="region 1 has an empty prompt"):
        made([torch.ones(4, 6)], "preserve:")


def test_the_preview_takes_frames_with_alpha_and_says_so(caplog):
    images = torch.rand(2, 40, 60, 4)
    with caplog.at_level(logging.WARNING):
        shown = preview(images, [region(mask=torch.eye(4, 6)[None])], node="Region Preview")
    assert [r.getMessage() for r in caplog.records] == [
        "Region Preview: images has an alpha channel, which is dropped."
    ]
    assert shown.dtype == torch.float32
    assert shown.shape[0] == 2
    assert shown.shape[3] == 3
    assert (shown.min().item(), shown.max().item()) == (pytest.approx(20 / 255, abs=0.1), 1)
    with pytest.raises(ValueError, match=r"^Region Preview: mask of region 1 .* expected 1 frame or 2 .*got 3"):
        preview(images, [region()], node="Region Preview")
    with pytest.raises(ValueError, match=r"^Region Preview: images: expected frames \[F, H, W, 3\], got \[2, 40, 60\]"):
        preview(images[..., 0], [], node="Region Preview")


def test_traces_of_a_mask_are_outside(caplog):
    """Video compression leaves a few grey levels all around a mask; blend and composite would take them for inside."""
    mask = torch.full((2, 4, 6), 2 / 255)
    mask[:, 1:3, 2:4] = torch.tensor([0.501, 0.9])
    found = region("a cup", mask).mask
    assert torch.equal(found > 0, mask > 0.5)
    assert torch.equal(found[found > 0], mask[mask > 0.5])
    assert "0.5" not in caplog.text
    assert not region("a cup", torch.full((4, 6), 0.4)).mask.any()
    assert "nowhere above 0.5" in caplog.text


@pytest.mark.parametrize("value", [1 / 255, 127 / 255])
def test_a_mask_of_two_low_values_is_inside_where_it_has_the_higher(caplog, value):
    mask = torch.zeros(2, 4, 6)
    mask[0, 1:3, 2:4] = value
    assert torch.equal(region("a cup", mask).mask, (mask > 0).float())
    assert f"has the values 0 and {value:.3g} alone" in caplog.text
    assert "region 2" in caplog.text
