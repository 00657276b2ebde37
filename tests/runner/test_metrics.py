"""`videograin metrics`: from files to a table; encoders that read mean colours stand in for CLIP."""

import csv
import json
import shlex

import numpy as np
import pytest
import yaml
from PIL import Image

from videograin.measuring.metrics.encoders import Encoder
from videograin.runner import cli, metrics
from videograin.runner.edit_file import EditFileError
from videograin.runner.media.encode import write_video
from videograin.runner.metrics_file import MetricsError, MetricsSpec, completed, load_metrics, with_flags

WORDS = {"green": (0, 1, 0), "yellow": (1, 1, 0), "a": (1, 1, 1)}
FILES = ["metrics.csv", "metrics.json", "metrics.md", "metrics.png"]


def colours(folder, device) -> Encoder:
    def pictures(frames):
        found = [frame.reshape(-1, 3)[frame.reshape(-1, 3).sum(axis=1) > 0].mean(axis=0) for frame in frames]
        return np.array(found)

    def texts(words):
        return np.array(
            [WORDS[text.split()[text.split()[0] == "a" and len(text.split()) == 2]] for text in words], float
        )

    return Encoder(folder.name, pictures, texts, 10.0, (0, 0, 0))


@pytest.fixture
def eyes(monkeypatch, tmp_path):
    """A folder that passes for a CLIP."""
    monkeypatch.setattr(metrics, "load_clip", colours)
    (tmp_path / "eyes").mkdir()
    (tmp_path / "eyes" / "config.json").write_text("{}")
    return tmp_path / "eyes"


@pytest.fixture
def squares(tmp_path, moving_squares):
    """The source, an edit that paints the squares green and yellow, and one that leaves them: videos of six frames."""
    edit = moving_squares.copy()
    for index in range(6):
        edit[index, 8:24, 8 + 4 * index : 24 + 4 * index] = (0, 200, 0)
        edit[index, 40:56, 64:80] = (200, 200, 0)
    for name, frames in (("source", moving_squares), ("right", edit), ("left alone", moving_squares)):
        write_video(tmp_path / f"{name}.mp4", frames, 8)
    return tmp_path


REGIONS = [
    {"phrase": "a green", "masks": {"boxes": [[8 + 4 * k, 8, 24 + 4 * k, 24] for k in range(6)]}},
    {"phrase": "a yellow", "masks": {"boxes": [[64, 40, 80, 56]]}},
]


def metrics_file(folder, **changes):
    content = {
        "video": "source.mp4",
        "prompt": "a green and a yellow square",
        "regions": REGIONS,
        "edits": ["right.mp4", {"name": "untouched", "path": "left alone.mp4"}],
        "clip": "eyes",
        "output": "measured",
        **changes,
    }
    path = folder / "metrics.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in content.items() if value is not None}))
    return path


def test_a_metrics_file_gives_four_files(squares, eyes, capsys):
    assert cli.main(["metrics", str(metrics_file(squares))]) == 0
    out = squares / "measured"
    assert sorted(file.name for file in out.iterdir()) == FILES
    rows = {row["figure"]: row for row in csv.DictReader((out / "metrics.csv").open())}
    assert float(rows["instance_accuracy"]["right"]) == 100
    assert float(rows["instance_accuracy"]["untouched"]) < 100
    assert float(rows["region_clip_t"]["right"]) > 97 > float(rows["region_clip_t"]["untouched"])
    assert float(rows["leakage"]["right"]) < float(rows["leakage"]["untouched"])
    assert rows["psnr_outside"]["source"] == "inf"
    assert 30 < float(rows["psnr_outside"]["right"]) < 60  # nothing changed there but by compression
    assert rows["psnr_outside"]["untouched"] == "inf"  # compressed as the source was: the very same frames
    assert rows["warp_error"]["model"].startswith(("DIS (OpenCV", "RAFT-Large"))
    assert float(rows["motion_error"]["source"]) == 0
    assert rows["dino_adjacent"]["right"] == ""
    assert rows["dino_adjacent"]["not measured"] == "no DINO was given"
    report = json.loads((out / "metrics.json").read_text())
    assert report["clips"] == ["source", "right", "untouched"]
    assert report["figures"]["right"]["clip_t"]["model"] == "eyes"
    assert report["figures"]["source"]["psnr_outside"]["value"] == "inf"
    assert report["settings"]["regions"][0]["phrase"] == "a green"
    assert any("compressed video" in note for note in report["notes"])
    assert "| | source | right | untouched |" in (out / "metrics.md").read_text()
    assert Image.open(out / "metrics.png").size[0] == 1200
    shown = capsys.readouterr()
    assert "Instance accuracy (%) (higher is better)" in shown.out
    assert "not measured: no PickScore model was given: PickScore" in shown.out
    assert str(out / "metrics.png") in shown.out


