"""All figures of exact synthetic edits, with encoders that read mean colours: every value by hand."""

import math
import re

import numpy as np
import pytest
import torch

from videograin.editing.motion.optical_flow import Estimator
from videograin.editing.regions import Region
from videograin.lab.paths import ROOT
from videograin.measuring.metrics.encoders import Encoder
from videograin.measuring.metrics.measure import Instruments, measure, prepare

STILL = Estimator("no motion", lambda first, second: np.zeros((*first.shape[:2], 2), np.float32))
RED, GREEN, BLUE, GREY = (200, 0, 0), (0, 200, 0), (0, 0, 200), (90, 90, 90)


def clip(left, right, frames=3, side=32) -> np.ndarray:
    """Grey frames with two squares of 12 x 12."""
    found = np.full((frames, side, side, 3), 90, np.uint8)
    found[:, 10:22, 2:14] = left
    found[:, 10:22, 18:30] = right
    return found


def regions(first="red", second="blue", **more) -> list[Region]:
    masks = np.zeros((2, 32, 32), np.float32)
    masks[0, 10:22, 2:14] = masks[1, 10:22, 18:30] = 1
    one, two = (torch.from_numpy(mask) for mask in masks)
    return [Region(first, one), Region(second, two, **more)]


def values(figures) -> dict[str, float | str]:
    return {figure.key: figure.why if figure.value is None else figure.value for figure in figures}


@pytest.fixture
def tools(colours) -> Instruments:
    return Instruments(STILL, clip=colours, dino=colours, pick=colours)


def test_the_source_against_itself(tools):
    source = clip(GREEN, GREEN)
    found = values(measure(prepare(source, "green", regions(), tools), source))
    for key in ("clip_f_adjacent", "clip_f_all_pairs", "dino_adjacent", "dino_all_pairs", "ssim_outside"):
        assert found[key] == pytest.approx(1), key
    assert (
        found["psnr_outside"] == found["psnr_outside_16px"] or found["psnr_outside_16px"] == "the masks leave nothing"
    )
    assert found["psnr_outside"] == math.inf
    assert found["warp_error"] == 0
    assert found["q_edit"] == "Warp-Err is 0"
    assert found["motion_error"] == 0
    # No region shows its own prompt: neither red nor blue has any part of green.
    assert found["region_clip_t"] == pytest.approx(0)


def test_every_figure_stands_in_both_lists_for_users(tools):
    lists = {
        page: (ROOT / page).read_text(encoding="utf-8").lower()
        for page in ("runner/README.md", "web/docs/VideoGrainEditMetrics.md")
    }
    frames = clip(GREEN, GREEN)
    names = {re.split(r",| outside| \d", figure.name)[0] for figure in measure(prepare(frames, "", (), tools), frames)}
    names.remove("PickScore")  # the command's alone
    assert "| PickScore |" in (ROOT / "runner" / "README.md").read_text(encoding="utf-8")
    assert [(name, page) for name in names for page, text in lists.items() if name.lower() not in text] == []


def test_an_edit_that_is_right(tools):
    source = clip(GREEN, GREEN)
    found = values(measure(prepare(source, "red", regions(), tools), clip(RED, BLUE)))
    assert found["region_clip_t"] == pytest.approx(1)
    assert found["instance_accuracy"] == 1
    # Cosines 1 and 0 at a scale of 10: the other's share is 1 / (1 + e^10).
    assert found["leakage"] == pytest.approx(1 / (1 + math.exp(10)))
    assert found["psnr_outside"] == math.inf
    # Mean colour of the frame: 736 grey pixels, 144 red, 144 blue of 1024.
    r, g, b = (736 * 90 + 144 * 200, 736 * 90, 736 * 90 + 144 * 200)
    cosine = r / math.sqrt(r * r + g * g + b * b)
    assert found["clip_t"] == pytest.approx(cosine)
    assert found["pick_score"] == pytest.approx(10 * cosine)


def test_an_edit_that_swapped_its_instances(tools):
    ground = prepare(clip(GREEN, GREEN), "red", regions(), tools)
    found = values(measure(ground, clip(BLUE, RED)))
    assert found["region_clip_t"] == pytest.approx(0)
    assert found["instance_accuracy"] == 0
    assert found["leakage"] == pytest.approx(1 - 1 / (1 + math.exp(10)))
    half = clip(RED, BLUE)
    half[2] = clip(BLUE, RED)[2]  # right in two frames of three
    assert values(measure(ground, half))["instance_accuracy"] == pytest.approx(2 / 3)


