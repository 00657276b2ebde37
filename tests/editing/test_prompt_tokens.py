"""Words of a prompt among its tokens, with a tokenizer that counts letters."""

import pytest

from videograin.editing.prompt_text import PromptError
from videograin.editing.prompt_tokens import PromptTokens, word_positions


def cut(text):
    ids = tuple(len(word) for word in text.split())
    return PromptTokens((0, *ids, 0), (1.0,) * (len(ids) + 2), tuple(range(1, len(ids) + 1)))


def test_words_are_found_where_they_stand_and_a_phrase_without_words_is_refused():
    assert word_positions(cut, "a red cat", ["red cat", "dogs"]) == ([[(2, 3)], []], 5)
    with pytest.raises(PromptError, match="phrase 2 is empty"):
        word_positions(cut, "a red cat", ["red", " "])
