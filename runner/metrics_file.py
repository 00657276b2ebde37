"""What `videograin metrics` is to measure, read from a metrics file, from flags, or from both (a flag wins).

A metrics file has the keys of an edit file for the source (``video``, ``frames``, ``size``, ``fit``, ``prompt``,
``regions``) and keys of its own. What it leaves out comes from the edit file it names (``edit_file``), or from the one
that the report of the first edit's folder names, or from the edit.yaml in that folder (a demo's).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..editing.fields import missing, name_of
from ..editing.named_paths import file_named
from ..editing.whole_file import RESULTS, read_json
from .edit_file import EditFile, read_edit
from .edit_keys import MODELS, REQUIRED, MeasuredKeys, MetricsKeys, RegionEntry, user_path
from .yaml_lines import Lines, checked, read_yaml

SOURCE = "source"  # the name of the source's column
EDIT_FILE = "edit.yaml"  # in a demo's folder


class MetricsError(ValueError):
    """What is to be measured cannot be. The text lists every mistake, each with what was expected and the remedy."""


@dataclass(frozen=True)
class MeasuredEdit:
    """An edit to measure. path: a video, or the output folder of an edit (or demo); name: its column; line: in the
    metrics file."""

    name: str
    path: Path
    line: int = 0

    @property
    def video(self) -> Path:
        """The video's file."""
        return self.path / RESULTS["edit"] if self.path.is_dir() else self.path

    def report(self) -> dict[str, Any]:
        """What the edit's report says; empty where there is none that can be read."""
        return read_json(self.path / RESULTS["report"]) if self.path.is_dir() else {}

    def said(self, section: str, key: str) -> Any:
        """What a section of the report says under ``key``; None where it does not."""
        found = self.report().get(section)
        return found.get(key) if isinstance(found, dict) else None

    @property
    def made_from(self) -> Path | None:
        """The edit file: the one that the report names, or an edit.yaml in the folder (a demo's); None without."""
        if isinstance(named := self.said("settings", "path"), str) and named:
            return Path(named)
        inside = self.path / EDIT_FILE
        return inside if inside.is_file() else None


@dataclass(frozen=True)
class MetricsSpec:
    """What is measured, and with what. path: the metrics file or None; edits: in the order of the columns; edit_file:
    the edit that the rest comes from; video, prompt, regions, start, count, stride, size, fit: as in an edit file, None
    = not said; networks: a path for each of MODELS that was given; lines: of the file's keys."""

    edits: tuple[MeasuredEdit, ...] = ()
    path: Path | None = None
    edit_file: Path | None = None
    video: Path | None = None
    prompt: str | None = None
    regions: tuple[RegionEntry, ...] | None = None
    start: int | None = None
    count: int | None = None
    stride: int | None = None
    size: tuple[int, int] | None = None
    fit: str | None = None
    networks: Mapping[str, Path] = field(default_factory=dict)
    device: str = "auto"
    output: Path = Path("out/metrics")
    lines: Lines | None = None

    def error(self, problems: Sequence[tuple[str, str]]) -> Exception:
        """(key, text) pairs as one error: with the lines of the metrics file where there is one."""
        if self.lines is not None:
            return self.lines.error(*problems)
        return MetricsError("\n".join(text for _, text in problems))


def load_metrics(path: str | Path) -> MetricsSpec:
    """Read a metrics file; EditFileError with every mistake of its text."""
    path = Path(path)
    data, problems = read_yaml(path)
    data = _said(data)
    absent = missing(MetricsKeys, data, REQUIRED[MeasuredKeys], "edits")
    for where, text in absent + missing(MetricsKeys, data, REQUIRED[RegionEntry], "regions"):
        problems.add(text, name_of(where))
    keys = checked(MetricsKeys, data, problems)
    problems.stop()
    said = {name: getattr(keys, name) for name in data if name != "frames" and name not in MODELS}
    said["networks"] = {name: getattr(keys, name) for name in data if name in MODELS}
    said |= {name: getattr(keys.frames, name) for name in data.get("frames", ())}
    said["edits"] = tuple(
        MeasuredEdit(edit.name or _usual_name(edit.path), edit.path, problems.lines.line_of(f"edits[{number}]"))
        for number, edit in enumerate(keys.edits, 1)
    )
    return MetricsSpec(**{"path": path, "lines": problems.lines, "output": path.parent / "metrics"} | said)


def _said(data: dict[str, Any]) -> dict[str, Any]:
    """Without the keys that have no value."""
    return {
        key: _said(value) if key == "frames" and isinstance(value, dict) else value
        for key, value in data.items()
        if value is not None
    }


