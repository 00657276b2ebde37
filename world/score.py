"""How right an edit of the rendered world is: colour and shape of every object in every frame, read from pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .reader import read_region


@dataclass(frozen=True)
class Score:
    """Judged by the reader over all frames of all regions. colour, object: shares with the right colour, and with the
    right colour and shape; leak: share that shows another region's colour; count: how many were judged."""

    colour: float
    object: float
    leak: float
    count: int


def score(frames: np.ndarray, masks: np.ndarray, objects: Sequence[tuple[int, int]]) -> list[Score]:
    """One Score per region. frames: uint8 [F, H, W, 3]; masks: bool [K, F, H, W]."""
    scores = []
    for k, (colour, shape) in enumerate(objects):
        others = {c for c, _ in objects} - {colour}
        seen = [read_region(frame, mask) for frame, mask in zip(frames, masks[k])]
        scores.append(
            Score(
                colour=sum(s.colour == colour for s in seen) / len(seen),
                object=sum((s.colour, s.shape) == (colour, shape) for s in seen) / len(seen),
                leak=sum(s.colour in others for s in seen) / len(seen),
                count=len(seen),
            )
        )
    return scores


def pooled(scores: Sequence[Score]) -> Score:
    """Several scores as one, every judged frame counting the same."""
    count = sum(s.count for s in scores)
    return Score(*(sum(getattr(s, f) * s.count for s in scores) / count for f in ("colour", "object", "leak")), count)
