"""What a job needs, read from files and checked: frames, masks, a saved inversion, the model, the ControlNet.

Everything that can be wrong with the files is found before the model is loaded, and everything that can be wrong with
the model or the prompts before the inversion starts.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..editing import trajectory_file
from ..editing.pipeline import check_schedule, inversion_steps
from ..editing.prompt_text import append_phrases, unplaced
from ..editing.provenance import check_model, space_time_notes
from ..editing.trajectory import Trajectory, TrajectoryError
from ..editing.windows import NOTE as WINDOWS
from ..editing.windows import Windows
from .edit_file import EditFile
from .media.geometry import GeometryError
from .media.mask_files import FoundMask, MaskError, MaskFrames, load_masks, matched_pictures, repeated
from .media.video import Clip, VideoError, read_clip
from .progress import Progress
from .yaml_lines import EditFileError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Inputs:
    """What the files held. prompt: the global one, with appended phrases; masks: one float32 [F, H, W] a region, None
    where the layout is to give it; control: uint8 [F, H, W, 3] of the control video or None; trajectory: the loaded one
    or None; notes: remarks for the report."""

    clip: Clip
    prompt: str
    masks: tuple[Tensor | None, ...]
    control: np.ndarray | None
    trajectory: Trajectory | None
    notes: tuple[str, ...] = ()


def read_inputs(spec: EditFile, progress: Progress) -> Inputs:
    """Frames, masks, control video and saved inversion; EditFileError (with the line) for what does not fit."""
    clip = read_source(spec, progress)
    frames = MaskFrames(spec.start, len(clip.frames), spec.stride, clip.source_frames)
    masks, wrong = [], []
    with progress.stage("read masks", len(spec.regions)) as tick:
        for number, region in enumerate(spec.regions, 1):
            try:
                found = isinstance(region.masks, FoundMask)
                masks.append(None if found else load_masks(region.masks, clip.geometry, frames))
            except (MaskError, GeometryError, VideoError) as error:
                wrong.append((spec.lines.line_of(f"regions[{number}].masks"), f"regions[{number}].masks: {error}"))
            tick()
    control = None
    if spec.controlnet is not None:
        try:
            found = matched_pictures(spec.controlnet.video, frames)
            control = repeated([clip.geometry.frame(picture, "the control video") for picture in found], frames)
        except (MaskError, GeometryError, VideoError) as error:
            wrong.append((spec.lines.line_of("controlnet.video"), f"controlnet.video: {error}"))
    trajectory, notes = None, ()
    try:
        trajectory, notes = load_inversion(spec, clip, features=needs_layout(spec))
    except EditFileError as error:
        wrong += error.problems
    if wrong:
        raise EditFileError(spec.path, wrong)
    prompt, added = spec.prompt, ()
    if spec.append_phrases:
        prompt, added = append_phrases(spec.prompt, [region.phrase for region in spec.regions])
    if added:
        phrases = ", ".join(map(repr, added))
        notes = (*notes, f"append_phrases: {phrases} had no place in the prompt and was appended: {prompt!r}")
        log.warning(notes[-1])
    return Inputs(clip, prompt, tuple(masks), control, trajectory, notes)


def cut_of(spec: EditFile) -> Windows | None:
    """How the edit's clip is cut; None = all frames at once."""
    return None if spec.windows is None else Windows(**vars(spec.windows))


def needs_layout(spec: EditFile) -> bool:
    """Whether a region takes its masks from the layout that the edit finds."""
    return any(isinstance(region.masks, FoundMask) for region in spec.regions)


def open_model(spec: EditFile, progress: Progress) -> Any:
    """Load the model the file names, on its device."""
    from ..hosts.diffusers import load_model

    device = spec.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    with progress.stage("load model"):
        return load_model(spec.model, device=device, dtype=getattr(torch, spec.dtype), config=spec.model_config)


def check_inversion(spec: EditFile, model: Any, loaded: Trajectory | None) -> Tensor:
    """EditFileError for a loaded inversion of another model, or for a source prompt or a number of steps with which the
    model cannot make one; returns the inversion's sigmas."""
    if loaded is not None:
        with spec.lines.at_line("inversion.load"):
            check_model(model, loaded)
        return loaded.sigmas
    if spec.layout is not None:
        check_level(spec, model, "layout", spec.layout.level)
    with spec.lines.at_line("source_prompt"):
        model.encode_prompt(spec.source_prompt)
    with spec.lines.at_line("steps" if spec.inversion.steps is None else "inversion.steps"):
        return model.sigmas(inversion_steps(spec.inversion, spec.sampling.steps))


def check_level(spec: EditFile, model: Any, section: str, level: str) -> None:
    """EditFileError for a ``level`` at which the model has no attention to look at ("all" is always there)."""
    sides = {"full": 0, "half": 1}
    if sides.get(level) not in (None, *model.attention_halvings):
        there = [name for name, halvings in sides.items() if halvings in model.attention_halvings]
        there += ["all"] if section == "attention_maps" else []
        with spec.lines.at_line(f"{section}.level", section):
            raise ValueError(
                f"{level!r} is not in this model ({model.family} has no attention at {level} the latent's side); "
                f"expected one of {', '.join(there) or 'none'}; choose one of them"
            )


