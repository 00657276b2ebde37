"""The layout of a clip from its inversion, and the masks picked from it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..model import Model
from ..pipeline import PipelineError
from ..settings import LayoutSettings
from ..trajectory import Trajectory
from .clip_layout import ClipLayout
from .find import find_layout
from .grow import grow_mask
from .names import Words, words_of


def clip_layout(
    model: Model, frames: np.ndarray, trajectory: Trajectory, settings: LayoutSettings | None = None
) -> ClipLayout:
    """The things of a clip, with names and masks.

    model: as in pipeline.py, the one that inverted. frames: uint8 [F, H, W, 3]; trajectory: their inversion, made with
    ``features``. Raises PipelineError for one without, and for names that its prompt does not have.
    """
    settings = settings or LayoutSettings()
    features = trajectory.features
    if features is None:
        raise PipelineError(
            "the inversion holds no features, in which the layout is found; expected one made with "
            'invert_clip(..., features="half"); invert again'
        )
    return find_layout(
        features,
        frames,
        clusters=settings.clusters,
        bounds=(2, settings.max_clusters),
        scope=settings.scope,
        seed=settings.seed,
        max_things=settings.max_things,
        min_area=settings.min_area,
        gap=settings.gap,
        words=_words(model, trajectory, settings.names),
        smooth=settings.smooth,
    )


def _words(model: Model, trajectory: Trajectory, names: Sequence[str] | None) -> Words | None:
    """The phrases that may name things, with their places; None where the inversion kept no cross-attention."""
    if trajectory.features is None or trajectory.features.cross is None:
        return None
    prompt = trajectory.prompt
    words, _ = words_of(prompt, names or (), lambda phrases: model.word_positions(prompt, phrases))
    if words.absent and names:
        raise PipelineError(
            f"{', '.join(map(repr, words.absent))} does not occur in the prompt of the inversion {prompt!r}; expected "
            "names that stand in it; correct layout.names"
        )
    return words


def picked_mask(layout: ClipLayout, text: str, grow: int = 0) -> Tensor:
    """Everything that ``text`` picks (ClipLayout.pick_together) as one mask, grown by ``grow`` pixels and rounded to 8
    bits: float32 [F, H, W] in [0, 1]. Raises LayoutError, which lists what is there."""
    _, mask = layout.pick_together(text)
    return torch.from_numpy(eight_bits(mask, grow).astype(np.float32) / 255)


def eight_bits(mask: Tensor, grow: int) -> np.ndarray:
    """uint8 [F, H, W] of a mask in [0, 1], grown by ``grow`` pixels."""
    return (grow_mask(mask, grow) * 255).round().to(torch.uint8).numpy()
