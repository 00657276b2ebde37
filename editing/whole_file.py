"""Files and folders that appear whole or not at all. What belongs together, a video and its report, appears together:
result_set.py. Temporary files carry the number of their process, so that the next run can tell whose are left over.
"""

from __future__ import annotations

import errno
import json
import math
import os
import re
import secrets
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

STARTED = time.time()  # of this process, nearly
SAFETENSORS_NEEDS = 2**22  # bytes; where they are lacking its writer ends the process instead of raising MemoryError
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
IN_THE_WAY = (errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENOTEMPTY)

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


class WriteError(OSError):
    """A result cannot be written: the disk is full, the folder cannot be written, something is in the way. The text
    names the file, what is missing and the remedy. path: the file; reason: the system's word for it."""

    def __init__(self, path: Path, reason: OSError) -> None:
        self.path, self.reason = path, reason
        remedy = "choose another folder, or correct its permissions"
        if reason.errno in FULL:
            remedy = "free some room there, or choose another folder"
        elif reason.errno in IN_THE_WAY:
            remedy = "move away what is there, or choose another folder"
        why = " ".join((reason.strerror or str(reason)).split())
        super().__init__(f"{path} cannot be written ({why}); expected a place with room for it; {remedy}")

    def at(self, path: Path) -> WriteError:
        """The same of another file: the one that the user knows."""
        return WriteError(path, self.reason)


@contextmanager
def write_errors(path: Path) -> Iterator[None]:
    """Turn the operating system's errors of the block into a WriteError about ``path``."""
    try:
        yield
    except WriteError:
        raise
    except OSError as error:
        raise WriteError(path, error) from error


def temporary_name(name: str, what: str = "part") -> str:
    """A hidden name for what is to become ``name``, with its suffix, by which writers choose a format."""
    stem, suffix = os.path.splitext(name)
    return f".{stem}.{os.getpid()}-{secrets.token_hex(4)}.{what}{suffix}"


def leftovers(folder: Path, names: Iterable[str]) -> list[Path]:
    """Temporary files and folders of ``names`` in ``folder`` whose process is gone. (Older versions had other
    names.)"""
    forms = "|".join(
        rf"{re.escape(stem)}\.(\d+)(-[0-9a-f]{{8}})?\.part{re.escape(suffix)}|"
        rf"{re.escape(stem + suffix)}\.(\d+)(-[0-9a-f]{{8}})?\.part"
        for stem, suffix in map(os.path.splitext, names)
    )
    pattern, found = re.compile(rf"\.({forms})"), []
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            match = pattern.fullmatch(entry.name)
            number = match and next(group for group in match.groups()[1:] if group and group.isdigit())
            if number and not _at_work(int(number), entry.stat(follow_symlinks=False).st_mtime):
                found.append(Path(entry.path))
    return found


def _at_work(process: int, changed: float) -> bool:
    """Whether a process that changed something then may still be at it."""
    if process == os.getpid():  # containers number their processes alike
        return changed >= STARTED
    if sys.platform == "win32":  # where os.kill ends a process instead of asking for it
        import ctypes

        kernel = ctypes.windll.kernel32
        handle = kernel.OpenProcess(0x00100000, False, process)  # the right to wait for it, the least there is
        denied = not handle and kernel.GetLastError() == 5
        kernel.CloseHandle(handle)
        return bool(handle) or denied
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # somebody else's
        return True
    return True


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Yield a temporary name beside ``path``; at the end it is on the disk and becomes ``path`` in one step.

    If the block is left by any exception, Ctrl-C included, the temporary file is removed and ``path`` stays as it was.
    The folder is made where it is missing; what killed processes left of the same file is removed. WriteError for what
    the operating system does not allow, in the block too.
    """
    path = Path(path)
    temporary = path.with_name(temporary_name(path.name))
    with write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        for left in leftovers(path.parent, [path.name]):
            with suppress(OSError):
                left.unlink()
        try:
            yield temporary
            with open(temporary, "rb+") as handle:
                os.fsync(handle.fileno())
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
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


def save_tensors(path: str | Path, tensors: Mapping[str, Tensor], facts: Mapping[str, str]) -> None:
    """Write tensors and facts about them as .safetensors, atomically."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    bytearray(SAFETENSORS_NEEDS)
    with whole_file(path) as temporary:
        try:
            save_file(dict(tensors), str(temporary), metadata=dict(facts))
        except SafetensorError as error:  # it has no errors of its own for the disk's
            number = re.search(r"os error (\d+)", str(error))
            raise OSError(int(number[1]), os.strerror(int(number[1]))) if number else OSError(str(error)) from error


def read_json(path: str | Path) -> dict[str, Any]:
    """What ``write_json`` wrote to ``path``; empty where there is no such file, or a damaged one, or none of keys."""
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8")) if Path(path).is_file() else None
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def write_json(path: str | Path, value: Any) -> None:
    """Write ``value`` (see ``plain``) as indented JSON, atomically."""
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(plain(value), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def save_png(path: str | Path, picture: np.ndarray) -> None:
    """Write uint8 [H, W, 3] as PNG, atomically."""
    from PIL import Image

    with whole_file(path) as temporary:
        Image.fromarray(picture).save(temporary, format="PNG", optimize=True)
