"""Networks that turn pictures and words into embeddings: what an encoder is, and those in local folders.

An `Encoder` is a value with plain callables, so that anything can be one: `load_clip` and `load_dino` read folders of
transformers (nothing is downloaded), ComfyUI's loaded models are wrapped by hosts/comfyui/metrics.py, tests write their
own in a line.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

log = logging.getLogger(__name__)
BATCH = 16  # pictures at a time
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
DINOS = ("dinov2", "dinov2_with_registers", "vit")  # ViTModel: the first DINO
BICUBIC = 3  # Pillow's number


class EncoderError(ValueError):
    """A network cannot be read. The text says what was expected and the remedy."""


@dataclass(frozen=True)
class Encoder:
    """name: what figures quote. pictures: uint8 [h, w, 3] of any sizes -> float [N, D]. texts: the same for words, in
    the same space; None where the network reads none. no_text: why not, for reports. scale: what the network
    multiplies cosines by before a softmax (CLIP's logit scale). fill: the RGB colour that its normalisation maps to 0.
    """

    name: str
    pictures: Callable[[Sequence[np.ndarray]], np.ndarray]
    texts: Callable[[Sequence[str]], np.ndarray] | None = None
    scale: float = 100.0
    fill: tuple[int, int, int] = tuple(round(255 * value) for value in CLIP_MEAN)
    no_text: str = ""


@dataclass(frozen=True)
class Preprocess:
    """How a picture becomes the network's input: resized with Pillow's filter ``resample`` to ``edge`` (a shorter side,
    or (height, width); None = not), its middle ``crop`` (height, width) or all of it, normalised."""

    edge: int | tuple[int, int] | None
    crop: tuple[int, int] | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resample: int = BICUBIC

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        """uint8 [h, w, 3] -> float32 [3, H, W]."""
        from PIL import Image

        image = Image.fromarray(picture)
        if self.edge is not None:
            image = image.resize(self._size(image.size), Image.Resampling(self.resample))
        values = np.asarray(image)
        if self.crop is not None:
            values = _middle(values, self.crop)
        values = (values.astype(np.float32) / 255 - np.float32(self.mean)) / np.float32(self.std)
        return values.transpose(2, 0, 1)

    def _size(self, size: tuple[int, int]) -> tuple[int, int]:
        """(width, height) after the resize."""
        if isinstance(self.edge, tuple):
            return self.edge[1], self.edge[0]
        width, height = size
        short = min(size)
        return max(self.edge, int(self.edge * width / short)), max(self.edge, int(self.edge * height / short))

    @property
    def fill(self) -> tuple[int, int, int]:
        """The RGB colour that becomes 0."""
        return tuple(round(255 * value) for value in self.mean)


def load_clip(folder: str | Path, device: str = "cpu") -> Encoder:
    """A CLIP of transformers (``CLIPModel`` with tokenizer) from a local folder; PickScore is one, too.

    The prompt's first 77 tokens count, as in training. Raises EncoderError for any other folder."""
    folder = Path(folder)
    _config(folder, ("clip",), "a CLIP of transformers (model_type clip, with its tokenizer's files)")
    import torch
    from transformers import CLIPModel, CLIPTokenizer

    _check_tokenizer(folder)
    model = _weights(CLIPModel, folder, device)
    try:
        tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # transformers raises OSError, TypeError, ValueError for broken files
        raise EncoderError(
            f"{folder}: its tokenizer cannot be read ({_first_line(error)}); expected vocab.json and merges.txt; "
            "download them again"
        ) from None
    length = model.config.text_config.max_position_embeddings
    side = model.config.vision_config.image_size
    prepare = _preprocess(folder, Preprocess(side, (side, side), CLIP_MEAN, CLIP_STD))

    @torch.no_grad()
    def pictures(frames: Sequence[np.ndarray]) -> np.ndarray:
        parts = [
            model.visual_projection(model.vision_model(pixel_values=batch).pooler_output)
            for batch in _batches(frames, prepare, device)
        ]
        return torch.cat(parts).cpu().numpy()

    @torch.no_grad()
    def texts(words: Sequence[str]) -> np.ndarray:
        for one in words:
            if len(tokenizer(one).input_ids) > length:
                log.warning("%s reads %d tokens: the end of %r does not count", folder.name, length, one)
        tokens = tokenizer(list(words), padding="max_length", truncation=True, max_length=length, return_tensors="pt")
        out = model.text_model(tokens.input_ids.to(device), attention_mask=tokens.attention_mask.to(device))
        return model.text_projection(out.pooler_output).cpu().numpy()

    size = model.config.vision_config
    name = (
        f"{folder.name} (CLIP, {size.num_hidden_layers} layers of {size.hidden_size}, patch {size.patch_size}, "
        f"{side} px, {model.config.projection_dim} dimensions)"
    )
    return Encoder(name, pictures, texts, model.logit_scale.exp().item(), prepare.fill)


def load_dino(folder: str | Path, device: str = "cpu") -> Encoder:
    """A DINO of transformers (``Dinov2Model``, or ``ViTModel`` for the first DINO) from a local folder; the embedding
    is that of the class token. Raises EncoderError for any other folder."""
    folder = Path(folder)
    config = _config(folder, DINOS, "a DINO of transformers (model_type dinov2, dinov2_with_registers or vit)")
    import torch
    from transformers import AutoModel

    more = {"add_pooling_layer": False} if config["model_type"] == "vit" else {}
    model = _weights(AutoModel, folder, device, **more)
    size = model.config
    prepare = _preprocess(folder, Preprocess(256, (224, 224), IMAGENET_MEAN, IMAGENET_STD))

    @torch.no_grad()
    def pictures(frames: Sequence[np.ndarray]) -> np.ndarray:
        parts = [model(pixel_values=batch).last_hidden_state[:, 0] for batch in _batches(frames, prepare, device)]
        return torch.cat(parts).cpu().numpy()

    name = (
        f"{folder.name} ({config['model_type']}, {size.num_hidden_layers} layers of {size.hidden_size}, patch "
        f"{size.patch_size})"
    )
    return Encoder(name, pictures, fill=prepare.fill)


def _config(folder: Path, kinds: tuple[str, ...], expected: str) -> dict[str, Any]:
    """The folder's config.json; EncoderError where it is not one of the ``kinds``."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise EncoderError(
            f"{folder}: has no config.json that can be read; expected the folder of {expected}; correct the path"
        ) from None
    kind = config.get("model_type")
    if kind not in kinds:
        raise EncoderError(f"{folder}: is of model_type {kind}; expected the folder of {expected}; choose another")
    return config


def _check_tokenizer(folder: Path) -> None:
    """EncoderError without the tokenizer's files: transformers would hand out one that knows no words."""
    if not (folder / "tokenizer.json").is_file() and not all(
        (folder / name).is_file() for name in ("vocab.json", "merges.txt")
    ):
        raise EncoderError(
            f"{folder}: has no tokenizer; expected vocab.json and merges.txt (or tokenizer.json) beside the weights; "
            "copy them there (PickScore's are those of CLIP-ViT-H-14)"
        )


def _weights(kind: Any, folder: Path, device: str, **more: Any) -> Any:
    """The model in float32, every weight of it from the folder."""
    try:
        model, report = kind.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, output_loading_info=True, **more
        )
    except Exception as error:  # transformers and safetensors raise many kinds for broken or missing files
        raise EncoderError(
            f"{folder}: its weights cannot be read ({_first_line(error)}); expected model.safetensors; download the "
            "whole folder again"
        ) from None
    missing = sorted(report["missing_keys"])
    if missing:
        raise EncoderError(
            f"{folder}: {len(missing)} weights are missing ({missing[0]} ...), which would be random; expected all of "
            "them; download the whole folder again"
        )
    return model.float().eval().requires_grad_(False).to(device)


