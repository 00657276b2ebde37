"""Prompts: weights, chunks, phrases, and agreement with diffusers' own pipelines."""

import json
from itertools import accumulate

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from videograin.attention import PhraseNotFound, find_phrases
from videograin.editing.prompt_text import PromptError, clean_prompt, parse_weights, unplaced
from videograin.hosts.diffusers.unet.prompts import tokenize


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("a red star", [("a red star", 1.0)]),
        ("a (red:1.3) star", [("a ", 1.0), ("red", 1.3), (" star", 1.0)]),
        ("(red)", [("red", 1.1)]),
        ("((red))", [("red", 1.1 * 1.1)]),
        ("((red:1.2) star:0.5)", [("red", 1.2), (" star", 0.5)]),
        ("(photo: red)", [("photo: red", 1.1)]),
        (r"a \(red\) (star\):2)", [("a (red) ", 1.0), ("star)", 2.0)]),
        ("(red:-1)", [("red", -1.0)]),
        ("", []),
    ],
)
def test_weights_are_read_as_comfyui_reads_them(text, pieces):
    got = parse_weights(text)
    assert [piece for piece, _ in got] == [piece for piece, _ in pieces]
    assert [weight for _, weight in got] == pytest.approx([weight for _, weight in pieces])


@given(st.text(alphabet="ab (): 1.", max_size=20))
def test_weights_parse_exactly_where_parentheses_balance(text):
    depths = list(accumulate((char == "(") - (char == ")") for char in text))
    if not depths or (min(depths) >= 0 and depths[-1] == 0):
        assert not set("()") & set(clean_prompt(text))
    else:
        with pytest.raises(PromptError, match="unbalanced parentheses") as caught:
            parse_weights(text)
        assert repr(text) in str(caught.value)


def test_infinite_weight_is_refused():
    with pytest.raises(PromptError, match="'inf' is not a finite number"):
        parse_weights("(red:inf)")


