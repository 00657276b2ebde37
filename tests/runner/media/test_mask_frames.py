"""The order of mask files, and what their numbers say."""

from pathlib import Path

import pytest

from videograin.runner.media.mask_frames import in_order, numbering


def files(*names):
    return [Path("masks") / name for name in names]


def test_numbers_sort_as_numbers():
    names = ["m1.png", "m2.png", "m9.png", "m10.png", "m100.png"]
    assert [file.name for file in in_order(files(*sorted(names)))] == names
    assert [file.name for file in in_order(files("²2.png", "b.png", "10.png", "²10.png"))] == [
        *("10.png", "b.png", "²2.png", "²10.png")
    ]


@pytest.mark.parametrize(
    ("numbers", "start", "stride", "said"),
    [
        ((0, 1, 2, 3), 0, 1, ""),
        ((1, 2, 3, 4), 0, 1, ""),
        ((10, 11, 12, 13), 10, 1, ""),
        ((11, 12, 13, 14), 10, 1, ""),
        ((10, 12, 14, 16), 10, 2, ""),
        ((0, 1, 2, 3), 10, 2, ""),
        ((0, 1, 3, 4), 0, 1, "gaps, the first after 1: 4 masks are numbered 0 to 4"),
        ((5, 6, 7, 8), 0, 1, "numbered 5 to 8, the frames 0 to 3"),
        ((0, 5, 10, 15), 0, 1, "in steps of 5"),
        ((0, 1, 1, 2), 0, 1, "several masks have the number 1"),
    ],
)
def test_numbering_that_does_not_fit_the_frames_is_said(numbers, start, stride, said):
    names = [f"{'0' * place}{number}.png" for place, number in enumerate(numbers)]
    found = list(numbering(files(*names), start, stride, 40))
    assert len(found) == bool(said)
    assert all(said in text for text in found)


@pytest.mark.parametrize("names", [("a.png", "b.png"), ("1_5.png", "2_9.png"), ("x1.png", "y2.png")])
def test_names_without_one_number_say_nothing(names):
    assert list(numbering(files(*names), 0, 1, 2)) == []
