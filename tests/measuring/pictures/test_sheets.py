"""Contact sheets and side-by-side frames: what stands where, and that text is there and legible."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from videograin.editing.whole_file import save_png
from videograin.measuring.pictures import sheets


@given(st.integers(1, 300))
def test_columns_are_few_even_and_span_the_clip(frames):
    picked = sheets.pick_columns(frames)
    assert len(picked) == min(frames, 8)
    assert len(set(picked)) == len(picked)
    assert (picked[0], picked[-1]) == (0, frames - 1)
    steps = np.diff(picked)
    assert len(steps) == 0 or steps.max() - steps.min() <= 1


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


def test_side_by_side(moving_squares):
    pair = sheets.side_by_side(moving_squares, 255 - moving_squares, moving_squares)
    assert pair.shape == (6, 64, 3 * 96 + 2 * 4, 3)
    assert (pair[:, :, :96] == moving_squares).all()
    assert (pair[:, :, 96:100] == 255).all()
    assert (pair[:, :, 100:196] == 255 - moving_squares).all()
    with pytest.raises(ValueError, match="expected one shape"):
        sheets.side_by_side(moving_squares, moving_squares[:, :32])


def test_png_is_what_was_drawn(tmp_path, moving_squares):
    save_png(tmp_path / "deep" / "a.png", moving_squares[0])
    assert (np.asarray(Image.open(tmp_path / "deep" / "a.png")) == moving_squares[0]).all()
    assert [file.name for file in (tmp_path / "deep").iterdir()] == ["a.png"]
