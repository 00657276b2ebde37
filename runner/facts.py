"""What a report says about an edit: figures measured on its frames, and facts about clip, model and settings."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..editing import Trajectory, composite_support
from ..inspection.round_trip import Verdict, judge
from . import figures
from .editfile import EditSpec
from .pipeline import EditResult, Region, RoundTrip, noise_std
from .video import Clip

MARGIN = 16  # pixels: "outside" in the figures is farther than this from what may have changed


def inversion_figures(trajectory: Trajectory, trip: RoundTrip | None) -> dict[str, Any]:
    """Round-trip PSNR (dB, against the VAE's own round trip) and std of z_T, measured now or when it was saved."""
    if trip is not None:
        return {"round_trip_psnr_db": trip.psnr, "noise_std": trip.noise_std}
    saved = trajectory.extra.get("round_trip_psnr")
    return {
        "round_trip_psnr_db": float(saved) if saved else "not measured (inversion.check is false)",
        "noise_std": noise_std(trajectory),
    }


def verdict_of(trajectory: Trajectory, trip: RoundTrip | None) -> Verdict | None:
    """How good the inversion is, as measured now or when it was saved; None where it was not measured."""
    if trip is not None:
        return judge(trip.psnr_per_frame, trip.noise_std)
    saved = trajectory.extra.get("round_trip_psnr_per_frame", "").split()
    return judge([float(value) for value in saved], noise_std(trajectory)) if saved else None


def round_trip_facts(verdict: Verdict | None) -> dict[str, Any]:
    """The round trip frame by frame for the report."""
    if verdict is None:
        return {"verdict": "not measured"}
    return {
        "verdict": "good" if verdict.ok else "poor",
        "advice": verdict.advice,
        "psnr_db_per_frame": [round(value, 2) for value in verdict.psnr],
        "lowest_frame": verdict.worst,
        "noise_std": round(verdict.std, 4),
    }


def edit_figures(
    spec: EditSpec, source: np.ndarray, vae: np.ndarray, result: EditResult, regions: Sequence[Region]
) -> dict[str, Any]:
    """How the edit kept what it had to keep, and how much it changed what it had to change."""
    area = result.area.numpy()
    found: dict[str, Any] = {
        "vae_psnr_db": figures.psnr(vae, source),
        f"outside_{MARGIN}px_psnr_db": figures.psnr_outside(result.decoded, vae, area, dilate=MARGIN),
        f"outside_blend_{MARGIN}px_psnr_db": (
            "not measured (blend.enabled is false)"
            if result.blend_mask is None
            else figures.psnr_outside_blend(result.decoded, vae, result.blend_mask, dilate=MARGIN)
        ),
        "modulated_steps": result.modulated_steps,
        "flicker_source": figures.flicker(source),
        "flicker_edit": figures.flicker(result.frames),
        "change_in_regions": [
            figures.mean_change(result.frames, source, (region.mask > 0.5).numpy()) for region in regions
        ],
    }
    if spec.composite.enabled:
        support = composite_support(
            area, dilate=spec.composite.dilate, feather=spec.composite.feather, keep=result.keep
        )
        found["outside_composite_identical"] = figures.equal_outside(result.frames, source, support)
    return found


def clip_facts(clip: Clip) -> dict[str, Any]:
    """The clip for the report."""
    return {
        "path": str(clip.path),
        "frames": len(clip.frames),
        "fps": str(clip.fps),
        "seconds": [round(time, 4) for time in clip.span],
        "size": [clip.frames.shape[2], clip.frames.shape[1]],
        "geometry": clip.geometry.describe() if clip.geometry else "",
        "digest": clip.digest,
        "audio": clip.has_audio,
    }


def model_facts(spec: EditSpec, model: Any) -> dict[str, Any]:
    """The model for the report."""
    return {"path": str(spec.model or "embedded"), "family": model.family, "fingerprint": model.fingerprint}


def chosen_settings(spec: EditSpec) -> dict[str, Any]:
    """The edit file's contents for the report, without the line numbers."""
    chosen = dataclasses.asdict(spec)
    del chosen["lines"]
    for part in [*chosen["regions"], chosen["controlnet"] or {}]:
        part.pop("line", None)
        part.pop("masks_line", None)
    return chosen
