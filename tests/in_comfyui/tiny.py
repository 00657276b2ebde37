"""Tiny random models of ComfyUI's own classes: the true architectures and code paths, a few million weights."""

from __future__ import annotations

import inspect

import comfy.sample
import pytest
import torch
from comfy import model_management, supported_models
from comfy.ldm.modules.attention import CrossAttention
from comfy.model_patcher import ModelPatcher

CONTEXT = 64

needs_overrides = pytest.mark.skipif(
    "transformer_options" not in inspect.signature(CrossAttention.forward).parameters,
    reason="this ComfyUI has no attention overrides yet (0.3.60)",
)


def _unet(**options) -> dict:
    return {
        "image_size": 32,
        "in_channels": 4,
        "out_channels": 4,
        "model_channels": 32,
        "num_res_blocks": [1, 1],
        "channel_mult": [1, 2],
        "transformer_depth": [1, 1],
        "transformer_depth_output": [1, 1, 1, 1],
        "transformer_depth_middle": 1,
        "context_dim": CONTEXT,
        "adm_in_channels": None,
        "use_spatial_transformer": True,
        "use_linear_in_transformer": False,
        "legacy": False,
        "use_temporal_attention": False,
        "use_temporal_resblock": False,
        **options,
    }


def tiny_model(family: str = "sd1", seed: int = 0) -> ModelPatcher:
    """A MODEL of family "sd1", "sd2" (v-prediction) or "sdxl" with random weights, always the same for a seed.

    Its output is scaled down: a random UNet is otherwise far from the smooth functions that samplers expect.
    """
    if family == "sd1":
        config = supported_models.SD15(_unet())
    elif family == "sd2":
        config = supported_models.SD20(_unet(use_linear_in_transformer=True))
    elif family == "sdxl":
        config = supported_models.SDXL(
            _unet(
                use_linear_in_transformer=True,
                transformer_depth=[0, 2],
                transformer_depth_output=[0, 0, 2, 2],
                transformer_depth_middle=3,
                num_classes="sequential",
                adm_in_channels=2816,
            )
        )
    else:
        raise ValueError(f"family must be sd1, sd2 or sdxl; got {family!r}")
    # The extra config of the true model, with heads that fit 32 channels.
    config.unet_config = {**config.unet_config, **({"num_head_channels": 16} if family != "sd1" else {})}
    config.set_inference_dtype(torch.float32, None)
    base = config.get_model({}, "")
    fill(base.diffusion_model, seed)
    return ModelPatcher(base, model_management.get_torch_device(), model_management.unet_offload_device())


def fill(network: torch.nn.Module, seed: int) -> None:
    """Values for every parameter: ComfyUI's layers are made without (whatever the memory held)."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.dim() > 1:
                # Attention with something to choose from: random logits are flat otherwise.
                gain = 1.5 if name.endswith(("to_q.weight", "to_k.weight")) else 1.0
                parameter.copy_(noise * gain / parameter[0].numel() ** 0.5)
            elif name.endswith("weight"):
                parameter.copy_(1 + 0.1 * noise)
            else:
                parameter.copy_(0.02 * noise)
        network.out[2].weight *= 0.1
    network.requires_grad_(False)


def conditioning(seed: int, tokens: int = 77, family: str = "sd1") -> list:
    """A CONDITIONING of random tokens, [1, tokens, 64]."""
    generator = torch.Generator().manual_seed(1000 + seed)
    tokens = torch.randn(1, tokens, CONTEXT, generator=generator)
    pooled = torch.randn(1, 1280, generator=generator) if family == "sdxl" else None
    return [[tokens, {"pooled_output": pooled}]]


def noise_of(frames: int, size: tuple[int, int] = (16, 16), seed: int = 1) -> torch.Tensor:
    """float32 [frames, 4, *size]."""
    return torch.randn(frames, 4, *size, generator=torch.Generator().manual_seed(seed))


def sample(model, positive, negative=None, *, noise=None, frames=3, cfg=1.0, steps=2, sampler="euler", callback=None):
    """Sample a few steps from noise through comfy.sample, as KSampler does; float32 [frames, 4, h, w]."""
    noise = noise_of(frames) if noise is None else noise
    negative = conditioning(99, family="sdxl") if negative is None else negative
    latent = torch.zeros_like(noise)
    with torch.inference_mode():
        return comfy.sample.sample(
            model,
            noise,
            steps,
            cfg,
            sampler,
            "simple",
            positive,
            negative,
            latent,
            callback=callback,
            disable_pbar=True,
            seed=1,
        )
