"""Inversions as files in ComfyUI's input and output folders, and nowhere else.

A file's name in a graph is its path below the input folder, or below the output folder with " [output]" behind it, as
ComfyUI writes names elsewhere. Only folder_paths is asked of the host, when called.
"""

from __future__ import annotations

import json
import logging
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from ...editing import trajectory_file
from ...editing.named_paths import path_within
from ...editing.trajectory import Trajectory
from ...editing.trajectory_file import FORMAT

SUFFIX = ".safetensors"
OUTPUT, INPUT = " [output]", " [input]"
# Of our files the header is below 10 kB unless a prompt is long; of a checkpoint it is some 100 kB.
LONGEST_HEADER = 2**20
# The frontend asks for the list whenever it draws the nodes: what is looked at has an end, however full a folder is.
MOST_ENTRIES, DEEPEST = 20_000, 8

log = logging.getLogger(__name__)


def save_inversion(trajectory: Trajectory, prefix: str) -> Path:
    """Write <output folder>/<prefix>_00001_.safetensors, or the next free number. Returns the path.

    prefix: may name subfolders (made where missing) and hold %year%, %month%, ... as in Save Image. ValueError for a
    prefix that is empty or leads out of the output folder, and where the file cannot be written.
    """
    import folder_paths

    root = _absolute(folder_paths.get_output_directory())
    if not prefix.strip() or prefix.rstrip().endswith(("/", os.sep)):
        raise ValueError(f"filename_prefix: expected a name such as videograin/inversion, got {prefix!r}.")
    path_within(root, prefix, "filename_prefix")
    try:
        folder, name, counter, _, _ = folder_paths.get_save_image_path(prefix, str(root))
        while (path := Path(folder) / f"{name}_{counter:05}_{SUFFIX}").exists():
            counter += 1
        return trajectory_file.save(trajectory, path)
    except OSError as error:
        raise ValueError(f"cannot write {prefix!r} below {root}: {error}; choose another filename_prefix.") from error


def load_inversion(name: str) -> Trajectory:
    """The inversion with that name; ValueError for anything else."""
    return trajectory_file.load(locate(name))


def describe(trajectory: Trajectory, path: Path) -> str:
    """One line for the node: where the file is, how large, and what it holds."""
    h, w = trajectory.size
    held = f"{trajectory.steps} steps, {trajectory.method}, {trajectory.frames} frames of {w} x {h} latent cells"
    more = ", layout features" if trajectory.features is not None else ""
    return f"{path}\n{path.stat().st_size / 1e6:.3g} MB: {held}{more}"


def list_inversions() -> list[str]:
    """The names of all inversions: those of the input folder first, then those of the output folder."""
    import folder_paths

    places = ((folder_paths.get_input_directory(), ""), (folder_paths.get_output_directory(), OUTPUT))
    return [name + mark for root, mark in places for name in _inversions(_absolute(root))]


def locate(name: str) -> Path:
    """The path of the file with that name, which must exist inside the folder. ValueError otherwise."""
    import folder_paths

    root = folder_paths.get_output_directory() if name.endswith(OUTPUT) else folder_paths.get_input_directory()
    bare = name.removesuffix(OUTPUT).removesuffix(INPUT)
    path = path_within(_absolute(root), bare, "file")
    if path.suffix != SUFFIX or not path.is_file():
        raise ValueError(
            f"file: there is no inversion {name!r} in ComfyUI's input and output folders; make one with Save "
            "Inversion, or press R and choose again."
        )
    return path


def fingerprint(name: str) -> str:
    """Changes whenever the file does: its size and time of writing."""
    state = locate(name).stat()
    return f"{state.st_size} {state.st_mtime_ns}"


def is_inversion(path: Path) -> bool:
    """Whether a .safetensors file says that it is one of ours. Reads its header alone, and of regular files only: to
    open a pipe or a device may wait for ever."""
    try:
        with open(path, "rb", opener=_without_waiting) as handle:
            if not stat.S_ISREG(os.fstat(handle.fileno()).st_mode):
                return False
            length = int.from_bytes(handle.read(8), "little")
            header = json.loads(handle.read(length)) if length <= LONGEST_HEADER else {}
    except (OSError, ValueError, RecursionError):
        return False
    facts = header.get("__metadata__") if isinstance(header, dict) else None
    return isinstance(facts, dict) and facts.get("format") == FORMAT


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _inversions(root: Path) -> list[str]:
    """The inversions below root, sorted: no links are followed, nothing hidden is looked at."""
    found = (path for path in _regular_files(root) if path.suffix == SUFFIX and is_inversion(path))
    return sorted(path.relative_to(root).as_posix() for path in found)


def _regular_files(root: Path) -> Iterator[Path]:
    """All regular files down to DEEPEST folders below root, of at most MOST_ENTRIES entries, the shallow ones first;
    the log says where that left some out."""
    folders, seen = [(root, 0)], 0
    while folders:
        folder, depth = folders.pop(0)
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    seen += 1
                    if seen > MOST_ENTRIES:
                        log.warning(
                            "%s has more than %s entries: inversions behind these are not listed; move some away.",
                            root,
                            MOST_ENTRIES,
                        )
                        return
                    if entry.name.startswith("."):
                        continue
                    if entry.is_dir(follow_symlinks=False) and depth < DEEPEST:
                        folders.append((Path(entry.path), depth + 1))
                    elif entry.is_file(follow_symlinks=False):
                        yield Path(entry.path)
        except OSError as error:  # a folder that cannot be read, or went away meanwhile
            log.info("%s is not looked into: %s", folder, error)


def _absolute(folder: str) -> Path:
    return Path(os.path.abspath(folder))
