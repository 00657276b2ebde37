"""B5, one region after the other (the sequential edits that the paper's appendix A compares with).

Region by region, as with an editor that takes one mask: the prompt names the scene as it is after this region's change,
only this region's mask is edited (latent blend and pixel composite), attention is left as it is. The result is the next
region's source: it is inverted again with that prompt, by the same method. The first pass starts from the shared
inversion. Regions that are kept cost nothing. Re-implemented from the description.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ....attention import Modulation
from ....editing.pipeline import invert_clip
from ....editing.trajectory import Trajectory
from ..settings import BenchSettings
from ..tasks import EditTask
from .common import composited, guided, modulation_of, regions_of, sample


def edit(model: Any, frames: np.ndarray, trajectory: Trajectory, task: EditTask, settings: BenchSettings) -> np.ndarray:
    """The edited frames, uint8 [F, H, W, 3]; between the passes composited if settings.composite says so."""
    return _in_turn(model, frames, trajectory, task, settings, modulated=False)


def edit_modulated(
    model: Any, frames: np.ndarray, trajectory: Trajectory, task: EditTask, settings: BenchSettings
) -> np.ndarray:
    """The same with this package's modulated attention in every pass: that pass's region against all else."""
    return _in_turn(model, frames, trajectory, task, settings, modulated=True)


def _in_turn(
    model: Any,
    frames: np.ndarray,
    trajectory: Trajectory,
    task: EditTask,
    settings: BenchSettings,
    *,
    modulated: bool,
) -> np.ndarray:
    regions, prompts = regions_of(task, settings), task.prompts_in_turn()
    turns = [number for number, region in enumerate(regions) if not region.preserve]
    decoded = frames
    for turn, (number, prompt) in enumerate(zip(turns, prompts)):
        if turn:
            how = {"inversion": settings.inversion, "attention": settings.attention}
            trajectory = invert_clip(model, frames, prompts[turn - 1], steps=settings.sampling.steps, **how)
        # what is kept on top of it stays out of its mask
        mine = [regions[number], *(region for region in regions[number + 1 :] if region.preserve)]
        encoded, modulation = model.encode_prompt(prompt), None
        if modulated:
            phrases = [region.phrase for region in mine]
            encoded, _, labels, _ = model.encode_regions(prompt, phrases, splice=settings.attention.splice)
            modulation = modulation_of(Modulation, mine, labels, settings)
        with guided(model, encoded, settings, len(frames), modulation) as denoise:
            decoded = sample(model, denoise, frames, trajectory, settings, task.seed, mine)
        frames = composited(frames, decoded, mine, settings) if settings.composite.enabled else decoded
    return decoded
