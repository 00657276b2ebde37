"""Frames to latents and back through whichever VAE a model brings: AutoencoderKL or the embedded model's."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ...editing.checks import check_finite, frames_from

PIXELS_AT_ONCE = 4 * 512 * 512  # what goes through the VAE in one batch: 4 frames of 512x512, one of 1024x1024
REMEDY = "the VAE overflows, although it runs in float32: copy the model again, or take one with another VAE"


class Vae:
    """A VAE with its latent scale, in float32: the background stands or falls with it, and in fp16 SDXL's overflows.

    net: AutoencoderKL or WorldVAE. factor: pixels per latent pixel. channels: of the latent.
    scaling: z = raw * scaling.
    """

    def __init__(self, net: nn.Module, *, factor: int, channels: int, scaling: float):
        self.net, self.factor, self.channels, self.scaling = net, factor, channels, float(scaling)

    @torch.no_grad()
    def encode(self, frames: np.ndarray, device: torch.device) -> Tensor:
        """uint8 [F, H, W, 3] -> float32 [F, C, H/8, W/8] on the CPU; the mean, not a sample.

        As many frames at once as PIXELS_AT_ONCE holds; one by one where an accelerator's memory does not hold those.

        Raises:
            ValueError: other frames, or a VAE that makes NaN or inf of them (NumberError).
            MemoryError: not even one frame fits the memory.
        """
        frames = np.asarray(frames)
        if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8:
            raise ValueError(
                f"frames must be uint8 [F, H, W, 3]; got {frames.dtype} {tuple(frames.shape)}. Drop an alpha channel."
            )
        height, width = frames.shape[1:3]
        if height % self.factor or width % self.factor or not frames.size:
            raise ValueError(
                f"{len(frames)} frames of {width}x{height}; expected at least one frame, both sides multiples of "
                f"{self.factor}. Resize or crop to {width - width % self.factor}x{height - height % self.factor}."
            )

        def some(part: slice) -> Tensor:
            images = torch.from_numpy(frames[part].copy()).to(device)
            images = images.permute(0, 3, 1, 2).float() / 127.5 - 1
            raw = self.net.encode(images)
            mean = raw if isinstance(raw, Tensor) else raw.latent_dist.mode()
            return (mean.float() * self.scaling).cpu()

        latents = torch.cat(_in_parts(some, len(frames), height, width))
        check_finite(latents, "encode: the VAE's latents", REMEDY)
        return latents

    @torch.no_grad()
    def decode(self, latents: Tensor, device: torch.device) -> np.ndarray:
        """float [F, C, h, w] -> uint8 [F, 8h, 8w, 3]; in batches and with errors as `encode`."""
        if latents.dim() != 4 or latents.shape[1] != self.channels or not len(latents):
            raise ValueError(f"latents must be [F, {self.channels}, h, w] with F >= 1; got {tuple(latents.shape)}.")

        def some(part: slice) -> np.ndarray:
            raw = latents[part].float().to(device) / self.scaling
            decoded = self.net.decode(raw)
            images = decoded if isinstance(decoded, Tensor) else decoded.sample
            with frames_from(part.start):
                check_finite(images, "decode: the VAE's pictures", REMEDY)  # as bytes they would be black
            pixels = (images.float() * 127.5 + 127.5).round().clamp(0, 255).to(torch.uint8)
            return pixels.permute(0, 2, 3, 1).cpu().numpy()

        height, width = (side * self.factor for side in latents.shape[-2:])
        return np.concatenate(_in_parts(some, len(latents), height, width))


def _in_parts(run: Callable[[slice], Any], frames: int, height: int, width: int) -> list[Any]:
    """run(slice of the frames) for all of them, in order; after a first lack of memory one frame at a time."""
    at_once = max(1, PIXELS_AT_ONCE // (height * width))
    parts: list[Any] = []
    start = 0
    while start < frames:
        try:
            parts.append(run(slice(start, start + at_once)))
            start += at_once
            continue
        except torch.cuda.OutOfMemoryError as error:
            message = str(error)
        # Here, not in the except clause: the exception's traceback keeps the failed attempt's tensors alive.
        if at_once == 1 or frames == 1:
            raise MemoryError(
                f"out of memory in the VAE with one frame at a time, {frames} frames of {width}x{height} in all "
                f"({message.splitlines()[0] if message else 'no details'}). Use a smaller size, or device 'cpu'."
            )
        torch.cuda.empty_cache()
        at_once = 1
    return parts


def load_vae(source: Path | nn.Module) -> Vae:
    """A VAE from its folder, by the class its config.json names, or from a loaded AutoencoderKL."""
    if not isinstance(source, Path):
        return _kl(source)
    try:
        config: dict[str, Any] = json.loads((source / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{source}/config.json cannot be read ({error}); copy the model folder again.") from None
    name = config.get("_class_name")
    if name == "WorldVAE":
        from ...world.vae import WorldVAE

        return _world(WorldVAE.load(source))
    if name != "AutoencoderKL":
        raise ValueError(f"supports the VAEs AutoencoderKL and WorldVAE; got {name} in {source}.")
    from diffusers import AutoencoderKL

    if not any(source.glob("*.safetensors")):
        raise ValueError(f"{source} has no .safetensors weights; convert or download the model in that format.")
    variant = "fp16" if all(".fp16" in path.name for path in source.glob("*.safetensors")) else None
    return _kl(
        AutoencoderKL.from_pretrained(
            source, torch_dtype=torch.float32, use_safetensors=True, local_files_only=True, variant=variant
        )
    )


def _kl(net: nn.Module) -> Vae:
    config = net.config
    if config.get("shift_factor") or config.get("latents_mean") is not None:
        raise ValueError("supports SD1.x, SD2.x, SDXL VAEs; got one with shifted latents (shift_factor, latents_mean).")
    return Vae(
        _frozen(net),
        factor=2 ** (len(config["block_out_channels"]) - 1),
        channels=config["latent_channels"],
        scaling=config["scaling_factor"],
    )


def _world(net: nn.Module) -> Vae:
    """The embedded model's VAE: latents at an eighth of the side, which it scales itself."""
    return Vae(_frozen(net), factor=8, channels=net.config["latent_channels"], scaling=1.0)


def _frozen(net: nn.Module) -> nn.Module:
    return net.float().eval().requires_grad_(False)
