"""Regions as pictures: colours, order, numbers, and a legend that can be read."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from videograin.editing import mask_images
from videograin.editing.regions import Region
from videograin.measuring.pictures import painting
from videograin.measuring.pictures.painting import legend_of, paint_regions, region_colour, region_preview


@pytest.fixture
def frames():
    """Two coloured frames of 96 x 64 pixels."""
    y, x = np.mgrid[:64, :96]
    first = np.stack([2 * x, 3 * y, 255 - 2 * x], -1).astype(np.uint8)
    return np.stack([first, first[::-1]])


def rectangle(top, bottom, left, right, frames=2, size=(64, 96)):
    mask = np.zeros((frames, *size), np.float32)
    mask[:, top:bottom, left:right] = 1
    return mask


def ink(picture):
    return int((picture.max(axis=-1) < 60).sum())


def legend(preview, height):
    return preview[:, height:]


def test_palette_colours_differ_for_common_colour_blindness():
    """Every pair of the first six stays apart when red-green vision is lost (Vienot's protanopia and deuteranopia)."""
    to_lms = np.array([[17.8824, 43.5161, 4.11935], [3.45565, 27.1554, 3.86714], [0.0299566, 0.184309, 1.46709]])
    lost = {
        "protanopia": np.array([[0, 2.02344, -2.52581], [0, 1, 0], [0, 0, 1]]),
        "deuteranopia": np.array([[1, 0, 0], [0.494207, 0, 1.24827], [0, 0, 1]]),
    }
    colours = np.array(mask_images.PALETTE[:6], float)
    for matrix in lost.values():
        seen = colours @ (np.linalg.inv(to_lms) @ matrix @ to_lms).T
        distance = np.linalg.norm(seen[:, None] - seen[None], axis=2) + 1e9 * np.eye(6)
        assert distance.min() > 25


def test_each_region_has_its_colour_and_the_rest_is_grey(frames):
    masks = np.stack([rectangle(4, 44, 4, 44), rectangle(30, 60, 60, 90)])
    before = frames.copy()
    painted = paint_regions(frames, masks)
    assert painted.shape == frames.shape
    assert painted[0, 4, 20].tolist() == list(region_colour(1))  # outline
    assert painted[0, 30, 75].tolist() == list(region_colour(2))
    outside = painted[:, masks.max(axis=0)[0] == 0]
    assert np.ptp(outside, axis=2).max() == 0
    assert np.corrcoef(outside[:, :, 0].ravel(), before.mean(3)[:, masks.max(axis=0)[0] == 0].ravel())[0, 1] > 0.99
    centre = painted[0, 14:34, 14:34]
    assert centre.min() < 40  # the number's ink
    assert centre.max() == 255  # and its white rim
    assert (frames == before).all()


def test_a_later_region_hides_an_earlier_one_and_the_number_below_moves_aside(frames):
    whole, part = rectangle(0, 64, 0, 64), rectangle(0, 64, 24, 64)
    both, alone = paint_regions(frames, [whole, part]), paint_regions(frames, [0 * whole, part])
    on_top = (slice(None), slice(2, 8), slice(26, 62))  # away from outlines and numbers
    assert (both[on_top] == alone[on_top]).all()
    assert ink(both[0, :, :24]) > 10  # "1" stands in the part that is seen
    assert ink(paint_regions(frames, [whole])[0, :, :20]) == 0  # and otherwise in the middle


def test_preserved_regions_are_striped(frames):
    mask = rectangle(0, 64, 0, 64)
    striped = paint_regions(frames, [mask], preserved={1})[0, 2:8, 2:62]
    filled = paint_regions(frames, [mask])[0, 2:8, 2:62]
    grey = np.ptp(striped.astype(int), axis=2) == 0
    assert 0.3 < grey.mean() < 0.7
    assert (striped[~grey] == filled[~grey]).all()


def test_legend_says_what_is_preserved():
    regions = [SimpleNamespace(phrase="a cup", preserve=False), SimpleNamespace(phrase="a hand", preserve=True)]
    assert legend_of(regions) == ["1  a cup", "2  a hand (preserved)"]


@pytest.mark.parametrize(("height", "width", "scale"), [(64, 96, 4), (128, 128, 3), (512, 512, 1), (1200, 60, 1)])
def test_small_frames_are_enlarged_by_a_whole_factor(height, width, scale):
    frames = np.random.default_rng(0).integers(0, 256, (1, height, width, 3), dtype=np.uint8)
    preview = region_preview(frames, [Region("a cup", torch.zeros(height, width))])
    assert preview.shape[2] == scale * width
    assert preview.shape[1] > scale * height
    enlarged = preview[0, : scale * height].mean(axis=2)
    small = enlarged.reshape(height, scale, width, scale).mean(axis=(1, 3))
    assert np.corrcoef(small.ravel(), frames[0].mean(2).ravel())[0, 1] > 0.95  # of noise, the worst case


def test_masks_of_any_size_are_stretched(frames):
    small = torch.zeros(1, 16, 24)
    small[:, 4:8, 6:12] = 1
    large = torch.zeros(64, 96)
    large[16:32, 24:48] = 1
    one, other = (region_preview(frames, [Region("a cup", mask)]) for mask in (small, large))
    assert (one == other).all()


def test_every_region_has_a_line_with_its_colour_and_the_prompt(frames):
    mask = torch.zeros(64, 96)
    regions = [Region("a red cup", mask), Region("a hand", mask, preserve=True), Region("a spoon", mask)]
    one = region_preview(frames, regions[:1])
    three = region_preview(frames, regions)
    strip = legend(three, 256)
    assert strip.shape[1] > 2 * legend(one, 256).shape[1]
    assert (strip[0] == strip[1]).all()  # the same under every frame
    counts = [int((strip[0] == region_colour(number)).all(axis=-1).sum()) for number in (1, 2, 3)]
    assert counts[0] == counts[2] == 14 * 14
    assert 0.3 < counts[1] / counts[0] < 0.7  # striped
    assert ink(strip[0]) > 100
    other = region_preview(frames, [Region("a blue cup", mask)])
    assert (other[:, :256] == one[:, :256]).all()
    assert (other[:, 256:] != one[:, 256:]).any()


def test_strength_and_empty_masks_are_noted(frames):
    inside = torch.ones(64, 96)

    def line(region):
        return legend(region_preview(frames, [region]), 256)[0]

    plain = line(Region("a cup", inside))
    for unusual in (
        Region("a cup", inside, strength=0.5),
        Region("a cup", torch.zeros(64, 96)),
        Region("a cup", 0.4 * inside),
    ):
        assert ink(line(unusual)) > ink(plain)
    assert painting._notes(Region("a", inside, strength=0.25), inside) == ", strength 0.25"
    assert painting._notes(Region("a", inside), 0 * inside) == ": its mask is empty"
    assert painting._notes(Region("a", inside), 0.5 * inside) == ": its mask is nowhere above 0.5"


@pytest.mark.parametrize("prompt", ["a very long prompt " * 12, "x" * 400, "a " + "y" * 100 + " z"])
def test_long_prompts_are_wrapped_and_end_within_the_picture(frames, prompt):
    strip = legend(region_preview(frames, [Region(prompt.strip(), torch.ones(64, 96))]), 256)[0]
    step = round(14 * 1.4)
    assert strip.shape[0] <= 3 * step + 2 * painting.GAP
    assert strip.shape[0] >= 2 * step
    assert (strip[:, -2:] == 255).all()  # nothing is cut off at the right


def test_words_survive_wrapping():
    text = painting.font(14)
    line = "1  a photo of a red cup on a wooden table"
    rows = painting.wrap(line, text, 150)
    assert " ".join(rows) == line
    assert len(rows) > 1
    assert all(text.getlength(row) <= 150 for row in rows)
    assert "".join(painting.wrap("z" * 40, text, 150)) == "z" * 40


def test_wrong_frame_counts_are_refused_with_both_numbers(frames):
    with pytest.raises(ValueError, match=r"mask of region 2 \('a hand'\): expected 1 frame or 2 .*; got 3"):
        region_preview(frames, [Region("a cup", torch.ones(4, 4)), Region("a hand", torch.ones(3, 4, 4))])


@pytest.mark.parametrize(("height", "width"), [(720, 7), (720, 1), (1536, 20), (400, 30), (1, 1)])
def test_a_preview_of_very_narrow_frames_keeps_its_form(height, width):
    """There is no room for the legend's words; the picture is still made, whatever the words."""
    mask = torch.ones(1, 4, 4)
    regions = [Region("a red cube", mask, False), Region("two  spaces", mask, True)]
    shown = region_preview(np.zeros((3, height, width, 3), np.uint8), regions)
    assert len(shown) == 3
    assert shown.shape[2] % width == 0
    assert shown.shape[1] > height
    assert shown.dtype == np.uint8
