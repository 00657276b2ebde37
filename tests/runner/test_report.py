"""The report, its figures and files that appear whole or not at all."""

import json
import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import arrays

from videograin.editing.settings import SamplingSettings
from videograin.editing.whole_file import plain, whole_file, write_json
from videograin.measuring.metrics import pixels
from videograin.runner.report import build_report, peak_memory, versions, write_report

clips = arrays(np.uint8, (2, 4, 5, 3))


@given(clips, clips)
def test_psnr_is_the_textbook_formula(a, b):
    error = ((a.astype(float) - b) ** 2).mean()
    expected = math.inf if error == 0 else 10 * math.log10(255**2 / error)
    assert pixels.psnr(a, b) == pytest.approx(expected)
    assert pixels.psnr(a, b) == pytest.approx(pixels.psnr(b, a))


@given(clips, clips, arrays(bool, (2, 4, 5)))
def test_psnr_in_a_mask_sees_only_the_mask(a, b, mask):
    b = np.where(mask[..., None], b, 255 - a)
    if not mask.any():
        assert math.isnan(pixels.psnr(a, b, mask))
    else:
        error = ((a[mask].astype(float) - b[mask]) ** 2).mean()
        assert pixels.squared_error(a, b, mask) == pytest.approx(error)


def test_a_still_mask_serves_every_frame():
    a, b = np.zeros((2, 4, 4, 3), np.uint8), np.zeros((2, 4, 4, 3), np.uint8)
    b[:, 0, 0] = 255
    mask = np.zeros((4, 4), bool)
    mask[0, :2] = True
    assert pixels.psnr(a, b, mask) == pytest.approx(10 * math.log10(2))
    assert pixels.psnr(a, b, ~mask) == math.inf


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"uint8 \[1, 2, 2, 3\] and uint8 \[2, 2, 2, 3\]; expected two uint8"):
        pixels.psnr(np.zeros((1, 2, 2, 3), np.uint8), np.zeros((2, 2, 2, 3), np.uint8))


@pytest.mark.parametrize("radius", [0, 1, 5])
def test_dilation_is_a_disc(radius):
    mask = np.zeros((1, 21, 21), bool)
    mask[0, 10, 10] = True
    grown = pixels.dilated(mask, radius)[0]
    assert grown[10].sum() == grown[:, 10].sum() == 2 * radius + 1
    rows, columns = np.nonzero(grown)
    assert np.hypot(rows - 10, columns - 10).max() <= radius + 0.5


def test_outside_forgives_the_margin_and_nothing_more():
    a = np.zeros((1, 64, 64, 3), np.uint8)
    area = np.zeros((1, 64, 64), np.float32)
    area[:, 28:36, 28:36] = 0.2  # any share counts as inside
    near, far = a.copy(), a.copy()
    near[:, 32, 51], far[:, 32, 52] = 255, 255  # 16 and 17 pixels away
    assert pixels.psnr_outside(a, near, area, dilate=16) == math.inf
    assert pixels.psnr_outside(a, far, area, dilate=16) < 60
    support = pixels.dilated(area > 0, 16)
    assert pixels.equal_outside(a, near, support)
    assert not pixels.equal_outside(a, far, support)


def test_flicker_is_zero_for_a_still_clip_and_counts_change():
    still = np.full((3, 4, 4, 3), 9, np.uint8)
    blink = np.stack([np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 255, np.uint8)])
    assert pixels.flicker(still) == 0
    assert pixels.flicker(still[:1]) == 0
    assert pixels.flicker(blink) == pytest.approx(1)
    assert pixels.mean_change(blink[:1], blink[1:]) == pytest.approx(1)


def test_report_holds_what_it_must(tmp_path):
    report = build_report(
        command="videograin edit a.yaml",
        settings={"sampling": SamplingSettings(steps=3), "path": Path("a.mp4"), "fps": Fraction(30000, 1001)},
        figures={"psnr": math.inf, "change": np.float32(0.5), "nothing": math.nan},
        seconds={"invert": 1.23456, "edit": 2.0},
        seed=3,
        notes=["a note"],
    )
    write_report(tmp_path / "out" / "report.json", report)
    read = json.loads((tmp_path / "out" / "report.json").read_text())
    assert read["settings"]["sampling"]["steps"] == 3
    assert read["settings"]["fps"] == "30000/1001"
    assert (read["seed"], read["notes"]) == (3, ["a note"])
    assert read["figures"] == {"psnr": "inf", "change": 0.5, "nothing": "nan"}
    assert read["seconds"] == {"invert": 1.235, "edit": 2.0}
    assert read["seconds_total"] == pytest.approx(3.235, abs=0.001)
    assert read["device"]["device"] == "cpu"
    assert {"python", "torch", "diffusers", "videograin"} <= set(read["versions"])


def test_memory_says_how_it_was_measured():
    found = peak_memory("cpu")
    assert found["process_mib"] > 10
    assert "getrusage" in found["process_measured_by"]
    assert not any(key.startswith("cuda") for key in found)


def test_versions_name_what_is_missing(monkeypatch):
    monkeypatch.setattr("videograin.runner.report.PACKAGES", ("numpy", "no-such-package-here"))
    assert versions()["no-such-package-here"] == "not installed"
    assert versions()["numpy"] == np.__version__


def test_plain_makes_json_of_anything():
    value = {1: (Path("a"), {2}), "x": np.int64(4), "y": -math.inf, "z": None}
    assert plain(value) == {"1": ["a", [2]], "x": 4, "y": "-inf", "z": None}


@pytest.mark.parametrize("stop", [ValueError, KeyboardInterrupt])
def test_whole_file_or_none(tmp_path, stop):
    write_json(tmp_path / "a.json", {"old": True})

    def half():
        with whole_file(tmp_path / "a.json") as temporary:
            assert (temporary.parent, temporary.suffix) == (tmp_path, ".json")
            temporary.write_text("half")
            raise stop

    with pytest.raises(stop):
        half()
    assert json.loads((tmp_path / "a.json").read_text()) == {"old": True}
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]
    with whole_file(tmp_path / "a.json") as temporary:
        temporary.write_text('"new"')
    assert json.loads((tmp_path / "a.json").read_text()) == "new"
