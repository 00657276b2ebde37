"""In which region a phrase's attention lies: a table, before and after modulation.

A phrase's attention mass is what all places of all frames together give to its words. Its own share is the part of that
mass that comes from places of its own region; the others' and the background's likewise; the three sum to 1. An edit
whose words stay in their regions has own shares near 1.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from ..attention import LabelMap
from .attention_probe import AttentionMaps

NONE = "-"  # in the text: a share that does not exist


@dataclass(frozen=True)
class Split:
    """Where a phrase's attention mass lies. own, others, background: shares of it, in [0, 1]; own is nan for a phrase
    without a region. mass: the mean share of a place's attention that goes to the phrase."""

    own: float
    others: float
    background: float
    mass: float


@dataclass(frozen=True)
class ShareRow:
    """One phrase. region: its number, 0 = none. preserved: whether its pixels stay the source's. area: the part of the
    clip's places that are its region's, nan without one."""

    phrase: str
    region: int
    preserved: bool
    area: float
    before: Split
    after: Split

    @property
    def gain(self) -> float:
        """By which factor the own share rises; nan where there is none."""
        return self.after.own / self.before.own if self.before.own > 0 else math.nan

    def summary(self, changed: bool = True) -> str:
        """Where its attention lies, in one line; changed: whether there is an "after" to tell."""
        named = {"own": "own region", "others": "other regions", "background": "background"}
        told = []
        for part, name in named.items():
            before, after = getattr(self.before, part), getattr(self.after, part)
            if math.isnan(before):
                continue
            told.append(f"{name} {_percent(before)}" + (f" > {_percent(after)}" if changed else ""))
            if part == "own" and changed and not math.isnan(self.gain):
                told[-1] += f" (x {self.gain:.1f})"
        return ", ".join(told)


@dataclass(frozen=True)
class ShareTable:
    """The shares of all phrases of some maps, rows in the phrases' order. changed: whether anything was modulated; if
    not, after is before."""

    rows: tuple[ShareRow, ...]
    changed: bool = True

    def text(self) -> str:
        """Aligned columns for a fixed-width font, percentages; the last line says what the columns mean."""
        head = ["phrase", "area", "own region", "", "other regions", "background", "of all attention"]
        lines = [head]
        for row in self.rows:
            gain = f"x {row.gain:.2f}" if self.changed and not math.isnan(row.gain) else ""
            name = f"{row.region} {row.phrase}" if row.region else row.phrase
            pairs = [self._cell(getattr(row.before, part), getattr(row.after, part)) for part in _PARTS]
            lines.append(
                [name + (" (preserved)" if row.preserved else ""), _percent(row.area), pairs[0], gain, *pairs[1:]]
            )
        widths = [max(len(line[n]) for line in lines) for n in range(len(head))]
        told = [
            "  ".join(cell.ljust(w) if n == 0 else cell.rjust(w) for n, (cell, w) in enumerate(zip(line, widths)))
            for line in lines
        ]
        said = "Shares of a phrase's attention" + (", before > after." if self.changed else "; nothing was modulated.")
        return "\n".join([*(line.rstrip() for line in told), said])

    def _cell(self, before: float, after: float) -> str:
        if math.isnan(before) or not self.changed:
            return _percent(before)
        return f"{_percent(before)} > {_percent(after)}"

    def csv(self) -> str:
        """One line a phrase; shares as fractions, empty where there is none."""
        parts = [field.name for field in fields(Split)]
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        pairs = [f"{part}_{when}" for part in parts for when in ("before", "after")]
        writer.writerow(["phrase", "region", "preserved", "area", *pairs, "gain"])
        for row in self.rows:
            values = [getattr(split, part) for part in parts for split in (row.before, row.after)]
            numbers = ["" if math.isnan(v) else f"{v:.6g}" for v in (row.area, *values, row.gain)]
            writer.writerow([row.phrase, row.region or "", int(row.preserved), *numbers])
        return out.getvalue()


_PARTS = ("own", "others", "background", "mass")


def share_table(maps: AttentionMaps, label_map: LabelMap | None = None, preserved: Sequence[int] = ()) -> ShareTable:
    """Count the maps' attention by the labels of their grid.

    Args:
        maps: of F frames.
        label_map: the regions of the same frames; None = everything is background.
        preserved: numbers of the regions that are kept as they are.

    Raises:
        ValueError: a label map of another number of frames, or without a phrase's region.
    """
    if label_map is not None and label_map.frames != maps.frames:
        raise ValueError(f"share_table: the label map has {label_map.frames} frames, the maps {maps.frames}.")
    wrong = [p.text for p in maps.phrases if p.region > (label_map.regions if label_map else 0)]
    if wrong:
        raise ValueError(f"share_table: the label map has no region for {', '.join(map(repr, wrong))}.")
    if label_map is None:
        labels = torch.zeros(maps.frames, maps.grid[0] * maps.grid[1], dtype=torch.int64)
    else:
        labels = label_map.labels(maps.grid)
    rows = []
    for number, phrase in enumerate(maps.phrases):
        own = phrase.region
        rows.append(
            ShareRow(
                phrase.text,
                own,
                own in preserved,
                float((labels == own).float().mean()) if own else math.nan,
                _split(maps.before[number], labels, own),
                _split(maps.after[number], labels, own),
            )
        )
    return ShareTable(tuple(rows), maps.modulated > 0)


def _split(values: Tensor, labels: Tensor, own: int) -> Split:
    values = values.flatten(1).double()
    whole = float(values.sum())

    def share(of: Tensor) -> float:
        return float(values[of].sum()) / whole if whole > 0 else math.nan

    others = share((labels > 0) & (labels != own))
    return Split(share(labels == own) if own else math.nan, others, share(labels == 0), float(values.mean()))


def _percent(value: float) -> str:
    if math.isnan(value):
        return NONE
    return f"{100 * value:.0f} %" if value >= 0.0995 or value == 0 else f"{100 * value:.1f} %"
