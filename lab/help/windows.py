"""Help picture of Long Clip Windows: who sees which frames, drawn from the windows themselves."""

from __future__ import annotations

import numpy as np

from ...editing.mask_images import PALETTE
from ...editing.windows import Windows
from ...measuring.pictures.painting import font
from .common import INK, WHITE

TOTAL, SHOWN = 32, Windows(frames=14, overlap=4, anchors=2)
CELL, GAP, LEFT, ROW = 20, 3, 84, 30
OWN, ANCHOR, EMPTY, FAINT = PALETTE[1], PALETTE[0], (236, 236, 232), (110, 110, 110)


def long_clip_windows() -> np.ndarray:
    """A row per window over the frames of a clip: own frames darker with their weight, anchors ringed."""
    from PIL import Image, ImageDraw

    windows = SHOWN.split(TOTAL)
    everywhere = set.intersection(*(set(window.indices) for window in windows))
    top, width = 44, LEFT + TOTAL * (CELL + GAP) + 8
    page = Image.new("RGB", (width, top + len(windows) * ROW + 84), WHITE)
    ink, text, small = ImageDraw.Draw(page), font(14), font(11)
    widgets = f"frames {SHOWN.frames}, overlap {SHOWN.overlap}, anchors {SHOWN.anchors}"
    ink.text((LEFT, 10), f"A clip of {TOTAL} frames; widgets: {widgets}", INK, text, anchor="lm")

    def cell(x: int, y: int, colour: tuple, ringed: bool) -> None:
        ink.rectangle((x, y, x + CELL, y + CELL), fill=colour)
        if ringed:
            ink.rectangle((x - 1, y - 1, x + CELL + 1, y + CELL + 1), outline=ANCHOR, width=3)

    for frame in range(TOTAL):
        middle = LEFT + frame * (CELL + GAP) + CELL // 2
        ink.text((middle, top - 12), str(frame), FAINT if frame not in everywhere else ANCHOR, small, anchor="mm")
    for row, window in enumerate(windows):
        y, weights = top + row * ROW, dict(zip(window.indices, window.weights))
        ink.text((2, y + CELL // 2), f"window {row + 1}", INK, text, anchor="lm")
        for frame in range(TOTAL):
            weight = weights.get(frame)
            colour = EMPTY if weight is None else _between(WHITE, OWN, weight)
            cell(LEFT + frame * (CELL + GAP), y, colour, weight is not None and frame in everywhere)
    y = top + len(windows) * ROW + 12
    legend = [
        (_between(WHITE, OWN, 1.0), False, "its own frame"),
        (_between(WHITE, OWN, 0.5), False, "shared with a neighbour: mixed"),
        (WHITE, True, "anchor of another window: seen, not counted"),
        (EMPTY, False, "not seen"),
    ]
    x = LEFT
    for n, (colour, ringed, words) in enumerate(legend):
        if n == 2:
            x, y = LEFT, y + ROW
        cell(x, y, colour, ringed)
        ink.text((x + CELL + 10, y + CELL // 2), words, INK, text, anchor="lm")
        x += CELL + 10 + round(text.getlength(words)) + 28
    return np.asarray(page)


def _between(low: tuple, high: tuple, share: float) -> tuple[int, ...]:
    return tuple(round(a + (b - a) * share) for a, b in zip(low, high))
