"""Files and folders that appear whole or not at all: the one place that renames anything."""

from __future__ import annotations

import errno
import json
import math
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

# The files of a job in its output folder; those of an edit's layout lie in the folder `layout` there.
RESULTS = {"edit": "edit.mp4", "side_by_side": "side_by_side.mp4", "sheet": "sheet.png", "report": "report.json"}
ATTENTION = {"attention": "attention.mp4", "attention_sheet": "attention.png", "shares": "shares.csv"}
METRICS = {"json": "metrics.json", "csv": "metrics.csv", "markdown": "metrics.md", "plot": "metrics.png"}
LAYOUT = {
    "preview": "preview.mp4",
    "preview_sheet": "preview.png",
    "label_video": "labels.mp4",
    "clusters": "clusters.png",
    "pca": "pca.png",
    "layout": "layout.json",
    "regions": "regions.yaml",
}


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Yield a temporary name beside ``path``; at the end it becomes ``path`` in one step.

    If the block is left by any exception, Ctrl-C included, the temporary file is removed and ``path`` stays as it was.
    The folder is made where it is missing. The temporary name keeps the suffix, by which writers choose a format.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}-{secrets.token_hex(4)}.part{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    except BaseException:
        with suppress(FileNotFoundError):
            temporary.unlink()
        raise


@contextmanager
def whole_folder(path: str | Path) -> Iterator[Path]:
    """Yield a new empty folder beside ``path``; at the end it becomes ``path``, in place of a folder that stands there.

    If the block is left by any exception, Ctrl-C included, the new folder is removed and ``path`` stays as it was. No
    file system swaps two folders in one step everywhere: the old one is moved aside, comes back if the new one cannot
    take its place, and is removed last. The parent is made where it is missing.

    NotADirectoryError, before the block, where a file or a link stands at ``path``.
    """
    path = Path(path)
    if os.path.lexists(path) and (path.is_symlink() or not path.is_dir()):
        raise NotADirectoryError(errno.ENOTDIR, "in the way of a new folder", str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    part, previous = (path.with_name(f".{path.name}.{os.getpid()}.{what}") for what in ("part", "previous"))
    shutil.rmtree(part, ignore_errors=True)  # left by a killed process of the same number, as the one below
    try:
        part.mkdir()
        yield part
        if not path.exists():
            os.replace(part, path)
            return
        shutil.rmtree(previous, ignore_errors=True)
        try:
            os.replace(path, previous)
            os.replace(part, path)
        except BaseException:
            if previous.is_dir() and not path.exists():
                os.replace(previous, path)
            raise
        shutil.rmtree(previous, ignore_errors=True)  # the new folder is in place whatever becomes of the old one
    finally:
        shutil.rmtree(part, ignore_errors=True)


def plain(value: Any) -> Any:
    """``value`` as JSON can hold it: paths and fractions as text, tuples as lists, inf and nan as text."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # JSON has no inf or nan; "inf" dB = bit-identical
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if hasattr(value, "item") and getattr(value, "ndim", 1) == 0:  # numpy and torch scalars
        return plain(value.item())
    return str(value)


def write_json(path: str | Path, value: Any) -> None:
    """Write ``value`` (see ``plain``) as indented JSON, atomically."""
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(plain(value), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def save_png(path: str | Path, picture: np.ndarray) -> None:
    """Write uint8 [H, W, 3] as PNG, atomically."""
    from PIL import Image

    with whole_file(path) as temporary:
        Image.fromarray(picture).save(temporary, format="PNG", optimize=True)
