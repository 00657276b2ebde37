"""Results that belong together and take their places together: no video stands beside the report of another edit.

    new/ is filled -> it is whole: `ready` -> the old report goes, then old results -> new results come, then the report

All of it by renaming inside one folder, which needs no room. An error on the way takes every step back. A process that
is killed on the way leaves `ready`, and whoever comes next takes the steps that are left.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .whole_file import WriteError, leftovers, temporary_name, write_errors

NAME = "videograin"  # of the folder that holds the new results until they are whole
CLEANING_NEEDS = 2**18  # bytes, kept for the end: removing a folder takes memory too, and there may be none left


@contextmanager
def whole_set(folder: str | Path, last: str, gone: Callable[[], Iterable[Path]] = tuple) -> Iterator[Path]:
    """Yield a new empty folder within ``folder``; at the end all that was put there takes its place in ``folder``.

    last: the file that describes the others: the old one goes first, the new one comes last. gone: what of ``folder``
    goes with the old results (paths relative to it), asked for at the end; a folder that stands there is replaced only
    where it is among these. A folder of files alone is put in place as one; others are filled.
    If the block is left by any exception, everything stays as it was. WriteError for what the operating system does
    not allow, about the file's final place.
    """
    folder = Path(folder)
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    own = folder / temporary_name(NAME)
    new, settled = own / "new", False
    reserve = bytearray(CLEANING_NEEDS)
    try:
        with write_errors(folder):
            new.mkdir(parents=True)
            (own / "last").mkdir()
        try:
            yield new
        except WriteError as error:
            if new not in error.path.parents:
                raise
            raise error.at(folder / error.path.relative_to(new)) from error
        with write_errors(folder):
            os.replace(new / last, own / "last" / last)
            os.replace(new, own / "ready")
            _settle(own, folder, list(gone()))
        settled = True
    finally:
        del reserve
        shutil.rmtree(own, ignore_errors=True)
        for path in () if settled else missing:  # innermost first; rmdir takes empty ones alone
            with suppress(OSError):
                path.rmdir()


def clear_leftovers(folder: Path, names: Iterable[str]) -> None:
    """Remove what processes that are gone left half-written in ``folder`` of the results ``names``, and finish what
    they had begun to put in place. What cannot be removed stays."""
    for path in leftovers(folder, [NAME, *names]):
        with suppress(OSError):
            if path.is_symlink() or not path.is_dir():
                path.unlink()
                continue
            if (path / "ready").is_dir() and not (path / "ready").is_symlink():
                _finish(path, folder)
            shutil.rmtree(path)


def _finish(own: Path, folder: Path) -> None:
    """Take the steps that a killed process left, or, where that cannot be, those back that it took."""
    try:
        _settle(own, folder, [])
    except OSError:
        last = _units(own / "last")
        found = [(unit in last, old, unit) for old in own.glob("old*") for unit in _units(old)]
        for _, old, unit in sorted(found):
            if os.path.lexists(folder / unit):
                os.replace(folder / unit, Path(tempfile.mkdtemp(dir=own)) / unit.name)
            os.replace(old / unit, folder / unit)


def _settle(own: Path, folder: Path, gone: list[Path]) -> None:
    """Put the results in ``own`` in their places in ``folder``, all or none."""
    ready, ends = own / "ready", own / "last"
    units, last = _units(ready), _units(ends)
    for unit in (*units, *last):
        _check_place(folder, unit, (ready / unit).is_dir(), gone)
    old = Path(tempfile.mkdtemp(prefix="old", dir=own))
    replaced = [unit for unit in units if unit not in gone]
    away = [unit for unit in (*last, *gone, *replaced) if os.path.lexists(folder / unit)]
    steps = [(folder / unit, old / unit) for unit in away]
    steps += [(ready / unit, folder / unit) for unit in units] + [(ends / unit, folder / unit) for unit in last]
    try:
        for here, there in steps:
            with write_errors(there):
                there.parent.mkdir(parents=True, exist_ok=True)
                os.replace(here, there)
    except BaseException:
        for here, there in reversed(steps):
            if os.path.lexists(there) and not os.path.lexists(here):
                os.replace(there, here)
        raise


def _units(folder: Path, within: Path = Path()) -> list[Path]:
    """What is put in place as one: files, and folders that hold nothing but files. Relative to ``folder``; no link is
    followed."""
    found = []
    for entry in sorted(os.scandir(folder / within), key=lambda entry: entry.name):
        path = within / entry.name
        if entry.is_dir(follow_symlinks=False):
            inner = list(os.scandir(folder / path))
            if not inner or any(one.is_dir(follow_symlinks=False) for one in inner):
                found += _units(folder, path)
                continue
        found.append(path)
    return found


def _check_place(folder: Path, unit: Path, is_folder: bool, gone: list[Path]) -> None:
    """WriteError where something stands in the way of ``unit`` that is no result of an earlier run."""
    place, wrong = folder / unit, 0
    if is_folder and os.path.lexists(place) and unit not in gone:
        wrong = errno.EEXIST
    elif not is_folder and place.is_dir() and not place.is_symlink():
        wrong = errno.EISDIR
    elif any((folder / above).is_symlink() for above in unit.parents if above != Path()):
        wrong = errno.ENOTDIR
    if wrong:
        raise WriteError(place, OSError(wrong, os.strerror(wrong)))
