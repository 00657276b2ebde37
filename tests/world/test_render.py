"""The renderer: masks, occlusion and scale are what the geometry says."""

import math

import pytest
import torch

from videograin.world.render import Scenes, coverage, render
from videograin.world.scenes import captions, random_scenes
from videograin.world.vocabulary import BACKGROUND_NAMES, COLOUR_NAMES, COLOURS, SHAPES, caption, phrase


def one(shape=0, colour=0, centre=(0.5, 0.5), radius=0.2, background=0):
    return Scenes(
        torch.tensor([background]),
        torch.zeros(1, 2),
        torch.tensor([[shape]]),
        torch.tensor([[colour]]),
        torch.tensor([[centre]]),
        torch.tensor([[radius]]),
    )


@pytest.mark.parametrize("size", [64, 128, 256])
def test_a_circle_has_the_area_of_a_circle_at_any_size(size):
    _, masks = render(one(), size)
    assert float(masks.sum()) == pytest.approx(math.pi * (0.2 * size) ** 2, rel=0.01)


@pytest.mark.parametrize("shape", range(len(SHAPES)))
def test_all_shapes_are_about_equally_large_and_centred(shape):
    mask = coverage(torch.tensor([shape]), torch.tensor([[0.5, 0.5]]), torch.tensor([0.2]), 128, 128)[0]
    assert float(mask.sum()) == pytest.approx(math.pi * (0.2 * 128) ** 2, rel=0.17)
    ys, xs = torch.meshgrid(torch.arange(128.0), torch.arange(128.0), indexing="ij")
    assert float((mask * xs).sum() / mask.sum()) == pytest.approx(63.5, abs=0.1)
    assert float((mask * ys).sum() / mask.sum()) == pytest.approx(63.5, abs=0.5)


@pytest.mark.parametrize("colour", range(len(COLOURS)))
def test_an_object_is_painted_in_its_colour(colour):
    frames, _ = render(one(colour=colour))
    assert frames[0, 64, 64].tolist() == list(COLOURS[COLOUR_NAMES[colour]])


def test_the_later_object_lies_on_top_and_cuts_the_mask_below():
    scene = Scenes(
        torch.tensor([0]),
        torch.zeros(1, 2),
        torch.tensor([[0, 1]]),
        torch.tensor([[0, 2]]),
        torch.tensor([[[0.45, 0.5], [0.55, 0.5]]]),
        torch.tensor([[0.2, 0.2]]),
    )
    frames, masks = render(scene)
    assert frames[0, 64, 64].tolist() == list(COLOURS["blue"])
    assert float(masks.sum(1).max()) <= 1 + 1e-6
    assert float(masks[0, 0, 64, 64]) == 0
    assert float(masks[0, 1, 64, 64]) == 1


def test_an_absent_object_leaves_the_background_alone():
    frames, masks = render(one(colour=-1))
    assert float(masks.sum()) == 0
    assert len(frames[0].reshape(-1, 3).unique(dim=0)) > 4  # a texture, not a plain colour


def test_the_background_pans_by_exactly_the_pan():
    still, moved = one(colour=-1), one(colour=-1)
    moved = Scenes(moved.background, torch.tensor([[8 / 128, 4 / 128]]), *(getattr(moved, f) for f in
                   ("shape", "colour", "centre", "radius")))  # fmt: skip
    a, b = render(still)[0][0].int(), render(moved)[0][0].int()
    assert int((a[4:, 8:] - b[:-4, :-8]).abs().max()) <= 1


def test_random_scenes_are_inside_apart_and_reproducible():
    scenes = random_scenes(300, torch.Generator().manual_seed(3))
    again = random_scenes(300, torch.Generator().manual_seed(3))
    assert torch.equal(scenes.centre, again.centre)
    masks = render(scenes, 64)[1]
    present = scenes.colour >= 0
    smallest = 0.75 * math.pi * (0.15 * 64) ** 2
    assert float(masks[present].flatten(1).sum(1).min()) > smallest  # nothing hidden, nothing cut
    assert {int(n) for n in present.sum(1).unique()} == {0, 1, 2}


def test_three_objects_fit():
    scenes = random_scenes(20, torch.Generator().manual_seed(3), counts=(0, 0, 0, 1.0))
    masks = render(scenes, 64)[1]
    assert float((masks > 0.5).sum(1).max()) <= 1
    assert bool((masks.flatten(2).sum(2) > 50).all())


def test_captions_name_what_is_drawn():
    scene = one(shape=2, colour=3, background=3)
    assert captions(scene) == ["a yellow triangle on night"]
    assert captions(one(colour=-1)) == [BACKGROUND_NAMES[0]]
    assert phrase(0, 0, (5, 3)) == "a red circle with a white cross"
    assert caption(["a red circle", "a blue square"], "sand") == "a red circle and a blue square on sand"
