"""B0, the global prompt alone: the wanted scene's prompt, no regions (the first row of the paper's Table 3)."""

from __future__ import annotations

from typing import Any

import numpy as np

from ....editing.trajectory import Trajectory
from ..settings import BenchSettings
from ..tasks import EditTask
from .common import guided, regions_of, sample


def anywhere(
    model: Any, frames: np.ndarray, trajectory: Trajectory, task: EditTask, settings: BenchSettings
) -> np.ndarray:
    """The prompt may change every pixel."""
    with guided(model, model.encode_prompt(task.prompt), settings, len(frames)) as denoise:
        return sample(model, denoise, frames, trajectory, settings, task.seed)


def inside_the_masks(
    model: Any, frames: np.ndarray, trajectory: Trajectory, task: EditTask, settings: BenchSettings
) -> np.ndarray:
    """The same under the latent blend: what masks do by themselves, without a word of which phrase belongs where."""
    regions = regions_of(task, settings)
    with guided(model, model.encode_prompt(task.prompt), settings, len(frames)) as denoise:
        return sample(model, denoise, frames, trajectory, settings, task.seed, regions)
