"""The benchmark's results as one table: means over clips with their intervals, per system and group of clips.

A clip's seeds are averaged first; intervals are bootstrap intervals over clips (bootstrap.py).
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import pandas

from ...measuring.metrics.pixels import MARGIN
from .bootstrap import LEVEL, Interval, mean_interval
from .judge import BAND
from .records import Cell, InversionCell
from .systems import SYSTEMS

OURS = "ours"


@dataclass(frozen=True)
class Measure:
    """A column. title: its head; better: "higher" or "lower"; digits after the point; scale: what the metric is
    multiplied by (100 for percent); text: what it is, for the page."""

    title: str
    better: str
    digits: int
    scale: float
    text: str

    def show(self, interval: Interval, signed: bool = False) -> str:
        """`mean [low, high]`, or a dash where nothing was measured."""
        if not interval.count:
            return "-"
        form = f"{{:{'+' if signed else ''}.{self.digits}f}}"
        mean, low, high = (form.format(value * self.scale) for value in (interval.mean, interval.low, interval.high))
        return f"{mean} [{low}, {high}]"


MEASURES = {
    "union": Measure("all right, %", "higher", 1, 100, "frames in which every region is right at once"),
    "union_clip": Measure("all right, clips %", "higher", 1, 100, "clips in which every frame is"),
    "object": Measure("object %", "higher", 1, 100, "edited objects with the right colour and shape, over frames"),
    "colour": Measure("colour %", "higher", 1, 100, "edited objects with the right colour, over frames"),
    "kept": Measure("kept %", "higher", 1, 100, "objects to be kept that still have colour and shape"),
    "background": Measure(
        "background %",
        "higher",
        1,
        100,
        "frames with the wanted background, where it is edited. It is read from most of the pixels that show no "
        "object: a second copy of a kept object in it costs nothing here, nor in `kept` and `all right`",
    ),
    "leak": Measure("leak %", "lower", 1, 100, "objects, over frames, that took another object's colour"),
    "leak_pixels": Measure("leak px %", "lower", 1, 100, "pixels inside objects in another object's colour"),
    "flicker": Measure("flicker", "lower", 2, 1, "std over time of an object's mean colour, levels of 255"),
    "warp": Measure("warp", "lower", 2, 1, "squared warp error x 1000 along the exact flow of the ideal result"),
    "warp_ideal": Measure("warp ideal", "lower", 2, 1, "the same of the ideal frames themselves"),
    "own": Measure("own", "lower", 2, 1, "the same along the motion of what the edit itself shows: how steady it is"),
    "own_ideal": Measure("own ideal", "lower", 2, 1, "the same of the ideal frames themselves"),
    "centre_jitter": Measure(
        "centre px", "lower", 2, 1, "rms over time of an edited object's centre against the ideal's"
    ),
    "size_jitter": Measure("size %", "lower", 2, 100, "std over time of an edited object's size against the ideal's"),
    "identity": Measure(
        "same again %", "higher", 1, 100, "times that an object came back from behind another one as it was before"
    ),
    "ideal_psnr": Measure("ideal dB", "higher", 1, 1, "PSNR against the ideal frames"),
    "outside_blend_psnr": Measure(
        "outside blend dB", "higher", 1, 1, f"{MARGIN} px outside the blend mask, before the composite, against the VAE"
    ),
    "outside_psnr": Measure("outside dB", "higher", 1, 1, f"{MARGIN} px outside the regions, likewise"),
    "outside_ssim": Measure("outside SSIM", "higher", 3, 1, "likewise, structural similarity"),
    "outside_structure": Measure("outside edges", "lower", 3, 1, "likewise, error of the gradients, 0 to 1"),
    "band_psnr": Measure("band dB", "higher", 1, 1, f"{BAND} px round the regions' border, against the ideal frames"),
    "kept_psnr": Measure("kept dB", "higher", 1, 1, "kept regions against the source, after the composite"),
    "seconds": Measure("s", "lower", 1, 1, "processor time of the edit, without the shared inversion"),
}
DIFFERENCES = ("union", "union_clip", "object", "leak", "leak_pixels", "flicker", "warp", "ideal_psnr")
NO_EDIT = pandas.MultiIndex.from_arrays([[], []], names=["clip", "seed"])
Row = tuple[str, str]
"""A system's name and a variation's label."""


@dataclass(frozen=True)
class Group:
    """Some of the cells under a name. family: whether they are one kind of clip, not all learnt or unlearnt ones."""

    name: str
    cells: tuple[Cell, ...]
    family: bool = False

    @cached_property
    def edits(self) -> dict[Row, pandas.DataFrame]:
        """Of every row its edits: a line under clip and seed, a column a measure."""
        lines = pandas.DataFrame(
            [{**vars(cell), **cell.metrics} for cell in self.cells],
            columns=["system", "vary", "clip", "seed", *MEASURES],
        )
        lines = lines.set_index(["clip", "seed"])
        return dict(iter(lines.groupby(["system", "vary"], sort=False)))

    @property
    def rows(self) -> list[Row]:
        """(system, variation) that occur, in the order of SYSTEMS and of the variations' first cells."""
        order = list(SYSTEMS)
        return sorted(self.edits, key=lambda row: order.index(row[0]))

    @property
    def clips(self) -> int:
        return len({cell.clip for cell in self.cells})

    @property
    def learnt(self) -> bool:
        """Whether the model learnt all of these scenes."""
        return all(cell.trained for cell in self.cells)

    def values(self, row: Row, measure: str) -> dict[str, float]:
        """Clip -> the mean over its seeds; clips without a value are left out."""
        return _by_clip(self._of(row, measure))

    def _of(self, row: Row, measure: str) -> pandas.Series:
        """(clip, seed) -> the value, nan where there is none."""
        return self.edits[row][measure] if row in self.edits else pandas.Series(dtype=float, index=NO_EDIT)

    def interval(self, row: Row, measure: str) -> Interval:
        return mean_interval(self.values(row, measure))

    def difference(self, row: Row, other: Row, measure: str, level: float = LEVEL) -> Interval:
        """row - other, paired by clip, over the seeds that both have; the interval's level in (0, 1)."""
        ours, theirs = self._of(row, measure), self._of(other, measure)
        return mean_interval(_by_clip(ours - theirs.reindex(ours.index)), level=level)

    def warp_ratio(self, row: Row) -> float:
        """Warp error over the ideal's own, of the means over clips."""
        values, ideal = self.values(row, "warp"), self.values(row, "warp_ideal")
        return sum(values.values()) / sum(ideal.values()) if sum(ideal.values()) else math.nan


