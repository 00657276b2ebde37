"""Do an image encoder and a text encoder speak of the same things? Asked, since nothing in their weights says so.

In ComfyUI a CLIP (text) and a CLIP VISION come over two links from two files. Equal widths prove nothing: the pooled
output of SD 1.x's text encoder is as wide as CLIP-L's image embedding, yet it lacks the text projection and lies in
another space. So the pair is given an exam: plain pictures of eight colours, and their eight names.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from .embeddings import unit

COLOURS = {
    "red": (220, 30, 30),
    "green": (30, 160, 40),
    "blue": (30, 60, 220),
    "yellow": (240, 220, 30),
    "purple": (130, 40, 160),
    "orange": (245, 140, 20),
    "black": (0, 0, 0),
    "white": (255, 255, 255),
}
ENOUGH = 5  # of 8: a blind guesser passes in one case of about 800
SIDE = 224


def why_no_pair(
    pictures: Callable[[Sequence[np.ndarray]], np.ndarray], texts: Callable[[Sequence[str]], np.ndarray]
) -> str:
    """Why the two callables (of an `Encoder`) cannot be one CLIP; "" where they passed.

    Each plain picture is given to the colour word that fits best, after the mean of every row and column of the 8 x 8
    cosines is taken away: one word that is near to all pictures must not win all of them.
    """
    plain = [np.full((SIDE, SIDE, 3), colour, np.uint8) for colour in COLOURS.values()]
    seen, named = pictures(plain), texts([f"a plain {name} background" for name in COLOURS])
    if seen.shape[1:] != named.shape[1:]:
        return (
            f"clip gives {named.shape[-1]} numbers for a text, clip_vision {seen.shape[-1]} for a picture: they are "
            "not of one CLIP"
        )
    right = colours_named(unit(seen) @ unit(named).T)
    if right < ENOUGH:
        return (
            f"clip and clip_vision name {right} of {len(COLOURS)} plain colours alike: they are not of one CLIP, or "
            "clip's output is not projected (that of SD 1.x never is)"
        )
    return ""


def colours_named(cosines: np.ndarray) -> int:
    """How many rows of a square matrix have their largest value on the diagonal, after double centring."""
    centred = cosines - cosines.mean(axis=0) - cosines.mean(axis=1, keepdims=True) + cosines.mean()
    return int((centred.argmax(axis=1) == np.arange(len(centred))).sum())
