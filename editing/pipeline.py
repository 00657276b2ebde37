"""An edit in memory: frames in, frames out; no files, no printing, no command line.

The steps of method.md 2 as small functions that hand each other plain values::

    frames -> encode_clip -> invert_clip -> Trajectory -> edit_clip -> EditResult -> frames

``model`` is what a host's ``load_model`` returns (`Model` in editing/model.py says what is asked of it), ``progress``
shows stages or is None for silence. The runner puts files round these functions, its demo a rendered world.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..attention import Levels
from .attention_features import FeatureCollector
from .blend import blend as blended
from .checks import MODEL_REMEDY, check_finite, check_latents, frames_from
from .composite import composite as composited
from .doubts import doubts
from .fields import show
from .fingerprint import frames_digest
from .inversion import invert
from .model import Model, Progress, stage
from .motion.clip_motion import clip_motion
from .motion.value import Motion
from .provenance import Provenance, differences, dtype_name
from .region_modulation import build_modulation, modulated_steps
from .regions import Areas, Region, areas, frame_masks, sized_masks
from .run_doubts import prediction_doubt
from .samplers import SAMPLERS
from .settings import (
    AttentionSettings,
    BlendSettings,
    CompositeSettings,
    InversionSettings,
    SamplingSettings,
    SteadySettings,
)
from .steady import Steady
from .step_hooks import StepHook, hooked
from .trajectory import Trajectory, TrajectoryError
from .windows import Windows

BATCH = 4  # frames that go through the VAE at once: keeps its memory flat and gives the progress bar its steps


log = logging.getLogger(__name__)


class PipelineError(ValueError):
    """The arguments do not fit each other. The text names both sides and the remedy."""


@dataclass(frozen=True)
class EditResult:
    """frames: the finished edit, uint8 [F, H, W, 3]; decoded: as decoded, before all work on pixels; latents: float32
    [F, C, h, w]; area: float32 [F, H, W], 1 where the edit was allowed, or None without regions; blend_mask: what the
    latent blend used, float32 [F, h, w], or None; spans: the token positions of each phrase; notes: warnings;
    modulated_steps: in how many steps the attention was modulated; keep: float32 [F, H, W], 1 where a preserved region
    is on top (bit-identical to the source in ``frames`` where the composite is on), or None without regions; motion:
    what a steady edit was held along, or None."""

    frames: np.ndarray
    decoded: np.ndarray
    latents: Tensor
    area: Tensor | None
    blend_mask: Tensor | None
    spans: tuple[tuple[int, ...], ...]
    notes: tuple[str, ...]
    modulated_steps: int = 0
    keep: Tensor | None = None
    motion: Motion | None = None


def check_frames(model: Model, frames: np.ndarray) -> None:
    """Raise PipelineError unless frames are uint8 [F, H, W, 3] with sides the model's VAE can halve evenly."""
    if not (isinstance(frames, np.ndarray) and frames.dtype == np.uint8 and frames.ndim == 4 and frames.shape[3] == 3):
        came = f"{getattr(frames, 'dtype', type(frames).__name__)} {list(getattr(frames, 'shape', ()))}"
        raise PipelineError(f"the frames are {came}; expected uint8 [frames, height, width, 3] in RGB; convert them")
    if len(frames) == 0:
        raise PipelineError("the clip has 0 frames; expected at least one; choose another range")
    height, width, unit = frames.shape[1], frames.shape[2], model.geometry.cell
    if height % unit or width % unit:
        raise PipelineError(
            f"the frames are {width} x {height} pixels; expected multiples of {unit} (one latent cell); "
            f"use e.g. {max(width // unit, 1) * unit} x {max(height // unit, 1) * unit}"
        )


@torch.no_grad()
def encode_clip(model: Model, frames: np.ndarray, *, progress: Progress | None = None) -> Tensor:
    """frames: uint8 [F, H, W, 3], sides multiples of ``model.geometry.cell`` -> latents float32 [F, C, h, w] at the
    model's scale, on the CPU."""
    check_frames(model, frames)
    parts = []
    with stage(progress, "encode", len(frames)) as tick:
        for first in range(0, len(frames), BATCH):
            part = frames[first : first + BATCH]
            with frames_from(first):
                parts.append(model.encode_frames(part).cpu())
            for _ in part:
                tick()
    return torch.cat(parts)


