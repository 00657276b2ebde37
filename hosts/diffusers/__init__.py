"""Stable Diffusion in diffusers' classes: `load_model` gives the model that editing/pipeline.py edits with.

No other room of the product imports diffusers; its modules import it and transformers when called, so that importing
them costs nothing, but for embedded_vae.py, which defines diffusers classes and is imported where it is used. Nothing
is downloaded, and no pickle files are read. A model family is a folder (`unet/`); what serves all families lies beside
it.
"""

from __future__ import annotations

from pathlib import Path

import torch

from ...editing.model import Model
from ...world import MODEL
from .families import from_file, from_folder
from .unet.load import ModelError
from .unet.model import DiffusersModel

__all__ = ["DiffusersModel", "ModelError", "load_model"]


def load_model(
    path: str | Path | None = None,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    config: str | Path | None = None,
) -> Model:
    """Load SD1.x, SD2.x (v-prediction too) or SDXL from this machine.

    path: a diffusers folder (with model_index.json), a single .safetensors file, or None for the embedded model.
        A folder with a words.json takes prompts of the words in it alone: any other raises PromptError.
    dtype: of UNet and text encoders (float32, float16, bfloat16); the VAE always runs in float32.
    config: for a single file, a diffusers folder of the same model, whose configs and tokenizers are read.
    Raises ModelError (a ValueError) for anything missing, damaged or of another family.
    """
    source = MODEL if path is None else Path(path)
    if path is None and not (source / "model_index.json").is_file():
        raise ModelError(f"the embedded model is not in {source}; reinstall the package, or give a model of your own.")
    if not source.exists():
        raise ModelError(f"{source} does not exist; give a diffusers folder or a .safetensors file.")
    if source.is_dir():
        if not (source / "model_index.json").is_file():
            raise ModelError(f"{source} has no model_index.json; give the folder of a whole diffusers pipeline.")
        return from_folder(source, device, dtype)
    if source.suffix == ".safetensors":
        folder = None if config is None else Path(config)
        if folder is not None and not (folder / "model_index.json").is_file():
            raise ModelError(f"config folder {folder} has no model_index.json; give a diffusers pipeline folder.")
        return from_file(source, device, dtype, folder)
    raise ModelError(
        f"{source.name} is neither a folder nor a .safetensors file; convert it (a .ckpt is never unpickled)."
    )
