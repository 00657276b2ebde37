"""Steady edits, put together: what is fused, where it acts, and what must not change."""

import numpy as np
import pytest
import torch

from videograin.editing.fusion import Shares, fuse
from videograin.editing.motion.clip_motion import clip_motion
from videograin.editing.motion.value import MotionError
from videograin.editing.pipeline import edit_clip, invert_clip
from videograin.editing.regions import Region
from videograin.editing.settings import AttentionSettings, CompositeSettings, SamplingSettings, SteadySettings
from videograin.editing.steady import Steady
from videograin.world.clips import pair_clip

F = 3
FEW = SamplingSettings(steps=3, guidance=3)
ON, OFF = SteadySettings(), SteadySettings(enabled=False)
PROMPT = "a green circle and a yellow cross on sand"


@pytest.fixture(scope="module")
def clip():
    return pair_clip(0, F, 64)


@pytest.fixture(scope="module")
def regions(clip):
    return [Region("a green circle", clip.masks[0]), Region("a yellow cross", clip.masks[1])]


@pytest.fixture(scope="module")
def motion(clip, regions):
    return clip_motion(clip.frames, [region.mask for region in regions])


@pytest.fixture(scope="module")
def edited(random_model, clip, regions, motion):
    """steady, and what else -> the edit."""
    trajectory = invert_clip(random_model, clip.frames, "two things on sand", steps=3)

    def run(steady=OFF, regions=regions, **more):
        how = {"sampling": FEW, "attention": AttentionSettings(end=0.5)}
        return edit_clip(random_model, clip.frames, trajectory, PROMPT, regions, steady=steady, **how, **more)

    return run


@pytest.mark.parametrize("steady", [OFF, SteadySettings(strength=0, key=False)], ids=["off", "strength 0"])
def test_without_it_no_bit_changes(edited, steady):
    plain, same = edited(), edited(steady)
    assert not np.array_equal(plain.frames, edited(None).frames)  # None: the defaults, which hold it steady
    assert torch.equal(plain.latents, same.latents)
    assert np.array_equal(plain.frames, same.frames)
    assert plain.motion is None


def test_the_last_prediction_is_a_fused_one(edited, motion, regions):
    """Of the last step's x0, which is the result, every whole cell of a region agrees over time: fusing it
    again changes little beside what the first fusion did."""
    plain, steady = edited(), edited(ON, motion=motion)
    shares = Shares.at(torch.stack([region.mask for region in regions]), (8, 8))

    def rest(latents):
        return float((fuse(latents, motion, shares) - latents).abs().mean())

    assert rest(steady.latents) < 0.5 * rest(plain.latents)


def test_the_motion_is_found_where_none_is_given(edited, motion):
    found, given = edited(ON), edited(ON, motion=motion)
    assert np.array_equal(found.frames, given.frames)
    assert found.motion.source == motion.source


def test_outside_the_composite_nothing_changes(edited, clip):
    frames = edited(ON, composite=CompositeSettings(dilate=2, feather=0)).frames
    far = torch.nn.functional.max_pool2d(clip.masks.amax(0), 7, 1, 3).numpy() == 0
    assert far.any()
    assert np.array_equal(frames[far], clip.frames[far])


def test_a_preserved_region_is_not_fused(motion, regions):
    kept = [regions[0], Region(regions[1].phrase, regions[1].mask, preserve=True)]
    steady = Steady.of(motion, kept, F)
    assert steady.fused == (0,)
    x = torch.randn(F, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    (fusion,) = steady.hooks((8, 8), ON, lambda sigma: 0.5)
    out = fusion.prediction(x, 1.0)
    changed = (out != x).any(1)
    assert changed.any()
    assert not (changed & (Shares.at(steady.masks, (8, 8)).of[0] == 0)).any()


def test_it_acts_in_its_part_of_the_run(motion, regions):
    steady = Steady.of(motion, regions, F)
    (late,) = steady.hooks((8, 8), SteadySettings(start=0.5), lambda sigma: sigma / 10)
    x = torch.randn(F, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    assert late.prediction(x, 9.0) is x
    assert not torch.equal(late.prediction(x, 4.0), x)
    assert not torch.equal(late.prediction(x, 0.0), x)


def test_pixels_that_show_the_background_are_put_back(motion, regions, clip):
    """Of an edit that is the source with its things taken away the key makes the source's background; what it does not
    know (never seen) it leaves."""
    steady = Steady.of(motion, regions, F)
    noise = np.random.default_rng(0).integers(-6, 7, clip.frames.shape)
    shaken = np.clip(clip.frames.astype(int) + noise, 0, 255).astype(np.uint8)
    ring = (torch.nn.functional.max_pool2d(clip.masks.amax(0), 9, 1, 4) > 0) & ~(
        torch.nn.functional.max_pool2d(clip.masks.amax(0), 5, 1, 2) > 0
    )
    out = steady.pictures(clip.frames, shaken, ON, 8)
    error = np.abs(out.astype(int) - clip.frames)[ring.numpy()].mean()
    assert error < 0.25 * np.abs(shaken.astype(int) - clip.frames)[ring.numpy()].mean()
    nothing = SteadySettings(pixels=False, key=False)
    assert steady.pictures(clip.frames, shaken, nothing, 8) is shaken


def test_the_motion_of_another_clip_is_refused(edited, motion, regions):
    with pytest.raises(MotionError, match=r"3 frames and 2 regions, the edit 3 and 1; .* find it again"):
        edited(ON, regions=regions[:1], motion=motion)


def test_a_cut_is_told(random_model, clip):
    """A region whose mask jumps to where nothing like it is, and back, so that none of its steps can be found: its
    frames are edited one by one, and a note says so."""
    masks = clip.masks[:1].clone()
    masks[0, 1] = torch.roll(masks[0, 1], 31, 1)
    region = Region("a green circle", masks[0])
    trajectory = invert_clip(random_model, clip.frames, "two things on sand", steps=3)
    result = edit_clip(random_model, clip.frames, trajectory, PROMPT, [region], sampling=FEW, steady=ON)
    assert any("its motion could not be found" in note and "one by one" in note for note in result.notes)
