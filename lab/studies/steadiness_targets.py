"""The page of steady edits' targets: each with the figure of edits held steady and of the same edits not held so.

    videograin bench --clips 60 --seeds 1 --frames 4 --steps 16 --systems ours --vary steady=false --out out/steady
    python -m videograin.lab.studies.steadiness_targets --main out/steady --out docs/benchmarks/steadiness

Nothing is measured here. --main: the clips that are reported on, and others of the same setup (``--each``, ``--tasks``,
``--vary masks=...``, all other systems); --eight: longer clips; --long: lines of long_steadiness.py. A target that is
not met needs a reason in steadiness_reasons.yaml (beside the page); one that is, must have none there.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from ..bench.bootstrap import Interval, mean_interval
from ..bench.records import Cell
from ..bench.settings import BenchSettings
from ..bench.systems import SYSTEMS
from ..bench.table import MEASURES, Group
from ..json_lines import read_lines
from ..pages import render, write_page
from ..paths import BENCHMARKS
from .clock import facts
from .defaults_claims import MET, MISSED, OPEN, RELATED, RIVALS, ratio_interval
from .defaults_sums import OURS, Runs, read_runs
from .long_steadiness import SHOWN as LONG_SHOWN

STEADY, PLAIN = (OURS, ""), (OURS, "steady=false")
WANTED = 24  # clips that a row should rest on
DAMAGES = ("shrink", "drop", "holes", "boxes", "grow", "shake")
RATIOS = {"own": "own_ideal", "warp": "warp_ideal"}
Test = Callable[[Cell], bool]


@dataclass
class Table:
    """The rows so far, as JSON values. reasons: name of a row -> why its target is missed."""

    reasons: Mapping[str, str]
    rows: list[dict[str, Any]] = field(default_factory=list)

    def add(
        self,
        name: str,
        target: str,
        ours: Interval,
        limits: tuple[float | None, float | None],
        show: Callable[[Interval], str],
        plain: Interval | None = None,
        note: str = "",
    ) -> None:
        """limits: (least, most) that meet the target; (None, None): reported alone."""
        least, most = limits
        met = None
        if ours.count and limits != (None, None):
            met = (least is None or ours.mean >= least) and (most is None or ours.mean <= most)
        verdict = OPEN if not ours.count else "reported" if met is None else MET if met else MISSED
        self.rows.append(
            {
                "name": name,
                "target": target,
                "plain": _beside(show, plain, ours.count) if plain and plain.count else "-",
                "figure": show(ours) + note if ours.count else "-",
                "clips": ours.count,
                "verdict": verdict,
                "reason": self.reasons.get(name, ""),
            }
        )


def _beside(show: Callable[[Interval], str], plain: Interval, count: int) -> str:
    """The figure of edits not held steady, with its clips where they are others than those of edits that are."""
    return show(plain) + ("" if plain.count == count else f" ({plain.count} clips)")


def shares(table: Table, name: str, cells: Sequence[Cell], measure: str, **limit: float) -> None:
    """A row of a measure's mean: min= or max= as the measure is stored; neither: reported alone."""
    group, shown = Group(name, tuple(cells)), MEASURES[measure]
    least, most = limit.get("min"), limit.get("max")
    sign, edge = (">=", least) if least is not None else ("<=", most)
    target = "-" if edge is None else f"{sign} {edge * shown.scale:g}"
    ours, plain = (group.interval(row, measure) for row in (STEADY, PLAIN))
    table.add(name, target, ours, (least, most), shown.show, plain)


def ratios(table: Table, name: str, cells: Sequence[Cell], measure: str, most: float | None) -> None:
    """A row of own or warp over the ideal's: sum over sum of the clips' means."""
    group = Group(name, tuple(cells))
    ours, plain = (
        ratio_interval(group.values(row, measure), group.values(row, RATIOS[measure])) for row in (STEADY, PLAIN)
    )
    target = "-" if most is None else f"<= {most:g}"
    table.add(name, target, ours, (None, most), _times, plain)


def _times(found: Interval) -> str:
    return f"{found.mean:.2f} [{found.low:.2f}, {found.high:.2f}] x"


def _points(found: Interval) -> str:
    return f"{100 * found.mean:+.1f} [{100 * found.low:+.1f}, {100 * found.high:+.1f}] points"


