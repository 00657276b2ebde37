"""Which model families there are, and which one a folder or file is of: for each a folder like `unet/`, a record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ...editing.model import Model
from .unet.load import SUPPORTED, ModelError, foreign, is_unet, load_folder, read_json
from .unet.model import DiffusersModel
from .unet.single_file import family_in, load_single_file


@dataclass(frozen=True)
class Family:
    """Models with one kind of network, and what loads them.

    Attributes:
        in_folder: the content of a model_index.json -> whether it is one of these models.
        in_file: the names of a single file's tensors -> what its model is called ("sd1"), None = none of these.
        load_folder: (folder, dtype) -> its parts.
        load_file: (file, what `in_file` said, dtype, a folder with configs or None) -> its parts.
        model: (parts, device) -> what editing/pipeline.py edits with, a `Model`.
    """

    in_folder: Callable[[dict[str, Any]], bool]
    in_file: Callable[[Sequence[str]], str | None]
    load_folder: Callable[[Path, torch.dtype], Any]
    load_file: Callable[[Path, str, torch.dtype, Path | None], Any]
    model: Callable[[Any, str | torch.device], Model]


FAMILIES = (Family(is_unet, family_in, load_folder, load_single_file, DiffusersModel),)


def from_folder(folder: Path, device: str | torch.device, dtype: torch.dtype) -> Model:
    """The model of a diffusers pipeline folder; ModelError for one of no family, by name."""
    index = read_json(folder / "model_index.json")
    for family in FAMILIES:
        if family.in_folder(index):
            return family.model(family.load_folder(folder, dtype), device)
    raise foreign(index, folder)


def from_file(path: Path, device: str | torch.device, dtype: torch.dtype, config: Path | None) -> Model:
    """The model of a single .safetensors file, config as in `load_model`; ModelError for one of no family."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())
    except SafetensorError as error:
        raise ModelError(f"{path} is not a readable .safetensors file ({error}); copy it again.") from None
    for family in FAMILIES:
        if (name := family.in_file(names)) is not None:
            return family.model(family.load_file(path, name, dtype, config), device)
    tops = sorted({".".join(name.split(".")[:2]) for name in names})
    raise ModelError(
        f"{SUPPORTED}; got {path.name}, whose tensors are named {', '.join(tops[:4])}, ... A complete checkpoint with "
        "UNet, VAE and text encoder is needed, not a UNet, LoRA or VAE alone."
    )
