"""What the host says of a model, whatever its family. Imports no ComfyUI."""

from __future__ import annotations

from typing import Any


def sampling_of(model: Any) -> Any:
    """The host's noise levels of a model; model: a ModelPatcher (with its patches) or a BaseModel."""
    return model.get_model_object("model_sampling") if hasattr(model, "get_model_object") else model.model_sampling
