"""Which pixels of label pictures belong to one label: by its number, or by its colour.

A colour is matched with a tolerance, since video and JPEG change it, and of several flat colours within the tolerance
the nearest one alone is taken: dark labels are as near to black, and to each other, as compression moves any of them.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from .mask_values import MOST_IDS, flat

TOLERANCE = 40  # per channel, of 255: what yuv420p video leaves of a flat colour
_SPREAD = 10  # flat colours of a lossy picture that differ by no more are one colour
_FEW = 4  # colours that no flat part of a picture has: small objects; more of them are borders or compression
_MOST_VALUES = 4096  # of one source: more are a photograph's, and the most frequent serve

Colour = tuple[int, int, int]


@dataclass
class FlatColours:
    """The flat colours near ``wanted`` in the pictures of a source (``add``), and which of them is meant.

    smeared: whether compression has changed colours in any of them.
    """

    wanted: Colour
    smeared: bool = False
    _counts: Counter[int] = field(default_factory=Counter)
    _elsewhere: Counter[int] = field(default_factory=Counter)

    def add(self, picture: np.ndarray) -> None:
        """Look at one more picture uint8 [H, W, 3]."""
        wanted = np.array(self.wanted)
        codes = _codes(picture)
        every, whole = np.unique(codes), np.unique(codes[flat(picture, 0)])
        # A lossy picture stays one in whatever format it is saved again.
        self.smeared |= len(every) - len(whole) > max(_FEW, len(whole))
        codes, counts = np.unique(codes[flat(picture, 6 if self.smeared else 0)], return_counts=True)
        near = np.abs(_colours(codes) - wanted).max(axis=1, initial=0) <= TOLERANCE
        self._counts.update(dict(zip(codes[near].tolist(), counts[near].tolist())))
        self._elsewhere.update(dict(zip(codes[~near].tolist(), counts[~near].tolist())))
        exact = int((picture == wanted.astype(picture.dtype)).all(axis=2).sum())
        if exact:
            self._counts[int(_codes(wanted[None])[0])] += exact
        for counter in (self._counts, self._elsewhere):
            if len(counter) > _MOST_VALUES:
                kept = counter.most_common(_MOST_VALUES)
                counter.clear()
                counter.update(dict(kept))

    def near(self) -> list[Colour]:
        """The flat colours within the tolerance, the one that is meant first."""
        found = self._merged(self._counts)
        return sorted(found, key=lambda colour: max(abs(a - b) for a, b in zip(colour, self.wanted)))

    def is_another(self) -> bool:
        """Whether the flat colour that is meant is further from ``wanted`` than compression moves one."""
        near = self.near()
        return bool(near) and max(abs(a - b) for a, b in zip(near[0], self.wanted)) > _SPREAD // 2

    def others(self, most: int = 6) -> list[Colour]:
        """The most frequent flat colours outside of the tolerance, for a message."""
        return self._merged(self._elsewhere)[:most]

    def _merged(self, counter: Counter[int]) -> list[Colour]:
        found: list[Colour] = []
        for code, _ in counter.most_common():
            colour = (code >> 16, code >> 8 & 255, code & 255)
            apart = (max(abs(a - b) for a, b in zip(colour, other)) for other in found)
            if not self.smeared or all(distance > _SPREAD for distance in apart):
                found.append(colour)
        return found


def of_colour(picture: np.ndarray, wanted: Colour, near: list[Colour]) -> np.ndarray:
    """Where a picture uint8 [H, W, 3] has the colour ``wanted``: float32 [H, W], 0 or 1.

    near: the flat colours within the tolerance; the first is the one meant, the others' pixels are theirs.
    """
    distance = _distance(picture, wanted)
    selected = distance <= TOLERANCE
    if len(near) > 1:
        own = _distance(picture, near[0])
        for other in near[1:]:
            selected &= own < _distance(picture, other)
    return selected.astype(np.float32)


def is_smeared(values: set[int]) -> bool:
    """Whether a lossy source has more values than labels would have."""
    return len(values) > MOST_IDS


def hex_of(colour: Colour) -> str:
    """``#rrggbb``."""
    return "#{:02x}{:02x}{:02x}".format(*colour)


def _distance(picture: np.ndarray, colour: Colour) -> np.ndarray:
    return np.abs(picture.astype(np.int32) - np.array(colour)).max(axis=2)


def _codes(colours: np.ndarray) -> np.ndarray:
    wide = colours.astype(np.int64)
    return wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]


def _colours(codes: np.ndarray) -> np.ndarray:
    return np.stack([codes >> 16, codes >> 8 & 255, codes & 255], axis=-1)
