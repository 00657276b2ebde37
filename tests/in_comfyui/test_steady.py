"""Clip Motion, Steady and Pixel Composite in the real host: the runner's steady edit, and what must not change."""

import logging
from dataclasses import replace

import numpy as np
import pytest
import torch

from videograin.editing.fusion import Shares, fuse
from videograin.editing.model import LatentGeometry
from videograin.editing.regions import Region
from videograin.editing.windows import Windows
from videograin.hosts.comfyui.families import FAMILIES
from videograin.hosts.comfyui.notices import NOTICES
from videograin.hosts.comfyui.steady import steadied_model
from videograin.hosts.comfyui.step_hooks import KEY
from videograin.measuring.metrics.pixels import psnr
from videograin.nodes.clip_motion import ClipMotion
from videograin.nodes.latent_blend_model import LatentBlendModel
from videograin.nodes.long_clip_windows import LongClipWindows
from videograin.nodes.pixel_composite import PixelComposite
from videograin.nodes.steady import Steady
from videograin.world.demo_task import make_task

from .blending import FRAMES, RANGE, World
from .both_ways import ENOUGH_DB, by_nodes, by_runner

pytestmark = pytest.mark.usefixtures("as_the_host_runs")

WHOLE = {"strength": 1.0, "start_percent": 0.0, "end_percent": 1.0}
TASK = {"seed": 1, "frames": 4, "size": 64}


def motion_of(images, regions, missing="fill"):
    return ClipMotion.execute(images, regions, "auto", missing)


@pytest.fixture(scope="module")
def world():
    """A random model and an inverted clip; regions that cover the blend's mask, and their motion to the right."""
    with torch.inference_mode():
        world = World()
    shapes = torch.rand(3, 24, 24, generator=torch.Generator().manual_seed(1))
    images = torch.full((FRAMES, 64, 64, 3), 0.5)
    for frame in range(FRAMES):
        images[frame, 20:44, 8 * frame : 8 * frame + 24] = shapes.permute(1, 2, 0)
    world.regions = (Region("a thing", world.mask),)
    world.images = images
    return world


@pytest.fixture
def motion(world):
    motion, *_ = motion_of(world.images, world.regions).args
    assert motion.of(0).linked(0, FRAMES - 1)
    assert motion.of(0).matrix(0, 1)[0, 2] == pytest.approx(8, abs=0.5)
    return motion


def steadied(world, motion, model=None, **changes):
    return Steady.execute(model or world.model, motion, world.regions, **{**WHOLE, **changes}).args[0]


def blended(world, model):
    return LatentBlendModel.execute(model, world.inversion, world.mask, **RANGE, start_from_inversion=True).args[0]


# --- the same as the runner's -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mode", "windows"), [("per_frame", None), ("full", None), ("full", Windows(3, 1, 1))])
def test_nodes_and_runner_give_the_same_frames(mode, windows):
    task = make_task(**TASK)
    images = torch.from_numpy(task.clip.frames).float() / 255
    given = tuple(Region(phrase, mask) for phrase, mask in zip(task.phrases, task.masks))
    motion, regions, _ = motion_of(images, given).args
    assert [one.pieces for one in motion.regions] == [[[0, 1, 2, 3]]] * 2
    _, *ours = by_nodes(task, regions, mode, windows, motion)
    _, *theirs = by_runner(task, regions, mode, windows, motion)
    assert psnr(ours[0], theirs[0]) >= ENOUGH_DB
    assert psnr(ours[1], theirs[1]) >= ENOUGH_DB
    _, *plain = by_nodes(task, regions, mode, windows)
    assert psnr(ours[0], plain[0]) < 40  # and they were held steady: what is compared is not the plain edit twice
    assert psnr(ours[1], plain[1]) < 40


