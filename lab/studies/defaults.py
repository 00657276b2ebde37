"""The pages of docs/benchmarks/defaults/: what every default was chosen by, which targets are met, what of the
paper comes out.

    videograin bench --out out/bench --frames 4 --steps 16 --keep
    videograin bench --out out/halves --frames 4 --steps 16 --split tuning --vary self_halves=cond,uncond
    python -m videograin.lab.studies.defaults --main out/bench --runs out/halves [...] [--out docs/benchmarks/defaults]

Nothing is measured here: figures and verdicts are computed from the lines in those folders. What was decided stands in
defaults/decisions.yaml; a decision that the figures contradict is an error.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from ..bench.page import as_markdown, plot, plot_kinds
from ..bench.table import facts as table_facts
from ..bench.table import groups_of, inverted
from ..pages import render
from ..paths import BENCHMARKS
from .clock import facts
from .defaults_claims import fig_14, table_3, targets
from .defaults_page import measured_with, write_pages
from .defaults_sums import TOLERANCE, Runs, check_decision, default_text, plain, read_runs, sweep, sweeps

DECISIONS = BENCHMARKS / "defaults" / "decisions.yaml"


def collect(main: Runs, swept: Runs) -> dict[str, Any]:
    """Everything that the pages say but the decisions, as JSON values."""
    names = sweeps(swept)
    inversions = [
        {"how": one["how"], "psnr": plain(one["round_trip_psnr"]), "std": one["noise_std"], "seconds": one["seconds"]}
        for one in inverted(swept.inversions)
    ]
    return {
        "setup": dict(swept.setup or main.setup),
        "main_setup": dict(main.setup),
        "main_values": {name: main_value(main, name) for name in names if name not in TOLERANCE},
        "clips": {"main": len({c.clip for c in main.cells}), "runs": len({c.clip for c in swept.cells})},
        "splits": {"main": main.split, "runs": swept.split},
        "defaults": {name: sweep(swept, name, labels) for name, labels in names.items()},
        "inversions": inversions,
        "targets": targets(main, swept),
        "table_3": table_3(main),
        "fig_14": fig_14(swept),
    }


def main_value(main: Runs, name: str) -> str | None:
    """What the systems were measured with where a sweep tried others; None where their setup does not say."""
    try:
        return default_text(main, name)
    except KeyError:
        return None


def write_systems(main: Runs, command: str, out: Path, settings: str) -> list[Path]:
    """The benchmark's own page and pictures of all systems, as `videograin bench` makes them. settings: what follows
    the page."""
    groups = groups_of([cell for cell in main.cells if not cell.vary])
    files = [out / name for name in ("systems.md", "systems.png", "systems_kinds.png")]
    page = as_markdown(groups, table_facts(groups, main.inversions), command)
    page = page.replace("bench.png", files[1].name).replace("kinds.png", files[2].name)
    files[0].write_text(f"{page}\n{settings}", encoding="utf-8")
    plot(groups, files[1])
    plot_kinds(groups, files[2])
    return files


def wrong_decisions(found: Mapping[str, Any], stated: Mapping[str, Any]) -> list[str]:
    """What `check_decision` says of every default that was varied to choose it."""
    chosen = {name: values for name, values in found["defaults"].items() if name not in TOLERANCE}
    wrong = [check_decision(name, values, stated.get(name)) for name, values in chosen.items()]
    return [text for text in wrong if text]


def read_decisions(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text(encoding="utf-8")) or {} if path.exists() else {}


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--main", type=Path, nargs="*", default=[], help="folders of runs of all systems")
    parser.add_argument("--runs", type=Path, nargs="*", default=[], help="folders of runs with --vary")
    parser.add_argument("--decisions", type=Path, default=DECISIONS, help="what was decided (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("out/defaults"), help="folder of the pages")
    args = parser.parse_args(words)
    if not args.main and not args.runs:
        parser.error("give folders of videograin bench: --main, --runs or both")
    empty = Runs((), (), {})
    try:
        read = [read_runs(folders) if folders else empty for folders in (args.main, args.runs)]
        found = collect(*read)
    except (KeyError, OSError, ValueError) as error:
        parser.error(str(error.args[0] if isinstance(error, KeyError) else error))
    folders = [f"--{name} {shlex.join(map(str, some))}" for name in ("main", "runs") if (some := getattr(args, name))]
    found = {
        **facts("cpu"),
        "command": f"python -m videograin.lab.studies.defaults {' '.join(folders)} --out {args.out}",
        **found,
    }
    stated = read_decisions(args.decisions)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "defaults.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    files = write_pages(found, stated, args.out)
    if args.main:
        settings = render("defaults/measured_with", **measured_with(found, stated))
        files += write_systems(read[0], found["command"], args.out, settings)
    for file in files:
        print(file)
    wrong = wrong_decisions(found, stated)
    for text in wrong:
        print(f"{args.decisions}: {text}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
