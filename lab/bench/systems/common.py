"""What every system of the benchmark does alike, so that they differ only in what their files say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ....attention import Modulation
from ....editing.composite import composite
from ....editing.motion.clip_motion import clip_motion
from ....editing.motion.fill import fill_regions
from ....editing.pipeline import chained_sampler, decode_clip, starting_noise
from ....editing.region_modulation import build_modulation
from ....editing.regions import Areas, Region, areas, frame_masks
from ....editing.steady import Steady
from ....editing.trajectory import Trajectory
from ..mask_damage import changed_masks
from ..settings import BenchSettings
from ..tasks import EditTask
from .labelling import label_map_of

Denoise = Callable[..., Tensor]
"""x [F, C, h, w], sigma -> x0, as editing's samplers call it."""


def regions_of(task: EditTask, settings: BenchSettings) -> list[Region]:
    """The task's regions, their masks changed as settings.ablation.masks says, drawn anew for every clip and seed.

    Changed masks are mended by the motion before anything else sees them, as in the product, unless steady is off.
    """
    draw = 1_000 * task.spec.seed + task.seed
    masks = changed_masks([region.mask for region in task.regions], settings.ablation.masks, draw)
    regions = [Region(r.phrase, mask, preserve=r.keep) for r, mask in zip(task.regions, masks)]
    if settings.ablation.masks == "exact" or not settings.steady.enabled:
        return regions
    frames = task.clip.frames
    return fill_regions(regions, masks, clip_motion(frames, masks), frames)[0]


def areas_in(regions: Sequence[Region], frames: np.ndarray) -> Areas:
    """Where the edit may change these frames, uint8 [F, H, W, 3]."""
    return areas(regions, frames.shape[1:3], len(frames))


def composited(
    frames: np.ndarray, decoded: np.ndarray, regions: Sequence[Region], settings: BenchSettings
) -> np.ndarray:
    """The decoded frames with the pixels of `frames` outside the regions: uint8 [F, H, W, 3] all."""
    within, border = areas_in(regions, frames), settings.composite
    return composite(frames, decoded, within.edited, dilate=border.dilate, feather=border.feather, keep=within.kept)


def modulation_of(
    kind: type[Modulation], regions: Sequence[Region], labels: Tensor, settings: BenchSettings, **more: Any
) -> Modulation:
    """A Modulation of class `kind` with these settings; more: replaces or adds fields."""
    attention, frames = settings.attention, len(regions[0].mask)
    masks = frame_masks(regions, frames)
    return build_modulation(
        masks,
        labels,
        attention,
        [region.strength for region in regions],
        kind=kind,
        label_map=lambda masks: label_map_of(masks, settings.ablation.labels),
        **more,
    )


def guided(model: Any, prompt: Any, settings: BenchSettings, frames: int, modulation: Modulation | None = None) -> Any:
    """The denoiser of one encoded prompt at the settings' guidance and space-time attention, empty negative prompt."""
    guidance = settings.sampling.guidance
    return model.denoiser(
        prompt,
        frames=frames,
        negative=model.encode_prompt("") if guidance != 1 else None,
        guidance=guidance,
        spacetime=settings.attention.mode,
        key_frames=settings.attention.anchors,
        modulation=modulation,
    )


@torch.no_grad()
def sample(
    model: Any,
    denoise: Denoise,
    frames: np.ndarray,
    trajectory: Trajectory,
    settings: BenchSettings,
    seed: int,
    regions: Sequence[Region] = (),
    *,
    steady: Steady | None = None,
) -> np.ndarray:
    """From the inverted noise to decoded frames uint8 [F, H, W, 3]. With regions, and settings.blend, everything
    outside them is held on the inversion's trajectory at every step; without, nothing is. steady: holds what is drawn
    steady over time, the decoded pixels too."""
    sampling = replace(settings.sampling, seed=seed)
    sigmas = model.sigmas(sampling.steps)
    within = areas_in(regions, frames) if regions else None
    hooks = [] if steady is None else steady.hooks(trajectory.size, settings.steady, model.levels.t)
    sampler, _ = chained_sampler(model, sampling, settings.blend, trajectory, within, hooks)
    noise = starting_noise(trajectory, float(sigmas[0]), within, sampling, model.levels)
    decoded = decode_clip(model, sampler(denoise, noise, sigmas))
    return decoded if steady is None else steady.pictures(frames, decoded, settings.steady, settings.composite.dilate)
