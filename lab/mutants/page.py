"""What the last samples of mutants gave, as a page, with why the survivors live."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from ..pages import render, write_page
from ..paths import BENCHMARKS
from .sample import ROOMS

PAGE = BENCHMARKS / "mutants"
REASONS = BENCHMARKS / "mutants_reasons.yaml"
UNKNOWN = "not looked at"


def write(command: str, lines: Sequence[dict[str, Any]]) -> Path:
    """docs/benchmarks/mutants.md and .json. lines: of mutants.jsonl, one for every mutant."""
    reasons = yaml.safe_load(REASONS.read_text(encoding="utf-8")) or {}
    rooms = []
    for room in ROOMS:
        mine = [line for line in lines if line["file"].startswith(f"{room}/")]
        counts = {kind: sum(line["outcome"] == kind for line in mine) for kind in ("killed", "timeout", "survived")}
        rooms.append({"room": room, "mutants": len(mine), **counts})
    living = [
        {name: line[name] for name in ("file", "before", "after")} | {"reason": reasons.get(line["key"], UNKNOWN)}
        for line in sorted(lines, key=lambda line: (line["file"], line["line"]))
        if line["outcome"] == "survived"
    ]
    found = {"command": command, "rooms": rooms, "survivors": living}
    return write_page(PAGE, found, render("mutants", found=found))
