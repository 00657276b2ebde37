"""What the values of mask pictures mean, where pictures of a source differ or say little."""

import numpy as np
import pytest

from videograin.editing.mask_values import MaskSurvey, StoredMask


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
