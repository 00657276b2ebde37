"""B3, hard cross-attention masks (in the manner of DenseDiffusion's layout control, Kim et al. 2023, made absolute).

A region's words are visible in its mask alone: a query of region k sees the tokens of its own phrase and those of no
phrase ("and", "on sand", start, end, padding), one of the background only the latter. In the conditional half, at every
level and step; self-attention stays as it is. Re-implemented from the description.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ....attention import Modulation, Schedule
from ....editing.trajectory import Trajectory
from ..settings import BenchSettings
from ..tasks import EditTask
from .common import guided, modulation_of, regions_of, sample


@dataclass(frozen=True, eq=False)
class HardMasks(Modulation):
    """Stands where a Modulation does, and masks cross-attention instead of modulating it."""

    def cross_attention(self, q, k, v, *, heads, grid, roles, t, frames, plain=None, text_labels=None) -> Tensor:
        """As Modulation.cross_attention: q [chunk * F, h * w, heads * d], k and v [chunk * F, L, heads * d]."""
        seen = visible_words(self.label_map.labels(grid), self.text_labels).to(q.device)
        parts = []
        for role, *part in zip(roles, *(x.chunk(len(roles)) for x in (q, k, v))):
            split = (x.unflatten(2, (heads, -1)).transpose(1, 2) for x in part)
            mask = seen[:, None] if role == "cond" else None
            parts.append(F.scaled_dot_product_attention(*split, attn_mask=mask).transpose(1, 2).flatten(2))
        return torch.cat(parts)


def visible_words(labels: Tensor, words: Tensor) -> Tensor:
    """Which tokens each query sees: bool [F, N, L] from labels int64 [F, N] (0 = background, 1..R) and words int64 [L]
    (1..R, -1 = of no region)."""
    return (words == -1) | (labels[..., None] == words)


def edit(model: Any, frames: np.ndarray, trajectory: Trajectory, task: EditTask, settings: BenchSettings) -> np.ndarray:
    """The edited frames, uint8 [F, H, W, 3]."""
    regions = regions_of(task, settings)
    phrases = [region.phrase for region in regions]
    prompt, _, labels, _ = model.encode_regions(task.prompt, phrases, splice=settings.attention.splice)
    masks = modulation_of(HardMasks, regions, labels, settings, self_schedule=Schedule(0.0))
    with guided(model, prompt, settings, len(frames), masks) as denoise:
        return sample(model, denoise, frames, trajectory, settings, task.seed, regions)