def test_flicker_and_spill(tools):
    source, edit = clip(GREEN, GREEN), clip(RED, BLUE)
    edit[1, 10:22, 2:14] = (251, 51, 51)  # 51 brighter in frame 1: 0.04 over 144 of 1024 pixels in both pairs
    edit[0, 0, 0] = 190  # spill: 100 off in one pixel of 3 * (1024 - 288) outside
    ground = prepare(source, "red", regions(), tools)
    found = values(measure(ground, edit))
    spill = (100 / 255) ** 2 / 1024
    assert found["warp_error"] == pytest.approx(0.04 * 144 / 1024 + spill / 2)
    assert found["q_edit"] == pytest.approx(found["clip_t"] / found["warp_error"])
    assert found["psnr_outside"] == pytest.approx(10 * math.log10(255**2 * 3 * (1024 - 288) / 100**2))


def test_a_preserved_region_counts_as_outside(tools):
    source, edit = clip(GREEN, GREEN), clip(RED, BLUE)
    kept = values(measure(prepare(source, "red", regions(preserve=True), tools), edit))
    # The right square changed by 200 in two of three channels although it was to stay: 144 of 1024 - 144 pixels.
    assert kept["psnr_outside"] == pytest.approx(10 * math.log10(255**2 * (1024 - 144) * 3 / (144 * 2 * 200**2)))


def test_the_motion_of_the_edit_against_the_source_s(colours):
    def flow(first, second):
        """(3, 4) where the first frame is bright at its corner, else nothing."""
        found = np.zeros((*first.shape[:2], 2), np.float32)
        found[:] = (3, 4) if first[0, 0, 0] > 200 else 0
        return found

    edit = clip(RED, BLUE)
    edit[2, 0, 0] = 255  # backward flow of the second pair, and forward flow from frame 2 on
    ground = prepare(clip(GREEN, GREEN), "red", [], Instruments(Estimator("corner", flow), clip=colours))
    # One pair of two moves by 5 pixels.
    assert values(measure(ground, edit))["motion_error"] == pytest.approx(2.5)


def moving(dx, dy, frames=4, side=48) -> np.ndarray:
    """A texture that moves by whole pixels a frame, cut from a larger one: what enters was never seen before."""
    large = np.random.default_rng(3).integers(0, 200, (side + 40, side + 40, 3), dtype=np.uint8)
    return np.stack([large[20 - f * dy :, 20 - f * dx :][:side, :side] for f in range(frames)])


def known_shift(dx, dy) -> Estimator:
    """Knows that everything moves by (dx, dy) a frame; which of two frames is the later one, their blue tells."""

    def flow(first, second):
        on = (first[8:40, 8:40, 2] == second[8 + dy : 40 + dy, 8 + dx : 40 + dx, 2]).all()
        step = (dx, dy) if on else (-dx, -dy)
        return np.broadcast_to(np.array(step, np.float32), (*first.shape[:2], 2))

    return Estimator("exact", flow)


def test_a_known_shift_and_a_known_recolouring(colours):
    """(2, -1) pixels a frame. What is recoloured and moves along does not flicker; what changes in time does."""
    source = moving(2, -1)
    ground = prepare(source, "red", [], Instruments(known_shift(2, -1), clip=colours))
    assert (ground.flow.backward == (-2, 1)).all()
    # What entered was not in the frame before: 2 columns at the left and the row at the bottom.
    assert ground.flow.valid.sum() == 3 * 46 * 47
    same = values(measure(ground, source))
    assert (same["warp_error"], same["motion_error"]) == (0, 0)
    recoloured = source.copy()
    recoloured[..., 0] += 51
    along = values(measure(ground, recoloured))
    assert (along["warp_error"], along["motion_error"]) == (0, 0)
    recoloured[2:, ..., 1] += 51  # from frame 2 on: 0.2 of full scale in one channel of three, in one pair of three
    once = values(measure(ground, recoloured))
    assert once["warp_error"] == pytest.approx(0.04 / 3 / 3)
    assert once["q_edit"] == pytest.approx(once["clip_t"] / once["warp_error"])


def test_an_edit_that_stands_still_where_the_source_moves(colours):
    def flow(first, second):
        """(3, 4) back and (-3, -4) on between different frames, nothing between equal ones."""
        step = int(second[0, 0, 0]) - int(first[0, 0, 0])
        found = np.zeros((*first.shape[:2], 2), np.float32)
        found[:] = (-3 * np.sign(step), -4 * np.sign(step))
        return found

    source = np.stack([np.full((32, 32, 3), value, np.uint8) for value in (0, 51, 102)])
    ground = prepare(source, "red", [], Instruments(Estimator("by brightness", flow), clip=colours))
    still = values(measure(ground, np.full_like(source, 102)))
    assert still["motion_error"] == 5  # the source moves by (3, 4), the edit by nothing
    assert still["warp_error"] == 0
    assert values(measure(ground, source))["warp_error"] == pytest.approx(0.04)  # 51 of 255 brighter in every pair


