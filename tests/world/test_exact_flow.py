"""The flow is that of the picture: carried along by it, a frame is the next one wherever the point is seen."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from videograin.editing.motion.warp import warp
from videograin.world.clips import draw, pair_clip, part_clip, scene_clip
from videograin.world.exact_flow import backward_flow, forward_flow
from videograin.world.render import Scenes
from videograin.world.vocabulary import BACKGROUND_NAMES, BACKGROUNDS, COLOURS, SHAPES

SIDE = 64
CLIPS = {
    "crossing": lambda: scene_clip(3, 6, 96, objects=2, motion="crossing", pan=0.4),
    "three": lambda: scene_clip(4, 6, 96, objects=3, pan=0.0),
    "touching": lambda: pair_clip(5, 6, 96, motion="touching"),
    "part": lambda: part_clip(6, 6, 96, pan=0.3),
}


def scenes_of(centres, shapes=(0,), radii=(0.2,), pans=((0, 0), (0, 0)), colours=(0,), background=0) -> Scenes:
    """Two frames; centres [2][K] as pixels of a 64-pixel frame."""
    return Scenes(
        background=torch.tensor([background] * 2),
        pan=torch.tensor(pans, dtype=torch.float32) / SIDE,
        shape=torch.tensor([shapes] * 2),
        colour=torch.tensor([colours] * 2),
        centre=torch.tensor(centres, dtype=torch.float32) / SIDE,
        radius=torch.tensor([radii] * 2),
    )


def interpolation_bound(side: int) -> float:
    """How far a frame on "night", read between its pixels, may be from the next one, in levels.

    The texture is A sin(2 pi x / 128) sin(2 pi y / 64) with A = 12, half of the largest difference of its two tones,
    and x, y in 128ths of the side. Bilinear reading is off by at most (max |f_xx| + max |f_yy|) / 8, rounding by half
    a level in each frame.
    """
    unit = 128 / side
    amplitude = max(abs(a - b) for a, b in zip(*BACKGROUNDS["night"])) / 2
    curvature = amplitude * ((2 * math.pi * unit / 128) ** 2 + (2 * math.pi * unit / 64) ** 2)
    return curvature / 8 + 0.5 + 0.5


@pytest.mark.parametrize("name", CLIPS)
@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_carried_along_by_the_flow_a_frame_is_its_neighbour(name, direction):
    clip = CLIPS[name]()
    night = torch.full_like(clip.scenes.background, BACKGROUND_NAMES.index("night"))
    clip = draw(dataclasses.replace(clip.scenes, background=night), 96)
    forward = direction == "forward"
    flow = (forward_flow if forward else backward_flow)(clip.scenes, (96, 96))
    here, there = (clip.frames[:-1], clip.frames[1:]) if forward else (clip.frames[1:], clip.frames[:-1])
    bound = interpolation_bound(96) + 1e-3
    assert bound < 1.04
    # two pixels from the borders of objects nothing but the smooth texture is read between pixels
    for f, valid in enumerate(flow.valid(margin=2).bool().numpy()):
        assert valid.mean() > 0.4
        assert np.abs(warp(there[f], flow.vectors[f].numpy()) - here[f])[valid].max() <= bound
        assert np.abs(there[f].astype(float) - here[f])[valid].max() > 2 * bound  # unmoved it is another picture


def test_a_whole_number_of_pixels_carries_every_bit_along():
    # background 5 left (pan + 5) and 2 down, the object 3 right and 4 up
    scenes = scenes_of([[[20, 40]], [[23, 36]]], shapes=(1,), pans=((0, 0), (5, -2)), background=1)
    clip = draw(scenes, SIDE)
    forward = forward_flow(scenes, (SIDE, SIDE))
    inside = clip.masks[0, 0] == 1
    assert torch.allclose(forward.vectors[0][inside], torch.tensor([3.0, -4.0]), atol=1e-5)
    assert torch.allclose(forward.vectors[0][clip.masks[0, 0] == 0], torch.tensor([-5.0, 2.0]), atol=1e-5)
    backward = backward_flow(scenes, (SIDE, SIDE))
    assert torch.allclose(backward.vectors[0][clip.masks[0, 1] == 1], torch.tensor([-3.0, 4.0]), atol=1e-5)
    for flow, here, there in ((forward, 0, 1), (backward, 1, 0)):
        carried = warp(clip.frames[there], flow.vectors[0].numpy().round())
        seen = flow.valid(margin=1)[0].bool().numpy()
        assert np.array_equal(carried[seen], clip.frames[here][seen])
        assert 0.6 < seen.mean() < 1


def test_what_an_object_moves_onto_is_hidden_and_nothing_else():
    # a still square with its right part under a square that comes 6 pixels nearer; half extents 0.89 * 0.2 * 64 = 11.4
    scenes = scenes_of([[[20, 32], [44, 32]], [[20, 32], [38, 32]]], shapes=(1, 1), radii=(0.2, 0.2), colours=(0, 1))
    flow = forward_flow(scenes, (SIDE, SIDE))
    hidden = ~flow.seen[0]
    x, y = np.meshgrid(np.arange(SIDE) + 0.5, np.arange(SIDE) + 0.5)
    half = 0.89 * 0.2 * SIDE

    def square(cx):
        return (np.abs(x - cx) < half) & (np.abs(y - 32) < half)

    # hidden: points of the first square or of the background that the second one covers afterwards; those of the second
    # are never hidden, it is on top
    assert np.array_equal(hidden.numpy(), square(38) & ~square(44))
    back = backward_flow(scenes, (SIDE, SIDE))
    assert np.array_equal(~back.seen[0].numpy(), square(44) & ~square(38))


def test_what_leaves_the_picture_is_not_seen():
    scenes = scenes_of([[[32, 32]], [[32, 32]]], colours=(-1,), pans=((0, 0), (7, 0)))
    flow = forward_flow(scenes, (SIDE, SIDE))
    assert torch.equal(flow.seen[0], (torch.arange(SIDE) >= 7).expand(SIDE, SIDE))
    assert torch.isinf(flow.border).all()


@pytest.mark.parametrize("shape", range(len(SHAPES)))
def test_owners_are_those_of_the_drawn_pixels(shape):
    clip = pair_clip(7, 3, 96, motion="crossing", shape=shape)
    flow = forward_flow(clip.scenes, (96, 96))
    moved = (clip.scenes.centre[1:] - clip.scenes.centre[:-1]) * 96
    for f in range(2):
        for k in range(2):
            drawn = clip.masks[k, f] > 0.75
            assert drawn.sum() > 50
            assert torch.allclose(flow.vectors[f][drawn], moved[f, k], atol=1e-4)


def test_a_clip_tells_the_same_flow():
    clip = pair_clip(1, 4, 64, motion="crossing")
    vectors, occluded = clip.backward_flow()
    exact = backward_flow(clip.scenes, (64, 64))
    assert torch.equal(vectors, exact.vectors)
    assert torch.equal(occluded, ~exact.seen)


def test_what_has_no_exact_flow_is_refused():
    scenes = scenes_of([[[20, 40]], [[23, 36]]])
    with pytest.raises(ValueError, match="2 frames or more"):
        forward_flow(scenes[:1], (SIDE, SIDE))
    grown = dataclasses.replace(scenes, radius=torch.tensor([[0.2], [0.25]]))
    with pytest.raises(ValueError, match="changes its size or shape"):
        backward_flow(grown, (SIDE, SIDE))


def test_the_palette_is_not_the_flows_business():
    scenes = scenes_of([[[20, 40]], [[23, 36]]])
    other = dataclasses.replace(scenes, colour=torch.full_like(scenes.colour, len(COLOURS) - 1))
    assert torch.equal(forward_flow(scenes, (SIDE, SIDE)).vectors, forward_flow(other, (SIDE, SIDE)).vectors)
