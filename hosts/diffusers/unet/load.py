"""Reading Stable Diffusion weights from disk: diffusers folders and single .safetensors files, offline, no pickles.

Every part is loaded by the class name its own config records. Only what the UNets of SD1.x, SD2.x and SDXL are made
of is let through; anything else is refused by its name, because region attention would silently go wrong in it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ....world import MODEL
from ..vae import load_vae
from .errors import ModelError
from .prediction import warn_of_silence, warn_of_weights
from .prompts import TextEncoder

SUPPORTED = "supports SD1.x, SD2.x, SDXL UNets"
WORDS_FILE = "words.json"

TEXT_CLASSES = ("CLIPTextModel", "CLIPTextModelWithProjection")
TOKENIZER_CLASSES = ("CLIPTokenizer", "CLIPTokenizerFast")
BLOCKS = {
    "down_block_types": {"CrossAttnDownBlock2D", "DownBlock2D"},
    "mid_block_type": {"UNetMidBlock2DCrossAttn"},
    "up_block_types": {"CrossAttnUpBlock2D", "UpBlock2D"},
}
# UNet options that SD1.x, SD2.x and SDXL do not use, with the value that means "not used" and who uses them.
UNUSED = {
    "class_embed_type": (None, "unCLIP or another class-conditioned model"),
    "num_class_embeds": (None, "an upscaler or another class-conditioned model"),
    "encoder_hid_dim_type": (None, "a model with its own text or image projection"),
    "time_cond_proj_dim": (None, "a guidance-distilled (LCM) model"),
    "dual_cross_attention": (False, "a model with two cross-attentions"),
    "attention_type": ("default", "a GLIGEN model"),
    "time_embedding_type": ("positional", "a model with another time embedding"),
    "cross_attention_norm": (None, "a model with normed text"),
}


@dataclass(frozen=True)
class Parts:
    """What a model is made of. alphas_cumprod: float32 [T]; steps_offset: of SD's leading timestep spacing.

    words: all the words that the model was trained on, or None where it does not say. source: its name in messages.
    """

    family: str
    unet: Any
    encoders: tuple[TextEncoder, ...]
    vae: Any
    alphas_cumprod: torch.Tensor
    steps_offset: int
    prediction: str
    words: frozenset[str] | None = None
    source: str = ""


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from disk; ModelError where there is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(f"{path} does not exist; the model folder is incomplete. Copy the whole folder.") from None
    except ValueError as error:
        raise ModelError(f"{path} is not valid JSON ({error}); copy the model folder again.") from None
    if not isinstance(content, dict):
        raise ModelError(f"{path} holds no JSON object; copy the model folder again.")
    return content


def read_words(folder: Path) -> frozenset[str] | None:
    """The words a model was trained on, from its words.json (a JSON list, lower case); None where it has no such file.

    Stock SD folders have none: their text encoders have seen the open language.
    """
    path = folder / WORDS_FILE
    if not path.exists():
        return None
    try:
        words = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read ({error}); copy the model folder again.") from None
    if not isinstance(words, list) or not words or not all(isinstance(word, str) and word for word in words):
        raise ModelError(f"{path} must hold a JSON list of the words the model was trained on; copy the folder again.")
    return frozenset(word.lower() for word in words)


@contextmanager
def no_bars() -> Iterator[None]:
    """Keep the libraries' own progress bars out of a caller's terminal, and put the settings back."""
    import diffusers
    import transformers

    loggers = [library.utils.logging for library in (diffusers, transformers)]
    switched = [logger for logger in loggers if logger.is_progress_bar_enabled()]
    for logger in switched:
        logger.disable_progress_bar()
    try:
        yield
    finally:
        for logger in switched:
            logger.enable_progress_bar()


@no_bars()
def load_folder(folder: Path, dtype: torch.dtype) -> Parts:
    """Load a diffusers pipeline folder (model_index.json; weights as .safetensors, `fp16` variants too).

    A words.json beside model_index.json limits its prompts to the words in it (`read_words`).
    """
    from diffusers import UNet2DConditionModel

    index = read_json(folder / "model_index.json")
    words = read_words(folder)
    family = family_in_folder(index, folder)
    scheduler = folder / "scheduler" / "scheduler_config.json"
    schedule = read_schedule(config := read_json(scheduler), folder)
    warn_of_silence(config, scheduler)
    unet = _load(UNet2DConditionModel, folder / "unet", dtype)
    warn_of_weights(unet, family, schedule[2], _name(folder))
    encoders = tuple(_load_encoder(folder, index, part, family, dtype) for part in text_parts(family))
    return Parts(family, unet, encoders, load_vae(folder / "vae"), *schedule, words, _name(folder))


def read_schedule(config: dict[str, Any], where: Path) -> tuple[torch.Tensor, int, str]:
    """(alphas_cumprod float32 [T], steps_offset, prediction type) from any discrete scheduler's config.

    What the scheduler would do with them (clipping, its own sampler) is not taken over: the samplers here are
    k-diffusion's. The noise at the last level is kept finite where the config asks for zero terminal SNR.
    """
    from diffusers import DDIMScheduler

    name = config.get("_class_name", "unknown scheduler")
    if "beta_start" not in config and config.get("trained_betas") is None:
        raise ModelError(f"{SUPPORTED}; got {where} with {name}, which has no beta schedule.")
    prediction = config.get("prediction_type") or "epsilon"
    if prediction not in ("epsilon", "v_prediction"):
        raise ModelError(
            f"{SUPPORTED} that predict epsilon or v_prediction; got prediction_type {prediction!r} in "
            f"{where}/scheduler."
        )
    scheduler = DDIMScheduler.from_config({k: v for k, v in config.items() if not k.startswith("_")})
    alphas = scheduler.alphas_cumprod.float().clamp(min=2.0**-24)
    return alphas, int(config.get("steps_offset", 1)), prediction


def _name(folder: Path) -> str:
    return "embedded" if folder == MODEL else str(folder)


def _class_of(index: dict[str, Any], part: str) -> str | None:
    """The class name that model_index.json records for a part ([library, class], null or absent = no such part)."""
    return (index.get(part) or (None, None))[1]


def is_unet(index: dict[str, Any]) -> bool:
    """Whether a model_index.json is of a pipeline with a UNet of this kind."""
    return _class_of(index, "unet") == "UNet2DConditionModel"


def foreign(index: dict[str, Any], folder: Path) -> ModelError:
    """What is said of a folder with another kind of network."""
    other = [_class_of(index, part) for part in ("transformer", "prior", "unet") if _class_of(index, part)]
    return ModelError(f"{SUPPORTED}; got {' with '.join([_pipeline(index), *other[:1]])} in {folder}.")


def _pipeline(index: dict[str, Any]) -> str:
    return index.get("_class_name", "a folder without pipeline class")


def family_in_folder(index: dict[str, Any], folder: Path) -> str:
    """ "sd1", "sd2" or "sdxl", by what the configs record; ModelError by name for anything else."""
    if not is_unet(index):
        raise foreign(index, folder)
    pipeline = _pipeline(index)
    unet = read_json(folder / "unet" / "config.json")
    if unet.get("in_channels") != unet.get("out_channels"):
        raise ModelError(
            f"{SUPPORTED}; got {pipeline} in {folder}, whose UNet takes {unet.get('in_channels')} channels and gives "
            f"{unet.get('out_channels')} (an inpainting or instruction model). Use the base model."
        )
    for option, (unused, whose) in UNUSED.items():
        if unet.get(option, unused) != unused:
            raise ModelError(f"{SUPPORTED}; got {whose} in {folder} (UNet option {option} = {unet[option]!r}).")
    for option, allowed in BLOCKS.items():
        found = unet.get(option, next(iter(allowed)))
        strange = {found} - allowed if isinstance(found, str) or found is None else set(found) - allowed
        if strange:
            raise ModelError(f"{SUPPORTED}; got a UNet with {option} {sorted(map(str, strange))} in {folder}.")
    addition = unet.get("addition_embed_type")
    encoders = [part for part in ("text_encoder", "text_encoder_2") if _class_of(index, part)]
    if addition == "text_time" and encoders == ["text_encoder", "text_encoder_2"]:
        return "sdxl"
    if addition is not None or encoders != ["text_encoder"]:
        raise ModelError(
            f"{SUPPORTED}; got {pipeline} in {folder} with addition_embed_type {addition!r} and "
            f"{' + '.join(encoders) or 'no text encoder'} (an SDXL refiner has one encoder; use the base model)."
        )
    return "sd2" if unet.get("use_linear_projection") else "sd1"


def text_parts(family: str) -> tuple[str, ...]:
    return ("text_encoder", "text_encoder_2") if family == "sdxl" else ("text_encoder",)


def _load_encoder(folder: Path, index: dict[str, Any], part: str, family: str, dtype: torch.dtype) -> TextEncoder:
    import transformers

    tokens = part.replace("text_encoder", "tokenizer")
    for name, classes in ((part, TEXT_CLASSES), (tokens, TOKENIZER_CLASSES)):
        if _class_of(index, name) not in classes:
            raise ModelError(f"{SUPPORTED}; got {name} of class {_class_of(index, name)} in {folder}.")
    tokenizer = getattr(transformers, _class_of(index, tokens)).from_pretrained(folder / tokens, local_files_only=True)
    model = _load(getattr(transformers, _class_of(index, part)), folder / part, dtype)
    return TextEncoder(tokenizer, model, penultimate=family == "sdxl")


def _load(kind: Any, folder: Path, dtype: torch.dtype) -> Any:
    """A model of class `kind` in eval mode, from .safetensors only (never unpickled)."""
    weights = sorted(path.name for path in folder.glob("*.safetensors"))
    if not weights:
        raise ModelError(f"{folder} has no .safetensors weights; convert or download the model in that format.")
    variant = "fp16" if all(".fp16" in name for name in weights) else None
    model = kind.from_pretrained(
        folder, torch_dtype=dtype, use_safetensors=True, local_files_only=True, variant=variant
    )
    return model.eval().requires_grad_(False)
