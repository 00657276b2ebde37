"""ComfyUI's CLIP and CLIP VISION as encoders of measuring/metrics/, and edits measured with them.

What the host gives (read in v0.3.64): CLIP_VISION's `encode_image` returns `image_embeds`, projected where the file has
a projection (CLIP-L, -H, -bigG), the class token of a DINOv2, all tokens of a SigLIP. CLIP's
`encode_from_tokens(return_pooled=True)` returns the first chunk's pooled output: projected for SDXL (its second
encoder, OpenCLIP bigG) and SD 2.x (OpenCLIP H), not projected for SD 1.x. Whether a CLIP and a CLIP_VISION are of one
CLIP nothing says, so `encoder_pair` asks them.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from itertools import groupby
from typing import Any

import comfy.model_management
import comfy.utils
import numpy as np

from ...editing.motion.optical_flow import find_estimator
from ...editing.regions import Region
from ...measuring.metrics.encoder_pair import why_no_pair
from ...measuring.metrics.encoders import BATCH, Encoder
from ...measuring.metrics.measure import Instruments, measure, prepare
from ...measuring.metrics.table import Table
from .images import image_of

log = logging.getLogger(__name__)
SOURCE = "source"


def vision_encoder(vision: Any) -> Encoder:
    """A CLIP_VISION as an Encoder of pictures. ValueError where it gives no single embedding for a picture (SigLIP)."""

    def pictures(frames: Sequence[np.ndarray]) -> np.ndarray:
        parts = []
        for _, group in groupby(frames, key=lambda frame: frame.shape):
            same = list(group)
            for start in range(0, len(same), BATCH):
                comfy.model_management.throw_exception_if_processing_interrupted()
                images = image_of(np.stack(same[start : start + BATCH]))
                found = vision.encode_image(images)["image_embeds"]
                if found.ndim != 2:
                    raise ValueError(
                        f"clip_vision gives {list(found.shape[1:])} numbers for a picture; expected one embedding, as "
                        "CLIP and DINOv2 give it; load one of these (SigLIP does not serve here)."
                    )
                parts.append(found.float().cpu().numpy())
        return np.concatenate(parts)

    fill = tuple(round(255 * value) for value in vision.image_mean)
    return Encoder(_name(vision), pictures, fill=fill)


def text_encoder(clip: Any):
    """A CLIP as a callable: texts -> float [N, D], the pooled output of each. Parentheses are no weights here."""

    def texts(words: Sequence[str]) -> np.ndarray:
        found = []
        for one in words:
            tokens = clip.tokenize(one.replace("(", r"\(").replace(")", r"\)"))
            if any(len(chunks) > 1 for chunks in tokens.values()):
                log.warning("Edit Metrics: CLIP reads 77 tokens: the end of %r does not count", one)
            found.append(clip.encode_from_tokens(tokens, return_pooled=True)[1])
        if any(one is None for one in found):
            raise ValueError(
                "clip has no pooled output; expected a CLIP, such as that of an SDXL or SD 2.x checkpoint; connect one "
                "or none."
            )
        return np.concatenate([one.float().cpu().numpy() for one in found])

    return texts


def is_dino(vision: Any) -> bool:
    """Whether a CLIP_VISION is a DINOv2, which sees but reads no text."""
    return type(vision.model).__name__ == "Dinov2Model"


def instruments(vision: Any, clip: Any, dino: Any) -> Instruments:
    """What the node measures with. vision, dino: CLIP_VISION or None; clip: CLIP or None.

    A DINOv2 on the input of either kind is taken for what it is.
    """
    if vision is not None and is_dino(vision):
        vision, dino = None, dino or vision
    if dino is not None and not is_dino(dino):
        raise ValueError(
            f"dino is {type(dino.model).__name__}; expected a DINOv2; connect a CLIP to clip_vision instead."
        )
    seen: Encoder | str = "no CLIP VISION is connected"
    if vision is not None:
        seen = vision_encoder(vision)
        if clip is not None:
            seen = _paired(seen, text_encoder(clip))
    device = comfy.model_management.get_torch_device()
    return Instruments(
        find_estimator(device=str(device)),
        clip=seen,
        dino="no DINOv2 is connected" if dino is None else vision_encoder(dino),
        pick="only the command videograin metrics has it",
    )


def remarks(vision: Any, clip: Any, dino: Any) -> list[str]:
    """What is connected but not measured with, for the report; inputs as `instruments` takes them."""
    notes = []
    misplaced = vision is not None and is_dino(vision)
    if misplaced and dino is not None:
        notes.append("clip_vision is a DINOv2 too: only that of dino was used; connect a CLIP VISION to clip_vision")
    if clip is not None and (vision is None or misplaced):
        notes.append("clip was not used: it needs the CLIP VISION of the same CLIP on clip_vision")
    return notes


def measured(
    source: np.ndarray,
    edits: dict[str, np.ndarray],
    prompt: str,
    regions: Sequence[Region],
    tools: Instruments,
    notes: Sequence[str] = (),
) -> Table:
    """The figures of the source and of every edit, uint8 [F, H, W, 3] of one shape, with progress and interruption."""
    bar = comfy.utils.ProgressBar(max(1, (len(source) - 1) * (1 + len(edits))))

    def tick() -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        bar.update(1)

    ground = prepare(source, prompt, regions, tools, tick)
    columns = {SOURCE: measure(ground, source)}
    for name, frames in edits.items():
        columns[name] = measure(ground, frames, tick)
    told = f"optical flow by {tools.flow.name}" + (f": {tools.flow.note}" if tools.flow.note else "")
    return Table.of(columns, reference=SOURCE, notes=[*notes, told])


def _paired(seen: Encoder, texts: Any) -> Encoder:
    """The encoder with its words, or with the reason why the CLIP does not fit it."""
    if why := why_no_pair(seen.pictures, texts):
        return Encoder(seen.name, seen.pictures, fill=seen.fill, no_text=why)
    return Encoder(seen.name, seen.pictures, texts, fill=seen.fill)


def _name(vision: Any) -> str:
    """What a CLIP_VISION is, as far as it says: its file's name is not handed over."""
    if is_dino(vision):
        layers = vision.model.encoder.layer
        return f"ComfyUI's DINOv2 ({len(layers)} layers of {vision.model.layernorm.normalized_shape[0]})"
    network = vision.model.vision_model
    width = network.post_layernorm.normalized_shape[0]
    out = getattr(vision.model.visual_projection, "out_features", None)
    projected = f", {out} dimensions" if out else ", not projected"
    return f"ComfyUI's CLIP vision ({len(network.encoder.layers)} layers of {width}, {vision.image_size} px{projected})"
