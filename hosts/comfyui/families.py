"""Which model families there are, and which one a model is of: a folder like `unet/` and a record here for each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from comfy import supported_models
from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel

from ...editing.model import LatentGeometry
from .unet import GEOMETRY
from .unet import patch as unet_patch
from .unet import prompts as unet_prompts


@dataclass(frozen=True)
class Family:
    """Models with one kind of network, and what is written for them.

    Attributes:
        network: the host's class of their network.
        models: what inversions call them ("sd1") -> the host's class of their config.
        geometry: of their latents.
        patch: the module with `patch_edit`, `patch_space_time`, `observe`, `edits_of` and `check_level`.
        prompts: the module with `encode_regions` and `word_positions`, for their CLIP.
    """

    network: type
    models: Mapping[str, type]
    geometry: LatentGeometry
    patch: Any
    prompts: Any

    def name_of(self, model: Any) -> str | None:
        """What inversions call a MODEL; None if it is not of this family."""
        base = getattr(model, "model", None)
        if not isinstance(getattr(base, "diffusion_model", None), self.network):
            return None
        config = getattr(base, "model_config", None)
        return next((name for name, known in self.models.items() if isinstance(config, known)), None)


FAMILIES = (
    Family(
        network=UNetModel,
        models={"sd1": supported_models.SD15, "sd2": supported_models.SD20, "sdxl": supported_models.SDXL},
        geometry=GEOMETRY,
        patch=unet_patch,
        prompts=unet_prompts,
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


def family_name(model: Any, node: str) -> str:
    """What inversions call a MODEL: "sd1", "sd2" or "sdxl"; ValueError as `family_of`."""
    return str(family_of(model, node).name_of(model))
