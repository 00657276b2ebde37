"""From an edit file to a job: all that the file names, read and checked, on a loaded model.

``open_job`` makes an EditJob; ``open_inversion`` and ``open_layout`` make the part of it that an inversion and a layout
need. What can be wrong with the files is found before the model is loaded, and what can be wrong with the model or the
prompts before the inversion starts. Nobody sees the edit file after that: functions take values, and ``lines`` where
they may have to say which line is wrong.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..editing.model import Model, Progress
from ..editing.pipeline import check_model, check_schedule, inversion_steps
from ..editing.prompt_text import append_phrases
from ..editing.regions import Region
from ..editing.settings import (
    EditSettings,
    LayoutSettings,
    MapSettings,
    MotionSettings,
    SteadySettings,
    WindowSettings,
)
from ..editing.trajectory import Trajectory
from ..editing.whole_file import ATTENTION, LAYOUT, RESULTS
from ..editing.windows import Windows
from ..measuring.attention_probe import AttentionProbe
from .attention_files import open_probe
from .edit_file import EditFile
from .edit_keys import ControlKeys, EditKeys, RegionEntry
from .layout_files import check_masks
from .media.mask_files import FoundMask, MaskFrames, load_masks, matched_pictures, repeated
from .media.mask_pictures import shown
from .media.video import Clip, probe, read_clip
from .motion_files import beside
from .preflight import check_folder, check_section_level, check_start, check_target, chosen_device
from .report import clip_facts, model_facts
from .saved_inversion import REPORT, open_saved
from .yaml_lines import Lines, Problems

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class InversionJob:
    """A clip to invert, on a loaded model.

    settings, windows: how (windows: None = all frames at once); layout: how things are found in it, None = they are
    not; loaded: the saved inversion that takes the place of a new one; save: where a new one goes; output: the folder
    for results; lines: where the edit file says so; facts: the parts of a report that are known before the job is
    done; notes: remarks for it.
    """

    clip: Clip
    model: Model
    source_prompt: str
    settings: EditSettings
    windows: Windows | None
    layout: LayoutSettings | None
    loaded: Trajectory | None
    save: Path | None
    output: Path | None
    lines: Lines
    facts: dict[str, Any]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class PickedRegion:
    """A region whose mask is that of ``thing``, a name or number of the layout that is still to be found."""

    phrase: str
    thing: str
    preserve: bool
    strength: float


@dataclass(frozen=True)
class EditJob(InversionJob):
    """An edit. motion: how the regions' motion is found, None = it is not; motion_file: where it is kept, None =
    nowhere; prompt: the global one, with appended phrases; control: the ControlNet with its video, or None;
    probe: who watches the attention, or None."""

    motion: MotionSettings | None
    motion_file: Path | None
    prompt: str
    negative_prompt: str
    regions: tuple[Region | PickedRegion, ...]
    control: Any
    probe: AttentionProbe | None

    @property
    def finds_regions(self) -> bool:
        """Whether some region is a thing of the layout, which the edit then has to find."""
        return any(isinstance(region, PickedRegion) for region in self.regions)


def open_job(edit_file: EditFile, progress: Progress, model: Model | None = None) -> EditJob:
    """The edit of an edit file. model: an already loaded one, None = the one that the file names.

    Raises EditFileError with the line for all that does not fit.
    """
    keys, lines, attention = edit_file.keys, edit_file.lines, edit_file.keys.attention
    device = keys.device if model is None else None
    results = [*RESULTS.values(), *(ATTENTION.values() if keys.attention_maps is not None else ())]
    places = {"output": edit_file.output, "results": results, "save": keys.inversion.save}
    found = any(isinstance(entry.masks, FoundMask) for entry in keys.regions)
    problems, pictures = Problems(lines), None
    with problems.gathered() as bad_start:
        check_start(lines, device=device, kernel=attention.kernel, **places)
    if found:
        with problems.gathered():
            if not bad_start:
                check_folder(edit_file.output / "layout", LAYOUT.values(), lines)
        with problems.gathered():
            check_masks(edit_file.output / "layout", lines)
    clip = _read_clip(edit_file, problems, progress)
    frames = MaskFrames(keys.frames.start, len(clip.frames), keys.frames.stride, clip.source_frames)
    regions, remarks = _read_regions(keys.regions, clip, frames, lines, problems, progress)
    with problems.gathered(), lines.at_line("controlnet.video"):
        if keys.controlnet is not None:
            pictures, told = _read_pictures(keys.controlnet.video, clip, frames)
            remarks = (*remarks, *told)
    loaded, notes = _open_loaded(keys, clip, edit_file.layout if found else None, problems)
    problems.stop()
    notes = (*notes, *remarks)
    phrases, prompt, added = [region.phrase for region in regions], keys.prompt, ()
    if keys.append_phrases:
        prompt, added = append_phrases(prompt, phrases)
    if added:
        named = ", ".join(map(repr, added))
        notes = (*notes, f"append_phrases: {named} had no place in the prompt and was appended: {prompt!r}")
        log.warning(notes[-1])
    job = _on_model(edit_file, clip, loaded, notes, model, progress)
    controlled = None if keys.controlnet is None else (keys.controlnet, pictures)
    control, probe = _check_on_model(job, prompt, keys.negative_prompt, phrases, controlled, keys.attention_maps)
    return EditJob(
        **vars(job),
        motion=_motion(keys.motion, keys.steady, len(clip.frames)),
        motion_file=beside(keys.inversion.save or keys.inversion.load),
        prompt=prompt,
        negative_prompt=keys.negative_prompt,
        regions=regions,
        control=control,
        probe=probe,
    )


def open_inversion(
    edit_file: EditFile, output: str | Path | None, progress: Progress, model: Model | None = None
) -> InversionJob:
    """The inversion of an edit file alone; what it loads is not read but made. output: where it goes, None = where the
    file says (``inversion.save``, else ``inversion.load``). Raises ValueError where nobody says, EditFileError for what
    does not fit."""
    keys, lines = edit_file.keys, edit_file.lines
    target = output or keys.inversion.save or keys.inversion.load
    if target is None:
        raise ValueError(
            f"{lines.path.name} says nowhere to save the inversion; expected inversion.save or --output; "
            "add `--output inversion.safetensors`"
        )
    problems = Problems(lines)
    with problems.gathered():
        check_start(lines, device=keys.device if model is None else None, kernel=keys.attention.kernel)
    key = None if output else "inversion.save" if keys.inversion.save else "inversion.load"
    with problems.gathered():
        check_target(Path(target), Path(target).with_suffix(REPORT), keys.model, key, lines)
    clip = _read_clip(edit_file, problems, progress)
    problems.stop()
    job = _on_model(edit_file, clip, None, (), model, progress, save=Path(target))
    _check_inversion(job, problems)
    problems.stop()
    return job


def open_layout(edit_file: EditFile, progress: Progress, model: Model | None = None) -> InversionJob:
    """The clip of an edit file with the inversion in which its layout is found. EditFileError for what does not fit."""
    keys, lines = edit_file.keys, edit_file.lines
    device = keys.device if model is None else None
    places = {"output": edit_file.output, "results": LAYOUT.values(), "save": keys.inversion.save}
    problems = Problems(lines)
    with problems.gathered():
        check_start(lines, device=device, kernel=keys.attention.kernel, **places)
    with problems.gathered():
        check_masks(edit_file.output, lines)
    clip = _read_clip(edit_file, problems, progress)
    loaded, notes = _open_loaded(keys, clip, edit_file.layout, problems)
    problems.stop()
    job = _on_model(edit_file, clip, loaded, notes, model, progress)
    _check_inversion(job, problems)
    problems.stop()
    return job


def _open_loaded(
    keys: EditKeys, clip: Clip, layout: LayoutSettings | None, problems: Problems
) -> tuple[Trajectory | None, tuple[str, ...]]:
    """The inversion that the file loads, as `open_saved`; None where it loads none."""
    path = keys.inversion.load
    if path is None:
        return None, ()
    return open_saved(path, clip, keys.source_prompt, keys.attention, cut_of(keys.windows), layout, problems)


def _on_model(
    edit_file: EditFile,
    clip: Clip,
    loaded: Trajectory | None,
    notes: tuple[str, ...],
    model: Model,
    progress: Progress,
    save: Path | None = None,
) -> InversionJob:
    """What all jobs have, with the model loaded where none is given. save: in place of the file's."""
    keys = edit_file.keys
    if model is None:
        with progress.stage("load model"):
            model = _load_model(keys.model, keys.model_config, keys.device, keys.dtype)
    return InversionJob(
        clip=clip,
        model=model,
        source_prompt=keys.source_prompt,
        settings=edit_file.settings,
        windows=cut_of(keys.windows),
        layout=edit_file.layout,
        loaded=loaded,
        save=save or keys.inversion.save,
        output=edit_file.output,
        lines=edit_file.lines,
        facts={
            "settings": edit_file.facts(),
            "clip": clip_facts(clip),
            "model": model_facts(keys.model, model),
        },
        notes=(*edit_file.notes, *notes),
    )