def _by_clip(edits: pandas.Series) -> dict[str, float]:
    return edits.dropna().groupby("clip", sort=False).mean().to_dict()


def title_of(row: Row) -> str:
    system, vary = row
    return f"{SYSTEMS[system].title}, {vary}" if vary else SYSTEMS[system].title


def reference_of(rows: Sequence[Row]) -> Row | None:
    """What the others are compared with: ours as the settings are, else the first editor."""
    editors = [row for row in rows if SYSTEMS[row[0]].edits]
    return (OURS, "") if (OURS, "") in editors else next(iter(editors), None)


def groups_of(cells: Sequence[Cell]) -> list[Group]:
    """All that the model learnt; all that it did not; both together; then every family of clips by itself."""

    def some(name: str, test: Callable[[Cell], bool]) -> Group:
        return Group(name, tuple(cell for cell in cells if test(cell)))

    families = sorted({(c.kind, c.objects, c.motion) for c in cells})
    groups = [some("learnt scenes", lambda c: c.trained), some("scenes not learnt", lambda c: not c.trained)]
    if all(group.cells for group in groups):
        groups.append(Group("all scenes", tuple(cells)))
    for family in families:
        of_family = [cell for cell in cells if (cell.kind, cell.objects, cell.motion) == family]
        groups.append(Group("{}, {}, {}".format(*family), tuple(of_family), family=True))
    return [group for group in groups if group.cells]


def facts(groups: Sequence[Group], inversions: Sequence[InversionCell]) -> dict[str, Any]:
    """Everything as JSON values: groups -> rows -> measures -> mean, low, high, clips; differences; inversions."""
    out: dict[str, Any] = {"measures": {key: m.text for key, m in MEASURES.items()}, "groups": [], "inversions": []}
    for group in groups:
        rows, reference = group.rows, reference_of(group.rows)
        listed = []
        for row in rows:
            entry = {"system": row[0], "vary": row[1], "title": title_of(row), "warp_ratio": group.warp_ratio(row)}
            entry["figures"] = {key: _plain(group.interval(row, key)) for key in MEASURES}
            if reference and row != reference and SYSTEMS[row[0]].edits:
                entry["minus"] = title_of(reference)
                entry["differences"] = {key: _plain(group.difference(row, reference, key)) for key in DIFFERENCES}
            listed.append(entry)
        out["groups"].append({"name": group.name, "clips": group.clips, "rows": listed})
    for one in inverted(inversions):
        out["inversions"].append({key: value for key, value in one.items() if key != "seconds"})
        out["inversions"][-1]["round_trip_psnr"] = _plain(one["round_trip_psnr"])
    return out


def inverted(inversions: Sequence[InversionCell]) -> list[dict[str, Any]]:
    """The inversions by how they were made: round_trip_psnr, an Interval over clips; the lowest; noise_std, its least,
    mean and greatest; mean seconds."""
    lines = pandas.DataFrame(map(vars, inversions), columns=[one.name for one in fields(InversionCell)])
    return [
        {
            "how": how,
            "round_trip_psnr": mean_interval(dict(zip(these["clip"], these["round_trip_psnr"]))),
            "lowest": float(these["round_trip_psnr"].min()),
            "noise_std": these["noise_std"].agg(["min", "mean", "max"]).tolist(),
            "seconds": float(these["seconds"].mean()),
        }
        for how, these in lines.groupby("how", sort=False)
    ]


def _plain(interval: Interval) -> dict[str, Any]:
    return {"mean": interval.mean, "low": interval.low, "high": interval.high, "clips": interval.count}


def as_csv(found: Mapping[str, Any]) -> str:
    """`facts`, one line a figure: group, system, vary, measure, mean, low, high, clips; differences as `d measure`."""
    text = io.StringIO()
    write = csv.writer(text, lineterminator="\n").writerow
    write(["group", "system", "vary", "measure", "mean", "low", "high", "clips"])
    for group in found["groups"]:
        for row in group["rows"]:
            lines = [*row["figures"].items(), *((f"d {key}", v) for key, v in row.get("differences", {}).items())]
            for key, value in lines:
                write([group["name"], row["system"], row["vary"], key, *value.values()])
    return text.getvalue()
