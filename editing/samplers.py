"""Deterministic samplers, one signature for all (k-diffusion's).

    sampler(model, x, sigmas, extra_args=None, callback=None, disable=None) -> x

model(x, sigma [F], **extra_args) -> denoised (x0). x: [F, C, h, w] in "VE" scale, x = z / sqrt(alpha_bar), at noise
level sigmas[0]. sigmas: strictly descending [steps + 1]; the last one may be 0. callback receives once per step, before
the step is taken, dict(x, i, sigma, sigma_hat, denoised). `disable` (k-diffusion's progress bar switch) is accepted and
unused: progress belongs to the caller. Returns x at sigmas[-1].

All three solve dx/dsigma = (x - D(x, sigma)) / sigma. Errors: SigmaError, LatentError, NumberError,
DenoiserError (checks.py).
"""

import torch
from torch import Tensor

from .checks import ask, check_latents, check_sigmas


def to_d(x: Tensor, sigma: Tensor, denoised: Tensor) -> Tensor:
    """The derivative dx/dsigma at (x, sigma), which is also the predicted noise eps. denoised: x0. sigma > 0."""
    return (x - denoised) / sigma


@torch.no_grad()
def sample_euler(model, x, sigmas, extra_args=None, callback=None, disable=None) -> Tensor:
    """Euler's method; in this scale the same as deterministic DDIM (Song et al. 2021, eq. 13). One call per step."""
    sigmas, steps = _start(x, sigmas)
    for i in range(steps):
        denoised = ask(model, x, sigmas[i], extra_args, step=i, steps=steps)
        _report(callback, x, i, sigmas[i], denoised)
        d = to_d(x, sigmas[i], denoised)
        x = x + d * (sigmas[i + 1] - sigmas[i])
    return x


@torch.no_grad()
def sample_heun(model, x, sigmas, extra_args=None, callback=None, disable=None) -> Tensor:
    """Heun's second-order method (Karras et al. 2022, Algorithm 1). Two calls per step; one where it ends at 0."""
    sigmas, steps = _start(x, sigmas)
    for i in range(steps):
        denoised = ask(model, x, sigmas[i], extra_args, step=i, steps=steps)
        _report(callback, x, i, sigmas[i], denoised)
        d = to_d(x, sigmas[i], denoised)
        dt = sigmas[i + 1] - sigmas[i]
        x_2 = x + d * dt
        if sigmas[i + 1] > 0:
            denoised_2 = ask(model, x_2, sigmas[i + 1], extra_args, step=i, steps=steps)
            d_2 = to_d(x_2, sigmas[i + 1], denoised_2)
            x_2 = x + (d + d_2) / 2 * dt
        x = x_2
    return x


@torch.no_grad()
def sample_dpmpp_2m(model, x, sigmas, extra_args=None, callback=None, disable=None) -> Tensor:
    """DPM-Solver++(2M) (Lu et al. 2022, Algorithm 2), lambda = -log sigma. One call per step."""
    sigmas, steps = _start(x, sigmas)
    lam = -sigmas.log()  # a last sigma of 0 gives lambda = inf, so h = inf and the step returns D itself
    old_denoised = None
    for i in range(steps):
        denoised = ask(model, x, sigmas[i], extra_args, step=i, steps=steps)
        _report(callback, x, i, sigmas[i], denoised)
        h = lam[i + 1] - lam[i]
        if old_denoised is None or sigmas[i + 1] == 0:
            D = denoised
        else:
            r = (lam[i] - lam[i - 1]) / h
            D = denoised + (denoised - old_denoised) / (2 * r)
        x = sigmas[i + 1] / sigmas[i] * x - torch.expm1(-h) * D
        old_denoised = denoised
    return x


SAMPLERS = {"euler": sample_euler, "ddim": sample_euler, "heun": sample_heun, "dpmpp_2m": sample_dpmpp_2m}


def _start(x: Tensor, sigmas: Tensor) -> tuple[Tensor, int]:
    check_latents(x)
    sigmas = check_sigmas(sigmas).to(x.device)
    return sigmas, len(sigmas) - 1


def _report(callback, x: Tensor, i: int, sigma: Tensor, denoised: Tensor) -> None:
    if callback is not None:
        callback({"x": x, "i": i, "sigma": sigma, "sigma_hat": sigma, "denoised": denoised})
