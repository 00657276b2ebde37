"""report.json: what was done, with what, how long it took, how much memory, and how well it went."""

from __future__ import annotations

import dataclasses
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from .files import write_json

PACKAGES = ("torch", "diffusers", "transformers", "numpy", "scikit-learn", "av")


def versions() -> dict[str, str]:
    """Versions of Python, of this package and of what the figures may depend on."""
    from .. import __version__

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
