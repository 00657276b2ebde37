"""What is hardly meant of a sampling run: another start than the inversion's, other noise levels, noise on the way.

Judged by the numbers of the run alone, not by names of nodes and samplers, of which there are always more. Every
function returns one sentence without a full stop, or None. All latents are [F, C, h, w] at the sampler's scale: the
clean latent at sigma 0, that plus noise of deviation sigma above.
"""

from __future__ import annotations

import math
from collections import deque

import torch
from torch import Tensor

from .trajectory import Trajectory

NOISY = 2.0
"""Above this sigma latents are noise rather than pictures, whose own deviation is about 1."""
DROWNED = 10.0
"""Above this sigma a clip that fresh noise is added to does not show in the result."""
ADDS = (
    "the sampler (or another node) adds something of its own between the model's predictions, noise as ancestral and "
    "SDE samplers do, or the negative prompt's direction as CFG++ does: that is not the way that was inverted, and the "
    "clip's motion inside the mask is lost; take euler, heun, dpmpp_2m or uni_pc"
)
USE_NOISE = "connect the output `noise` of DDIM Video Inversion to the sampler, and switch its add_noise off"


def start_doubt(latent: Tensor, sigma: float, *, fresh: bool) -> str | None:
    """About a start at sigma whose inversion is not known. latent: what the sampler is given; fresh: it adds noise.

    Inverted latents have the deviation sqrt(1 + sigma^2), pictures about 1, an empty latent 0.
    """
    spread = float(latent.float().pow(2).mean().sqrt())
    if sigma < NOISY:
        return None
    if fresh and spread > max(NOISY, 0.4 * sigma):
        return (
            f"noise of sigma {sigma:.4g} is added to latents that are noise already (deviation {spread:.3g}), as the "
            "inverted ones are; switch the sampler's add_noise off (Disable Noise), or with KSampler use Latent Blend "
            "(Model Patch)"
        )
    if not fresh and spread < 0.5 * math.hypot(1, sigma):
        return (
            f"the sampler starts at sigma {sigma:.4g}, but its latents have hardly any noise in them (deviation "
            f"{spread:.3g}): {USE_NOISE}"
        )
    if fresh and spread > 0 and sigma > DROWNED:
        return (
            f"the sampler starts from fresh noise of sigma {sigma:.4g}, in which the clip's frames do not show: "
            f"{USE_NOISE} (for a video of noise alone give it an empty latent)"
        )
    return None


def inverted_start_doubt(x: Tensor, sigma: float, trajectory: Trajectory, mask: Tensor) -> str | None:
    """About a start that is to be the inversion's latent at sigma. mask: [F, h, w], 1 where something is edited.

    Below the inversion's highest level a run may go on where another one ended: then only what is outside of the mask
    must be the inversion's.
    """
    expected, clean = trajectory.at(sigma).to(x), trajectory.latents[-1].to(x)
    outside = (mask == 0)[:, None].expand_as(x).to(x.device)
    if sigma >= float(trajectory.sigmas[0]) * (1 - 1e-4):
        outside = torch.ones_like(outside)
    expected, clean, x = (value[outside].double() for value in (expected, clean, x))
    if not len(x) or float((x - expected).norm()) < 0.02 * float(expected.norm()):
        return None
    parts = torch.stack([expected, clean], 1)
    share = torch.linalg.lstsq(parts, x[:, None]).solution
    rest = float((x - (parts @ share)[:, 0]).pow(2).mean().sqrt())
    if rest > 0.5 * sigma:
        why = "noise was added to them" if float(share[0]) > 0.5 else "this is fresh noise, or another inversion's"
    else:
        why = "these are the clip's frames without noise" if float(share[0]) < 0.5 else "they were changed on the way"
    return f"the sampler does not start from the inverted latents ({why}): {USE_NOISE}"


def levels_doubt(sigmas: Tensor, trajectory: Trajectory) -> str | None:
    """About a schedule [steps + 1] that is not the inversion's: levels in between, or steps over some of its own.

    A part of the inversion's levels is none, nor is one that leaves out the last one above 0, as some samplers do.
    """
    run, known = [float(sigma) for sigma in sigmas], [float(sigma) for sigma in trajectory.sigmas]
    near = [min(range(len(known)), key=lambda place: abs(known[place] - sigma)) for sigma in run]
    between = [sigma for sigma, place in zip(run, near) if not math.isclose(sigma, known[place], rel_tol=1e-4)]
    skipped = [place for place in range(min(near), max(near)) if place not in near and place != len(known) - 2]
    if not between and not skipped:
        return None
    what = f"{len(between)} of its noise levels lie between" if between else f"{len(skipped)} levels are left out of"
    return (
        f"the sampler takes {len(run) - 1} steps from sigma {run[0]:.4g} to {run[-1]:.4g}, and {what} those of the "
        f"inversion ({trajectory.steps} steps): the edit does not walk the way that was inverted; connect the output "
        "`sigmas` of the inversion, or set the same steps and scheduler in both"
    )


def prediction_doubt(trajectory: Trajectory) -> str | None:
    """About an inversion whose model predicts v but is run as epsilon, or the other way round.

    At a high noise level x0 is a blurred picture, no larger than the clip's, and the latents are noise of deviation
    sigma. Measured with the embedded model at 10 and 30 steps, all methods: x0 0.9 to 1.5 times the clip's latents, 2.6
    to 7 as v run as epsilon; the latents up to 1.05 times sqrt(1 + sigma^2), 1.07 to 2.7 as epsilon run as v.
    """
    sigma = float(trajectory.sigmas[0])
    if sigma < 6 or float(trajectory.sigmas[-1]) > 0:
        return None
    clean, noise, first = (
        float(x.pow(2).mean().sqrt()) for x in (trajectory.latents[-1], trajectory.noise, trajectory.denoised(sigma))
    )
    if first < 2.2 * max(clean, 0.3) and noise < 1.5 * math.hypot(1, sigma):
        return None
    return (
        f"the model's predictions do not fit its noise levels (at sigma {sigma:.4g} the latents deviate by "
        f"{noise:.3g}, the predicted clip by {first:.3g}, the clip by {clean:.3g}), as of one that predicts v and is "
        "run as epsilon, or the other way round; set prediction_type in its scheduler_config.json (ComfyUI: the node "
        "ModelSamplingDiscrete), and invert again"
    )


class Additions:
    """Sees every evaluation of a run, and tells whether the sampler adds something of its own: noise above all.

    Whatever solves the ODE asks next for a linear combination of earlier latents and predictions, the same for all
    cells; what is added is what no such combination has. Remembers some rows of the last evaluations.
    """

    CELLS, CALLS, LEAST = 4096, 5, 0.01

    def __init__(self) -> None:
        self._seen: deque[Tensor] = deque(maxlen=2 * self.CALLS)

    def __call__(self, x: Tensor, denoised: Tensor) -> bool:
        """Whether anything was added between the last call and this one. x: what the sampler asks for; denoised: x0."""
        rows = slice(None, None, max(1, x.numel() // self.CELLS))
        x, denoised = (v.detach().flatten(0, 2)[rows].cpu().double().flatten() for v in (x, denoised))
        left = torch.zeros(1)
        if self._seen:
            known = torch.stack(tuple(self._seen), 1)
            basis = torch.linalg.qr(known / known.norm(dim=0).clamp(min=1e-12)).Q
            left = x - basis @ (basis.T @ x)
        self._seen += (x, denoised)
        return bool(left.norm() > self.LEAST * x.norm())
