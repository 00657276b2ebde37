"""A Motion as one .safetensors file, beside the inversion of the same clip. Nothing is ever unpickled."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..fingerprint import frames_digest
from ..whole_file import save_tensors
from .value import Motion, MotionError, RegionMotion

FORMAT = "videograin.motion"
VERSION = 1
PARTS = ("before", "steps", "losses", "present")
AGAIN = "delete it and let the motion be found again"


def made_of(frames: np.ndarray, masks: Sequence[Tensor], source: str) -> str:
    """What a motion was found from, as sha256 in hex. Arguments as of `clip_motion`."""
    digest = hashlib.sha256(f"{source} {frames_digest(frames)}".encode())
    for mask in masks:
        digest.update(repr(tuple(mask.shape)).encode())
        digest.update((mask.float() * 255).round().byte().contiguous().numpy().tobytes())
    return digest.hexdigest()


def save(motion: Motion, path: str | Path, made: str = "") -> Path:
    """Write ``motion`` to ``path``, which ends in .safetensors; the file appears when it is complete. made: of
    `made_of`. Returns the path. MotionError for another ending; WriteError where the disk is full and the like."""
    path = Path(path)
    if path.suffix != ".safetensors":
        raise MotionError(f"cannot save to {path}: expected a name ending in .safetensors, got {path.name!r}.")
    tensors, forms = {}, []
    for number, one in enumerate((*motion.regions, motion.background)):
        tensors |= {f"{number}.{part}": torch.from_numpy(np.ascontiguousarray(getattr(one, part))) for part in PARTS}
        if one.bends is not None:
            tensors[f"{number}.bends"] = torch.from_numpy(np.ascontiguousarray(one.bends))
        forms.append(one.form)
    metadata = {
        "format": FORMAT,
        "format_version": str(VERSION),
        "source": motion.source,
        "size": json.dumps(motion.size),
        "forms": json.dumps(forms),
        "made_of": made,
    }
    save_tensors(path, tensors, metadata)
    return path


def load(path: str | Path, made: str = "") -> Motion:
    """Read a file written by `save`. made: of `made_of`, what it must have been found from; empty: anything.
    MotionError for a file that is missing, damaged, of something else, newer, or found from other frames or masks."""
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
            if made and facts.get("made_of") != made:
                raise MotionError(f"{path}: the motion of other frames or masks, or found in another way; {AGAIN}.")
            held = {name: handle.get_tensor(name) for name in list(handle.keys())}
    except SafetensorError as error:
        raise MotionError(f"{path}: damaged ({error}); {AGAIN}.") from error
    try:
        ones = [
            RegionMotion(
                **{part: held[f"{number}.{part}"] for part in PARTS}, form=form, bends=held.get(f"{number}.bends")
            )
            for number, form in enumerate(json.loads(facts["forms"]))
        ]
        height, width = json.loads(facts["size"])
        return Motion((height, width), tuple(ones[:-1]), ones[-1], facts["source"])
    except (KeyError, ValueError, IndexError) as error:
        raise MotionError(f"{path}: damaged ({error}); {AGAIN}.") from None
