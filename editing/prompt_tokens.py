"""A prompt as a tokenizer has cut it, and the words in it; for both hosts (method.md 7)."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ..attention import phrase_occurrences
from .prompt_text import PromptError, words

SPECIAL = -1
"""Stands for start, end and padding among the ids that are searched."""


@dataclass(frozen=True)
class PromptTokens:
    """ids and weights of all L positions of all chunks; content: the positions of the prompt's own tokens, which are
    neither start nor end nor padding."""

    ids: tuple[int, ...]
    weights: tuple[float, ...]
    content: tuple[int, ...]

    @property
    def content_ids(self) -> list[int]:
        return [self.ids[position] for position in self.content]

    @property
    def searchable(self) -> list[int]:
        """The ids with SPECIAL wherever the prompt itself has no token, so that padding never completes a phrase."""
        inside = set(self.content)
        return [token if position in inside else SPECIAL for position, token in enumerate(self.ids)]


def wordless(phrases: Sequence[str], weights: Sequence[Sequence[float]]) -> Iterator[str]:
    """Regions whose phrases say nothing in the encoded prompt, a sentence each without a full stop.

    weights: of every phrase's tokens, as they stand in the prompt.
    """
    for number, (phrase, own) in enumerate(zip(phrases, weights), start=1):
        name = f"region {number} ({phrase.strip()!r})"
        if all(weight == 0 for weight in own):
            yield f"{name} has no words left: all of them have the weight 0; give one of them another weight"
        elif all(unicodedata.category(char)[0] == "P" for word in words(phrase) for char in word):
            yield f"{name} has no words, only punctuation; write what is, or is to be, inside its mask"


def word_positions(
    cut: Callable[[str], PromptTokens], prompt: str, phrases: Sequence[str]
) -> tuple[list[list[tuple[int, ...]]], int]:
    """Where phrases stand in a prompt: for each phrase the token positions of all its occurrences, and L.

    Case, spaces and weights do not matter, in prompt and phrases alike. Phrases may lie inside each other ("cat" and
    "black cat"). [] for a phrase that does not occur. L is the number of tokens of the encoded prompt, start, end and
    padding included. cut: the host's tokenizer. Raises PromptError for an empty phrase.
    """
    ids, found = cut(prompt).searchable, []
    for number, phrase in enumerate(phrases, start=1):
        own = cut(phrase).content_ids
        if not own:
            raise PromptError(f"phrase {number} is empty ({phrase!r}); give words of the prompt {prompt!r}.")
        found.append(phrase_occurrences(ids, own, special=(SPECIAL,)))
    return found, len(ids)