def test_plain_flags_are_enough(squares, capsys):
    edits = ["--edit", str(squares / "right.mp4"), "--edit", f"untouched={squares / 'left alone.mp4'}"]
    flags = ["--source", str(squares / "source.mp4"), "--output", str(squares / "flags"), "--quiet"]
    assert cli.main(["metrics", *edits, *flags]) == 0
    report = json.loads((squares / "flags" / "metrics.json").read_text())
    assert report["clips"] == ["source", "right", "untouched"]
    assert shlex.split(report["command"]) == [
        *("videograin", "metrics", f"--edit={squares / 'right.mp4'}", f"--edit=untouched={squares / 'left alone.mp4'}"),
        *(f"--source={squares / 'source.mp4'}", f"--output={squares / 'flags'}"),
    ]
    assert report["figures"]["right"]["clip_t"]["not_measured"] == "no CLIP was given"
    assert report["figures"]["right"]["psnr_outside"]["not_measured"] == "no regions were given"
    assert isinstance(report["figures"]["right"]["warp_error"]["value"], float)


def test_an_edit_s_folder_says_where_it_comes_from(edit_file, tmp_path, random_model, eyes, monkeypatch):
    from videograin.runner import jobs as job
    from videograin.runner.edit_checks import load_edit

    monkeypatch.chdir(tmp_path)
    path = edit_file(inversion={"check": False})
    job.run_edit(load_edit(path), model=random_model)
    monkeypatch.setitem(WORDS, "Yellow", (1, 1, 0))
    spec = with_flags(MetricsSpec(), ["out"], clip=eyes, output=tmp_path / "measured")
    done = metrics.run_metrics(spec)
    assert done.table.names == ("source", "out")
    assert done.report["settings"]["start"] == 0
    assert done.report["settings"]["stride"] == 2
    assert done.report["settings"]["prompt"] == "a green circle and a yellow cross on sand"
    assert {figure.key: figure for figure in done.table.columns[1]}["instance_accuracy"].value is not None
    assert any(f"are those of {path}" in note for note in done.table.notes)
    assert not any("other source frames" in note for note in done.table.notes)
    # another part of the video than the edit was made from
    other = metrics.run_metrics(with_flags(spec, None, start=1))
    assert "out was made from other source frames than it is measured against" in other.table.notes
    named = metrics.run_metrics(with_flags(spec, None, prompt="a blue cross"))
    assert any("was made for another prompt: 'a green circle" in note for note in named.table.notes)
    path.unlink()
    with pytest.raises(MetricsError, match=r"was made from .*edit\.yaml, which is not there.*--edit-file"):
        metrics.run_metrics(spec)


@pytest.mark.parametrize("report", [{"settings": None, "clip": None}, {"settings": "?", "clip": []}, [], None])
def test_a_report_that_says_nothing_is_no_error(squares, report):
    folder = squares / "made"
    folder.mkdir()
    (squares / "right.mp4").rename(folder / "edit.mp4")
    if report is not None:
        (folder / "report.json").write_text(json.dumps(report))
    flags = {"video": squares / "source.mp4", "output": squares / "measured"}
    done = metrics.run_metrics(with_flags(MetricsSpec(), [str(folder)], **flags))
    assert not any("other source frames" in note for note in done.table.notes)
    with pytest.raises(MetricsError, match="the source video is missing"):
        metrics.run_metrics(with_flags(MetricsSpec(), [str(folder)]))


def test_a_demo_s_folder_is_an_edit_with_its_file_inside(squares, eyes):
    folder = squares / "demo"
    folder.mkdir()
    (squares / "right.mp4").rename(folder / "edit.mp4")
    (squares / "source.mp4").rename(folder / "source.mp4")
    (folder / "report.json").write_text(json.dumps({"settings": {"sampling": {}}, "figures": {}}))
    content = {"video": "source.mp4", "source_prompt": "squares", "prompt": "a green and a yellow square"}
    (folder / "edit.yaml").write_text(yaml.safe_dump({**content, "regions": REGIONS, "output": "replayed"}))
    done = metrics.run_metrics(with_flags(MetricsSpec(), [str(folder)], clip=eyes, output=squares / "measured"))
    assert done.report["settings"]["video"] == folder / "source.mp4"
    assert done.report["settings"]["prompt"] == "a green and a yellow square"
    assert {figure.key: figure.value for figure in done.table.columns[1]}["instance_accuracy"] == 1
    assert f"source, prompt and regions are those of {folder / 'edit.yaml'}" in done.table.notes


