"""Prompts and phrases on words alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from videograin.editing.prompt_text import append_phrases, unplaced, words

WORDS = st.sampled_from(["a", "b", "c!", ",", "!", "(d:1.2)"])


def test_words_ignore_case_space_and_weights():
    assert words("(a Red   car:1.2), on  ((sand))") == ["a", "red", "car", ",", "on", "sand"]
    assert words(r"a smile \(wide\)") == ["a", "smile", "(", "wide", ")"]


def test_phrases_find_free_places():
    assert unplaced("a cat and a cat", ["a cat", "a cat"]) == {}
    assert unplaced("a cat and a dog", ["a cat", "a cat"]) == {1: True}
    assert unplaced("a red carpet", ["a red car"]) == {0: False}
    assert unplaced("cat in a hat and a cat", ["cat", "cat in a hat"]) == {}


@pytest.mark.parametrize(
    ("prompt", "phrase"),
    [
        ("沙地上有一只熊", "一只熊"),
        ("沙地上有一只熊", "一只"),  # by tokenizers that cut Chinese characters apart
        ("砂の上のくま", "くま"),
        ("หมีบนทราย", "ทราย"),
        ("a red_car on the road", "car on the road"),
        ("a caf\u00e9 at night", "a cafe\u0301"),
        ("A CAFE\u0301 at night", "caf\u00e9"),
        ("a 4k picture", "k picture"),
        ("a bear 🐻‍❄️ on sand", "🐻‍❄️"),
        ("ein Rennwagen", "wagen"),
    ],
)
def test_what_a_tokenizer_may_find_is_placed(prompt, phrase):
    assert unplaced(prompt, [phrase]) == {}


@pytest.mark.parametrize(
    ("prompt", "phrase"),
    [
        ("a red carpet", "car"),
        ("すなのうえのくま", "すな"),
        ("a cafe at night", "caf\u00e9"),
        ("a bear 🐻, on sand", "🐻"),  # symbols that touch are one word
        ("ein Rennwagen", "ein wagen"),
    ],
)
def test_what_no_tokenizer_finds_is_not_placed(prompt, phrase):
    assert unplaced(prompt, [phrase]) == {0: False}


def test_two_phrases_do_not_share_the_end_of_a_word():
    assert unplaced("沙地上有くまくま", ["くま", "まくま"]) == {1: True}


def test_what_only_some_tokenizers_find_is_appended():
    assert append_phrases("ein Rennwagen", ["wagen"]) == ("ein Rennwagen, wagen", ("wagen",))
    assert append_phrases("沙地上有一只熊", ["一只熊"]) == ("沙地上有一只熊, 一只熊", ("一只熊",))
    assert append_phrases("a caf\u00e9 at night", ["cafe\u0301"]) == ("a caf\u00e9 at night", ())


@given(st.lists(st.sampled_from(["a", "b", "c", "d"]), min_size=1, max_size=7), st.data())
def test_words_of_the_prompt_itself_are_always_found(text, data):
    begin = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(begin + 1, len(text)))
    assert unplaced(" ".join(text), ["  ".join(text[begin:end]).upper()]) == {}


def test_missing_phrases_are_appended_in_their_order():
    prompt = "a man in a room"
    assert append_phrases(prompt, ["a man", "room"]) == (prompt, ())
    assert append_phrases(prompt, ["a hat", "a man", "a dog"]) == ("a man in a room, a hat, a dog", ("a hat", "a dog"))
    assert append_phrases("a man, ", [" (a hat:1.2)"]) == ("a man, (a hat:1.2)", ("(a hat:1.2)",))


def test_a_phrase_whose_only_place_is_taken_is_appended():
    assert append_phrases("a cat", ["a cat", "a cat"]) == ("a cat, a cat", ("a cat",))
    assert append_phrases("a cat", ["cat", "a cat"]) == ("a cat, cat", ("cat",))


def test_a_joining_comma_does_not_touch_a_symbol():
    assert append_phrases("wow!", ["a cat!", "a dog"]) == ("wow! , a cat! , a dog", ("a cat!", "a dog"))


def test_a_phrase_without_words_is_not_appended():
    assert append_phrases("a cat", ["()", ""]) == ("a cat", ())
    assert unplaced("a cat", ["()"]) == {0: False}


@given(st.lists(WORDS, max_size=5), st.lists(st.lists(WORDS, min_size=1, max_size=3), max_size=4))
def test_afterwards_every_phrase_has_its_place(prompt, phrases):
    phrases = [" ".join(phrase) for phrase in phrases]
    before = unplaced(" ".join(prompt), phrases, certain=True)
    done, added = append_phrases(" ".join(prompt), phrases)
    assert unplaced(done, phrases, certain=True) == {} == unplaced(done, phrases)
    assert len(added) >= len(before)  # more where a joining comma was taken for one inside
    assert bool(added) == bool(before)


def test_a_joining_comma_may_be_taken_for_one_inside_a_phrase():
    done, added = append_phrases("", ["a a", "a , a"])
    assert unplaced(done, ["a a", "a , a"]) == {}
    assert added == ("a a", "a , a", "a a")
