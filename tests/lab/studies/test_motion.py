"""The sums behind docs/benchmarks/motion.md, and one clip measured."""

import json

import pytest

from videograin.lab.paths import BENCHMARKS
from videograin.lab.studies.motion import clip_of, measure, page, rows_of, summary


def line(kind, masks, errors, frames=4, cut=0, seconds=0.4) -> dict:
    return {
        "kind": kind, "number": 0, "masks": masks, "frames": frames, "cut": cut,
        "errors": errors, "background": [0.5], "seconds": seconds, "dense": 1, "regions": 2,
    }  # fmt: skip


def test_a_row_is_the_mean_of_all_steps():
    lines = [line(kind, masks, [0.1]) for masks, kind, _ in rows_of(1)]
    lines += [line("apart", "exact", [0.0, 0.2, 0.5], frames=8, cut=2, seconds=9)]
    rows = summary(lines)
    row = rows[0]
    assert (row["masks"], row["clips"], row["steps"], row["cut"]) == ("exact", "apart", 4, 2)
    assert (row["dense"], row["regions"]) == (2, 4)
    assert (row["mean"], row["median"], row["most"]) == (0.2, 0.15, 0.5)
    assert (row["target"], row["met"]) == (0.05, False)
    assert row["seconds_4_frames"] == 0.4
    assert rows[1]["met"]  # crossing: 0.1 <= 0.15
    made = {"date": "today", "machine": "this", "torch": "2", "command": "run"}
    text = page({"made": made, "clips": 1, "rows": rows})
    assert "| exact | apart | 2 | 4 | 2 | 2 of 4 | 0.200 | 0.150 | 0.46 | 0.50 | 0.500 | 0.05 | **missed** |" in text
    assert "| exact | crossing | 1 | 1 | 0 | 1 of 2 | 0.100 |" in text


def test_of_bent_things_apart_the_median_is_to_reach_the_target():
    lines = [line(kind, masks, [0.1, 0.1, 9.0]) for masks, kind, _ in rows_of(1)]
    met = {row["clips"]: row["met"] for row in summary(lines) if row["masks"] == "exact"}
    assert met["bent apart"]
    assert not met["bent crossing"]
    assert not met["apart"]


def test_poor_masks_have_a_quarter_of_the_clips_and_flat_things_exact_ones_alone():
    rows = rows_of(12)
    assert ("exact", "bent crossing", 12) in rows
    assert ("boxes", "bent crossing", 3) in rows
    assert ("boxes", "crossing", 3) in rows
    assert [masks for masks, kind, _ in rows if kind == "flat apart"] == ["exact"]
    assert clip_of("bent apart", 1).scenes.bend[..., -1].min() > 0
    assert clip_of("flat apart", 1).scenes.bend[..., -1].max() == 0
    assert clip_of("apart", 1).scenes.bend is None


def test_a_clip_is_measured_against_the_exact_motion():
    assert [len(clip_of("crossing", number).frames) for number in (0, 1)] == [4, 8]
    found = measure("apart", 0, "exact")
    assert (found["cut"], len(found["errors"]), len(found["background"])) == (0, 3, 3)
    assert max(found["errors"]) == pytest.approx(0, abs=0.15)
    bent = measure("bent apart", 0, "exact")
    assert bent["dense"] == bent["regions"] == 1
    assert max(bent["errors"]) < 0.5


def test_the_page_is_that_of_its_figures():
    found = json.loads((BENCHMARKS / "motion.json").read_text(encoding="utf-8"))
    assert page(found) == (BENCHMARKS / "motion.md").read_text(encoding="utf-8")