@torch.no_grad()
def decode_clip(model: Model, latents: Tensor, *, name: str = "decode", progress: Progress | None = None) -> np.ndarray:
    """Latents [F, C, h, w] -> uint8 [F, H, W, 3]. NumberError for what is no number, before or behind the VAE."""
    check_finite(latents, f"{name}: the denoised latents", MODEL_REMEDY)
    parts = []
    with stage(progress, name, len(latents)) as tick:
        for first in range(0, len(latents), BATCH):
            part = latents[first : first + BATCH]
            with frames_from(first):
                parts.append(model.decode_latents(part))
            for _ in part:
                tick()
    return np.concatenate(parts)


def inversion_steps(inversion: InversionSettings, steps: int) -> int:
    """The number of steps of the inversion of an edit with ``steps`` steps."""
    return steps if inversion.steps is None else inversion.steps


def check_model(model: Model, trajectory: Trajectory) -> None:
    """Raise TrajectoryError unless ``trajectory`` was made with this model."""
    trajectory.require(family=model.family, model=model.fingerprint, dtype=dtype_name(model.dtype))


def check_attention(trajectory: Trajectory, attention: AttentionSettings, windows: Windows | None) -> None:
    """Raise TrajectoryError unless ``trajectory`` was made with this space-time attention and these windows; what it
    does not know is not compared."""
    found = differences(trajectory.made, Provenance.of(attention, windows, trajectory.frames))
    if found:
        was, wanted = (", ".join(sides) for sides in zip(*(difference[1:] for difference in found)))
        raise TrajectoryError(
            f"this inversion was made with {was}, the edit uses {wanted}; expected the same space-time attention in "
            "both; invert again, or set attention.mode (and anchors) and windows to match"
        )


def check_windows(windows: Any) -> None:
    """Raise PipelineError unless ``windows`` is a Windows or None."""
    if windows is not None and not isinstance(windows, Windows):
        raise PipelineError(
            f"windows is {show(windows)}, a {type(windows).__name__}; expected a Windows of editing/windows.py, or "
            "None for all frames at once; write e.g. windows=Windows(frames=16)"
        )


def check_encoding(model: Model, latents: Any, frames: np.ndarray) -> None:
    """Raise PipelineError unless ``latents`` have the shape of these frames' encoding, LatentError or
    NumberError unless they are of a floating-point dtype and finite."""
    geometry, (count, height, width) = model.geometry, frames.shape[:3]
    expected = [geometry.latent_frames(count), geometry.channels, *geometry.cells((height, width))]
    came = list(latents.shape) if isinstance(latents, Tensor) else type(latents).__name__
    if came != expected:
        raise PipelineError(
            f"the latents are {came}; expected {expected}, [frames, channels, height, width], for {count} frames of "
            f"{width} x {height} pixels; pass what encode_clip makes of these frames, or leave latents out"
        )
    check_latents(latents, "latents")


def check_schedule(model: Model, steps: int, inverted: Tensor) -> None:
    """Raise PipelineError unless an edit of ``steps`` steps starts within the noise levels ``inverted``."""
    first, highest = float(model.sigmas(steps)[0]), float(inverted.max())
    if first > highest * (1 + 1e-5):
        raise PipelineError(
            f"an edit of {steps} steps starts at sigma {first:.4g}, but the inversion ({len(inverted) - 1} steps) ends "
            f"at sigma {highest:.4g}; expected an inversion that reaches the edit's first noise level; "
            f"invert with {steps} steps (leave inversion.steps out)"
        )


