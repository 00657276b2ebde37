"""Checks shared by all stages of an edit: its noise levels, its latents, and that numbers are numbers from the VAE to
the composite."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor


class SigmaError(ValueError):
    """A noise schedule that cannot be walked. The text says what came and what to pass instead."""


class LatentError(ValueError):
    """A latent of the wrong rank or dtype."""


class DenoiserError(ValueError):
    """The denoiser answered with something that is not a prediction, as of another shape."""


class NumberError(ValueError):
    """NaN or inf, which would be a black picture later on. The text names the stage, the frames and the remedy."""

    def __init__(self, stage: str, frames: Sequence[int], remedy: str):
        self.stage, self.frames, self.remedy = stage, tuple(frames), remedy
        some = ", ".join(map(str, self.frames[:8])) + (", ..." if len(self.frames) > 8 else "")
        which = f"frame {some}" if len(self.frames) == 1 else f"{len(self.frames)} frames ({some})"
        super().__init__(f"{stage}: NaN or inf in {which}; {remedy}.")


VAE_REMEDY = "the VAE overflowed: run it in float32 (ComfyUI: --fp32-vae), or take another VAE"
MODEL_REMEDY = "the model overflowed in float16: run it in float32 or bfloat16 (ComfyUI: --force-fp32 or --bf16-unet)"


def check_finite(values: Tensor, stage: str, remedy: str) -> None:
    """NumberError unless all values are finite. values: floating [F, ...], of one stage of an edit."""
    bad = ~torch.isfinite(values)
    if bad.any():
        raise NumberError(stage, bad.flatten(1).any(1).nonzero().flatten().tolist(), remedy)


@contextmanager
def frames_from(first: int) -> Iterator[None]:
    """Frames that a NumberError names count from the clip's first one. first: that of the part at hand."""
    try:
        yield
    except NumberError as error:
        raise NumberError(error.stage, [first + frame for frame in error.frames], error.remedy) from None


def check_sigmas(sigmas: Tensor) -> Tensor:
    """Return a denoising schedule as float32, strictly descending; the last sigma may be 0.

    sigmas: 1-D tensor [steps + 1], steps >= 1. SigmaError where it is anything else.
    """
    if not isinstance(sigmas, Tensor) or sigmas.ndim != 1:
        got = f"a tensor of shape {list(sigmas.shape)}" if isinstance(sigmas, Tensor) else type(sigmas).__name__
        raise SigmaError(f"sigmas: expected a 1-D tensor [steps + 1], got {got}; pass the schedule as one tensor.")
    if len(sigmas) < 2:
        raise SigmaError(f"sigmas: expected at least 2 values (one step), got {len(sigmas)}; ask for 1 or more steps.")
    sigmas = sigmas.detach().to(torch.float32)
    if not torch.isfinite(sigmas).all() or (sigmas < 0).any():
        raise SigmaError(
            f"sigmas: expected finite values >= 0, got {_brief(sigmas)}; "
            "take the schedule from the model's noise levels."
        )
    falls = sigmas[1:] < sigmas[:-1]
    if not falls.all():
        if (sigmas[1:] > sigmas[:-1]).all():
            raise SigmaError(
                f"sigmas: expected a descending schedule, got an ascending one ({_brief(sigmas)}); "
                "pass the schedule of the denoising as it is: inversion turns it round itself (no FlipSigmas)."
            )
        i = int((~falls).nonzero()[0])
        raise SigmaError(
            f"sigmas: expected strictly descending values, but sigma {i} is {float(sigmas[i]):.6g} and "
            f"sigma {i + 1} is {float(sigmas[i + 1]):.6g}; remove repeated or rising values."
        )
    return sigmas


def check_latents(x: Tensor, name: str = "x") -> Tensor:
    """Return x if it is a finite floating-point [F, C, h, w] tensor, else raise LatentError or NumberError."""
    if not isinstance(x, Tensor) or x.ndim != 4 or 0 in x.shape:
        got = f"shape {list(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
        raise LatentError(
            f"{name}: expected latents [F, C, h, w] with no empty axis, got {got}; pass one latent per frame, stacked."
        )
    if not x.is_floating_point():
        raise LatentError(
            f"{name}: expected floating-point latents, got {x.dtype}; encode the frames with the VAE first."
        )
    check_finite(x, name, VAE_REMEDY)
    return x


def ask(model, x: Tensor, sigma: Tensor, extra_args: dict | None, *, step: int, steps: int) -> Tensor:
    """Call the denoiser once and check its answer.

    sigma: scalar tensor; the model receives it as float32 [F], as in k-diffusion. Returns denoised, x's shape.
    """
    denoised = model(x, sigma.to(device=x.device, dtype=torch.float32).expand(x.shape[0]), **(extra_args or {}))
    place = f"at sigma {float(sigma):.6g} (step {step + 1} of {steps})"
    if not isinstance(denoised, Tensor) or denoised.shape != x.shape:
        got = f"shape {list(denoised.shape)}" if isinstance(denoised, Tensor) else type(denoised).__name__
        raise DenoiserError(
            f"denoiser: expected a prediction of shape {list(x.shape)}, got {got} {place}; "
            "the denoiser must return the denoised latent (x0) of the same shape as x."
        )
    check_finite(denoised, f"denoiser {place}", MODEL_REMEDY)
    return denoised


def _brief(sigmas: Tensor) -> str:
    values = [f"{v:.4g}" for v in sigmas.tolist()]
    return ", ".join(values if len(values) <= 6 else [*values[:3], "...", *values[-2:]])
