"""Which words are looked at, and whose they are."""

import pytest

from videograin.measuring.attention_probe import InspectionError, Phrase
from videograin.measuring.probed_phrases import chosen_phrases

PROMPT = ["a", "red", "cat", "and", "a", "red", "dog", "on", "sand"]
REGIONAL = [Phrase("a red cat", (0, 1, 2), 1), Phrase("a red dog", (4, 5, 6), 2)]


def occurrences(words):
    """Tokens are words here; a phrase is one word."""
    return [[(place,) for place, there in enumerate(PROMPT) if there == word] for word in words]


def chosen(words, regional=REGIONAL, look=occurrences):
    return chosen_phrases(words, regional, look, " ".join(PROMPT), key="words: ")


def refuse(words):
    raise AssertionError(f"asked for {words}")


def test_the_regions_themselves_need_no_look_up():
    assert chosen([], look=refuse) == REGIONAL
    assert chosen(["A red  dog", "(a red cat:1.2)"], look=refuse) == REGIONAL[::-1]
    twins = [Phrase("a cup", (1, 2), 1), Phrase("a Cup", (5, 6), 2)]
    assert chosen(["a cup"], twins, look=refuse) == twins


def test_words_within_one_region_are_that_regions_and_others_nobodys():
    found = chosen(["sand", "dog", "red", "a red cat"])
    assert found == [Phrase("sand", (8,)), Phrase("dog", (6,), 2), Phrase("red", (1, 5)), REGIONAL[0]]
    assert chosen(["cat"], []) == [Phrase("cat", (2,))]


def test_words_that_do_not_occur_are_named():
    with pytest.raises(InspectionError, match=r"^words: 'cow' does not occur in the prompt 'a red cat and"):
        chosen(["sand", "cow"])
