"""Results as JSON lines: one a line, added whole, so that a run that was stopped goes on where it was."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a file, none where there is no file. A last line that was cut off, or that another process is
    writing, is left out; ValueError for a damaged one before it."""
    lines = []
    for number, line in enumerate(_complete(path).decode("utf-8").splitlines(), 1):
        try:
            lines.append(json.loads(line))
            if not isinstance(lines[-1], dict):
                raise ValueError
        except (ValueError, RecursionError):
            raise ValueError(
                f"{path} line {number} is no JSON object; expected one result a line; delete that line, its cell is "
                "run again"
            ) from None
    return lines


def resume(path: Path) -> list[dict[str, Any]]:
    """`read_lines`, and what was cut off when a run was stopped is removed from the file."""
    if path.exists() and len(whole := _complete(path)) < path.stat().st_size:
        os.truncate(path, len(whole))
    return read_lines(path)


def add_line(path: Path, line: Mapping[str, Any]) -> None:
    """Append to the file, and have it on the disk."""
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(line, ensure_ascii=False) + "\n")
        file.flush()
        os.fsync(file.fileno())


def _complete(path: Path) -> bytes:
    """Up to the last end of a line."""
    every = path.read_bytes() if path.exists() else b""
    return every[: every.rfind(b"\n") + 1]
