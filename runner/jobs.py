"""An edit file carried out: files in (open_job.py), editing/pipeline.py in the middle, files out."""

from __future__ import annotations

import logging
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..editing import trajectory_file
from ..editing.layout.clip_layout import ClipLayout, LayoutError
from ..editing.layout.of_clip import clip_layout, picked_mask
from ..editing.model import Model
from ..editing.pipeline import EditResult, decode_clip, edit_clip, invert_clip
from ..editing.regions import Region
from ..editing.result_set import clear_leftovers, whole_set
from ..editing.settings import LayoutSettings
from ..editing.trajectory import Trajectory
from ..editing.whole_file import ATTENTION, LAYOUT, RESULTS, read_json, save_png
from ..measuring.pictures import sheets
from ..measuring.round_trip import RoundTrip, Verdict, measure_round_trip, with_round_trip
from .attention_files import maps_of_before, write_maps
from .edit_file import EditFile
from .layout_files import made_by_layout, thing_facts, thing_lines, write_layout
from .media.encode import write_video
from .media.video import Clip
from .motion_files import cached_motion, motion_facts
from .open_job import EditJob, InversionJob, PickedRegion, open_inversion, open_job, open_layout
from .preflight import memory_errors
from .progress import ConsoleProgress
from .report import (
    build_report,
    edit_figures,
    inversion_facts,
    inversion_figures,
    steadiness_facts,
    verdict_of,
    write_report,
)
from .saved_inversion import REPORT
from .yaml_lines import EditFileError, Lines, Problems

log = logging.getLogger(__name__)
LAYOUTS = "layout"  # the folder in an edit's output


@dataclass(frozen=True)
class Finished:
    """A finished job. files: name -> path of everything written; report: what report.json holds; result: the edit
    (None for an inversion or a layout alone); layout: where one was found; text: tables for the console."""

    files: dict[str, Path]
    report: dict[str, Any]
    result: EditResult | None = None
    layout: ClipLayout | None = None
    text: str = ""


@dataclass(frozen=True)
class Inverted:
    """An inversion, made or loaded. trip: the round trip, if it was measured now; verdict: how good it is, None where
    nobody measured; notes: a remark where it is poor."""

    trajectory: Trajectory
    trip: RoundTrip | None
    verdict: Verdict | None
    notes: tuple[str, ...]


@memory_errors()
def run_edit(edit_file: EditFile, *, progress: ConsoleProgress | None = None, model: Model | None = None) -> Finished:
    """Carry out an edit file; writes ``edit.mp4``, ``side_by_side.mp4``, ``sheet.png``, ``report.json`` to its output;
    with ``attention_maps`` also ``attention.mp4``, ``attention.png``, ``shares.csv``; and where a region takes its
    masks from the layout, all of that to the folder ``layout`` there.

    model: an already loaded one (editing/model.py); None = the one the file names.
    """
    progress = progress or ConsoleProgress(quiet=True)
    clear_leftovers(edit_file.output, [*RESULTS.values(), *ATTENTION.values()])
    job = open_job(edit_file, progress, model)
    inverted, output = _inverted(job, progress), job.output

    def gone() -> list[Path]:
        return [*(made_by_layout(output, LAYOUTS) if job.finds_regions else ()), *maps_of_before(output)]

    with whole_set(output, RESULTS["report"], gone) as new:
        done = _edited(job, inverted, new, progress)
        write_report(new / RESULTS["report"], done.report)
    return done


