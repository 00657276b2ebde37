"""Inversions as files in ComfyUI's input and output folders, and nowhere else.

A file's name in a graph is its path below the input folder, or below the output folder with " [output]" behind it, as
ComfyUI writes names elsewhere. Only folder_paths is asked of the host, when called.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from ...editing import trajectory_file
from ...editing.trajectory import Trajectory
from ...editing.trajectory_file import FORMAT

SUFFIX = ".safetensors"
OUTPUT, INPUT = " [output]", " [input]"
# Of our files the header is below 10 kB unless a prompt is long; of a checkpoint it is some 100 kB.
LONGEST_HEADER = 2**20


def save_inversion(trajectory: Trajectory, prefix: str) -> Path:
    """Write <output folder>/<prefix>_00001_.safetensors, or the next free number. Returns the path.

    prefix: may name subfolders (made where missing) and hold %year%, %month%, ... as in Save Image. ValueError for a
    prefix that is empty or leads out of the output folder, and where the file cannot be written.
    """
    import folder_paths

    root = _absolute(folder_paths.get_output_directory())
    if not prefix.strip() or prefix.rstrip().endswith(("/", os.sep)):
        raise ValueError(f"filename_prefix: expected a name such as videograin/inversion, got {prefix!r}.")
    inside(root, prefix, "filename_prefix")
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
    path = inside(_absolute(root), bare, "file")
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


def inside(root: Path, name: str, what: str) -> Path:
    """root / name, if that lies below root, whatever "..", drive or root the name holds. Links are the owner's choice
    and are followed. ValueError, which calls the name `what`, otherwise."""
    path = Path(os.path.abspath(os.path.join(root, name)))
    if "\0" in name or path == root or root not in path.parents:
        raise ValueError(f"{what}: {name!r} leads out of the folder {root}; name a file inside it.")
    return path


def is_inversion(path: Path) -> bool:
    """Whether a .safetensors file says that it is one of ours. Reads its header alone."""
    try:
        with open(path, "rb") as handle:
            length = int.from_bytes(handle.read(8), "little")
            header = json.loads(handle.read(length)) if length <= LONGEST_HEADER else {}
    except (OSError, ValueError, RecursionError):
        return False
    facts = header.get("__metadata__") if isinstance(header, dict) else None
    return isinstance(facts, dict) and facts.get("format") == FORMAT


def _inversions(root: Path) -> list[str]:
    found, seen = [], set()
    for folder, folders, names in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:  # links may lead in a circle
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths = (Path(folder) / name for name in names if name.endswith(SUFFIX) and not name.startswith("."))
        found += [path.relative_to(root).as_posix() for path in paths if is_inversion(path)]
    return sorted(found)


def _absolute(folder: str) -> Path:
    return Path(os.path.abspath(folder))
