"""What is measured on footage, on pictures whose motion is known."""

import json

import numpy as np
import pytest

from videograin.editing.motion.value import Motion, from_transforms
from videograin.lab.paths import BENCHMARKS
from videograin.lab.studies.real_motion import compare, cups, fish, followed, page


def pieces(places) -> np.ndarray:
    out = np.zeros((len(places), 40, 60), bool)
    for f, row in enumerate(places):
        for x, y, side in row:
            out[f, y : y + side, x : x + side] = True
    return out


def test_things_keep_their_index_though_their_size_changes():
    told = pieces([[(5, 5, 10), (40, 20, 9)], [(8, 5, 9), (37, 20, 10), (20, 35, 2)]])
    found = followed(told, 2)
    assert found.shape == (2, 2, 40, 60)
    assert found[0, 0, 10, 10]
    assert found[0, 1, 10, 12]
    assert found[1, 1, 25, 40]
    assert found[:, 1].sum() == 9**2 + 10**2  # the crumb is opened away
    with pytest.raises(ValueError, match="frame 0: 2 things; expected 3"):
        followed(told, 3)


def test_the_rules_tell_red_from_skin_and_dark_from_the_ground():
    picture = np.array([[[[200, 30, 50], [200, 140, 110], [90, 10, 20]]]], np.uint8)
    assert cups(picture)[0, 0].tolist() == [True, False, False]
    ground = np.full((5, 1, 2, 3), 180, np.uint8)
    ground[2, 0, 1] = 150
    assert np.argwhere(fish(ground)).tolist() == [[2, 0, 1]]


def test_what_is_carried_rightly_differs_little_and_what_stands_still_much():
    draws = np.random.default_rng(0).integers(0, 256, (10, 15, 3), dtype=np.uint8)
    big = np.kron(draws, np.ones((4, 4, 1), np.uint8))
    frames = np.stack([np.roll(big, 3 * f, 1) for f in range(3)])
    masks = pieces([[(10 + 3 * f, 10, 16)] for f in range(3)])[None]
    steps = np.repeat(np.eye(3)[None], 3, 0)
    steps[:, 0, 2] = 3.0 * np.arange(3)
    known = Motion((40, 60), (from_transforms(steps),), from_transforms(steps), "given")
    lines = compare(frames, masks, known, 1)
    assert [(line["thing"], line["frame"]) for line in lines] == [(0, 0), (0, 1)]
    assert lines[0]["ours"] == pytest.approx([0, 1], abs=1e-4)
    assert lines[0]["still"][0] > 20
    assert lines[0]["still"][1] == pytest.approx(13 / 19)
    assert lines[0]["flow"][1] > lines[0]["still"][1]
    cut = from_transforms(steps, np.array([True, False, True]))
    assert compare(frames, masks, Motion((40, 60), (cut,), from_transforms(steps), "given"), 1) == []


def test_the_page_is_that_of_its_figures():
    found = json.loads((BENCHMARKS / "real_motion.json").read_text(encoding="utf-8"))
    assert page(found) == (BENCHMARKS / "real_motion.md").read_text(encoding="utf-8")
    assert {clip["clip"] for clip in found["clips"]} == {"cups", "fish"}
