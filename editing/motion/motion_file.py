"""A Motion as one .safetensors file, beside the inversion of the same clip. Nothing is ever unpickled."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from ..whole_file import whole_file
from .value import Motion, MotionError, RegionMotion

FORMAT = "videograin.motion"
VERSION = 1
PARTS = ("before", "steps", "losses", "present")
AGAIN = "delete it and let the motion be found again"


def save(motion: Motion, path: str | Path) -> Path:
    """Write ``motion`` to ``path``, which ends in .safetensors; the file appears when it is complete."""
    from safetensors.numpy import save_file

    path = Path(path)
    if path.suffix != ".safetensors":
        raise MotionError(f"cannot save to {path}: expected a name ending in .safetensors, got {path.name!r}.")
    tensors, forms = {}, []
    for number, one in enumerate((*motion.regions, motion.background)):
        tensors |= {f"{number}.{part}": np.ascontiguousarray(getattr(one, part)) for part in PARTS}
        if one.bends is not None:
            tensors[f"{number}.bends"] = np.ascontiguousarray(one.bends)
        forms.append(one.form)
    metadata = {
        "format": FORMAT,
        "format_version": str(VERSION),
        "source": motion.source,
        "size": json.dumps(motion.size),
        "forms": json.dumps(forms),
    }
    with whole_file(path) as part:
        save_file(tensors, str(part), metadata=metadata)
    return path


def load(path: str | Path) -> Motion:
    """Read a file written by `save`. MotionError for a file that is missing, damaged, of something else or newer."""
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.is_file():
        raise MotionError(f"{path}: no such file; check the path.")
    try:
        with safe_open(str(path), framework="numpy") as handle:
            facts = handle.metadata() or {}
            if facts.get("format") != FORMAT:
                raise MotionError(f"{path}: not a motion of this project; choose a file that holds one.")
            if facts.get("format_version") != str(VERSION):
                raise MotionError(
                    f"{path}: format version {facts.get('format_version')!r}, this VideoGrain reads {VERSION}; "
                    f"update VideoGrain, or {AGAIN}."
                )
            held = {name: handle.get_tensor(name) for name in list(handle.keys())}
    except SafetensorError as error:
        raise MotionError(f"{path}: damaged ({error}); {AGAIN}.") from error
    try:
        ones = [
            RegionMotion(*(held[f"{number}.{part}"] for part in PARTS), form, held.get(f"{number}.bends"))
            for number, form in enumerate(json.loads(facts["forms"]))
        ]
        height, width = json.loads(facts["size"])
        return Motion((height, width), tuple(ones[:-1]), ones[-1], facts["source"])
    except (KeyError, ValueError, IndexError) as error:
        raise MotionError(f"{path}: damaged ({error}); {AGAIN}.") from None
