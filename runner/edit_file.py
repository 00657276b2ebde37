"""The edit file: one YAML file that says everything about an edit, read into frozen values.

``load_edit`` (edit_checks.py) reads the text by the classes of edit_keys.py, opens the video and the masks to check
counts, and reports all mistakes at once. No torch, no model: mistakes show within a second. Relative paths are relative
to the edit file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..attention.options import SAMPLED
from ..editing.fields import fields_of, missing, name_of
from ..editing.presets import PRESETS, flat, told
from ..editing.settings import (
    WITHOUT_SAMPLED,
    EditSettings,
    InversionSettings,
    LayoutSettings,
    SamplingSettings,
)
from .edit_keys import REQUIRED, EditKeys, RegionEntry
from .media.mask_files import FoundMask
from .yaml_lines import EditFileError, Lines, Problems, checked, read_yaml

__all__ = ["EditFile", "EditFileError", "RegionEntry", "read_edit", "read_keys"]

FACTS = (
    "path video source_prompt prompt negative_prompt regions start count stride size fit model model_config sampling "
    "attention blend composite inversion steady motion load save controlnet device dtype output append_phrases layout "
    "attention_maps windows preset"
)
"""What a report says of an edit file, in this order."""


@dataclass(frozen=True)
class EditFile:
    """A checked edit. path: the edit file; keys: what it says, with defaults for what it leaves out. output: the folder
    for the results (None only where the file is used for an inversion alone); layout: how regions are found without
    masks, None = none are. lines: where each key stands; notes: what in the file does nothing any more, and what its
    preset sets."""

    path: Path
    keys: EditKeys
    output: Path | None
    layout: LayoutSettings | None
    lines: Lines
    notes: tuple[str, ...] = ()

    @property
    def settings(self) -> EditSettings:
        """The keys that are settings of the edit itself."""
        keys = self.keys
        sampling, inversion = _part(SamplingSettings, keys), _part(InversionSettings, keys.inversion)
        return EditSettings(sampling, keys.attention, keys.blend, keys.composite, inversion, keys.steady)

    def facts(self) -> dict[str, Any]:
        """For a report: all that the file says, flat."""
        said = asdict(self.keys)
        flat = said | said["frames"] | said["inversion"] | asdict(self.settings)
        flat |= {"path": self.path, "output": self.output, "layout": self.layout and asdict(self.layout)}
        return {name: flat[name] for name in FACTS.split()}


def _part(kind: Any, keys: Any) -> Any:
    """The settings of a class that keys contain beside others."""
    return kind(**{name: getattr(keys, name) for name in fields_of(kind)})


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
    notes = (*_old_keys(data, problems.lines), *_fill_by_preset(data, problems.lines))
    keys = checked(EditKeys, data, problems)
    found = purpose == "layout" or any(isinstance(region.masks, FoundMask) for region in keys.regions)
    layout = keys.layout or (LayoutSettings() if found else None)
    return EditFile(path, keys, output or keys.output, layout, problems.lines, notes), problems


def _old_keys(data: Mapping[str, Any], lines: Lines) -> tuple[str, ...]:
    """What the file has of older versions that does nothing any more, with the line; such values are replaced."""
    attention, found = data.get("attention"), {}
    if isinstance(attention, dict) and attention.get("range") == SAMPLED:
        attention["range"] = "exact"
        found["attention.range"] = WITHOUT_SAMPLED
    if isinstance(attention, dict) and "range_every" in attention:
        found["attention.range_every"] = "it is not used any more, sampled is gone; remove it"
    return tuple(f"{lines.path.name}:{lines.line_of(key)}: {key}: {text}" for key, text in found.items())


def _fill_by_preset(data: dict[str, Any], lines: Lines) -> tuple[str, ...]:
    """Fill what the file leaves out of what its preset sets, and say so; nothing where it names none that exists."""
    preset = PRESETS.get(name) if isinstance(name := data.get("preset"), str) else None
    if preset is None:
        return ()
    keys = preset.keys(embedded=data.get("model") is None)
    filled = {key: value for key, value in flat(keys).items() if key not in lines}
    own = [key for key in flat(keys) if key in lines]
    for key, value in keys.items():
        if not isinstance(value, dict):
            data.setdefault(key, value)
        elif (written := data.get(key)) is None or isinstance(written, dict):
            data[key] = value | (written or {})
    whose = f"; the file itself says {', '.join(own)}" if own else ""
    return (f"{lines.path.name}:{lines.line_of('preset')}: preset {name} sets {told(filled)}{whose}",)


def _left_out(data: Mapping[str, Any], purpose: str, output: Path | None) -> list[tuple[tuple, str]]:
    """(where, text) of what is missing for a purpose."""
    inversion = data.get("inversion")
    loads = isinstance(inversion, Mapping) and inversion.get("load") is not None
    spared = {
        # `videograin invert` makes the file that inversion.load names, so it needs the prompt all the same.
        "source_prompt": loads and purpose != "invert",
        "prompt": purpose != "edit",
        "regions": purpose != "edit",
        "output": purpose == "invert" or output is not None,
    }
    found = missing(EditKeys, data, [key for key in REQUIRED[EditKeys] if not spared.get(key)])
    regions = data.get("regions")
    if regions == [] and purpose == "edit":
        text = "regions is empty; expected at least one; to edit everything, give one a box of the whole picture"
        found.append((("regions",), text))
    return found + missing(EditKeys, data, REQUIRED[RegionEntry], "regions")
