"""What is found before anything slow starts, and errors that name the line of the edit file."""

import errno
import os
import sys
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from videograin.runner import cli, preflight
from videograin.runner import jobs as job
from videograin.runner.edit_checks import load_edit
from videograin.runner.edit_file import EditFileError
from videograin.runner.preflight import device_problem, memory_errors, unwritable

from .media.video_files import make

GOOD = """\
video: source.mp4
frames: {count: 2}
source_prompt: a red square and a blue square on sand
prompt: a green circle and a yellow cross on sand
regions:
  - phrase: a green circle
    masks: {boxes: [[8, 8, 24, 24]]}
steps: 2
output: out
device: cpu
"""


@pytest.fixture
def edit(tmp_path, source_video):
    """Writes an edit file with replacements and returns its spec."""
    (tmp_path / "source.mp4").write_bytes(source_video.read_bytes())

    def load(*replacements, more="", purpose="edit", **options):
        text = GOOD + more
        for old, new in replacements:
            assert old in text
            text = text.replace(old, new)
        (tmp_path / "edit.yaml").write_text(text)
        return load_edit(tmp_path / "edit.yaml", purpose=purpose, **options)

    return load


@pytest.fixture
def no_model(monkeypatch):
    """Loading a model fails the test."""
    monkeypatch.setattr("videograin.hosts.diffusers.load_model", lambda *_, **__: pytest.fail("a model was loaded"))


@pytest.fixture
def no_inversion(monkeypatch):
    monkeypatch.setattr(job, "invert_clip", lambda *_, **__: pytest.fail("the inversion started"))


def refused(run, *arguments, **options) -> list[tuple[int, str]]:
    with pytest.raises(EditFileError) as caught:
        run(*arguments, **options)
    return caught.value.problems


def absent(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def test_a_device_that_is_not_there(edit, monkeypatch, no_model):
    absent(monkeypatch)
    for run in (job.run_edit, job.run_invert):
        purpose = "edit" if run is job.run_edit else "invert"
        more = "inversion: {save: a.safetensors}\n"
        ((line, text),) = refused(run, edit(("device: cpu", "device: cuda"), more=more, purpose=purpose))
        assert line == 10
        assert text.startswith("device: cuda is not available: torch ")
        assert "write auto or cpu" in text


def test_a_device_number_that_is_not_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert device_problem("cuda") is None
    assert device_problem("cuda:1") is None
    assert "expected one of cuda:0, cuda:1" in device_problem("cuda:2")
    assert device_problem("auto") is device_problem("cpu") is None
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert "mps is not available" in device_problem("mps")
    monkeypatch.setattr(torch, "xpu", SimpleNamespace(is_available=lambda: True, device_count=lambda: 1), raising=False)
    assert device_problem("xpu:0") is None
    assert "xpu:4 does not exist" in device_problem("xpu:4")


def test_places_that_cannot_be_written(edit, tmp_path, no_model):
    (tmp_path / "file").write_text("in the way")
    spec = edit(("output: out", "output: file/out"), more="inversion:\n  save: file/deep/a.safetensors\n")
    problems = refused(job.run_edit, spec)
    assert [line for line, _ in problems] == [9, 12]
    assert all("cannot be written (" in text for _, text in problems)
    assert problems[1][1].startswith("inversion.save: ")
    spec = edit(more="inversion:\n  save: file/a.safetensors\n", purpose="invert")
    assert [line for line, _ in refused(job.run_invert, spec)] == [12]
    with pytest.raises(ValueError, match=r"^--output: .* cannot be written \(") as caught:
        job.run_invert(spec, tmp_path / "file" / "a.safetensors")
    assert not isinstance(caught.value, EditFileError)
    (tmp_path / "folder.safetensors").mkdir()
    with pytest.raises(ValueError, match=r"--output: .* is a folder"):
        job.run_invert(spec, tmp_path / "folder.safetensors")
    with pytest.raises(ValueError, match=r"--output: .*a\.pt: another ending"):
        job.run_invert(spec, tmp_path / "a.pt")


def test_what_the_machine_and_the_pictures_say_is_told_at_once(edit, tmp_path, no_model, monkeypatch):
    absent(monkeypatch)
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "a.safetensors").write_text("no inversion")
    (tmp_path / "dark").mkdir()
    cv2.imwrite(str(tmp_path / "dark/1.png"), np.full((9, 9), 70, np.uint8))
    spec = edit(
        ("output: out", "output: file/out"),
        ("device: cpu", "device: cuda"),
        ("{boxes: [[8, 8, 24, 24]]}", "{folder: dark}"),
        more="inversion: {load: a.safetensors}\n",
    )
    problems = refused(job.run_edit, spec)
    assert [text.split()[0] for _, text in problems] == ["regions[1].masks:", "output:", "device:", "inversion.load:"]


