"""The command from edit file to finished files: on a tiny random model, and on the embedded one."""

import argparse
import json
import re
import sys
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
import torch
from PIL import Image

from videograin.editing import trajectory_file
from videograin.runner import cli
from videograin.runner import jobs as job
from videograin.runner.edit_checks import load_edit
from videograin.runner.edit_file import EditFileError
from videograin.runner.media.video import probe, read_clip

OUTPUTS = ["edit.mp4", "report.json", "sheet.png", "side_by_side.mp4"]


def files_in(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir()) if folder.exists() else []


def test_an_edit_writes_its_four_files(edit_file, tmp_path, capsys):
    assert cli.main(["edit", str(edit_file())]) == 0
    out = tmp_path / "out"
    assert files_in(out) == OUTPUTS
    info = probe(out / "edit.mp4")
    assert (info.width, info.height, info.frames, info.fps) == (96, 64, 3, 12.5 / 2)
    assert probe(out / "side_by_side.mp4").width == 2 * 96 + 4
    assert Image.open(out / "sheet.png").size[0] > 3 * 96
    report = json.loads((out / "report.json").read_text())
    assert report["settings"]["sampling"]["steps"] == 2
    assert report["settings"]["regions"][1]["phrase"] == "a Yellow  cross"
    assert report["figures"]["outside_composite_identical"] is True
    assert isinstance(report["figures"]["round_trip_psnr_db"], float)
    assert {"read video", "load model", "invert", "edit", "write"} <= set(report["seconds"])
    assert report["model"]["family"] == "sd1"
    assert report["clip"]["digest"] == read_clip(tmp_path / "source.mp4", 0, 3, 2).digest
    shown = capsys.readouterr()
    assert "round_trip_psnr_db" in shown.out
    assert str(out / "edit.mp4") in shown.out
    assert "invert (2 steps)" in shown.err


def test_the_same_file_twice_gives_the_same_frames(edit_file, tmp_path):
    path = edit_file(inversion={"check": False}, variation=0.5, seed=3)
    for name in ("one", "two"):
        assert cli.main(["edit", str(path), "--output", str(tmp_path / name), "--quiet"]) == 0
    assert (tmp_path / "one" / "edit.mp4").read_bytes() == (tmp_path / "two" / "edit.mp4").read_bytes()
    other = edit_file(inversion={"check": False}, variation=0.5, seed=4)
    assert cli.main(["edit", str(other), "--output", str(tmp_path / "three"), "--quiet"]) == 0
    assert (tmp_path / "one" / "edit.mp4").read_bytes() != (tmp_path / "three" / "edit.mp4").read_bytes()


def test_an_inversion_is_made_once_and_used_again(edit_file, tmp_path, random_model):
    saved = tmp_path / "deep" / "inversion.safetensors"
    assert cli.main(["invert", str(edit_file(prompt=None, regions=None, output=None)), "--output", str(saved)]) == 0
    assert trajectory_file.load(saved).extra["attention"] == "full"
    assert json.loads(saved.with_suffix(".report.json").read_text())["figures"]["noise_std"] > 0

    fresh = job.run_edit(load_edit(edit_file(output="fresh")), model=random_model)
    loaded = edit_file(output="loaded", inversion={"load": str(saved)}, source_prompt=None)
    again = job.run_edit(load_edit(loaded), model=random_model)
    assert "invert" not in again.report["seconds"]
    assert (again.result.frames == fresh.result.frames).all()
    both = again.report["figures"]["round_trip_psnr_db"], fresh.report["figures"]["round_trip_psnr_db"]
    assert both[0] == pytest.approx(both[1], abs=0.006)  # saved with two digits


def test_no_report_of_an_inversion_before_stays_beside_a_newly_saved_one(edit_file, tmp_path, random_model):
    saved = tmp_path / "inversion.safetensors"
    job.run_invert(load_edit(edit_file(), purpose="invert"), saved, model=random_model)
    assert saved.with_suffix(".report.json").is_file()
    before = saved.read_bytes()
    again = edit_file(steps=1, output="out", inversion={"check": False, "save": saved.name})
    job.run_edit(load_edit(again), model=random_model)
    assert saved.read_bytes() != before
    assert not saved.with_suffix(".report.json").exists()
    saved.with_suffix(".report.json").write_text('{"somebody": "else"}')
    job.run_edit(load_edit(again), model=random_model)
    assert saved.with_suffix(".report.json").is_file()
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]


def refused(path: Path, model=None) -> str:
    with pytest.raises(EditFileError) as caught:
        job.run_edit(load_edit(path), model=model)
    return str(caught.value)


