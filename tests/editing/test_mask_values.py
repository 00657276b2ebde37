"""What the values of mask pictures mean, where pictures of a source differ or say little."""

import numpy as np
import pytest

from videograin.editing.mask_values import REACH, MaskSurvey, StoredMask, without_traces


@pytest.mark.parametrize(
    ("value", "full", "inside"),
    [(7, 255, 1.0), (255, 255, 1.0), (0, 255, 0.0), (100, 255, 100 / 255), (0.25, None, 0.25), (1.0, None, 1.0)],
)
def test_one_value_all_over_is_a_number_of_an_object_or_as_bright_as_it_is(value, full, inside):
    picture = StoredMask(np.full((4, 5), value, np.uint8 if full else np.float32), full)
    survey, notes = MaskSurvey(), []
    survey.add(picture)
    assert np.allclose(survey.reading(notes.append).mask(picture), inside)
    assert len(notes) == (value in (7, 100))


def test_a_palette_among_grey_pictures_is_read_by_its_brightness():
    mask = np.zeros((4, 6), np.uint8)
    mask[1:3] = 1
    palette = np.uint8([[0, 0, 0], [255, 255, 254]])
    numbered = StoredMask(mask * 255, 255, indices=mask, palette=palette)
    grey, survey = StoredMask(mask * 255), MaskSurvey()
    survey.add(numbered)
    survey.add(grey)
    reading = survey.reading(lambda _: None)
    assert np.array_equal(reading.mask(grey), mask)
    assert np.array_equal(reading.mask(numbered), mask)


def test_many_numbers_of_objects_are_told_up_to_the_last():
    survey, notes = MaskSurvey(), []
    survey.add(StoredMask(np.arange(12, dtype=np.uint8).reshape(3, 4)))
    survey.reading(notes.append)
    assert "holds the numbers 1, 2, 3, 4, 5, 6, ... 11: all of them are inside" in notes[0]


@pytest.mark.parametrize(("down", "right"), [(1, 0), (-1, 0), (0, 1), (0, -1)])
@pytest.mark.parametrize("distance", [1, 2, 3, 4])
def test_a_trace_is_what_lies_further_than_compression_widens_an_edge(down, right, distance):
    mask = np.zeros((40, 40), np.float32)
    mask[12:28, 12:28] = 1
    y, x = (27 + distance if side > 0 else 12 - distance if side < 0 else 20 for side in (down, right))
    mask[y, x] = 0.2
    assert (without_traces(mask)[y, x] > 0) == (distance <= REACH)
    mask[y, x] = 0
    y, x = (28 - distance if side > 0 else 11 + distance if side < 0 else 20 for side in (down, right))
    mask[y, x] = 0.8
    assert (without_traces(mask)[y, x] < 1) == (distance <= REACH)


def read(*pictures):
    """(masks, notes)."""
    survey, notes = MaskSurvey(), []
    for picture in pictures:
        survey.add(picture)
    reading = survey.reading(notes.append)
    return [reading.mask(picture) for picture in pictures], notes


OBJECT = np.zeros((16, 24), np.uint8)
OBJECT[4:12, 6:18] = 1


def test_a_negative_number_for_outside_is_outside():
    (mask,), notes = read(StoredMask(OBJECT.astype(np.int32) - 1, 65535))
    assert np.array_equal(mask, OBJECT)
    assert "has the values -1 and 0 alone" in notes[0]


@pytest.mark.parametrize("low", [250, 254])
def test_alpha_that_is_opaque_but_for_rounding_is_no_mask(low):
    (mask,), notes = read(StoredMask(OBJECT * 255, alpha=np.where(OBJECT, 255, low).astype(np.uint8)))
    assert np.array_equal(mask, OBJECT)
    assert notes == []


@pytest.mark.parametrize("lossy", [False, True])
def test_a_mask_that_is_nowhere_black_is_said(lossy):
    ramp = np.tile(np.linspace(90, 250, 24), (16, 1)).astype(np.uint8)
    _, notes = read(StoredMask(ramp, lossy=lossy))
    assert "has no value below 90 of 255, so nothing is outside" in notes[0]
    assert read(StoredMask(ramp - 90, lossy=lossy))[1] == []


def test_numbers_of_objects_beside_a_white_void_are_said():
    picture = OBJECT.copy()
    picture[:2] = 255
    _, notes = read(StoredMask(picture))
    assert notes == [
        "holds 1 besides black and white, which count as next to nothing; give them as `labels` with `id` where they "
        "number objects"
    ]
    picture[OBJECT == 1] = 128
    assert read(StoredMask(picture))[1] == []
