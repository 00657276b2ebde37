"""Prompts for ComfyUI's CLIP objects: phrases inside the global prompt, encoded on their own (method.md 7).

ComfyUI does the tokenising, chunking and encoding, so weights, textual inversions, LoRAs on the text encoder, clip skip
and hook schedules work as in its CLIP Text Encode. The meaning of a prompt is that of the diffusers host. Only the CLIP
object that comes in is used; nothing of ComfyUI is imported.
"""

from __future__ import annotations

import logging
import numbers
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ....attention import PhraseNotFound, find_phrases, text_labels
from ....attention import splice as write_over
from ....editing import prompt_tokens
from ....editing.model import EncodedRegions
from ....editing.prompt_text import PromptError
from ....editing.prompt_tokens import SPECIAL, PromptTokens, wordless

log = logging.getLogger(__name__)

#: What clip.tokenize calls the encoders of each family.
FAMILIES = {frozenset("l"): "SD1.x", frozenset("h"): "SD2.x", frozenset("lg"): "SDXL"}
Conditioning = list[list]


@dataclass(frozen=True)
class _Tokens:
    """A prompt as ComfyUI cuts it. pairs: encoder -> chunks of (token, weight), what clip encodes. flat: all chunks one
    after the other. places: of each position of flat within its chunk."""

    pairs: dict[str, list[list[tuple[Any, float]]]]
    flat: PromptTokens
    places: tuple[int, ...]

    @property
    def unweighted(self) -> dict[str, list[list[tuple[Any, float]]]]:
        return {name: [[(token, 1.0) for token, _ in chunk] for chunk in chunks] for name, chunks in self.pairs.items()}


class _Tokenizer:
    """A CLIP's tokenizer that gives textual inversions ids of their own, equal for equal vectors."""

    def __init__(self, clip: Any):
        self._clip = clip
        self._vectors: dict[tuple, int] = {}

    def __call__(self, text: str) -> _Tokens:
        # With word ids every token of the prompt itself has one > 0, and start, end and padding have 0. That tells a
        # written "!" from SDXL's padding, which has the same token.
        chunks = self._clip.tokenize(text, return_word_ids=True)
        family = FAMILIES.get(frozenset(chunks))
        if family is None:
            raise PromptError(
                f"clip: supports the text encoders of SD1.x, SD2.x and SDXL; got {' + '.join(sorted(chunks))} "
                f"({type(getattr(self._clip, 'tokenizer', self._clip)).__name__}). Use the CLIP that belongs to the "
                "model."
            )
        layouts = {name: [item for chunk in parts for item in chunk] for name, parts in chunks.items()}
        found = {name: tuple(i for i, item in enumerate(flat) if item[2]) for name, flat in layouts.items()}
        if len({(len(layouts[name]), found[name]) for name in layouts}) > 1:
            raise PromptError(
                f"prompt {text!r}: the two text encoders cut it differently, so its phrases have no common token "
                "positions. A textual inversion with unequal numbers of vectors for them does that: leave it out."
            )
        name = sorted(layouts)[-1]  # "l" where there are two
        return _Tokens(
            pairs={key: [[(item[0], item[1]) for item in chunk] for chunk in parts] for key, parts in chunks.items()},
            flat=PromptTokens(
                ids=tuple(self._id(item[0]) for item in layouts[name]),
                weights=tuple(float(item[1]) for item in layouts[name]),
                content=found[name],
            ),
            places=tuple(place for chunk in chunks[name] for place in range(len(chunk))),
        )

    def _id(self, token: Any) -> int:
        if isinstance(token, numbers.Integral):
            return int(token)
        vector = torch.as_tensor(token).detach().float().cpu()
        key = (tuple(vector.shape), vector.numpy().tobytes())
        return self._vectors.setdefault(key, SPECIAL - 1 - len(self._vectors))


