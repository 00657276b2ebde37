"""Latent blend: outside the mask the edit walks the inversion trajectory (method.md 10, paper Eq. 6 and 7).

A hook of every step (step_hooks.py), the last one of its chain, for any sampler. Around every evaluation of the network
    x'        = (1 - M) r(sigma)      + M x                  what the network sees
    denoised' = (1 - M) r0_ref(sigma) + M D(x', sigma)       what the sampler gets
where r(sigma) is the trajectory and r0_ref the x0 that makes Euler walk it (Trajectory.denoised). Both are needed: the
sampler keeps its own x, which would drift if only the input were replaced. A step that ends at sigma 0 returns
denoised', so outside the mask the result is the clean source latent whatever the sampler's order.

Ending the blend early (end < 1). From there on the background is denoised freely from the trajectory's latent with the
EDIT's prompt and guidance: it stays close to the source, since the remaining levels only settle fine detail, but it is
no longer exact. Do so where the edit should reach out of its mask (shadows, reflections, a hard border), typically
end = 0.8 to 0.95, and use the pixel composite for whatever must stay. Starting late (start > 0) lets the background
depart first and is meant for experiments.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..attention.active_range import ActiveRange
from .step_hooks import StepHook, Watch, hooked
from .trajectory import Trajectory


class BlendError(ValueError):
    """A mask, range or latent that does not fit the blend. The text says which, and what to do."""


class Reference:
    """The blend as a step hook (step_hooks.py): trajectory, mask and active range.

    trajectory: of F frames. mask: [F, h, w] at latent size, values in [0, 1], 1 = edited; all F frames, also where
    only some are selected later. active: sigma -> bool, where the blend works.
    """

    place = "blend"

    def __init__(self, trajectory: Trajectory, mask: Tensor, active: Callable[[float], bool] = lambda sigma: True):
        self.trajectory = trajectory
        self.mask = _check_mask(mask, trajectory)
        self.active = active

    def state(self, x: Tensor, sigma: float, frames: Sequence[int] | None = None) -> Tensor:
        """x with its outside on the trajectory at `sigma`; x itself where the blend is not active. [F, C, h, w]."""
        return self._mix(x, sigma, frames, self.trajectory.at)

    def prediction(self, denoised: Tensor, sigma: float, frames: Sequence[int] | None = None) -> Tensor:
        """denoised with its outside replaced by the trajectory's x0 at `sigma`; unchanged where not active."""
        return self._mix(denoised, sigma, frames, self.trajectory.denoised)

    def result(self, x: Tensor, sigma: float, frames: Sequence[int] | None = None) -> Tensor:
        """The sampler's x between evaluations, at its first or last sigma: exactly the trajectory where M = 0.

        A soft border is left to the evaluations. Mixed here as well it would be mixed twice where one run is split over
        two samplers, and the two would not do what one does.
        """
        return self._mix(x, sigma, frames, self.trajectory.at, hard=True)

    def _mix(self, x: Tensor, sigma: float, frames, reference, hard: bool = False) -> Tensor:
        if not self.active(sigma):
            return x
        r = reference(sigma, frames).to(x)
        if r.shape != x.shape:
            raise BlendError(
                f"blend: the latents have shape {list(x.shape)}, the inversion {list(r.shape)} [F, C, h, w]; "
                "edit the frames and size that were inverted, and pass `frames` for a context window."
            )
        m = self.mask if frames is None else self.mask[torch.as_tensor(frames, dtype=torch.int64).flatten().cpu()]
        m = (m > 0) if hard else m
        return torch.lerp(r, x, m[:, None].to(x))  # exactly r where m = 0, exactly x where m = 1


def blend(
    sampler,
    trajectory: Trajectory,
    mask: Tensor,
    *,
    start: float = 0.0,
    end: float = 1.0,
    t_of: Callable[[float], float] | None = None,
    frames: Sequence[int] | None = None,
    hooks: Sequence[StepHook] = (),
    watch: Watch | None = None,
):
    """Wrap `sampler` so that outside `mask` its result is the trajectory's latent. Same signature as the sampler's.

    mask: [F, h, w] at latent size in [0, 1] (latent_mask makes it); 1 = edited. F = trajectory.frames.
    start, end: active part of the run (attention/active_range.py); anything but 0 and 1 needs t_of (sigma -> t, e.g.
        Levels.t).
    frames: indices of the frames that the sampler is given, in their order; default all of them.
    hooks: what else is done at every step (step_hooks.py); the blend is the last of them.
    watch: sees every evaluation (step_hooks.py), or None.
    The sampler may evaluate between the stored sigmas (the trajectory is interpolated); outside them is an error.
    In a soft part of the mask the network sees the mix of the trajectory and the sampler's own, already mixed x.
    Errors: BlendError (mask, latents), RangeError (start, end), TrajectoryError (sigma or frame outside the inversion).
    """
    reference = Reference(trajectory, mask, activity(start, end, t_of))
    trajectory.at(float(trajectory.sigmas[-1]), frames)  # a wrong window fails here, not in the middle of a run

    chained = hooked(sampler, [reference, *hooks], frames, watch)

    @torch.no_grad()
    def blended(model, x, sigmas, *args, **options):
        for sigma in filter(reference.active, map(float, sigmas)):
            trajectory.at(sigma, frames)  # a level outside the inversion fails before any network call
        return chained(model, x, sigmas, *args, **options)

    return blended


def _check_mask(mask: Tensor, trajectory: Trajectory) -> Tensor:
    expected = [trajectory.frames, *trajectory.size]
    if not isinstance(mask, Tensor) or list(mask.shape) != expected:
        got = list(mask.shape) if isinstance(mask, Tensor) else type(mask).__name__
        raise BlendError(
            f"blend: expected a mask [F, h, w] = {expected} like the inverted latents, got {got}; "
            "make it with latent_mask(union, size=(h, w)), one mask per inverted frame."
        )
    mask = mask.detach().to("cpu", torch.float32)
    if not ((mask >= 0) & (mask <= 1)).all():  # NaN fails too
        raise BlendError(
            f"blend: expected mask values from 0 to 1, got {float(mask.min()):.4g} to {float(mask.max()):.4g}; "
            "divide 8-bit masks by 255."
        )
    return mask


def activity(
    start: float = 0.0, end: float = 1.0, t_of: Callable[[float], float] | None = None
) -> Callable[[float], bool]:
    """sigma -> whether a part of the run, ``start`` to ``end`` of `blend`, holds it. t_of: sigma -> t, e.g. Levels.t.
    BlendError where a part needs t_of and there is none; RangeError for a part that is none."""
    active = ActiveRange(start, end)
    if active.whole:
        return lambda sigma: True
    if t_of is None:
        raise BlendError(
            f"blend: start {start} and end {end} are fractions of the run and need t_of (sigma -> t in [0, 1]); "
            "pass Levels.t of the model."
        )
    # Sigma 0 is the end of the run by definition; t_of need not know it.
    return lambda sigma: active.holds(float(t_of(sigma)) if sigma > 0 else 0.0)
