"""An edit file carried out: files in, pipeline.py in the middle, files out.

Everything that can be wrong with the files is found before the model is loaded, and everything that can be wrong with
the model or the prompts before the inversion starts.
"""

from __future__ import annotations

import logging
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..editing import Trajectory, TrajectoryError
from ..pictures import sheets
from .editfile import EditSpec
from .facts import chosen_settings, clip_facts, edit_figures, inversion_figures, model_facts
from .files import RESULTS, save_png
from .geometry import GeometryError
from .masks import MaskError, MaskFrames, load_masks, matched_pictures, repeated
from .pipeline import (
    EditResult,
    Region,
    RoundTrip,
    check_model,
    check_schedule,
    decode_clip,
    edit_clip,
    inversion_steps,
    invert_clip,
    measure_round_trip,
    space_time_notes,
    with_round_trip,
)
from .preflight import at_line, check_start, check_target, memory_errors
from .progress import Progress
from .prompts import append_phrases
from .report import build_report, write_report
from .video import Clip, VideoError, read_clip, write_video
from .yamlnodes import EditFileError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Inputs:
    """What the files held. prompt: the global one, with appended phrases; control: uint8 [F, H, W, 3] of the control
    video or None; trajectory: the loaded one or None; notes: remarks for the report."""

    clip: Clip
    prompt: str
    regions: tuple[Region, ...]
    control: np.ndarray | None
    trajectory: Trajectory | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Finished:
    """A finished job. files: name -> path of everything written; report: what report.json holds; result: the edit
    (None for an inversion alone)."""

    files: dict[str, Path]
    report: dict[str, Any]
    result: EditResult | None = None


@memory_errors()
def run_edit(spec: EditSpec, *, progress: Progress | None = None, model: Any = None) -> Finished:
    """Carry out an edit file; writes ``edit.mp4``, ``side_by_side.mp4``, ``sheet.png``, ``report.json`` to its output.

    model: an already loaded DiffusersModel; None = the one the file names.
    """
    progress = progress or Progress(quiet=True)
    check_start(spec, device=model is None)
    inputs = read_inputs(spec, progress)
    model = model or open_model(spec, progress)
    check_prompts(spec, inputs, model)
    control = open_control(spec, inputs, model)
    trajectory, trip = _trajectory(spec, inputs, model, progress)
    result = edit_clip(
        model,
        inputs.clip.frames,
        trajectory,
        inputs.prompt,
        inputs.regions,
        negative=spec.negative_prompt,
        sampling=spec.sampling,
        attention=spec.attention,
        blend=spec.blend,
        composite=spec.composite,
        controlnet=control,
        progress=progress,
    )
    vae = trip.vae if trip else decode_clip(model, trajectory.clean, name="decode source", progress=progress)
    measured = {
        **inversion_figures(trajectory, trip),
        **edit_figures(spec, inputs.clip.frames, vae, result, inputs.regions),
    }
    return _write(spec, inputs, model, trajectory, result, measured, progress)


