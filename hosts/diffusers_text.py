"""Prompts for diffusers' CLIP text encoders: weights, chunks, phrases (method.md 7).

Long prompts are cut into chunks of 75 tokens, each encoded between its own start and end token, and the
embeddings are joined, as ComfyUI does. "(word:1.2)" weights follow ComfyUI too, so that one prompt means the same
in both hosts. SDXL's two encoders share one token layout and their embeddings are joined along the channels.
"""

from __future__ import annotations

import math
import string
import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..attention import PhraseNotFound, find_phrases, splice, text_labels

# A word of at most this many tokens is moved to the next chunk rather than cut in two (ComfyUI's number).
LONGEST_WHOLE_WORD = 8
GROUP_WEIGHT = 1.1


class PromptError(ValueError):
    """A prompt, or a phrase of it, that cannot be used; the text says which and what to change."""


@dataclass(frozen=True)
class Prompt:
    """An encoded prompt.

    text: as the user wrote it. ids: token ids of all chunks, L = chunks * 77, start, end and padding included.
    embedding: float32 [1, L, C], what cross-attention sees. pooled: float32 [1, P] (SDXL) or None.
    special: the ids of the start, end and padding tokens. content: positions in `ids` of the prompt's own tokens
    (the padding token of SD2 and SDXL is "!", which a prompt may hold too: go by position where that matters).
    """

    text: str
    ids: tuple[int, ...]
    embedding: Tensor
    pooled: Tensor | None
    special: frozenset[int]
    content: tuple[int, ...]


@dataclass(frozen=True)
class Encoder:
    """One CLIP text encoder with its tokenizer. `penultimate`: take the last but one hidden state without the
    final norm (SDXL) instead of the normed last one (SD1; SD2 folders hold one layer fewer instead)."""

    tokenizer: Any
    model: Any
    penultimate: bool = False

    @property
    def length(self) -> int:
        return self.model.config.max_position_embeddings


@dataclass(frozen=True)
class Tokens:
    """A prompt cut into chunks for one tokenizer: ids and weights of all L positions, and the content positions."""

    ids: tuple[int, ...]
    weights: tuple[float, ...]
    content: tuple[int, ...]

    @property
    def content_ids(self) -> list[int]:
        return [self.ids[i] for i in self.content]

    @property
    def searchable(self) -> list[int]:
        """The ids with -1 wherever the prompt itself has no token, so that padding never completes a phrase."""
        inside = set(self.content)
        return [token if i in inside else -1 for i, token in enumerate(self.ids)]


def parse_weights(text: str) -> list[tuple[str, float]]:
    r"""Split a prompt into (text, weight) pieces; no tokenizer needed.

    "(red)" weighs 1.1 and nesting multiplies; "(red:1.3)" weighs 1.3 (absolute, as in ComfyUI); "\(" and "\)" are
    plain parentheses. Raises PromptError for unbalanced parentheses and for weights that are not finite.
    """
    return [piece for piece in _pieces(text, 1.0, text) if piece[0]]


def clean_prompt(text: str) -> str:
    """The prompt without weights and escapes: the text in which phrases are looked for."""
    return "".join(piece for piece, _ in parse_weights(text))


def _pieces(text: str, weight: float, prompt: str) -> list[tuple[str, float]]:
    pieces: list[tuple[str, float]] = []
    plain, depth, start, i = "", 0, 0, 0
    while i < len(text):
        char = text[i]
        if char == "\\" and text[i + 1 : i + 2] in ("(", ")"):
            plain += text[i + 1] if depth == 0 else ""
            i += 2
            continue
        if char == "(":
            if depth == 0:
                pieces.append((plain, weight))
                plain, start = "", i + 1
            depth += 1
        elif char == ")":
            depth -= 1
            if depth < 0:
                break
            if depth == 0:
                pieces += _group(text[start:i], weight, prompt)
        elif depth == 0:
            plain += char
        i += 1
    if depth != 0:
        raise PromptError(
            f"prompt {prompt!r}: unbalanced parentheses. They set weights, as in '(word:1.2)'; write a plain one "
            "as '\\('."
        )
    return [*pieces, (plain, weight)]


