"""Prompts for diffusers' CLIP text encoders: weights, chunks, phrases (method.md 7).

Long prompts are cut into chunks of 75 tokens, each encoded between its own start and end token, and the
embeddings are joined, as ComfyUI does. "(word:1.2)" weights follow ComfyUI too, so that one prompt means the same
in both hosts. SDXL's two encoders share one token layout and their embeddings are joined along the channels.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ....attention import PhraseNotFound, find_phrases, splice, text_labels
from ....editing import prompt_tokens
from ....editing.model import EncodedRegions
from ....editing.prompt_text import PromptError, check_words, clean_prompt, weighted_words
from ....editing.prompt_tokens import SPECIAL, PromptTokens, wordless

log = logging.getLogger(__name__)

# A word of at most this many tokens is moved to the next chunk rather than cut in two (ComfyUI's number).
LONGEST_WHOLE_WORD = 8


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
class TextEncoder:
    """One CLIP text encoder with its tokenizer. `penultimate`: take the last but one hidden state without the
    final norm (SDXL) instead of the normed last one (SD1; SD2 folders hold one layer fewer instead)."""

    tokenizer: Any
    model: Any
    penultimate: bool = False

    @property
    def length(self) -> int:
        return self.model.config.max_position_embeddings


def tokenize(text: str, tokenizer: Any, length: int) -> PromptTokens:
    """Cut a prompt into chunks of `length` tokens (75 of its own between start and end, for CLIP's 77)."""
    chunks: list[list[tuple[int, float]]] = [[]]
    room = length - 2
    for word, weight in weighted_words(text):
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
    return PromptTokens(tuple(flat_ids), tuple(weights), tuple(content))


class TextEncoders:
    """The text side of one model: one encoder (SD1, SD2) or two (SDXL).

    words: all the words it was trained on, lower case; None = any. name: of the model, for messages.
    """

    def __init__(self, encoders: Sequence[TextEncoder], words: Collection[str] | None = None, name: str = "given"):
        self.encoders = tuple(encoders)
        self._words, self._name = words, name

    def encode(self, text: str) -> Prompt:
        """Encode one prompt, weights applied."""
        return self.encode_regions(text, (), splice_local=False).prompt

    def encode_regions(self, text: str, phrases: Sequence[str], splice_local: bool = True) -> EncodedRegions:
        """Encode a global prompt and find the phrases of its regions in it.

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
        for doubt in wordless(phrases, [[weights[position] for position in span] for span in spans]):
            log.warning(doubt)
        tokenizer = self.encoders[0].tokenizer
        prompt = Prompt(
            text=text,
            ids=layouts[0].ids,
            embedding=self._weigh(embedding, weights),
            pooled=pooled,
            special=frozenset({tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id}),
            content=layouts[0].content,
        )
        starts = [n for n, token in enumerate(prompt.ids) if token == tokenizer.bos_token_id]
        return EncodedRegions(prompt, spans, text_labels(len(prompt.ids), spans, starts), text)

    def word_positions(self, text: str, phrases: Sequence[str]) -> tuple[list[list[tuple[int, ...]]], int]:
        """Where phrases stand in a prompt: `editing/prompt_tokens.py`. PromptError for words as `encode_regions`."""
        return prompt_tokens.word_positions(lambda some: self._layouts(some)[0], text, phrases)

    def _layouts(self, text: str) -> list[PromptTokens]:
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
        self, text: str, phrases: Sequence[str], tokens: PromptTokens
    ) -> tuple[list[tuple[int, ...]], list[list[PromptTokens]]]:
        local = []
        for number, phrase in enumerate(phrases, start=1):
            local.append(self._layouts(phrase))
            if not local[-1][0].content:
                raise PromptError(f"region {number}: its phrase {phrase!r} is empty; give words of the global prompt.")
        ids = [own[0].content_ids for own in local]
        try:
            return find_phrases(tokens.searchable, ids, special=(SPECIAL,)), local
        except PhraseNotFound as error:
            index, taken = error.index, error.taken
        why = "occurs only where another region's phrase already stands" if taken else "does not occur"
        raise PromptError(
            f"region {index + 1}: phrase {clean_prompt(phrases[index]).strip()!r} {why} in the global prompt "
            f"{clean_prompt(text)!r}. Write the phrase's words into the global prompt once for every region that uses "
            "them, or change the phrase to words that stand there (case, spaces and weights do not matter)."
        )

    @torch.no_grad()
    def _run(self, layouts: Sequence[PromptTokens]) -> tuple[Tensor, Tensor | None]:
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