def _preprocess(folder: Path, usual: Preprocess) -> Preprocess:
    """As the folder's preprocessor_config.json (or processor_config.json) says; what it leaves open is as usual."""
    said = None
    for name, inner in (("preprocessor_config.json", None), ("processor_config.json", "image_processor")):
        try:
            said = json.loads((folder / name).read_text(encoding="utf-8"))
            said = said[inner] if inner else said
            break
        except (OSError, ValueError, KeyError):
            continue
    if not isinstance(said, dict):
        log.warning("%s has no preprocessor_config.json: pictures are prepared as is usual for its kind", folder.name)
        return usual
    said = {key: value for key, value in said.items() if value is not None}  # null: nothing is said
    edge = _edge(said["size"]) if "size" in said else usual.edge
    crop = _edge(said["crop_size"]) if "crop_size" in said else usual.crop
    crop = (crop, crop) if isinstance(crop, int) else crop
    return Preprocess(
        edge if said.get("do_resize", True) else None,
        crop if said.get("do_center_crop", "crop_size" in said) else None,
        tuple(said.get("image_mean", usual.mean)),
        tuple(said.get("image_std", usual.std)),
        int(said.get("resample", usual.resample)),
    )


def _edge(size: Any) -> int | tuple[int, int]:
    """A size of a preprocessor_config: {shortest_edge}, {height, width} or a number."""
    if isinstance(size, dict):
        short = size.get("shortest_edge")
        return int(short) if short is not None else (int(size["height"]), int(size["width"]))
    return int(size)


def _middle(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The middle (height, width) of a picture; black where it is smaller."""
    pad = [max(0, want - have) for want, have in zip(size, values.shape)]
    if any(pad):
        values = np.pad(values, [(p - p // 2, p // 2) for p in pad] + [(0, 0)])
    top, left = ((have - want) // 2 for want, have in zip(size, values.shape))
    return values[top : top + size[0], left : left + size[1]]


def _batches(frames: Sequence[np.ndarray], prepare: Preprocess, device: str) -> Iterator[Any]:
    import torch

    for start in range(0, len(frames), BATCH):
        yield torch.from_numpy(np.stack([prepare(frame) for frame in frames[start : start + BATCH]])).to(device)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
