"""A Trajectory as one .safetensors file. Nothing is ever unpickled.

Tensors: "latents", "sigmas". Metadata (all strings): format, format_version, prompt, family, model, source, method,
checksum (CRC-32 of both tensors' bytes, in hex) and one "extra.NAME" for each entry of Trajectory.extra.
"""

import os
import secrets
import zlib
from pathlib import Path

from torch import Tensor

from .trajectory import Trajectory, TrajectoryError

FORMAT = "videograin.trajectory"
VERSION = 1
TEXTS = ("prompt", "family", "model", "source", "method")
EXTRA = "extra."
AGAIN = "delete it and run the inversion again"


def save(trajectory: Trajectory, path: str | Path) -> Path:
    """Write `trajectory` to `path`, which must end in .safetensors and whose folder must exist. Returns the path.

    The file is written under a temporary name in the same folder and renamed when complete, so that neither a crash nor
    Ctrl-C leaves a half-written file under the final name. TrajectoryError for an unusable path; OSError from the disk.
    """
    from safetensors.torch import save_file

    path = Path(path)
    if path.suffix != ".safetensors":
        raise TrajectoryError(f"cannot save to {path}: expected a name ending in .safetensors, got {path.name!r}.")
    if not path.parent.is_dir():
        raise TrajectoryError(f"cannot save to {path}: the folder {path.parent} does not exist; create it first.")
    tensors = {"latents": trajectory.latents.contiguous(), "sigmas": trajectory.sigmas.contiguous()}
    metadata = {
        "format": FORMAT,
        "format_version": str(VERSION),
        "checksum": _checksum(tensors),
        **{name: getattr(trajectory, name) for name in TEXTS},
        **{EXTRA + key: value for key, value in trajectory.extra.items()},
    }
    part = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
    try:
        save_file(tensors, str(part), metadata=metadata)
        with open(part, "rb+") as handle:
            os.fsync(handle.fileno())
        os.replace(part, path)
    finally:  # runs for KeyboardInterrupt too; after the rename there is nothing left to remove
        part.unlink(missing_ok=True)
    return path


def load(path: str | Path) -> Trajectory:
    """Read a file written by `save`.

    TrajectoryError for: no such file, not a safetensors file or a truncated one, a safetensors file of something else,
    a newer format, missing parts, changed bytes, and tensors that are no trajectory (shapes, order, NaN).
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.is_file():
        raise TrajectoryError(f"{path}: no such file; check the path, or run the inversion to make it.")
    try:
        with safe_open(str(path), framework="pt", device="cpu") as handle:
            metadata = handle.metadata() or {}
            _check_kind(path, metadata, set(handle.keys()))
            tensors = {name: handle.get_tensor(name) for name in ("latents", "sigmas")}
    except SafetensorError as error:
        raise TrajectoryError(
            f"{path}: damaged, or not a .safetensors file at all ({path.stat().st_size} bytes; {error}); {AGAIN}."
        ) from error
    try:
        trajectory = Trajectory(
            **tensors,
            **{name: metadata[name] for name in TEXTS},
            extra={key.removeprefix(EXTRA): value for key, value in metadata.items() if key.startswith(EXTRA)},
        )
    except TrajectoryError as error:
        raise TrajectoryError(f"{path}: {error} The file cannot be used; {AGAIN}.") from None
    if _checksum(tensors) != metadata["checksum"]:
        raise TrajectoryError(f"{path}: damaged (the latents do not match their checksum); {AGAIN}.")
    return trajectory


def _check_kind(path: Path, metadata: dict[str, str], keys: set[str]) -> None:
    if metadata.get("format") != FORMAT:
        held = ", ".join(sorted(keys)[:3]) or "no tensor"
        raise TrajectoryError(
            f"{path}: a .safetensors file, but not an inversion of this project (it holds {held}); "
            "choose a file written by the inversion."
        )
    version = metadata.get("format_version", "")
    if version.isascii() and version.isdigit() and len(version) < 10 and int(version) > VERSION:
        raise TrajectoryError(
            f"{path}: written in format version {version}, this VideoGrain reads up to {VERSION}; "
            "update VideoGrain, or run the inversion again with this one."
        )
    if version != str(VERSION):
        raise TrajectoryError(f"{path}: damaged (format version {version!r}, expected '{VERSION}'); {AGAIN}.")
    missing = sorted(({"latents", "sigmas"} - keys) | ({*TEXTS, "checksum"} - metadata.keys()))
    if missing:
        raise TrajectoryError(f"{path}: damaged (missing: {', '.join(missing)}); {AGAIN}.")


def _checksum(tensors: dict[str, Tensor]) -> str:
    crc = 0
    for name in ("latents", "sigmas"):
        crc = zlib.crc32(tensors[name].contiguous().numpy().data, crc)
    return f"{crc:08x}"
