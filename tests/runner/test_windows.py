"""Long clips in the runner: the section `windows:`, what is recorded, and edits that must use the same windows."""

import json

import numpy as np
import pytest
import torch

from videograin.editing import trajectory_file
from videograin.editing.pipeline import edit_clip, invert_clip
from videograin.editing.provenance import Provenance
from videograin.editing.regions import Region
from videograin.editing.samplers import sample_euler
from videograin.editing.settings import AttentionSettings, SamplingSettings, SettingError, WindowSettings
from videograin.editing.windows import ALL_AT_ONCE, Windows
from videograin.measuring.round_trip import measure_round_trip
from videograin.runner import jobs as job
from videograin.runner.cli import main
from videograin.runner.edit_checks import load_edit
from videograin.runner.edit_file import EditFileError
from videograin.runner.open_job import cut_of

FRAMES, CUT = 6, {"frames": 4, "overlap": 1, "anchors": 1}
SOURCE, PROMPT = "a red square and a blue square on sand", "a green circle and a yellow cross on sand"


@pytest.fixture(scope="module")
def frames():
    clip = np.random.default_rng(0).integers(0, 255, (FRAMES, 4, 6, 3), np.uint8)
    return clip.repeat(8, axis=1).repeat(8, axis=2)


@pytest.fixture
def long_edit(edit_file):
    """Writes an edit file for all six frames of the video."""

    def write(**changes):
        regions = [
            {"phrase": "a green circle", "masks": {"boxes": [[4, 4, 28, 28]]}},
            {"phrase": "a yellow cross", "masks": {"boxes": [[60, 36, 84, 60]]}},
        ]
        taken = {"start": 0, "count": FRAMES, "stride": 1}
        return edit_file(frames=taken, regions=regions, **{"inversion": {"check": False}, **changes})

    return write


def test_windows_are_off_unless_the_file_has_them(long_edit):
    assert load_edit(long_edit()).keys.windows is None
    assert cut_of(load_edit(long_edit()).keys.windows) is None
    assert cut_of(load_edit(long_edit(windows={})).keys.windows) == Windows()
    assert cut_of(load_edit(long_edit(windows=CUT)).keys.windows) == Windows(4, 1, 1)


def test_mistakes_in_the_section_name_their_lines(long_edit):
    def problems(text):
        path = long_edit()
        head = path.read_text()
        path.write_text(head + text)
        with pytest.raises(EditFileError) as caught:
            load_edit(path)
        above = len(head.splitlines())
        return [(line - above, what) for line, what in caught.value.problems]

    wrong = problems("windows:\n  frames: 1\n  overlap: -1\n  anchor: 2\n")
    assert [line for line, _ in wrong] == [2, 3, 4]
    assert "windows.frames: 1 is not allowed; expected a whole number of 2 or more; write e.g. 16" in wrong[0][1]
    assert "windows.overlap: -1 is not allowed" in wrong[1][1]
    assert "unknown key windows.anchor; expected one of frames, overlap, anchors; did you mean anchors?" in wrong[2][1]
    ((line, what),) = problems("windows:\n  frames: 8\n  anchors: 4\n")
    assert line == 3
    assert what.startswith("windows: overlap 4 and anchors 4 leave none of 8 frames; expected overlap + anchors <")
    assert "expected a group of keys such as windows: {frames: 16};" in problems("windows: 16\n")[0][1]


def test_settings_check_themselves_and_are_the_editings():
    assert Windows(**vars(WindowSettings())) == Windows()
    with pytest.raises(SettingError, match=r"WindowSettings\.frames: 'all' is not allowed"):
        WindowSettings(frames="all")
    with pytest.raises(SettingError, match="overlap 4 and anchors 2 leave none of 6 frames"):
        WindowSettings(frames=6)


def test_a_trajectory_records_its_windows(random_model, frames):
    cut = Windows(4, 1, 1)
    trajectory = invert_clip(random_model, frames, SOURCE, steps=2, windows=cut)
    assert trajectory.extra["windows"] == "frames 4, overlap 1, anchors 1"
    whole = invert_clip(random_model, frames, SOURCE, steps=2, windows=Windows(FRAMES, 1, 1))
    assert "windows" not in whole.extra
    assert whole.made.windows == ALL_AT_ONCE
    assert torch.equal(whole.latents, invert_clip(random_model, frames, SOURCE, steps=2).latents)
    assert not torch.allclose(whole.noise, trajectory.noise, atol=1e-3)
    notes = Provenance.of(AttentionSettings(), cut, FRAMES).notes()
    assert notes == {"attention": "full", "windows": trajectory.extra["windows"]}


