"""The judge against clips whose figures are known: the ideal result, and results spoilt in one known way each."""

import math
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from videograin.lab.bench.judge import EQUAL, Judge, decibels, measure_rest
from videograin.lab.bench.tasks import PARTS, clip_specs, edit_task

FAMILIES = list({(s.kind, s.objects, s.motion): s for s in clip_specs()}.values())
WHOLE = ("colour", "object", "kept", "background", "union", "union_clip")


def task_of(kind: str, motion: str = "apart", objects: int = 2, frames: int = 4, seed: int = 0):
    spec = next(s for s in FAMILIES if (s.kind, s.motion, s.objects) == (kind, motion, objects))
    return edit_task(spec, seed, frames, 96)


@cache
def judged(spec):
    task = edit_task(spec, 1, 3, 96)
    return task, Judge(task)


@pytest.fixture(scope="module")
def instance():
    task = task_of("instance")
    return task, Judge(task)


@pytest.mark.parametrize("spec", FAMILIES, ids=lambda spec: spec.name)
def test_the_ideal_result_is_without_fault(spec):
    task, judge = judged(spec)
    found = judge.measure(task.ideal.frames)
    assert all(found[name] == 1 or math.isnan(found[name]) for name in WHOLE)
    assert found["union"] == found["union_clip"] == 1
    assert found["leak"] == 0 or math.isnan(found["leak"])
    assert found["leak_pixels"] == 0 or math.isnan(found["leak_pixels"])
    assert found["flicker"] < 0.5
    assert found["warp"] == found["warp_ideal"]
    assert found["ideal_psnr"] == EQUAL
    assert judge.judged_colour.mean() > (0.6 if spec.motion == "crossing" else 0.99)
    if spec.motion == "apart" and spec.kind not in PARTS:  # a part cuts the cross it lies on into four
        assert judge.judged_shape.all()


@pytest.mark.parametrize("spec", FAMILIES, ids=lambda spec: spec.name)
def test_doing_nothing_is_no_success(spec):
    task, judge = judged(spec)
    found = judge.measure(task.clip.frames)
    assert found["union"] < 0.5
    assert found["union_clip"] == 0
    # what was there before has not leaked; old outlines of objects that touch reach a little into each other's new ones
    assert found["leak"] == 0 or math.isnan(found["leak"])
    assert found["leak_pixels"] < (0.02 if spec.motion == "touching" else 1e-9) or math.isnan(found["leak_pixels"])
    if spec.kind in ("class", "instance", "new part", "part colour", "one kept"):
        assert found["colour"] < 0.3
    if spec.kind == "shape":
        assert found["colour"] == 1
        assert found["object"] < 0.3
    if spec.kind == "background":
        assert found["background"] == 0
        assert found["kept"] == 1
    assert found["kept"] == 1 or math.isnan(found["kept"]) or spec.motion == "crossing"


def test_swapped_colours_are_a_leak(instance):
    task, judge = instance
    (a, s), (b, t) = task.wanted()
    found = judge.measure(task.ideal.edited([(b, s), (a, t)]).frames)
    assert (found["colour"], found["object"], found["union"], found["leak"]) == (0, 0, 0, 1)
    assert found["leak_pixels"] == 1


def test_one_object_that_took_the_others_colour(instance):
    task, judge = instance
    (_, s), (b, t) = task.wanted()
    found = judge.measure(task.ideal.edited([(b, s), (b, t)]).frames)
    assert (found["colour"], found["leak"], found["union"]) == (0.5, 0.5, 0)
    sizes = torch.stack([(mask > 0.99).sum() for mask in task.ideal.masks]).double()
    assert found["leak_pixels"] == pytest.approx(float(sizes[0] / sizes.sum()))


def test_a_wrong_shape_is_no_wrong_colour(instance):
    task, judge = instance
    (a, s), (b, t) = task.wanted()
    other = next(k for k in range(4) if k not in (s, t))
    found = judge.measure(task.ideal.edited([(a, other), (b, t)]).frames)
    assert (found["colour"], found["object"], found["union"], found["leak"]) == (1, 0.5, 0, 0)


def test_one_wrong_frame_spoils_the_clip_but_not_the_others(instance):
    task, judge = instance
    frames = task.ideal.frames.copy()
    frames[2] = task.clip.frames[2]
    found = judge.measure(frames)
    assert (found["union"], found["union_clip"]) == (0.75, 0)
    assert found["colour"] == 0.75


