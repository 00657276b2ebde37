"""The motion of an edit: found once, kept, found again for other frames or masks; what it fills is told."""

import json
import logging
from dataclasses import replace

import numpy as np
import pytest
import torch

from videograin.editing.motion.motion_file import load, made_of
from videograin.editing.motion.value import MotionError
from videograin.editing.regions import Region
from videograin.editing.settings import MotionSettings
from videograin.runner import motion_files
from videograin.runner.edit_checks import load_edit
from videograin.runner.jobs import run_edit
from videograin.runner.media.encode import write_video
from videograin.runner.motion_files import beside, cached_motion, motion_facts
from videograin.runner.progress import ConsoleProgress
from videograin.world.clips import pair_clip

QUIET = ConsoleProgress(quiet=True)


@pytest.fixture(scope="module")
def clip():
    return pair_clip(0, 4, 64)


@pytest.fixture
def regions(clip):
    return [Region("left", clip.masks[0]), Region("right", clip.masks[1])]


def test_it_is_found_once(clip, regions, tmp_path, monkeypatch):
    path = beside(tmp_path / "kept" / "clip.safetensors")
    first = cached_motion(clip.frames, regions, MotionSettings(), path, QUIET)
    assert load(path).source == first.motion.source == "auto"
    assert first.regions == regions
    assert first.notes == ()
    monkeypatch.setattr(motion_files, "clip_motion", lambda *a, **k: pytest.fail("it was found again"))
    again = cached_motion(clip.frames, regions, MotionSettings(), path, QUIET)
    assert all((a.steps == b.steps).all() for a, b in zip(first.motion.regions, again.motion.regions))


@pytest.mark.parametrize("what", ["mask", "source", "frames", "damaged"])
def test_another_clip_another_motion(clip, regions, tmp_path, what):
    path = tmp_path / "clip.motion.safetensors"
    cached_motion(clip.frames, regions, MotionSettings(), path, QUIET)
    frames, settings = clip.frames, MotionSettings()
    if what == "mask":
        regions[0] = replace(regions[0], mask=torch.roll(regions[0].mask, 2, -1))
    elif what == "source":
        settings = MotionSettings(source="moments")
    elif what == "frames":
        frames = frames[:, ::-1].copy()
    else:
        path.write_bytes(path.read_bytes()[:100])
    made = made_of(frames, [region.mask for region in regions], settings.source)
    with pytest.raises(MotionError, match="damaged" if what == "damaged" else "other frames or masks"):
        load(path, made)
    cached_motion(frames, regions, settings, path, QUIET)
    assert load(path, made).source == settings.source


def test_a_missing_mask_is_filled_and_told(clip, regions, tmp_path, caplog):
    mask = clip.masks[0].clone()
    mask[2] = 0
    regions[0] = Region("left", mask)
    with caplog.at_level(logging.WARNING):
        found = cached_motion(clip.frames, regions, MotionSettings(), tmp_path / "m.safetensors", QUIET)
    assert found.notes == ("'left': no mask in frame 2; filled by the motion",)
    assert found.notes[0] in caplog.text
    overlap = ((found.regions[0].mask[2] > 0.5) & (clip.masks[0, 2] > 0.5)).sum() / (clip.masks[0, 2] > 0.5).sum()
    assert overlap > 0.9
    assert found.regions[1] is regions[1]
    absent = cached_motion(clip.frames, regions, MotionSettings(missing="absent"), tmp_path / "m.safetensors", QUIET)
    assert absent.notes == ()


def test_it_lies_beside_the_inversion(tmp_path):
    assert beside(tmp_path / "a.safetensors") == tmp_path / "a.motion.safetensors"
    assert beside(None) is None


def test_without_a_kept_inversion_it_is_found_anew(clip, regions, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = cached_motion(clip.frames, regions, MotionSettings(), None, QUIET)
    assert found.file is None
    assert motion_facts(found)["file"] is None
    assert list(tmp_path.iterdir()) == []


def test_one_frame_has_no_motion(clip, regions, tmp_path):
    one = [replace(region, mask=region.mask[:1]) for region in regions]
    with pytest.raises(MotionError, match="1 frame; expected 2 or more"):
        cached_motion(clip.frames[:1], one, MotionSettings(), tmp_path / "m.safetensors", QUIET)


# --- in an edit file --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory, clip):
    """An edit of the embedded model's kind of clip, with what is added to its file -> (its job, its folder)."""
    folder = tmp_path_factory.mktemp("edit")
    write_video(folder / "clip.mp4", clip.frames, 8)
    boxes = clip.boxes().tolist()

    def one(text="", **changed):
        lines = ["video: clip.mp4", f"source_prompt: {clip.caption}", "prompt: a red circle and a blue cross on sand"]
        lines += ["regions:"]
        for phrase, places in zip(["red circle", "blue cross"], changed.get("boxes", boxes)):
            lines += [f"  - phrase: {phrase}", f"    masks: {{boxes: {json.dumps(places)}}}"]
        lines += ["steps: 2", "inversion: {check: false}", "output: out", text]
        (folder / "edit.yaml").write_text("\n".join(lines) + "\n")
        return run_edit(load_edit(folder / "edit.yaml")), folder / "out"

    return one


def test_an_edit_is_steadied_and_says_so(run):
    plain, _ = run("steady: {enabled: false}")
    assert "motion" not in plain.report
    steady, out = run()
    assert not np.array_equal(plain.result.frames, steady.result.frames)
    told = json.loads((out / "report.json").read_text())
    assert told["settings"]["steady"]["enabled"] is True
    assert told["motion"]["regions"][0] == {"phrase": "red circle", "form": "similarity", "pieces": [[0, 1, 2, 3]]}
    assert not list(out.glob("*.safetensors"))


def test_the_section_alone_mends_masks(run, clip):
    """A frame without a box, though the thing is there."""
    boxes = clip.boxes().tolist()
    boxes[0][1] = None
    found, _ = run("motion: {source: auto}\nsteady: {enabled: false}", boxes=boxes)
    assert any("'red circle': no mask in frame 1; filled by the motion" in note for note in found.report["notes"])
    assert found.result.area[1].sum() > 0.8 * found.result.area[0].sum()


def test_one_frame_of_a_clip_is_edited_as_it_is(run):
    found, _ = run("frames: {count: 1}", boxes=[[[4, 4, 28, 28]], [[36, 4, 60, 28]]])
    assert "motion" not in found.report
