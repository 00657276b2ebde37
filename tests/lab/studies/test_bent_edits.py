"""The sums behind docs/benchmarks/bent_edits.md, and what is edited."""

import json

import pytest
import torch

from videograin.lab.paths import BENCHMARKS
from videograin.lab.studies.bent_edits import SHOWN, SYSTEMS, motions, page, summary, task_of


def line(system, number, union, own) -> dict:
    same = {key: 0.5 for key in SHOWN if key not in ("own_ideal", "centre_jitter")}
    kind = ("apart", "crossing")[number]
    told = {"system": system, "number": number, "steps": 2, "motion": kind, "forms": ["dense", "similarity"]}
    return {**told, **same, "own_ideal": 2.0, "centre_jitter": None, "union": union, "own": own}


def test_systems_are_compared_clip_by_clip_with_plain():
    lines = [line("plain", n, (1.0, 0.5)[n], 20.0) for n in (0, 1)]
    lines += [line(system, n, (0.5, 1.0)[n], (3.0, 5.0)[n]) for system in SYSTEMS[1:] for n in (0, 1)]
    rows = summary(lines)
    assert [row["system"] for row in rows] == list(SYSTEMS)
    assert (rows[0]["ratio"], rows[0]["less_right"], rows[0]["union"]) == (10, 0, 0.75)
    assert (rows[2]["ratio"], rows[2]["less_right"], rows[2]["union"]) == (2, 1, 0.75)
    assert rows[2]["crossing"] == {"union": 1.0, "ratio": 2.5}
    made = {"date": "today", "machine": "this", "torch": "2", "command": "run"}
    text = page({"made": made, "clips": 2, "steps": 2, "dense": 2, "regions": 4, "rows": rows})
    assert "at most 2.5 x the ideal's: 2.00, met; all right never below plain: **missed** in 1 clip(s)." in text


def test_every_thing_of_a_bent_clip_takes_another_colour():
    task = task_of(1)
    assert task.spec.motion == "crossing"
    assert torch.equal(task.ideal.scenes.bend, task.clip.scenes.bend)
    before, after = task.clip.scenes.colour[0], task.ideal.scenes.colour[0]
    assert (before != after).all()
    assert task.prompt != task.source_prompt
    assert all(one.phrase in task.prompt for one in task.regions)
    assert task.clip.masks.equal(task.ideal.masks)


def test_the_stiff_motion_is_the_dense_one_without_its_sheets():
    known = motions(task_of(0))
    assert "dense" in [one.form for one in known["dense"].regions]
    assert [one.bends for one in known["similarity"].regions] == [None, None]
    for stiff, bent in zip(known["similarity"].regions, known["dense"].regions):
        assert (stiff.steps == bent.steps).all()
    assert known["exact"].source == "exact"


def test_the_page_is_that_of_its_figures():
    found = json.loads((BENCHMARKS / "bent_edits.json").read_text(encoding="utf-8"))
    assert page(found) == (BENCHMARKS / "bent_edits.md").read_text(encoding="utf-8")
    assert found["rows"] == summary(found["lines"])
    assert next(row for row in found["rows"] if row["system"] == "dense")["clips"] == pytest.approx(found["clips"])
