"""Prompts and the phrases in them, on words: no tokenizer, no torch, so that mistakes show before a model is loaded."""

from __future__ import annotations

import re
from collections.abc import Sequence


def words(prompt: str) -> list[str]:
    """A prompt's words and punctuation in lower case, without weights: "(a Red  car:1.2)," -> a, red, car, ','."""
    prompt = re.sub(r":\s*[-+]?\d*\.?\d+\s*(?=(?<!\\)\))", "", prompt)
    prompt = re.sub(r"(?<!\\)[()]", " ", prompt).replace("\\(", "(").replace("\\)", ")")
    return re.findall(r"\w+|[^\w\s]", prompt.lower())


def unplaced(prompt: str, phrases: Sequence[str]) -> dict[int, bool]:
    """Phrases without a free place in the prompt: index -> whether it does occur, but only where another one stands.

    The rule of attention.find_phrases, on words instead of tokens: longer phrases choose first, each takes the next
    free occurrence, and no word serves twice.
    """
    text, taken, missing = words(prompt), set(), {}
    split = [words(phrase) for phrase in phrases]
    for index in sorted(range(len(phrases)), key=lambda n: -len(split[n])):
        phrase = split[index]
        starts = [n for n in range(len(text) - len(phrase) + 1) if phrase and text[n : n + len(phrase)] == phrase]
        free = [n for n in starts if taken.isdisjoint(range(n, n + len(phrase)))]
        if free:
            taken.update(range(free[0], free[0] + len(phrase)))
        else:
            missing[index] = bool(starts)
    return missing


def append_phrases(prompt: str, phrases: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """The prompt with ", phrase" for every phrase that has no free place in it, and those phrases (method.md 7).

    Phrases keep their order and their weights; a prompt that has a place for all of them comes back as it is. A phrase
    without any word is left out: it can be placed nowhere, and the check names it.
    """
    missing = unplaced(prompt, phrases)
    added = tuple(phrase.strip() for index, phrase in enumerate(phrases) if index in missing and words(phrase))
    return (", ".join([prompt.rstrip().rstrip(","), *added]), added) if added else (prompt, ())
