"""Inversion: from the clean latent up the noise levels, so that denoising comes back (method.md 8).

DDIM is Euler's method on dx/dsigma = eps(x, sigma), eps = (x - D(x, sigma)) / sigma. A denoising step from t down to s,
    x_s = x_t + (s - t) eps(x_t, t),
is undone exactly by the x_t that solves x_t = x_s + (t - s) eps(x_t, t). The methods differ in how well they solve it:

method         eps is evaluated at                                  calls of the network for S steps
"ddim"         x_s itself, at level t                               S
"warm"         the x_t predicted with the previous step's eps       S + 1
"fixed_point"  the last iterate of x_t, again and again             S (1 + calls); fewer where the guard stops

A small residual at each step does not promise a small error after the round trip: with very few steps (about 10 or
fewer) and sharply separated data, denoising itself can jump from one mode to another. Look at the round trip's PSNR.

The network is never asked at sigma 0. Since `denoised` hides the prediction type, eps-, v- and flow-models all work.
"""

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor

from ..attention.options import INVERSION_METHODS
from .checks import ask, check_latents, check_sigmas
from .samplers import to_d
from .trajectory import Trajectory

# The last iterate's own residual is not known without another call. It is taken only where every frame's change shrank
# to this share or less in the last iteration; otherwise the best iterate whose residual IS known is kept.
SHRINK = 0.5


@torch.no_grad()
def invert(
    model,
    x: Tensor,
    sigmas: Tensor,
    extra_args: dict | None = None,
    callback=None,
    disable=None,
    *,
    method: str = "warm",
    calls: int = 3,
    prompt: str = "",
    family: str = "",
    model_id: str = "",
    source: str = "",
    extra: Mapping[str, str] | None = None,
) -> Trajectory:
    """Invert the latents x and return the whole way as a Trajectory.

    model: denoiser with the source prompt, no guidance, space-time attention as in the edit, unmodulated.
    x: [F, C, h, w], the latent at sigmas[-1] (the clean one if that is 0); computed and stored in float32.
    sigmas: the schedule of the DENOISING, strictly descending [S + 1]; it is walked backwards here.
    calls: extra network calls per step of "fixed_point", >= 1; the other methods ignore it.
    callback: once per step, dict(x, i, sigma, sigma_hat, denoised): x at `sigma` before the step, and the prediction
        made at `sigma_hat`, the level the step goes up to. `disable` is accepted and unused.
    prompt, family, model_id, source, extra: recorded in the Trajectory.
    Errors: ValueError for an unknown method or calls < 1; SigmaError, LatentError, NumberError,
        DenoiserError (checks.py).
    """
    if method not in INVERSION_METHODS:
        raise ValueError(f"method: expected one of {', '.join(INVERSION_METHODS)}, got {method!r}.")
    if isinstance(calls, bool) or not isinstance(calls, int) or calls < 1:
        raise ValueError(f"calls: expected an integer >= 1, got {calls!r}; for no extra call use method='ddim'.")
    x = check_latents(x).detach().to(torch.float32)
    sigmas = check_sigmas(sigmas).to(x.device)
    steps = len(sigmas) - 1

    up = sigmas.flip(0)
    latents = torch.empty((steps + 1, *x.shape), dtype=torch.float32)
    latents[steps] = x.cpu()
    eps = None  # of the step before

    def predict(x, i):
        denoised = ask(model, x, up[i + 1], extra_args, step=i, steps=steps)
        return denoised, to_d(x, up[i + 1], denoised)

    for i in range(steps):
        s, t = up[i], up[i + 1]
        if method == "fixed_point":
            x_t, denoised = _fixed_point(partial(predict, i=i), x, t - s, calls)
        elif method == "warm":
            if eps is None:
                _, eps = predict(x, i)
            denoised, eps = predict(x + (t - s) * eps, i)
            x_t = x + (t - s) * eps
        else:
            denoised, eps = predict(x, i)
            x_t = x + (t - s) * eps
        if callback is not None:
            callback({"x": x, "i": i, "sigma": s, "sigma_hat": t, "denoised": denoised})
        x = x_t
        latents[steps - 1 - i] = x.cpu()
    return Trajectory(
        latents=latents,
        sigmas=sigmas.cpu(),
        prompt=prompt,
        family=family,
        model=model_id,
        source=source,
        method=f"fixed_point({calls})" if method == "fixed_point" else method,
        extra=extra or {},
    )


def _fixed_point(predict, x_s: Tensor, h: Tensor, calls: int) -> tuple[Tensor, Tensor]:
    """Iterate x <- x_s + h eps(x, t) from x = x_s; the first iterate is the ddim step. Returns (x_t, denoised).

    The change made by an iteration is the residual of the iterate it started from. While changes shrink, the map
    contracts. Where the change of any frame grows, iterating leads away: the iterate before is kept, the best so far in
    every frame (the ddim step if there is none). So in no frame the residual is known to be larger than ddim's.
    """
    denoised, eps = predict(x_s)
    x = x_s + h * eps
    change = _per_frame(x - x_s)
    best = (x, denoised)
    for call in range(calls):
        denoised, eps = predict(x)
        x_next = x_s + h * eps
        residual = _per_frame(x_next - x)
        if (residual > change).any():
            return best
        best = (x, denoised)
        if call == calls - 1 and (residual > SHRINK * change).any():
            return best
        x, change = x_next, residual
    return x, denoised


def _per_frame(x: Tensor) -> Tensor:
    return x.flatten(1).norm(dim=1)