def with_flags(spec: MetricsSpec, edits: Sequence[str] | None, **given: Any) -> MetricsSpec:
    """The spec with what flags give (None = not given). edits: PATH or NAME=PATH each, in place of the file's."""
    given = {key: value for key, value in given.items() if value is not None}
    networks = {**spec.networks, **{key: given.pop(key) for key in MODELS if key in given}}
    changes = {**given, "networks": networks}
    if edits:
        changes["edits"] = tuple(_named(one) for one in edits)
    return dataclasses.replace(spec, **changes)


def completed(spec: MetricsSpec) -> tuple[MetricsSpec, tuple[str, ...]]:
    """The spec with what it leaves out taken from an edit file, checked; and remarks.

    Raises EditFileError or MetricsError for what cannot be measured: every mistake, with its remedy.
    """
    problems, notes = _problems(spec), ()
    if problems:
        raise spec.error(problems)
    edit, notes = _edit_of(spec)
    if edit is not None:
        ready = {name: getattr(edit.keys, name) for name in ("video", "prompt", "regions", "size", "fit")}
        ready |= vars(edit.keys.frames)
        if spec.prompt is None and (said := spec.edits[0].report().get("prompt")):
            ready["prompt"] = said  # with the phrases that the edit appended
        missing = {key: value for key, value in ready.items() if getattr(spec, key) is None}
        spec = dataclasses.replace(spec, **missing)
    if spec.video is None:
        raise spec.error(
            [
                (
                    "edits",
                    "the source video is missing, and no edit file says which it is; expected the video that was "
                    "edited; give `video` (--source) or `edit_file` (--edit-file)",
                )
            ]
        )
    if not spec.video.is_file():
        raise spec.error(
            [("video", f"{spec.video} does not exist; expected the video that was edited; give `video` (--source)")]
        )
    return spec, notes


def _edit_of(spec: MetricsSpec) -> tuple[EditFile | None, tuple[str, ...]]:
    """The edit file that completes the spec, and a remark where it is one that only a report names."""
    if spec.edit_file is not None:
        return read_edit(spec.edit_file), ()
    if spec.video is not None:
        return None, ()
    edit, named = next(((edit, path) for edit in spec.edits if (path := edit.made_from)), (None, None))
    if named is None:
        return None, ()
    file = file_named(str(named))
    if file is None:
        raise spec.error(
            [
                (
                    "edits",
                    f"{edit.path} was made from {named}, which is not there; expected that edit file, seen "
                    "from the folder that the edit was run in; give `edit_file` (--edit-file)",
                )
            ]
        )
    return read_edit(file), (f"source, prompt and regions are those of {named}",)


def _problems(spec: MetricsSpec) -> list[tuple[str, str]]:
    """(key, text) for everything about the paths that would fail later."""
    found = []
    if not spec.edits:
        found.append(
            ("edits", "there is no edit to measure; expected one or more; give `edits` (--edit PATH or NAME=PATH)")
        )
    for edit in spec.edits:
        if not edit.video.is_file():
            expected = "a video, or the output folder of an edit with its edit.mp4"
            found.append(("edits", f"edit {edit.name}: {edit.video} does not exist; expected {expected}; correct it"))
    names = [edit.name for edit in spec.edits]
    for name in dict.fromkeys(name for name in names if names.count(name) > 1 or name == SOURCE):
        why = "the source's" if name == SOURCE else "used twice"
        found.append(
            ("edits", f"the name {name!r} is {why}; expected a name of its own for every edit; give NAME=PATH")
        )
    for key in (key for key, what in MODELS.items() if what == "DIR"):
        path = spec.networks.get(key)
        if path is not None and not (path / "config.json").is_file():
            found.append(
                (
                    key,
                    f"{key}: {path} has no config.json; expected a local transformers folder; correct the path, or "
                    "leave it out: its figures are then reported as not measured",
                )
            )
    raft = spec.networks.get("raft")
    if raft is not None and not raft.is_file():
        found.append(
            (
                "raft",
                f"raft: {raft} does not exist; expected a weights file of torchvision's RAFT-Large; correct the "
                "path, or leave it out: OpenCV's DIS takes its place",
            )
        )
    if spec.output.exists() and not spec.output.is_dir():
        found.append(("output", f"output: {spec.output} is a file; expected a folder; choose another name"))
    return found


def _named(given: str) -> MeasuredEdit:
    """PATH or NAME=PATH of the command line; a path that exists is never cut at its "="."""
    name, sign, rest = given.partition("=")
    if sign and name and rest and not Path(given).exists():
        return MeasuredEdit(name, user_path(rest))
    path = user_path(given)
    return MeasuredEdit(_usual_name(path), path)


def _usual_name(path: Path) -> str:
    """men for out/men, out/men.mp4 and out/men/edit.mp4."""
    if path.name == RESULTS["edit"] and path.parent.name:
        return path.parent.name
    return path.stem if path.suffix else path.name or str(path)
