"""What names the things of a layout: phrases of the source prompt, with their places in it. Imports no ComfyUI."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from ...editing.attention_features import Features
from ...editing.layout.names import Words, words_of

log = logging.getLogger(__name__)


def source_words(
    clip: Any, prompt: str, names: str, features: Features, word_positions: Callable, *, node: str
) -> Words | None:
    """The phrases that may name things, or None where nothing is to be named.

    clip: the host's CLIP or None. prompt: the source prompt. names: phrases of it, divided by commas; "" = its nouns.
    features: of the same clip. word_positions: of its family's `Prompts`. node: for the log.

    Raises:
        ValueError: features without cross-attention, a prompt of another length than that of the inversion, or a phrase
            of `names` that does not occur in the prompt.
    """
    wanted = [" ".join(name.split()) for name in names.split(",") if name.strip()]
    if clip is None or not prompt.strip():
        if clip is not None or wanted:
            lacks = "source_prompt is empty" if clip is not None else "clip is not connected"
            log.warning("%s: %s, so things get no names but numbers.", node, lacks)
        return None
    if features.cross is None:
        raise ValueError(
            "this inversion's features are from before version 0.3 and know nothing of words; run DDIM Video Inversion "
            "again with collect_features on, or disconnect clip to do without names."
        )
    words, length = words_of(prompt, wanted, lambda phrases: word_positions(clip, prompt, phrases))
    if length != features.cross.shape[-1]:
        raise ValueError(
            f"source_prompt has {length} tokens with this clip, the prompt of the inversion had "
            f"{features.cross.shape[-1]}; give the same prompt and the same text encoder."
        )
    if wanted and words.absent:
        raise ValueError(
            f"names: {', '.join(map(repr, words.absent))} does not occur in the source prompt {prompt!r}; write words "
            "as they stand there, divided by commas."
        )
    return words
