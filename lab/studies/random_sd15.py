"""Stable Diffusion 1.5's true architecture with random weights, made in place, and the work that its calls are.

Nothing is downloaded: sizes stand here, the tokenizer is the embedded world's (its words are one token each).
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...attention import normalise_mask
from ...editing.region_modulation import build_modulation
from ...editing.settings import AttentionSettings
from ...hosts.diffusers import DiffusersModel
from ...hosts.diffusers.unet.load import Parts
from ...hosts.diffusers.unet.prompts import TextEncoder
from ...hosts.diffusers.vae import load_vae
from ...world.demo_task import DemoTask, make_task
from ..training.tokenizer import save_tokenizer, text_encoder_settings
from ..training.train_unet import SCHEDULE, alphas_cumprod

CHANNELS = 320
GUIDANCE = 7.5
PARTS = ("attention", "modulation", "other")


def build(device: str, dtype: torch.dtype, channels: int = CHANNELS) -> DiffusersModel:
    """The model on `device` ("meta" holds no numbers). channels: of the UNet's first level; 320 is SD 1.5, fewer (a
    multiple of 32) make a small model of the same build, to try things out."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    small = channels < CHANNELS
    with tempfile.TemporaryDirectory() as folder:
        save_tokenizer(Path(folder))
        tokenizer = CLIPTokenizer.from_pretrained(folder)
    width = 64 if small else 768
    text = text_encoder_settings(len(tokenizer))
    if not small:
        text |= {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
    else:
        text |= {"hidden_size": width}
    torch.manual_seed(0)
    with torch.device(device):
        unet = UNet2DConditionModel(
            sample_size=64,
            block_out_channels=tuple(channels * times for times in (1, 2, 4, 4)),
            cross_attention_dim=width,
            attention_head_dim=8,  # the number of heads, as in SD 1.x's own config
        )
        encoder = CLIPTextModel(CLIPTextConfig(**text))
        kl = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(32, 32, 32, 32) if small else (128, 256, 512, 512),
            layers_per_block=1 if small else 2,
            latent_channels=4,
        )
    # A random UNet is far from the smooth function that sampling expects: its last layer is turned down.
    unet.conv_out.weight.data *= 0.05
    encoders = (TextEncoder(tokenizer, encoder.to(dtype).eval()),)
    alphas = alphas_cumprod()
    return DiffusersModel(
        Parts("sd1", unet.to(dtype), encoders, load_vae(kl), alphas, SCHEDULE["steps_offset"], "epsilon"), device
    )


@torch.no_grad()
def unet_call(
    model: DiffusersModel, task: DemoTask, attention: AttentionSettings, kind: str
) -> tuple[Any, Tensor, float]:
    """(denoiser, x, sigma) of one "inversion", "modulated" or "plain" step of an edit, on random latents.

    An inversion step is one half of a batch, the two others are both halves.
    """
    frames, height, width = task.clip.frames.shape[:3]
    prompt, _, labels, _ = model.encode_regions(task.prompt, task.phrases)
    masks = [normalise_mask(mask, frames, "region") for mask in task.masks]
    modulation = build_modulation(masks, labels, attention, [1.0] * len(masks)) if kind == "modulated" else None
    guided = kind != "inversion"
    denoiser = model.denoiser(
        prompt,
        frames=frames,
        negative=model.encode_prompt("") if guided else None,
        guidance=GUIDANCE if guided else 1.0,
        spacetime=attention.mode,
        key_frames=attention.anchors,
        modulation=modulation,
    )
    sigma = float(model.sigmas(50)[0])
    x = torch.randn(frames, 4, height // model.scale_factor, width // model.scale_factor, device=model.device)
    return denoiser, x * (sigma**2 + 1) ** 0.5, sigma


def flops(frames: int, size: int, mode: str, channels: int = CHANNELS) -> dict[str, dict[str, float]]:
    """Floating-point operations of one step of each kind and of the VAE, by what does them; on the meta device.

    {"inversion", "modulated", "plain", "encode", "decode": {"attention", "modulation", "other": operations}}.
    attention: the two products of self- and cross-attention over the model's own channels; modulation: what a
    modulated call does more, the pass for the logit range and the labels' channels. A multiplication with its addition
    counts as two.
    """
    model, task = build("meta", torch.float16, channels), make_task(0, frames, size)
    found: dict[str, dict[str, float]] = {}
    for kind in ("inversion", "modulated", "plain"):
        denoiser, x, sigma = unet_call(model, task, AttentionSettings(mode=mode), kind)
        with denoiser as denoise, torch.no_grad():
            found[kind] = _count(lambda denoise=denoise, x=x, sigma=sigma: denoise(x, sigma))
    own = found["plain"]["attention"]
    found["modulated"] |= {"attention": own, "modulation": found["modulated"]["attention"] - own}
    with torch.no_grad():
        images = torch.empty(1, 3, size, size, device="meta")
        latents = torch.empty(1, 4, size // 8, size // 8, device="meta")
        for kind, call, given in (("encode", model.vae.net.encode, images), ("decode", model.vae.net.decode, latents)):
            one = _count(lambda call=call, given=given: call(given))
            found[kind] = {name: value * frames for name, value in one.items()}
    return found


def _count(call) -> dict[str, float]:
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        call()
    spent = dict.fromkeys(PARTS, 0.0)
    for operator, number in counter.get_flop_counts()["Global"].items():
        name = str(operator)
        spent["attention" if "bmm" in name or "attention" in name else "other"] += number
    return spent


def whole(found: dict[str, dict[str, float]], calls: dict[str, int]) -> dict[str, float]:
    """Operations of an edit: so many steps of each kind, the VAE once."""
    times = {"encode": 1, "decode": 1, **calls}
    return {part: sum(found[kind][part] * times[kind] for kind in times) for part in PARTS}
