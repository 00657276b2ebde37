"""The trained parts as a stock diffusers pipeline folder."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from ...editing.whole_file import whole_folder, write_json
from ...hosts.diffusers.unet.load import WORDS_FILE
from ...world.vae import CONFIG_NAME, WEIGHTS_NAME
from ...world.vae import WorldVAE as Net
from ...world.vocabulary import TRAINED_WORDS
from .tokenizer import save_tokenizer, text_encoder_settings


def new_modules(unet: dict, vocabulary: int) -> dict[str, nn.Module]:
    """An untrained UNet2DConditionModel of these settings and its CLIPTextModel: {"unet", "text"}."""
    text = CLIPTextModel(CLIPTextConfig(**text_encoder_settings(vocabulary)))
    return {"unet": UNet2DConditionModel(**unet), "text": text}


def quick_to_train(unet: UNet2DConditionModel, device: str) -> None:
    """Channels last; and on the CPU the attention written out, because there the backward pass of torch's fused one
    takes longer at these sizes (27 % of a training step)."""
    unet.to(memory_format=torch.channels_last)
    if device == "cpu":
        unet.set_attn_processor(AttnProcessor())


def tokenize(texts: list[str], folder: Path, length: int) -> Tensor:
    """Write the world's tokenizer to `folder` and run it: int64 [len(texts), length], padded with the end token."""
    save_tokenizer(folder)
    tokenizer = CLIPTokenizer.from_pretrained(folder)
    ids = tokenizer(texts, padding="max_length", max_length=length, truncation=True).input_ids
    return torch.tensor(ids, dtype=torch.int64)


def save_pipeline(folder: Path, modules: dict[str, nn.Module], vae: Net, schedule: dict) -> None:
    """Write a StableDiffusionPipeline folder with fp16 .safetensors weights, and words.json: the words it was taught.

    The folder appears whole or not at all: it is written beside its place and then renamed. A model or an empty
    folder that stands there is replaced as a whole.

    Raises:
        ValueError: `folder` holds something that is no model.
    """
    folder = folder.resolve()  # of a link the target is replaced
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file; give the folder that the model is to be written to.")
    if folder.exists() and any(folder.iterdir()) and not (folder / "model_index.json").is_file():
        raise ValueError(
            f"{folder} is not empty and holds no model (no model_index.json); expected a new or empty folder or a "
            "model to replace. Give another folder."
        )
    with whole_folder(folder) as part:
        _write(part, modules, vae, schedule)


def save_vae(folder: Path, vae: Net, dtype: torch.dtype = torch.float16) -> None:
    """Write the weights as `dtype`, and `config.json`, for `WorldVAE.load`; a stop in between leaves no config."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({k: v.to(dtype).contiguous() for k, v in vae.state_dict().items()}, folder / WEIGHTS_NAME)
    write_json(folder / CONFIG_NAME, vae.config)  # last, and at once: whoever finds it knows that the weights are whole


def _write(folder: Path, modules: dict[str, nn.Module], vae: Net, schedule: dict) -> None:
    for name, key in (("unet", "unet"), ("text_encoder", "text")):
        modules[key].half().save_pretrained(folder / name, safe_serialization=True)
    save_vae(folder / "vae", vae)
    save_tokenizer(folder / "tokenizer")
    DDIMScheduler(**schedule).save_pretrained(folder / "scheduler")
    index = {
        "_class_name": "StableDiffusionPipeline",
        "feature_extractor": [None, None],
        "image_encoder": [None, None],
        "requires_safety_checker": False,
        "safety_checker": [None, None],
        "scheduler": ["diffusers", "DDIMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["videograin.hosts.diffusers.embedded_vae", "WorldVAE"],
    }
    (folder / WORDS_FILE).write_text(json.dumps(TRAINED_WORDS, indent=2) + "\n", encoding="utf-8")
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
