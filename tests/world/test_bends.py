"""Things that bend: the formulas undo each other, and the exact flow carries the frames along."""

import dataclasses

import numpy as np
import pytest
import torch

from videograin.editing.motion.warp import warp
from videograin.world.bends import PARTS, at_rest, bent
from videograin.world.bent_clips import BENDS, bent_clip
from videograin.world.clips import draw, scene_clip
from videograin.world.exact_flow import backward_flow, exact_displacements, exact_transforms, forward_flow
from videograin.world.vocabulary import BACKGROUND_NAMES

SIDE = 96
SIZE = (SIDE, SIDE)


def test_a_bent_point_goes_back_to_where_it_was():
    draws = torch.Generator().manual_seed(1)
    bend = (torch.rand(50, len(PARTS), generator=draws) - 0.5) * torch.tensor([6, 0.5, 0.4, 6, 0.7, 0.4, 0.4, 1])
    u, v = (torch.rand(50, 8, 8, generator=draws) * 2.4 - 1.2 for _ in range(2))
    x, y = bent(bend, u, v)
    assert float((x - u).abs().max()) > 0.5
    back = at_rest(bend, x, y)
    torch.testing.assert_close(back[0], u, atol=1e-5, rtol=0)
    torch.testing.assert_close(back[1], v, atol=1e-5, rtol=0)


@pytest.mark.parametrize("way", BENDS)
def test_every_way_bends_and_leaves_the_path_as_it_was(way):
    plain = scene_clip(5, 5, 64, objects=2, motion="crossing")
    clip = bent_clip(5, 5, 64, objects=2, motion="crossing", bends=(way,), each=1)
    for part in ("background", "pan", "shape", "colour", "centre", "radius"):
        assert torch.equal(getattr(plain.scenes, part), getattr(clip.scenes, part))
    changed = clip.scenes.bend - clip.scenes.bend[:1]
    assert changed.abs().flatten(0, 1).amax(0).max() > 0.03
    assert (clip.frames != plain.frames).any()


@pytest.mark.parametrize("motion", ["apart", "crossing"])
@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_carried_along_by_the_flow_a_bent_thing_is_its_neighbour(motion, direction):
    seen_pixels = 0
    for seed in (3, 4, 5):
        clip = bent_clip(seed, 6, SIDE, objects=2, motion=motion, pan=0.2)
        night = torch.full_like(clip.scenes.background, BACKGROUND_NAMES.index("night"))
        clip = draw(dataclasses.replace(clip.scenes, background=night), SIDE)
        forward = direction == "forward"
        flow = (forward_flow if forward else backward_flow)(clip.scenes, SIZE)
        here, there = (clip.frames[:-1], clip.frames[1:]) if forward else (clip.frames[1:], clip.frames[:-1])
        for f, valid in enumerate(flow.valid(margin=2.5).bool().numpy()):
            rest = np.abs(warp(there[f], flow.vectors[f].numpy()) - here[f])[valid]
            # spots of amplitude 0.15 * 246 levels, 5 radians to 14 pixels, read bilinearly: up to 2.5 levels, more
            # where a thing is squeezed
            assert rest.max() <= 8
            assert rest.mean() < 0.5
            seen_pixels += int(valid.sum())
        things = (clip.masks.amax(0) == 1).numpy()[:-1]
        assert np.abs(clip.frames[1:].astype(float) - clip.frames[:-1])[things].mean() > 5  # unmoved: another picture
    assert seen_pixels > 3 * 5 * 0.5 * SIDE**2


def test_the_whole_things_displacements_are_the_flow_where_it_is_seen():
    clip = bent_clip(7, 4, SIDE, objects=2, motion="crossing")
    forth, back = forward_flow(clip.scenes, SIZE), backward_flow(clip.scenes, SIZE)
    for k in range(2):
        ahead, behind = exact_displacements(clip.scenes, SIZE, k)
        for all_of_it, flow, masks in ((ahead, forth, clip.masks[k, :-1]), (behind, back, clip.masks[k, 1:])):
            inner = masks > 0.99
            assert int(inner.sum()) > 300
            torch.testing.assert_close(all_of_it[inner], flow.vectors[inner])


def test_without_a_bend_nothing_differs_but_the_way_there():
    clip = scene_clip(8, 3, SIDE, objects=2)
    flat = dataclasses.replace(clip.scenes, bend=torch.zeros(3, 2, len(PARTS)))
    again = draw(flat, SIDE)
    apart = np.abs(again.frames.astype(float) - clip.frames)
    assert apart.mean() < 0.1  # the corners of some shapes are cut otherwise
    torch.testing.assert_close(
        forward_flow(flat, SIZE).vectors, forward_flow(clip.scenes, SIZE).vectors, atol=1e-3, rtol=0
    )
    assert again.edited([(0, 1), (2, 1)]).scenes.bend is flat.bend


def test_what_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="turn, squash, wave, hinge, perspective; got melt"):
        bent_clip(1, bends=("melt",))
    with pytest.raises(ValueError, match="expected 3 or more"):
        bent_clip(1, bends=("turn",), each=3)
    with pytest.raises(ValueError, match="exact_displacements"):
        exact_transforms(bent_clip(1, 2, 32).scenes, (32, 32))
