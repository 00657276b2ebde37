"""A prompt as a tokenizer has cut it, and the words in it; for both hosts (method.md 7)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..attention import phrase_occurrences
from .prompt_text import PromptError

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
