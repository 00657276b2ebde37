"""Phrases in prompts, labels of text tokens, and spliced embeddings."""

import pytest
import torch

from videograin.attention import PhraseNotFound, find_phrases, phrase_occurrences, splice, text_labels

BEGIN, END = 100, 101
A, RED, BLUE, CAT, IN, HAT, AND = range(7)
SPECIAL = (BEGIN, END)


def prompt(*words):
    return [BEGIN, *words, END, END]


def test_a_phrase_is_found_where_it_stands():
    assert find_phrases(prompt(A, RED, CAT, AND, A, HAT), [[RED, CAT], [HAT]], special=SPECIAL) == [(2, 3), (6,)]


def test_equal_phrases_take_one_occurrence_each():
    ids = prompt(A, CAT, AND, A, CAT, AND, A, CAT)
    assert find_phrases(ids, [[A, CAT]] * 3, special=SPECIAL) == [(1, 2), (4, 5), (7, 8)]


def test_occurrences_do_not_overlap():
    assert find_phrases([A, A, A, A], [[A, A], [A, A]]) == [(0, 1), (2, 3)]


def test_a_short_phrase_leaves_a_longer_one_alone():
    ids = prompt(CAT, IN, HAT, AND, CAT)
    assert find_phrases(ids, [[CAT], [CAT, IN, HAT]], special=SPECIAL) == [(5,), (1, 2, 3)]


def test_a_phrase_may_cross_the_seam_of_two_chunks():
    ids = [BEGIN, A, RED, END, BEGIN, CAT, AND, END]
    assert find_phrases(ids, [[RED, CAT]], special=SPECIAL) == [(2, 5)]
    with pytest.raises(PhraseNotFound):
        find_phrases(ids, [[RED, CAT]])  # without knowing the specials it does not


def test_padding_is_no_word():
    with pytest.raises(PhraseNotFound):
        find_phrases(prompt(A, CAT), [[END]], special=SPECIAL)


def test_all_occurrences_of_a_phrase():
    ids = prompt(A, RED, CAT, AND, CAT, IN, A, HAT, AND, RED, CAT)
    assert phrase_occurrences(ids, [RED, CAT], special=SPECIAL) == [(2, 3), (10, 11)]
    assert phrase_occurrences(ids, [CAT], special=SPECIAL) == [(3,), (5,), (11,)]  # also inside "red cat"
    assert phrase_occurrences(ids, [BLUE], special=SPECIAL) == []
    assert phrase_occurrences(ids, [END], special=SPECIAL) == []
    assert phrase_occurrences(ids, ids, special=SPECIAL) == []
    assert phrase_occurrences([A, A, A, A, A], [A, A]) == [(0, 1), (2, 3)]
    assert phrase_occurrences([A, A, RED], [A, RED]) == [(1, 2)]
    assert phrase_occurrences([BEGIN, A, RED, END, BEGIN, CAT, END], [RED, CAT], special=SPECIAL) == [(2, 5)]
    with pytest.raises(ValueError, match="no tokens; expected at least one word"):
        phrase_occurrences(ids, [])


def test_no_phrases_no_spans():
    assert find_phrases(prompt(A, CAT), [], special=SPECIAL) == []


def test_a_missing_phrase_is_named():
    with pytest.raises(PhraseNotFound, match=r"phrase 2 \(token ids \[5\]\) does not occur.*word for word") as error:
        find_phrases(prompt(A, CAT), [[CAT], [HAT]], special=SPECIAL)
    assert error.value.index == 1
    assert not error.value.taken


def test_one_occurrence_too_few_is_told_apart():
    with pytest.raises(PhraseNotFound, match=r"phrase 2 .* where another phrase already stands.*once more") as error:
        find_phrases(prompt(A, CAT), [[CAT], [CAT]], special=SPECIAL)
    assert error.value.taken


def test_an_empty_phrase_is_an_error():
    with pytest.raises(ValueError, match="phrase 1 has no tokens"):
        find_phrases(prompt(A, CAT), [[]], special=SPECIAL)


def test_text_labels():
    labels = text_labels(8, [(2, 3), (6,)])
    assert labels.dtype == torch.int64
    assert labels.tolist() == [-1, -1, 1, 1, -1, -1, 2, -1]
    assert text_labels(3, []).tolist() == [-1, -1, -1]
    assert text_labels(8, [(2, 3), (6,)], starts=[0, 4]).tolist() == [0, -1, 1, 1, 0, -1, 2, -1]  # two chunks of 4


@pytest.mark.parametrize(
    ("spans", "says"),
    [
        ([(1,), (8,)], "region 2 has a token at position 8; expected 0 to 7.*shorten the prompt"),
        ([(-1,)], "position -1"),
        ([(1, 2), (2, 3)], "position 2 belongs to regions 1 and 2"),
    ],
)
def test_text_label_errors(spans, says):
    with pytest.raises(ValueError, match=says):
        text_labels(8, spans)


def test_splice_writes_the_phrases_and_nothing_else():
    whole = torch.randn(1, 8, 4)
    before = whole.clone()
    first, second = torch.randn(1, 5, 4, dtype=torch.float64), torch.randn(1, 8, 4)
    out = splice(whole, [(2, 3), (6,)], [first, second], [(1, 2), (1,)])
    assert torch.equal(whole, before)
    assert out.dtype == whole.dtype
    assert torch.equal(out[:, [2, 3]], first[:, [1, 2]].float())
    assert torch.equal(out[:, 6], second[:, 1])
    assert torch.equal(out[:, [0, 1, 4, 5, 7]], whole[:, [0, 1, 4, 5, 7]])


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"spans": []}, "one span, one embedding and one local span per region; got 0, 1 and 1"),
        ({"global_embedding": torch.zeros(2, 8, 4)}, r"the global embedding must be \[1, tokens, channels\]"),
        ({"local_embeddings": [torch.zeros(1, 5, 3)]}, r"of region 1 must be \[1, tokens, 4\]; got \(1, 5, 3\)"),
        ({"local_spans": [(1,)]}, "region 1 has 2 tokens in the global prompt and 1 in its own"),
        ({"spans": [(7, 8)]}, r"positions \[7, 8\] in its global prompt must lie in 0 to 7"),
        ({"local_spans": [(4, 5)]}, r"positions \[4, 5\] in its own prompt must lie in 0 to 4"),
    ],
)
def test_splice_errors(changes, says):
    arguments = {
        "global_embedding": torch.zeros(1, 8, 4),
        "spans": [(2, 3)],
        "local_embeddings": [torch.zeros(1, 5, 4)],
        "local_spans": [(1, 2)],
    }
    with pytest.raises(ValueError, match=says):
        splice(**{**arguments, **changes})


def test_phrases_may_be_given_by_name():
    assert find_phrases(prompt_ids=[A, CAT], phrases=[[CAT]]) == [(1,)]
