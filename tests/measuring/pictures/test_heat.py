"""Heat on the frames: one scale for before and after, readable colours, legible text, even sides."""

import numpy as np
import pytest
import torch

from videograin.attention import LabelMap
from videograin.measuring.attention_probe import AttentionMaps, Phrase, Place
from videograin.measuring.attention_shares import share_table
from videograin.measuring.pictures.heat import ANCHORS, PANEL, Heat, colours, heat_sheet, heat_video, heats, overlay

FRAMES, GRID = 5, (3, 4)
CAT, SKY = Phrase("a cat", (1,), 1), Phrase("sky", (3,))


def linear(rgb):
    rgb = np.asarray(rgb, float) / 255
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def luminance(rgb):
    return linear(rgb) @ [0.2126, 0.7152, 0.0722]


@pytest.fixture
def clip():
    return np.random.default_rng(0).integers(0, 256, (FRAMES, 30, 41, 3), dtype=np.uint8)


def maps_of(modulated=3, place=None):
    before = torch.full((2, FRAMES, *GRID), 0.1)
    after = before.clone()
    after[0, :, 1, 1] = 0.37
    look = torch.ones(FRAMES, *GRID) if place else None
    return AttentionMaps((CAT, SKY), before, after, place, look, look, modulated)


# --- colours ----------------------------------------------------------------------------------------------------------


