"""What is done to every step of a sampling run, as a chain in a stated order.

    network(state(x)) -> guidance -> guided x0 -> fusion -> blend -> the sampler's step

A hook is a value with a place in ORDER. Hooks do not know each other, and the order in which they are given (or
wired on a canvas) does not matter: `ordered` sorts them. The blend is always last, since it promises what lies
outside the regions. What sets the noise of a run up (`starting_noise`) comes before all of it and is no hook.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from ..attention.noise_levels import one_level
from .fusion import Reading, Shares, fuse, readings
from .motion.value import Motion

ORDER = ("fusion", "blend")
"""The places of a chain, in the order in which they act on a prediction."""
Frames = Sequence[int] | None
"""Which frames of the clip x holds, in their order; None = all of them."""


class StepError(ValueError):
    """A step that a chain cannot work on. The text says why, and what to do."""


class StepHook(Protocol):
    """One thing done at every step. All latents are [F, C, h, w]; sigma is a noise level."""

    @property
    def place(self) -> str:
        """Where it stands: one of ORDER."""
        ...

    def state(self, x: Tensor, sigma: float, frames: Frames = None) -> Tensor:
        """What the network sees in place of the sampler's x."""
        ...

    def prediction(self, denoised: Tensor, sigma: float, frames: Frames = None) -> Tensor:
        """What the sampler gets in place of the guided x0."""
        ...

    def result(self, x: Tensor, sigma: float, frames: Frames = None) -> Tensor:
        """The sampler's x between evaluations, at the first and the last noise level of a run."""
        ...


@dataclass(frozen=True)
class Fusion:
    """x0 fusion (method.md 11): every step's prediction drawn to what the frames agree on along the motion.

    motion: of F frames. shares: at the latent's size, of all of its regions. regions: which are fused, None = all.
    strength: in [0, 1]. active: sigma -> whether it works there. average: as in `fuse`.
    """

    motion: Motion
    shares: Shares
    regions: tuple[int, ...] | None = None
    strength: float = 1.0
    active: Callable[[float], bool] = lambda sigma: True
    average: str = "mean"
    place: str = "fusion"
    _known: tuple[Reading, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_known", tuple(readings(self.motion, self.shares, self.regions)))

    def state(self, x: Tensor, sigma: float, frames: Frames = None) -> Tensor:
        return x

    def prediction(self, denoised: Tensor, sigma: float, frames: Frames = None) -> Tensor:
        """Raises StepError for a part of the clip: its frames would not see the others."""
        if not self.active(sigma):
            return denoised
        if len(denoised) != self.motion.frames or (frames is not None and list(frames) != [*range(len(denoised))]):
            raise StepError(
                f"fusion: the motion has {self.motion.frames} frames, the sampler was given {len(denoised)} "
                f"({'in order' if frames is None else f'frames {list(frames)}'}); expected the whole clip in one run. "
                "Cut the memory with windows instead of the clip."
            )
        return fuse(denoised, self.motion, self.shares, self.regions, self.strength, self._known, self.average)

    def result(self, x: Tensor, sigma: float, frames: Frames = None) -> Tensor:
        return x


def ordered(hooks: Sequence[StepHook]) -> list[StepHook]:
    """The hooks in the order of ORDER; those of one place as given. StepError for a place that is none."""
    for hook in hooks:
        if hook.place not in ORDER:
            raise StepError(f"step hook: place {hook.place!r} does not exist; expected one of {', '.join(ORDER)}.")
    return sorted(hooks, key=lambda hook: ORDER.index(hook.place))


Watch = Callable[[Tensor, float, Tensor], None]
"""Sees every evaluation of a run: x as the sampler asks for it, sigma, and the prediction that it gets."""


def hooked(
    sampler: Callable[..., Tensor], hooks: Sequence[StepHook], frames: Frames = None, watch: Watch | None = None
) -> Callable[..., Tensor]:
    """``sampler`` with the hooks around every evaluation of its model. Same signature as the sampler's.

    sampler: k-diffusion's ``(model, x, sigmas, extra_args, callback, disable, **options) -> x``. Without hooks it is
    returned as it is. watch: sees every evaluation, or None.
    """
    chain = ordered(hooks)
    if not chain:
        return sampler

    @torch.no_grad()
    def run(model, x, sigmas, extra_args=None, callback=None, disable=None, **options):
        levels = [float(s) for s in sigmas]

        def shown(info):
            sigma = float(info["sigma"]) if "sigma" in info else levels[info["i"]]
            assert callback is not None  # this stands in for one
            callback({**info, "x": _through(chain, "state", info["x"], sigma, frames)})

        x = sampler(
            _Hooked(model, chain, frames, watch),
            _through(chain, "result", x, levels[0], frames),
            sigmas,
            extra_args=extra_args,
            callback=None if callback is None else shown,
            disable=disable,
            **options,
        )
        return _through(chain, "result", x, levels[-1], frames)

    return run


def evaluated(
    chain: Sequence[StepHook], model: Callable[[Tensor], Tensor], x: Tensor, sigma: float, frames: Frames = None
) -> Tensor:
    """One evaluation of the network with an ordered chain around it. model: what the network sees -> guided x0."""
    return _through(chain, "prediction", model(_through(chain, "state", x, sigma, frames)), sigma, frames)


def _through(chain: Sequence[StepHook], method: str, x: Tensor, sigma: float, frames: Frames) -> Tensor:
    for hook in chain:
        x = getattr(hook, method)(x, sigma, frames)
    return x


class _Hooked:
    """The denoiser with the chain around it. Everything else is the wrapped model's: samplers of ComfyUI read
    model.inner_model.inner_model.model_sampling."""

    def __init__(self, model: Any, chain: Sequence[StepHook], frames: Frames, watch: Watch | None):
        self._model, self._chain, self._frames, self._watch = model, chain, frames, watch

    def __call__(self, x: Tensor, sigma: Tensor, **kwargs: Any) -> Tensor:
        try:
            level = one_level(sigma)
        except ValueError as error:
            raise StepError(f"step: {error}") from None
        denoised = evaluated(self._chain, lambda seen: self._model(seen, sigma, **kwargs), x, level, self._frames)
        if self._watch is not None:
            self._watch(x, level, denoised)
        return denoised

    def __getattr__(self, name: str) -> Any:
        if name == "_model":  # not set yet (copy, pickle): do not look it up through itself
            raise AttributeError(name)
        return getattr(self._model, name)