def test_an_inversion_of_something_else_is_refused(edit_file, tmp_path, random_model, random_model_folder):
    saved = tmp_path / "inversion.safetensors"
    job.run_invert(load_edit(edit_file(), purpose="invert"), saved, model=random_model)
    use = {"inversion": {"load": saved.name}}
    boxes = [{"phrase": "a green circle", "masks": {"boxes": [[4, 4, 28, 28]]}}]

    class NoModel:  # these are found out before a model is needed
        def __getattr__(self, name):
            raise AssertionError(f"the model was asked for {name}")

    message = refused(edit_file(frames={"start": 1, "count": 3, "stride": 2}, regions=boxes, **use), NoModel())
    assert "source: the inversion has" in message
    assert message.startswith("edit.yaml:")
    message = refused(edit_file(frames={"count": 2}, regions=boxes, **use), NoModel())
    assert "frames: the inversion has 3, the edit 2" in message
    message = refused(edit_file(size=[64, 64], regions=boxes, **use), NoModel())
    assert "latent size: the inversion has (8, 12), the edit (8, 8)" in message
    message = refused(edit_file(attention={"mode": "per_frame"}, **use), NoModel())
    assert "made with attention full, the edit uses attention per_frame" in message
    (tmp_path / "torn.safetensors").write_bytes(saved.read_bytes()[:500])
    assert "torn.safetensors" in refused(edit_file(inversion={"load": "torn.safetensors"}), NoModel())

    from videograin.hosts.diffusers import load_model

    other = load_model(random_model_folder)
    with torch.no_grad():
        other.unet.conv_in.weight.add_(1)
    message = refused(edit_file(**use), other)
    assert "model: the inversion has" in message
    assert not (tmp_path / "out").exists()


def test_all_mask_sources_through_the_command(edit_file, tmp_path, random_model):
    (tmp_path / "png").mkdir()
    for index in range(3):
        mask = np.zeros((32, 48), np.uint8)  # half the video's size
        mask[2:14, 2 + 4 * index : 14 + 4 * index] = 255
        Image.fromarray(mask).save(tmp_path / "png" / f"{index}.png")
    sources = [{"folder": "png"}, {"labels": "source.mp4", "colour": "#d6262a"}, {"video": "source.mp4"}]
    for source in sources:
        regions = [
            {"phrase": "a green circle", "masks": source},
            {"phrase": "a yellow cross", "masks": {"boxes": [[60, 36, 84, 60]]}, "preserve": True},
        ]
        spec = load_edit(edit_file(regions=regions, inversion={"check": False}))
        result = job.run_edit(spec, model=random_model).result
        assert result.area[:, 40:56, 64:80].max() == 0  # preserved
        assert result.area.max() > 0.5


def test_a_mask_of_another_shape_is_refused_with_its_line(edit_file, tmp_path):
    (tmp_path / "png").mkdir()
    Image.fromarray(np.full((50, 50), 255, np.uint8)).save(tmp_path / "png" / "0.png")
    path = edit_file(regions=[{"phrase": "a green circle", "masks": {"folder": "png"}}])
    line = next(n for n, text in enumerate(path.read_text().splitlines(), 1) if "masks" in text)
    message = refused(path)
    assert message.startswith(f"edit.yaml:{line}: regions[1].masks:")
    assert "50 x 50 pixels; expected the shape of the source (96 x 64" in message


