"""Edits kept as pictures: all frames of one side by side, lossless PNG, for looking at and for judging again."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from PIL import Image

from ...editing.named_paths import path_within
from ...editing.whole_file import save_png


def strip_file(folder: Path, clip: str, seed: int, system: str, label: str) -> Path:
    """`folder/<clip>/seed <n> <system>[ <label>].png`; ValueError for names that lead out of the folder."""
    label = re.sub(r"[/\\]", "_", label)
    name = f"{clip}/seed {seed} {system}" + (f" {label}" if label else "") + ".png"
    return path_within(folder, name, "edit")


def save_strip(file: Path, frames: np.ndarray) -> None:
    """frames: uint8 [F, H, W, 3]."""
    file.parent.mkdir(parents=True, exist_ok=True)
    save_png(file, np.concatenate(list(frames), axis=1))


def load_strip(file: Path, count: int) -> np.ndarray | None:
    """The `count` frames that `save_strip` wrote, uint8 [F, H, W, 3]; None where there is no such file. ValueError
    where the picture cannot be so many frames."""
    if not file.exists():
        return None
    with Image.open(file) as picture:
        strip = np.asarray(picture.convert("RGB"))
    if strip.shape[1] % count:
        raise ValueError(
            f"{file} is {strip.shape[1]} pixels wide; expected {count} frames of equal width; delete it, its edit is "
            "made again"
        )
    return np.stack(np.split(strip, count, axis=1))
