"""No editor: the ideal result through the autoencoder, which is the best that any system here could draw."""

from __future__ import annotations

from typing import Any

import numpy as np

from ....editing.pipeline import decode_clip, encode_clip
from ....editing.trajectory import Trajectory
from ..settings import BenchSettings
from ..tasks import EditTask


def edit(model: Any, frames: np.ndarray, trajectory: Trajectory, task: EditTask, settings: BenchSettings) -> np.ndarray:
    """The ideal frames, encoded and decoded: uint8 [F, H, W, 3]."""
    return decode_clip(model, encode_clip(model, task.ideal.frames))
