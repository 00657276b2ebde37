"""The committed figures: pages are what their JSON says, and what the documents claim holds."""

import json
from statistics import mean

import pytest

from videograin.lab.paths import BENCHMARKS as HERE
from videograin.lab.studies import attention_shares, round_trips
from videograin.measuring.round_trip import judge


def figures(name):
    return json.loads((HERE / f"{name}.json").read_text(encoding="utf-8"))


def committed(name):
    return (HERE / f"{name}.md").read_text(encoding="utf-8")


def test_attention_shares():
    found = figures("attention_shares")
    assert attention_shares.page(found["clips"], found) == committed("attention_shares")
    assert len(found["clips"]) >= 8


@pytest.mark.parametrize("level", ["half", "full"])
def test_own_shares_rise_by_half(level):
    rows = [row for clip in figures("attention_shares")["clips"] for row in clip["rows"][level]]
    assert mean(row["after"]["own"] / row["before"]["own"] for row in rows) >= 1.5
    assert all(
        row["after"]["own"] + row["after"]["others"] + row["after"]["background"] == pytest.approx(1) for row in rows
    )


def test_round_trips():
    found = figures("round_trips")
    facts = {key: found[key] for key in ("date", "torch", "command")}
    assert round_trips.page(found["trips"], found["edits"], facts) == committed("round_trips")


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