@torch.no_grad()
def invert_clip(
    model: Model,
    frames: np.ndarray,
    source_prompt: str,
    *,
    steps: int = 50,
    inversion: InversionSettings | None = None,
    attention: AttentionSettings | None = None,
    windows: Windows | None = None,
    latents: Tensor | None = None,
    features: str | None = None,
    feature_range: tuple[float, float] = (0.0, 1.0),
    progress: Progress | None = None,
) -> Trajectory:
    """Invert a clip: unguided, unmodulated, with the same space-time attention as the edit (method.md 8).

    frames: uint8 [F, H, W, 3]; latents: their encoding, if it is at hand; steps: used where ``inversion.steps`` is
    None. windows: how a clip longer than they are is cut, None = all frames at once. features: also collect what a
    layout is made from, at "half" or "full" of the latent's side (method.md 9); feature_range: from where to where of
    the noise range, 0 = pure noise, 1 = clean (FeatureCollector).
    Returns the whole trajectory, on the CPU, which remembers what it belongs to. Raises PipelineError for frames,
    latents or windows that do not fit, LatentError or NumberError for latents of another dtype or not finite, and
    PromptError for a prompt that cannot be used, before the frames are encoded; RangeError (before that too) and
    FeaturesError for features that cannot be had.
    """
    inversion, attention = inversion or InversionSettings(), attention or AttentionSettings()
    check_frames(model, frames)
    check_windows(windows)
    if latents is not None:
        check_encoding(model, latents, frames)
    sigmas = model.sigmas(inversion_steps(inversion, steps))
    prompt = model.encode_prompt(source_prompt)
    collector = None
    if features is not None:
        collector = FeatureCollector(model.geometry.latent_frames(len(frames)), features, *feature_range)
        collector.range.check_steps(model.levels.t(float(sigma)) for sigma in sigmas[:-1])
    if latents is None:
        latents = encode_clip(model, frames, progress=progress)
    denoiser = model.denoiser(
        prompt,
        frames=len(latents),
        spacetime=attention.mode,
        key_frames=attention.anchors,
        observer=collector,
        windows=windows,
    )
    scale = None if model.latent_scale is None else f"{model.latent_scale:.6g}"
    made = Provenance.of(attention, windows, len(latents), dtype=dtype_name(model.dtype), latent_scale=scale)
    with stage(progress, "invert", len(sigmas) - 1) as tick, denoiser as denoise:
        trajectory = invert(
            denoise,
            latents,
            sigmas,
            callback=tick,
            method=inversion.method,
            calls=inversion.calls,
            prompt=source_prompt,
            family=model.family,
            model_id=model.fingerprint,
            source=frames_digest(frames),
            extra=made.notes(),
        )
    if doubt := prediction_doubt(trajectory):
        log.warning(f"inversion: {doubt}")
    return trajectory if collector is None else replace(trajectory, features=collector.result())


def starting_noise(
    trajectory: Trajectory, sigma: float, within: Areas | None, sampling: SamplingSettings, levels: Levels
) -> Tensor:
    """The latent the edit starts from: the inverted one at ``sigma``, and in the edited area (None = everywhere) the
    part ``variation`` of it drawn afresh from the seed. Variance is kept: z = sqrt(1 - v^2) z_inverted + v z_fresh (in
    cells that are kept in part it is a little lower). levels: the model's."""
    x = trajectory.at(sigma)
    if sampling.variation == 0:
        return x
    generator = torch.Generator().manual_seed(sampling.seed)
    clean, noise = levels.scales(sigma)  # of clean latents of unit variance
    fresh = torch.randn(1, *x.shape[1:], generator=generator) * (clean**2 + noise**2) ** 0.5
    mixed = (1 - sampling.variation**2) ** 0.5 * x + sampling.variation * fresh
    if within is None:
        return mixed
    mask = within.at_latent(trajectory.size, 0)[:, None]
    return x + mask * (mixed - x)


def held_steady(
    frames: np.ndarray,
    regions: Sequence[Region],
    steady: SteadySettings,
    motion: Motion | None = None,
    *,
    progress: Progress | None = None,
) -> Steady | None:
    """What holds an edit of these frames, uint8 [F, H, W, 3], steady along ``motion``, which is found where it is None.
    None where the settings do not ask for it, and where nothing can be held: no regions, or a single frame."""
    count = len(frames)
    if not steady.enabled or not regions or count < 2:
        return None
    with stage(progress, "motion"):
        return Steady.of(motion or clip_motion(frames, sized_masks(regions, frames.shape[1:3], count)), regions, count)


def chained_sampler(
    model: Model,
    sampling: SamplingSettings,
    blend: BlendSettings,
    trajectory: Trajectory,
    within: Areas | None,
    hooks: Sequence[StepHook] = (),
) -> tuple[Callable[..., Tensor], Tensor | None]:
    """(the sampler with ``hooks`` and the latent blend round its steps; the blend's mask, float32 [F, h, w], None where
    there is no blend: it is switched off, or there is no area ``within`` which the edit is to stay)."""
    sampler = SAMPLERS[sampling.sampler]
    if not blend.enabled or within is None:
        return hooked(sampler, hooks), None
    mask = within.at_latent(trajectory.size, blend.feather)
    span = {"start": blend.start, "end": blend.end, "t_of": model.levels.t}
    return blended(sampler, trajectory, mask, **span, hooks=hooks), mask


