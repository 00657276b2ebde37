"""Names for things: phrases of the source prompt, by the cross-attention they pay to each thing (method.md 9)."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

# Where a noun phrase ends: articles, numerals, conjunctions, prepositions, pronouns, auxiliaries. English alone; give
# the phrases yourself for anything these small lists cut wrongly ("two men play tennis" gives "men play tennis").
_FUNCTION_WORDS = """
a an the this that these those some any no each every both all another other
one two three four five six seven eight nine ten many several few
and or but nor with without on in at of off to from by for as into onto over under above below behind beside besides
between beyond near next across against along around before after during through toward towards up down
inside outside upon front back left right top bottom
his her its their my your our he she it they him them who which while where when there
is are was were be been being am has have had do does did not very
"""
FUNCTION_WORDS = frozenset(_FUNCTION_WORDS.split())
# Verbs in -ing end a phrase too, where they tell what the thing before them does: "men playing badminton". They do not
# where they begin a phrase or follow an adjective ("swimming pool", "cute sleeping cat"), nor are these words verbs;
# without another vowel before it -ing is no ending at all ("ring", "king", "string").
_NOUNS_IN_ING = """
awning being building carving ceiling clearing clothing crossing darling drawing dressing dumpling duckling earring
engraving etching evening gosling icing landing lightning lining living morning opening painting parking pudding railing
sapling seedling setting sibling siding stocking swimming training viking wedding
"""
NOUNS_IN_ING = frozenset(_NOUNS_IN_ING.split())
_ADJECTIVES = """
red orange yellow green blue purple pink brown black white grey gray golden silver bright dark colourful colorful
big large huge giant small little tiny tall short long fat thin old young new cute beautiful pretty lovely fluffy
"""
ADJECTIVES = frozenset(_ADJECTIVES.split())
BEFORE_VERBS = frozenset(("is", "are", "was", "were", "been", "being", "am", "while", "when"))
IRREGULAR_PLURALS = frozenset(("people", "men", "women", "children", "feet", "teeth", "mice", "geese", "police"))
SINGULAR_S = ("ss", "us", "is", "as")  # bus, grass, canvas: no plurals
# What often stands before the place of a scene.
PLACE_WORDS = frozenset(("on", "in", "at", "inside", "across", "against", "through", "along", "near", "under", "over"))
# A phrase names an instance unless its attention nearly avoids it (where two instances and two phrases are left, each
# gets one), but the background only where it is clearly seen there.
LEAST, LEAST_BACKGROUND = 0.5, 1.1


@dataclass(frozen=True)
class Words:
    """Phrases that may name things, with their places in the encoded source prompt.

    spans: for each phrase its occurrences, each a tuple of token positions (0 .. L - 1); a phrase without occurrences
    names nothing. A phrase names as many things as it has occurrences, any number where its last word is a plural.
    scenery: phrases that name an instance only where no other phrase does (see `place_phrases`).
    """

    phrases: tuple[str, ...]
    spans: tuple[tuple[tuple[int, ...], ...], ...]
    scenery: tuple[str, ...] = ()

    def __post_init__(self):
        if len(self.phrases) != len(self.spans):
            raise ValueError(f"Words: {len(self.phrases)} phrases but spans of {len(self.spans)}; give one each.")

    @property
    def absent(self) -> tuple[str, ...]:
        """The phrases that do not occur."""
        return tuple(phrase for phrase, places in zip(self.phrases, self.spans) if not places)


Positions = Callable[[Sequence[str]], tuple[Sequence[Sequence[Sequence[int]]], int]]


def words_of(prompt: str, names: Sequence[str], positions: Positions) -> tuple[Words, int]:
    """The phrases of a source prompt that may name things, and in how many tokens it is encoded.

    names: the phrases, which may be `absent`; empty = the prompt's nouns. positions: a host's look-up; phrases -> (the
    occurrences of each in the encoded prompt, number of tokens).
    """
    phrases = list(names or noun_phrases(prompt))
    spans, length = positions(phrases)
    spans = tuple(tuple(map(tuple, places)) for places in spans)
    return Words(tuple(phrases), spans, tuple(place_phrases(prompt))), length


def noun_phrases(prompt: str) -> list[str]:
    """The prompt cut at function words (FUNCTION_WORDS), verbs in -ing and punctuation: "a red circle and two men
    playing tennis on sand" gives ["red circle", "men", "tennis", "sand"]. Lower case, in order, each once; brackets and
    weights "(word:1.2)" drop out.
    """
    return list(dict.fromkeys(phrase for _, phrase in _cut(prompt)))


def place_phrases(prompt: str) -> list[str]:
    """The phrase that most likely names the place of the scene, as a list of one or none: "sand" in "a circle on sand".

    It is the last one after a word such as "on" or "in", unless it is the only one of the prompt. Its attention is no
    help: text encoders look backwards, so what comes last also carries what the things before it are.
    """
    cut = _cut(prompt)
    after = [phrase for before, phrase in cut if before in PLACE_WORDS]
    others = {phrase for _, phrase in cut} - set(after[-1:])
    return after[-1:] if others else []


def _cut(prompt: str) -> list[tuple[str, str]]:
    """(the last cutting word that is no article before it, phrase) of every noun phrase, in order."""
    text = re.sub(r":\s*-?[\d.]+\s*(?=\))", "", prompt.lower())
    found = []
    for part in re.split(r"[^\w\s'-]+|--+|(?<!\w)['-]+(?!\w)", text):
        before, phrase = "", []
        for word in [*part.split(), "and"]:
            if word.strip("'-") not in FUNCTION_WORDS and not _is_verb(word, phrase, before):
                phrase.append(word)
                continue
            if phrase:
                found.append((before, " ".join(phrase)))
                before, phrase = "", []
            if word not in ("a", "an", "the"):
                before = word
    return found


def _is_verb(word: str, phrase: Sequence[str], before: str) -> bool:
    """Whether a word in -ing is what the thing before it does. phrase: the words of this phrase so far; before: as in
    `_cut`."""
    if not re.fullmatch(r"[a-z]*[aeiouy][a-z]*ing", word) or word in NOUNS_IN_ING:
        return False
    return phrase[-1] not in ADJECTIVES if phrase else before in BEFORE_VERBS


def is_plural(phrase: str) -> bool:
    """Whether the last word of a phrase looks like an English plural."""
    head = phrase.lower().split()[-1] if phrase.split() else ""
    return head in IRREGULAR_PLURALS or (len(head) > 3 and head.endswith("s") and not head.endswith(SINGULAR_S))


def lifts(cross: Tensor, cells: Tensor, words: Words) -> np.ndarray:
    """How many times more than by chance each phrase's attention falls on each thing: float64 [K, P], >= 0.

    cross: [F, n, L], each cell's attention to the text. cells: bool [K, F, h, w]. A token's lift on a thing is its mean
    attention from the thing's cells over that from all cells of the clip; a phrase's is the mean over its tokens, in
    all its occurrences. (Tokens count alike: some, like a word for a shape, get much attention from everywhere.)
    """
    places = sorted({place for spans in words.spans for span in spans for place in span})
    if not places:
        return np.zeros((len(cells), len(words.phrases)))
    area = cells.flatten(2).double()  # [K, F, n]
    attention = cross[..., places].double()  # [F, n, tokens]
    on = torch.einsum("kfn,fnl->kl", area, attention) / area.sum((1, 2)).clamp(min=1)[:, None]
    lift = dict(zip(places, (on / attention.mean((0, 1)).clamp(min=1e-12)).T))
    out = np.zeros((len(cells), len(words.phrases)))
    for p, spans in enumerate(words.spans):
        tokens = [lift[place] for span in spans for place in span]
        if tokens:
            out[:, p] = torch.stack(tokens).mean(0).numpy()
    return out


def name_things(lift: np.ndarray, words: Words) -> list[tuple[str, float]]:
    """(phrase, score) for every thing, one-to-one: the naming whose lifts have the largest product.

    lift: from `lifts`, the background's row last. The background takes part, so that a word that is seen there rather
    than on any instance names none. ("", nan) where no phrase is left whose lift is at least LEAST.
    """
    from scipy.optimize import linear_sum_assignment

    things = len(lift)
    times = [things if spans and is_plural(phrase) else len(spans) for phrase, spans in zip(words.phrases, words.spans)]
    column = np.repeat(np.arange(len(times)), times)
    least = np.full((things, 1), LEAST)
    least[-1] = LEAST_BACKGROUND
    gain = np.log(np.maximum(lift[:, column] / least, 1))
    rest = np.array([words.phrases[p].lower() in words.scenery for p in column], bool)
    gain[:-1, rest] *= 1e-3  # an instance takes it only where nothing else is left for it
    gain = np.concatenate([gain, np.zeros((things, things))], 1)  # the last columns: no name
    named: list[tuple[str, float]] = [("", float("nan"))] * things
    for thing, place in zip(*linear_sum_assignment(-gain)):
        if gain[thing, place] > 0:
            named[thing] = (words.phrases[column[place]], float(lift[thing, column[place]]))
    return named


def check_word_places(words: Words, length: int) -> None:
    """Raise ValueError unless all positions lie within `length` tokens."""
    highest = max((place for spans in words.spans for span in spans for place in span), default=-1)
    if highest >= length:
        raise ValueError(
            f"the phrases {', '.join(words.phrases)} are at token {highest}, but the source prompt was encoded in "
            f"{length} tokens; take the positions from the prompt the clip was inverted with."
        )
