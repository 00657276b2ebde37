"""Motion of things that bend, against the exact one; tolerances: pixels of a step, mean over a region."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from videograin.editing.motion import motion_file
from videograin.editing.motion.bending import _badness, bent_fits, displacements, judged
from videograin.editing.motion.clip_motion import clip_motion
from videograin.editing.motion.contest import Scene
from videograin.editing.motion.places import centres, moved
from videograin.editing.motion.registration import Fit, Registration, about, shift
from videograin.editing.motion.sheet import Grid, Sheet
from videograin.lab.bench.steadiness import exact_motion
from videograin.world.bent_clips import bent_clip
from videograin.world.clips import scene_clip

SIDE = 96
SIZE = (SIDE, SIDE)


def errors(clip, motion) -> list[float]:
    exact = exact_motion(clip.scenes, SIZE)
    return [
        float((motion.places(k, f, f + 1, SIZE) - exact.places(k, f, f + 1, SIZE)).norm(dim=-1)[masks[f] > 0.5].mean())
        for k, masks in enumerate(clip.masks)
        for f in range(len(clip.frames) - 1)
    ]


@pytest.fixture(scope="module")
def clip():
    return bent_clip(32, 4, SIDE, objects=2, motion="apart", pan=0.1)


@pytest.fixture(scope="module")
def motion(clip):
    return clip_motion(clip.frames, list(clip.masks))


def test_things_that_bend_have_a_dense_motion(clip, motion):
    assert [one.form for one in motion.regions] == ["dense", "dense"]
    found = np.mean(errors(clip, motion))
    assert found < 0.25
    stiff = clip_motion(clip.frames, list(clip.masks), source="flow")
    assert np.mean(errors(clip, stiff)) > 1.5 * found
    assert motion.notes() == []
    assert motion.bending(["the one"]) == [
        "the one: bends; its motion to frames 1-3 is dense",
        "region 2: bends; its motion to frames 1-3 is dense",
    ]


def test_a_dense_motion_leads_back(clip, motion):
    places = centres(SIZE, SIZE)
    for k, masks in enumerate(clip.masks):
        there = motion.places(k, 1, 2, SIZE)
        one = motion.of(k)
        back = moved(there, np.linalg.inv(one.steps[2])) + motion._bend(one.bends[1, 2], there)
        assert float((back - places).norm(dim=-1)[masks[1] > 0.5].max()) < 0.1


def test_a_dense_motion_is_kept(motion, tmp_path):
    held = motion_file.load(motion_file.save(motion, tmp_path / "motion.safetensors"))
    assert [one.form for one in held.regions] == ["dense", "dense"]
    assert torch.equal(held.places(0, 0, 3, (12, 12)), motion.places(0, 0, 3, (12, 12)))


def test_one_passes_in_front_of_the_other_and_both_bend():
    clip = bent_clip(33, 4, SIDE, objects=2, motion="crossing", pan=0.1)
    assert np.mean(errors(clip, clip_motion(clip.frames, list(clip.masks)))) < 0.6


def test_large_frames_bend_in_their_own_pixels():
    clip = bent_clip(31, 3, 256, objects=1, motion="apart", pan=0.1)
    motion = clip_motion(clip.frames, list(clip.masks))
    exact = exact_motion(clip.scenes, (256, 256))
    apart = [
        (motion.places(0, f, f + 1, (256, 256)) - exact.places(0, f, f + 1, (256, 256))).norm(dim=-1) for f in range(2)
    ]
    assert motion.of(0).form == "dense"
    assert float(np.mean([float(one[mask > 0.5].mean()) for one, mask in zip(apart, clip.masks[0])])) < 1


@pytest.mark.parametrize("seed", [11, 12])
def test_what_only_moves_is_no_denser_than_before(seed):
    clip = scene_clip(seed, 4, SIDE, objects=2, motion="apart", pan=0.1)
    motion = clip_motion(clip.frames, list(clip.masks))
    assert [(one.form, one.bends) for one in motion.regions] == [("similarity", None)] * 2
    assert motion.bending() == []


def test_what_is_another_thing_in_every_frame_has_no_motion(clip):
    frames = np.random.default_rng(0).integers(0, 256, clip.frames.shape, dtype=np.uint8)
    motion = clip_motion(frames, [masks.roll(20 * f, 0) for f, masks in enumerate(clip.masks)])
    assert [one.form for one in motion.regions] == ["off", "off"]
    assert not any(motion.of(0).linked(i, j) for i, j in pairwise(range(4)))
    assert all("could not be found (least loss" in line for line in motion.notes())


def sheet_of(one: Registration, size: float) -> Sheet:
    grid = Grid(one.box, 16.0)
    return Sheet(grid, np.random.default_rng(5).normal(0, size, (*grid.points, 2)))


def test_displacements_are_those_of_the_sheet_there_and_back(clip):
    views = Scene(clip.frames, clip.masks).views(0)
    one = Registration(views[0], views[1])
    matrix = about(one.centre, 1.1, 0.2, 3.0, -2.0)
    sheet = sheet_of(one, 1.0)
    forth, back = displacements(Fit(matrix, 0.1, sheet=sheet), SIZE)
    places = centres(forth.shape[:2], SIZE)
    there = moved(places + sheet.at(places), matrix)
    np.testing.assert_allclose(moved(places, matrix).numpy() + forth, there.numpy(), atol=1e-4)
    inverse = np.linalg.inv(matrix)
    came = moved(places, inverse) + torch.from_numpy(back)
    torch.testing.assert_close(moved(came + sheet.at(came), matrix), places, atol=1e-2, rtol=0)


def test_a_sheet_at_rest_is_judged_as_the_similarity(clip):
    views = Scene(clip.frames, clip.masks).views(1)
    one = Registration(views[0], views[1])
    matrix = shift(2, 1)
    rest, plain = judged(one, matrix, sheet_of(one, 0.0)), one.fit(matrix)
    assert (rest.loss, rest.overlap) == pytest.approx((plain.loss, plain.overlap), rel=1e-4)


def test_no_steps_have_no_sheets():
    assert bent_fits({}, lambda i, j, guess: pytest.fail("nothing to fit"), lambda i, j: pytest.fail("no flow")) == {}


def test_rounding_below_nothing_is_nothing():
    assert _badness(Fit(np.eye(3), 0.04, rank=0.09)) == pytest.approx(0.06)
    assert _badness(Fit(np.eye(3), 0.01, rank=-0.001)) == 0
    assert _badness(Fit(np.eye(3), -0.01, rank=0.2)) == 0