def test_a_place_alone_is_another_kind_of_mistake_than_a_place_among_others(edit, tmp_path, no_model, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(preflight.NoPlaceInFile):
        job.run_edit(edit(("output: out", "output: file/out")))
    absent(monkeypatch)
    with pytest.raises(EditFileError) as caught:
        job.run_edit(edit(("output: out", "output: file/out"), ("device: cpu", "device: cuda")))
    assert not isinstance(caught.value, preflight.NoPlace)


def test_what_the_model_says_is_told_at_once(edit, control_folder, tmp_path, random_model, no_inversion):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/config.json").write_bytes((control_folder / "config.json").read_bytes())
    spec = edit(
        ("source_prompt: a red", "source_prompt: a (red:inf)"),
        more="negative_prompt: (\ninversion: {steps: 1000}\ncontrolnet: {model: broken, video: source.mp4}\n"
        "layout: {level: full}\nattention_maps: {start: 0.9999, end: 1}\n",
    )
    problems = refused(job.run_edit, spec, model=random_model)
    said = [text.partition(": ")[0] for _, text in problems]
    assert said == ["source_prompt", "negative_prompt", "inversion.steps", "controlnet", "attention_maps"]


def test_a_wrong_number_of_steps_is_one_mistake(edit, random_model, no_inversion):
    spec = edit(("steps: 2", "steps: 1000"), more="attention_maps: {}\n")
    ((_, text),) = refused(job.run_edit, spec, model=random_model)
    assert text.startswith("steps: steps must lie")


def test_a_demo_clears_what_a_killed_run_left_and_looks_for_room_first(tmp_path, no_model, ended, capsys):
    (tmp_path / f".edit.{ended}-0a1b2c3d.part.mp4").write_text("half")
    (tmp_path / "source_4.mp4").mkdir()
    assert cli.main(["demo", "--out", str(tmp_path), "--seed", "3", "--clips", "2", "--quiet"]) == 1
    assert f"--out: {tmp_path / 'source_4.mp4'} is a folder; expected room" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["source_4.mp4"]


def test_looking_for_a_place_leaves_nothing_behind(tmp_path, monkeypatch):
    (tmp_path / "there").mkdir()
    assert unwritable(tmp_path / "there" / "a" / "b") is None
    assert unwritable(tmp_path / "there") is None
    assert list((tmp_path / "there").iterdir()) == []

    def full(**_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(preflight.tempfile, "NamedTemporaryFile", full)
    assert unwritable(tmp_path / "there" / "a") == "No space left on device"
    assert list((tmp_path / "there").iterdir()) == []


def test_an_inversion_does_not_replace_the_model(edit, tmp_path, no_model):
    (tmp_path / "m.safetensors").write_bytes(b"")
    spec = edit(more="model: m.safetensors\n", purpose="invert")
    with pytest.raises(ValueError, match="is the edit's model"):
        job.run_invert(spec, tmp_path / "m.safetensors")


def test_the_remedy_for_a_missing_inversion_works(edit, tmp_path, random_model, no_model):
    more = "inversion: {load: deep/a.safetensors, check: false}\n"
    ((_, text),) = refused(edit, more=more)
    assert f"make it with `videograin invert {tmp_path / 'edit.yaml'}`" in text
    job.run_invert(edit(more=more, purpose="invert"), model=random_model)
    assert (tmp_path / "deep" / "a.safetensors").is_file()
    done = job.run_edit(edit(more=more), model=random_model)
    assert "invert" not in done.report["seconds"]


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ("prompt: a green circle and", "prompt: a green circle and ((", 4, "prompt: prompt .* unbalanced"),
        ("prompt: a red", "prompt: ((a red", 3, "source_prompt: prompt .* unbalanced"),
        ("steps: 2", "steps: 1000", 8, "steps: steps must lie between 1 and"),
        ("device: cpu", "negative_prompt: (", 10, "negative_prompt: prompt .* unbalanced"),
        ("device: cpu", "inversion:\n  steps: 1000", 11, "inversion.steps: steps must lie"),
        ("device: cpu", "inversion:\n  steps: 1", 8, "steps: an edit of 2 steps starts at sigma"),
    ],
)
def test_mistakes_that_only_the_model_knows_name_their_line(
    edit, random_model, no_inversion, tmp_path, old, new, line, says
):
    import re

    spec = edit((old, new))
    ((where, text),) = refused(job.run_edit, spec, model=random_model)
    assert where == line
    assert re.match(says, text), text
    assert "\n" not in text
    if "source" in says or "inversion.steps" in says:
        spec = edit((old, new), purpose="invert")
        assert refused(job.run_invert, spec, tmp_path / "a.safetensors", model=random_model) == [(where, text)]


@pytest.fixture(scope="module")
def control_folder(random_model, tmp_path_factory):
    from diffusers import ControlNetModel

    root = tmp_path_factory.mktemp("control")
    ControlNetModel.from_unet(random_model.unet).save_pretrained(root)
    return root