@pytest.mark.parametrize("words", [0, 1, 75, 76, 160])
def test_long_prompts_fill_chunks_of_75(sd1, words):
    tokenizer = sd1.text.encoders[0].tokenizer
    tokens = tokenize("star " * words, tokenizer, 77)
    star = tokenizer("star", add_special_tokens=False)["input_ids"]
    chunks = max(1, -(-words // 75))
    assert len(tokens.ids) == len(tokens.weights) == 77 * chunks
    assert tokens.content_ids == star * words
    assert [tokens.ids[77 * n] for n in range(chunks)] == [tokenizer.bos_token_id] * chunks
    assert all(1 <= position % 77 <= 75 for position in tokens.content)


def test_a_word_is_not_cut_at_a_chunk_border(sd1):
    tokenizer = sd1.text.encoders[0].tokenizer
    letters = tokenizer("xyz", add_special_tokens=False)["input_ids"]
    assert len(letters) == 3
    tokens = tokenize("star " * 73 + "xyz", tokenizer, 77)
    assert tokens.content[-3:] == (78, 79, 80)
    assert tokens.content_ids[-3:] == letters


def test_unknown_words_are_refused(sd1):
    with pytest.raises(PromptError, match="does not know '77'"):
        sd1.encode_prompt("a star 77")


def test_same_embedding_as_the_stock_pipeline(model, folders):
    import diffusers

    text = "a red star on the sand, a blue circle"
    folder = getattr(folders, model.family)
    pipe = diffusers.DiffusionPipeline.from_pretrained(folder)
    stock = pipe.encode_prompt(text, device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=False)
    prompt = model.encode_prompt(text)
    assert torch.equal(prompt.embedding, stock[0])
    if model.family == "sdxl":
        assert torch.equal(prompt.pooled, stock[2])
    else:
        assert prompt.pooled is None


def test_chunks_are_encoded_one_by_one(model):
    first, second = "star " * 75, "a red circle"
    long = model.encode_prompt(first + second)
    short = [model.encode_prompt(text) for text in (first, second)]
    assert torch.allclose(long.embedding, torch.cat([p.embedding for p in short], dim=1), atol=1e-6)
    if long.pooled is not None:
        assert torch.allclose(long.pooled, short[0].pooled, atol=1e-6)


def test_weight_moves_the_embedding_away_from_the_empty_one(model):
    plain, weighted, empty = (model.encode_prompt(text) for text in ("a red star", "a (red:1.5) star", ""))
    expected = plain.embedding.clone()
    expected[:, 2] = empty.embedding[:, 2] + 1.5 * (plain.embedding[:, 2] - empty.embedding[:, 2])
    assert plain.ids == weighted.ids
    assert torch.allclose(weighted.embedding, expected, atol=1e-6)
    assert torch.equal(model.encode_prompt("a (red:1.0) star").embedding, plain.embedding)


def test_phrases_are_found_and_spliced(model):
    text = "a Red  star and a (blue circle:1.2) on the sand"
    phrases = ["red star", "blue CIRCLE"]
    prompt, spans, labels, _ = model.encode_regions(text, phrases)
    plain, plain_spans, _, _ = model.encode_regions(text, phrases, splice=False)
    tokenizer = model.text.encoders[0].tokenizer
    words = [tokenizer(phrase, add_special_tokens=False)["input_ids"] for phrase in phrases]
    assert [[prompt.ids[i] for i in span] for span in spans] == words
    assert spans == plain_spans
    assert plain.embedding.equal(model.encode_prompt(text).embedding)
    for region, span in enumerate(spans, start=1):
        assert all(labels[i] == region for i in span)
    assert int((labels > 0).sum()) == 4
    starts = [n for n, token in enumerate(prompt.ids) if token == tokenizer.bos_token_id]
    assert (labels == 0).nonzero().flatten().tolist() == starts == [*range(0, len(labels), 77)]
    assert len(labels) == prompt.embedding.shape[1]
    local = model.encode_prompt("red star").embedding
    assert torch.allclose(prompt.embedding[:, spans[0]], local[:, [1, 2]], atol=1e-6)
    circle = model.encode_prompt("blue circle").embedding[:, [1, 2]]
    empty = model.encode_prompt("").embedding[:, spans[1]]
    assert torch.allclose(prompt.embedding[:, spans[1]], empty + 1.2 * (circle - empty), atol=1e-6)
    others = [i for i in range(len(labels)) if i not in spans[0] + spans[1]]
    assert torch.equal(prompt.embedding[:, others], plain.embedding[:, others])


def test_repeated_phrases_take_the_next_occurrence(sd1):
    _, spans, _, _ = sd1.encode_regions("a star and a star", ["a star", "a star"])
    assert spans[0] < spans[1]
    with pytest.raises(PromptError, match=r"region 3: phrase 'star' occurs only where another region's"):
        sd1.encode_regions("a star and a star", ["a star", "a star", "star"])


def test_phrase_across_a_chunk_border(sd1):
    _, spans, labels, _ = sd1.encode_regions("a " * 74 + "red star", ["red star"])
    assert spans == [(75, 78)]
    assert labels[75] == labels[78] == 1


def test_missing_phrase_names_region_phrase_prompt_and_remedy(model):
    with pytest.raises(PromptError, match=r"region 2: phrase 'green cross' does not occur") as caught:
        model.encode_regions("a (red:1.2) star", ["red star", "(green:2) cross"])
    assert "'a red star'" in str(caught.value)
    assert "Write the phrase's words into the global prompt" in str(caught.value)


def test_empty_phrase_is_refused(sd1):
    with pytest.raises(PromptError, match=r"region 1: its phrase ' ' is empty"):
        sd1.encode_regions("a star", [" "])


def test_padding_never_completes_a_phrase(model):
    """SD2 and SDXL pad with "!", so "star!" must be found where it stands and not where the padding follows a star."""
    _, spans, _, _ = model.encode_regions("a star! on a star", ["star!"])
    assert spans == [(2, 3)]
    with pytest.raises(PromptError, match="does not occur"):
        model.encode_regions("on a star", ["star!"])


def test_phrase_weight_counts_where_the_prompt_has_none(sd1):
    text = "a red star"
    weighted, _, _, _ = sd1.encode_regions(text, ["(red:1.5) star"])
    plain, spans, _, _ = sd1.encode_regions(text, ["red star"])
    empty = sd1.encode_prompt("").embedding
    place = spans[0][0]
    moved = empty[:, place] + 1.5 * (plain.embedding[:, place] - empty[:, place])
    assert torch.allclose(weighted.embedding[:, place], moved, atol=1e-6)


def test_word_positions_are_all_places_of_every_phrase(model):
    prompt = "a (Red star:1.5), a blue circle and a  red star"
    phrases = ["red  STAR", "(star:2)", "circle", "green", ", a"]
    found, length = model.word_positions(prompt, phrases)
    ids = model.encode_prompt(prompt).ids
    assert length == len(ids)
    assert [len(places) for places in found] == [2, 2, 1, 0, 1]
    for phrase, places in zip(phrases, found):
        own = model.encode_prompt(phrase)
        for place in places:
            assert [ids[position] for position in place] == [own.ids[position] for position in own.content]
    assert found[0] == model.encode_regions(prompt, ["red star", "red star"])[1]
    with pytest.raises(PromptError, match=r"phrase 1 is empty \(''\)"):
        model.word_positions(prompt, [""])


def test_clean_prompt_drops_the_syntax():
    assert clean_prompt(r"a (red:1.2) \(star\)") == "a red (star)"


@pytest.fixture(scope="module")
def every_language(tmp_path_factory):
    """CLIP's tokenizer without merges: it spells any text byte by byte, so it finds whatever a tokenizer can find."""
    from transformers import CLIPTokenizer
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    folder, vocabulary = tmp_path_factory.mktemp("bytes"), ["<|startoftext|>", "<|endoftext|>"]
    vocabulary += [letter + end for letter in bytes_to_unicode().values() for end in ("", "</w>")]
    (folder / "vocab.json").write_text(json.dumps({token: number for number, token in enumerate(vocabulary)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer.from_pretrained(folder, model_max_length=77)


LETTERS = "aB\u00e9e\u0301_4,!' \u718a\u304f\u307e\u0e2b\u0e21\u200d\U0001f43b\u00df"


@settings(deadline=None, max_examples=300)
@given(st.text(LETTERS, min_size=1, max_size=12), st.data())
def test_no_phrase_that_a_tokenizer_finds_is_refused_before_it_is_asked(every_language, prompt, data):
    begin = data.draw(st.integers(0, len(prompt) - 1))
    phrase = data.draw(st.sampled_from([prompt[begin:], prompt[begin : begin + 3], prompt[begin:].swapcase()]))
    tokens = [tokenize(text, every_language, 77) for text in (prompt, phrase)]
    if not tokens[1].content:
        return
    try:
        find_phrases(tokens[0].searchable, [tokens[1].content_ids], special=(-1,))
    except PhraseNotFound:
        return
    assert unplaced(prompt, [phrase]) == {}


def test_a_region_without_words_is_named(model, caplog):
    model.encode_regions("a (red:0) star, and sand", ["red", ",", "star"])
    said = [record.getMessage() for record in caplog.records]
    assert [text.split(":")[0] for text in said] == [
        "region 1 ('red') has no words left",
        "region 2 (',') has no words, only punctuation; write what is, or is to be, inside its mask",
    ]
