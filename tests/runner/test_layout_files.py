"""`videograin layout` on the embedded model, and edits with what it found."""

import json
import shutil

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from videograin.editing import trajectory_file
from videograin.editing.layout.clip_layout import ClipLayout, Thing
from videograin.editing.layout.of_clip import clip_layout, picked_mask
from videograin.editing.pipeline import PipelineError, check_frames, invert_clip
from videograin.editing.settings import AttentionSettings, LayoutSettings
from videograin.hosts.diffusers import load_model
from videograin.measuring.pictures.painting import region_colour
from videograin.runner import cli
from videograin.runner import jobs as job
from videograin.runner.edit_checks import load_edit
from videograin.runner.edit_file import EditFileError
from videograin.runner.layout_files import changed_masks
from videograin.runner.media.encode import write_video
from videograin.runner.media.mask_files import LabelVideo, MaskFrames, load_masks
from videograin.runner.media.video import probe, read_clip
from videograin.runner.open_job import open_layout
from videograin.runner.progress import ConsoleProgress
from videograin.world.demo_task import FPS, make_task

FRAMES, SIZE = 4, 64
PICTURES = ["clusters.png", "labels", "labels.mp4", "layout.json", "masks", "pca.png", "preview.mp4", "preview.png",
            "regions.yaml"]  # fmt: skip


@pytest.fixture(scope="module")
def model():
    return load_model()


@pytest.fixture(scope="module")
def task():
    return make_task(1, FRAMES, SIZE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, task):
    """The clip, an edit file, and an inversion of it with features."""
    root = tmp_path_factory.mktemp("layout")
    write_video(root / "source.mp4", task.clip.frames, FPS)
    return root


@pytest.fixture(scope="module")
def write(folder, task):
    """Writes an edit file and returns its path; None takes a key away."""

    def write(name="edit.yaml", **changes):
        content = {
            "video": "source.mp4",
            "source_prompt": task.clip.caption,
            "steps": 3,
            "guidance": 3,
            "attention": {"mode": "per_frame"},
            "inversion": {"check": False},
            "layout": {"level": "full", "clusters": 3},
            "device": "cpu",
            "output": "found",
            **changes,
        }
        (folder / name).write_text(yaml.safe_dump({k: v for k, v in content.items() if v is not None}))
        return folder / name

    return write


@pytest.fixture(scope="module")
def found(folder, write, model):
    spec = load_edit(write(inversion={"check": False, "save": "inversion.safetensors"}), purpose="layout")
    return job.run_layout(spec, model=model)


def stack(path) -> np.ndarray:
    return np.stack([np.asarray(Image.open(file)) for file in sorted(path.iterdir())])


def test_a_layout_leaves_masks_and_pictures(found, folder, task):
    out, layout = folder / "found", found.layout
    assert sorted(path.name for path in out.iterdir()) == PICTURES
    assert all(path.exists() for path in found.files.values())
    assert probe(out / "preview.mp4").frames == probe(out / "labels.mp4").frames == FRAMES
    assert stack(out / "labels").shape == (FRAMES, SIZE, SIZE, 3)
    folders = sorted((out / "masks").iterdir(), key=lambda path: int(path.name.split("_")[0]))
    assert len(folders) == len(layout.things) >= 2
    for thing, masks in zip(layout.things, folders):
        assert masks.name == f"{thing.number}_{thing.name.replace(' ', '_')}"
        assert sorted(file.name for file in masks.iterdir()) == [f"{n:04d}.png" for n in range(FRAMES)]
        assert np.abs(stack(masks) / 255 - thing.mask.numpy()).max() <= 0.5 / 255 + 1e-6
        assert np.isin(stack(masks), (0, 255)).mean() > 0.8  # faint tails would let the edit spill over the frame


def test_label_pictures_are_masks_too(found, folder):
    """Each thing by its flat colour, as an edit file reads it: where its mask is the largest."""
    size, frames = read_clip(folder / "source.mp4").geometry, MaskFrames(0, FRAMES, 1, FRAMES)
    best = torch.stack([thing.mask for thing in found.layout.things]).argmax(0)
    for place, thing in enumerate(found.layout.instances):
        if (best == place).any():
            read = load_masks(LabelVideo(folder / "found" / "labels", colour=region_colour(thing.number)), size, frames)
            assert torch.equal(read > 0.5, best == place)


def test_layout_json_says_what_was_found(found, folder):
    report = json.loads((folder / "found" / "layout.json").read_text())
    assert [thing["name"] for thing in report["things"]] == found.layout.names
    assert [thing["background"] for thing in report["things"]] == [False] * (len(found.layout.things) - 1) + [True]
    total = np.sum([thing["area"] for thing in report["things"]], axis=0)
    assert total.shape == (FRAMES,)
    assert total == pytest.approx(1, abs=0.01)
    assert report["settings"]["layout"]["level"] == "full"
    assert report["clusters"] == 3
    assert {"invert", "find layout"} <= set(report["seconds"])
    assert "scikit-learn" in report["versions"]


