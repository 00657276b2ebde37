"""The edit file: one YAML file that says everything about an edit, read into frozen values.

``load_edit`` (edit_checks.py) reads the text by the classes of edit_keys.py, opens the video and the masks to check
counts, and reports all mistakes at once. No torch, no model: mistakes show within a second. Relative paths are relative
to the edit file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..attention.options import SAMPLED
from ..editing.fields import fields_of, missing, name_of
from ..editing.settings import (
    WITHOUT_SAMPLED,
    AttentionSettings,
    BlendSettings,
    CompositeSettings,
    InversionSettings,
    LayoutSettings,
    MapSettings,
    SamplingSettings,
    SteadySettings,
    WindowSettings,
)
from .edit_keys import ControlKeys, EditKeys, RegionEntry
from .media.mask_files import FoundMask
from .yaml_lines import EditFileError, Lines, Problems, checked, read_yaml

__all__ = ["EditFile", "EditFileError", "RegionEntry", "read_edit", "read_keys"]


@dataclass(frozen=True)
class EditFile:
    """A checked edit. path: the edit file. start, count, stride: frames; count None = to the end of the video.
    size: (width, height) or None = the video's own. model None = the embedded one; model_config: for a single file, a
    diffusers folder with its configs. load, save: inversion files. output: the folder for the results (None only where
    the file is used for an inversion alone). lines: where each key stands. append_phrases: phrases that the prompt has
    no place for are appended to it. layout: how regions are found without masks, None = none are; attention_maps: which
    attention is shown, None = none; windows: how a long clip is cut, None = all frames at once; notes: what in it does
    nothing any more."""

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
    steady: SteadySettings
    load: Path | None
    save: Path | None
    controlnet: ControlKeys | None
    device: str
    dtype: str
    output: Path | None
    lines: Lines
    append_phrases: bool = False
    layout: LayoutSettings | None = None
    attention_maps: MapSettings | None = None
    windows: WindowSettings | None = None
    notes: tuple[str, ...] = ()


def read_edit(path: str | Path) -> EditFile:
    """Read an edit file for what it says alone: no other file is looked at, so that it serves long after the edit, on a
    machine without its model. Raises EditFileError for mistakes in the text."""
    spec, problems = read_keys(Path(path), "edit", Path())
    problems.stop()
    return spec


def read_keys(path: Path, purpose: str, output: Path | None) -> tuple[EditFile, Problems]:
    """An edit file's contents, and the mistakes in its text, in place of which defaults stand. purpose, output: as of
    `load_edit`."""
    data, problems = read_yaml(path)
    if purpose == "layout":
        data.pop("regions", None)
    if data.get("output") is None:  # also a key without a value
        data.pop("output", None)
    for where, text in _left_out(data, purpose, output):
        problems.add(text, name_of(where))
    notes = _old_keys(data, problems.lines)
    keys = checked(EditKeys, data, problems)
    found = purpose == "layout" or any(isinstance(region.masks, FoundMask) for region in keys.regions)
    inversion = {name: getattr(keys.inversion, name) for name in fields_of(InversionSettings)}
    same = {field: getattr(keys, field) for field in EditFile.__dataclass_fields__ if hasattr(keys, field)}
    spec = EditFile(
        **same
        | vars(keys.frames)
        | {
            "path": path,
            "lines": problems.lines,
            "notes": notes,
            "video": keys.video or Path(),
            "sampling": SamplingSettings(**{name: getattr(keys, name) for name in fields_of(SamplingSettings)}),
            "inversion": InversionSettings(**inversion),
            "load": keys.inversion.load,
            "save": keys.inversion.save,
            "output": output or keys.output,
            "layout": keys.layout or (LayoutSettings() if found else None),
        }
    )
    return spec, problems


def _old_keys(data: Mapping[str, Any], lines: Lines) -> tuple[str, ...]:
    """What the file has of older versions that does nothing any more, with the line; such values are replaced."""
    attention, found = data.get("attention"), {}
    if isinstance(attention, dict) and attention.get("range") == SAMPLED:
        attention["range"] = "exact"
        found["attention.range"] = WITHOUT_SAMPLED
    if isinstance(attention, dict) and "range_every" in attention:
        found["attention.range_every"] = "it is not used any more, sampled is gone; remove it"
    return tuple(f"{lines.path.name}:{lines.line_of(key)}: {key}: {text}" for key, text in found.items())


def _left_out(data: Mapping[str, Any], purpose: str, output: Path | None) -> list[tuple[tuple, str]]:
    """(where, text) of what is missing for a purpose."""
    inversion = data.get("inversion")
    loads = isinstance(inversion, Mapping) and inversion.get("load") is not None
    needed = ["video"]
    # `videograin invert` makes the file that inversion.load names, so it needs the prompt all the same.
    needed += ["source_prompt"] if not loads or purpose == "invert" else []
    needed += ["prompt", "regions"] if purpose == "edit" else []
    needed += ["output"] if purpose != "invert" and output is None else []
    found = missing(EditKeys, data, needed)
    regions = data.get("regions")
    if regions == [] and purpose == "edit":
        text = "regions is empty; expected at least one; to edit everything, give one a box of the whole picture"
        found.append((("regions",), text))
    return found + missing(EditKeys, data, ["phrase", "masks"], "regions")
