"""Prompts as text: weights, escapes, the phrases in them, and the words of a model with a closed language.

On words: no tokenizer, no torch, so that mistakes show before a model is loaded.
"""

from __future__ import annotations

import math
import re
import string
import unicodedata
from collections.abc import Collection, Sequence
from itertools import groupby

GROUP_WEIGHT = 1.1


class PromptError(ValueError):
    """A prompt, or a phrase of it, that cannot be used; the text says which and what to change."""


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


def weighted_words(text: str) -> list[tuple[str, float]]:
    """The words of a prompt, cut at white space, each with its weight."""
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
    words = [part.lower() for word, _ in weighted_words(text) for part in _without_punctuation(word).split()]
    unknown = [word for word in dict.fromkeys(words) if word not in known]
    if unknown:
        raise PromptError(
            f"prompt {text!r}: {', '.join(map(repr, unknown))} {'is no word' if len(unknown) == 1 else 'are no words'} "
            f"that the model {model} was trained on. Use the words it knows ({', '.join(sorted(known))}), or give a "
            "model of your own."
        )


def _without_punctuation(word: str) -> str:
    return "".join(" " if c in string.punctuation or unicodedata.category(c)[0] == "P" else c for c in word)


def words(prompt: str, *, ideographs: bool = False) -> list[str]:
    """A prompt as CLIP's tokenizer cuts it before it spells the parts: "(a Red_car:1.2)," -> a, red, _, car, ','.

    Case, weights and how accents are composed do not matter. Letters that touch are one word, so a language without
    spaces has long ones; every digit is a word, so are other symbols that touch. ideographs: cut Chinese characters
    apart, as some tokenizers do.
    """
    prompt = re.sub(r":\s*[-+]?\d*\.?\d+\s*(?=(?<!\\)\))", "", prompt)
    prompt = re.sub(r"(?<!\\)[()]", " ", prompt).replace("\\(", "(").replace("\\)", ")")
    text = unicodedata.normalize("NFC", prompt).lower()
    runs = [(kind, "".join(run)) for kind, run in groupby(text, lambda char: _kind(char, ideographs))]
    parts = [list(run) if kind == "single" else [run] for kind, run in runs if kind != "space"]
    return [word for part in parts for word in part]


def _kind(char: str, ideographs: bool) -> str:
    category = unicodedata.category(char)[0]
    if category == "N" or (ideographs and unicodedata.name(char, "").startswith("CJK")):
        return "single"
    return "space" if char.isspace() else "letter" if category == "L" else "other"


def unplaced(prompt: str, phrases: Sequence[str], *, certain: bool = False) -> dict[int, bool]:
    """Phrases without a free place in the prompt: index -> whether it does occur, but only where another one stands.

    The rule of attention.find_phrases, on words instead of tokens: longer phrases choose first, each takes the next
    free occurrence, and no word serves twice. What a tokenizer may find counts as placed: a phrase may begin inside a
    word, since words are spelled from parts; it never ends inside one, since last parts are marked. certain: only what
    every tokenizer finds counts, whole words.
    """
    text, taken, missing = words(prompt, ideographs=not certain), set(), {}
    split = [words(phrase, ideographs=not certain) for phrase in phrases]

    def begins(phrase: list[str], place: int) -> bool:
        if not phrase or text[place + 1 : place + len(phrase)] != phrase[1:]:
            return False
        return text[place] == phrase[0] or (not certain and text[place].endswith(phrase[0]))

    for index in sorted(range(len(phrases)), key=lambda n: -len(split[n])):
        phrase = split[index]
        starts = [n for n in range(len(text) - len(phrase) + 1) if phrase and begins(phrase, n)]
        free = [n for n in starts if taken.isdisjoint(range(n, n + len(phrase)))]
        if free:
            taken.update(range(free[0], free[0] + len(phrase)))
        else:
            missing[index] = bool(starts)
    return missing


def append_phrases(prompt: str, phrases: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """The prompt with ", phrase" for every phrase that has no free place in it, and those phrases (method.md 7).

    A place that only some tokenizers find does not count. Phrases keep their order and their weights; a prompt that has
    a place for all of them comes back as it is. A phrase without any word is left out: it can be placed nowhere, and
    the check names it.
    """
    done, added = prompt, []
    # Again, because a comma that joins two phrases can be taken for one that a phrase has inside.
    while places := unplaced(done, phrases, certain=True):
        missing = [phrases[index].strip() for index in sorted(places) if words(phrases[index])]
        if not missing:
            break
        done = done.rstrip().rstrip(",")
        for phrase in missing:
            done = _joined(done, phrase)
        added += missing
    return done, tuple(added)


def _joined(prompt: str, phrase: str) -> str:
    """A comma between them, which must not touch a symbol: they would be one word."""
    last = words(prompt)[-1:]
    apart = " " if last and _kind(last[0][-1], ideographs=False) == "other" else ""
    return f"{prompt}{apart}, {phrase}" if prompt else phrase