def test_a_kept_object_that_changed_counts_against_all_right():
    task = task_of("one kept")
    kept = next(region.objects[0] for region in task.regions if region.keep)
    wanted = task.wanted()
    edited = 1 - kept
    spoilt = list(wanted)
    spoilt[kept] = (wanted[edited][0], wanted[kept][1])
    found = Judge(task).measure(task.ideal.edited(spoilt).frames)
    assert (found["object"], found["kept"], found["union"]) == (1, 0, 0)
    # both were of one colour: the edited object may show it because nothing happened, so the kept one alone is judged
    assert (found["leak"], found["leak_pixels"]) == (1, 1)


def test_a_part_in_the_colour_of_its_whole():
    task = task_of("part colour")
    (whole, a), (_, b) = task.wanted()
    found = Judge(task).measure(task.ideal.edited([(whole, a), (whole, b)]).frames)
    assert found["leak"] == 0.5  # the part of the two objects; it had another colour before
    task = task_of("new part", objects=1)
    (whole, a), (_, b) = task.wanted()
    assert Judge(task).measure(task.ideal.edited([(whole, a), (whole, b)]).frames)["leak"] == 0  # as it was


def test_hidden_objects_are_not_judged():
    task = task_of("instance", "crossing", frames=7)
    judge = Judge(task)
    areas = task.ideal.masks.flatten(2).sum(2)
    seen = (areas / areas.amax(1, keepdim=True)).numpy()
    assert seen.min() < 0.6
    assert not judge.judged_shape[seen < 0.6].any()
    assert judge.judged_shape[seen > 0.999].all()


def test_flicker_is_the_deviation_over_time(instance):
    task, judge = instance
    frames = np.full_like(task.ideal.frames, 100)
    frames[::2] = 120  # two frames of 120, two of 100: standard deviation 10
    assert judge.measure(frames)["flicker"] == pytest.approx(10)
    frames[..., 1:] = 100  # of one channel in three
    assert judge.measure(frames)["flicker"] == pytest.approx(10 / 3**0.5)


def test_warp_error_of_jumping_brightness(instance):
    task, judge = instance
    frames = np.full_like(task.ideal.frames, 100)
    frames[1] = 151  # up by a fifth of the range, down again, then still: (0.2^2 + 0.2^2 + 0) / 3 * 1000
    assert judge.measure(frames)["warp"] == pytest.approx(1000 * 0.08 / 3, rel=1e-6)


def test_what_was_not_to_be_touched(instance):
    task, _ = instance
    source = task.clip.frames
    area = np.zeros(source.shape[:3], np.float32)
    area[:, 40:60, 40:60] = 1
    keep = np.zeros_like(area)
    keep[:, :8, :8] = 1
    equal = measure_rest(source, task.ideal.frames, source, task, area, keep)
    assert equal["outside_psnr"] == EQUAL
    assert equal["outside_ssim"] == pytest.approx(1)
    assert equal["outside_structure"] == 0
    assert equal["band_psnr"] == EQUAL

    near = source.copy()
    near[:, 60 + 15, 50] ^= 128  # 15 pixels from the area's last row 59 + 16: still inside the margin
    assert measure_rest(near, near, source, task, area, keep)["outside_psnr"] == EQUAL
    far = source.copy()
    far[0, 59 + 17, 50] ^= 128
    changed = measure_rest(far, far, source, task, area, keep)
    assert changed["outside_psnr"] < 60
    assert changed["kept_psnr"] == EQUAL
    corner = source.copy()
    corner[:, 3, 3] ^= 128
    worse = measure_rest(source, corner, source, task, area, keep)["kept_psnr"]
    # one of 64 pixels off by 128 in every channel
    assert worse == pytest.approx(10 * math.log10(255**2 * 64 / 128**2), abs=1e-6)


def test_nothing_outside_is_nan_not_zero(instance):
    task, _ = instance
    area = np.ones(task.clip.frames.shape[:3], np.float32)
    found = measure_rest(task.clip.frames, task.clip.frames, task.clip.frames, task, area, 0 * area)
    assert all(math.isnan(found[key]) for key in ("outside_psnr", "outside_ssim", "outside_structure", "kept_psnr"))
    assert math.isnan(decibels(math.nan))
    assert decibels(math.inf) == EQUAL


def test_the_masks_of_the_task_do_not_matter(instance):
    task, judge = instance
    boxes = replace(task, regions=tuple(replace(r, mask=torch.ones_like(r.mask)) for r in task.regions))
    other = Judge(boxes).measure(task.clip.frames)
    np.testing.assert_equal(other, judge.measure(task.clip.frames))
