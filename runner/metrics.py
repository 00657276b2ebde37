"""`videograin metrics`: the figures of real edits side by side, as files and as a table for the console."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..editing.layout.clip_layout import ClipLayout, LayoutError, Thing
from ..editing.motion.optical_flow import FlowError, find_estimator
from ..editing.regions import Region
from ..editing.result_set import whole_set
from ..editing.whole_file import LAYOUT, METRICS, save_png, whole_file
from ..measuring.metrics.encoders import Encoder, EncoderError, load_clip, load_dino
from ..measuring.metrics.measure import Instruments, measure, prepare
from ..measuring.metrics.table import Table
from ..measuring.pictures.bars import bar_sheet
from .edit_keys import MODELS
from .media.geometry import Geometry, GeometryError
from .media.mask_files import FoundMask, MaskError, MaskFolder, MaskFrames, load_masks
from .media.video import Clip, VideoError, probe, read_clip
from .metrics_file import SOURCE, MeasuredEdit, MetricsSpec, completed
from .preflight import check_results, chosen_device, device_problem, memory_errors
from .progress import ConsoleProgress
from .report import build_report, write_report

log = logging.getLogger(__name__)
COMPRESSED = (
    "edits are read from compressed video: what an edit left bit-identical shows as some 37 to 50 dB here; an edit's "
    "own report.json has the figures of its frames before compression"
)


@dataclass(frozen=True)
class Measured:
    """What was measured. files: name -> path of everything written; table: the figures; report: what metrics.json
    holds."""

    files: dict[str, Path]
    table: Table
    report: dict[str, Any]


@memory_errors(
    "measure fewer frames (frames.count, --count), at a smaller size (size), or set device to cpu (--device) where a "
    "GPU was full",
    "every clip's frames and the flow of the source at once",
)
def run_metrics(
    spec: MetricsSpec, *, command: str = "videograin metrics", progress: ConsoleProgress | None = None
) -> Measured:
    """Measure every edit against its source; writes ``metrics.json``, ``.csv``, ``.md`` and ``.png`` to the output.

    Raises EditFileError or MetricsError for what cannot be measured, with the remedy.
    """
    progress = progress or ConsoleProgress(quiet=True)
    spec, notes = completed(spec)
    check_results(spec.output, METRICS.values(), "output")
    source, edits, more = _read(spec, progress)
    regions = _regions(spec, source, progress)
    tools, remarks = _instruments(spec, progress)
    notes = [*notes, *more, *remarks, *_prompt_notes(spec.edits, spec.prompt), COMPRESSED]
    with progress.stage("measure source", len(source.frames) - 1) as tick:
        try:
            ground = prepare(source.frames, spec.prompt or "", regions, tools, tick)
        except FlowError as error:
            raise spec.error([("video", str(error))]) from None
        columns = {SOURCE: measure(ground, source.frames)}
    for edit in spec.edits:
        with progress.stage(f"measure {edit.name}", len(source.frames) - 1) as tick:
            columns[edit.name] = measure(ground, edits[edit.name], tick)
    table = Table.of(columns, reference=SOURCE, notes=notes)
    files = {name: spec.output / file for name, file in METRICS.items()}
    report = build_report(
        command=command,
        settings=_settings(spec),
        **table.facts(),
        seconds=progress.timer.seconds,
        device=chosen_device(spec.device),
    )
    with whole_set(spec.output, METRICS["json"]) as new:
        for name, content in (("csv", table.csv()), ("markdown", table.markdown())):
            with whole_file(new / METRICS[name]) as temporary:
                temporary.write_text(content, encoding="utf-8")
        save_png(new / METRICS["plot"], bar_sheet(table, spec.prompt or ""))
        write_report(new / METRICS["json"], report)
    return Measured(files, table, report)


def _read(spec: MetricsSpec, progress: ConsoleProgress) -> tuple[Clip, dict[str, np.ndarray], list[str]]:
    """The source and every edit at one size and number of frames, and remarks about what was done to them."""
    notes, edits = [], {}
    with progress.stage("read videos"):
        try:
            first = probe(spec.edits[0].video)
            size = spec.size
            if size is None and spec.edit_file is None and spec.fit is None:
                size = (first.width, first.height)  # nobody said how the source was cut: as the edit is
            count = spec.count or first.frames
            source = read_clip(spec.video, spec.start or 0, count, spec.stride or 1, size, spec.fit or "crop")
        except (VideoError, GeometryError) as error:
            raise spec.error([("video", f"the source: {error}")]) from None
        height, width = source.frames.shape[1:3]
        wrong = []
        for edit in spec.edits:
            try:
                info = probe(edit.video)
                _check_shape((info.width, info.height), (width, height))
                clip = read_clip(edit.video, size=(width, height), fit="stretch")
            except (VideoError, GeometryError) as error:
                wrong.append(("edits", f"edit {edit.name}: {error}"))
                continue
            if len(clip.frames) != len(source.frames):
                wrong.append(
                    (
                        "edits",
                        f"edit {edit.name} has {len(clip.frames)} frames, the source {len(source.frames)} (start "
                        f"{source.start}, stride {source.stride}); expected one number; correct frames (--start, "
                        "--count, --stride)",
                    )
                )
            if (info.width, info.height) != (width, height):
                notes.append(f"{edit.name} was resized from {info.width} x {info.height} to {width} x {height}")
            digest = edit.said("clip", "digest")
            if digest and digest != source.digest:
                notes.append(f"{edit.name} was made from other source frames than it is measured against")
            edits[edit.name] = clip.frames
    if wrong:
        raise spec.error(wrong)
    return source, edits, notes


def _check_shape(size: tuple[int, int], wanted: tuple[int, int]) -> None:
    """GeometryError unless both (width, height) have one shape, to a pixel."""
    if abs(size[0] * wanted[1] / wanted[0] - size[1]) > 1:
        raise GeometryError(
            f"it is {size[0]} x {size[1]} pixels, the source is {wanted[0]} x {wanted[1]} as it is measured; expected "
            "the same shape; say how the source was cut for the edit: `size` and `fit` in a metrics file, or "
            "`edit_file` (--edit-file)"
        )


def _regions(spec: MetricsSpec, source: Clip, progress: ConsoleProgress) -> list[Region]:
    """The regions with their masks at the source's size."""
    regions, wrong = [], []
    frames = MaskFrames(source.start, len(source.frames), source.stride, source.source_frames)
    with progress.stage("read masks", len(spec.regions or ())) as tick:
        for number, region in enumerate(spec.regions or (), 1):
            try:
                if isinstance(region.masks, FoundMask):
                    mask = _found(spec.edits, region.masks.layout, source.geometry, frames)
                else:
                    mask = load_masks(region.masks, source.geometry, frames)
                regions.append(Region(region.phrase, mask, region.preserve, region.strength))
            except (MaskError, GeometryError, VideoError, LayoutError) as error:
                wrong.append(("regions", f"regions[{number}].masks: {error}"))
            tick()
    if wrong:
        raise spec.error(wrong)
    return regions