def test_a_lack_of_memory_says_what_helps_here(squares, monkeypatch, capsys):
    def full(*_):
        np.empty(2**60, np.uint8)

    monkeypatch.setattr(metrics, "prepare", full)
    edits = ["--edit", str(squares / "right.mp4"), "--source", str(squares / "source.mp4"), "--quiet"]
    assert cli.main(["metrics", *edits, "--output", str(squares / "flags")]) == 2
    said = capsys.readouterr().err
    assert "not enough memory (Unable to allocate" in said
    assert "expected room for every clip's frames" in said
    assert "measure fewer frames (frames.count, --count), at a smaller size" in said
    assert "denoised" not in said


def test_masks_that_an_edit_found_come_from_its_folder(squares, eyes):
    folder = squares / "found"
    (folder / "layout" / "masks" / "1_square_1").mkdir(parents=True)
    (folder / "layout" / "masks" / "2_background").mkdir()
    mask = np.zeros((64, 96), np.uint8)
    mask[40:56, 64:80] = 255
    Image.fromarray(mask).save(folder / "layout" / "masks" / "1_square_1" / "0000.png")
    Image.fromarray(255 - mask).save(folder / "layout" / "masks" / "2_background" / "0000.png")
    things = [
        {"number": 1, "name": "square 1", "phrase": "square", "background": False},
        {"number": 2, "name": "background", "phrase": "", "background": True},
    ]
    (folder / "layout" / "layout.json").write_text(json.dumps({"things": things}))
    (squares / "right.mp4").rename(folder / "edit.mp4")
    regions = [{"phrase": "a yellow", "masks": {"layout": "Square 1"}}]
    done = metrics.run_metrics(load_metrics(metrics_file(squares, edits=["found"], regions=regions)))
    assert done.table.names[1] == "found"
    by_key = {figure.key: figure for figure in done.table.columns[1]}
    assert by_key["region_clip_t"].value > 0.97
    assert by_key["leakage"].why == "it needs two regions with different prompts"
    (folder / "layout" / "masks" / "1_square_1").rename(folder / "layout" / "masks" / "one")
    with pytest.raises(EditFileError, match=r"has no folder for thing 1 \(square 1\), which layout\.json names"):
        metrics.run_metrics(load_metrics(metrics_file(squares, edits=["found"], regions=regions)))
    (folder / "layout" / "masks" / "one").rename(folder / "layout" / "masks" / "1_square_1")
    regions = [{"phrase": "a yellow", "masks": {"layout": "circle"}}]
    with pytest.raises(EditFileError, match=r"metrics\.yaml:\d+: regions\[1\]\.masks: .*there is no 'circle'"):
        metrics.run_metrics(load_metrics(metrics_file(squares, edits=["found"], regions=regions)))
    with pytest.raises(EditFileError, match="no edit's folder has its layout"):
        metrics.run_metrics(load_metrics(metrics_file(squares, edits=["left alone.mp4"], regions=regions)))


def test_an_edit_of_another_size_is_brought_to_the_source_s(squares, moving_squares):
    import cv2

    double = np.stack([cv2.resize(frame, (192, 128)) for frame in moving_squares])
    write_video(squares / "double.mp4", double, 8)
    path = metrics_file(squares, edits=["right.mp4", "double.mp4"], clip=None)
    notes = metrics.run_metrics(load_metrics(path)).table.notes
    assert "double was resized from 192 x 128 to 96 x 64" in notes
    write_video(squares / "square.mp4", double[:, :, :128], 8)
    with pytest.raises(EditFileError, match=r"edit square: it is 128 x 128 pixels, the source is 96 x 64"):
        metrics.run_metrics(load_metrics(metrics_file(squares, edits=["right.mp4", "square.mp4"], clip=None)))
    write_video(squares / "short.mp4", moving_squares[:4], 8)
    with pytest.raises(EditFileError, match="edit short has 4 frames, the source 6"):
        metrics.run_metrics(load_metrics(metrics_file(squares, edits=["right.mp4", "short.mp4"], clip=None)))
    # of one short edit the source gives as many frames
    done = metrics.run_metrics(load_metrics(metrics_file(squares, edits=["short.mp4"], clip=None, regions=None)))
    assert done.report["settings"]["edits"] == {"short": str(squares / "short.mp4")}


