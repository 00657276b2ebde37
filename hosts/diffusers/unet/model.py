"""Stable Diffusion in diffusers' classes as a `Model` (editing/model.py), what `editing/` and the runner work with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ....attention import DiffusionLevels
from ....attention.old_names import renamed
from ....editing.fingerprint import LENGTH, add_weights
from ....editing.model import Denoiser, EncodedRegions, LatentGeometry
from ....editing.windows import Windows
from .control import Control, load_control
from .denoiser import UNetDenoiser, WindowedDenoiser
from .load import ModelError, Parts
from .prompts import Prompt, TextEncoders


class DiffusersModel:
    """A loaded model. Frames are uint8 [F, H, W, 3]; latents float32 [F, C, h, w], scaled, on the CPU.

    family: "sd1", "sd2" or "sdxl". levels: its Levels. geometry: of its latents. latent_channels: 4. scale_factor:
    pixels per latent pixel, 8. prediction: "epsilon" or "v_prediction". unet: diffusers' own, unchanged between calls;
    LoRA may be loaded into it.
    """

    def __init__(self, parts: Parts, device: str | torch.device = "cpu"):
        self.device = torch.device(device)
        self.family, self.prediction = parts.family, parts.prediction
        self.levels = DiffusionLevels(parts.alphas_cumprod)
        self.unet = parts.unet.to(self.device).eval().requires_grad_(False)
        self.text = TextEncoders(parts.encoders, parts.words, parts.source)
        for encoder in parts.encoders:
            encoder.model.to(self.device).requires_grad_(False)
        self.vae = parts.vae
        self.vae.net.to(self.device)
        self.geometry = LatentGeometry(self.vae.factor, self.vae.channels)
        self.latent_channels, self.scale_factor = self.geometry.channels, self.geometry.cell
        self._steps_offset = parts.steps_offset
        if self.unet.config.in_channels != self.latent_channels:
            raise ModelError(
                f"the UNet works on {self.unet.config.in_channels} latent channels, the VAE makes "
                f"{self.latent_channels}; they do not belong together."
            )

    @property
    def dtype(self) -> torch.dtype:
        """Of the UNet; the VAE runs in float32."""
        return self.unet.dtype

    @property
    def latent_scale(self) -> float:
        """A LATENT of ComfyUI, which holds what the VAE makes, times this is a latent of this model."""
        return float(self.vae.net.config["scaling_factor"])

    @property
    def fingerprint(self) -> str:
        """12 hex digits of a SHA-256 over the UNet's config, the noise schedule and 8 weights of every tensor.

        How the weights are taken: `add_weights`. LoRA layers count, since they change what the model does.
        """
        config = {k: v for k, v in self.unet.config.items() if not k.startswith("_")}
        digest = hashlib.sha256(json.dumps([self.prediction, config], sort_keys=True, default=str).encode())
        digest.update(self.levels.sigmas.numpy().tobytes())
        add_weights(digest, sorted(self.unet.state_dict().items()))
        return digest.hexdigest()[:LENGTH]

    @property
    def attention_halvings(self) -> frozenset[int]:
        """How often the latent's side is halved where the UNet has attention: {0, 1, 2, 3} for SD 1.x, {1, 2} SDXL."""
        kinds = [*self.unet.config.down_block_types]
        found = {halvings for halvings, kind in enumerate(kinds) if "CrossAttn" in kind}
        middle = {len(kinds) - 1} if "CrossAttn" in (self.unet.config.mid_block_type or "") else set()
        return frozenset(found | middle)

    def sigmas(self, steps: int) -> Tensor:
        """float32 [steps + 1], descending, last 0: SD's DDIM spacing (50 steps: timesteps 981, 961, ..., 1)."""
        return self.levels.leading(steps, self._steps_offset)

    def encode_frames(self, frames: np.ndarray) -> Tensor:
        """uint8 [F, H, W, 3], sides multiples of 8 -> scaled latents (the mean, so encoding is deterministic)."""
        return self.vae.encode(frames, self.device)

    def decode_latents(self, latents: Tensor) -> np.ndarray:
        """Scaled latents -> uint8 [F, H, W, 3]."""
        return self.vae.decode(latents, self.device)

    def encode_prompt(self, text: str) -> Prompt:
        """Encode a prompt of any length; "(word:1.2)" weights as in ComfyUI. Raises PromptError."""
        return self.text.encode(text)

    def encode_regions(self, global_prompt: str, phrases: Sequence[str], splice: bool = True) -> EncodedRegions:
        """Encode the global prompt with its regions' phrases.

        splice: write each phrase's own encoding over its place (method.md 7). Raises PromptError for a phrase that
        does not occur.
        """
        return self.text.encode_regions(global_prompt, phrases, splice)

    def word_positions(self, prompt: str, phrases: Sequence[str]) -> tuple[list[list[tuple[int, ...]]], int]:
        """The token positions of all occurrences of each phrase in a prompt, and the prompt's length L in tokens.

        Case, spaces and weights do not matter; [] for a phrase that does not occur. Raises PromptError for an empty
        phrase.
        """
        return self.text.word_positions(prompt, phrases)

    def load_control(
        self, folder: str | Path, frames: np.ndarray, *, scale: float = 1.0, start: float = 0.0, end: float = 1.0
    ) -> Control:
        """A local ControlNet folder with its control video uint8 [F, H, W, 3], for `denoiser(controlnet=...)`."""
        return load_control(
            folder,
            frames,
            context_width=self.unet.config.cross_attention_dim,
            device=self.device,
            dtype=self.dtype,
            scale=scale,
            start=start,
            end=end,
        )

    @renamed(anchors="key_frames")
    def denoiser(
        self,
        prompt: Prompt,
        *,
        frames: int,
        windows: Windows | None = None,
        **options: Any,
    ) -> Denoiser:
        """The model as `denoise(x, sigma) -> x0` for `frames` frames; use it in a `with` block.

        windows: how a clip that is longer than they are is cut, to be denoised a window at a time (None = all frames at
        once). options: the other arguments of `UNetDenoiser`, which says what they mean. Raises ValueError for what
        does not fit together.
        """
        whole = UNetDenoiser(self, prompt, frames=frames, **options)
        return WindowedDenoiser(whole, windows) if windows is not None and frames > windows.frames else whole
