"""B4, composed latents (as ComfyUI's ConditioningSetMask with whole-picture areas, or MultiDiffusion, Bar-Tal 2023).

Every region has a prompt of its own ("a red circle on sand") and a prediction of the whole picture by it; at each step
the predictions are put together by the masks, the global prompt's outside all of them, and guided away from the empty
prompt. Attention is left as it is; R regions cost R + 2 network calls a step. Re-implemented from the description.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ....attention.coverage import area_average, visible_parts
from ....editing.trajectory import Trajectory
from ..settings import BenchSettings
from ..tasks import EditTask
from .common import Denoise, regions_of, sample


def weights(masks: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
    """The share of every latent cell that shows the background, region 1, 2, ...: float32 [R + 1, F, h, w]; sums to 1.

    masks: [F, H, W] each, later ones on top."""
    frames = [area_average(visible_parts(torch.stack(one)), size) for one in zip(*masks)]
    return torch.stack(frames, 1)


def composed(predictions: Sequence[Denoise], empty: Denoise, shares: Tensor, guidance: float) -> Denoise:
    """x, sigma -> x0 of the composition. predictions: of the global prompt, region 1, 2, ...; shares: of `weights`."""

    def denoise(x: Tensor, sigma: Tensor, **extra: Any) -> Tensor:
        parts = [share[:, None] * predict(x, sigma) for share, predict in zip(shares, predictions)]
        unguided = empty(x, sigma)
        return unguided + guidance * (torch.stack(parts).sum(0) - unguided)

    return denoise


def edit(model: Any, frames: np.ndarray, trajectory: Trajectory, task: EditTask, settings: BenchSettings) -> np.ndarray:
    """The edited frames, uint8 [F, H, W, 3]."""
    regions = regions_of(task, settings)
    prompts = [task.prompt, *(task.alone(region) for region in task.regions), ""]
    view = {"frames": len(frames), "spacetime": settings.attention.mode, "key_frames": settings.attention.anchors}
    shares = weights([region.mask for region in regions], trajectory.size)
    with ExitStack() as stack:
        each = [stack.enter_context(model.denoiser(model.encode_prompt(text), **view)) for text in prompts]
        denoise = composed(each[:-1], each[-1], shares, settings.sampling.guidance)
        return sample(model, denoise, frames, trajectory, settings, task.seed, regions)
