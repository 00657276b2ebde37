"""The steadiness of edits of clips whose right edit is known: what moves as it should, shakes, pulses, or is hidden."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from videograin.editing.motion.optical_flow import ClipFlow, clip_flow, dis
from videograin.editing.regions import Region
from videograin.measuring.metrics.shown_things import Things
from videograin.measuring.metrics.steadiness import absences
from videograin.measuring.metrics.steadiness_figures import steadiness_figures
from videograin.world.clips import draw
from videograin.world.demo_task import make_task

F, SIDE = 6, 96
SIGNS = np.arange(F) % 2 * 2 - 1


@pytest.fixture(scope="module")
def task():
    return make_task(1, F, SIDE)


@pytest.fixture(scope="module")
def ideal(task):
    return task.clip.edited(task.objects)


@pytest.fixture(scope="module")
def things(task):
    """Of the first region as edited, and the second as preserved."""
    regions = [Region(p, m, preserve=k == 1) for k, (p, m) in enumerate(zip(task.phrases, task.clip.masks))]
    return Things.of(task.clip.frames, regions, clip_flow(task.clip.frames, dis()))


def changed(clip, **fields):
    return draw(replace(clip.scenes, **fields), SIDE).frames


def test_the_right_edit_is_about_as_steady_as_its_source(task, ideal, things):
    source, edit = (things.steadiness(clip.frames) for clip in (task.clip, ideal))
    for one in (source, edit):
        assert one.centre < 0.5
        assert one.size < 0.02
        assert one.flicker < 1.5
    assert edit.own < 2 * source.own


def test_what_the_edit_shows_is_found(ideal, things):
    shown, told = things.shown(ideal.frames)
    true = ideal.masks.numpy() > 0.5
    for k, f in np.argwhere(told):
        assert (shown[k, f] & true[k, f]).sum() > 0.85 * (shown[k, f] | true[k, f]).sum()
    assert told.any(1).all()


def test_shaking_is_the_centre_s_and_pulsing_the_size_s(ideal, things):
    centre, radius = ideal.scenes.centre.clone(), ideal.scenes.radius.clone()
    centre[:, 0, 0] += torch.from_numpy(SIGNS) * 3 / SIDE
    radius[::2, 0] *= 1.2
    steady = things.steadiness(ideal.frames)
    shaken = things.steadiness(changed(ideal, centre=centre))
    assert shaken.centre == pytest.approx(3, abs=0.6)
    assert shaken.own > 5 * steady.own
    pulsing = things.steadiness(changed(ideal, radius=radius))
    sides = np.where(SIGNS < 0, 1.2, 1.0)
    assert pulsing.size == pytest.approx(sides.std() / sides.mean(), abs=0.03)
    assert pulsing.own > 5 * steady.own


def test_a_thing_too_large_all_the_time_is_steady(ideal, things):
    larger = things.steadiness(changed(ideal, radius=ideal.scenes.radius * 1.1))
    assert larger.size < 0.02
    assert larger.own < 1.5 * things.steadiness(ideal.frames).own


def test_preserved_regions_do_not_count(ideal, things):
    centre = ideal.scenes.centre.clone()
    centre[:, 1, 0] += torch.from_numpy(SIGNS) * 3 / SIDE
    assert things.steadiness(changed(ideal, centre=centre)).centre < 0.5


def test_changing_colours_flicker(ideal, things):
    dark = ideal.frames.copy()
    dark[::2][ideal.masks[0, ::2].numpy() > 0.5] //= 2
    assert things.steadiness(dark).flicker > 10 * things.steadiness(ideal.frames).flicker


def test_an_edit_that_shows_the_bare_background_has_no_place(task, things):
    figures = {one.key: one for one in steadiness_figures(things, things.behind)}
    assert figures["centre_jitter"].value is figures["size_jitter"].value is None
    assert "whose outline can be told" in figures["size_jitter"].why


def test_boxes_that_hide_what_is_behind_say_nothing_of_sizes():
    """A mask over most of a still picture: no frame shows what is behind it, and no outline can be told."""
    source = np.tile(np.random.default_rng(1).integers(0, 255, (1, 64, 64, 3), np.uint8), (3, 1, 1, 1))
    mask = torch.zeros(64, 64)
    mask[12:52, 12:52] = 1
    still = ClipFlow(np.zeros((2, 64, 64, 2), np.float32), np.ones((2, 64, 64), np.float32), "none")
    edit = source.copy()
    edit[:, 20:44, 20:44] = (250, 0, 0)
    things = Things.of(source, [Region("a square", mask)], still)
    _, told = things.shown(edit)
    assert not told.any()


def crossed(**second):
    """A square that is hidden in the middle of five frames and comes back as ``second`` says: its steadiness."""
    frames, masks = np.full((5, 64, 96, 3), 120, np.uint8), torch.zeros(2, 5, 64, 96)
    frames[:, ::8] = 90
    source, edit = frames.copy(), frames
    for f in range(5):
        x = 8 + 14 * f
        masks[0, f, 20:40, x : x + 20] = masks[1, f, 10:50, 30:60] = 1
        source[f, 20:40, x : x + 20], colour = (0, 160, 0), second.get("colour", (200, 0, 0))
        high = second.get("height", 20) if f > 2 else 20
        edit[f, 20 : 20 + high, x : x + 20] = colour if f > 2 else (200, 0, 0)
    masks[1, [0, 4]] = 0
    source[1:4, 10:50, 30:60] = edit[1:4, 10:50, 30:60] = (0, 0, 160)
    regions = [Region("a red square", masks[0]), Region("a wall", masks[1], preserve=True)]
    return Things.of(source, regions, clip_flow(source, dis())).steadiness(edit)


@pytest.mark.parametrize(
    ("back", "same"), [({}, 1.0), ({"colour": (0, 0, 0)}, 0.0), ({"height": 9}, 0.0), ({"height": 18}, 1.0)]
)
def test_what_comes_back_is_the_same_or_not(back, same):
    assert crossed(**back).identity == same


def test_an_absence_needs_a_frame_on_both_sides():
    away = np.array([[0, 1, 1, 0, 0, 1], [1, 0, 0, 0, 1, 0]], bool)
    told = np.array([[1, 1, 1, 0, 1, 1], [1, 1, 1, 1, 0, 1]], bool)
    assert list(absences(away, told)) == [(0, 0, 4), (1, 3, 5)]
