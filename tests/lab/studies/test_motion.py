"""The sums behind docs/benchmarks/motion.md, and one clip measured."""

import json

import pytest

from videograin.lab.paths import BENCHMARKS
from videograin.lab.studies.motion import KINDS, MASKS, clip_of, measure, page, summary


def line(kind, masks, errors, frames=4, cut=0, seconds=0.4) -> dict:
    return {
        "kind": kind, "number": 0, "masks": masks, "frames": frames, "cut": cut,
        "errors": errors, "background": [0.5], "seconds": seconds,
    }  # fmt: skip


def test_a_row_is_the_mean_of_all_steps():
    lines = [line(kind, masks, [0.1]) for kind in KINDS for masks in MASKS]
    lines += [line("apart", "exact", [0.0, 0.2, 0.5], frames=8, cut=2, seconds=9)]
    rows = summary(lines)
    assert len(rows) == len(KINDS) * len(MASKS)
    row = rows[0]
    assert (row["masks"], row["clips"], row["steps"], row["cut"]) == ("exact", "apart", 4, 2)
    assert (row["mean"], row["median"], row["most"]) == (0.2, 0.15, 0.5)
    assert (row["target"], row["met"]) == (0.05, False)
    assert row["seconds_4_frames"] == 0.4
    assert rows[1]["met"]  # crossing: 0.1 <= 0.15
    made = {"date": "today", "machine": "this", "torch": "2", "command": "run"}
    text = page({"made": made, "clips": 1, "rows": rows})
    assert "| exact | apart | 4 | 2 | 0.200 | 0.150 | 0.46 | 0.50 | 0.500 | 0.05 | **missed** |" in text
    assert "| exact | crossing | 1 | 0 | 0.100 |" in text


def test_a_clip_is_measured_against_the_exact_motion():
    assert [len(clip_of("crossing", number).frames) for number in (0, 1)] == [4, 8]
    found = measure("apart", 0, "exact")
    assert (found["cut"], len(found["errors"]), len(found["background"])) == (0, 3, 3)
    assert max(found["errors"]) == pytest.approx(0, abs=0.15)


def test_the_page_is_that_of_its_figures():
    found = json.loads((BENCHMARKS / "motion.json").read_text(encoding="utf-8"))
    assert page(found) == (BENCHMARKS / "motion.md").read_text(encoding="utf-8")