@torch.no_grad()
def edit_clip(
    model: Model,
    frames: np.ndarray,
    trajectory: Trajectory,
    prompt: str,
    regions: Sequence[Region] = (),
    *,
    negative: str = "",
    sampling: SamplingSettings | None = None,
    attention: AttentionSettings | None = None,
    windows: Windows | None = None,
    blend: BlendSettings | None = None,
    composite: CompositeSettings | None = None,
    steady: SteadySettings | None = None,
    motion: Motion | None = None,
    controlnet: Any = None,
    observer: Any = None,
    progress: Progress | None = None,
) -> EditResult:
    """One denoising pass from the inverted latent that edits every region to its own phrase.

    frames: the source, uint8 [F, H, W, 3]; trajectory: from ``invert_clip`` on the same frames and model, with the same
    mode (and anchors) of ``attention`` and windows (checked, as far as they are recorded). Without regions this is the
    global prompt alone: nothing is modulated, blended or composited. negative: what guidance leads away from; unused at
    guidance 1. sampling, attention, blend, composite, steady: None = the defaults of editing/settings.py. windows: as
    in ``invert_clip``. motion: that of these frames and masks (``editing.motion.clip_motion``), which ``steady`` holds
    the edit to; None = it is found here. controlnet, observer: what ``model.denoiser`` takes.
    Raises before any network call: PipelineError, TrajectoryError or MotionError for what does not fit the clip,
    PromptError for a prompt that cannot be used or a phrase that does not occur in it, ValueError for regions' masks
    and for what the model's denoiser cannot do. Mistakes in prompts show before the motion is searched for.
    """
    sampling, attention = sampling or SamplingSettings(), attention or AttentionSettings()
    blend, composite = blend or BlendSettings(), composite or CompositeSettings()
    steady = steady or SteadySettings()
    check_frames(model, frames)
    count, size = len(frames), frames.shape[1:3]
    trajectory.require(
        frames=model.geometry.latent_frames(count), source=frames_digest(frames), size=model.geometry.cells(size)
    )
    check_model(model, trajectory)
    check_windows(windows)
    check_attention(trajectory, attention, windows)
    check_schedule(model, sampling.steps, trajectory.sigmas)
    masks = frame_masks(regions, count)
    within = areas(regions, size, count) if regions else None

    modulation = None
    if regions:
        encoded, spans, labels, _ = model.encode_regions(prompt, [r.phrase for r in regions], splice=attention.splice)
        if max(attention.self_strength, attention.cross_strength) > 0:
            modulation = build_modulation(masks, labels, attention, [region.strength for region in regions])
    else:
        encoded, spans = model.encode_prompt(prompt), ()
    against = model.encode_prompt(negative) if sampling.guidance != 1 else None
    denoiser = model.denoiser(
        encoded,
        frames=count,
        negative=against,
        guidance=sampling.guidance,
        spacetime=attention.mode,
        key_frames=attention.anchors,
        modulation=modulation,
        controlnet=controlnet,
        observer=observer,
        windows=windows,
    )

    held = held_steady(frames, regions, steady, motion, progress=progress)
    hooks = [] if held is None else held.hooks(trajectory.size, steady, model.levels.t)
    sampler, mask = chained_sampler(model, sampling, blend, trajectory, within, hooks)

    sigmas = model.sigmas(sampling.steps)
    active = modulated_steps(model, modulation, sigmas, sampling.guidance)
    doubted = doubts(regions, size, count, attention, guidance=sampling.guidance, active=active, steps=len(sigmas) - 1)
    for doubt in doubted:
        log.warning(doubt)
    noise = starting_noise(trajectory, float(sigmas[0]), within, sampling, model.levels)
    with stage(progress, "edit", len(sigmas) - 1) as tick, denoiser as denoise:
        latents = sampler(denoise, noise, sigmas, callback=tick)

    decoded = decode_clip(model, latents, progress=progress)
    finished = decoded if held is None else held.pictures(frames, decoded, steady, composite.dilate)
    area, keep = (None, None) if within is None else (within.edited, within.kept)
    if composite.enabled and area is not None:
        finished = composited(frames, finished, area, dilate=composite.dilate, feather=composite.feather, keep=keep)
        assert isinstance(finished, np.ndarray)  # as the frames are
    cuts = held.motion.notes([region.phrase for region in regions]) if held else []
    for cut in cuts:
        log.warning(cut)
    notes = (*map(str, doubted), *cuts)
    places = tuple(tuple(span) for span in spans)
    return EditResult(finished, decoded, latents, area, mask, places, notes, active, keep, held and held.motion)
