"""The figures of steadiness on clips whose answer is known: what moves as it should, shakes, or pulses."""

import math

import numpy as np
import pytest
import torch

from videograin.editing.motion.places import centres
from videograin.lab.bench.steadiness import exact_motion, pieces, readable, visible_share
from videograin.measuring.metrics.steadiness import jitter, own_warp_error
from videograin.world.bends import bent
from videograin.world.bent_clips import bent_clip
from videograin.world.clips import draw, pair_clip
from videograin.world.render import at_rest_of

F, SIDE = 5, 128


@pytest.fixture(scope="module")
def clip():
    return pair_clip(3, F, SIDE, motion="apart")


def wanted(clip):
    return clip.scenes.colour[0].tolist()


def places(clip):
    return (clip.masks > 0.5).numpy()


def changed(clip, **fields):
    """The clip drawn anew with other centres or radii."""
    from dataclasses import replace

    return draw(replace(clip.scenes, **fields), SIDE)


def shaken(clip, pixels):
    """Object 0 stands alternately so many pixels to the left and to the right of its place."""
    centre = clip.scenes.centre.clone()
    centre[:, 0, 0] += (torch.arange(F) % 2 * 2 - 1) * pixels / SIDE
    return changed(clip, centre=centre)


def pulsing(clip, share):
    radius = clip.scenes.radius.clone()
    radius[::2, 0] *= 1 + share
    return changed(clip, radius=radius)


def figures(clip, frames):
    shown = pieces(frames, places(clip), wanted(clip))
    ideal = pieces(clip.frames, places(clip), wanted(clip))
    counted = readable(clip.scenes, clip.masks.numpy(), ideal)
    return jitter(shown[:1], places(clip)[:1], counted[:1]), 1000 * own_warp_error(
        frames, exact_motion(clip.scenes, (SIDE, SIDE)), shown
    )


def test_the_true_clip_is_steady(clip):
    (centre, size), own = figures(clip, clip.frames)
    assert centre < 0.15
    assert size < 0.01
    assert 0 < own < 1


def test_shaking_is_the_centre_s(clip):
    (centre, size), own = figures(clip, shaken(clip, 3).frames)
    signs = np.arange(F) % 2 * 2 - 1
    assert centre == pytest.approx(3 * signs.std(), abs=0.2)
    assert size < 0.01
    assert own > 5 * figures(clip, clip.frames)[1]


def test_pulsing_is_the_size_s(clip):
    (centre, size), own = figures(clip, pulsing(clip, 0.2).frames)
    sides = np.where(np.arange(F) % 2 == 0, 1.2, 1.0)
    assert size == pytest.approx(sides.std() / sides.mean(), abs=0.02)
    assert centre < 0.3
    assert own > 5 * figures(clip, clip.frames)[1]


def test_a_thing_too_large_all_the_time_is_steady(clip):
    """What the benchmark's `warp` counts as unsteady: along the ideal's outline it is wrong in every frame."""
    radius = clip.scenes.radius * 1.1
    (centre, size), own = figures(clip, changed(clip, radius=radius).frames)
    assert centre < 0.15
    assert size < 0.01
    assert own < 1.5 * figures(clip, clip.frames)[1]


def test_a_thing_that_is_not_there_has_no_figures(clip):
    blank = np.full_like(clip.frames, 128)
    shown = pieces(blank, places(clip), wanted(clip))
    assert not shown.any()
    assert all(map(math.isnan, jitter(shown, places(clip), np.ones((2, F), bool))))


def test_twins_that_touch_are_divided():
    clip = pair_clip(5, F, SIDE, motion="touching", colour=0, shape=0)
    place = places(clip)
    frames = clip.frames.copy()
    frames[:, place.any(0).any(0)] = np.median(clip.frames[0][place[0, 0]], 0)  # one patch of their colour over both
    shown = pieces(frames, place, wanted(clip))
    assert shown.any((2, 3)).all()
    assert not (shown[0] & shown[1]).any()


def test_hidden_things_are_not_judged():
    clip = pair_clip(1, 9, SIDE, motion="crossing")
    ideal = pieces(clip.frames, places(clip), wanted(clip))
    counted = readable(clip.scenes, clip.masks.numpy(), ideal)
    assert counted.any()
    assert not counted.all()


def test_the_exact_motion_of_bent_things_carries_their_points_over_frames():
    clip = bent_clip(6, 4, 96, objects=2, motion="crossing")
    motion = exact_motion(clip.scenes, (96, 96))
    assert [one.form for one in motion.regions] == ["dense", "dense"]
    places_ = centres((96, 96), (96, 96))
    first, last = clip.scenes[:1], clip.scenes[3:]
    for k in range(2):
        rest = at_rest_of(*places_[None].div(96).unbind(-1), first.centre[:, k], first.radius[:, k], first.bend[:, k])
        x, y = bent(last.bend[:, k], *rest)
        true = torch.stack([x[0], y[0]], -1) * last.radius[0, k] * 96 + last.centre[0, k] * 96
        inner = clip.masks[k, 0] > 0.5
        assert int(inner.sum()) > 300
        assert float((motion.places(k, 0, 3, (96, 96)) - true).norm(dim=-1)[inner].max()) < 0.1
        assert float((true - places_).norm(dim=-1)[inner].mean()) > 5
    share = visible_share(clip.scenes, clip.masks.numpy())
    assert share.max() == pytest.approx(1, abs=1e-4)
    assert share[0].min() < 0.8  # the first passes behind
