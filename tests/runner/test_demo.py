"""`videograin demo` proves its point, and what it leaves behind works as anybody's input."""

import json

import numpy as np
import pytest

from videograin.runner.cli import main
from videograin.runner.edit_checks import load_edit
from videograin.runner.media.video import read_clip
from videograin.world.demo_task import make_task
from videograin.world.score import Score, pooled, score


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    assert main(["demo", "--quiet", "--out", str(folder)]) == 0
    return folder


def test_with_regions_it_is_right_and_without_it_is_not(out):
    figures = json.loads((out / "report.json").read_text(encoding="utf-8"))["figures"]
    regions, baseline = figures["regions"], figures["baseline"]
    assert regions["count"] == 16
    assert regions["colour"] >= 0.98
    assert regions["object"] >= 0.95
    assert regions["leak"] <= 0.01
    assert baseline["object"] <= regions["object"] - 0.3
    clip = figures["clips"][0]
    assert clip["round_trip_psnr_db"] >= 40
    assert clip["outside_blend_16px_psnr_db"] >= 45
    assert clip["outside_composite_identical"] is True


def test_its_videos_are_videos(out):
    source = read_clip(out / "source.mp4")
    edit = read_clip(out / "edit.mp4")
    assert source.frames.shape == edit.frames.shape == (8, 128, 128, 3)
    assert source.fps == edit.fps == 8
    assert read_clip(out / "side_by_side.mp4").frames.shape == (8, 128, 3 * 128 + 2 * 4, 3)
    assert not np.array_equal(source.frames, edit.frames)
    for name in ("sheet.png", "demo.gif", "baseline.mp4"):
        assert (out / name).stat().st_size > 0


def test_no_two_stages_are_shown_by_one_name_and_the_report_counts_them_by_kind(tmp_path, capsys):
    assert main(["demo", "--out", str(tmp_path), "--frames", "2", "--size", "64", "--steps", "2"]) == 0
    shown = [line.split(" (")[0].split(":")[0] for line in capsys.readouterr().err.splitlines() if line.endswith(" s")]
    assert len(shown) == len(set(shown)) > 5
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    stages = "load model, encode, invert, round trip, decode round trip, decode source, edit, decode, motion, write"
    assert list(report["seconds"]) == stages.split(", ")


def test_its_edit_file_is_a_valid_edit(out):
    spec = load_edit(out / "edit.yaml")
    assert [region.phrase in spec.keys.prompt for region in spec.keys.regions] == [True, True]
    assert spec.keys.steps == 50


def test_the_reader_gives_the_ideal_edit_full_marks_and_the_source_none():
    task = make_task(0, 4, 128)
    masks = (task.masks > 0.5).numpy()
    ideal = pooled(score(task.clip.edited(task.objects).frames, masks, task.objects))
    assert (ideal.colour, ideal.object, ideal.leak, ideal.count) == (1, 1, 0, 8)
    swapped = pooled(score(task.clip.edited(task.objects[::-1]).frames, masks, task.objects))
    assert (swapped.colour, swapped.object, swapped.leak) == (0, 0, 1)
    untouched = pooled(score(task.clip.frames, masks, task.objects))
    assert (untouched.colour, untouched.leak) == (0, 0)


def test_pooling_weighs_by_count():
    assert pooled([Score(1, 1, 0, 3), Score(0, 0, 1, 1)]) == Score(0.75, 0.75, 0.25, 4)


def test_a_size_off_the_grid_is_refused(tmp_path, capsys):
    assert main(["demo", "--quiet", "--out", str(tmp_path), "--size", "130"]) == 2
    assert "--size is 130; expected a multiple of 8" in capsys.readouterr().err
