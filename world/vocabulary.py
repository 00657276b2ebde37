"""The closed language of the rendered world: its shapes, colours, backgrounds and captions."""

from __future__ import annotations

from collections.abc import Sequence

SHAPES = ("circle", "square", "triangle", "cross")

MOTIONS = ("apart", "touching", "crossing")
"""How the two objects of a clip move (clips.py)."""

#: RGB, 0..255. Far from each other and from every background, so that the reader never has to guess.
COLOURS = {
    "red": (214, 38, 42),
    "green": (28, 160, 74),
    "blue": (38, 84, 224),
    "yellow": (246, 214, 36),
    "purple": (150, 52, 196),
    "white": (246, 246, 246),
}

#: The two extreme colours of each background's texture (RGB, 0..255).
BACKGROUNDS = {
    "sand": ((206, 176, 130), (180, 150, 108)),
    "brick": ((138, 92, 78), (164, 132, 116)),
    "meadow": ((116, 138, 84), (92, 114, 70)),
    "night": ((30, 34, 56), (48, 54, 80)),
}

#: Words that captions may use, plus a few that a wider world will need, so that the tokenizer need not change.
WORDS = (
    "a", "and", "on", "with", "in", "front", "of", "the", "two", "three", "left", "right", "small", "large",
    *SHAPES, *COLOURS, *BACKGROUNDS, "star", "heart", "orange", "black", "water", "snow",
)  # fmt: skip

#: The words that the shipped model's captions used; anything else means nothing to it.
TRAINED_WORDS = ("a", "and", "on", *SHAPES, *COLOURS, *BACKGROUNDS)

COLOUR_NAMES = tuple(COLOURS)
BACKGROUND_NAMES = tuple(BACKGROUNDS)


def phrase(colour: int, shape: int, part: tuple[int, int] | None = None) -> str:
    """`a red circle`, or `a red circle with a white cross` when `part` gives (colour, shape) of a part on it."""
    text = f"a {COLOUR_NAMES[colour]} {SHAPES[shape]}"
    return text if part is None else f"{text} with {phrase(*part)}"


def caption(phrases: Sequence[str], background: int | str) -> str:
    """`a red circle and a blue square on sand`; without objects just `sand`."""
    place = background if isinstance(background, str) else BACKGROUND_NAMES[background]
    return f"{' and '.join(phrases)} on {place}" if phrases else place
