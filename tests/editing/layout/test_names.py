import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from videograin.editing.layout.clip_layout import unique_names
from videograin.editing.layout.names import (
    LEAST,
    LEAST_BACKGROUND,
    Words,
    is_plural,
    lifts,
    name_things,
    noun_phrases,
    place_phrases,
    words_of,
)


@pytest.mark.parametrize(
    ("prompt", "phrases", "place"),
    [
        ("a red circle and a blue square on sand", ["red circle", "blue square", "sand"], ["sand"]),
        ("a red circle and a red circle on sand", ["red circle", "sand"], ["sand"]),
        ("Two men in a park", ["men", "park"], ["park"]),
        ("(a fluffy cat:1.2), best quality, 4k", ["fluffy cat", "best quality", "4k"], []),
        ("a man on a horse in a field", ["man", "horse", "field"], ["field"]),
        ("the dog's bowl next to a t-shirt", ["dog's bowl", "t-shirt"], []),
        ("in a garden", ["garden"], []),
        ("two men playing badminton", ["men", "badminton"], []),
        ("two men are playing badminton in a sports hall", ["men", "badminton", "sports hall"], ["sports hall"]),
        ("a man riding a bike", ["man", "bike"], []),
        ("two dogs running", ["dogs"], []),
        ("a bird is singing, while a cat is sleeping", ["bird", "cat"], []),
        ("a tall building and a diamond ring on a king", ["tall building", "diamond ring", "king"], ["king"]),
        ("a white wedding dress in a swimming pool", ["white wedding dress", "swimming pool"], ["swimming pool"]),
        ("running dogs and a cute sleeping cat", ["running dogs", "cute sleeping cat"], []),
        ("a dog - a cat -- a bird", ["dog", "cat", "bird"], []),
        ("- a '", [], []),
        ("a", [], []),
        ("", [], []),
    ],
)
def test_noun_phrases(prompt, phrases, place):
    assert noun_phrases(prompt) == phrases
    assert place_phrases(prompt) == place


@pytest.mark.parametrize(("word", "plural"), [("men", True), ("red cars", True), ("bus", False), ("grass", False)])
def test_plurals(word, plural):
    assert is_plural(word) is plural


def words(*phrases, times=1, scenery=()):
    """Phrase p at token p, `times` times."""
    return Words(phrases, tuple(((p,),) * times for p in range(len(phrases))), scenery)


def test_lifts_by_hand():
    """Cells of thing 1 pay token 0 twice what those of thing 2 do; the phrase of tokens 0 and 1 takes their mean."""
    cross = torch.tensor([[[0.6, 0.1, 0.3], [0.3, 0.1, 0.6], [0.3, 0.1, 0.6], [0.0, 0.1, 0.9]]])
    cells = torch.tensor([[[[1, 0, 0, 0]]], [[[0, 1, 1, 0]]], [[[0, 0, 0, 1]]]], dtype=torch.bool)
    given = Words(("one", "both", "absent"), (((0,),), ((0, 1),), ()))
    expected = [[2.0, 1.5, 0], [1.0, 1.0, 0], [0.0, 0.5, 0]]
    assert np.allclose(lifts(cross, cells, given), expected)
    assert lifts(cross, cells, Words((), ())).shape == (3, 0)


def test_the_best_naming_is_not_the_greedy_one():
    """Thing 1 likes "a" best, but so does thing 2, which likes nothing else."""
    named = name_things(np.array([[3.0, 2.5], [2.8, 0.6], [0.1, 0.1]]), words("a", "b"))
    assert [n for n, _ in named] == ["b", "a", ""]
    assert named[0][1] == 2.5
    assert math.isnan(named[2][1])


def test_a_phrase_names_as_many_things_as_it_occurs():
    lift = np.array([[3.0], [2.0], [1.5], [0.1]])
    assert [n for n, _ in name_things(lift, words("cat"))] == ["cat", "", "", ""]
    assert [n for n, _ in name_things(lift, words("cat", times=2))] == ["cat", "cat", "", ""]
    assert [n for n, _ in name_things(lift, words("cats"))] == ["cats", "cats", "cats", ""]