def rows(main: Runs, eight: Runs, reasons: Mapping[str, str], first: set[str]) -> list[dict[str, Any]]:
    """All rows. first: names of the clips that all figures but those of single kinds rest on."""
    table = Table(reasons)
    cells = [cell for cell in main.cells if (cell.system, cell.vary) in (STEADY, PLAIN)]
    every = [cell for cell in cells if cell.clip in first]
    learnt = [cell for cell in every if cell.trained]
    longer = [cell for cell in eight.cells if cell.trained]

    def some(test: Test) -> list[Cell]:
        return [cell for cell in cells if test(cell)]

    shares(table, "all regions right, learnt scenes, % of frames", learnt, "union", min=0.92)
    shares(table, "all regions right, learnt scenes, % of clips of 4 frames", learnt, "union_clip", min=0.82)
    shares(table, "all regions right, learnt scenes, % of clips of 8 frames", longer, "union_clip", min=0.78)
    two = some(lambda c: c.kind == "instance" and c.objects == 2)
    three = some(lambda c: c.kind == "instance" and c.objects >= 3)
    shares(table, "all regions right, two instances, % of frames", two, "union", min=0.9)
    shares(table, "all regions right, three objects, % of frames", three, "union", min=0.75)
    shares(
        table,
        "all regions right, shape alone changed, % of frames",
        some(lambda c: c.kind == "shape"),
        "union",
        min=0.85,
    )
    shares(table, "all regions right, all scenes, % of frames", every, "union")
    shares(table, "leak, all scenes, %", every, "leak", max=0.005)
    ratios(table, "own warp error / the ideal's, all scenes", every, "own", 1.8)
    ratios(table, "own warp error / the ideal's, learnt scenes", learnt, "own", None)
    ratios(table, "warp error along the ideal's motion / the ideal's, all scenes", every, "warp", None)
    colour = some(lambda c: c.kind == "colour")
    ratios(table, "warp error along the ideal's motion / the ideal's, colour alone changed", colour, "warp", 3.0)
    shares(table, "centre jitter, all scenes, px", every, "centre_jitter", max=0.4)
    shares(table, "centre jitter, learnt scenes, px", learnt, "centre_jitter")
    shares(table, "size jitter, all scenes, %", every, "size_jitter", max=0.009)
    shares(table, "size jitter, learnt scenes, %", learnt, "size_jitter")
    shares(table, "flicker, all scenes, levels of 255", every, "flicker")
    shares(table, "the same thing again after it was hidden, %", cells, "identity")
    damages(table, main)
    rivals(table, main, every)
    stds = {one.clip: one.noise_std for one in main.inversions if one.how == _how(main)}
    if stds:
        low, high = min(stds.values()), max(stds.values())
        worst = Interval(max(abs(low - 1), abs(high - 1)), low, high, len(stds))
        text = f"{low:.3f} to {high:.3f}"
        table.add("`warm` inversion, std of the noise, every clip", ".97 to 1.03", worst, (None, 0.03), lambda _: text)
    shares(table, "outside the blend mask, before the composite, dB", every, "outside_blend_psnr", min=60)
    times(table, main, every)
    return table.rows


def _how(runs: Runs) -> str:
    """What the inversions of the setup itself are called."""
    steps = f"{runs.setup['sampling.steps']} steps"
    return next(
        one.how for one in runs.inversions if one.how.startswith(BenchSettings().inversion.method + f", {steps}")
    )


def damages(table: Table, main: Runs) -> None:
    """Points lost against exact masks, both held steady; at most three each."""
    for change in DAMAGES:
        group = Group(change, main.beside([f"masks={change}"]))
        lost = group.difference(STEADY, (OURS, f"masks={change}"), "union")
        table.add(f"points of all regions right lost, masks: {change}", "<= 3", lost, (None, 0.03), _points)


def rivals(table: Table, main: Runs, every: Sequence[Cell]) -> None:
    """Ahead of the best other system, none of them with our attention or held steady; and of B5 with our attention."""
    known = {cell.clip for cell in main.cells if cell.system in RIVALS}
    group = Group("rivals", tuple(cell for cell in main.cells if cell.clip in known))
    gaps = {name: group.difference(STEADY, (name, ""), "union") for name in RIVALS}
    gaps = {name: gap for name, gap in gaps.items() if gap.count}
    none = Interval(float("nan"), float("nan"), float("nan"), 0)
    best = min(gaps, key=lambda name: gaps[name].mean, default="")
    plain = group.difference(PLAIN, (best, ""), "union") if best else none
    note = f", over {SYSTEMS[best].title}" if best else ""
    for name in RELATED:
        beside = group.difference(STEADY, (name, ""), "union")
        note += f"; over {SYSTEMS[name].title}: {_points(beside)}" if beside.count else ""
    name = "ahead of the best of B0 to B5, all regions right"
    table.add(name, ">= +15", gaps.get(best, none), (0.15, None), _points, plain, note)