def edit_keys(task):
    return {"prompt": task.prompt, "output": "edited", "inversion": {"load": "inversion.safetensors"}}


def test_found_masks_go_through_an_edit_and_so_do_their_names(found, folder, write, task, model):
    """The pasted regions.yaml, and the same things by name and by number: equal frames, bit for bit."""
    ready = yaml.safe_load((folder / "found" / "regions.yaml").read_text())["regions"]
    assert len(ready) == len(found.layout.things) - 1
    pasted = [{**entry, "phrase": phrase} for entry, phrase in zip(ready, task.phrases)]
    by_folder = job.run_edit(load_edit(write(regions=pasted, **edit_keys(task))), model=model)
    things = found.layout.things
    for named in ([thing.name for thing in things], [thing.number for thing in things]):
        regions = [{"phrase": p, "masks": {"layout": name}} for p, name in zip(task.phrases[: len(pasted)], named)]
        done = job.run_edit(load_edit(write(regions=regions, **edit_keys(task))), model=model)
        assert "invert" not in done.report["seconds"]
        assert torch.equal(done.result.area, by_folder.result.area)
        assert (done.result.frames == by_folder.result.frames).all()
    assert by_folder.layout is None
    assert sorted(path.name for path in (folder / "edited" / "layout").iterdir()) == PICTURES
    assert [thing["name"] for thing in done.report["layout"]] == found.layout.names
    assert done.report["outputs"]["layout"] == "layout"


def test_a_name_that_is_not_there_lists_those_that_are(found, write, task, model):
    regions = [{"phrase": task.phrases[0], "masks": {"layout": "a giraffe"}}]
    path = write(regions=regions, **edit_keys(task))
    with pytest.raises(EditFileError) as caught:
        job.run_edit(load_edit(path), model=model)
    message = str(caught.value)
    line = next(n for n, text in enumerate(path.read_text().splitlines(), 1) if "masks" in text)
    assert message.startswith(f"edit.yaml:{line}: regions[1].masks.layout: ")
    assert "'a giraffe'" in message
    assert all(name in message for name in found.layout.names)
    assert "preview.png" in message
    assert (path.parent / "edited" / "layout" / "preview.png").is_file()


def test_masks_that_were_edited_are_not_replaced(found, folder, write, model, tmp_path):
    spec = load_edit(
        write(inversion={"load": "inversion.safetensors"}, layout={"level": "full", "clusters": 2, "videos": True}),
        purpose="layout", output=tmp_path / "again",
    )  # fmt: skip
    shutil.copytree(folder / "found", tmp_path / "again")
    assert changed_masks(tmp_path / "again") == []
    masks = tmp_path / "again" / "masks"
    first = min(masks.iterdir())
    Image.fromarray(np.zeros((SIZE, SIZE), np.uint8)).save(first / "0000.png")
    assert changed_masks(tmp_path / "again") == [first]
    with pytest.raises(EditFileError, match=r"edit.yaml:\d+: output: .* was changed since it was written"):
        job.run_layout(spec, model=SimpleRefuser())
    shutil.rmtree(first)  # what is gone needs no care
    done = job.run_layout(spec, model=model)
    names = {path.name for path in masks.iterdir()}
    assert len(names) == 2 * len(done.layout.things)  # nothing is left of the run before
    assert {f"{name}.mp4" for name in names if not name.endswith(".mp4")} <= names
    assert changed_masks(tmp_path / "again") == []
    (masks / "mine").mkdir()
    assert changed_masks(tmp_path / "again") == [masks / "mine"]


class SimpleRefuser:
    """A model that must not be needed."""

    def __getattr__(self, name):
        raise AssertionError(f"the model was asked for {name}")


def test_an_inversion_without_features_says_what_to_do(folder, write, task, model, tmp_path):
    plain = load_edit(write(layout=None), purpose="invert")
    assert plain.layout is None
    job.run_invert(plain, folder / "plain.safetensors", model=model)
    with pytest.raises(EditFileError, match=r"inversion.load: plain.safetensors was saved without features.*layout: "):
        job.run_layout(load_edit(write(inversion={"load": "plain.safetensors"}), purpose="layout"), model=model)
    clip = read_clip(folder / "source.mp4")
    trajectory = invert_clip(model, clip.frames, task.clip.caption, steps=1, attention=AttentionSettings("per_frame"))
    with pytest.raises(PipelineError, match="the inversion holds no features"):
        clip_layout(model, clip.frames, trajectory)


