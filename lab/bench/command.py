"""`videograin bench`: the benchmark of lab/bench/bench.py as a command, and its page, table, figures and plot."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ...editing.fields import SettingError
from ...editing.result_set import clear_leftovers, whole_set
from ...editing.whole_file import save_png, write_json
from ...measuring.pictures.sheets import contact_sheet
from ...runner.edit_keys import device_of
from ...runner.preflight import chosen_device, device_problem
from ...runner.progress import ConsoleProgress
from ...runner.report import settings_facts
from . import bench
from . import page as bench_page
from . import table as bench_table
from .records import Records
from .settings import BenchSettings, variations
from .systems import pick_systems
from .tasks import EditTask

FAST = {"frames": 4, "steps": 12, "seeds": 1}
FULL = {"frames": 8, "steps": 50, "seeds": 3}


def main(args: argparse.Namespace) -> int:
    """The command. args: out, fast, frames, steps, seeds, clips, objects, each, split, part, keep, device, tasks,
    systems, vary, quiet."""
    from ...hosts.diffusers import load_model

    chosen = {name: getattr(args, name) or (FAST if args.fast else FULL)[name] for name in FULL}
    settings = BenchSettings()
    settings = replace(settings, sampling=replace(settings.sampling, steps=chosen["steps"]))
    names = _names(args.systems) or (["ours"] if args.vary else None)
    specs = bench.pick_specs(_names(args.tasks), args.clips, args.fast, args.split, args.objects, args.each)
    plan = bench.Plan(
        specs=tuple(specs),
        seeds=tuple(range(chosen["seeds"])),
        systems=tuple(pick_systems(names)),
        variations=variations(settings, args.vary or ()),
        frames=chosen["frames"],
        strips=Path(args.out) / "edits" if args.keep else None,
    )
    check_device(args.device)
    progress = ConsoleProgress(quiet=args.quiet)
    with progress.stage("load model"):
        model = load_model(device=chosen_device(args.device))
    setup = {
        "model": model.fingerprint,
        "device": model.device.type,
        "frames": plan.frames,
        "size": plan.size,
        **{f"{part}.{name}": v for part, items in settings_facts(settings).items() for name, v in items.items()},
    }
    records = Records(args.out, setup)
    number, parts = args.part
    mine = replace(plan, specs=plan.specs[number - 1 :: parts])
    left = bench.total_cells(mine, records)
    progress.say(f"{len(mine.specs)} clips, {left} edits to run; stop with Ctrl-C, the same command goes on")
    sheet = _Sheet(plan)
    if left:
        with progress.stage("edits", left) as tick:
            bench.run(model, mine, records, lambda *edit: (sheet.add(*edit), tick()))
    records.reload()  # with what other processes added meanwhile
    if not records.cells:
        progress.say("nothing was measured yet")
        return 0
    sheet.fill()
    picture = sheet.picture() if sheet.complete else None
    files = write_results(Path(args.out), records, plan, command_of(args), picture)
    print(files[0].read_text(encoding="utf-8"))
    for file in files:
        print(file)
    return 0


def check_device(device: str) -> None:
    """ValueError for a device that is not there."""
    try:
        wrong = device_problem(device_of(device))
    except SettingError as error:
        wrong = str(error)
    if wrong:
        raise ValueError(f"--device: {wrong}")


def write_results(
    out: Path, records: Records, plan: bench.Plan, command: str, sheet: np.ndarray | None = None
) -> list[Path]:
    """bench.* and kinds.png from all lines of the plan's clips, seeds, systems and variations, and sheet.png where
    there is one (uint8 [H, W, 3]): all of them together, or none."""
    wanted = {(s.name, *cell) for s in plan.specs for cell in ((a, b.name, c) for a, b, c in plan.cells(s))}
    cells = [cell for key, cell in records.cells.items() if key in wanted]
    hows = {settings.inverted_with for settings in plan.variations.values()}
    clips = {spec.name for spec in plan.specs}
    inversions = [one for one in records.inversions.values() if one.clip in clips and one.how in hows]
    groups = bench_table.groups_of(cells)
    found = bench_table.facts(groups, inversions)
    names = [*(f"bench.{kind}" for kind in ("md", "json", "csv", "png")), "kinds.png"]
    clear_leftovers(out, names)
    with whole_set(out, "bench.json") as new:
        page = bench_page.as_markdown(groups, found, command)
        (new / "bench.md").write_text(page, encoding="utf-8")
        (new / "bench.csv").write_text(bench_table.as_csv(found), encoding="utf-8")
        write_json(new / "bench.json", {"command": command, **found})
        bench_page.plot(groups, new / "bench.png")
        bench_page.plot_kinds(groups, new / "kinds.png")
        if sheet is not None:
            names.append("sheet.png")
            save_png(new / "sheet.png", sheet)
    return [out / name for name in names]


class _Sheet:
    """The first clip's first edit by every system, once all of them were run in one go, or were kept."""

    def __init__(self, plan: bench.Plan):
        self._plan, spec = plan, plan.specs[0]
        self._cells = [(spec.name, seed, s.name, label) for seed, s, label in plan.cells(spec) if seed == plan.seeds[0]]
        self._frames: dict[Any, np.ndarray] = {}
        self._task: EditTask | None = None

    def add(self, task: EditTask, system: Any, label: str, frames: np.ndarray) -> None:
        key = (task.spec.name, task.seed, system.name, label)
        if key in self._cells:
            self._task, self._frames[key] = task, frames

    def fill(self) -> None:
        """Take from the kept edits what this run did not make."""
        spec, seed = self._plan.specs[0], self._plan.seeds[0]
        for system in self._plan.systems:
            for label in self._plan.variations:
                key = (spec.name, seed, system.name, label)
                found = bench.kept_edit(self._plan, *key) if key in self._cells and key not in self._frames else None
                if found is not None:
                    self._task, self._frames[key] = found

    @property
    def complete(self) -> bool:
        return len(self._frames) == len(self._cells) > 0

    def picture(self) -> np.ndarray:
        """uint8 [H, W, 3]: the source, the ideal result and every system's."""
        rows = [("source", self._task.clip.frames), ("ideal result", self._task.ideal.frames)]
        rows += [(bench_table.title_of(key[2:]), self._frames[key]) for key in self._cells]
        return contact_sheet(rows, title=f"{self._task.source_prompt}  ->  {self._task.prompt}")


def command_of(args: argparse.Namespace) -> str:
    """The command that makes the same results."""
    words = ["videograin bench"]
    words += ["--fast"] if args.fast else []
    words += [f"--device {args.device}"] if args.device != "cpu" else []
    words += [f"--split {args.split}"] if args.split != "test" else []
    for name in ("frames", "steps", "seeds", "clips", "tasks", "systems"):
        value = getattr(args, name)
        words += [f"--{name} {_quoted(str(value))}"] if value else []
    words += [f"--vary {_quoted(wish)}" for wish in args.vary or ()]
    return " ".join(words)


def _quoted(text: str) -> str:
    return f'"{text}"' if " " in text else text


def _names(text: str | None) -> list[str] | None:
    """A comma-separated list, None where it was not given."""
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]