def _motion(motion: MotionSettings | None, steady: SteadySettings, frames: int) -> MotionSettings | None:
    """How motion is found, where anything of the edit needs it; a single frame has none."""
    return (motion or MotionSettings()) if frames > 1 and (motion or steady.enabled) else None


def _load_model(path: Path | None, config: Path | None, device: str, dtype: str) -> Model:
    from ..hosts.diffusers import load_model

    device = chosen_device(device)
    return load_model(path, device=device, dtype=getattr(torch, dtype), config=config)


def _read_clip(edit_file: EditFile, problems: Problems, progress: Progress) -> Clip:
    """The clip. Without it no more mistakes can be found, so that those noted before are raised with its own."""
    keys = edit_file.keys
    with problems.ending(), progress.stage("read video"), edit_file.lines.at_line("video"):
        return read_clip(keys.video, keys.frames.start, keys.frames.count, keys.frames.stride, keys.size, keys.fit)


def _read_regions(
    entries: Sequence[RegionEntry],
    clip: Clip,
    frames: MaskFrames,
    lines: Lines,
    problems: Problems,
    progress: Progress,
) -> tuple[tuple[Region | PickedRegion, ...], tuple[str, ...]]:
    """The regions with their masks, but for those of the layout, and remarks about masks; whose masks do not fit is a
    problem."""
    regions: list[Region | PickedRegion] = []
    remarks: list[str] = []
    with progress.stage("read masks", len(entries)) as tick:
        for number, entry in enumerate(entries, 1):
            if isinstance(entry.masks, FoundMask):
                regions.append(PickedRegion(entry.phrase, entry.masks.layout, entry.preserve, entry.strength))
            else:
                with problems.gathered(), lines.at_line(f"regions[{number}].masks"):
                    mask = load_masks(entry.masks, clip.geometry, frames, partial(_remark, remarks, number))
                    regions.append(Region(entry.phrase, mask, entry.preserve, entry.strength))
            tick()
    return tuple(regions), tuple(remarks)


