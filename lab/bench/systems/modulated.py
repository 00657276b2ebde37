"""The method of this package: modulated attention and the latent blend, in one pass (method.md 5 to 10)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ....editing.pipeline import held_steady
from ....editing.trajectory import Trajectory
from ..settings import BenchSettings
from ..tasks import EditTask
from .common import guided, modulation_of, regions_of, sample
from .modulations import PartialModulation


def cross_and_self(
    model: Any, frames: np.ndarray, trajectory: Trajectory, task: EditTask, settings: BenchSettings
) -> np.ndarray:
    """Cross- and self-attention modulated: the product's own edit (the same frames as runner.pipeline.edit_clip)."""
    regions, attention = regions_of(task, settings), settings.attention
    phrases = [region.phrase for region in regions]
    prompt, _, labels, _ = model.encode_regions(task.prompt, phrases, splice=attention.splice)
    modulation = None
    if max(attention.self_strength, attention.cross_strength) > 0:
        wishes = {"size_term": settings.ablation.size_term, "levels": settings.ablation.levels}
        modulation = modulation_of(PartialModulation, regions, labels, settings, finest=trajectory.size, **wishes)
    with guided(model, prompt, settings, len(frames), modulation) as denoise:
        held = held_steady(frames, regions, settings.steady)
        return sample(model, denoise, frames, trajectory, settings, task.seed, regions, steady=held)


def cross_alone(
    model: Any, frames: np.ndarray, trajectory: Trajectory, task: EditTask, settings: BenchSettings
) -> np.ndarray:
    """The same with self-attention as it is (the middle row of the paper's Table 3)."""
    without = replace(settings, attention=replace(settings.attention, self_strength=0.0))
    return cross_and_self(model, frames, trajectory, task, without)