def test_a_controlnet_is_opened_before_the_inversion(edit, control_folder, tmp_path, random_model, monkeypatch):
    more = f"controlnet:\n  model: {control_folder}\n  video: source.mp4\n"
    seen = []
    real = job.invert_clip
    monkeypatch.setattr(job, "invert_clip", lambda *a, **k: seen.append("inversion") or real(*a, **k))
    monkeypatch.setattr(random_model, "load_control", _noting(random_model.load_control, seen), raising=False)
    assert job.run_edit(edit(more=more), model=random_model).files["edit"].is_file()
    assert seen == ["control", "inversion"]

    seen.clear()
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.json").write_bytes((control_folder / "config.json").read_bytes())
    ((line, text),) = refused(job.run_edit, edit(more=more.replace(str(control_folder), "broken")), model=random_model)
    assert line == 12  # where the section's keys begin
    assert text.startswith("controlnet: ")
    assert seen == ["control"]


def test_what_is_out_of_the_ordinary_about_a_control_video_is_in_the_report(
    edit, control_folder, tmp_path, random_model
):
    clip = [np.full((64, 96, 3), 20 + 8 * index, np.uint8) for index in range(6)]
    options = {"flags": "+ilme+ildct", "x264-params": "tff=1"}
    make(tmp_path / "control.mkv", clip, options=options)
    done = job.run_edit(edit(more=f"controlnet: {{model: {control_folder}, video: control.mkv}}\n"), model=random_model)
    told = [note for note in done.report["notes"] if note.startswith("controlnet.video: ")]
    assert len(told) == 1
    assert "control.mkv: the video is interlaced" in told[0]


def _noting(load, seen):
    def noted(*arguments, **options):
        seen.append("control")
        return load(*arguments, **options)

    return noted


def test_too_little_memory_says_what_to_lower(edit, random_model, monkeypatch, capsys, tmp_path):
    def full(*_, **__):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 9.00 GiB.\nGPU 0 has 4 GiB.")

    monkeypatch.setattr(job, "invert_clip", full)
    message = r"\(CUDA out of memory\. Tried .* 9\.00 GiB\).*lower `size` or `frames\.count`, or set dtype"
    with pytest.raises(MemoryError, match=message):
        job.run_edit(edit(), model=random_model)
    monkeypatch.setattr("videograin.hosts.diffusers.load_model", full)
    edit()
    assert cli.main(["edit", str(tmp_path / "edit.yaml"), "--quiet"]) == 2
    said = capsys.readouterr().err
    assert "add `windows: {frames: 16}` or lower its frames" in said
    assert "attention.mode" not in said


def test_other_errors_are_left_alone():
    with pytest.raises(RuntimeError, match="shapes"), memory_errors():
        raise RuntimeError("shapes do not match")
    with pytest.raises(MemoryError, match="lower it"), memory_errors("lower it"):
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory")


@pytest.mark.parametrize(
    "error",
    [
        BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        RuntimeError("can't start new thread"),
    ],
)
def test_the_system_s_lack_of_memory_is_told_as_that(error):
    with pytest.raises(MemoryError, match=r"not enough memory .*; lower it"), memory_errors("lower it"):
        raise error
    with pytest.raises(FileNotFoundError), memory_errors("lower it"):
        os.stat("/nowhere/at/all")


def test_numpy_s_lack_of_memory_is_told_once():
    message = r"memory \(Unable to .*\); expected room for two clips; take one$"
    outer, inner = memory_errors("lower it"), memory_errors("take one", "two clips")
    with pytest.raises(MemoryError, match=message) as told, outer, inner:
        np.empty(2**60, np.uint8)
    assert str(told.value).count("not enough memory") == 1


def test_appended_phrases_are_used_and_noted(edit, random_model):
    more = "append_phrases: true\ninversion: {check: false}\n"
    spec = edit(("phrase: a green circle", "phrase: a white triangle"), more=more)
    done = job.run_edit(spec, model=random_model)
    prompt = "a green circle and a yellow cross on sand, a white triangle"
    assert done.report["prompt"] == prompt
    notes = done.report["notes"]
    assert any("'a white triangle' had no place in the prompt" in note and prompt in note for note in notes)
    assert len(done.result.spans[0]) == 3


def test_the_command_calms_openmp_unless_told_otherwise(monkeypatch, tmp_path):
    monkeypatch.setenv("OMP_WAIT_POLICY", "")  # so that monkeypatch puts back what was there before
    monkeypatch.delenv("OMP_WAIT_POLICY")
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    assert cli.main(["edit", str(tmp_path / "gone.yaml")]) == 2
    assert (os.environ["OMP_WAIT_POLICY"], os.environ["GOMP_SPINCOUNT"]) == ("passive", "7")


def test_a_kernel_that_is_not_installed_is_found_before_the_model_is_loaded(edit, monkeypatch):
    monkeypatch.setitem(sys.modules, "xformers", None)  # makes the import fail
    spec = edit(more="attention: {kernel: xformers}\n")
    with pytest.raises(EditFileError, match=r"edit.yaml:11: attention.kernel: kernel 'xformers' needs the package"):
        preflight.check_start(spec.lines, device=None, kernel=spec.keys.attention.kernel)
