"""The benchmark: clips x seeds x systems (x variations) from shared inversions, on the rendered world.

    specs -> for every clip: invert once -> for every seed: a task -> for every system: edit, judge, one line

No printing and no command line; lab/bench/command.py has those. What is missing for a clip is found out from the lines,
so a run that was stopped goes on, and more systems or variations are added to the same folder. With `Plan.strips` the
edits themselves are kept too; lines that were removed are then judged again without editing again.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...editing.pipeline import invert_clip
from ...editing.trajectory import Trajectory
from ...measuring.metrics.pixels import psnr_outside_blend
from ...measuring.round_trip import measure_round_trip
from ...world.clips import WorldClip
from .judge import Judge, decibels, measure_rest
from .records import Cell, InversionCell, Records
from .settings import BenchSettings
from .strips import load_strip, save_strip, strip_file
from .systems import System
from .systems.common import areas_in, composited, regions_of
from .tasks import PAN, USUAL, ClipSpec, EditTask, clip_specs, edit_task

#: The subset for a quick look and for CI: (kind, objects, motion) of the clips numbered 0.
FAST = (("instance", 2, "apart"), ("one kept", 2, "apart"))


@dataclass(frozen=True)
class Plan:
    """What is to be run. variations: label -> settings, "" for the unchanged ones (bench_settings.variations). strips:
    a folder for the decoded frames of every edit (strips.py), None = they are not kept."""

    specs: tuple[ClipSpec, ...]
    seeds: tuple[int, ...]
    systems: tuple[System, ...]
    variations: Mapping[str, BenchSettings]
    frames: int = 8
    size: int = 128
    strips: Path | None = None

    def cells(self, spec: ClipSpec) -> Iterator[tuple[int, System, str]]:
        """(seed, system, label) of one clip. What is no editor does not vary."""
        for seed in self.seeds:
            for label in self.variations:
                for system in self.systems:
                    if system.edits or not label:
                        yield seed, system, label

    def missing(self, spec: ClipSpec, records: Records) -> list[tuple[int, System, str]]:
        """Those of `cells` that have no line yet."""
        done = records.cells
        return [(seed, s, label) for seed, s, label in self.cells(spec) if (spec.name, seed, s.name, label) not in done]


def fast_specs(split: str = "test") -> list[ClipSpec]:
    """The clips of FAST."""
    first = [spec for spec in clip_specs(split=split) if spec.alike and spec.pan == PAN and spec.number == 0]
    return [spec for spec in first if (spec.kind, spec.objects, spec.motion) in FAST]


Show = Callable[[EditTask, System, str, np.ndarray], None]
"""Is given every finished edit: its task, system, variation and frames uint8 [F, H, W, 3]."""


def run(model: Any, plan: Plan, records: Records, show: Show = lambda *edit: None) -> None:
    """Run all cells that are missing, clip by clip; `show` is called after each has its line."""
    for spec in plan.specs:
        missing = plan.missing(spec, records)
        if missing:
            _run_clip(model, plan, records, spec, missing, show)


def _run_clip(model: Any, plan: Plan, records: Records, spec: ClipSpec, missing, show: Show) -> None:
    clip = spec.clip(plan.frames, plan.size)
    inverted: dict[str, tuple[Trajectory, np.ndarray]] = {}
    judges: dict[int, Judge] = {}
    for seed, system, label in missing:
        settings = plan.variations[label]
        how = settings.inverted_with
        if seed not in judges:
            judges[seed] = Judge(edit_task(spec, seed, plan.frames, plan.size))
        judge = judges[seed]
        if how not in inverted:
            trajectory, vae, facts = invert_once(model, clip, judge.task.source_prompt, settings)
            inverted[how] = trajectory, vae
            if (spec.name, how) not in records.inversions:
                records.add(InversionCell(spec.name, how, spec.trained, **facts))
        strip = None if plan.strips is None else strip_file(plan.strips, spec.name, seed, system.name, label)
        metrics, seconds, finished = run_cell(model, system, settings, judge, *inverted[how], strip=strip)
        where = (spec.name, seed, system.name, label, spec.kind, spec.objects, spec.motion, spec.trained)
        records.add(Cell(*where, metrics, round(seconds, 3)))
        show(judge.task, system, label, finished)


def invert_once(
    model: Any, clip: WorldClip, prompt: str, settings: BenchSettings
) -> tuple[Trajectory, np.ndarray, dict[str, float]]:
    """(the inversion, the clip through the autoencoder uint8 [F, H, W, 3], its figures as InversionCell names them)."""
    begun = time.process_time()
    how = {"inversion": settings.inversion, "attention": settings.attention}
    trajectory = invert_clip(model, clip.frames, prompt, steps=settings.sampling.steps, **how)
    seconds = time.process_time() - begun
    trip = measure_round_trip(model, trajectory, attention=settings.attention)
    facts = {"round_trip_psnr": decibels(trip.psnr), "noise_std": trip.noise_std, "seconds": round(seconds, 3)}
    return trajectory, trip.vae, facts


def run_cell(
    model: Any,
    system: System,
    settings: BenchSettings,
    judge: Judge,
    trajectory: Trajectory,
    vae: np.ndarray,
    *,
    strip: Path | None = None,
) -> tuple[dict[str, float], float, np.ndarray]:
    """One edit: (its metrics, seconds of processor time, the finished frames uint8 [F, H, W, 3]).

    strip: where its decoded frames are kept; if they are there already they are judged as they are (seconds: nan).
    """
    task = judge.task
    source = task.clip.frames
    decoded, seconds = (None if strip is None else load_strip(strip, len(source))), math.nan
    if decoded is None:
        begun = time.process_time()
        decoded = system.run(model, source, trajectory, task, settings)
        seconds = time.process_time() - begun
        if strip is not None:
            save_strip(strip, decoded)
    finished = finish(system, settings, task, decoded)
    metrics = judge.measure(finished)
    if system.edits:
        within = areas_in(regions_of(task, settings), source)
        metrics |= measure_rest(decoded, finished, vae, task, within.edited.numpy(), within.kept.numpy())
        mask = within.at_latent(trajectory.size, settings.blend.feather)
        metrics["outside_blend_psnr"] = decibels(psnr_outside_blend(decoded, vae, mask))
    return metrics, seconds, finished


def finish(system: System, settings: BenchSettings, task: EditTask, decoded: np.ndarray) -> np.ndarray:
    """The decoded frames with the source's pixels outside the regions, where the system and the settings ask for it."""
    if not (system.composites and settings.composite.enabled):
        return decoded
    return composited(task.clip.frames, decoded, regions_of(task, settings), settings)