def test_more_heat_is_lighter_for_every_eye():
    """Lightness rises all the way: who sees no hue at all still sees the order. So it does without the red, or the
    green, that colour-blind eyes lack (Machado et al. 2009, severity 1)."""
    ramp = colours(np.linspace(0, 1, 200))
    assert (np.diff(luminance(ramp)) > 0).all()
    protan = [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    deutan = [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    for eye in (protan, deutan):
        seen = (linear(ramp) @ np.array(eye).T).clip(0, 1) @ [0.2126, 0.7152, 0.0722]
        assert (np.diff(seen[::10]) > 0).all()


def test_the_ends_and_what_lies_outside():
    np.testing.assert_allclose(colours(np.array([-1.0, 0, 1, 2])), [ANCHORS[0], ANCHORS[0], ANCHORS[-1], ANCHORS[-1]])


def test_the_picture_shines_through_where_there_is_little_heat():
    picture = np.zeros((10, 20, 3), np.uint8)
    picture[:, 10:] = 255
    contrast = [np.ptp(overlay(picture, np.full((2, 2), v)).astype(int).sum(-1)) for v in (0.0, 0.5, 1.0)]
    assert contrast[0] > contrast[1] > contrast[2] > 0


def test_heat_lies_where_the_tokens_are():
    values = np.zeros((2, 4), np.float32)
    values[1, 3] = 1
    light = luminance(overlay(np.full((20, 40, 3), 100, np.uint8), values))
    y, x = np.unravel_index(light.argmax(), light.shape)
    assert y >= 10
    assert x >= 30


# --- rows -------------------------------------------------------------------------------------------------------------


def test_before_and_after_share_one_scale():
    row = heats(maps_of())[0]
    assert row.top == pytest.approx(0.37)
    assert row.number(row.top) == "37 %"


@pytest.mark.parametrize(
    ("high", "top"), [(0.123, 0.13), (0.1, 0.1), (0.0999, 0.1), (12.3, 13), (0.00123, 0.0013), (0.0, 1.0)]
)
def test_a_scale_ends_at_two_digits_above_the_highest(high, top):
    assert Heat("", np.full((1, 2, 2), high), None).top == pytest.approx(top)


def test_one_hot_token_does_not_darken_the_rest():
    values = np.full((4, 16, 16), 0.1)
    values[0, 0, 0] = 1
    assert Heat("", values, None).top == pytest.approx(0.1)


def test_rows_of_maps():
    masks = np.zeros((1, FRAMES, 30, 41))
    masks[0, :, :10] = 1
    table = share_table(maps_of(), LabelMap([torch.from_numpy(masks[0]).float()]))
    cat, sky, pixel = heats(maps_of(place=Place(2, 0.5, 0.5)), masks, table)
    assert (cat.title, sky.title) == ("1  a cat", "sky")
    assert cat.outline.shape == (FRAMES, 30, 41)
    assert sky.outline is None
    assert cat.note == table.rows[0].summary()
    assert [row.note for row in heats(maps_of(), (), share_table(maps_of(), LabelMap([torch.ones(FRAMES, 3, 4)])))] == [
        "",
        "",
    ]
    assert (pixel.unit, pixel.mark) == ("x", (2, 0.5, 0.5))
    assert pixel.number(pixel.top) == "1 x"


def test_without_modulation_there_is_no_after():
    assert all(row.after is None for row in heats(maps_of(modulated=0)))


# --- pictures ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("modulated", [0, 2])
def test_the_video(clip, modulated):
    film = heat_video(heats(maps_of(modulated)), clip)
    assert film.dtype == np.uint8
    assert film.shape[0] == FRAMES
    assert film.shape[3] == 3
    assert film.shape[1] % 2 == film.shape[2] % 2 == 0
    assert film.shape[2] >= (3 if modulated else 2) * PANEL
    assert (film[0] != film[1]).any()


@pytest.mark.parametrize("frames", [1, 3, 5])
def test_the_sheet(clip, frames):
    maps = maps_of()
    maps = AttentionMaps(maps.phrases, maps.before[:, :frames], maps.after[:, :frames], modulated=1)
    sheet = heat_sheet(heats(maps), clip[:frames])
    assert sheet.shape[2] == 3
    assert sheet.shape[0] % 2 == sheet.shape[1] % 2 == 0
    assert 384 < sheet.shape[1] < 1000


def test_a_sheet_without_rows_says_why(clip):
    plain, said = heat_sheet((), clip), heat_sheet((), clip, "nothing was seen " * 12)
    assert said.shape[1] == plain.shape[1] > 384
    assert said.shape[0] > plain.shape[0] + 30
    assert np.array_equal(said[: len(plain) - 2], plain[:-2])
    assert (said[len(plain) :] < 128).any()


def test_what_changed_is_seen_in_after_alone(clip):
    film = heat_video(heats(maps_of())[:1], np.full_like(clip, 128))[0]
    middle = film[-PANEL // 2 - 60 : -PANEL // 2]  # rows of the pictures alone, whatever the height of the text
    before, after = (middle[:, 12 + n * (PANEL + 6) : n * (PANEL + 6) + PANEL] for n in (1, 2))
    assert np.ptp(luminance(before)) < 0.01
    assert luminance(after).max() > luminance(before).max() + 0.3


def test_the_pixel_is_marked_in_its_frame_alone(clip):
    look = heats(maps_of(place=Place(2, 0.5, 0.5)))[2:]
    film = heat_video(look, np.full_like(clip, 128))
    mark = (film == (0, 255, 255)).all(-1).sum((1, 2))
    assert mark[2] > 10
    assert mark[[0, 1, 3, 4]].sum() == 0


@pytest.mark.parametrize("frame", range(FRAMES))
def test_the_sheet_shows_the_pixels_own_frame(clip, frame):
    look = heats(maps_of(place=Place(frame, 0.5, 0.5)))[2:]
    sheet = heat_sheet(look, np.full_like(clip, 128))
    assert (sheet == (0, 255, 255)).all(-1).any()


def test_the_region_is_outlined(clip):
    masks = np.zeros((1, FRAMES, 30, 41))
    masks[0, :, 5:20, 10:30] = 1
    dark = np.zeros_like(clip)
    with_line, without = (heat_video(heats(maps_of(), m)[:1], dark) for m in (masks, ()))
    assert (with_line != without).any()
    assert ((with_line != without).any(-1) & (with_line == 255).all(-1)).sum() > 100


def test_long_words_stay_within_the_picture(clip):
    long = Phrase("a " + "very " * 30 + "long phrase", (1,), 1)
    maps = AttentionMaps((long,), *(torch.full((1, FRAMES, *GRID), 0.1) for _ in range(2)), modulated=1)
    short = AttentionMaps((CAT,), *(torch.full((1, FRAMES, *GRID), 0.1) for _ in range(2)), modulated=1)
    assert heat_video(heats(maps), clip).shape[2] == heat_video(heats(short), clip).shape[2]
    assert heat_sheet(heats(maps), clip).shape[1] == heat_sheet(heats(short), clip).shape[1]
