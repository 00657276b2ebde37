"""source_words with a stand-in for ComfyUI's CLIP: which phrases may name things, and where they stand."""

from types import SimpleNamespace

import pytest
import torch

from videograin.hosts.comfyui.layout import source_words
from videograin.hosts.comfyui.unet.prompts import word_positions

from .unet.test_prompts import LENGTH, Clip

PROMPT = "a red cup and a hand"
NODE = "Layout"


def features(length=LENGTH, cross=True):
    return SimpleNamespace(cross=torch.zeros(1, 4, length) if cross else None)


def test_without_names_the_nouns_of_the_prompt_are_taken():
    words = source_words(Clip(), PROMPT, "", features(), word_positions, node=NODE)
    assert words.phrases == ("red cup", "hand")
    assert words.spans == (((2, 3),), ((6,),))


def test_given_names_are_looked_up_wherever_they_occur():
    words = source_words(Clip(), "a Cup on a cup", " cup ,a  cup", features(), word_positions, node=NODE)
    assert words.phrases == ("cup", "a cup")
    assert words.spans == (((2,), (5,)), ((1, 2), (4, 5)))


@pytest.mark.parametrize(
    ("clip", "prompt", "names", "said"),
    [
        (None, PROMPT, "", ""),
        (None, PROMPT, "hand", "clip is not connected"),
        (Clip(), " ", "", "source_prompt is empty"),
    ],
)
def test_what_cannot_be_named_is_not_and_the_log_says_why(caplog, clip, prompt, names, said):
    assert source_words(clip, prompt, names, features(), word_positions, node=NODE) is None
    assert ([r.getMessage() for r in caplog.records] == []) == (said == "")
    assert said in caplog.text
    assert NODE in caplog.text or not said


def test_features_of_old_know_no_words():
    with pytest.raises(ValueError, match=r"before version 0\.3 .*again with collect_features on, or disconnect clip"):
        source_words(Clip(), PROMPT, "", features(cross=False), word_positions, node=NODE)
    assert source_words(None, PROMPT, "", features(cross=False), word_positions, node=NODE) is None


def test_a_prompt_of_another_length_is_refused():
    with pytest.raises(ValueError, match=r"source_prompt has 8 tokens .* inversion had 16; give the same prompt"):
        source_words(Clip(), PROMPT, "", features(16), word_positions, node=NODE)


def test_a_name_that_does_not_occur_is_named():
    with pytest.raises(ValueError, match=r"^names: 'blue cup', 'dog' does not occur in the source prompt 'a red cup"):
        source_words(Clip(), PROMPT, "hand, blue cup, dog", features(), word_positions, node=NODE)