# --- on a random model ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cfg", [1.0, 3.0])
def test_the_wiring_does_not_matter_and_outside_is_the_source(world, motion, cfg):
    before = steadied(world, motion, blended(world, world.model))
    after = blended(world, steadied(world, motion))
    results = [world.ksampler(model, cfg=cfg) for model in (before, after)]
    assert torch.equal(*results)
    for result in results:
        world.check(result)
    assert not torch.equal(results[0], world.ksampler(blended(world, world.model), cfg=cfg))


@pytest.mark.parametrize("sampler", ["euler", "heun", "dpmpp_2m"])
def test_the_result_is_fused(world, motion, sampler):
    """A run ends in its last prediction, and that was fused: fusing it once more changes less than the first time."""
    plain, held = (world.ksampler(model, sampler=sampler) for model in (world.model, steadied(world, motion)))
    shares = Shares.at(torch.stack([region.mask for region in world.regions]), held.shape[-2:])

    def unsteady(latents):
        return float((fuse(latents, motion, shares) - latents).abs().mean())

    assert unsteady(held) < 0.5 * unsteady(plain)


@pytest.mark.parametrize("changes", [{"strength": 0.0}, {"start_percent": 0.0, "end_percent": 0.0}])
def test_off_no_bit_changes(world, motion, changes):
    assert torch.equal(world.ksampler(world.model), world.ksampler(steadied(world, motion, **changes)))


def test_a_part_of_the_run_is_another_result_than_the_whole(world, motion):
    results = [
        world.ksampler(steadied(world, motion, **part)) for part in ({}, {"end_percent": 0.5}, {"start_percent": 0.5})
    ]
    results.append(world.ksampler(world.model))
    for one, other in [(0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3)]:
        assert not torch.equal(results[one], results[other])


def test_the_model_that_went_in_stays_as_it_is(world, motion):
    plain = world.ksampler(world.model)
    patched = steadied(world, motion)
    world.ksampler(patched)
    assert KEY not in world.model.model_options
    assert torch.equal(plain, world.ksampler(world.model))


@pytest.mark.parametrize("last", ["windows", "steady"])
def test_windows_see_the_whole_clip_fused(world, motion, last):
    """Without attention between frames windows predict what the whole clip does, so that the fused run is the same."""
    windows = (2, 1, 0)
    if last == "windows":
        (model,) = LongClipWindows.execute(steadied(world, motion), *windows).args
    else:
        model = steadied(world, motion, LongClipWindows.execute(world.model, *windows).args[0])
    torch.testing.assert_close(world.ksampler(model), world.ksampler(steadied(world, motion)), atol=1e-3, rtol=1e-3)


def test_another_size_of_latent_in_the_same_model(world, motion):
    """What is read where is kept from step to step, and made anew for another size."""
    model, small = steadied(world, motion), {"samples": world.latent["samples"][..., ::2, ::2].contiguous()}
    first = world.ksampler(model)
    assert world.ksampler(model, latent=small).shape[-2:] == (4, 4)
    assert torch.equal(first, world.ksampler(model))


# --- refusals ---------------------------------------------------------------------------------------------------------


def test_another_clip_is_refused_in_the_run(world, motion):
    part = {"samples": world.latent["samples"][:2]}
    with pytest.raises(ValueError, match=r"^Steady: fusion: the motion has 3 frames, the sampler was given 2"):
        world.ksampler(steadied(world, motion), latent=part)


def test_what_does_not_fit_is_refused_at_once(world, motion):
    with pytest.raises(ValueError, match=r"^Steady: input `model`: supports SD1\.x"):
        Steady.execute(object(), motion, world.regions, **WHOLE)
    with pytest.raises(ValueError, match=r"^Steady: steady: the motion has 3 frames and 1 regions, the edit 3 and 2"):
        Steady.execute(world.model, motion, world.regions * 2, **WHOLE)
    with pytest.raises(ValueError, match=r"^Steady: expected 0 <= start_percent <= end_percent"):
        steadied(world, motion, start_percent=0.6, end_percent=0.4)
    grouped = replace(FAMILIES[0], geometry=LatentGeometry(cell=8, channels=16, group=4))
    with pytest.raises(ValueError, match=r"^Steady: input `model`: its latents hold several frames each"):
        steadied_model(world.model, motion, world.regions, node="Steady", family=grouped)


