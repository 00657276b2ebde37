"""A Trajectory as one .safetensors file. Nothing is ever unpickled.

Tensors: "latents", "sigmas". Metadata (all strings): format, format_version, prompt, family, model, source, method,
checksum (CRC-32 of both tensors' bytes, in hex) and one "extra.NAME" for each entry of Trajectory.extra.

An inversion with features has a third tensor, "features.self" [F, n, n], perhaps a fourth, "features.cross" [F, n, L],
both float16, and the metadata features.grid ("8x12": rows x columns), features.calls, features.level and
features.checksum, a CRC-32 of its own over both: whoever knows nothing of features reads the rest. Files of old have
float32 and neither a fourth tensor nor a level.
"""

import zlib
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from .attention_features import Features, FeaturesError
from .trajectory import Trajectory, TrajectoryError
from .whole_file import save_tensors

FORMAT = "videograin.trajectory"
VERSION = 1
TEXTS = ("prompt", "family", "model", "source", "method")
EXTRA = "extra."
SELF, CROSS = "features.self", "features.cross"
LEVEL = "features.level"  # not in files of old
FEATURES = ("features.grid", "features.calls", "features.checksum")
AGAIN = "delete it and run the inversion again"


def save(trajectory: Trajectory, path: str | Path) -> Path:
    """Write `trajectory` to `path`, which must end in .safetensors and whose folder must exist. Returns the path.

    The file appears when it is complete and on the disk, so that neither a crash nor Ctrl-C leaves a half-written file
    under the final name. TrajectoryError for an unusable path; WriteError where the disk is full and
    the like.
    """
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
    if trajectory.features is not None:
        held, facts = _pack(trajectory.features)
        tensors, metadata = tensors | held, metadata | facts
    save_tensors(path, tensors, metadata)
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
            held = {name: handle.get_tensor(name) for name in (SELF, CROSS) if name in set(handle.keys())}
    except SafetensorError as error:
        ours = path.suffix == ".safetensors"  # nobody should be told to delete a video
        raise TrajectoryError(
            f"{path}: damaged, or not a .safetensors file at all ({path.stat().st_size} bytes; {error}); "
            f"{AGAIN if ours else 'choose a file written by the inversion'}."
        ) from error
    try:
        trajectory = Trajectory(
            **tensors,
            features=_unpack(held, metadata) if held else None,
            **{name: metadata[name] for name in TEXTS},
            extra={key.removeprefix(EXTRA): value for key, value in metadata.items() if key.startswith(EXTRA)},
        )
    except (FeaturesError, TrajectoryError) as error:
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
    missing = ({"latents", "sigmas"} - keys) | ({*TEXTS, "checksum"} - metadata.keys())
    if not keys.isdisjoint((SELF, CROSS)) or not metadata.keys().isdisjoint((*FEATURES, LEVEL)):
        missing |= ({SELF} - keys) | (set(FEATURES) - metadata.keys())
    missing = sorted(missing)
    if missing:
        raise TrajectoryError(f"{path}: damaged (missing: {', '.join(missing)}); {AGAIN}.")


def _pack(features: Features) -> tuple[dict[str, Tensor], dict[str, str]]:
    held = {SELF: features.values.contiguous()}
    if features.cross is not None:
        held[CROSS] = features.cross.contiguous()
    facts = {
        "features.grid": "x".join(map(str, features.grid)),
        "features.calls": str(features.calls),
        "features.checksum": _crc(held.values()),
    }
    if features.level:
        facts[LEVEL] = features.level
    return held, facts


def _unpack(held: dict[str, Tensor], metadata: dict[str, str]) -> Features:
    """FeaturesError where the parts do not make Features. held: SELF, and perhaps CROSS after it."""
    if _crc(held.values()) != metadata["features.checksum"]:
        raise FeaturesError("the features do not match their checksum.")
    try:
        height, width = (int(side) for side in metadata["features.grid"].split("x"))
        calls = int(metadata["features.calls"])
    except ValueError:
        facts = {name: metadata[name] for name in FEATURES[:2]}
        raise FeaturesError(f"features: expected numbers such as 8x12 and 150, got {facts}.") from None
    return Features((height, width), held[SELF], calls, held.get(CROSS), metadata.get(LEVEL, ""))


def _checksum(tensors: dict[str, Tensor]) -> str:
    return _crc([tensors["latents"], tensors["sigmas"]])


def _crc(tensors: Iterable[Tensor]) -> str:
    crc = 0
    for tensor in tensors:
        crc = zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy().data, crc)  # numpy knows no bfloat16
    return f"{crc:08x}"