def encode_regions(
    clip: Any, prompt: str, phrases: Sequence[str], *, splice: bool = True, missing: str = "error", node: str
) -> EncodedRegions:
    """Encode a global prompt and find the phrases of its regions in it.

    Args:
        clip: ComfyUI's CLIP of an SD1.x, SD2.x or SDXL model (any other where there are no phrases).
        prompt: global prompt with ComfyUI's weights and embeddings; any length.
        phrases: local prompt of each region, in region order; each takes the next free occurrence.
        splice: encode each phrase on its own as well and write it over its place. The global prompt's weights hold
            there too; a weight written in a phrase counts where the global prompt has none.
        missing: what becomes of a phrase that has no place: "error", or "append" it to the global prompt.
        node: name of the node, for messages.

    Returns:
        Its prompt is a conditioning [[float [1, L, C], {...}], ...], one entry, or one for each range of a hook
        schedule; the pooled output is the global prompt's.

    Raises:
        PromptError: names node, region, phrase, prompt and what to change: a phrase that is empty or has no place,
            a text encoder of another kind, a word that a model of a closed language was not trained on.
    """
    if missing not in ("error", "append"):
        raise ValueError(f"{node}: missing is {missing!r}; expected error or append.")
    if clip is None:
        raise PromptError(f"{node}: clip is empty: that checkpoint holds no text encoder. Load one with Load CLIP.")
    if not phrases:
        conditioning = clip.encode_from_tokens_scheduled(_named(node, clip.tokenize, prompt))
        return EncodedRegions(conditioning, [], text_labels(conditioning[0][0].shape[1], ()), prompt)
    tokenizer = _Tokenizer(clip)
    tokens = _named(node, tokenizer, prompt)
    local = [_named(f"{node}: region {number}", tokenizer, phrase) for number, phrase in enumerate(phrases, 1)]
    for number, (own, phrase) in enumerate(zip(local, phrases), 1):
        if not own.flat.content:
            raise PromptError(
                f"{node}: region {number}: its phrase {phrase!r} is empty; give words of the global prompt."
            )
    if missing == "append":
        prompt = _with_missing(prompt, tokens, phrases, local)
        tokens = _named(node, tokenizer, prompt)
    try:
        spans = find_phrases(tokens.flat.searchable, [own.flat.content_ids for own in local], special=(SPECIAL,))
    except PhraseNotFound as error:
        raise PromptError(_not_found(node, prompt, phrases[error.index], error.index + 1, error.taken)) from None
    weights = [
        _weights(tokens, span, own) if splice else [tokens.flat.weights[position] for position in span]
        for span, own in zip(spans, local)
    ]
    for doubt in wordless(phrases, weights):
        log.warning("%s: %s.", node, doubt)
    conditioning = clip.encode_from_tokens_scheduled(tokens.pairs)
    for embedding, _ in conditioning:
        if embedding.shape[1] != len(tokens.flat.ids):
            raise PromptError(
                f"{node}: clip made {embedding.shape[1]} embeddings of {len(tokens.flat.ids)} tokens, so the prompts "
                "of the regions cannot be found in them. A textual inversion of another model does that: leave it out."
            )
    if splice:
        conditioning = _spliced(clip, conditioning, tokens, spans, local, weights)
    starts = [n for n, place in enumerate(tokens.places) if place == 0]
    return EncodedRegions(conditioning, spans, text_labels(len(tokens.flat.ids), spans, starts), prompt)


def word_positions(clip: Any, prompt: str, phrases: Sequence[str]) -> tuple[list[list[tuple[int, ...]]], int]:
    """Where phrases stand in a prompt: `editing/prompt_tokens.py`.

    Args:
        clip: ComfyUI's CLIP of an SD1.x, SD2.x or SDXL model.

    Raises:
        PromptError: no CLIP or one of another kind, an empty phrase, a word that a model of a closed language was not
            trained on.
    """
    if clip is None:
        raise PromptError("clip is empty: that checkpoint holds no text encoder. Load one with Load CLIP.")
    tokenizer = _Tokenizer(clip)
    return prompt_tokens.word_positions(lambda text: tokenizer(text).flat, prompt, phrases)


def _named(where: str, call: Any, text: str) -> Any:
    """call(text); where it refuses the text, the message says which node and region that text belongs to."""
    try:
        return call(text)
    except PromptError as error:
        raise PromptError(f"{where}: {error}") from None


def _with_missing(prompt: str, tokens: _Tokens, phrases: Sequence[str], local: Sequence[_Tokens]) -> str:
    """The prompt with ", phrase" for every phrase that has no free place in it, in region order."""
    placed, added = list(range(len(phrases))), set()
    while True:
        try:
            find_phrases(
                tokens.flat.searchable, [local[index].flat.content_ids for index in placed], special=(SPECIAL,)
            )
            break
        except PhraseNotFound as error:
            added.add(placed.pop(error.index))
    parts = [prompt.rstrip().rstrip(","), *(phrases[index].strip() for index in sorted(added))]
    return ", ".join(part for part in parts if part) if added else prompt


def _not_found(node: str, prompt: str, phrase: str, number: int, taken: bool) -> str:
    why = "occurs only where another region's phrase already stands" if taken else "does not occur"
    return (
        f"{node}: region {number}: phrase {phrase.strip()!r} {why} in the global prompt {prompt!r}. Write the phrase's "
        "words into the global prompt once for every region that uses them, or change the phrase to words that stand "
        "there (case, spaces and weights do not matter), or set missing_phrase to append."
    )


def _spliced(
    clip: Any,
    conditioning: Conditioning,
    tokens: _Tokens,
    spans: Sequence[tuple[int, ...]],
    local: Sequence[_Tokens],
    weights: Sequence[Sequence[float]],
) -> Conditioning:
    """New conditioning with every phrase's own encoding over its place; what came in is left as it was."""
    encoded = [clip.encode_from_tokens_scheduled(own.unweighted) for own in local]
    weighted = any(weight != 1.0 for region in weights for weight in region)
    empty = clip.encode_from_tokens_scheduled(clip.tokenize("")) if weighted else None
    result = []
    for entry, (embedding, extra) in enumerate(conditioning):
        spliced = write_over(embedding, spans, [own[entry][0] for own in encoded], [own.flat.content for own in local])
        for span, region in zip(spans, weights) if weighted else ():
            # As ComfyUI weighs: away from the empty prompt's embedding at the same place of the chunk.
            nothing = empty[entry][0][:, [tokens.places[position] for position in span]].to(spliced)
            factor = spliced.new_tensor(region)[None, :, None]
            spliced[:, list(span)] = nothing + factor * (spliced[:, list(span)] - nothing)
        result.append([spliced, dict(extra)])
    return result


def _weights(tokens: _Tokens, span: Sequence[int], own: _Tokens) -> list[float]:
    """The weight of each token of a phrase: the global prompt's, or where that is 1 the phrase's own."""
    outer = (tokens.flat.weights[position] for position in span)
    inner = (own.flat.weights[position] for position in own.flat.content)
    return [weight if weight != 1.0 else its_own for weight, its_own in zip(outer, inner)]