# --- Clip Motion ------------------------------------------------------------------------------------------------------


def test_a_missing_mask_is_filled_and_said(world, caplog):
    task = make_task(**TASK)
    images = torch.from_numpy(task.clip.frames).float() / 255
    exact = task.clip.masks[0]
    gone = exact.clone()
    gone[2] = 0
    given = (Region("a thing", gone), Region("another", task.clip.masks[1]))
    with caplog.at_level(logging.WARNING):
        out = motion_of(images, given)
    _, regions, preview = out.args
    assert regions[1] is given[1]
    inside, found = exact[2] > 0.5, regions[0].mask[2] > 0.5
    assert (inside & found).sum() > 0.9 * (inside | found).sum()
    said = "region 1 ('a thing'): no mask in frame 2; filled by the motion"
    assert f"Clip Motion: {said}" in caplog.text
    assert out.ui[NOTICES] == [{"text": f"Clip Motion: {said}"}]
    assert out.ui["text"] == (said,)
    assert len(out.ui["images"]) == len(preview) == 4
    absent = motion_of(images, given, "absent").args[1]
    assert not absent[0].mask[2].any()


def test_a_cut_is_said(world, caplog):
    images, noise = world.images.clone(), torch.Generator().manual_seed(5)
    images[2] = torch.rand(64, 64, 3, generator=noise)  # another picture altogether
    with caplog.at_level(logging.WARNING):
        out = motion_of(images, world.regions)
    assert "Clip Motion: region 1 ('a thing'): no motion found that leads to frame 2 (loss" in caplog.text
    assert "no motion found that leads to frame 2" in out.ui[NOTICES][0]["text"]
    assert not out.args[0].of(0).linked(1, 2)


def test_without_doubts_there_is_no_text(world):
    shown = motion_of(world.images, world.regions).ui
    assert "text" not in shown
    assert NOTICES not in shown


# --- Pixel Composite --------------------------------------------------------------------------------------------------


def test_motion_and_regions_belong_together(world, motion):
    edited = world.images.flip(0)
    plain = PixelComposite.execute(world.images, edited, world.mask, 2.0, 2.0).args[0]
    with pytest.raises(ValueError, match=r"^Pixel Composite: `motion` is connected without `regions`; connect both"):
        PixelComposite.execute(world.images, edited, world.mask, 2.0, 2.0, None, motion)
    with pytest.raises(ValueError, match=r"^Pixel Composite: `regions` is connected without `motion`; connect both"):
        PixelComposite.execute(world.images, edited, world.mask, 2.0, 2.0, None, None, world.regions)
    with pytest.raises(ValueError, match=r"found on frames of 64 x 64, these are 32 x 32"):
        PixelComposite.execute(
            world.images[:, ::2, ::2], edited[:, ::2, ::2], world.mask, 2.0, 2.0, None, motion, world.regions
        )
    assert torch.equal(
        plain, PixelComposite.execute(world.images, edited, world.mask, 2.0, 2.0, None, key=False).args[0]
    )


def test_flicker_is_taken_out_and_outside_is_the_source(world, motion):
    """Every frame's thing in another brightness: held steady, all have the middle one."""
    edited = world.images.clone()
    for frame, change in enumerate((-0.2, 0.0, 0.2)):
        edited[frame][world.mask[frame] > 0.5] += change
    held = PixelComposite.execute(world.images, edited, world.mask, 0.0, 0.0, None, motion, world.regions, False).args[
        0
    ]
    outside = world.mask == 0
    assert torch.equal(held[outside], world.images[outside])

    def brightness(images):
        return np.array([float(one[mask > 0.5].mean()) for one, mask in zip(images, world.mask)])

    assert brightness(edited).std() > 0.15
    assert brightness(held).std() < 0.02