def _edited(job: EditJob, inverted: Inverted, new: Path, progress: ConsoleProgress) -> Finished:
    """The edit, with all but its report written to the folder ``new``, from where it comes into the job's output."""
    model, clip, output, settings = job.model, job.clip, job.output, job.settings
    found, text = None, ""
    if job.finds_regions:
        found = _lay_out(job, inverted, new / LAYOUTS, output / LAYOUTS, progress, command="edit")
        text = found.text
    layout = found and found.layout
    try:
        regions = _masked(job.regions, found, job.layout, job.lines)
    except EditFileError:  # which says where the layout's pictures are
        with whole_set(output / LAYOUTS, LAYOUT["layout"], lambda: made_by_layout(output / LAYOUTS)) as shown:
            shutil.copytree(new / LAYOUTS, shown, dirs_exist_ok=True)
        raise
    moved = None
    if job.motion is not None:
        moved = cached_motion(clip.frames, regions, job.motion, job.motion_file, progress)
        regions = moved.regions
    result = edit_clip(
        model,
        clip.frames,
        inverted.trajectory,
        job.prompt,
        regions,
        negative=job.negative_prompt,
        sampling=settings.sampling,
        attention=settings.attention,
        windows=job.windows,
        blend=settings.blend,
        composite=settings.composite,
        steady=settings.steady,
        motion=moved and moved.motion,
        controlnet=job.control,
        observer=job.probe,
        progress=progress,
    )
    trip = inverted.trip
    vae = trip.vae if trip else decode_clip(model, inverted.trajectory.clean, name="decode source", progress=progress)
    measured = {
        **inversion_figures(inverted.trajectory, trip),
        **edit_figures(settings.composite, clip.frames, vae, result, regions),
    }
    with progress.stage("measure steadiness"):
        measured["steadiness"] = steadiness_facts(clip.frames, result.frames, regions, moved and moved.motion)
    notes = [*clip.notes, *job.notes, *inverted.notes, *(layout.notes if layout else ()), *result.notes]
    notes += moved.notes if moved else ()
    files, written = _write_edit(new, clip, job.prompt, regions, result, progress)
    more: dict[str, Any] = {}
    if found is not None:
        files["layout"] = new / LAYOUTS
        more["layout"] = thing_facts(layout)
    if moved is not None:
        more["motion"] = motion_facts(moved)
    if job.probe is not None:
        looked = write_maps(new, clip, regions, job.probe, progress)
        files, text = {**files, **looked.files}, "\n".join(part for part in (text, looked.text) if part)
        notes += looked.notes
        more["attention_shares"] = looked.facts()
    report = build_report(
        command=_command("edit", job.lines.path),
        seed=settings.sampling.seed,
        prompt=job.prompt,
        **job.facts,
        inversion=inversion_facts(inverted.trajectory, inverted.verdict),
        outputs={name: path.name for name, path in files.items()},
        audio_kept=written[0].audio,
        notes=list(dict.fromkeys([*notes, *(note for video in written for note in video.notes)])),
        **more,
        figures=measured,
        seconds=progress.timer.seconds,
        device=model.device,
    )
    return Finished({name: output / path.name for name, path in files.items()}, report, result, layout, text)


@memory_errors()
def run_invert(
    edit_file: EditFile,
    output: str | Path | None = None,
    *,
    progress: ConsoleProgress | None = None,
    model: Model | None = None,
) -> Finished:
    """Invert the video of an edit file and save the trajectory for any number of edits.

    output: the .safetensors file; None = the file's ``inversion.save``, else ``inversion.load``. A report is written
    beside it (``NAME.report.json``).
    """
    progress = progress or ConsoleProgress(quiet=True)
    job = open_inversion(edit_file, output, progress, model)
    report_file = job.save.with_suffix(REPORT)
    clear_leftovers(job.save.parent, [job.save.name, report_file.name])
    with whole_set(job.save.parent, report_file.name) as new:
        inverted = _inverted(job, progress, new / job.save.name)
        report = build_report(
            command=_command("invert", job.lines.path),
            **job.facts,
            inversion=inversion_facts(inverted.trajectory, inverted.verdict),
            notes=[*job.clip.notes, *job.notes, *inverted.notes],
            figures=inversion_figures(inverted.trajectory, inverted.trip),
            seconds=progress.timer.seconds,
            device=job.model.device,
        )
        write_report(new / report_file.name, report)
    return Finished({"inversion": job.save, "report": report_file}, report)


@memory_errors()
def run_layout(edit_file: EditFile, *, progress: ConsoleProgress | None = None, model: Model | None = None) -> Finished:
    """Find the things of an edit file's video without any mask, and write them to its output: masks as PNGs, pictures
    to look at, ``layout.json`` and ``regions.yaml`` (README.md)."""
    progress = progress or ConsoleProgress(quiet=True)
    clear_leftovers(edit_file.output, LAYOUT.values())
    job = open_layout(edit_file, progress, model)
    folder, inverted = job.output, _inverted(job, progress)
    with whole_set(folder, LAYOUT["layout"], lambda: made_by_layout(folder)) as new:
        return _lay_out(job, inverted, new, folder, progress, command="layout", notes=job.notes)


def _command(name: str, path: Path) -> str:
    return f"videograin {name} {shlex.quote(str(path))}"


