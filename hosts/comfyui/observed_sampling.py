"""Sampling inside ComfyUI with eyes open: what SamplerCustom does, and where words and a pixel look meanwhile.

Looking needs no state that crosses links: a probe lives for one call of `sample_looking`, on a clone of the model.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import comfy.sample
import comfy.utils
import latent_preview
import numpy as np
import torch
from torch import Tensor

from ...attention import LabelMap
from ...attention.options import MAP_LEVELS
from ...measuring.attention_probe import AttentionProbe, Phrase, Place
from ...measuring.probed_phrases import chosen_phrases
from .edit import KEY, Edit, RegionTag
from .family import Family

log = logging.getLogger(__name__)


def frames_of(latent: dict[str, Any]) -> Tensor:
    """The samples of a LATENT, one per frame. ValueError for latents of another kind."""
    samples = latent["samples"]
    if getattr(samples, "is_nested", False) or samples.ndim != 4 or 0 in samples.shape:
        raise ValueError(
            f"latent_image: expected one latent per frame, [F, 4, h, w], got {list(samples.shape)}; connect the noise "
            "output of DDIM Video Inversion."
        )
    return samples


def edit_in(family: Family, model: Any, positive: list) -> tuple[Edit | None, Tensor | None, int]:
    """Of the prompt that observers see (`SamplingRun.shown`): (its edit, region 1..R or -1 of each token, how many, L).

    That is the first prompt of the last edit that has one in this conditioning, else the first of all; edit and labels
    are None where the conditioning comes from no patch of this model with regions.
    """
    if not positive:
        raise ValueError("the positive conditioning is empty; connect ST-Layout Attn Patch, or CLIP Text Encode.")
    for edit in reversed(family.patch.edits_of(model)):  # as the slots choose what they show
        for embedding, options in positive:
            tag = options.get(KEY)
            tag = tag.padded(embedding.shape[1]) if isinstance(tag, RegionTag) else None
            if tag is not None and tag.edit == edit.id:
                return edit, tag.labels, embedding.shape[1]
    return None, None, positive[0][0].shape[1]


def phrases_to_look_at(
    family: Family,
    words: Sequence[str],
    edit: Edit | None,
    labels: Tensor | None,
    length: int,
    clip: Any,
    prompt: str,
) -> list[Phrase]:
    """The phrases of a run with their tokens: the regions' prompts, or what `words` names.

    words: as in `measuring.probed_phrases`. clip, prompt: needed for words that are no region's whole prompt.

    Raises:
        ValueError: words that need clip and prompt, do not stand in the prompt, or a prompt that is not the sampled
            one.
    """
    spans = []
    if edit is not None:
        spans = [
            Phrase(region.phrase, tuple((labels == number).nonzero().flatten().tolist()), number)
            for number, region in enumerate(edit.regions, 1)
        ]
    return chosen_phrases(
        words, spans, lambda others: _find(family, others, spans, length, clip, prompt), prompt, key="words: "
    )


def _find(
    family: Family, words: Sequence[str], spans: Sequence[Phrase], length: int, clip: Any, prompt: str
) -> list[list[tuple[int, ...]]]:
    """Where the words occur in the prompt, which must be the one that the regions stand in."""
    if clip is None or not prompt.strip():
        has = f"the regions' prompts are {', '.join(repr(span.text) for span in spans)}" if spans else "there are none"
        raise ValueError(
            f"words: {', '.join(map(repr, words))} is no region's prompt ({has}). Connect clip and write the whole "
            "prompt that is sampled into `prompt`, so that the words can be found in it."
        )
    found, counted = family.prompts.word_positions(clip, prompt, [*words, *(span.text for span in spans)])
    for span, places in zip(spans, found[len(words) :]):
        if span.positions not in [tuple(place) for place in places]:
            raise ValueError(
                f"prompt: {span.text!r} does not stand where region {span.region} has it, so this is not the prompt "
                "that is sampled. Connect the same text to ST-Layout Attn Patch and to this node."
            )
    if counted > length:  # fewer are fine: Conditioning (Concat) appends
        raise ValueError(
            f"prompt: it has {counted} tokens, the positive conditioning {length}, so it is not the prompt that is "
            "sampled. Connect the same text to both."
        )
    return found[: len(words)]


def check_look(family: Family, model: Any, sigmas: Tensor, probe: AttentionProbe) -> None:
    """ValueError where a run would show nothing: better before it than after."""
    levels = family.noise.noise_levels(model)
    looked = replace(probe.range, names=("start_percent", "end_percent"))
    looked.check_steps(levels.t(float(sigma)) for sigma in sigmas[:-1])
    family.patch.check_level(model, probe.level, MAP_LEVELS, "level")


def sample_looking(
    family: Family,
    model: Any,
    positive: list,
    negative: list,
    cfg: float,
    sampler: Any,
    sigmas: Tensor,
    latent: dict[str, Any],
    probe: AttentionProbe,
    *,
    node: str,
) -> dict[str, Any]:
    """The LATENT of SamplerCustom with add_noise off and noise_seed 0, bit for bit; meanwhile the probe is filled."""
    watched = family.patch.observe(model, probe, node=node)
    samples = comfy.sample.fix_empty_latent_channels(watched, latent["samples"])
    done = comfy.sample.sample_custom(
        watched,
        torch.zeros(samples.shape, dtype=samples.dtype, layout=samples.layout, device="cpu"),
        cfg,
        sampler,
        sigmas,
        positive,
        negative,
        samples,
        noise_mask=latent.get("noise_mask"),
        callback=latent_preview.prepare_callback(watched, sigmas.shape[-1] - 1),
        disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED,
        seed=0,
    )
    return {**latent, "samples": done}


def place_of(frame: int, x: int, y: int, size: tuple[int, int]) -> Place | None:
    """The chosen pixel: its middle, in a frame of (H, W) pixels; None where any number is below 0.

    Raises:
        ValueError: a pixel outside the frame.
    """
    if min(frame, x, y) < 0:
        if max(frame, x, y) >= 0:
            log.warning("Attention Map: pixel_frame, pixel_x and pixel_y belong together: one is -1, so none is used.")
        return None
    height, width = size
    if x >= width or y >= height:
        raise ValueError(f"the pixel ({x}, {y}) lies outside the frame of {width} x {height} pixels.")
    return Place(frame, (x + 0.5) / width, (y + 0.5) / height)


def outlines(label_map: LabelMap | None) -> list[np.ndarray]:
    """What is visible of each region: float32 [F, H, W]."""
    if label_map is None:
        return []
    return [label_map.union([number], visible=True).numpy() for number in range(1, label_map.regions + 1)]
