"""One edit of the embedded model through the pack's nodes, and the same through the runner."""

import numpy as np
import torch
from comfy_extras import nodes_custom_sampler as core

import nodes as host
from videograin.editing.pipeline import edit_clip, invert_clip
from videograin.editing.settings import AttentionSettings, SamplingSettings, SteadySettings
from videograin.hosts.diffusers import load_model
from videograin.nodes.ddim_video_inversion import DDIMVideoInversion
from videograin.nodes.embedded_model import EmbeddedModel
from videograin.nodes.latent_blend import LatentBlend
from videograin.nodes.long_clip_windows import LongClipWindows
from videograin.nodes.pixel_composite import PixelComposite
from videograin.nodes.st_layout_attn_patch import STLayoutAttnPatch
from videograin.nodes.steady import Steady

from .core import run

FRAMES, SIZE, STEPS, GUIDANCE = 4, 64, 10, 5.0
# Edits amplify the last bit of a float (README, Limits): the hosts sum in different orders.
ENOUGH_DB = 50


def by_runner(task, regions, mode, windows=None, motion=None):
    """(inverted noise, decoded edit, finished edit) of the standalone runner, held steady along a given motion."""
    with torch.inference_mode(False):
        model, how = load_model(), {"attention": AttentionSettings(mode=mode), "windows": windows}
        trajectory = invert_clip(model, task.clip.frames, task.clip.caption, steps=STEPS, **how)
        held = {"steady": SteadySettings(enabled=motion is not None), "motion": motion}
        sampling = SamplingSettings(steps=STEPS, guidance=GUIDANCE)
        edit = edit_clip(model, task.clip.frames, trajectory, task.prompt, regions, sampling=sampling, **how, **held)
        return trajectory.noise, edit.decoded, edit.frames


def by_nodes(task, regions, mode, windows=None, motion=None):
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
        how = (0.3, 1.0, 0.0, 0.3, "both", "cond", mode, 2, "neutral", "error", True, 5.0)
        patched, positive, mask, preserved = STLayoutAttnPatch.execute(model, clip, task.prompt, *how, regions).result
        if motion is not None:
            (patched,) = Steady.execute(patched, motion, regions, 1.0, 0.0, 1.0).result
        (sampler,) = run(core.KSamplerSelect, "euler")
        (sampler,) = LatentBlend.execute(sampler, inversion, mask, 0.0, 1.0, 1.0, preserved).result
        start = (patched, False, 0, GUIDANCE, positive, negative, sampler, sigmas, noise)
        sampled = run(core.SamplerCustom, *start)
        (decoded,) = host.VAEDecode().decode(vae, sampled[0])
        held = () if motion is None else (motion, regions, True)
        (finished,) = PixelComposite.execute(images, decoded, mask, 8.0, 8.0, preserved, *held).result
    return inversion.noise, _bytes(decoded), _bytes(finished)


def _bytes(images: torch.Tensor) -> np.ndarray:
    return (images.clamp(0, 1) * 255).round().to(torch.uint8).numpy()