def _found(edits: tuple[MeasuredEdit, ...], text: str, geometry: Geometry, frames: MaskFrames) -> torch.Tensor:
    """The masks of a thing that an edit found itself, from the ``layout`` folder beside its results."""
    for edit in edits:
        folder = edit.path / "layout"
        if not (folder / LAYOUT["layout"]).is_file():
            continue
        facts = _layout_facts(folder / LAYOUT["layout"])
        stored = sorted(path for path in (folder / "masks").glob("*") if path.is_dir())
        things = []
        for fact in facts:
            place = next((path for path in stored if path.name.split("_")[0] == str(fact["number"])), None)
            if place is None:
                raise MaskError(
                    f"{folder / 'masks'} has no folder for thing {fact['number']} ({fact['name']}), which "
                    f"{LAYOUT['layout']} names; expected all of them as they were written; run the edit again"
                )
            mask = load_masks(MaskFolder(place), geometry, frames)
            name, phrase = fact["name"], fact["phrase"]
            things.append(Thing(fact["number"], name, phrase, float("nan"), fact["background"], mask > 0.5, mask))
        size = things[0].mask.shape[-2:]
        layout = ClipLayout(tuple(things), size, size, torch.zeros(frames.count, *size, dtype=torch.int64), 0)
        return layout.pick_together(text)[1]
    raise MaskError(
        f"{text!r} was found by the edit itself, and no edit's folder has its layout; expected the folder `layout` "
        "beside edit.mp4; give an edit's output folder, or masks of another kind"
    )


def _layout_facts(path: Path) -> list[dict[str, Any]]:
    """What layout.json says of the things; MaskError where it is damaged."""
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))["things"]
        if facts and all({"number", "name", "phrase", "background"} <= set(fact) for fact in facts):
            return list(facts)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        pass
    raise MaskError(f"{path} is damaged; expected the things of a layout; run the edit again")


def _instruments(spec: MetricsSpec, progress: ConsoleProgress) -> tuple[Instruments, list[str]]:
    """What there is to measure with, and remarks."""
    device = chosen_device(spec.device)
    if problem := device_problem(device):
        raise spec.error([("device", f"device: {problem}")])
    wrong: list[tuple[str, str]] = []

    def load(key: str, loader: Callable[..., Encoder], what: str) -> Encoder | str:
        folder = spec.networks.get(key)
        if folder is None:
            return f"no {what} was given"
        try:
            return loader(folder, device)
        except EncoderError as error:
            wrong.append((key, f"{key}: {error}"))
            return str(error)

    with progress.stage("load models"):
        clip = load("clip", load_clip, "CLIP")
        dino = load("dino", load_dino, "DINO")
        pick = load("pickscore", load_clip, "PickScore model")
        try:
            flow = find_estimator(spec.networks.get("raft"), device)
        except FlowError as error:
            raise spec.error([*wrong, ("raft", str(error))]) from None
    if wrong:
        raise spec.error(wrong)
    notes = [f"optical flow by {flow.name}" + (f": {flow.note}" if flow.note else "")]
    return Instruments(flow, clip, dino, pick), notes


def _prompt_notes(edits: Sequence[MeasuredEdit], prompt: str | None) -> list[str]:
    """A remark for every edit that was made for another prompt than the one that it is measured against."""
    said = {edit.name: edit.report().get("prompt") for edit in edits}
    return [
        f"{name} was made for another prompt: {other!r}"
        for name, other in said.items()
        if other and prompt and other != prompt
    ]


def _settings(spec: MetricsSpec) -> dict[str, Any]:
    """The spec for the report, without line numbers."""
    regions = [
        {"phrase": region.phrase, "masks": region.masks, "preserve": region.preserve} for region in spec.regions or ()
    ]
    edits = {edit.name: str(edit.video) for edit in spec.edits}
    names = ("path", "edit_file", "video", "prompt", "start", "count", "stride", "size", "fit", "device")
    plain = {name: getattr(spec, name) for name in names} | {name: spec.networks.get(name) for name in MODELS}
    return {**plain, "output": spec.output, "regions": regions, "edits": edits}
