"""The exam that tells one CLIP from two: known answers, and blind ones."""

import numpy as np
import pytest

from videograin.measuring.metrics.encoder_pair import COLOURS, colours_named, why_no_pair


def seen(frames) -> np.ndarray:
    """The mean colour, centred and with a share that all pictures have in common, as CLIP's embeddings do."""
    return np.array([[*(frame.mean(axis=(0, 1)) / 255 - 0.5), 3.0] for frame in frames])


def named(texts) -> np.ndarray:
    colours = [COLOURS[text.split()[2]] for text in texts]
    return np.array([[*(np.array(colour) / 255 - 0.5), 1.0] for colour in colours])


def test_one_space_passes():
    assert why_no_pair(seen, named) == ""


def test_other_widths_are_told():
    why = why_no_pair(seen, lambda texts: named(texts)[:, :3])
    assert why.startswith("clip gives 3 numbers for a text, clip_vision 4 for a picture")


@pytest.mark.parametrize("seed", range(20))
def test_another_space_of_the_same_width_fails(seed):
    turn = np.linalg.qr(np.random.default_rng(seed).normal(size=(64, 64)))[0]

    def wide(embed):
        return lambda items: np.pad(embed(items), ((0, 0), (0, 60)))

    assert why_no_pair(wide(seen), wide(named)) == ""
    why = why_no_pair(wide(seen), lambda texts: wide(named)(texts) @ turn)
    assert "of 8 plain colours alike" in why


def test_centring_forgives_a_word_that_is_near_to_everything():
    cosines = 0.2 + 0.05 * np.eye(8)
    cosines[:, 3] += 0.1  # always the highest
    assert colours_named(cosines) == 8
    assert colours_named(cosines[::-1]) == 0
