"""The same clip, prompts, masks and settings give the same frames through the nodes and through the runner."""

import numpy as np
import pytest
import torch
from comfy_extras import nodes_custom_sampler as core

import nodes as host
from videograin.editing.pipeline import edit_clip, invert_clip
from videograin.editing.regions import Region
from videograin.editing.settings import AttentionSettings, SamplingSettings
from videograin.editing.windows import Windows
from videograin.hosts.diffusers import load_model
from videograin.measuring.metrics.pixels import psnr
from videograin.nodes.ddim_video_inversion import DDIMVideoInversion
from videograin.nodes.embedded_model import EmbeddedModel
from videograin.nodes.latent_blend import LatentBlend
from videograin.nodes.long_clip_windows import LongClipWindows
from videograin.nodes.pixel_composite import PixelComposite
from videograin.nodes.region_prompt import RegionPrompt
from videograin.nodes.st_layout_attn_patch import STLayoutAttnPatch
from videograin.world.demo_task import make_task

from .core import run

FRAMES, SIZE, STEPS, GUIDANCE = 4, 64, 10, 5.0
# Edits amplify the last bit of a float (README, Limits): the hosts sum in different orders.
ENOUGH_DB = 50


@pytest.fixture(scope="module")
def task():
    return make_task(1, FRAMES, SIZE)


def by_runner(task, mode: str, windows: Windows | None = None) -> tuple[torch.Tensor, np.ndarray, np.ndarray]:
    """(inverted noise, decoded edit, finished edit) of the standalone runner."""
    model = load_model()
    attention = AttentionSettings(mode=mode)
    how = {"attention": attention, "windows": windows}
    trajectory = invert_clip(model, task.clip.frames, task.clip.caption, steps=STEPS, **how)
    regions = [Region(phrase, mask) for phrase, mask in zip(task.phrases, task.masks)]
    sampling = SamplingSettings(steps=STEPS, guidance=GUIDANCE)
    edit = edit_clip(model, task.clip.frames, trajectory, task.prompt, regions, sampling=sampling, **how)
    return trajectory.noise, edit.decoded, edit.frames


def by_nodes(task, mode: str, windows: Windows | None = None) -> tuple[torch.Tensor, np.ndarray, np.ndarray]:
    """The same three through the pack's nodes and ComfyUI's own."""
    images = torch.from_numpy(task.clip.frames).float() / 255
    with torch.inference_mode():
        model, clip, vae = EmbeddedModel.execute().result
        if windows is not None:
            (model,) = LongClipWindows.execute(model, windows.frames, windows.overlap, windows.anchors).result
        (latent,) = host.VAEEncode().encode(vae, images)
        (source,) = host.CLIPTextEncode().encode(clip, task.clip.caption)
        (negative,) = host.CLIPTextEncode().encode(clip, "")
        options = {"method": "warm", "calls": 3, "spacetime": mode, "key_frames": 2, "collect_features": False}
        noise, inversion, sigmas = DDIMVideoInversion.execute(model, source, latent, STEPS, **options).result
        regions = None
        for phrase, mask in zip(task.phrases, task.masks):
            (regions,) = RegionPrompt.execute(phrase, mask, "edit", 1.0, regions).result
        patched, positive, mask, preserved = STLayoutAttnPatch.execute(
            model,
            clip,
            task.prompt,
            0.3,
            1.0,
            0.0,
            0.3,
            "both",
            "cond",
            mode,
            2,
            "neutral",
            "error",
            True,
            5.0,
            regions,
        ).result
        (sampler,) = run(core.KSamplerSelect, "euler")
        (sampler,) = LatentBlend.execute(sampler, inversion, mask, 0.0, 1.0, 1.0, preserved).result
        start = (patched, False, 0, GUIDANCE, positive, negative, sampler, sigmas, noise)
        sampled = run(core.SamplerCustom, *start)
        (decoded,) = host.VAEDecode().decode(vae, sampled[0])
        (finished,) = PixelComposite.execute(images, decoded, mask, 8.0, 8.0, preserved).result
    return inversion.noise, _bytes(decoded), _bytes(finished)


def _bytes(images: torch.Tensor) -> np.ndarray:
    return (images.clamp(0, 1) * 255).round().to(torch.uint8).numpy()


@pytest.mark.parametrize(("mode", "windows"), [("per_frame", None), ("full", None), ("full", Windows(3, 1, 1))])
def test_nodes_and_runner_give_the_same_frames(task, mode, windows):
    ours, theirs = by_nodes(task, mode, windows), by_runner(task, mode, windows)
    torch.testing.assert_close(ours[0], theirs[0], atol=2e-3, rtol=1e-3)
    assert psnr(ours[1], theirs[1]) >= ENOUGH_DB
    assert psnr(ours[2], theirs[2]) >= ENOUGH_DB
    # and they did edit: what is compared is not the source twice
    assert psnr(ours[2], task.clip.frames) < 30
