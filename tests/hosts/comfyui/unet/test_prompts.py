"""encode_regions with a stand-in for ComfyUI's CLIP (the real one is used in tests/host): layout, weights, errors."""

import re

import pytest
import torch

from videograin.editing.prompt_text import PromptError, weighted_words
from videograin.hosts.comfyui.unet.prompts import encode_regions, word_positions

LENGTH = 8  # tokens a chunk, start and end included
START, END = 1, 2


class Clip:
    """Whole words, chunks of 6; each embedding depends on the word, its place and all words before it."""

    def __init__(self, names="l", entries=1, pad=END):
        self.names, self.entries, self.pad, self.words = names, entries, pad, {}

    def tokenize(self, text, return_word_ids=False):
        words = [(part, w) for word, w in weighted_words(text) for part in re.findall(r"\w+|[^\w\s]", word.lower())]
        pairs = [(self.words.setdefault(word, 10 + len(self.words)), weight) for word, weight in words]
        cut = [pairs[i : i + LENGTH - 2] for i in range(0, len(pairs), LENGTH - 2)] or [[]]
        chunks = []
        for part in cut:
            body = [(START, 1.0, 0), *((token, weight, 1) for token, weight in part), (END, 1.0, 0)]
            body += [(self.pad, 1.0, 0)] * (LENGTH - len(body))
            chunks.append([item if return_word_ids else item[:2] for item in body])
        return dict.fromkeys(self.names, chunks)

    def encode_from_tokens_scheduled(self, tokens):
        chunks = tokens[self.names[0]]
        assert all(len(item) == 2 for chunk in chunks for item in chunk)
        entries = range(self.entries)
        return [[self._encode(chunks, entry), {"pooled_output": torch.tensor([[entry]])}] for entry in entries]

    def _encode(self, chunks, entry):
        rows = []
        for chunk in chunks:
            empty = [START, END] + [self.pad] * (LENGTH - 2)
            plain, nothing = (self._rows(ids, entry) for ids in ([token for token, _ in chunk], empty))
            weights = torch.tensor([weight for _, weight in chunk])[:, None]
            rows.append(nothing + weights * (plain - nothing))
        return torch.cat(rows)[None]

    def _rows(self, ids, entry):
        ids = torch.tensor(ids, dtype=torch.float64)
        places = torch.arange(len(ids), dtype=torch.float64)
        return torch.stack([torch.sin(ids + entry), torch.cos(0.3 * ids.cumsum(0)), torch.sin(places)], -1)


def test_the_span_holds_the_phrases_own_encoding_with_the_prompts_weights():
    clip = Clip()
    (entry,), spans, labels, used = encode_regions(clip, "a (Red cup:1.5) on grass", ["red (cup:2)"], node="Patch")
    plain = clip.encode_from_tokens_scheduled(clip.tokenize("a (red cup:1.5) on grass"))[0][0]
    own = clip.encode_from_tokens_scheduled(clip.tokenize("red cup"))[0][0]
    empty = clip.encode_from_tokens_scheduled(clip.tokenize(""))[0][0]
    assert spans == [(2, 3)]
    assert labels.tolist() == [0, -1, 1, 1, -1, -1, -1, -1]
    assert torch.allclose(entry[0][:, 2:4], empty[:, 2:4] + 1.5 * (own[:, 1:3] - empty[:, 2:4]))
    assert torch.equal(entry[0][:, labels < 0], plain[:, labels < 0])
    assert used == "a (Red cup:1.5) on grass"


def test_a_phrase_over_two_chunks_and_every_entry():
    clip = Clip(entries=3)
    prompt = "one two three four five red (cup:0.5) on grass"
    entries, spans, labels, _ = encode_regions(clip, prompt, ["red cup"], node="Patch")
    own, empty = (clip.encode_from_tokens_scheduled(clip.tokenize(text)) for text in ("red cup", ""))
    assert spans == [(6, 9)]  # place 6 of the first chunk, place 1 of the second
    assert labels.shape == (16,)
    for index, (cond, extra) in enumerate(entries):
        nothing = empty[index][0][0, 1]
        assert torch.allclose(cond[0, 6], own[index][0][0, 1])
        assert torch.allclose(cond[0, 9], nothing + 0.5 * (own[index][0][0, 2] - nothing))
        assert extra["pooled_output"].item() == index


def test_padding_that_is_a_word_is_no_word():
    clip = Clip(pad=10)  # the first word seen
    clip.tokenize("cup")
    with pytest.raises(PromptError, match="region 1: phrase 'cup cup' does not occur"):
        encode_regions(clip, "a cup", ["cup cup"], node="Patch")


