"""The benchmark's table as a page (markdown) and a picture (matplotlib, when drawn)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..pages import drawing, render
from .systems import SYSTEMS
from .table import MEASURES, Group, Row, reference_of, title_of

MAIN = ("union", "union_clip", "object", "colour", "kept", "background", "leak", "leak_pixels")
PICTURE = (
    "flicker",
    "warp",
    "own",
    "own_ideal",
    "centre_jitter",
    "size_jitter",
    "identity",
    "ideal_psnr",
    "outside_blend_psnr",
    "band_psnr",
    "kept_psnr",
    "seconds",
)
REST = ("outside_psnr", "outside_ssim", "outside_structure")
COMPARED = ("union", "object", "leak", "warp", "ideal_psnr")
PLOTTED = {
    "union": "frames with every region right, %",
    "object": "edited objects with right colour and shape, %",
    "leak_pixels": "pixels inside objects in another\nobject's colour, %",
    "warp": "change along the true motion\n(squared warp error x 1000)",
}


def as_markdown(groups: Sequence[Group], found: Mapping[str, Any], command: str) -> str:
    """The whole page. found: table.facts of these groups; command: how the results were made."""

    def measured(group: Group, columns: Sequence[str]) -> list[str]:
        return [key for key in columns if any(group.values(row, key) for row in group.rows)]

    def others_of(rows: Sequence[Row]) -> list[Row]:
        return [row for row in rows if SYSTEMS[row[0]].edits and row != reference_of(rows)]

    meant = {"measures": MEASURES, "tables": (MAIN, PICTURE, REST), "compared": COMPARED, "title_of": title_of}
    meant |= {"measured": measured, "others_of": others_of, "reference_of": reference_of}
    return render("bench", groups=groups, found=found, command=command, **meant)


def plot(groups: Sequence[Group], target: Path) -> None:
    """Bars with intervals of the main figures of every system, learnt scenes (or, without any, the others), as PNG."""
    from matplotlib.patches import Patch

    group = groups[0]
    rows: list[Row] = group.rows
    size = (4.2 * len(PLOTTED) + 2, 2.3 + 0.4 * len(rows))
    how = {"figsize": size, "sharey": True, "saved_at": 110, "within": (0, 0.06, 1, 1)}
    with drawing(target, 1, len(PLOTTED), **how) as (figure, axes):
        reference = reference_of(rows)
        colours = ["#c0504d" if row == reference else "#4f81bd" if SYSTEMS[row[0]].edits else "#999999" for row in rows]
        for axis, (key, title) in zip(axes, PLOTTED.items()):
            measure = MEASURES[key]
            found = [group.interval(row, key) for row in rows]
            shown = [one if one.count else None for one in found]
            values = [
                [0.0] * 3 if one is None else [x * measure.scale for x in (one.mean, one.low, one.high)]
                for one in shown
            ]
            reach = [[mean - low for mean, low, _ in values], [high - mean for mean, _, high in values]]
            axis.barh(range(len(rows)), [mean for mean, _, _ in values], xerr=reach, color=colours, capsize=2)
            right = 100.0 if measure.scale == 100 and measure.better == "higher" else max([high for *_, high in values])
            axis.set_xlim(0, 1.22 * (right or 1.0))
            for place, (one, (mean, _, high)) in enumerate(zip(shown, values)):
                text = "not measured" if one is None else f"{mean:.{measure.digits}f}"
                axis.text(high + 0.02 * (right or 1.0), place, text, va="center", fontsize=8)
            axis.set_title(f"{title}\n({measure.better} is better)", fontsize=10)
            if measure.scale == 100 and measure.better == "higher":
                axis.set_xticks(range(0, 101, 20))
            axis.grid(axis="x", alpha=0.3)
        axes[0].set_yticks(range(len(rows)), [title_of(row) for row in rows])
        axes[0].invert_yaxis()
        kinds = {
            "#c0504d": "this package, default settings",
            "#4f81bd": "other systems, or parts of this one",
            "#999999": "no editor: what the autoencoder and the reader lose",
        }
        keys = [Patch(color=colour, label=text) for colour, text in kinds.items() if colour in colours]
        figure.legend(handles=keys, loc="lower center", ncols=len(keys), fontsize=9, frameon=False)
        figure.suptitle(
            f"{group.name}: {group.clips} clips; bars: means, lines: 95 % intervals over clips", fontsize=11
        )


def plot_kinds(groups: Sequence[Group], target: Path) -> None:
    """Frames in which all is right, of every system and kind of clip, as a table in colours (PNG)."""
    families = [group for group in groups if group.family]
    rows = list(dict.fromkeys(row for group in groups for row in group.rows))
    values = np.array([[100 * group.interval(row, "union").mean for group in families] for row in rows])
    size = (4.2 + 0.75 * len(families), 2.4 + 0.36 * len(rows))
    with drawing(target, figsize=size, saved_at=110) as (figure, axis):
        picture = axis.imshow(values, vmin=0, vmax=100, cmap="viridis", aspect="auto")
        for (place, column), value in np.ndenumerate(values):
            text = "-" if math.isnan(value) else f"{value:.0f}"
            axis.text(
                column, place, text, ha="center", va="center", color="black" if value > 60 else "white", fontsize=9
            )
        axis.set_yticks(range(len(rows)), [title_of(row) for row in rows], fontsize=9)
        names = [f"{group.name}{'' if group.learnt else ' *'} ({group.clips})" for group in families]
        axis.set_xticks(range(len(families)), names, rotation=40, ha="right", fontsize=9)
        axis.set_title(
            "frames with every region right, %, by kind of clip\n(kind, objects, motion, clips; * = not learnt)"
        )
        figure.colorbar(picture, ax=axis, fraction=0.03, pad=0.02)
