"""Contact sheets and side-by-side frames: what stands where, and that text is there and legible."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from videograin.runner import sheets


@given(st.integers(1, 300))
def test_columns_are_few_even_and_span_the_clip(frames):
    picked = sheets.pick_columns(frames)
    assert len(picked) == min(frames, 8)
    assert len(set(picked)) == len(picked)
    assert (picked[0], picked[-1]) == (0, frames - 1)
    steps = np.diff(picked)
    assert len(steps) == 0 or steps.max() - steps.min() <= 1


def test_palette_colours_differ_for_common_colour_blindness():
    """Every pair of the first six stays apart when red-green vision is lost (Vienot's protanopia and deuteranopia)."""
    to_lms = np.array([[17.8824, 43.5161, 4.11935], [3.45565, 27.1554, 3.86714], [0.0299566, 0.184309, 1.46709]])
    lost = {
        "protanopia": np.array([[0, 2.02344, -2.52581], [0, 1, 0], [0, 0, 1]]),
        "deuteranopia": np.array([[1, 0, 0], [0.494207, 0, 1.24827], [0, 0, 1]]),
    }
    colours = np.array(sheets.PALETTE[:6], float)
    for matrix in lost.values():
        seen = colours @ (np.linalg.inv(to_lms) @ matrix @ to_lms).T
        distance = np.linalg.norm(seen[:, None] - seen[None], axis=2) + 1e9 * np.eye(6)
        assert distance.min() > 25


def test_painting_shows_each_region_in_its_colour_and_leaves_the_rest_grey(moving_squares):
    masks = np.zeros((2, 6, 64, 96), np.float32)
    masks[0, :, 4:44, 4:44], masks[1, :, 30:60, 60:90] = 1, 1
    painted = sheets.paint_regions(moving_squares, masks)
    assert painted.shape == moving_squares.shape
    assert painted[0, 4, 20].tolist() == list(sheets.region_colour(1))  # outline
    assert painted[0, 30, 75].tolist() == list(sheets.region_colour(2))
    outside = painted[:, masks.max(axis=0)[0] == 0]
    assert np.ptp(outside, axis=2).max() == 0
    centre = painted[0, 14:34, 14:34]
    assert centre.min() < 40  # the number's ink
    assert centre.max() == 255  # and its white rim


def test_sheet_has_the_pictures_where_they_belong(moving_squares):
    other = 255 - moving_squares
    sheet = sheets.contact_sheet([("source", moving_squares), ("edit", other)], ["1  a red cube"], title="a title")
    width, height = 192, 128  # 96 x 64 doubled
    corners = np.argwhere((sheet == moving_squares[0, 0, 0]).all(axis=2)).tolist()
    cells = [(y, x, sheet[y : y + height : 2, x : x + width : 2]) for y, x in corners]
    y, x = next((y, x) for y, x, cell in cells if np.array_equal(cell, moving_squares[0]))
    below = sheet[y + height + sheets.GAP :][:height, x : x + width]
    assert (below[::2, ::2] == other[0]).all()


def test_sheet_text_is_at_least_14_pixels_and_grows_with_the_pictures():
    assert sheets.font(3).size == 14
    assert sheets.font(30).size == 30
    small = np.zeros((1, 64, 64, 3), np.uint8)
    plain = sheets.contact_sheet([("a", small)])
    with_legend = sheets.contact_sheet([("a", small)], ["1  one", "2  two"])
    assert with_legend.shape[0] - plain.shape[0] >= 2 * 14
    bottom = with_legend[plain.shape[0] - sheets.GAP :]
    for number in (1, 2):
        assert (bottom == sheets.region_colour(number)).all(axis=2).sum() > 100  # the colour patch
    assert (bottom.max(axis=2) < 60).sum() > 40  # ink of the text


def test_a_long_legend_is_not_cut_off():
    frames = np.zeros((1, 64, 64, 3), np.uint8)
    short = sheets.contact_sheet([("a", frames)], ["1  x"])
    long = sheets.contact_sheet([("a", frames)], ["1  " + "a very long phrase " * 6])
    assert long.shape[1] > short.shape[1]
    assert (long[:, -sheets.GAP :] == 255).all()


def test_rows_of_unequal_length_are_refused(moving_squares):
    with pytest.raises(ValueError, match=r"rows of a sheet have \[2, 6\] frames"):
        sheets.contact_sheet([("a", moving_squares), ("b", moving_squares[:2])])


def test_legend_says_what_is_preserved():
    regions = [SimpleNamespace(phrase="a cup", preserve=False), SimpleNamespace(phrase="a hand", preserve=True)]
    assert sheets.legend_of(regions) == ["1  a cup", "2  a hand (preserved)"]


def test_side_by_side(moving_squares):
    pair = sheets.side_by_side(moving_squares, 255 - moving_squares, moving_squares)
    assert pair.shape == (6, 64, 3 * 96 + 2 * 4, 3)
    assert (pair[:, :, :96] == moving_squares).all()
    assert (pair[:, :, 96:100] == 255).all()
    assert (pair[:, :, 100:196] == 255 - moving_squares).all()
    with pytest.raises(ValueError, match="expected one shape"):
        sheets.side_by_side(moving_squares, moving_squares[:, :32])


def test_png_is_what_was_drawn(tmp_path, moving_squares):
    sheets.save_png(tmp_path / "deep" / "a.png", moving_squares[0])
    assert (np.asarray(Image.open(tmp_path / "deep" / "a.png")) == moving_squares[0]).all()
    assert [file.name for file in (tmp_path / "deep").iterdir()] == ["a.png"]
