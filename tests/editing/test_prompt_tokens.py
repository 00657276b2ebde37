"""Words of a prompt among its tokens, with a tokenizer that counts letters."""

import pytest

from videograin.editing.prompt_text import PromptError
from videograin.editing.prompt_tokens import PromptTokens, word_positions, wordless


def cut(text):
    ids = tuple(len(word) for word in text.split())
    return PromptTokens((0, *ids, 0), (1.0,) * (len(ids) + 2), tuple(range(1, len(ids) + 1)))


def test_words_are_found_where_they_stand_and_a_phrase_without_words_is_refused():
    assert word_positions(cut, "a red cat", ["red cat", "dogs"]) == ([[(2, 3)], []], 5)
    with pytest.raises(PromptError, match="phrase 2 is empty"):
        word_positions(cut, "a red cat", ["red", " "])


def test_regions_whose_phrases_say_nothing_are_told_by_their_number():
    phrases, weights = ["a cat", "a dog", "...", "no, really!"], [(1.0, 1.0), (0, 0), (1.0,), (0.5, 0)]
    assert list(wordless(phrases, weights)) == [
        "region 2 ('a dog') has no words left: all of them have the weight 0; give one of them another weight",
        "region 3 ('...') has no words, only punctuation; write what is, or is to be, inside its mask",
    ]
    assert list(wordless([], [])) == []
