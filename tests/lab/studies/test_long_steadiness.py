"""Long clips held steady and not: drift where it is known, and the command on small clips."""

import json
from dataclasses import replace

import numpy as np
import pytest

from videograin.lab.studies import long_steadiness
from videograin.lab.studies.long_clips import long_task
from videograin.lab.studies.long_steadiness import SHOWN, SYSTEMS, drift, measure, summary, task_of
from videograin.world.clips import draw

F = 6


@pytest.fixture(scope="module")
def task():
    return task_of(long_task(1, F), 1)


def redrawn(task, **fields):
    return draw(replace(task.ideal.scenes, **fields), 128).frames


def test_the_ideal_does_not_drift(task):
    found = drift(task.ideal.frames, task)
    assert found["colour_drift"] < 1
    assert found["size_drift"] < 0.02
    assert found["centre_drift"] < 0.3


def test_growing_and_straying_are_told_apart(task):
    """Every object grows by a fifth, or strays by 5 px, from the first frame to the last."""
    radius, centre = task.ideal.scenes.radius.clone(), task.ideal.scenes.centre.clone()
    ramp = np.linspace(0, 1, F)
    for f in range(F):
        radius[f] *= 1 + 0.2 * ramp[f]
        centre[f, :, 0] += 5 / 128 * ramp[f]
    grown, strayed = drift(redrawn(task, radius=radius), task), drift(redrawn(task, centre=centre), task)
    assert grown["size_drift"] == pytest.approx(0.2, abs=0.03)
    assert grown["centre_drift"] < 0.5
    assert strayed["centre_drift"] == pytest.approx(5, abs=0.4)
    assert strayed["size_drift"] < 0.03


def test_fading_is_the_colour_s(task):
    frames = task.ideal.frames.copy()
    inside = task.ideal.masks[:, -1].numpy().max(0) > 0.5
    before = frames[-1][inside].astype(float)
    frames[-1][inside] = (before * 0.9).round()
    assert drift(frames, task)["colour_drift"] > 5 > drift(task.ideal.frames, task)["colour_drift"]


def test_what_is_gone_at_an_end_does_not_drift(task):
    frames = task.ideal.frames.copy()
    frames[-1] = 128
    assert all(np.isnan(value) for value in drift(frames, task).values())


def test_a_stopped_run_goes_on_and_both_systems_stand_in_the_table(tmp_path, monkeypatch):
    seen = []

    def run(model, task, steady, steps):
        seen.append((len(task.clip.frames), steady))
        return {**dict.fromkeys(SHOWN, 1.0 if steady else 2.0), "own_ideal": float("nan")}

    monkeypatch.setattr(long_steadiness, "run", run)
    measure(tmp_path, [4], 2, range(1), model=object())
    lines = measure(tmp_path, [4, 6], 2, range(1), model=object())
    assert seen == [(4, True), (4, False), (6, True), (6, False)]
    assert [json.loads(line)["own_ideal"] for line in (tmp_path / "steadiness.jsonl").open()] == [None] * 4
    rows = summary(lines).splitlines()[2:]
    assert [row.split(" | ")[1] for row in rows] == [*SYSTEMS, *SYSTEMS]
    assert rows[0].startswith("| 4 | ours | 1 | 1 |")


@pytest.mark.slow
def test_a_small_clip_through_the_model(tmp_path):
    lines = measure(tmp_path, [4], 2, range(1))
    assert {line["system"] for line in lines} == set(SYSTEMS)
    assert all(line["colour_drift"] is None or line["colour_drift"] >= 0 for line in lines)
    assert all(line["warp"] > 0 for line in lines)
