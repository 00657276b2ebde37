"""What the host says of a model's noise levels, whatever its family."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...attention import DiffusionLevels


def noise_levels(model: Any) -> DiffusionLevels:
    """The noise levels a model is sampled with; model: a ModelPatcher (with its patches) or a BaseModel."""
    sampling = model.get_model_object("model_sampling") if hasattr(model, "get_model_object") else model.model_sampling
    return DiffusionLevels(1 / (1 + sampling.sigmas.detach().cpu().double() ** 2))


def t_of(guider: Any) -> Callable[[float], float]:
    """sigma -> t of the run's own model (`Levels.t`), whose noise levels a node after ours may have changed; asked
    when called, which is only where a part of the run counts."""
    return lambda sigma: noise_levels(guider.inner_model).t(sigma)
