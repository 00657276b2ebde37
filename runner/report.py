"""report.json: what was done, with what, how long it took, how much memory, and how well it went.

Figures are measured on the edit's frames; facts are of clip, model and settings.
"""

from __future__ import annotations

import dataclasses
import platform
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from ..editing.composite import composite_support
from ..editing.model import Model
from ..editing.motion.optical_flow import FlowError, clip_flow, dis
from ..editing.motion.value import Motion
from ..editing.pipeline import EditResult
from ..editing.regions import Region
from ..editing.settings import CompositeSettings
from ..editing.trajectory import Trajectory
from ..editing.whole_file import write_json
from ..editing.windows import ALL_AT_ONCE
from ..measuring.metrics import pixels
from ..measuring.metrics.pixels import MARGIN
from ..measuring.metrics.shown_things import Things
from ..measuring.metrics.steadiness_figures import steadiness_figures
from ..measuring.round_trip import RoundTrip, Verdict, judge
from .media.video import Clip

PACKAGES = ("torch", "diffusers", "transformers", "numpy", "scikit-learn", "av")


def versions() -> dict[str, str]:
    """Versions of Python, of this package and of what the figures may depend on."""
    from ..version import __version__

    found = {"python": platform.python_version(), "platform": platform.platform(), "videograin": __version__}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def device_facts(device: Any) -> dict[str, Any]:
    """Name of the device and the number of threads torch uses."""
    import torch

    device = torch.device(device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    return {"device": str(device), "name": name, "threads": torch.get_num_threads()}


def peak_memory(device: Any = "cpu") -> dict[str, Any]:
    """Peak memory so far, in MiB, saying how it was measured: the process's resident memory (getrusage), and on CUDA
    also what torch allocated there."""
    found: dict[str, Any] = {}
    try:
        import resource
    except ImportError:  # Windows
        found["process"] = "not measured: this platform has no getrusage"
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        scale = 2**20 if sys.platform == "darwin" else 2**10  # bytes on macOS, KiB elsewhere
        found["process_mib"] = round(peak / scale, 1)
        found["process_measured_by"] = "resource.getrusage(RUSAGE_SELF).ru_maxrss"
    if str(device).startswith("cuda"):
        import torch

        found["cuda_mib"] = round(torch.cuda.max_memory_allocated(device) / 2**20, 1)
        found["cuda_measured_by"] = "torch.cuda.max_memory_allocated"
    return found


def settings_facts(value: Any) -> Any:
    """Dataclasses, nested ones too, as plain dictionaries in the order of their fields; other values as they are."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: settings_facts(getattr(value, item.name)) for item in dataclasses.fields(value)}
    if isinstance(value, (list, tuple)):
        return [settings_facts(item) for item in value]
    if isinstance(value, dict):
        return {key: settings_facts(item) for key, item in value.items()}
    return value


def build_report(
    *,
    command: str,
    settings: dict[str, Any],
    figures: dict[str, Any],
    seconds: dict[str, float],
    device: Any = "cpu",
    **more: Any,
) -> dict[str, Any]:
    """The report as a dictionary.

    settings: everything the user chose (dataclasses allowed); figures: the measurements; seconds: per stage
    (StageTimer.seconds); more: further sections such as ``clip``, ``model``, ``notes``, ``table``.
    """
    return {
        "command": command,
        "settings": settings_facts(settings),
        **{key: settings_facts(value) for key, value in more.items()},
        "figures": settings_facts(figures),
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
        "seconds_total": round(sum(seconds.values()), 3),
        "memory": peak_memory(device),
        "device": device_facts(device),
        "versions": versions(),
    }


def write_report(path: str | Path, report: dict[str, Any]) -> None:
    """Write the report as JSON, atomically. inf and nan become text: JSON has neither."""
    write_json(path, report)


def inversion_figures(trajectory: Trajectory, trip: RoundTrip | None) -> dict[str, Any]:
    """Round-trip PSNR (dB, against the VAE's own round trip) and std of z_T, measured now or when it was saved."""
    if trip is not None:
        return {"round_trip_psnr_db": trip.psnr, "noise_std": trip.noise_std}
    saved = trajectory.extra.get("round_trip_psnr")
    return {
        "round_trip_psnr_db": float(saved) if saved else "not measured (inversion.check is false)",
        "noise_std": trajectory.noise_std,
    }


def verdict_of(trajectory: Trajectory, trip: RoundTrip | None) -> Verdict | None:
    """How good the inversion is, as measured now or when it was saved; None where it was not measured."""
    if trip is not None:
        return judge(trip.psnr_per_frame, trip.noise_std)
    saved = trajectory.extra.get("round_trip_psnr_per_frame", "").split()
    return judge([float(value) for value in saved], trajectory.noise_std) if saved else None


def inversion_facts(trajectory: Trajectory, verdict: Verdict | None) -> dict[str, Any]:
    """The inversion for the report."""
    return {
        "prompt": trajectory.prompt,
        "method": trajectory.method,
        "steps": trajectory.steps,
        "windows": trajectory.made.windows or ALL_AT_ONCE,
        "round_trip": _round_trip_facts(verdict),
    }


def _round_trip_facts(verdict: Verdict | None) -> dict[str, Any]:
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
    composite: CompositeSettings,
    source: np.ndarray,
    vae: np.ndarray,
    result: EditResult,
    regions: Sequence[Region],
) -> dict[str, Any]:
    """How the edit kept what it had to keep, and how much it changed what it had to change."""
    area = result.area.numpy()
    found: dict[str, Any] = {
        "vae_psnr_db": pixels.psnr(vae, source),
        f"outside_{MARGIN}px_psnr_db": pixels.psnr_outside(result.decoded, vae, area),
        f"outside_blend_{MARGIN}px_psnr_db": (
            "not measured (blend.enabled is false)"
            if result.blend_mask is None
            else pixels.psnr_outside_blend(result.decoded, vae, result.blend_mask)
        ),
        "modulated_steps": result.modulated_steps,
        "flicker_source": pixels.flicker(source),
        "flicker_edit": pixels.flicker(result.frames),
        "change_in_regions": [
            pixels.mean_change(result.frames, source, (region.mask > 0.5).numpy()) for region in regions
        ],
    }
    if composite.enabled:
        support = composite_support(area, dilate=composite.dilate, feather=composite.feather, keep=result.keep)
        found["outside_composite_identical"] = pixels.equal_outside(result.frames, source, support)
    return found


def steadiness_facts(
    source: np.ndarray, frames: np.ndarray, regions: Sequence[Region], motion: Motion | None
) -> dict[str, dict[str, Any]]:
    """How steady source and edit are (measuring/metrics/steadiness_figures.py): "source", "edit" -> key -> value, or a
    text that says why there is none. Clips uint8 [F, H, W, 3]; motion: of source and regions, None = not found yet."""
    things: Things | str = "no region is edited"
    if len(source) < 2:
        things = "a single frame has no motion"
    elif not all(region.preserve for region in regions):
        try:
            things = Things.of(source, regions, clip_flow(source, dis()), motion)
        except FlowError as error:
            things = str(error)
    return {
        name: {
            figure.key: f"not measured ({figure.why})" if figure.value is None else figure.value
            for figure in steadiness_figures(things, clip)
        }
        for name, clip in (("source", source), ("edit", frames))
    }


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


def model_facts(path: Path | None, model: Model) -> dict[str, Any]:
    """The model for the report. path: where it lies, None = the embedded one."""
    return {"path": str(path or "embedded"), "family": model.family, "fingerprint": model.fingerprint}
