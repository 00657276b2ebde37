"""The attention of an edit: what the edit file asks for, what is written, and that it costs nothing where it is off."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from videograin.measuring.attention_probe import AttentionProbe, InspectionError
from videograin.measuring.pictures import heat
from videograin.runner import cli
from videograin.runner import jobs as job
from videograin.runner.attention_files import maps_of_before
from videograin.runner.edit_checks import load_edit
from videograin.runner.edit_file import EditFileError
from videograin.runner.media.video import probe
from videograin.runner.open_job import open_job
from videograin.runner.progress import ConsoleProgress

MAPS = ["attention.mp4", "attention.png", "shares.csv"]


def opened(path, model) -> AttentionProbe:
    return open_job(load_edit(path), ConsoleProgress(quiet=True), model).probe


def test_maps_and_shares_are_written(edit_file, tmp_path, random_model, monkeypatch, capsys):
    monkeypatch.setattr("videograin.hosts.diffusers.load_model", lambda *_, **__: random_model)
    maps = {"pixel": {"frame": 2, "x": 70, "y": 50}, "level": "full", "end": 1}
    path = edit_file(attention_maps=maps, inversion={"check": False}, attention={"end": 0.6})
    assert cli.main(["edit", str(path), "--quiet"]) == 0
    out = tmp_path / "out"
    assert set(MAPS) <= {file.name for file in out.iterdir()}
    assert probe(out / "attention.mp4").frames == 3
    assert min(Image.open(out / "attention.png").size) > 100
    rows = list(csv.DictReader((out / "shares.csv").open()))
    report = json.loads((out / "report.json").read_text())
    assert [row["phrase"] for row in rows] == ["a green circle", "a Yellow  cross"]
    assert [row["region"] for row in rows] == ["1", "2"]
    for row, told in zip(rows, report["attention_shares"]):
        for when in ("before", "after"):
            parts = [float(row[f"{part}_{when}"]) for part in ("own", "others", "background")]
            assert sum(parts) == pytest.approx(1, abs=1e-4)
            assert told[when]["own"] == pytest.approx(parts[0], abs=1e-5)
        assert told["after"]["own"] > told["before"]["own"]  # what the modulation is for, with any weights
    assert report["outputs"]["shares"] == "shares.csv"
    assert "Shares of a phrase's attention" in capsys.readouterr().out


def test_looking_changes_no_frame_and_is_off_by_default(edit_file, random_model):
    plain = job.run_edit(load_edit(edit_file(inversion={"check": False})), model=random_model)
    maps = {"words": ["sand", "circle"], "pixel": {"frame": 0, "x": 10, "y": 10}, "level": "all", "end": 1}
    looked = job.run_edit(load_edit(edit_file(inversion={"check": False}, attention_maps=maps)), model=random_model)
    assert (looked.result.frames == plain.result.frames).all()
    assert not set(MAPS) & {path.name for path in plain.files.values()}
    assert set(MAPS) <= {path.name for path in looked.files.values()}
    assert "attention_shares" not in plain.report
    assert plain.text == ""


def test_no_observer_is_made_where_nothing_is_asked_for(edit_file, random_model):
    assert opened(edit_file(), random_model) is None


def test_words_find_their_tokens_and_their_regions(edit_file, random_model):
    words = ["sand", "green", "A yellow cross", "a"]
    found = opened(edit_file(attention_maps={"words": words, "end": 1}), random_model)
    _, spans, labels, _ = random_model.encode_regions(
        "a green circle and a yellow cross on sand", ["a green circle", "a yellow cross"]
    )
    assert found.length == len(labels)
    sand, green, cross, article = found.phrases
    assert (sand.region, green.region, cross.region, article.region) == (0, 1, 2, 0)
    assert set(green.positions) < set(spans[0])
    assert cross.positions == tuple(spans[1])
    assert article.positions == (spans[0][0], spans[1][0])
    assert sand.positions[0] > max(spans[1])


@pytest.mark.parametrize(("size", "x", "y"), [([96, 64], 48.5 / 96, 16.5 / 64), ([64, 64], 32.5 / 64, 16.5 / 64)])
def test_a_pixel_is_one_of_the_source(edit_file, random_model, size, x, y):
    path = edit_file(attention_maps={"pixel": {"frame": 1, "x": 48, "y": 16}, "end": 1}, size=size)
    place = opened(path, random_model).place
    assert (place.frame, place.x, place.y) == (1, pytest.approx(x), pytest.approx(y))


def test_outlines_are_what_is_visible_of_each_region(edit_file, random_model, monkeypatch):
    """As in the node: where a later region lies on top, the lower one's outline stops."""
    seen, drawn = [], heat.heats
    monkeypatch.setattr(heat, "heats", lambda maps, masks, table: seen.append(masks) or drawn(maps, masks, table))
    regions = [
        {"phrase": "a green circle", "masks": {"boxes": [[8, 8, 40, 40]]}},
        {"phrase": "a yellow cross", "masks": {"boxes": [[24, 8, 64, 40]]}},
    ]
    path = edit_file(attention_maps={"level": "full", "end": 1}, regions=regions, inversion={"check": False})
    job.run_edit(load_edit(path), model=random_model)
    below, above = (outline > 0.5 for outline in seen[0])
    assert not (below & above).any()
    assert [int(outline[0].any(0).sum()) for outline in (below, above)] == [16, 40]  # columns