def times(table: Table, main: Runs, every: Sequence[Cell]) -> None:
    """Processor time of inversion and edit together, and of the edit alone, over that of the edit not held steady."""
    group = Group("time", tuple(every))
    held, plain = (group.values(row, "seconds") for row in (STEADY, PLAIN))
    inversion = {one.clip: one.seconds for one in main.inversions if one.how == _how(main)}
    both = [{clip: value + inversion[clip] for clip, value in some.items()} for some in (held, plain)]
    alone = ratio_interval(held, plain)
    note = f"; the edit alone {_times(alone)}" if alone.count else ""
    name = f"time of inversion and edit / not held steady, {main.setup['sampling.steps']} steps"
    table.add(name, "<= 1.15", ratio_interval(*both), (None, 1.15), _times, note=note)


def long_rows(path: Path | None) -> list[dict[str, Any]]:
    """{frames, system, clips, measure: mean} of every length and system of long_steadiness.py."""
    lines = read_lines(path) if path else []
    out = []
    for frames, system in sorted({(line["frames"], line["system"]) for line in lines}):
        some = [line for line in lines if (line["frames"], line["system"]) == (frames, system)]
        row: dict[str, Any] = {"frames": frames, "system": system, "clips": len(some)}
        for key in LONG_SHOWN:
            values = [line[key] for line in some if line.get(key) is not None]
            row[key] = float(np.mean(values)) if values else None
        out.append(row)
    return out


def kinds(main: Runs) -> list[dict[str, Any]]:
    """By kind, objects and motion of the clips: all right and own / ideal's, steady and not."""
    cells = [cell for cell in main.cells if (cell.system, cell.vary) in (STEADY, PLAIN)]
    out = []
    for family in sorted({(c.kind, c.objects, c.motion) for c in cells}):
        group = Group("", tuple(c for c in cells if (c.kind, c.objects, c.motion) == family))
        row: dict[str, Any] = {"name": "{}, {}, {}".format(*family), "clips": group.clips, "learnt": group.learnt}
        for name, which in (("steady", STEADY), ("plain", PLAIN)):
            own = [mean_interval(group.values(which, key)).mean for key in ("own", "own_ideal")]
            union = group.interval(which, "union")
            row[name] = {"union": union.mean, "own": own[0] / own[1]} if union.count else None
        out.append(row)
    return out


def wrong_reasons(found: Sequence[Mapping[str, Any]], reasons: Mapping[str, str]) -> list[str]:
    """What is not as the head of this file says."""
    missed = {row["name"] for row in found if row["verdict"] == MISSED}
    lacking = [f"no reason for the missed target {name!r}" for name in sorted(missed - set(reasons))]
    return lacking + [f"a reason for {name!r}, which is not missed" for name in sorted(set(reasons) - missed)]


def page(found: Mapping[str, Any]) -> str:
    """The Markdown page."""
    return render("steadiness", found=found, wanted=WANTED, long_shown=LONG_SHOWN)


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--main", type=Path, nargs="+", required=True, help="folders of videograin bench; the first one is reported on"
    )
    parser.add_argument("--eight", type=Path, nargs="*", default=[], help="the same with clips of 8 frames")
    parser.add_argument("--long", type=Path, help="steadiness.jsonl of long_steadiness.py")
    parser.add_argument("--reasons", type=Path, default=BENCHMARKS / "steadiness_reasons.yaml")
    parser.add_argument("--out", type=Path, default=Path("out/steadiness"), help="the page, without its suffix")
    args = parser.parse_args(words)
    reasons = yaml.safe_load(args.reasons.read_text(encoding="utf-8")) or {} if args.reasons.exists() else {}
    try:
        read, eight = read_runs(args.main), read_runs(args.eight) if args.eight else Runs((), (), {})
        first = {cell.clip for cell in read_runs(args.main[:1]).cells}
    except (OSError, ValueError) as error:
        parser.error(str(error))
    options = " ".join(
        f"--{name} {shlex.join(map(str, given if isinstance(given, list) else [given]))}"
        for name in ("main", "eight", "long")
        if (given := getattr(args, name))
    )
    found = {
        **facts("cpu"),
        "command": f"python -m videograin.lab.studies.steadiness_targets {options} --out {args.out}",
        "setup": {key: read.setup[key] for key in ("frames", "size", "sampling.steps", "sampling.guidance")},
        "split": read.split,
        "clips": len(first),
        "rows": rows(read, eight, reasons, first),
        "kinds": kinds(read),
        "long": long_rows(args.long),
    }
    print(write_page(args.out, found, page(found)))
    wrong = wrong_reasons(found["rows"], reasons)
    for text in wrong:
        print(f"{args.reasons}: {text}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
