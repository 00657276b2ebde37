"""What a model of the host is: its family and its noise levels."""

from __future__ import annotations

from typing import Any

from comfy import supported_models
from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel

from ...attention import DiffusionLevels

FAMILIES = {"sd1": supported_models.SD15, "sd2": supported_models.SD20, "sdxl": supported_models.SDXL}


def check_model(model: Any, node: str) -> str:
    """The family of a MODEL: "sd1", "sd2" or "sdxl".

    Raises:
        ValueError: any other model, by name.
    """
    base = getattr(model, "model", None)
    config = getattr(base, "model_config", None)
    network = getattr(base, "diffusion_model", None)
    if isinstance(network, UNetModel):
        for family, known in FAMILIES.items():
            if isinstance(config, known):
                return family
    came = type(model if base is None else base if config is None else config).__name__
    raise ValueError(
        f"{node}: input `model`: supports SD1.x, SD2.x and SDXL UNets; got {came}. Load a checkpoint of one of these."
    )


def noise_levels(model: Any) -> DiffusionLevels:
    """The noise levels a model is sampled with; model: a ModelPatcher (with its patches) or a BaseModel."""
    sampling = model.get_model_object("model_sampling") if hasattr(model, "get_model_object") else model.model_sampling
    return DiffusionLevels(1 / (1 + sampling.sigmas.detach().cpu().double() ** 2))