def check_prompts(spec: EditFile, inputs: Inputs, model: Any) -> None:
    """EditFileError for what the prompts, the steps or the loaded inversion would raise after a long run."""
    with spec.lines.at_line("negative_prompt"):
        model.encode_prompt(spec.negative_prompt)
    with spec.lines.at_line("prompt"):
        model.encode_regions(inputs.prompt, [r.phrase for r in spec.regions], splice=spec.attention.splice)
    with spec.lines.at_line("steps"):
        model.sigmas(spec.sampling.steps)
    inverted = check_inversion(spec, model, inputs.trajectory)
    with spec.lines.at_line("steps", "inversion.steps", "inversion.load"):
        check_schedule(model, spec.sampling.steps, inverted)


def open_control(spec: EditFile, inputs: Inputs, model: Any) -> Any:
    """The ControlNet with its control video, checked against the frames; None without one."""
    if spec.controlnet is None:
        return None
    options = {"scale": spec.controlnet.scale, "start": spec.controlnet.start, "end": spec.controlnet.end}
    try:
        control = model.load_control(spec.controlnet.model, inputs.control, **options)
        control.check(len(inputs.clip.frames), inputs.clip.frames.shape[1:3])
    except (ValueError, OSError) as error:
        raise spec.lines.error(("controlnet.model", f"controlnet: {' '.join(str(error).split())}")) from error
    return control


def read_source(spec: EditFile, progress: Progress) -> Clip:
    """The frames of the video; EditFileError at its line where they cannot be read."""
    with progress.stage("read video"):
        try:
            return read_clip(spec.video, spec.start, spec.count, spec.stride, spec.size, spec.fit)
        except (VideoError, GeometryError) as error:
            raise spec.lines.error(("video", f"video: {error}")) from None


def load_inversion(spec: EditFile, clip: Clip, *, features: bool = False) -> tuple[Trajectory | None, tuple[str, ...]]:
    """The saved inversion and remarks about it; None where the file names none. EditFileError where it is not one of
    these frames with this attention (the model is compared later). features: it must hold those of the layout."""
    if spec.load is None:
        return None, ()
    with spec.lines.at_line("inversion.load"):
        trajectory, notes = _load(spec, clip)
        if features:
            notes += _check_features(spec, trajectory)
    with spec.lines.at_line("layout.names"):
        missing = [name for name in spec.layout.names or () if unplaced(trajectory.prompt, [name])] if features else []
        if missing:
            raise TrajectoryError(
                f"{', '.join(map(repr, missing))} does not occur in the inversion's prompt {trajectory.prompt!r}; "
                "expected words that stand in it; correct them"
            )
    return trajectory, notes


def _check_features(spec: EditFile, trajectory: Trajectory) -> tuple[str, ...]:
    """Remarks about the features of a loaded inversion; TrajectoryError where it has none."""
    if trajectory.features is None:
        raise TrajectoryError(
            f"{spec.load.name} was saved without features, in which the layout is found; expected an inversion of an "
            "edit file that has a `layout:` section or a region with `masks: {layout: ...}`; add `layout: {}` and run "
            f"`videograin invert {spec.path}` again, or remove inversion.load"
        )
    notes, made, wanted = [], trajectory.features.level, spec.layout.level
    if made and made != wanted and "layout" in spec.lines:
        notes.append(f"layout.level {wanted} is not used: the inversion was saved with features of level {made}")
    unused = " and ".join(key for key in ("layout.start", "layout.end") if key in spec.lines)
    if unused:
        notes.append(f"{unused} not used: the inversion was saved with features of the range it was made with")
    return tuple(notes)


def _load(spec: EditFile, clip: Clip) -> tuple[Trajectory, tuple[str, ...]]:
    trajectory = trajectory_file.load(spec.load)
    height, width = clip.frames.shape[1:3]
    trajectory.require(frames=len(clip.frames), source=clip.digest, size=(height // 8, width // 8))
    wanted = space_time_notes(spec.attention, cut_of(spec), len(clip.frames))
    made = {key: trajectory.extra.get(key, "") for key in ("attention", "anchors", WINDOWS)}
    made = {key: value for key, value in made.items() if value}
    if made and made != wanted:
        raise TrajectoryError(
            f"this inversion was made with {_phrase(made)}, the edit uses {_phrase(wanted)}; expected the same "
            "space-time attention in both; invert again, or set attention.mode (and anchors) and windows to match"
        )
    notes = ()
    if spec.source_prompt and spec.source_prompt != trajectory.prompt:
        notes = (f"source_prompt is not used: the inversion was made with {trajectory.prompt!r}",)
    return trajectory, notes


def _phrase(facts: dict[str, str]) -> str:
    return ", ".join(f"{key} {value}" for key, value in facts.items())