def _lay_out(
    job: InversionJob,
    inverted: Inverted,
    new: Path,
    folder: Path,
    progress: ConsoleProgress,
    *,
    command: str,
    notes: Sequence[str] = (),
) -> Finished:
    """Find the layout and write all of it to the folder ``new``, from where it comes into ``folder``. notes: more
    remarks for its report."""
    clip, path, trajectory = job.clip, job.lines.path, inverted.trajectory
    with progress.stage("find layout"), job.lines.at_line("layout", "source_prompt"):
        layout = clip_layout(job.model, clip.frames, trajectory, job.layout)
    for note in layout.notes:
        log.warning(note)
    files, made = write_layout(
        new, folder, layout, clip.frames, clip.fps, trajectory, job.layout, edit_file=path, progress=progress
    )
    report = build_report(
        command=_command(command, path),
        **job.facts,
        inversion=inversion_facts(trajectory, inverted.verdict),
        notes=[*clip.notes, *notes, *inverted.notes, *layout.notes],
        clusters=layout.k,
        grid=layout.grid,
        things=thing_facts(layout),
        **made,
        figures=inversion_figures(trajectory, inverted.trip),
        seconds=progress.timer.seconds,
        device=job.model.device,
    )
    write_report(new / LAYOUT["layout"], report)
    return Finished(files, report, layout=layout, text=thing_lines(layout))


def _masked(
    regions: Sequence[Region | PickedRegion], found: Finished | None, settings: LayoutSettings | None, lines: Lines
) -> list[Region]:
    """The regions, all with masks; EditFileError for things that the layout does not have."""
    masked, problems = [], Problems(lines)
    for number, region in enumerate(regions, 1):
        if not isinstance(region, PickedRegion):
            masked.append(region)
            continue
        try:
            mask = picked_mask(found.layout, region.thing, settings.grow)
            masked.append(Region(region.phrase, mask, region.preserve, region.strength))
        except LayoutError as error:
            text = f"{str(error).removeprefix('pick: ')} They are shown in {found.files['preview_sheet']}."
            problems.add(f"regions[{number}].masks.layout: {text}", f"regions[{number}].masks")
    problems.stop()
    return masked


def _inverted(job: InversionJob, progress: ConsoleProgress, save: Path | None = None) -> Inverted:
    """The loaded inversion, or a new one, saved where the job says so or in ``save``."""
    if job.loaded is not None:
        return _judged(job.loaded, None)
    model, layout, settings = job.model, job.layout, job.settings
    same = {"attention": settings.attention, "windows": job.windows, "progress": progress}
    trajectory = invert_clip(
        model,
        job.clip.frames,
        job.source_prompt,
        steps=settings.sampling.steps,
        inversion=settings.inversion,
        **({} if layout is None else {"features": layout.level, "feature_range": (layout.start, layout.end)}),
        **same,
    )
    trip = None
    if settings.inversion.check:
        trip = measure_round_trip(model, trajectory, **same)
        trajectory = with_round_trip(trajectory, trip)
    inverted = _judged(trajectory, trip)
    if save is not None:
        with progress.stage("save inversion"):
            trajectory_file.save(trajectory, save)
    elif job.save is not None:
        # A report of `videograin invert` beside it would be that of the inversion before.
        report = Path(job.save.with_suffix(REPORT).name)
        told = "inversion" in read_json(job.save.parent / report)
        clear_leftovers(job.save.parent, [job.save.name])
        with (
            progress.stage("save inversion"),
            whole_set(job.save.parent, job.save.name, lambda: [report] if told else ()) as new,
        ):
            trajectory_file.save(trajectory, new / job.save.name)
    return inverted


def _judged(trajectory: Trajectory, trip: RoundTrip | None) -> Inverted:
    verdict, notes = verdict_of(trajectory, trip), ()
    if verdict is not None and not verdict.ok:
        notes = (" ".join(verdict.text.split()),)
        log.warning(notes[0])
    return Inverted(trajectory, trip, verdict, notes)


def _write_edit(
    folder: Path, clip: Clip, prompt: str, regions: Sequence[Region], result: EditResult, progress: ConsoleProgress
) -> tuple[dict[str, Path], tuple[Any, Any]]:
    """Videos and contact sheet; returns all result files by name and the two written videos."""
    files = {name: folder / file for name, file in RESULTS.items()}
    with progress.stage("write", 3) as tick:
        written = write_video(files["edit"], result.frames, clip.fps, audio_from=clip, times=clip.times)
        tick()
        pair = sheets.side_by_side(clip.frames, result.frames)
        beside = write_video(files["side_by_side"], pair, clip.fps, audio_from=clip, times=clip.times)
        tick()
        painted = sheets.paint_regions(clip.frames, [region.mask.numpy() for region in regions])
        rows = [("source", clip.frames), ("regions", painted), ("edit", result.frames)]
        save_png(files["sheet"], sheets.contact_sheet(rows, sheets.legend_of(regions), title=prompt))
        tick()
    return files, (written, beside)