def test_all_mistakes_are_told_at_once(squares, capsys):
    path = metrics_file(squares, edits=["gone.mp4", "right.mp4", "right.mp4"], dino="gone", raft="gone.pth")
    assert cli.main(["metrics", str(path)]) == 2
    told = capsys.readouterr().err
    for part in (
        "gone.mp4 does not exist; expected a video, or the output folder of an edit",
        "the name 'right' is used twice",
        "has no config.json; expected a local transformers folder",
        "raft: ",
        "OpenCV's DIS takes its place",
    ):
        assert part in told
    assert f"metrics.yaml:{line_with(path, 'dino')}: dino: " in told
    assert cli.main(["metrics"]) == 2
    assert "there is no edit to measure; expected one or more" in capsys.readouterr().err
    assert cli.main(["metrics", "--edit", str(squares / "right.mp4")]) == 2
    assert "the source video is missing" in capsys.readouterr().err
    assert cli.main(["metrics", str(metrics_file(squares, clop="eyes"))]) == 2
    assert "unknown key clop" in (told := capsys.readouterr().err)
    assert "did you mean clip?" in told
    assert cli.main(["metrics", "--device", "tpu"]) == 2
    assert "--device: 'tpu' is not allowed" in capsys.readouterr().err


def line_with(path, key: str) -> int:
    return next(n for n, line in enumerate(path.read_text().splitlines(), 1) if line.startswith(f"{key}:"))


def test_a_network_that_cannot_be_read_stops_before_measuring(squares):
    (squares / "eyes").mkdir()
    (squares / "eyes" / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(EditFileError, match=r"metrics\.yaml:\d+: clip: .*is of model_type bert; expected"):
        metrics.run_metrics(load_metrics(metrics_file(squares)))
    assert not (squares / "measured").exists()


def test_it_clears_what_a_killed_run_left_and_looks_for_room_first(squares, ended, capsys, monkeypatch):
    monkeypatch.setattr(metrics, "read_clip", lambda *_, **__: pytest.fail("a clip was read"))
    out = squares / "measured"
    (out / "metrics.csv").mkdir(parents=True)
    (out / f".metrics.{ended}-0a1b2c3d.part.json").write_text("half")
    assert cli.main(["metrics", str(metrics_file(squares, clip=None))]) == 1
    assert f"output: {out / 'metrics.csv'} is a folder; expected room" in capsys.readouterr().err
    assert [path.name for path in out.iterdir()] == ["metrics.csv"]


def test_names_of_edits(squares, tmp_path):
    spec = with_flags(MetricsSpec(), ["out/men/edit.mp4", "b=x.mp4", "out/men two", "clips/one.mp4"])
    assert [edit.name for edit in spec.edits] == ["men", "b", "men two", "one"]
    (tmp_path / "a=b.mp4").write_bytes(b"")
    assert with_flags(MetricsSpec(), [str(tmp_path / "a=b.mp4")]).edits[0].name == "a=b"


def test_a_flag_wins_over_the_file(squares):
    spec = with_flags(load_metrics(metrics_file(squares, clip=None)), None, prompt="another", count=3)
    spec, notes = completed(spec)
    assert (spec.prompt, spec.count, spec.video, notes) == ("another", 3, squares / "source.mp4", ())


@pytest.mark.parametrize("text", ["", "[]", '{"things": 1}', '{"things": []}', '{"things": ["../x"]}', "[" * 100_000])
def test_a_damaged_layout_is_named(squares, text):
    folder = squares / "found"
    (folder / "layout" / "masks").mkdir(parents=True)
    (folder / "layout" / "layout.json").write_text(text)
    (squares / "right.mp4").rename(folder / "edit.mp4")
    regions = [{"phrase": "a yellow", "masks": {"layout": "Square 1"}}]
    with pytest.raises(EditFileError, match=r"layout\.json is damaged"):
        metrics.run_metrics(load_metrics(metrics_file(squares, edits=["found"], regions=regions, clip=None)))
