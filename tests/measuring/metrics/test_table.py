"""Clips side by side as CSV, JSON, markdown, text and a picture."""

import csv
import io
import json
import math

import numpy as np
import pytest

from videograin.measuring.metrics.metric import Metric
from videograin.measuring.metrics.table import Table
from videograin.measuring.pictures.bars import bar_sheet


def figures(fit, error, psnr, dino=None) -> tuple[Metric, ...]:
    why = {"why": "no DINO was given"} if dino is None else {}
    return (
        Metric("clip_t", "CLIP-T", fit, "mean cosine", "higher", 100, model="tiny"),
        Metric("warp_error", "Warp-Err", error, "squared difference", "lower", 100, model="DIS"),
        Metric("psnr", "PSNR outside", psnr, "of what was to stay", "higher", unit="dB"),
        Metric("dino", "DINO", dino, "class tokens", "higher", 100, **why),
    )


@pytest.fixture
def table() -> Table:
    clips = {
        "source": figures(0.2, 0.0, math.inf),
        "ours": figures(0.3, 0.0142, 41.0),
        "b|0": figures(0.31234, 0.02, 30.0),
    }
    return Table.of(clips, reference="source", notes=["a remark"])


def test_the_best_edit_of_a_row(table):
    best = [table.best(row) for row in table.rows]
    assert best == [{2}, {1}, {1}, set()]  # the source is never called best; nobody has DINO
    alike = Table.of({"a": figures(0.3, 0.1, 40.0), "b": figures(0.300001, 0.1, 39.0)})
    assert [alike.best(row) for row in alike.rows] == [set(), set(), {0}, set()]  # what is shown alike is no better


def test_csv(table):
    rows = list(csv.DictReader(io.StringIO(table.csv())))
    assert [row["figure"] for row in rows] == ["clip_t", "warp_error", "psnr", "dino"]
    assert [rows[0][name] for name in ("source", "ours", "b|0")] == ["20", "30", "31.234"]
    assert rows[0]["scale"] == "100"
    assert rows[0]["model"] == "tiny"
    assert rows[2]["source"] == "inf"
    assert rows[3]["ours"] == ""
    assert rows[3]["not measured"] == "no DINO was given"


def test_json(table):
    facts = json.loads(table.json())
    assert facts["clips"] == ["source", "ours", "b|0"]
    assert facts["figures"]["ours"]["clip_t"]["value"] == 0.3
    assert facts["figures"]["ours"]["clip_t"]["definition"] == "mean cosine"
    assert facts["figures"]["source"]["psnr"]["value"] == "inf"
    assert facts["figures"]["ours"]["dino"]["value"] is None
    assert facts["figures"]["ours"]["dino"]["not_measured"] == "no DINO was given"


def test_markdown(table):
    lines = table.markdown().splitlines()
    assert lines[0] == "| | source | ours | b\\|0 |"
    assert lines[2] == "| CLIP-T x 100 (higher is better) | 20.00 | 30.00 | **31.23** |"
    assert lines[3] == "| Warp-Err x 100 (lower is better) | 0 | **1.42** | 2.00 |"
    assert lines[4] == "| PSNR outside (dB) (higher is better) | identical | **41.00** | 30.00 |"
    assert "- DINO: not measured: no DINO was given." in lines
    assert "- CLIP-T: mean cosine [tiny]." in lines
    assert lines[-1] == "- a remark"


def test_text(table):
    lines = table.text().splitlines()
    assert lines[0].split() == ["source", "ours", "b|0"]
    assert lines[1].split()[-3:] == ["20.00", "30.00", "31.23"]
    assert lines[-4:-2] == ["by tiny: CLIP-T", "by DIS: Warp-Err"]
    assert lines[-2] == "not measured: no DINO was given: DINO"


def test_small_numbers_do_not_look_like_nothing():
    shown = [Metric("warp_error", "Warp-Err", value, "", "lower", 100).text for value in (0.0, 4.2e-8, 4.2e-5, 0.0142)]
    assert shown == ["0", "4.2e-06", "0.0042", "1.42"]


def test_what_one_clip_lacks_is_named():
    table = Table.of({"a": figures(0.3, 0.1, 40.0), "b": figures(0.3, 0.1, 40.0, dino=0.9)})
    assert table.missing() == [("DINO of a", "no DINO was given")]


def test_clips_with_other_figures_do_not_share_a_table():
    with pytest.raises(ValueError, match="2 different sets of figures"):
        Table.of({"a": figures(1, 1, 1), "b": figures(1, 1, 1)[:2]})


def test_bars(table):
    picture = bar_sheet(table, "three clips")
    assert picture.dtype == np.uint8
    assert picture.shape[1:] == (1200, 3)
    colours = {tuple(colour) for colour in picture.reshape(-1, 3)[::7].tolist()}
    assert {(230, 159, 0), (86, 180, 233), (0, 158, 115)} <= colours
    nothing = Table.of({"a": (figures(0.1, 0.1, 1.0)[3],)})
    assert bar_sheet(nothing).shape[1:] == (1200, 3)