def kept_edit(plan: Plan, clip: str, seed: int, system: str, label: str) -> tuple[EditTask, np.ndarray] | None:
    """A cell's task and finished frames uint8 [F, H, W, 3] from what was kept; None where it was not."""
    if plan.strips is None:
        return None
    decoded = load_strip(strip_file(plan.strips, clip, seed, system, label), plan.frames)
    if decoded is None:
        return None
    spec = next(spec for spec in plan.specs if spec.name == clip)
    editor = next(one for one in plan.systems if one.name == system)
    task = edit_task(spec, seed, plan.frames, plan.size)
    return task, finish(editor, plan.variations[label], task, decoded)


def total_cells(plan: Plan, records: Records) -> int:
    """How many cells are still to be run."""
    return sum(len(plan.missing(spec, records)) for spec in plan.specs)


def pick_specs(
    kinds: Sequence[str] | None,
    clips: int | None,
    fast: bool = False,
    split: str = "test",
    objects: int | None = None,
    each: int | None = None,
) -> list[ClipSpec]:
    """The benchmark's clips: of these kinds (None = all), at most `clips` evenly spread over them; or the fast ones.
    split, objects, each: of tasks.clip_specs. ValueError where there are none."""
    specs = fast_specs(split) if fast else clip_specs(kinds or USUAL, split, objects, each)
    if not specs:
        raise ValueError(f"objects: no clip of these tasks has {objects} objects; expected 1 to 3; correct the number")
    if clips is None or clips >= len(specs):
        return specs
    return [specs[index * len(specs) // clips] for index in range(clips)]
