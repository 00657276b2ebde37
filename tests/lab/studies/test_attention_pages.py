"""The committed figures: what the documents claim of them holds."""

import json
from statistics import mean

import pytest

from videograin.lab.paths import BENCHMARKS as HERE
from videograin.lab.studies import attention_shares
from videograin.measuring.round_trip import judge


def figures(name):
    return json.loads((HERE / f"{name}.json").read_text(encoding="utf-8"))


def test_what_is_below_the_goal_is_named():
    found = figures("attention_shares")
    assert len(found["clips"]) >= 8
    assert "None is below 1.5 x." in attention_shares.page(found)
    found["clips"][1]["rows"]["full"][0]["gain"] = 1.25
    told = attention_shares.page(found).split("### Every region")[0]
    assert told.endswith("Below 1.5 x:\n- full: seed 1 (touching), 'a red square': 27% to 49%, 1.25 x\n\n")


@pytest.mark.parametrize("level", ["half", "full"])
def test_own_shares_rise_by_half(level):
    rows = [row for clip in figures("attention_shares")["clips"] for row in clip["rows"][level]]
    assert mean(row["after"]["own"] / row["before"]["own"] for row in rows) >= 1.5
    assert all(
        row["after"]["own"] + row["after"]["others"] + row["after"]["background"] == pytest.approx(1) for row in rows
    )


@pytest.mark.parametrize(
    ("case", "good"),
    [
        ("warm, 50 steps", True),
        ("warm, 20 steps", True),
        ("warm, 5 steps", True),
        ("ddim, 5 steps", False),
        ("warm, 20 steps, back with another prompt", False),
    ],
)
def test_the_borders_tell_good_from_bad(case, good):
    """measuring/round_trip.py, on every clip that they were set by."""
    assert [judge(row["psnr"], row["std"]).ok for row in figures("round_trips")["trips"][case]] == [good] * 4
