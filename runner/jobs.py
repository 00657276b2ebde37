"""An edit file carried out: files in, pipeline.py in the middle, files out."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from ..editing import trajectory_file
from ..editing.layout.clip_layout import ClipLayout, LayoutError
from ..editing.layout.of_clip import clip_layout, picked_mask
from ..editing.pipeline import EditResult, decode_clip, edit_clip, invert_clip
from ..editing.regions import Region
from ..editing.trajectory import Trajectory
from ..editing.whole_file import LAYOUT, RESULTS, save_png
from ..editing.windows import NOTE as WINDOWS
from ..measuring.pictures import sheets
from ..measuring.round_trip import RoundTrip, Verdict, measure_round_trip, with_round_trip
from .attention_files import open_probe, write_maps
from .edit_file import EditFile
from .layout_files import check_masks, thing_facts, thing_lines, write_layout
from .media.encode import write_video
from .media.video import Clip
from .open_job import (
    Inputs,
    check_inversion,
    check_prompts,
    cut_of,
    load_inversion,
    needs_layout,
    open_control,
    open_model,
    read_inputs,
    read_source,
)
from .preflight import check_start, check_target, memory_errors
from .progress import Progress
from .report import (
    build_report,
    chosen_settings,
    clip_facts,
    edit_figures,
    inversion_figures,
    model_facts,
    round_trip_facts,
    verdict_of,
    write_report,
)
from .yaml_lines import EditFileError

log = logging.getLogger(__name__)


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
def run_edit(spec: EditFile, *, progress: Progress | None = None, model: Any = None) -> Finished:
    """Carry out an edit file; writes ``edit.mp4``, ``side_by_side.mp4``, ``sheet.png``, ``report.json`` to its output;
    with ``attention_maps`` also ``attention.mp4``, ``attention.png``, ``shares.csv``; and where a region takes its
    masks from the layout, all of that to the folder ``layout`` there.

    model: an already loaded DiffusersModel; None = the one the file names.
    """
    progress = progress or Progress(quiet=True)
    check_start(spec, device=model is None)
    if needs_layout(spec):
        check_masks(spec, spec.output / "layout")
    inputs = read_inputs(spec, progress)
    frames = inputs.clip.frames
    model = model or open_model(spec, progress)
    check_prompts(spec, inputs, model)
    control = open_control(spec, inputs, model)
    probe = open_probe(spec, inputs, model)
    inverted = _inverted(spec, inputs.clip, model, inputs.trajectory, progress)
    layout, files, text = None, {}, ""
    if needs_layout(spec):
        done = _lay_out(spec, inputs.clip, model, inverted, spec.output / "layout", progress, command="edit")
        layout, text = done.layout, done.text
        files = {"layout": done.files["preview_sheet"].parent}
    regions = _regions(spec, inputs.masks, layout)
    result = edit_clip(
        model,
        frames,
        inverted.trajectory,
        inputs.prompt,
        regions,
        negative=spec.negative_prompt,
        sampling=spec.sampling,
        attention=spec.attention,
        windows=cut_of(spec),
        blend=spec.blend,
        composite=spec.composite,
        controlnet=control,
        observer=probe,
        progress=progress,
    )
    trip = inverted.trip
    vae = trip.vae if trip else decode_clip(model, inverted.trajectory.clean, name="decode source", progress=progress)
    measured = {
        **inversion_figures(inverted.trajectory, trip),
        **edit_figures(spec, frames, vae, result, regions),
    }
    notes = [*inputs.clip.notes, *inputs.notes, *inverted.notes, *(layout.notes if layout else ()), *result.notes]
    shown, written = _write_edit(spec, inputs, regions, result, progress)
    files = {**shown, **files}
    more: dict[str, Any] = {} if layout is None else {"layout": thing_facts(layout)}
    if probe is not None:
        looked = write_maps(spec, inputs.clip, regions, probe, progress)
        files, text = {**files, **looked.files}, "\n".join(part for part in (text, looked.text) if part)
        notes += looked.notes
        more["attention_shares"] = looked.facts()
    report = build_report(
        command=f"videograin edit {shlex.quote(str(spec.path))}",
        settings=chosen_settings(spec),
        seed=spec.sampling.seed,
        prompt=inputs.prompt,
        clip=clip_facts(inputs.clip),
        model=model_facts(spec, model),
        inversion=_inversion_facts(inverted),
        outputs={name: path.name for name, path in files.items()},
        audio_kept=written[0].audio,
        notes=list(dict.fromkeys([*notes, *(note for video in written for note in video.notes)])),
        **more,
        figures=measured,
        seconds=progress.timer.seconds,
        device=model.device,
    )
    write_report(files["report"], report)
    return Finished(files, report, result, layout, text)


@memory_errors()
def run_invert(
    spec: EditFile, output: str | Path | None = None, *, progress: Progress | None = None, model: Any = None
) -> Finished:
    """Invert the video of an edit file and save the trajectory for any number of edits.

    output: the .safetensors file; None = the file's ``inversion.save``, else ``inversion.load``. A report is written
    beside it (``NAME.report.json``).
    """
    progress = progress or Progress(quiet=True)
    target = output or spec.save or spec.load
    if target is None:
        raise ValueError(
            f"{spec.path.name} says nowhere to save the inversion; expected inversion.save or --output; "
            "add `--output inversion.safetensors`"
        )
    target = Path(target)
    check_start(spec, device=model is None, places=False)
    check_target(spec, target, None if output else "inversion.save" if spec.save else "inversion.load")
    clip = read_source(spec, progress)
    model = model or open_model(spec, progress)
    check_inversion(spec, model, None)
    inverted = _invert(spec, clip, model, progress)
    _save(inverted.trajectory, target, progress)
    report = build_report(
        command=f"videograin invert {shlex.quote(str(spec.path))}",
        settings=chosen_settings(spec),
        clip=clip_facts(clip),
        model=model_facts(spec, model),
        inversion=_inversion_facts(inverted),
        notes=[*clip.notes, *inverted.notes],
        figures=inversion_figures(inverted.trajectory, inverted.trip),
        seconds=progress.timer.seconds,
        device=model.device,
    )
    beside = target.with_suffix(".report.json")
    write_report(beside, report)
    return Finished({"inversion": target, "report": beside}, report)


@memory_errors()
def run_layout(spec: EditFile, *, progress: Progress | None = None, model: Any = None) -> Finished:
    """Find the things of an edit file's video without any mask, and write them to its output: masks as PNGs, pictures
    to look at, ``layout.json`` and ``regions.yaml`` (README.md)."""
    progress = progress or Progress(quiet=True)
    check_start(spec, device=model is None)
    check_masks(spec, spec.output)
    clip = read_source(spec, progress)
    loaded, notes = load_inversion(spec, clip, features=True)
    model = model or open_model(spec, progress)
    check_inversion(spec, model, loaded)
    inverted = _inverted(spec, clip, model, loaded, progress)
    return _lay_out(spec, clip, model, inverted, spec.output, progress, command="layout", notes=notes)


def _lay_out(
    spec: EditFile,
    clip: Clip,
    model: Any,
    inverted: Inverted,
    folder: Path,
    progress: Progress,
    *,
    command: str,
    notes: Sequence[str] = (),
) -> Finished:
    """Find the layout and write all of it to ``folder``."""
    with progress.stage("find layout"), spec.lines.at_line("layout", "source_prompt"):
        layout = clip_layout(model, clip.frames, inverted.trajectory, spec.layout)
    for note in layout.notes:
        log.warning(note)
    files, masks = write_layout(
        folder, layout, clip.frames, clip.fps, inverted.trajectory, spec.layout, edit_file=spec.path, progress=progress
    )
    report = build_report(
        command=f"videograin {command} {shlex.quote(str(spec.path))}",
        settings=chosen_settings(spec),
        clip=clip_facts(clip),
        model=model_facts(spec, model),
        inversion=_inversion_facts(inverted),
        notes=[*clip.notes, *notes, *inverted.notes, *layout.notes],
        clusters=layout.k,
        grid=layout.grid,
        things=thing_facts(layout),
        masks=masks,
        figures=inversion_figures(inverted.trajectory, inverted.trip),
        seconds=progress.timer.seconds,
        device=model.device,
    )
    write_report(files["layout"], report)
    return Finished(files, report, layout=layout, text=thing_lines(layout))


def _regions(spec: EditFile, masks: Sequence[Tensor | None], layout: ClipLayout | None) -> list[Region]:
    """The regions with their masks; EditFileError for things that the layout does not have."""
    regions, wrong = [], []
    for number, (region, mask) in enumerate(zip(spec.regions, masks), 1):
        try:
            if mask is None:
                mask = picked_mask(layout, region.masks.layout, spec.layout.grow)
            regions.append(Region(region.phrase, mask, region.preserve, region.strength))
        except LayoutError as error:
            seen = spec.output / "layout" / LAYOUT["preview_sheet"]
            text = f"{str(error).removeprefix('pick: ')} They are shown in {seen}."
            wrong.append((spec.lines.line_of(f"regions[{number}].masks"), f"regions[{number}].masks.layout: {text}"))
    if wrong:
        raise EditFileError(spec.path, wrong)
    return regions


def _inverted(spec: EditFile, clip: Clip, model: Any, loaded: Trajectory | None, progress: Progress) -> Inverted:
    """The loaded inversion, or a new one, saved where the file says so."""
    if loaded is not None:
        return _judged(loaded, None)
    inverted = _invert(spec, clip, model, progress)
    if spec.save is not None:
        _save(inverted.trajectory, spec.save, progress)
    return inverted


def _invert(spec: EditFile, clip: Clip, model: Any, progress: Progress) -> Inverted:
    layout = spec.layout
    trajectory = invert_clip(
        model,
        clip.frames,
        spec.source_prompt,
        steps=spec.sampling.steps,
        inversion=spec.inversion,
        attention=spec.attention,
        windows=cut_of(spec),
        **({} if layout is None else {"features": layout.level, "feature_range": (layout.start, layout.end)}),
        progress=progress,
    )
    if not spec.inversion.check:
        return _judged(trajectory, None)
    trip = measure_round_trip(model, trajectory, attention=spec.attention, windows=cut_of(spec), progress=progress)
    return _judged(with_round_trip(trajectory, trip), trip)


def _judged(trajectory: Trajectory, trip: RoundTrip | None) -> Inverted:
    verdict, notes = verdict_of(trajectory, trip), ()
    if verdict is not None and not verdict.ok:
        notes = (" ".join(verdict.text.split()),)
        log.warning(notes[0])
    return Inverted(trajectory, trip, verdict, notes)


def _inversion_facts(inverted: Inverted) -> dict[str, Any]:
    trajectory = inverted.trajectory
    return {
        "prompt": trajectory.prompt,
        "method": trajectory.method,
        "steps": trajectory.steps,
        "windows": trajectory.extra.get(WINDOWS, "all frames at once"),
        "round_trip": round_trip_facts(inverted.verdict),
    }


def _save(trajectory: Trajectory, path: Path, progress: Progress) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with progress.stage("save inversion"):
        trajectory_file.save(trajectory, path)


def _write_edit(
    spec: EditFile, inputs: Inputs, regions: Sequence[Region], result: EditResult, progress: Progress
) -> tuple[dict[str, Path], tuple[Any, Any]]:
    """Videos and contact sheet; returns all result files by name and the two written videos."""
    clip, files = inputs.clip, {name: spec.output / file for name, file in RESULTS.items()}
    with progress.stage("write", 3) as tick:
        written = write_video(files["edit"], result.frames, clip.fps, audio_from=clip)
        tick()
        pair = sheets.side_by_side(clip.frames, result.frames)
        beside = write_video(files["side_by_side"], pair, clip.fps, audio_from=clip)
        tick()
        painted = sheets.paint_regions(clip.frames, [region.mask.numpy() for region in regions])
        rows = [("source", clip.frames), ("regions", painted), ("edit", result.frames)]
        save_png(files["sheet"], sheets.contact_sheet(rows, sheets.legend_of(regions), title=inputs.prompt))
        tick()
    return files, (written, beside)
