"""From a clip to named things on the embedded model, and on footage that it knows nothing about."""

import pytest
import torch

from videograin.editing.layout.find import find_layout
from videograin.editing.layout.names import words_of
from videograin.editing.pipeline import invert_clip
from videograin.editing.settings import AttentionSettings
from videograin.hosts.diffusers import load_model
from videograin.lab.paths import ROOT
from videograin.runner.media.video import read_clip
from videograin.world.clips import scene_clip

CUPS = ROOT.parent / "shared" / "clips" / "cups.mp4"


def found(frames, prompt, steps):
    model = load_model()
    trajectory = invert_clip(
        model,
        frames,
        prompt,
        steps=steps,
        attention=AttentionSettings(mode="per_frame"),
        features="full",
        feature_range=(0.5, 1),
    )
    words, _ = words_of(prompt, (), lambda phrases: model.word_positions(prompt, phrases))
    return find_layout(trajectory.features, frames, words=words)


def test_two_alike_things_are_told_apart_and_named():
    clip = scene_clip(5100, frames=4, objects=2, same=True)
    layout = found(clip.frames, clip.caption, steps=8)
    assert [thing.phrase for thing in layout.instances] == [clip.phrases[0].removeprefix("a ")] * 2
    exact = clip.masks > 0.5
    for mask in exact:  # each object is one thing's, in every frame, and not the other's
        iou = [
            ((thing.mask > 0.5) & mask).flatten(1).sum(1) / ((thing.mask > 0.5) | mask).flatten(1).sum(1)
            for thing in layout.instances
        ]
        assert sorted(bool((each > 0.7).all()) for each in iou) == [False, True]
    total = torch.stack([thing.mask for thing in layout.things]).sum(0)
    torch.testing.assert_close(total, torch.ones_like(total))


@pytest.mark.skipif(not CUPS.is_file(), reason=f"no footage at {CUPS}")
def test_real_footage():
    """Outside the model's world nothing is promised about what is found, but that it is a layout."""
    frames = read_clip(CUPS, count=3, size=(128, 128)).frames
    layout = found(frames, "a red circle and a blue circle on sand", steps=4)
    assert layout.size == (128, 128)
    assert 0 <= len(layout.instances) <= 8
    cells = torch.stack([thing.cells for thing in layout.things])
    assert (cells.sum(0) == 1).all()