def test_a_range_without_a_step_is_refused_before_the_inversion(edit_file, random_model, monkeypatch):
    monkeypatch.setattr(job, "invert_clip", lambda *_, **__: pytest.fail("the inversion started"))
    path = edit_file(attention_maps={"start": 0.7, "end": 0.8})
    with pytest.raises(EditFileError, match=r"edit.yaml:\d+: attention_maps: none of the 2 steps lies between"):
        job.run_edit(load_edit(path), model=random_model)


def test_a_level_that_the_model_does_not_have_is_refused_before_the_inversion(edit_file, random_model, monkeypatch):
    """As with SDXL, which has no attention at its latent's full side."""
    monkeypatch.setattr(job, "invert_clip", lambda *_, **__: pytest.fail("the inversion started"))
    assert random_model.attention_halvings == {0, 1}
    monkeypatch.setattr(type(random_model), "attention_halvings", {1, 2})
    path = edit_file(attention_maps={"level": "full"})
    with pytest.raises(EditFileError, match=r"edit.yaml:\d+: attention_maps.level: 'full' .* one of half, all; choose"):
        job.run_edit(load_edit(path), model=random_model)
    path = edit_file(layout={"level": "full"})
    with pytest.raises(EditFileError, match=r"edit.yaml:\d+: layout.level: 'full' .* expected one of half; choose"):
        job.run_edit(load_edit(path), model=random_model)


def test_an_edit_is_kept_where_nothing_could_be_seen(edit_file, tmp_path, random_model, caplog, monkeypatch):
    def blind(self):
        raise InspectionError("no cross-attention was seen")

    monkeypatch.setattr(AttentionProbe, "result", blind)
    path = edit_file(attention_maps={"end": 1}, inversion={"check": False})
    done = job.run_edit(load_edit(path), model=random_model)
    assert done.files["report"].is_file()
    assert not set(MAPS) & {file.name for file in (tmp_path / "out").iterdir()}
    assert "attention_maps: no cross-attention was seen" in done.report["notes"]
    assert "no cross-attention" in caplog.text
    assert done.report["attention_shares"] == []


def test_the_round_trip_is_told_frame_by_frame(edit_file, tmp_path, random_model, caplog):
    saved = tmp_path / "inversion.safetensors"
    done = job.run_invert(load_edit(edit_file(), purpose="invert"), saved, model=random_model)
    told = done.report["inversion"]["round_trip"]
    assert len(told["psnr_db_per_frame"]) == 3
    error = np.mean([10 ** (-db / 10) for db in told["psnr_db_per_frame"]])
    assert done.report["figures"]["round_trip_psnr_db"] == pytest.approx(-10 * np.log10(error), abs=0.01)
    assert told["lowest_frame"] == int(np.argmin(told["psnr_db_per_frame"]))
    assert told["verdict"] == "poor"  # random weights, two steps
    assert told["advice"]
    assert any(note.startswith("round trip poor: ") for note in done.report["notes"])
    assert "round trip poor" in caplog.text
    again = job.run_edit(load_edit(edit_file(inversion={"load": saved.name})), model=random_model)
    assert again.report["inversion"]["round_trip"] == told
    assert any(note.startswith("round trip poor: ") for note in again.report["notes"])
    unmeasured = job.run_edit(load_edit(edit_file(inversion={"check": False})), model=random_model)
    assert unmeasured.report["inversion"]["round_trip"] == {"verdict": "not measured"}


def test_maps_of_an_edit_before_go_with_its_video(edit_file, random_model, tmp_path):
    out = tmp_path / "out"
    job.run_edit(load_edit(edit_file(inversion={"check": False}, attention_maps={"end": 1})), model=random_model)
    assert set(MAPS) <= {path.name for path in out.iterdir()}
    (out / "mine.csv").write_text("keep")
    job.run_edit(load_edit(edit_file(inversion={"check": False}, seed=3)), model=random_model)
    assert not set(MAPS) & {path.name for path in out.iterdir()}
    assert (out / "mine.csv").read_text() == "keep"
    assert (out / "edit.mp4").is_file()


def test_files_that_no_report_names_stay(edit_file, random_model, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/shares.csv").write_text("somebody's")
    job.run_edit(load_edit(edit_file(inversion={"check": False})), model=random_model)
    assert (tmp_path / "out/shares.csv").read_text() == "somebody's"


@pytest.mark.parametrize("told", [["../secret.txt", "attention.mp4"], {"a": "../secret.txt"}, "attention.mp4", None])
def test_a_report_from_somebody_else_removes_nothing_elsewhere(tmp_path, told):
    (tmp_path / "secret.txt").write_text("keep")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/report.json").write_text(json.dumps({"outputs": told}))
    assert maps_of_before(tmp_path / "out") == []