@memory_errors()
def run_invert(
    spec: EditSpec, output: str | Path | None = None, *, progress: Progress | None = None, model: Any = None
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
    clip = _read_clip(spec, progress)
    model = model or open_model(spec, progress)
    check_source(spec, model)
    trajectory, trip = _invert(spec, clip, model, progress)
    _save(trajectory, target, progress)
    report = build_report(
        command=f"videograin invert {shlex.quote(str(spec.path))}",
        settings=chosen_settings(spec),
        clip=clip_facts(clip),
        model=model_facts(spec, model),
        figures=inversion_figures(trajectory, trip),
        seconds=progress.timer.seconds,
        device=model.device,
    )
    beside = target.with_suffix(".report.json")
    write_report(beside, report)
    return Finished({"inversion": target, "report": beside}, report)


def read_inputs(spec: EditSpec, progress: Progress) -> Inputs:
    """Frames, masks, control video and saved inversion; EditFileError (with the line) for what does not fit."""
    clip = _read_clip(spec, progress)
    frames = MaskFrames(spec.start, len(clip.frames), spec.stride, clip.source_frames)
    regions, wrong = [], []
    with progress.stage("read masks", len(spec.regions)) as tick:
        for number, region in enumerate(spec.regions, 1):
            try:
                mask = load_masks(region.masks, clip.geometry, frames)
                regions.append(Region(region.phrase, mask, region.preserve, region.strength))
            except (MaskError, GeometryError, VideoError) as error:
                wrong.append((region.masks_line, f"regions[{number}].masks: {error}"))
            tick()
    control = None
    if spec.controlnet is not None:
        try:
            found = matched_pictures(spec.controlnet.video, frames)
            control = repeated([clip.geometry.frame(picture, "the control video") for picture in found], frames)
        except (MaskError, GeometryError, VideoError) as error:
            wrong.append((spec.controlnet.line, f"controlnet.video: {error}"))
    trajectory, notes = None, ()
    if spec.load is not None:
        try:
            trajectory, notes = _load(spec, clip)
        except TrajectoryError as error:
            wrong.append((spec.lines["inversion.load"], f"inversion.load: {error}"))
    if wrong:
        raise EditFileError(spec.path, wrong)
    prompt, added = spec.prompt, ()
    if spec.append_phrases:
        prompt, added = append_phrases(spec.prompt, [region.phrase for region in regions])
    if added:
        phrases = ", ".join(map(repr, added))
        notes = (*notes, f"append_phrases: {phrases} had no place in the prompt and was appended: {prompt!r}")
        log.warning(notes[-1])
    return Inputs(clip, prompt, tuple(regions), control, trajectory, notes)


def open_model(spec: EditSpec, progress: Progress) -> Any:
    """Load the model the file names, on its device."""
    from ..hosts.diffusers import load_model

    device = spec.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    with progress.stage("load model"):
        return load_model(spec.model, device=device, dtype=getattr(torch, spec.dtype), config=spec.model_config)


def check_source(spec: EditSpec, model: Any) -> Tensor:
    """EditFileError for a source prompt or a number of steps the model cannot use; returns the inversion's sigmas."""
    with at_line(spec, "source_prompt"):
        model.encode_prompt(spec.source_prompt)
    with at_line(spec, "steps" if spec.inversion.steps is None else "inversion.steps"):
        return model.sigmas(inversion_steps(spec.inversion, spec.sampling.steps))


def check_prompts(spec: EditSpec, inputs: Inputs, model: Any) -> None:
    """EditFileError for what the prompts, the steps or the loaded inversion would raise after a long run."""
    with at_line(spec, "negative_prompt"):
        model.encode_prompt(spec.negative_prompt)
    with at_line(spec, "prompt"):
        model.encode_regions(inputs.prompt, [r.phrase for r in inputs.regions], splice=spec.attention.splice)
    with at_line(spec, "steps"):
        model.sigmas(spec.sampling.steps)
    if inputs.trajectory is None:
        inverted = check_source(spec, model)
    else:
        with at_line(spec, "inversion.load"):
            check_model(model, inputs.trajectory)
        inverted = inputs.trajectory.sigmas
    with at_line(spec, "steps", "inversion.steps", "inversion.load"):
        check_schedule(model, spec.sampling.steps, inverted)


def open_control(spec: EditSpec, inputs: Inputs, model: Any) -> Any:
    """The ControlNet with its control video, checked against the frames; None without one."""
    if spec.controlnet is None:
        return None
    options = {"scale": spec.controlnet.scale, "start": spec.controlnet.start, "end": spec.controlnet.end}
    with at_line(spec, "controlnet", line=spec.controlnet.line, errors=(ValueError, OSError)):
        control = model.load_control(spec.controlnet.model, inputs.control, **options)
        control.check(len(inputs.clip.frames), inputs.clip.frames.shape[1:3])
    return control


def _read_clip(spec: EditSpec, progress: Progress) -> Clip:
    with progress.stage("read video"):
        try:
            return read_clip(spec.video, spec.start, spec.count, spec.stride, spec.size, spec.fit)
        except (VideoError, GeometryError) as error:
            raise EditFileError(spec.path, [(spec.lines["video"], f"video: {error}")]) from None


def _load(spec: EditSpec, clip: Clip) -> tuple[Trajectory, tuple[str, ...]]:
    """The saved inversion, if it is one of these frames with this attention (the model is compared later)."""
    trajectory = Trajectory.load(spec.load)
    height, width = clip.frames.shape[1:3]
    trajectory.require(frames=len(clip.frames), source=clip.digest, size=(height // 8, width // 8))
    wanted = space_time_notes(spec.attention)
    made = {key: trajectory.extra.get(key, "") for key in ("attention", "anchors")}
    made = {key: value for key, value in made.items() if value}
    if made and made != wanted:
        raise TrajectoryError(
            f"this inversion was made with {_phrase(made)}, the edit uses {_phrase(wanted)}; expected the same "
            "space-time attention in both; invert again, or set attention.mode (and anchors) to match"
        )
    notes = ()
    if spec.source_prompt and spec.source_prompt != trajectory.prompt:
        notes = (f"source_prompt is not used: the inversion was made with {trajectory.prompt!r}",)
    return trajectory, notes


def _phrase(facts: dict[str, str]) -> str:
    return ", ".join(f"{key} {value}" for key, value in facts.items())


def _trajectory(
    spec: EditSpec, inputs: Inputs, model: Any, progress: Progress
) -> tuple[Trajectory, RoundTrip | None]:
    if inputs.trajectory is not None:
        return inputs.trajectory, None
    trajectory, trip = _invert(spec, inputs.clip, model, progress)
    if spec.save is not None:
        _save(trajectory, spec.save, progress)
    return trajectory, trip


def _invert(spec: EditSpec, clip: Clip, model: Any, progress: Progress) -> tuple[Trajectory, RoundTrip | None]:
    trajectory = invert_clip(
        model,
        clip.frames,
        spec.source_prompt,
        steps=spec.sampling.steps,
        inversion=spec.inversion,
        attention=spec.attention,
        progress=progress,
    )
    if not spec.inversion.check:
        return trajectory, None
    trip = measure_round_trip(model, trajectory, attention=spec.attention, progress=progress)
    return with_round_trip(trajectory, trip), trip


def _save(trajectory: Trajectory, path: Path, progress: Progress) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with progress.stage("save inversion"):
        trajectory.save(path)


def _write(
    spec: EditSpec,
    inputs: Inputs,
    model: Any,
    trajectory: Trajectory,
    result: EditResult,
    measured: dict[str, Any],
    progress: Progress,
) -> Finished:
    clip, out = inputs.clip, spec.output
    files = {name: out / file for name, file in RESULTS.items()}
    with progress.stage("write", 3) as tick:
        written = write_video(files["edit"], result.frames, clip.fps, audio_from=clip)
        tick()
        pair = sheets.side_by_side(clip.frames, result.frames)
        beside = write_video(files["side_by_side"], pair, clip.fps, audio_from=clip)
        tick()
        masks = [region.mask.numpy() for region in inputs.regions]
        painted = sheets.paint_regions(clip.frames, masks)
        rows = [("source", clip.frames), ("regions", painted), ("edit", result.frames)]
        legend = sheets.legend_of(inputs.regions)
        save_png(files["sheet"], sheets.contact_sheet(rows, legend, title=inputs.prompt))
        tick()
    notes = (*clip.notes, *inputs.notes, *result.notes, *written.notes, *beside.notes)
    report = build_report(
        command=f"videograin edit {shlex.quote(str(spec.path))}",
        settings=chosen_settings(spec),
        seed=spec.sampling.seed,
        prompt=inputs.prompt,
        clip=clip_facts(clip),
        model=model_facts(spec, model),
        inversion={"prompt": trajectory.prompt, "method": trajectory.method, "steps": trajectory.steps},
        outputs={name: path.name for name, path in files.items()},
        audio_kept=written.audio,
        notes=list(dict.fromkeys(notes)),
        figures=measured,
        seconds=progress.timer.seconds,
        device=model.device,
    )
    write_report(files["report"], report)
    return Finished(files, report, result)
