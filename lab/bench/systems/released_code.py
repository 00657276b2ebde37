"""B1, the paper's formula as its released code runs it. Re-implemented from its description; none of it is copied.

Differences from the method of this package, which follows the paper (method.md 4, 5, 10):
- Self-attention is modulated in the unconditional half alone, cross-attention in the conditional one.
- The finest level is not modulated, since the logits of a whole level are held in memory.
- In self-attention the background matches nothing, not even itself, which flattens its attention.
- The blend puts the source's clean latent with fresh noise outside a hard mask, at the level the step started from,
  while the edit has already reached the next one; not the latent of the inversion.
- Frames leave the decoder as they are: no pixel composite.
Regions, prompts, guidance and the order of frames in attention are the benchmark's.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ....editing.pipeline import decode_clip
from ....editing.samplers import sample_euler
from ....editing.trajectory import Trajectory
from ..settings import BenchSettings
from ..tasks import EditTask
from .common import Denoise, areas_in, guided, modulation_of, regions_of
from .modulations import PartialModulation

#: The paper's schedule (15 of 50 steps); the defaults of this package may move away from it.
PAPER = {"self_strength": 0.3, "cross_strength": 1.0, "power": 5.0, "start": 0.0, "end": 0.3}


def edit(model: Any, frames: np.ndarray, trajectory: Trajectory, task: EditTask, settings: BenchSettings) -> np.ndarray:
    """The edited frames, uint8 [F, H, W, 3], with the paper's schedule."""
    paper = replace(settings, attention=replace(settings.attention, **PAPER))
    return edit_scheduled(model, frames, trajectory, task, paper)


@torch.no_grad()
def edit_scheduled(
    model: Any, frames: np.ndarray, trajectory: Trajectory, task: EditTask, settings: BenchSettings
) -> np.ndarray:
    """The same with the settings' schedule."""
    regions = regions_of(task, settings)
    phrases = [region.phrase for region in regions]
    prompt, _, labels, _ = model.encode_regions(task.prompt, phrases, splice=settings.attention.splice)
    modulation = modulation_of(
        PartialModulation,
        regions,
        labels,
        settings,
        self_halves="uncond",
        cross_halves="cond",
        background="paper",
        levels="coarse",
        finest=trajectory.size,
        background_matches=False,
    )
    mask = areas_in(regions, frames).at_latent(trajectory.size, 0.0)[:, None] if settings.blend.enabled else None
    sigmas = model.sigmas(settings.sampling.steps)
    generator = torch.Generator().manual_seed(task.seed)
    with guided(model, prompt, settings, len(frames), modulation) as denoise:
        latents = _denoise(denoise, trajectory.at(float(sigmas[0])), sigmas, trajectory.clean, mask, generator)
    return decode_clip(model, latents)


def _denoise(
    denoise: Denoise, x: Tensor, sigmas: Tensor, clean: Tensor, mask: Tensor | None, generator: torch.Generator
) -> Tensor:
    """DDIM with the blend after every step. x, clean: [F, C, h, w]; mask: [F, 1, h, w], 1 = edited, or None."""
    for step in range(len(sigmas) - 1):
        here, there = sigmas[step], sigmas[step + 1]
        x = sample_euler(denoise, x, sigmas[step : step + 2])
        if mask is not None:
            noise = torch.randn(clean.shape, generator=generator)
            noised = (clean + here * noise) / (1 + here**2).sqrt()  # z at the level before, where x is one further on
            x = torch.lerp(noised * (1 + there**2).sqrt(), x, mask)
    return x
