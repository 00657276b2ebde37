"""Reading a single .safetensors checkpoint with the configs of its family: offline, no pickles."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from ..vae import load_vae
from .errors import ModelError
from .load import Parts, family_in_folder, no_bars, read_json, read_schedule, text_parts
from .prediction import schedule_of, stated_by, warn_of_weights
from .prompts import TextEncoder

# Which text encoders a single file holds shows its family; SD1 and SD2 differ in the text encoder alone.
SINGLE_FILE_MARKS = {
    "sdxl": "conditioner.embedders.1.model.",
    "sd2": "cond_stage_model.model.transformer.",
    "sd1": "cond_stage_model.transformer.",
}


CONFIG_SOURCES = {
    "sd1": "stable-diffusion-v1-5/stable-diffusion-v1-5",
    "sdxl": "stabilityai/stable-diffusion-xl-base-1.0",
}


@no_bars()
def load_single_file(path: Path, marked: str, dtype: torch.dtype, config: Path | None) -> Parts:
    """Load one .safetensors file in the original (ComfyUI) layout.

    marked: what `family_in` says of it.
    config: a diffusers folder of the same family; only its configs, scheduler and tokenizers are read (no words.json:
    that speaks of the folder's own weights). What the file itself says of its prediction goes before. Without
    it the folder in the local Hugging Face cache is used; nothing is downloaded.
    """
    from diffusers import AutoencoderKL, StableDiffusionPipeline, StableDiffusionXLPipeline

    config = config or _cached_config(path, marked)
    family = family_in_folder(read_json(config / "model_index.json"), config)
    if family != marked:
        raise ModelError(
            f"{path.name} is an {marked} checkpoint, but config folder {config} is of {family}; give one of {marked}."
        )
    scheduler = schedule_of(stated_by(path), read_json(config / "scheduler" / "scheduler_config.json"), path, config)
    schedule = read_schedule(scheduler, config)
    for part in text_parts(family):
        tokenizer = config / part.replace("text_encoder", "tokenizer")
        vocabulary = any((tokenizer / name).is_file() for name in ("vocab.json", "tokenizer.json"))
        if not (config / part / "config.json").is_file() or not vocabulary:
            raise ModelError(
                f"config folder {config} lacks {part}/config.json or {tokenizer.name}/vocab.json; give a complete one."
            )
    loader = StableDiffusionXLPipeline if family == "sdxl" else StableDiffusionPipeline
    absent = {"feature_extractor": None, "image_encoder": None}
    if family != "sdxl":
        absent["safety_checker"] = None
    common = {"config": str(config), "local_files_only": True}
    try:
        # On its own, because it stays in float32.
        vae = AutoencoderKL.from_single_file(str(path), subfolder="vae", torch_dtype=torch.float32, **common)
        pipe = loader.from_single_file(str(path), vae=vae, torch_dtype=dtype, **common, **absent)
    except Exception as error:  # diffusers raises whatever its converters stumble over
        raise ModelError(
            f"{path.name} could not be read as an {family} checkpoint with config folder {config}: "
            f"{type(error).__name__}: {error}. Check that the folder belongs to this very model."
        ) from error
    warn_of_weights(pipe.unet, family, schedule[2], path.name)
    penultimate = family == "sdxl"
    encoders = [TextEncoder(pipe.tokenizer, pipe.text_encoder.eval(), penultimate)]
    if penultimate:
        encoders.append(TextEncoder(pipe.tokenizer_2, pipe.text_encoder_2.eval(), penultimate))
    return Parts(family, pipe.unet, tuple(encoders), load_vae(vae), *schedule, source=str(path))


def family_in(names: Sequence[str]) -> str | None:
    """ "sd1", "sd2" or "sdxl" by the names of a checkpoint's tensors; None for any other file."""
    if not any(name.startswith("model.diffusion_model.input_blocks.") for name in names):
        return None
    found = (family for family, mark in SINGLE_FILE_MARKS.items() if any(name.startswith(mark) for name in names))
    return next(found, None)


def _cached_config(path: Path, family: str) -> Path:
    """The config folder in the local Hugging Face cache, without touching the network."""
    from huggingface_hub import try_to_load_from_cache

    source = CONFIG_SOURCES.get(family)
    found = try_to_load_from_cache(source, "model_index.json") if source else None
    if isinstance(found, str):
        return Path(found).parent
    hint = (
        f"e.g. hf download {source} --include '*.json' '*.txt' --local-dir FOLDER"
        if source
        else "SD2 comes with epsilon and with v-prediction: take that of this very model"
    )
    raise ModelError(
        f"{path.name} is an {family} checkpoint; its configs and tokenizer are not in the file and not on this "
        f"machine. Give `config` = a diffusers folder of that model (only its small files are read; {hint})."
    )