def _group(inner: str, weight: float, prompt: str) -> list[tuple[str, float]]:
    text, colon, number = inner.rpartition(":")
    try:
        value = float(number) if colon else None
    except ValueError:
        value = None  # "(portrait: detailed)" is text with a colon
    if value is None:
        return _pieces(inner, weight * GROUP_WEIGHT, prompt)
    if not math.isfinite(value):
        raise PromptError(f"prompt {prompt!r}: weight {number!r} is not a finite number; write one like '(word:1.2)'.")
    return _pieces(text, value, prompt)


def tokenize(text: str, tokenizer: Any, length: int) -> Tokens:
    """Cut a prompt into chunks of `length` tokens (75 of its own between start and end, for CLIP's 77)."""
    chunks: list[list[tuple[int, float]]] = [[]]
    room = length - 2
    for word, weight in _words(text):
        ids = tokenizer(word, add_special_tokens=False)["input_ids"]
        if {tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id} & set(ids):
            raise PromptError(
                f"prompt {text!r}: this model's tokenizer does not know {word!r}. Use a word of its vocabulary "
                "(the embedded model knows only the words of its own world), or another model."
            )
        if len(chunks[-1]) + len(ids) > room and len(ids) <= min(room, LONGEST_WHOLE_WORD):
            chunks.append([])
        for token in ids:
            if len(chunks[-1]) == room:
                chunks.append([])
            chunks[-1].append((token, weight))
    flat_ids: list[int] = []
    weights: list[float] = []
    content: list[int] = []
    for chunk in chunks:
        first = len(flat_ids) + 1
        padding = room - len(chunk)
        content += range(first, first + len(chunk))
        flat_ids += [tokenizer.bos_token_id, *(token for token, _ in chunk), tokenizer.eos_token_id]
        flat_ids += [tokenizer.pad_token_id] * padding
        weights += [1.0, *(weight for _, weight in chunk), *[1.0] * (padding + 1)]
    return Tokens(tuple(flat_ids), tuple(weights), tuple(content))


def _words(text: str) -> list[tuple[str, float]]:
    return [(word, weight) for piece, weight in parse_weights(text) for word in piece.split()]


def check_words(text: str, known: Collection[str], model: str) -> None:
    """Refuse a prompt with words that a model of a closed language was not trained on.

    Its tokenizer would spell them in letters, and its text encoder make something of them that means nothing.
    Punctuation, weights and case do not matter; a figure or a symbol is a word.

    Args:
        text: the prompt, weights included. known: all words of the model, lower case. model: what to call it.

    Raises:
        PromptError: names the unknown words, the model and the words it knows.
    """
    words = [part.lower() for word, _ in _words(text) for part in _without_punctuation(word).split()]
    unknown = [word for word in dict.fromkeys(words) if word not in known]
    if unknown:
        raise PromptError(
            f"prompt {text!r}: {', '.join(map(repr, unknown))} {'is no word' if len(unknown) == 1 else 'are no words'} "
            f"that the model {model} was trained on. Use the words it knows ({', '.join(sorted(known))}), or give a "
            "model of your own."
        )


def _without_punctuation(word: str) -> str:
    return "".join(" " if c in string.punctuation or unicodedata.category(c)[0] == "P" else c for c in word)