def test_frames_by_themselves_come_out_the_same_in_windows(random_model, frames):
    mask = torch.zeros(32, 48)
    mask[8:24, 8:32] = 1
    attention = AttentionSettings(mode="per_frame", self_strength=0, end=1)
    edits = []
    for windows in (None, Windows(4, 1, 1)):
        same = {"attention": attention, "windows": windows}
        trajectory = invert_clip(random_model, frames, SOURCE, steps=2, **same)
        trip = measure_round_trip(random_model, trajectory, **same)
        region = Region("a green circle", mask)
        sampling = SamplingSettings(steps=2, guidance=3)
        edit = edit_clip(random_model, frames, trajectory, PROMPT, [region], sampling=sampling, **same)
        edits.append((trajectory.latents, edit.latents, trip.frames.astype(int)))
    for whole, parts in zip(*(edit[:2] for edit in edits)):
        torch.testing.assert_close(parts, whole, atol=2e-3 * float(whole.abs().max()), rtol=0)
    assert np.abs(edits[0][2] - edits[1][2]).max() <= 2


def test_a_round_trip_goes_back_in_the_same_windows(random_model, frames):
    cut = Windows(4, 1, 1)
    trajectory = invert_clip(random_model, frames, SOURCE, steps=2, windows=cut)
    with random_model.denoiser(random_model.encode_prompt(SOURCE), frames=FRAMES, windows=cut) as denoise:
        back = sample_euler(denoise, trajectory.noise, trajectory.sigmas)
    trip, other = (measure_round_trip(random_model, trajectory, windows=windows) for windows in (cut, None))
    assert np.array_equal(trip.frames, random_model.decode_latents(back))
    assert not np.array_equal(trip.frames, other.frames)


def test_every_step_ticks_once_whatever_the_windows(random_model, frames):
    ticks = {}

    class Counting:
        def stage(self, name, total=None):
            from contextlib import contextmanager

            @contextmanager
            def counting():
                ticks[name] = [0, total]
                yield lambda info=None: ticks[name].__setitem__(0, ticks[name][0] + 1)

            return counting()

    same = {"windows": Windows(4, 1, 1), "progress": Counting()}
    trajectory = invert_clip(random_model, frames, SOURCE, steps=3, **same)
    measure_round_trip(random_model, trajectory, **same)
    edit_clip(random_model, frames, trajectory, PROMPT, sampling=SamplingSettings(steps=2, guidance=2), **same)
    assert (ticks["invert"], ticks["round trip"], ticks["edit"]) == ([3, 3], [3, 3], [2, 2])


def test_an_edit_uses_the_windows_of_its_inversion(long_edit, random_model, tmp_path):
    made = load_edit(long_edit(windows=CUT, inversion={"save": "inversion.safetensors", "check": False}))
    first = job.run_edit(made, model=random_model)
    note = trajectory_file.load(tmp_path / "inversion.safetensors").extra["windows"]
    assert note == "frames 4, overlap 1, anchors 1"
    report = json.loads(first.files["report"].read_text(encoding="utf-8"))
    assert report["inversion"]["windows"] == note
    assert report["settings"]["windows"] == CUT

    loaded = {"load": "inversion.safetensors"}
    again = job.run_edit(load_edit(long_edit(windows=CUT, inversion=loaded)), model=random_model)
    assert np.array_equal(again.result.frames, first.result.frames)
    made = r"made with windows \(frames 4, overlap 1, anchors 1\), the edit uses (all frames at once|windows)"
    for windows in (None, {**CUT, "anchors": 0}):
        with pytest.raises(EditFileError, match=made):
            job.run_edit(load_edit(long_edit(windows=windows, inversion=loaded)), model=random_model)


def test_an_inversion_of_all_frames_at_once_does_not_serve_windows(long_edit, random_model, tmp_path):
    job.run_invert(load_edit(long_edit(), purpose="invert"), tmp_path / "whole.safetensors", model=random_model)
    loaded = {"load": "whole.safetensors"}
    with pytest.raises(EditFileError, match=r"made with all frames at once, the edit uses windows \(frames 4"):
        job.run_edit(load_edit(long_edit(windows=CUT, inversion=loaded)), model=random_model)
    done = job.run_edit(load_edit(long_edit(windows={"frames": 16}, inversion=loaded)), model=random_model)
    assert done.report["inversion"]["windows"] == "all frames at once"  # six frames fit one window


def test_the_demo_takes_windows_and_leaves_them_in_its_edit_file(tmp_path):
    options = ["--frames", "8", "--windows", "7", "--size", "64", "--steps", "2", "--quiet", "--out", str(tmp_path)]
    assert main(["demo", *options]) == 0
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert report["settings"]["windows"] == {"frames": 7, "overlap": 4, "anchors": 2}
    assert report["command"].endswith("--windows 7")
    assert cut_of(load_edit(tmp_path / "edit.yaml").keys.windows) == Windows(7, 4, 2)