def _remark(remarks: list[str], number: int, text: str) -> None:
    """Say it at once, and keep it for the report. number: of the region."""
    remarks.append(f"regions[{number}].masks: {text}")
    log.warning(remarks[-1])


def _read_pictures(video: Path, clip: Clip, frames: MaskFrames) -> tuple[np.ndarray, tuple[str, ...]]:
    """The frames of a control video, uint8 [F, H, W, 3], cut as the clip is, and remarks about it."""
    info = probe(video)
    found = matched_pictures(video, info, frames)
    notes = tuple(f"controlnet.video: {shown(video)}: {text}" for text in info.notes)
    for text in notes:
        log.warning(text)
    return repeated([clip.geometry.frame(picture, "the control video") for picture in found], frames), notes


def _check_on_model(
    job: InversionJob,
    prompt: str,
    negative: str,
    phrases: Sequence[str],
    controlled: tuple[ControlKeys, np.ndarray] | None,
    maps: MapSettings | None,
) -> tuple[Any, AttentionProbe | None]:
    """The ControlNet with its video (``controlled``), and who watches the attention; None where an edit has none.

    EditFileError with all that prompts, steps, inversion, ControlNet and probe would raise after a long run.
    """
    model, lines, problems = job.model, job.lines, Problems(job.lines)
    steps, splice = job.settings.sampling.steps, job.settings.attention.splice
    with problems.gathered(), lines.at_line("negative_prompt"):
        model.encode_prompt(negative)
    with problems.gathered() as bad_prompt, lines.at_line("prompt"):
        model.encode_regions(prompt, phrases, splice=splice)
    with problems.gathered() as bad_steps, lines.at_line("steps"):
        model.sigmas(steps)
    inverted = _check_inversion(job, problems)
    if inverted is not None and not bad_steps:
        with problems.gathered(), lines.at_line("steps", "inversion.steps", "inversion.load"):
            check_schedule(model, steps, inverted)
    control, probe = None, None
    with problems.gathered():
        if controlled is not None:
            asked, pictures = controlled
            try:
                control = model.load_control(asked.model, pictures, scale=asked.scale, start=asked.start, end=asked.end)
                control.check(len(job.clip.frames), job.clip.frames.shape[1:3])
            except (ValueError, OSError) as error:
                raise lines.error(("controlnet.model", f"controlnet: {' '.join(str(error).split())}")) from error
    with problems.gathered():
        if maps is not None and not (bad_prompt or bad_steps):
            probe = open_probe(maps, job.clip, prompt, phrases, model, steps=steps, splice=splice, lines=lines)
    problems.stop()
    return control, probe


def _check_inversion(job: InversionJob, problems: Problems) -> Tensor | None:
    """The inversion's sigmas. Where it is a loaded one of another model, or the source prompt or the number of steps is
    one with which the model cannot make it, that is noted, and where there are no sigmas None is returned."""
    inversion, lines = job.settings.inversion, job.lines
    if job.loaded is not None:
        with problems.gathered(), lines.at_line("inversion.load"):
            check_model(job.model, job.loaded)
            return job.loaded.sigmas
        return None
    if job.layout is not None:
        with problems.gathered():
            check_section_level(job.model, job.layout.level, "layout", lines)
    with problems.gathered():
        with lines.at_line("source_prompt"):
            job.model.encode_prompt(job.source_prompt)
        with lines.at_line("layout.names"):
            names = (job.layout.names if job.layout is not None else None) or ()
            places, _ = job.model.word_positions(job.source_prompt, names)
            if missing := [name for name, found in zip(names, places) if not found]:
                raise ValueError(
                    f"{', '.join(map(repr, missing))} is no phrase of the source_prompt {job.source_prompt!r} "
                    "to this model's tokenizer; expected whole words of it; correct layout.names"
                )
    with problems.gathered(), lines.at_line("steps" if inversion.steps is None else "inversion.steps"):
        return job.model.sigmas(inversion_steps(inversion, job.settings.sampling.steps))
    return None


def cut_of(windows: WindowSettings | None) -> Windows | None:
    """How the edit's clip is cut; None = all frames at once."""
    return None if windows is None else Windows(**vars(windows))
