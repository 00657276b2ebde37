"""What the benchmark measured so far: one JSON line a cell (clip, seed, system, variation); a stopped run goes on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...editing.whole_file import plain, write_json
from ..json_lines import add_line, read_lines, resume

CELLS, INVERSIONS, SETUP = "cells.jsonl", "inversions.jsonl", "setup.json"


class BenchError(ValueError):
    """A folder of results that belongs to another run. The text says which, and what to do."""


@dataclass(frozen=True)
class Cell:
    """One edit. vary: the label of the variation, "" for the settings themselves; trained: whether the model learnt
    such scenes; metrics: of world_metrics, nan where there was nothing to measure; seconds: of processor time, nan
    where a kept edit was judged again."""

    clip: str
    seed: int
    system: str
    vary: str
    kind: str
    objects: int
    motion: str
    trained: bool
    metrics: Mapping[str, float]
    seconds: float

    @property
    def key(self) -> tuple[str, int, str, str]:
        return self.clip, self.seed, self.system, self.vary


@dataclass(frozen=True)
class InversionCell:
    """One inversion. how: BenchSettings.inverted_with; round_trip_psnr in dB against the autoencoder alone; noise_std:
    of z_T, ideally 1."""

    clip: str
    how: str
    trained: bool
    round_trip_psnr: float
    noise_std: float
    seconds: float

    @property
    def key(self) -> tuple[str, str]:
        return self.clip, self.how


class Records:
    """The results in one folder. Reading them again gives what was added."""

    def __init__(self, folder: str | Path, setup: Mapping[str, Any]):
        """Open or begin. setup: what all results must share (model, frames, settings ...), JSON values. BenchError
        where the folder holds results of another setup, ValueError where a line in the middle is damaged."""
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        _check_setup(self.folder / SETUP, setup)
        for name in (CELLS, INVERSIONS):
            resume(self.folder / name)
        self.reload()

    def reload(self) -> None:
        """Read the lines again: other processes may have added some. No file is changed."""
        self.cells, self.inversions = _read(self.folder)

    def add(self, cell: Cell | InversionCell) -> None:
        """Keep a result, in memory and as one whole line on the disk."""
        inversion = isinstance(cell, InversionCell)
        (self.inversions if inversion else self.cells)[cell.key] = cell
        add_line(self.folder / (INVERSIONS if inversion else CELLS), plain(asdict(cell)))


def read_folder(folder: str | Path) -> tuple[list[Cell], list[InversionCell], dict[str, Any]]:
    """What a folder holds: its edits, inversions and setup ({} without). Nothing is changed, also while a run adds to
    it; ValueError for a damaged line, FileNotFoundError without results."""
    folder = Path(folder)
    cells, inversions = _read(folder)
    if not cells:
        raise FileNotFoundError(f"{folder} holds no {CELLS}; expected a folder of videograin bench --out; correct it")
    setup = folder / SETUP
    known = _setup(setup) if setup.exists() else {}
    return list(cells.values()), list(inversions.values()), known


def _read(folder: Path) -> tuple[dict[tuple, Cell], dict[tuple, InversionCell]]:
    """All results by their keys; of two under one key the later."""
    cells, inversions = (
        [_record(kind, line, folder / name, number) for number, line in enumerate(read_lines(folder / name), 1)]
        for kind, name in ((Cell, CELLS), (InversionCell, INVERSIONS))
    )
    return {one.key: one for one in cells}, {one.key: one for one in inversions}


def _setup(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise BenchError(f"{path} is damaged; expected the setup of a run; give another --out, or delete it")
    return found


def _record(kind: type, line: dict[str, Any], path: Path, number: int) -> Any:
    try:
        found = kind(**_floats(line))
        hash(found.key)
        return found
    except (TypeError, ValueError, AttributeError):
        raise BenchError(
            f"{path} line {number} is no result; expected the keys of {kind.__name__}; delete that line, its cell is "
            "run again"
        ) from None


def _check_setup(path: Path, setup: Mapping[str, Any]) -> None:
    if not path.exists():
        write_json(path, setup)
        return
    before = _setup(path)
    wrong = [name for name in {**before, **setup} if before.get(name) != setup.get(name)]
    if wrong:
        facts = "; ".join(f"{name}: there {before.get(name)!r}, now {setup.get(name)!r}" for name in wrong)
        raise BenchError(
            f"{path.parent} holds results of another run ({facts}); expected one setup a folder; give another "
            "--out, or the same options"
        )


def _floats(line: dict[str, Any]) -> dict[str, Any]:
    """nan and inf, which JSON has not and `plain` writes as text, as numbers again (all metrics are numbers)."""
    out = dict(line)
    if "metrics" in out:
        out["metrics"] = {name: float(value) for name, value in out["metrics"].items()}
    for name in ("round_trip_psnr", "noise_std", "seconds"):
        if name in out:
            out[name] = float(out[name])
    return out
