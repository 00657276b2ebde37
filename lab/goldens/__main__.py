"""The command: see __init__.py."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from ..comfyui_server import Client, Server
from . import __doc__ as text
from .facts import PACK
from .nodes import comfyui
from .runner import runner


def write(folder: Path, only: str, place: str | None) -> None:
    print(f"videograin: {PACK}", file=sys.stderr)
    file = folder / "goldens.json"
    goldens = json.loads(file.read_text()) if file.exists() else {}

    def record(room: str, cases: Iterator[tuple[str, Any]]) -> None:
        for name, make in cases:
            if only in f"{room}/{name}":
                began = time.monotonic()
                try:
                    goldens[f"{room}/{name}"] = make()
                except RuntimeError as error:  # the server refused it: that is what is seen
                    goldens[f"{room}/{name}"] = {"error": str(error).splitlines()}
                print(f"{room}/{name}: {time.monotonic() - began:.1f} s", file=sys.stderr)
                file.write_text(json.dumps(goldens, indent=1))

    if place is None:
        (folder / "runner").mkdir(parents=True, exist_ok=True)
        record("runner", runner((folder / "runner").resolve()))
    else:
        (folder / "comfyui").mkdir(parents=True, exist_ok=True)
        results = (folder / "comfyui").resolve()
        with _server(place, results / "base") as comfy:
            record("comfyui", comfyui(results, comfy))


def _server(place: str, base: Path) -> AbstractContextManager[Client]:
    """The server at a URL, or one that is started from a checkout with PACK as its only pack."""
    if place.startswith("http"):
        return nullcontext(Client(place))
    shutil.rmtree(base, ignore_errors=True)
    return Server(Path(place), base, pack=PACK)


def flat(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, (dict, list)) and value:
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from flat(item, f"{name} > {key}")
    else:
        yield name, value


def compare(one: Path, other: Path, only: str) -> int:
    """Print what differs; returns how many values do."""
    sides = []
    for folder in (one, other):
        cases = json.loads((folder / "goldens.json").read_text())
        sides.append({k: v for name, case in sorted(cases.items()) if only in name for k, v in flat(case, name)})
    missing = object()
    names = list(dict.fromkeys([*sides[0], *sides[1]]))
    different = [n for n in names if sides[0].get(n, missing) != sides[1].get(n, missing)]
    for name in different:
        was, now = ("(nothing)" if (v := side.get(name, missing)) is missing else repr(v) for side in sides)
        print(f"{name}\n  - {was}\n  + {now}")
    if not different and list(sides[0]) != list(sides[1]):
        print("the order of the keys differs")
        return 1
    print(f"{len(names)} values, {len(different)} differ")
    return len(different)


def main() -> int:
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("write", "compare"))
    parser.add_argument("folders", type=Path, nargs="+", metavar="DIR")
    parser.add_argument("--comfyui", metavar="PATH-or-URL", help="the nodes, in this ComfyUI (else: the command)")
    parser.add_argument("--only", default="", metavar="TEXT", help="cases whose name contains it")
    args = parser.parse_args()
    if len(args.folders) != (1 if args.what == "write" else 2):
        parser.error("write takes one folder, compare two")
    if args.what == "write":
        write(args.folders[0], args.only, args.comfyui)
        return 0
    return 1 if compare(*args.folders, args.only) else 0


if __name__ == "__main__":
    sys.exit(main())