def test_scenery_names_an_instance_only_where_nothing_else_is_left():
    given = words("cat", "sand", scenery=("sand",))
    assert [n for n, _ in name_things(np.array([[1.2, 4.0], [0.5, 0.5]]), given)] == ["cat", ""]
    assert [n for n, _ in name_things(np.array([[1.2, 4.0], [0.9, 3.0], [0.5, 0.5]]), given)] == ["cat", "sand", ""]


def test_the_background_takes_the_word_that_is_seen_there():
    named = name_things(np.array([[2.0, 0.7], [0.8, 1.4]]), words("cat", "lawn"))
    assert [n for n, _ in named] == ["cat", "lawn"]


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_of_all_namings_the_one_with_the_largest_product_is_taken(data):
    things, phrases = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 3))
    lift = np.array(data.draw(st.lists(st.lists(st.floats(0.01, 8), min_size=phrases, max_size=phrases),
                                       min_size=things, max_size=things)))  # fmt: skip
    names = "abc"[:phrases]
    named = name_things(lift, words(*names))
    least = [LEAST] * (things - 1) + [LEAST_BACKGROUND]

    def worth(choice):
        return sum(math.log(lift[t, p] / least[t]) for t, p in enumerate(choice) if p is not None)

    options = [
        choice
        for choice in itertools.product([None, *range(phrases)], repeat=things)
        if len({p for p in choice if p is not None}) == sum(p is not None for p in choice)
        and all(p is None or lift[t, p] > least[t] for t, p in enumerate(choice))
    ]
    taken = [names.index(n) if n else None for n, _ in named]
    assert taken in [list(option) for option in options]
    assert worth(taken) == pytest.approx(max(map(worth, options)))
    assert all(math.isnan(s) if not n else s == lift[t, names.index(n)] for t, (n, s) in enumerate(named))


def test_two_men_get_names_of_their_own():
    """The prompt of runner/README.md: a plural names any number of things."""

    def positions(phrases):
        return [[(prompt.split().index(word),) for word in phrase.split()] for phrase in phrases], len(prompt.split())

    prompt = "two men playing badminton on a court"
    given, length = words_of(prompt, (), positions)
    assert given == Words(("men", "badminton", "court"), (((1,),), ((3,),), ((6,),)), ("court",))
    assert length == 7
    named = name_things(np.array([[3.0, 1.0, 0.3], [2.5, 1.2, 0.4], [0.1, 0.8, 1.6]]), given)
    assert [n for n, _ in named] == ["men", "men", "court"]
    assert unique_names([n for n, _ in named[:-1]]) == ["men 1", "men 2"]


def test_given_names_are_looked_up_as_they_are():
    spans = {"two men": [[0, 1]], "ball": []}
    given, _ = words_of("two men on sand", ["two men", "ball"], lambda phrases: ([spans[p] for p in phrases], 4))
    assert given == Words(("two men", "ball"), (((0, 1),), ()), ("sand",))
    assert given.absent == ("ball",)


def test_words_have_spans_for_every_phrase():
    with pytest.raises(ValueError, match="2 phrases but spans of 1"):
        Words(("a", "b"), ((),))


def test_names_that_are_given_do_not_make_a_thing_of_the_scenery():
    """The words that say where the scene is stay what they are when the user writes them."""
    at = {"Green cross": ((1, 2), (5, 6)), "Sand": ((8,),)}
    given, length = words_of(
        "a green cross and a green cross on sand", list(at), lambda phrases: ([at[phrase] for phrase in phrases], 10)
    )
    assert length == 10
    lift = np.array([[2.0, 2.5], [1.9, 3.0], [0.5, 0.6]])  # "sand" looks back at the crosses
    assert [phrase for phrase, _ in name_things(lift, given)] == ["Green cross", "Green cross", ""]
