"""The attention of an edit as pictures and shares (``attention_maps`` of an edit file). Free where it is off."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..attention import LabelMap
from ..editing.model import Model, Progress
from ..editing.regions import Region, frame_masks
from ..editing.settings import MapSettings, Pixel
from ..editing.whole_file import ATTENTION, RESULTS, read_json, save_png, whole_file
from ..measuring.attention_probe import AttentionProbe, InspectionError, Phrase, Place
from ..measuring.attention_shares import ShareTable, share_table
from ..measuring.pictures import heat
from ..measuring.probed_phrases import chosen_phrases
from .media.encode import write_video
from .media.geometry import Geometry
from .media.video import Clip
from .preflight import check_section_level
from .yaml_lines import Lines, Problems

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Looked:
    """What was seen. files: name -> path of everything written; table: the shares, None where nothing could be shown;
    notes: why not."""

    files: dict[str, Path]
    table: ShareTable | None = None
    notes: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The shares for the console."""
        return "" if self.table is None else self.table.text()

    def facts(self) -> list[dict[str, Any]]:
        """The shares for the report, one entry a phrase."""
        rows = () if self.table is None else self.table.rows
        return [{**dataclasses.asdict(row), "gain": row.gain} for row in rows]


def open_probe(
    maps: MapSettings,
    clip: Clip,
    prompt: str,
    phrases: Sequence[str],
    model: Model,
    *,
    steps: int,
    splice: bool,
    lines: Lines,
) -> AttentionProbe:
    """The observer of an edit with ``steps`` steps. phrases: the regions' own; splice: how they are encoded.
    EditFileError for what would show nothing."""
    problems = Problems(lines)
    with problems.gathered():
        check_section_level(model, maps.level, "attention_maps", lines)
    with problems.gathered(), lines.at_line("attention_maps.words", "attention_maps"):
        _, spans, labels, _ = model.encode_regions(prompt, phrases, splice=splice)
        regional = [Phrase(name, tuple(span), n) for n, (name, span) in enumerate(zip(phrases, spans), 1)]
        shown = chosen_phrases(
            maps.words or (), regional, lambda others: model.word_positions(prompt, others)[0], prompt
        )
    problems.stop()
    with lines.at_line("attention_maps"):
        probe = AttentionProbe(
            frames=len(clip.frames),
            phrases=shown,
            length=len(labels),
            level=maps.level,
            start=maps.start,
            end=maps.end,
            place=_place(maps.pixel, clip.geometry),
        )
        probe.range.check_steps(model.levels.t(float(sigma)) for sigma in model.sigmas(steps)[:-1])
    return probe


def _place(pixel: Pixel | None, geometry: Geometry) -> Place | None:
    """A pixel of the source as a place of the edit's frames (its middle); it lies inside: edit_checks.py looked."""
    if pixel is None:
        return None
    x0, y0, x1, y1 = geometry.box
    return Place(pixel.frame, (pixel.x + 0.5 - x0) / (x1 - x0), (pixel.y + 0.5 - y0) / (y1 - y0))


def maps_of_before(folder: Path) -> list[Path]:
    """The maps that the last edit wrote to ``folder``, by its report; relative to it. They go with its video."""
    told = read_json(folder / RESULTS["report"]).get("outputs")
    names = list(told.values()) if isinstance(told, dict) else []
    files = [Path(name) for name in ATTENTION.values() if name in names]
    return [file for file in files if (folder / file).is_file() and not (folder / file).is_symlink()]


def write_maps(
    folder: Path, clip: Clip, regions: Sequence[Region], probe: AttentionProbe, progress: Progress
) -> Looked:
    """Write ``attention.mp4``, ``attention.png`` and ``shares.csv`` to the folder. Nothing seen (a level that the model
    does not have) is a note, no error: the edit is done and worth more than its maps."""
    count = len(clip.frames)
    try:
        maps = probe.result()
    except InspectionError as error:
        note = f"attention_maps: {error}"
        log.warning(note)
        return Looked({}, notes=(note,))
    label_map = LabelMap(frame_masks(regions, count))
    outlines = [label_map.union([n], visible=True).numpy() for n in range(1, label_map.regions + 1)]
    kept = [n for n, region in enumerate(regions, 1) if region.preserve]
    table = share_table(maps, label_map, kept)
    files = {name: folder / file for name, file in ATTENTION.items()}
    with progress.stage("write attention", 2) as tick, torch.no_grad():
        rows = heat.heats(maps, outlines, table)
        write_video(files["attention"], heat.heat_video(rows, clip.frames), clip.fps, times=clip.times)
        tick()
        save_png(files["attention_sheet"], heat.heat_sheet(rows, clip.frames))
        with whole_file(files["shares"]) as temporary:
            temporary.write_text(table.csv(), encoding="utf-8")
        tick()
    return Looked(files, table)