def test_unsplit_it_is_the_plain_encoding():
    clip = Clip()
    text = "a (red cup:1.5) on grass"
    plain = clip.encode_from_tokens_scheduled(clip.tokenize(text))[0][0]
    for phrases, splice in ((["red cup"], False), ([], True)):
        (entry,), _, labels, _ = encode_regions(clip, text, phrases, splice=splice, node="Patch")
        assert torch.equal(entry[0], plain)
        assert labels.max() == (1 if phrases else -1)


def test_errors_name_node_region_phrase_and_prompt():
    with pytest.raises(PromptError, match=r"^Patch: region 2: phrase 'hat' does not occur in the global prompt 'a c"):
        encode_regions(Clip(), "a cup", ["cup", "hat"], node="Patch")
    with pytest.raises(PromptError, match=r"^Patch: region 2: phrase 'cup' occurs only where another region's phrase"):
        encode_regions(Clip(), "a cup", ["a cup", "cup"], node="Patch")
    with pytest.raises(PromptError, match=r"^Patch: region 1: its phrase '' is empty"):
        encode_regions(Clip(), "a cup", [""], node="Patch")
    with pytest.raises(PromptError, match=r"^Patch: clip: supports the text encoders of SD1.x.* got t5xxl \(Clip\)"):
        encode_regions(Clip(["t5xxl"]), "a cup", ["cup"], node="Patch")
    with pytest.raises(PromptError, match=r"^Patch: clip is empty"):
        encode_regions(None, "a cup", ["cup"], node="Patch")
    with pytest.raises(ValueError, match="missing is 'guess'; expected error or append"):
        encode_regions(Clip(), "a cup", ["cup"], missing="guess", node="Patch")


def test_other_text_encoders_do_for_a_prompt_without_phrases():
    entries, _, labels, _ = encode_regions(Clip(["t5xxl"]), "a cup", [], node="Patch")
    assert entries[0][0].shape[1] == len(labels) == LENGTH


def test_appending_keeps_the_order_and_what_stands_there_already():
    clip = Clip()
    phrases = ["a hat", "cup", "a long blue hat", "a hat"]
    _, spans, labels, used = encode_regions(clip, "a cup and a hat,", phrases, missing="append", node="Patch")
    assert used == "a cup and a hat, a long blue hat, a hat"
    assert spans[1] == (2,)
    assert sorted(set(labels.tolist())) == [-1, 0, 1, 2, 3, 4]


def test_word_positions_are_all_places_of_every_phrase():
    prompt = "a (Red cup:1.5), a hat and a  red cup"  # a red cup , a hat | and a red cup
    found, length = word_positions(Clip(), prompt, ["red  CUP", "(cup:2)", "a", "hat", "glove", ", a"])
    assert found == [[(2, 3), (11, 12)], [(3,), (12,)], [(1,), (5,), (10,)], [(6,)], [], [(4, 5)]]
    assert length == 2 * LENGTH
    assert word_positions(Clip(), prompt, []) == ([], 2 * LENGTH)
    assert word_positions(Clip(), "one two three four five red cup", ["red cup"])[0] == [[(6, 9)]]  # over the seam


def test_word_positions_agree_with_the_spans_of_regions():
    clip, prompt = Clip(), "a red cup and a red cup in a hat"
    found, length = word_positions(clip, prompt, ["red cup", "hat"])
    _, spans, labels, _ = encode_regions(clip, prompt, ["red cup", "red cup", "hat"], node="Patch")
    assert [*found[0], *found[1]] == spans
    assert length == len(labels)


def test_word_positions_say_what_is_wrong():
    with pytest.raises(PromptError, match=r"phrase 2 is empty \(' '\); give words of the prompt 'a cup'"):
        word_positions(Clip(), "a cup", ["cup", " "])
    with pytest.raises(PromptError, match=r"supports the text encoders of SD1.x.* got t5xxl"):
        word_positions(Clip(["t5xxl"]), "a cup", ["cup"])
    with pytest.raises(PromptError, match=r"clip is empty"):
        word_positions(None, "a cup", ["cup"])


@pytest.mark.parametrize("splice", [True, False])
def test_a_region_whose_words_weigh_nothing_is_named(splice, caplog):
    prompt = "a (red cup:0) and a (blue:0) plate"
    encode_regions(Clip(), prompt, ["red cup", "blue plate"], splice=splice, node="Patch")
    assert [record.getMessage() for record in caplog.records] == [
        "Patch: region 1 ('red cup') has no words left: all of them have the weight 0; give one of them another weight."
    ]


def test_a_region_of_punctuation_alone_is_named(caplog):
    encode_regions(Clip(), "a cup, 3 plates!", [",", "3", "cup"], node="Patch")
    assert [record.getMessage() for record in caplog.records] == [
        "Patch: region 1 (',') has no words, only punctuation; write what is, or is to be, inside its mask."
    ]
