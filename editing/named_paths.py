"""A name that a file or a graph holds becomes a path here, and nowhere else: whoever sends a file chooses its names."""

from __future__ import annotations

import ntpath
import os
import re
from pathlib import Path

# What Windows opens in place of a file, in every folder and with any ending.
DEVICES = {
    "CON",
    "PRN",
    "AUX",
    "NUL",
    "CONIN$",
    "CONOUT$",
    *(f"{port}{n}" for port in ("COM", "LPT") for n in "123456789"),
}


def path_within(folder: Path, name: str, what: str) -> Path:
    """``folder / name``, absolute, if that lies below ``folder`` on every system, whatever "..", drive, root, link or
    device the name holds. ``folder`` itself may be a link; the path need not exist.

    ValueError, which calls the name ``what``, otherwise.
    """
    root = Path(os.path.abspath(folder))
    try:
        os.fsencode(name)
        path = Path(os.path.abspath(os.path.join(root, name)))
        inside = "\0" not in name and root in path.parents and root.resolve() in path.resolve().parents
    except (OSError, RuntimeError, ValueError):  # links in a circle; text that is no name
        inside = False
    if not inside or _is_elsewhere_on_windows(name):
        raise ValueError(f"{what}: {name!r} leads out of the folder {root}; name a file inside it.")
    return path


def file_named(name: str) -> Path | None:
    """The file that a name leads to, anywhere on this machine; None where it is no regular file, or another machine's
    (to open a pipe or a device may wait for ever; a server is told who asks)."""
    if name.startswith(("\\\\", "//")):
        return None
    try:
        path = Path(name)
        return path if path.is_file() else None
    except (OSError, ValueError):
        return None


def _is_elsewhere_on_windows(name: str) -> bool:
    """Whether Windows takes a name for a drive, a way up or a device, although another system does not."""
    if os.name != "nt" and ntpath.splitdrive(name)[0]:
        return True
    if ntpath.normpath(name).split("\\")[0] == "..":
        return True
    return any(re.split(r"[.:]", part)[0].rstrip(" ").upper() in DEVICES for part in re.split(r"[\\/]", name))
