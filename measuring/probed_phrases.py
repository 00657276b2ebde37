"""Which words of a prompt are looked at, and whose they are."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from .attention_probe import InspectionError, Phrase

Occurrences = Callable[[list[str]], Sequence[Sequence[Sequence[int]]]]


def chosen_phrases(
    words: Sequence[str], regional: Sequence[Phrase], occurrences: Occurrences, prompt: str, *, key: str = ""
) -> list[Phrase]:
    """What `words` names, in that order; where it names nothing, every region's prompt.

    Args:
        words: phrases of the prompt, each all its occurrences together. One that is a region's whole prompt is that
            region's (of two regions with the same words: both), and so is one that stands only within it.
        regional: the regions' prompts, with their tokens.
        occurrences: a host's look-up: phrases -> the token positions of each one's occurrences. It is asked only for
            words that are no region's whole prompt, and for all of them at once.
        prompt, key: for the message; key is what it begins with.

    Raises:
        InspectionError: words that do not occur in the prompt.
    """
    if not words:
        return list(regional)
    own = [[phrase for phrase in regional if _plain(phrase.text) == _plain(word)] for word in words]
    others = [word for word, there in zip(words, own) if not there]
    found = iter(occurrences(others) if others else ())
    chosen = []
    for word, there in zip(words, own):
        chosen += there or [_placed(word, next(found), regional, prompt, key)]
    return chosen


def _placed(word: str, places: Sequence[Sequence[int]], regional: Sequence[Phrase], prompt: str, key: str) -> Phrase:
    positions = tuple(sorted({position for place in places for position in place}))
    if not positions:
        raise InspectionError(
            f"{key}{word!r} does not occur in the prompt {prompt!r}; expected words that stand in it, word for word; "
            "correct them."
        )
    region = next((phrase.region for phrase in regional if set(positions) <= set(phrase.positions)), 0)
    return Phrase(word, positions, region)


def _plain(text: str) -> list[str]:
    """Words without case, brackets and weights."""
    return re.sub(r":\s*[-+]?[\d.]+\s*(?=\))|[()]", " ", text.lower()).split()
