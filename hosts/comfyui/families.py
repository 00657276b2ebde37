"""Which model families there are, and which one a model is of: a folder like `unet/` and a record here for each."""

from __future__ import annotations

from typing import Any

from comfy import supported_models
from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel

from .family import Family
from .unet import GEOMETRY
from .unet import noise as unet_noise
from .unet import patch as unet_patch
from .unet import prompts as unet_prompts

FAMILIES = (
    Family(
        network=UNetModel,
        models={"sd1": supported_models.SD15, "sd2": supported_models.SD20, "sdxl": supported_models.SDXL},
        geometry=GEOMETRY,
        patch=unet_patch,
        prompts=unet_prompts,
        noise=unet_noise,
    ),
)


def family_of(model: Any, node: str) -> Family:
    """The family of a MODEL; ValueError, with the node's name, for a model of none."""
    for family in FAMILIES:
        if family.name_of(model) is not None:
            return family
    base = getattr(model, "model", None)
    config = getattr(base, "model_config", None)
    came = type(model if base is None else base if config is None else config).__name__
    raise ValueError(
        f"{node}: input `model`: supports SD1.x, SD2.x and SDXL UNets; got {came}. Load a checkpoint of one of these."
    )


def family_in(guider: Any, node: str) -> Family:
    """The family of the model that a guider runs; ValueError as `family_of`."""
    patcher = getattr(guider, "model_patcher", None)
    return family_of(guider.inner_model if patcher is None else patcher, node)


def family_named(name: str) -> Family:
    """The family whose models inversions call `name`; the first one for a name of none, as in files that say none."""
    return next((family for family in FAMILIES if name in family.models), FAMILIES[0])
