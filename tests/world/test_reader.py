"""The reader is at least 99 % right on rendered truth, and says no where it should."""

import numpy as np
import pytest
import torch

from videograin.lab.training.evaluate import reader_accuracy
from videograin.world.clips import pair_clip
from videograin.world.reader import fit_shape, read, read_region, same_objects
from videograin.world.render import render
from videograin.world.scenes import random_scenes


def test_right_on_rendered_truth():
    scenes = random_scenes(150, torch.Generator().manual_seed(5))
    accuracy = reader_accuracy(render(scenes)[0].numpy(), scenes)
    assert min(accuracy.values()) >= 0.99


def test_right_on_three_objects():
    scenes = random_scenes(40, torch.Generator().manual_seed(6), counts=(0, 0, 0, 1.0))
    assert reader_accuracy(render(scenes)[0].numpy(), scenes)["objects"] >= 0.99


def test_noise_is_no_object():
    noise = np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8)
    assert read(noise) == []


def test_a_shape_of_no_kind_is_a_blob():
    mask = np.zeros((128, 128), bool)
    mask[10:14, 10:110] = True  # a thin bar fits none of the templates
    assert fit_shape(mask)[0] == -1


@pytest.mark.parametrize(
    ("found", "wanted", "answer"),
    [
        ([(0, 0)], [(0, 0)], (True, True)),
        ([(0, 0), (1, 1)], [(0, 0)], (True, False)),
        ([(1, 1)], [(0, 0)], (False, False)),
        ([(0, 0)], [(0, 0), (0, 0)], (False, False)),
        ([(0, 0), (0, 0)], [(0, 0), (0, 0)], (True, True)),
        ([], [], (True, True)),
    ],
)
def test_same_objects(found, wanted, answer):
    class Seen:
        def __init__(self, colour, shape):
            self.colour, self.shape = colour, shape

    assert same_objects([Seen(*f) for f in found], wanted) == answer


@pytest.mark.parametrize("motion", ["apart", "touching"])
def test_regions_of_an_ideal_edit_are_read_right_and_of_the_source_are_not(motion):
    clip = pair_clip(2, 4, motion=motion)
    old = (int(clip.scenes.colour[0, 0]), int(clip.scenes.shape[0, 0]))
    new = [((old[0] + 1) % 6, (old[1] + 1) % 4), ((old[0] + 2) % 6, (old[1] + 2) % 4)]
    ideal = clip.edited(new)
    masks = (clip.box_masks() > 0.5).numpy()
    for k, wanted in enumerate(new):
        for edited, source, mask in zip(ideal.frames, clip.frames, masks[k]):
            seen = read_region(edited, mask)
            assert (seen.colour, seen.shape) == wanted
            assert read_region(source, mask).colour == old[0]


def test_an_empty_region_shows_nothing():
    frame = np.full((128, 128, 3), (206, 176, 130), np.uint8)
    mask = np.zeros((128, 128), bool)
    mask[40:80, 40:80] = True
    assert read_region(frame, mask).colour == -1
