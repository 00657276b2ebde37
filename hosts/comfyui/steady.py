"""Steadiness on a MODEL: the fusion of predictions along a motion, as a step hook (method.md 11)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from torch import Tensor

from ...attention.active_range import ActiveRange
from ...editing.blend import activity
from ...editing.fusion import Shares
from ...editing.motion.value import Motion
from ...editing.regions import Region
from ...editing.step_hooks import Frames, Fusion
from .errors import naming
from .families import family_of
from .family import Family
from .motion import steady_of
from .step_hooks import with_hook


def steadied_model(
    model: Any,
    motion: Motion,
    regions: Sequence[Region],
    *,
    strength: float = 1.0,
    start: float = 0.0,
    end: float = 1.0,
    node: str,
    family: Family | None = None,
) -> Any:
    """MODEL clone whose guided predictions are fused along the motion, under any sampler.

    motion: of the clip that is sampled and of these regions, in their order; preserved ones are not fused. strength: in
    [0, 1], 0 changes no bit. start, end: the active part of the run. family: the model's, None = the one of FAMILIES.
    Raises ValueError, with the node's name, here and in the run.
    """
    with naming(node):
        family = family or family_of(model, node)
        if family.geometry.group != 1:
            raise ValueError(
                "input `model`: its latents hold several frames each, which cannot be brought together along a motion; "
                "leave this node out and connect motion and regions to Pixel Composite alone."
            )
        ActiveRange(start, end, ("start_percent", "end_percent"))
        steady = steady_of(motion, regions, None, motion.frames)

    @lru_cache(maxsize=1)  # the latent's size is known in the run, and what is read where is the same at every step
    def fusion(size: tuple[int, int]) -> Fusion:
        return Fusion(steady.motion, Shares.at(steady.masks, size), steady.fused, strength)

    def hook(guider: Any) -> FusionOfRun:
        return FusionOfRun(fusion, activity(start, end, family.t_in(guider)))

    return with_hook(model, hook, node=node)


class FusionOfRun:
    """`Fusion` for the latents of a run, whatever their size. fusion: (h, w) -> the hook; active: sigma -> bool."""

    place = "fusion"

    def __init__(self, fusion: Callable[[tuple[int, int]], Fusion], active: Callable[[float], bool]):
        self._fusion, self._active = fusion, active

    def state(self, x: Tensor, sigma: float, frames: Frames = None) -> Tensor:
        return x

    def prediction(self, denoised: Tensor, sigma: float, frames: Frames = None) -> Tensor:
        if not self._active(sigma):
            return denoised
        height, width = denoised.shape[-2:]
        return self._fusion((height, width)).prediction(denoised, sigma, frames)

    def result(self, x: Tensor, sigma: float, frames: Frames = None) -> Tensor:
        return x