def test_weights_are_no_words(tools):
    source = clip(GREEN, GREEN)
    ground = prepare(source, "(red:1.3)  ", regions("(red:0.8)", "blue"), tools)
    assert (ground.prompt, ground.phrases) == ("red", ("red", "blue"))
    assert prepare(source, "red :)", [], tools).prompt == "red :)"
    alike = values(measure(prepare(source, "red", regions("(red:0.8)", "Red"), tools), source))
    assert alike["instance_accuracy"] == "it needs two regions with different prompts"
    assert values(measure(prepare(source, "red", regions("()", "red"), tools), source))["leakage"] == (
        "no prompt was given"
    )


def test_words_are_embedded_once_for_all_clips(colours):
    asked = []

    def texts(words):
        asked.append(tuple(words))
        return colours.texts(words)

    eyes = Encoder("eyes", colours.pictures, texts, 10.0, (0, 0, 0))
    source = clip(GREEN, GREEN)
    ground = prepare(source, "red", regions(), Instruments(STILL, clip=eyes))
    assert measure(ground, source) == measure(ground, source)
    assert asked == [("red",), ("red", "blue")]


def test_chance_is_that_of_the_different_prompts(tools):
    source = clip(GREEN, GREEN)

    def told(*phrases):
        masks = [regions()[index % 2].mask for index in range(len(phrases))]
        chosen = [Region(phrase, mask) for phrase, mask in zip(phrases, masks)]
        found = measure(prepare(source, "red", chosen, tools), source)
        return next(figure.definition for figure in found if figure.key == "instance_accuracy")

    assert told("red", "blue").endswith("chance is 50 %")
    assert told("red", "red", "blue").endswith("chance is 50 %")
    assert told("red", "green", "blue").endswith("chance is 33 %")
    assert "chance" not in told("red")


def test_what_is_missing_says_why(colours):
    source = clip(GREEN, GREEN)
    found = measure(prepare(source, "red", [], Instruments(STILL)), source)
    told = values(found)
    assert told["clip_t"] == told["region_clip_t"] == "no CLIP was given"
    assert told["dino_adjacent"] == "no DINO was given"
    assert told["pick_score"] == "no PickScore model was given"
    assert told["psnr_outside"] == "no regions were given"
    assert told["q_edit"] == "no CLIP was given"
    assert told["warp_error"] == 0
    blind = Encoder("eyes", colours.pictures)
    told = values(measure(prepare(source, "red", regions(), Instruments(STILL, clip=blind)), source))
    assert told["clip_t"] == told["instance_accuracy"] == "eyes reads no text"
    assert told["clip_f_adjacent"] == pytest.approx(1)
    told = values(measure(prepare(source, " ", [], Instruments(STILL, clip=colours)), source))
    assert told["clip_t"] == "no prompt was given"
    told = values(measure(prepare(source, "red", regions("red", "red"), Instruments(STILL, clip=colours)), source))
    assert told["instance_accuracy"] == told["leakage"] == "it needs two regions with different prompts"
    told = values(measure(prepare(source[:1], "red", [], Instruments(STILL, clip=colours)), source[:1]))
    assert told["warp_error"] == told["motion_error"] == "a single frame has no motion"
    assert told["clip_f_adjacent"] == "a single frame has no neighbour"


def test_every_figure_is_defined_and_the_order_is_fixed(tools):
    source = clip(GREEN, GREEN)
    found = measure(prepare(source, "red", regions(), tools), source)
    bare = measure(prepare(source, "", [], Instruments(STILL)), source)
    assert [figure.key for figure in found] == [figure.key for figure in bare]
    assert all(figure.definition and figure.better in ("higher", "lower") for figure in (*found, *bare))
    by_key = {figure.key: figure for figure in found}
    assert by_key["clip_t"].model == "mean colour"
    assert by_key["warp_error"].model == "no motion"
    assert by_key["q_edit"].model == "mean colour, no motion"
    assert by_key["psnr_outside"].model == ""
    assert by_key["clip_t"].scale == by_key["warp_error"].scale == 100
    assert by_key["instance_accuracy"].title == "Instance accuracy (%)"
    assert by_key["clip_t"].title == "CLIP-T x 100"


def test_masks_of_another_length_name_their_region(tools):
    chosen = [regions()[0], Region("blue", torch.zeros(2, 32, 32))]
    with pytest.raises(ValueError, match="region 2"):
        prepare(clip(GREEN, GREEN), "red", chosen, tools)


def test_another_shape_is_refused(tools):
    source = clip(GREEN, GREEN)
    with pytest.raises(ValueError, match=r"an edit is uint8 \[2, 32, 32, 3\]"):
        measure(prepare(source, "", [], tools), source[:2])
