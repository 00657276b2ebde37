"""How well frames fit words: CLIP-T and what is made of it. numpy only; the encoders give the embeddings."""

from __future__ import annotations

import numpy as np

from .consistency import unit


def text_alignment(frames: np.ndarray, text: np.ndarray) -> float:
    """CLIP-T: mean cosine between every frame's embedding [F, D] and the prompt's [D] of the same CLIP; in [-1, 1].
    ValueError where the widths differ, as those of different models do."""
    frames, text = np.asarray(frames), np.asarray(text)
    if text.shape != frames.shape[-1:]:
        raise ValueError(
            f"the prompt's embedding is {list(text.shape)}, a frame's {list(frames.shape[-1:])}; expected one width; "
            "take both from one CLIP"
        )
    return float((unit(frames) @ unit(text)).mean())


def q_edit(clip_t: float, warp_error: float) -> float:
    """Q-edit = CLIP-T / Warp-Err (FLATTEN's S_edit, the VideoGrain paper's Q-edit), both at one scale, so that the
    scale cancels. inf for a warp error of 0: a clip that stands still has no meaningful quotient."""
    return clip_t / warp_error if warp_error else float("inf")
