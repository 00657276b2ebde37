"""Entry checks shared by the samplers, the inversion and the blend."""

import torch
from torch import Tensor


class SigmaError(ValueError):
    """A noise schedule that cannot be walked. The text says what came and what to pass instead."""


class LatentError(ValueError):
    """A latent of the wrong rank, dtype or content."""


class DenoiserError(ValueError):
    """The denoiser answered with something that is not a prediction: another shape, NaN or inf."""


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
    """Return x if it is a finite floating-point [F, C, h, w] tensor, else raise LatentError."""
    if not isinstance(x, Tensor) or x.ndim != 4 or 0 in x.shape:
        got = f"shape {list(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
        raise LatentError(
            f"{name}: expected latents [F, C, h, w] with no empty axis, got {got}; pass one latent per frame, stacked."
        )
    if not x.is_floating_point():
        raise LatentError(
            f"{name}: expected floating-point latents, got {x.dtype}; encode the frames with the VAE first."
        )
    bad = ~torch.isfinite(x)
    if bad.any():
        raise LatentError(
            f"{name}: {int(bad.sum())} of {x.numel()} values are NaN or inf (frames {_frames(bad)}); "
            "if the VAE ran in float16, encode in float32 or bfloat16."
        )
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
    bad = ~torch.isfinite(denoised)
    if bad.any():
        raise DenoiserError(
            f"denoiser: {int(bad.sum())} of {bad.numel()} predicted values are NaN or inf {place}, frames "
            f"{_frames(bad)}; usual causes are float16 overflow (run the model in float32 or bfloat16) "
            "or a noise level outside the model's range."
        )
    return denoised


def _frames(bad: Tensor) -> str:
    which = bad.flatten(1).any(1).nonzero().flatten().tolist()
    return ", ".join(map(str, which[:8])) + (", ..." if len(which) > 8 else "")


def _brief(sigmas: Tensor) -> str:
    values = [f"{v:.4g}" for v in sigmas.tolist()]
    return ", ".join(values if len(values) <= 6 else [*values[:3], "...", *values[-2:]])
