import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from videograin.layout.names import (
    LEAST,
    LEAST_BACKGROUND,
    Words,
    is_plural,
    lifts,
    name_things,
    noun_phrases,
    place_phrases,
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


def test_words_have_spans_for_every_phrase():
    with pytest.raises(ValueError, match="2 phrases but spans of 1"):
        Words(("a", "b"), ((),))