def test_names_are_looked_for_in_the_prompt_of_the_inversion(found, folder, write, model, task):
    names = ["white triangle"]
    path = write(inversion={"load": "inversion.safetensors"}, layout={"level": "full", "names": names})
    with pytest.raises(EditFileError, match=r"edit.yaml:\d+: layout.names: 'white triangle' does not occur in"):
        job.run_layout(load_edit(path, purpose="layout"), model=SimpleRefuser())
    trajectory = trajectory_file.load(folder / "inversion.safetensors")
    with pytest.raises(PipelineError, match="'white triangle' does not occur in the prompt of the inversion"):
        clip_layout(model, task.clip.frames, trajectory, LayoutSettings(names=names))


def test_a_name_that_the_tokenizer_does_not_find_is_refused_before_the_inversion(write, model, task, monkeypatch):
    name = task.clip.caption.split()[-1][1:]  # the end of a word, which some tokenizers know as a part of it
    monkeypatch.setattr(model, "word_positions", lambda prompt, phrases: ([[] for _ in phrases], 77))
    path = write(layout={"level": "full", "names": [name]})
    with pytest.raises(
        EditFileError, match=rf"edit.yaml:\d+: layout.names: '{name}' is no phrase of the source_prompt"
    ):
        job.run_layout(load_edit(path, purpose="layout"), model=model)


@pytest.mark.parametrize(
    ("changes", "noted"),
    [
        ({}, []),
        ({"level": "half"}, ["layout.level half is not used: "]),
        ({"end": 0.5}, ["layout.end not used: "]),
        ({"start": 0.1, "end": 0.5, "level": "half"}, ["layout.level half", "layout.start and layout.end not used: "]),
    ],
)
def test_what_a_saved_inversion_leaves_without_effect_is_noted(found, write, model, changes, noted):
    path = write(inversion={"load": "inversion.safetensors"}, layout={"level": "full", **changes})
    notes = open_layout(load_edit(path, purpose="layout"), ConsoleProgress(quiet=True), model).notes
    assert [note[: len(start)] for note, start in zip(notes, noted, strict=True)] == noted


def layout_of(*masks: torch.Tensor) -> ClipLayout:
    things = [
        Thing(n, f"red circle {n}", "red circle", 2.0, False, torch.zeros(1, 1, 1, dtype=torch.bool), mask)
        for n, mask in enumerate(masks, 1)
    ]
    return ClipLayout(tuple(things), (1, 1), tuple(masks[0].shape[-2:]), torch.ones(1, 1, 1, dtype=torch.int64), 1)


def test_picked_masks_are_united_grown_and_of_8_bits():
    one, two = torch.zeros(1, 16, 16), torch.zeros(1, 16, 16)
    one[:, 2:4, 2:4], two[:, 10:12, 10:12] = 1, 0.3
    layout = layout_of(one, two)
    assert torch.equal(picked_mask(layout, "1"), one)
    both = picked_mask(layout, "red circle 1, red circle 2")
    assert torch.equal(both, picked_mask(layout, "red circle"))
    meeting = layout_of(torch.full((1, 16, 16), 0.4), torch.full((1, 16, 16), 0.6))
    assert picked_mask(meeting, "1, 2").min() == 1  # things share a border; the larger share alone would leave a seam
    levels = both * 255
    torch.testing.assert_close(levels, levels.round())
    assert both[0, 11, 11] == pytest.approx(0.3, abs=0.5 / 255)
    grown = picked_mask(layout, "1", grow=3)
    assert grown[0, 6, 3] == 1
    assert grown[0, 9].max() == 0


def test_the_command_prints_the_things(folder, write, capsys, model, monkeypatch):
    monkeypatch.setattr("videograin.hosts.diffusers.load_model", lambda *_, **__: model)
    path = write(inversion={"load": "inversion.safetensors"})
    assert cli.main(["layout", str(path), "--output", str(folder / "shown")]) == 0
    shown = capsys.readouterr()
    assert "background" in shown.out
    assert f"in {FRAMES} of {FRAMES} frames" in shown.out
    assert str(folder / "shown" / "regions.yaml") in shown.out
    assert "find layout" in shown.err


def test_layout_from_python_as_the_readme_shows_it(folder, task, model):
    frames = read_clip(folder / "source.mp4").frames
    check_frames(model, frames)
    trajectory = invert_clip(model, frames, task.clip.caption, steps=2, features="full")
    layout = clip_layout(model, frames, trajectory, LayoutSettings(clusters=2, smooth=False))
    assert layout.k == 2
    assert layout.size == (SIZE, SIZE)
    assert set(layout.things[0].mask.unique().tolist()) <= {0.0, 1.0}
