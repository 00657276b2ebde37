"""The noise levels of Stable Diffusion's UNets: eps- and v-prediction (hosts.md B2, B4)."""

from __future__ import annotations

from typing import Any

from comfy import model_sampling as sampling
from torch import Tensor

from ....attention import DiffusionLevels
from ..model_info import sampling_of

scales = DiffusionLevels.scales


def noise_levels(model: Any) -> DiffusionLevels:
    """The noise levels a model is sampled with; model: a ModelPatcher (with its patches) or a BaseModel."""
    return DiffusionLevels(1 / (1 + sampling_of(model).sigmas.detach().cpu().double() ** 2))


def leading_sigmas(model: Any, steps: int) -> Tensor:
    """The schedule of the paper's DDIM, float32 [steps + 1], the same as the standalone runner's (timesteps 981, 961,
    ..., 1 for 50 steps). ValueError for a number of steps that the model's levels do not give."""
    return noise_levels(model).leading(steps)


def check_schedule(model: Any, sigmas: Tensor) -> None:
    """ValueError where this model cannot be walked up the schedule."""
    kind = sampling_of(model)
    right = isinstance(kind, sampling.EPS) and isinstance(kind, sampling.ModelSamplingDiscrete)
    if not right or isinstance(kind, sampling.EDM | sampling.ModelSamplingDiscreteEDM):
        names = " + ".join(base.__name__ for base in type(kind).__bases__)
        raise ValueError(
            f"model: expected eps- or v-prediction over Stable Diffusion's noise levels, got {names}; remove the "
            "node that changed the model's sampling, or load another checkpoint."
        )
    if float(sigmas[0]) > float(kind.sigma_max) * (1 + 1e-4):
        raise ValueError(
            f"sigmas: expected at most {float(kind.sigma_max):.6g}, the model's highest noise level, got "
            f"{float(sigmas[0]):.6g}; take the schedule from this model (Basic Scheduler), or leave it unconnected."
        )
    if float(sigmas[0]) > 1000:
        raise ValueError(
            f"sigmas: the schedule begins at {float(sigmas[0]):.6g}, pure noise (zero terminal SNR), where an "
            "inversion can keep nothing of the frames; leave sigmas unconnected, or take the scheduler ddim_uniform."
        )
