"""How alike the frames of a clip are to a network: CLIP-F and DINO consistency, from embeddings alone. numpy only."""

from __future__ import annotations

import numpy as np


def unit(embeddings: np.ndarray) -> np.ndarray:
    """Embeddings [..., D] at length 1, float64. ValueError where one is zero or not finite: a broken encoder."""
    embeddings = np.asarray(embeddings, np.float64)
    length = np.linalg.norm(embeddings, axis=-1, keepdims=True)
    if not (np.isfinite(length) & (length > 0)).all():
        raise ValueError("an embedding is zero or not finite; expected a direction; check the encoder's weights")
    return embeddings / length


def adjacent(embeddings: np.ndarray) -> float:
    """Mean cosine between every frame and the next one, for embeddings [F, D]; nan for a single frame.

    With CLIP this is what most papers call CLIP-F, frame consistency or Tem-Con."""
    e = unit(embeddings)
    return float((e[1:] * e[:-1]).sum(axis=-1).mean()) if len(e) > 1 else float("nan")


def all_pairs(embeddings: np.ndarray) -> float:
    """Mean cosine between all pairs of different frames, for embeddings [F, D]; nan for a single frame.

    It falls where a clip drifts slowly, which the neighbours alone do not show. Some papers call this one CLIP-F."""
    e = unit(embeddings)
    if len(e) < 2:
        return float("nan")
    upper = np.triu_indices(len(e), 1)
    return float((e @ e.T)[upper].mean())
