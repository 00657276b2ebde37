"""The edit file: one YAML file that says everything about an edit, read into frozen values.

``load_edit`` reads and checks the text (yamlnodes.py keeps the line of every key), opens the video and the masks to
check counts (editchecks.py), and reports all mistakes at once. No torch, no model: mistakes show within a second.
Relative paths are relative to the edit file.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ..editing.settings import (
    AttentionSettings,
    BlendSettings,
    CompositeSettings,
    InversionSettings,
    LayoutSettings,
    MapSettings,
    Pixel,
    SamplingSettings,
    SettingError,
    WindowSettings,
)
from .media.geometry import UNIT
from .media.mask_files import Boxes, FoundMask, LabelVideo, MaskFolder, MaskSource, MaskVideo
from .yaml_lines import (
    EditFileError,
    Lines,
    Problems,
    Section,
    choice,
    flag,
    kind_of,
    line_of,
    maybe,
    number,
    read_yaml,
    show,
    text,
    value_of,
)

__all__ = [
    "ControlSpec",
    "EditFile",
    "EditFileError",
    "RegionEntry",
    "device_rule",
    "path_rule",
    "read_edit",
    "size_rule",
]


@dataclass(frozen=True)
class ControlSpec:
    """A local ControlNet folder with its control video (frames are matched as those of mask videos are)."""

    model: Path
    video: Path
    scale: float = 1.0
    start: float = 0.0
    end: float = 1.0
    line: int = 0


@dataclass(frozen=True)
class EditFile:
    """A checked edit. path: the edit file. start, count, stride: frames; count None = to the end of the video.
    size: (width, height) or None = the video's own. model None = the embedded one; model_config: for a single file, a
    diffusers folder with its configs. load, save: inversion files. output: the folder for the results (None only where
    the file is used for an inversion alone). lines: where each key stands. append_phrases: phrases that the prompt has
    no place for are appended to it. layout: how regions are found without masks, None = none are; attention_maps: which
    attention is shown, None = none; windows: how a long clip is cut, None = all frames at once."""

    path: Path
    video: Path
    source_prompt: str
    prompt: str
    negative_prompt: str
    regions: tuple[RegionEntry, ...]
    start: int
    count: int | None
    stride: int
    size: tuple[int, int] | None
    fit: str
    model: Path | None
    model_config: Path | None
    sampling: SamplingSettings
    attention: AttentionSettings
    blend: BlendSettings
    composite: CompositeSettings
    inversion: InversionSettings
    load: Path | None
    save: Path | None
    controlnet: ControlSpec | None
    device: str
    dtype: str
    output: Path | None
    lines: Lines
    append_phrases: bool = False
    layout: LayoutSettings | None = None
    attention_maps: MapSettings | None = None
    windows: WindowSettings | None = None


def read_edit(path: str | Path) -> EditFile:
    """Read an edit file for what it says alone: no other file is looked at, so that it serves long after the edit, on a
    machine without its model. Raises EditFileError for mistakes in the text."""
    path = Path(path)
    problems = Problems(path)
    spec = _read(read_yaml(path, problems), path, "edit", Path())
    problems.stop()
    return spec


def _read(top: Section, path: Path, purpose: str, output: Path | None) -> EditFile:
    """The file's contents; mistakes go into the section's problems and are replaced by defaults."""
    file, whole = path_rule(path.parent), purpose == "edit"
    frames = top.section("frames")
    inversion = top.section("inversion")
    load, save = inversion.take("load", maybe(file)), inversion.take("save", maybe(file))
    needed = "a folder for results" if purpose != "invert" and output is None else ""
    written = top.take("output", maybe(file), None, needed=needed)
    # `videograin invert` makes the file that inversion.load names, so it needs the prompt all the same.
    described = "a description of the source video" if load is None or purpose == "invert" else ""
    if purpose == "layout":
        top.known.append("regions")
    regions = () if purpose == "layout" else read_regions(top, file, whole)
    spec = EditFile(
        path=path,
        video=top.take("video", file, Path(), needed="the path of a video"),
        source_prompt=top.take("source_prompt", text, "", needed=described),
        prompt=top.take("prompt", text, "", needed="a description of the edited video" if whole else ""),
        negative_prompt=top.take("negative_prompt", _any_text, ""),
        regions=regions,
        start=frames.take("start", number(0, whole=True), 0),
        count=frames.take("count", maybe(number(1, whole=True, example=16)), None),
        stride=frames.take("stride", number(1, whole=True), 1),
        size=top.take("size", maybe(size_rule), None),
        fit=top.take("fit", choice("crop", "stretch"), "crop"),
        model=top.take("model", maybe(file), None),
        model_config=top.take("model_config", maybe(file), None),
        sampling=top.settings(SamplingSettings),
        attention=_settings(top, "attention", AttentionSettings),
        blend=_settings(top, "blend", BlendSettings),
        composite=_settings(top, "composite", CompositeSettings),
        inversion=inversion.settings(InversionSettings),
        load=load,
        save=save,
        controlnet=_control(top, file),
        device=top.take("device", device_rule, "auto"),
        dtype=top.take("dtype", choice("float32", "float16", "bfloat16"), "float32"),
        output=output or written,
        lines=Lines.of(path, top.node),
        append_phrases=top.take("append_phrases", flag, False),
        layout=_layout(top, regions, purpose),
        attention_maps=_maps(top),
        windows=_windows(top),
    )
    for section in (frames, inversion, top):
        section.finish()
    return spec


def _settings(top: Section, key: str, kind: type) -> Any:
    section = top.section(key)
    value = section.settings(kind)
    section.finish()
    return value


def _layout(top: Section, regions: tuple[RegionEntry, ...], purpose: str) -> LayoutSettings | None:
    """The section, also where it is left out but something is to be found; None where nothing is."""
    wanted = purpose == "layout" or any(isinstance(region.masks, FoundMask) for region in regions)
    there = top.has("layout")
    settings = _settings(top, "layout", LayoutSettings)
    return settings if there or wanted else None


def _maps(top: Section) -> MapSettings | None:
    section, pixel = top.section("attention_maps"), None
    place = section.section("pixel")
    if place.nodes:
        rule, where = number(0, whole=True, example=8), "a place in the source, in pixels from 0"
        what = {"frame": "a frame of the edit, counted from 0", "x": where, "y": where}
        taken = {key: place.take(key, rule, needed=needed) for key, needed in what.items()}
        place.finish()
        pixel = None if None in taken.values() else Pixel(**taken)
    settings = section.settings(MapSettings, pixel=pixel)
    section.finish()
    return settings if top.has("attention_maps") else None


def _windows(top: Section) -> WindowSettings | None:
    settings = _settings(top, "windows", WindowSettings)
    return settings if top.has("windows") else None


def _control(top: Section, file: Callable) -> ControlSpec | None:
    section = top.section("controlnet")
    if not section.nodes:
        return None
    control = ControlSpec(
        model=section.take("model", file, Path(), needed="a diffusers ControlNet folder"),
        video=section.take("video", file, Path(), needed="the control video"),
        scale=section.take("scale", number(0, 10, example=1), 1.0),
        start=section.take("start", number(0, 1), 0.0),
        end=section.take("end", number(0, 1, example=1), 1.0),
        line=section.line,
    )
    if control.start >= control.end:
        section.problems.add(
            section.line_at("start", "end"),
            f"controlnet: start {control.start:g} is not before end {control.end:g}; expected start < end; correct one",
        )
    section.finish()
    return control


def path_rule(base: Path) -> Callable[[Any], Path]:
    """Rule: a path, relative to ``base``."""

    def rule(value: Any) -> Path:
        return base / Path(text(value)).expanduser()

    return rule


def _any_text(value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise SettingError(f"{show(value)} is not allowed; expected text; put it in quotes")
    return value


def size_rule(value: Any) -> tuple[int, int]:
    """Rule: one side or [width, height], multiples of 8."""
    sides = value if isinstance(value, list) else [value, value]
    good = len(sides) == 2 and all(isinstance(side, int) and not isinstance(side, bool) for side in sides)
    if not good or not all(side >= UNIT and side % UNIT == 0 for side in sides):
        if good and all(side > 0 for side in sides):
            near = [max(UNIT, round(side / UNIT) * UNIT) for side in sides]
            remedy = f"the nearest is {near[0] if near[0] == near[1] and not isinstance(value, list) else near}"
        else:
            remedy = "write e.g. 512 or [768, 512]"
        raise SettingError(
            f"{show(value)} is not allowed; expected one side or [width, height], multiples of {UNIT}; {remedy}"
        )
    return sides[0], sides[1]


def device_rule(value: Any) -> str:
    """Rule: the name of a device, or auto."""
    if not isinstance(value, str) or not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?|xpu(:\d+)?", value):
        raise SettingError(f"{show(value)} is not allowed; expected auto, cpu, cuda, cuda:N, mps or xpu; choose one")
    return value


@dataclass(frozen=True)
class RegionEntry:
    """One entry of ``regions``. line, masks_line: where its phrase and its masks stand, for messages."""

    phrase: str
    masks: MaskSource
    preserve: bool = False
    strength: float = 1.0
    line: int = 0
    masks_line: int = 0


def read_regions(top: Section, file: Callable, whole: bool) -> tuple[RegionEntry, ...]:
    """The list under ``regions``; mistakes are noted. file: the rule for paths; whole: regions must be there."""
    entries = top.items("regions", "regions")
    if whole and not top.has("regions"):
        top.problems.add(top.line, "regions is missing; expected a list of regions with phrase and masks; add it")
    elif whole and not entries and isinstance(top.nodes["regions"], yaml.SequenceNode):
        top.problems.add(
            top.lines["regions"],
            "regions is empty; expected at least one; to edit everything, give one a box of the whole picture",
        )
    regions = []
    for index, node in enumerate(entries):
        name = f"regions[{index + 1}]"
        if not isinstance(node, yaml.MappingNode):
            top.problems.add(
                line_of(node),
                f"{name} is {kind_of(node)}; expected phrase and masks; write `- phrase: ...` and `masks:`",
            )
            continue
        section = Section(node, name, top.problems)
        phrase = section.take("phrase", text, "", needed="words of the prompt")
        preserve = section.take("preserve", flag, False)
        strength = section.take("strength", number(0, 1, example=1), 1.0)
        masks = _masks(section, file)
        section.finish()
        lines = section.line_at("phrase"), section.line_at("masks")
        regions.append(RegionEntry(phrase, masks, preserve, strength, *lines))  # masks None: a problem was noted
    return tuple(regions)


def _masks(section: Section, file: Callable) -> MaskSource | None:
    """The one mask source of a region; None (and a problem) where there is none or more than one."""
    kinds = "one of {folder: DIR}, {video: FILE}, {labels: FILE, id: N}, {boxes: [[x0, y0, x1, y1]]}, {layout: NAME}"
    if not section.has("masks"):
        section.known.append("masks")
        section.problems.add(section.line, f"{section.path('masks')} is missing; expected {kinds}; add it")
        return None
    masks = section.section("masks")
    before = len(masks.problems.found)
    given = [key for key in ("folder", "video", "labels", "boxes", "layout") if masks.has(key)]
    folder, video, labels = (masks.take(key, file) for key in ("folder", "video", "labels"))
    identity = masks.take("id", number(0, 65535, whole=True, example=1))
    colour = masks.take("colour", _colour)
    boxes = _boxes(masks)
    found = masks.take("layout", _picked)
    masks.finish()
    if len(masks.problems.found) > before:
        return None
    if len(given) != 1:
        what = f"{masks.name} has {' and '.join(given)}" if given else f"{masks.name} names no source"
        masks.problems.add(section.line_at("masks"), f"{what}; expected {kinds}; keep exactly one")
        return None
    if given != ["labels"] and (identity is not None or colour is not None):
        extra = "id" if identity is not None else "colour"
        masks.problems.add(
            masks.line_at(extra), f"{masks.path(extra)} is given without labels; expected it only there; remove it"
        )
        return None
    if labels is not None:
        if (identity is None) == (colour is None):
            masks.problems.add(
                masks.line_at("labels"),
                f'{masks.name} needs to know which label; expected id: N or colour: "#rrggbb", one of them; add it',
            )
            return None
        return LabelVideo(labels, identity, colour)
    if folder is not None:
        return MaskFolder(folder)
    if found is not None:
        return FoundMask(found)
    return MaskVideo(video) if video is not None else Boxes(boxes)


def _boxes(masks: Section) -> tuple:
    boxes = []
    nodes = masks.items("boxes", "boxes [x0, y0, x1, y1]")
    if masks.has("boxes") and isinstance(masks.nodes["boxes"], yaml.SequenceNode) and not nodes:
        masks.problems.add(masks.lines["boxes"], f"{masks.path('boxes')} is empty; expected at least one box; add it")
    for index, node in enumerate(nodes):
        value = value_of(node)
        if value is None:
            boxes.append(None)
            continue
        good = isinstance(value, list) and len(value) == 4
        good = good and all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in value)
        if not good or not (value[0] < value[2] and value[1] < value[3]):
            masks.problems.add(
                line_of(node),
                f"{masks.path('boxes')}[{index + 1}] is {show(value)}; expected [x0, y0, x1, y1] in pixels of the "
                "source with x0 < x1 and y0 < y1, or null where the object is not in the frame; correct it",
            )
            continue
        boxes.append(tuple(float(v) for v in value))
    return tuple(boxes)


def _picked(value: Any) -> str:
    """The name or number of a thing of the layout: 2, "red circle 1", "1 + 2"."""
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return str(value)
    if not isinstance(value, str) or not value.strip():
        raise SettingError(f'{show(value)} is not allowed; expected a name or number; write e.g. "red circle 1" or 2')
    return value.strip()


def _colour(value: Any) -> tuple[int, int, int]:
    if not isinstance(value, str) or not re.fullmatch(r"#[0-9a-fA-F]{6}", value):
        raise SettingError(
            f'{show(value)} is not allowed; expected "#rrggbb"; keep the quotes, since # begins a comment in YAML'
        )
    return int(value[1:3], 16), int(value[3:5], 16), int(value[5:7], 16)