class TextEncoders:
    """The text side of one model: one encoder (SD1, SD2) or two (SDXL).

    words: all the words it was trained on, lower case; None = any. name: of the model, for messages.
    """

    def __init__(self, encoders: Sequence[Encoder], words: Collection[str] | None = None, name: str = "given"):
        self.encoders = tuple(encoders)
        self._words, self._name = words, name

    def encode(self, text: str) -> Prompt:
        """Encode one prompt, weights applied."""
        return self.encode_regions(text, (), splice_local=False)[0]

    def encode_regions(
        self, text: str, phrases: Sequence[str], splice_local: bool = True
    ) -> tuple[Prompt, list[tuple[int, ...]], Tensor]:
        """Encode a global prompt and find the phrases of its regions in it.

        Returns (Prompt, spans: token positions of each phrase, text labels int64 [L]: region k -> k, others -1).
        With `splice_local` each phrase is encoded on its own as well and written over its span (method.md 7). The
        global prompt's weights hold there too; a weight written in a phrase counts where the global prompt has none.
        Raises PromptError for a phrase that is empty or does not occur (often enough), and for words that the model
        was not trained on where it says which it was (`check_words`).
        """
        layouts = self._layouts(text)
        spans, local_layouts = self._find(text, phrases, layouts[0])
        embedding, pooled = self._run(layouts)
        if splice_local and phrases:
            local = [self._run(own)[0] for own in local_layouts]
            embedding = splice(embedding, spans, local, [own[0].content for own in local_layouts])
        weights = list(layouts[0].weights)
        for span, own in zip(spans, local_layouts):
            for position, source in zip(span, own[0].content):
                if weights[position] == 1.0 and splice_local:
                    weights[position] = own[0].weights[source]
        tokenizer = self.encoders[0].tokenizer
        prompt = Prompt(
            text=text,
            ids=layouts[0].ids,
            embedding=self._weigh(embedding, weights),
            pooled=pooled,
            special=frozenset({tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id}),
            content=layouts[0].content,
        )
        return prompt, spans, text_labels(len(prompt.ids), spans)

    def _layouts(self, text: str) -> list[Tokens]:
        if self._words is not None:
            check_words(text, self._words, self._name)
        layouts = [tokenize(text, encoder.tokenizer, encoder.length) for encoder in self.encoders]
        if any(other.content != layouts[0].content for other in layouts[1:]):
            raise PromptError(
                f"prompt {text!r}: the two tokenizers of this model cut it differently, so its phrases have no common "
                "token positions. SDXL's tokenizers share one vocabulary: check the model's tokenizer folders."
            )
        return layouts

    def _find(
        self, text: str, phrases: Sequence[str], tokens: Tokens
    ) -> tuple[list[tuple[int, ...]], list[list[Tokens]]]:
        local = []
        for number, phrase in enumerate(phrases, start=1):
            local.append(self._layouts(phrase))
            if not local[-1][0].content:
                raise PromptError(f"region {number}: its phrase {phrase!r} is empty; give words of the global prompt.")
        ids = [own[0].content_ids for own in local]
        try:
            return find_phrases(tokens.searchable, ids, special=(-1,)), local
        except PhraseNotFound as error:
            index, taken = error.index, error.taken
        why = "occurs only where another region's phrase already stands" if taken else "does not occur"
        raise PromptError(
            f"region {index + 1}: phrase {clean_prompt(phrases[index]).strip()!r} {why} in the global prompt "
            f"{clean_prompt(text)!r}. Write the phrase's words into the global prompt once for every region that uses "
            "them, or change the phrase to words that stand there (case, spaces and weights do not matter)."
        )

    @torch.no_grad()
    def _run(self, layouts: Sequence[Tokens]) -> tuple[Tensor, Tensor | None]:
        """Unweighted embedding [1, L, C] and, from a projecting encoder, the pooled output of the first chunk."""
        parts, pooled = [], None
        for encoder, tokens in zip(self.encoders, layouts):
            ids = torch.tensor(tokens.ids, device=encoder.model.device).reshape(-1, encoder.length)
            out = encoder.model(ids, output_hidden_states=encoder.penultimate)
            hidden = out.hidden_states[-2] if encoder.penultimate else out.last_hidden_state
            parts.append(hidden.float().reshape(1, ids.numel(), -1))
            if encoder.penultimate and getattr(out, "text_embeds", None) is not None:
                pooled = out.text_embeds[:1].float()
        return torch.cat(parts, dim=-1), pooled

    def _weigh(self, embedding: Tensor, weights: Sequence[float]) -> Tensor:
        """z -> z_empty + w (z - z_empty) at every position whose weight is not 1, as ComfyUI does."""
        positions = [i for i, weight in enumerate(weights) if weight != 1.0]
        if not positions:
            return embedding
        empty, _ = self._run(self._layouts(""))
        empty = empty[:, [i % empty.shape[1] for i in positions]]
        factor = embedding.new_tensor([weights[i] for i in positions])[None, :, None]
        weighed = embedding.clone()
        weighed[:, positions] = empty + factor * (embedding[:, positions] - empty)
        return weighed
