"""Encoders whose answers are known: a picture's embedding is its mean colour, a word's is a colour's."""

import numpy as np
import pytest

from videograin.measuring.metrics.encoders import Encoder

WORDS = {"red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1), "yellow": (1, 1, 0)}


def mean_colour(frames) -> np.ndarray:
    """The mean RGB of every picture, 0 to 255, over the pixels that are not the fill (black); black itself is grey."""
    found = []
    for frame in frames:
        pixels = frame.reshape(-1, 3).astype(float)
        kept = pixels[pixels.sum(axis=1) > 0]
        found.append(kept.mean(axis=0) if len(kept) else np.ones(3))
    return np.array(found)


def named_colour(texts) -> np.ndarray:
    return np.array([WORDS[text.split()[0].lower()] for text in texts], float)


@pytest.fixture
def colours() -> Encoder:
    return Encoder("mean colour", mean_colour, named_colour, scale=10.0, fill=(0, 0, 0))