def test_mistakes_end_with_2_and_one_message(edit_file, tmp_path, capsys):
    assert cli.main(["edit", str(edit_file(stepz=3, steps=None))]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.count("edit.yaml:") == 1
    assert "did you mean steps?" in shown.err
    assert cli.main(["edit", str(tmp_path / "gone.yaml")]) == 2
    assert "gone.yaml: cannot be read" in capsys.readouterr().err
    assert cli.main(["invert", str(edit_file())]) == 2
    assert "says nowhere to save the inversion" in capsys.readouterr().err
    with pytest.raises(EditFileError):
        cli.main(["edit", str(edit_file(stepz=3)), "--debug"])


def test_a_schedule_that_does_not_fit_is_found_before_the_inversion(edit_file, random_model, monkeypatch):
    monkeypatch.setattr(job, "invert_clip", lambda *_, **__: pytest.fail("the inversion started"))
    spec = load_edit(edit_file(inversion={"steps": 1}, steps=2))
    with pytest.raises(ValueError, match="an edit of 2 steps starts at sigma"):
        job.run_edit(spec, model=random_model)


@pytest.mark.parametrize("moment", ["edit_clip", "write_report"])
def test_ctrl_c_ends_with_130_and_leaves_no_half_written_file(edit_file, tmp_path, monkeypatch, capsys, moment):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(job, moment, stop)
    assert cli.main(["edit", str(edit_file())]) == 130
    assert "stopped" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_sound_is_kept(edit_file, tmp_path, source_video, random_model):
    with av.open(str(source_video)) as source, av.open(str(tmp_path / "source.mp4"), "w") as target:
        video = target.add_stream_from_template(source.streams.video[0])
        sound = target.add_stream("aac", rate=48000, layout="mono")
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = video
                target.mux(packet)
        wave = (0.5 * np.sin(np.arange(24000) * 0.05)).astype(np.float32)[None]
        frame = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 48000, 0
        target.mux([*sound.encode(frame), *sound.encode(None)])
    path = edit_file()
    (tmp_path / "loud.mp4").write_bytes((tmp_path / "source.mp4").read_bytes())
    edit_file()  # puts the silent source back
    done = job.run_edit(load_edit(edit_file(video="loud.mp4", inversion={"check": False})), model=random_model)
    assert path.exists()
    assert done.report["audio_kept"] is True
    with av.open(str(done.files["edit"])) as container:
        stream = container.streams.audio[0]
        assert float(stream.duration * stream.time_base) == pytest.approx(3 / 6.25, abs=0.03)


def test_demo_gets_its_arguments(monkeypatch):
    seen = []
    fake = SimpleNamespace(main=lambda args: seen.append(args) or 0)
    monkeypatch.setitem(sys.modules, "videograin.runner.demo", fake)
    monkeypatch.setattr("videograin.runner.demo", fake, raising=False)
    assert cli.main(["demo", "--out", "x", "--frames", "4", "--size", "64", "--seed", "2", "--steps", "6"]) == 0
    args = seen[0]
    assert isinstance(args, argparse.Namespace)
    assert (args.out, args.frames, args.size, args.seed, args.steps) == ("x", 4, 64, 2, 6)
    assert (args.clips, args.motion, args.quiet) == (1, "apart", False)


@pytest.mark.parametrize("command", ["edit", "invert", "layout"])
@pytest.mark.parametrize("output", ["", "~nobody-here/out", "a\nb"])
def test_an_output_that_is_no_path_is_refused(edit_file, command, output, capsys):
    assert cli.main([command, str(edit_file()), f"--output={output}"]) == 2
    assert re.fullmatch(r"videograin: --output: .*; expected a path; .*\n", capsys.readouterr().err)


def test_a_folder_where_the_report_of_an_inversion_goes_is_found_first(edit_file, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(job, "invert_clip", lambda *_, **__: pytest.fail("the inversion started"))
    (tmp_path / "a.report.json").mkdir()
    assert cli.main(["invert", str(edit_file()), "--output", str(tmp_path / "a.safetensors")]) == 1
    assert "a.report.json is a folder; expected the name of a file" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["layout", "layout/preview.png"])
def test_what_stands_where_a_layout_goes_is_found_before_the_inversion(edit_file, tmp_path, monkeypatch, name):
    monkeypatch.setattr(job, "invert_clip", lambda *_, **__: pytest.fail("the inversion started"))
    (tmp_path / "out" / name).mkdir(parents=True)
    if name == "layout":
        (tmp_path / "out/layout").rmdir()
        (tmp_path / "out/layout").write_text("mine")
    path = edit_file(regions=[{"phrase": "a green circle", "masks": {"layout": 1}}])
    assert "output: " in refused(path)


@pytest.mark.parametrize("argv", [[], ["edit"], ["demo", "--frames", "1"], ["nonsense"]])
def test_wrong_command_lines_exit_with_2(argv, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(argv)
    assert caught.value.code == 2
    assert "usage: videograin" in capsys.readouterr().err


def test_a_missing_package_is_named(monkeypatch, capsys, edit_file):
    def missing(*_, **__):
        raise ModuleNotFoundError("No module named 'av'", name="av")

    monkeypatch.setattr("videograin.runner.edit_checks.load_edit", missing)
    assert cli.main(["edit", "a.yaml"]) == 2
    assert "av is not installed" in capsys.readouterr().err


def test_the_embedded_model_end_to_end(edit_file, tmp_path, embedded_folder):
    """Nothing but the command and a video, on the shipped weights."""
    path = edit_file(model=None, steps=4, size=[96, 64], guidance=5)
    assert cli.main(["edit", str(path), "--quiet"]) == 0
    assert files_in(tmp_path / "out") == OUTPUTS
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["settings"]["model"] is None
    assert report["figures"]["modulated_steps"] == 1  # of 4: t = .751
    assert report["figures"]["outside_composite_identical"] is True
    edited, source = read_clip(tmp_path / "out" / "edit.mp4"), read_clip(tmp_path / "source.mp4", 0, 3, 2)
    assert edited.frames.shape == source.frames.shape
    assert edited.fps == source.fps
    assert max(report["figures"]["change_in_regions"]) > 0.05


@pytest.mark.parametrize("named", [(), [metadata.EntryPoint("bench", "videograin.lab.nowhere", "videograin.commands")]])
def test_without_the_laboratory_bench_says_where_it_lives(named, monkeypatch, capsys):
    """As an installed package is: no lab/, with or without an entry point in the metadata; options change nothing."""
    monkeypatch.setattr(cli.metadata, "entry_points", lambda **_: named)
    for options in ([], ["--fast", "--quiet"], ["--out", "somewhere", "--seeds", "2"]):
        assert cli.main(["bench", *options]) == 2
        assert "bench is part of the repository" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        cli.main(["demo", "--fast"])
    assert "unrecognized arguments: --fast" in capsys.readouterr().err
