"""The benchmark's table as a page (markdown) and a picture (matplotlib, when drawn)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .systems import SYSTEMS
from .table import MEASURES, Group, Row, reference_of, title_of

MAIN = ("union", "union_clip", "object", "colour", "kept", "background", "leak", "leak_pixels")
PICTURE = ("flicker", "warp", "ideal_psnr", "outside_blend_psnr", "band_psnr", "kept_psnr", "seconds")
REST = ("outside_psnr", "outside_ssim", "outside_structure")
COMPARED = ("union", "object", "leak", "warp", "ideal_psnr")
PLOTTED = {
    "union": "frames with every region right, %",
    "object": "edited objects with right colour and shape, %",
    "leak_pixels": "pixels inside objects in another\nobject's colour, %",
    "warp": "change along the true motion\n(squared warp error x 1000)",
}
INTRO = """\
Every clip of the rendered world is inverted once and edited by every system from that inversion; the world knows the
perfect result, and its reader judges colours and shapes from pixels. B0 to B5 are other ways to the same end,
re-implemented here from their descriptions; "+ cross-attention" and "ours" are this package's method. The ideal
result through the VAE is no editor: it says what the autoencoder and the reader lose by themselves (equal objects that
touch run together in it). Learnt scenes are of the kind that the embedded model was trained on: one or two objects,
none on top of another. A frame counts as all right if every object, edited or to be kept, has its colour and shape,
and the background is the wanted one where it is edited."""


def as_markdown(groups: Sequence[Group], found: Mapping[str, Any], command: str) -> str:
    """The whole page. found: bench_table.facts of these groups; command: how the results were made."""
    lines = ["# Benchmark on the embedded world", "", f"`{command}`", ""]
    lines += [
        INTRO,
        "",
        "Mean over clips (the seeds of a clip averaged first) [95 % bootstrap interval over clips].",
        "",
    ]
    lines += [f"![main figures, {groups[0].name}](bench.png)", ""]
    for group in (group for group in groups if not group.family):
        lines += [f"## {group.name[0].upper()}{group.name[1:]}: {group.clips} clips", ""]
        for columns in (MAIN, PICTURE, REST):
            lines += [*_table(group, columns), ""]
        lines += _comparison(group)
    lines += ["## Frames in which all is right, in %, by kind of clip", "", "![by kind of clip](kinds.png)", ""]
    lines += [*_by_family(groups), ""]
    lines += ["## Inversions", "", "| how | round trip dB, mean | lowest | std of the noise |", "|---|---|---|---|"]
    for one in found["inversions"]:
        low, mean, high = one["noise_std"]
        spread = f"{mean:.3f} ({low:.3f} to {high:.3f})"
        lines.append(f"| {one['how']} | {one['round_trip_psnr']['mean']:.1f} | {one['lowest']:.1f} | {spread} |")
    lines += ["", "## What the columns say", ""]
    lines += [f"- {m.title} ({m.better} is better): {m.text}" for m in MEASURES.values()]
    return "\n".join([*lines, ""])


def _table(group: Group, columns: Sequence[str]) -> list[str]:
    shown = [key for key in columns if any(group.values(row, key) for row in group.rows)]
    if not shown:
        return []
    ratio = ["warp / ideal"] if "warp" in shown else []
    lines = ["| " + " | ".join(["system", *(MEASURES[key].title for key in shown), *ratio]) + " |"]
    lines.append("|" + "---|" * (1 + len(shown) + len(ratio)))
    for row in group.rows:
        cells = [MEASURES[key].show(group.interval(row, key)) for key in shown]
        cells += [f"{group.warp_ratio(row):.2f}"] if ratio else []
        lines.append("| " + " | ".join([title_of(row), *cells]) + " |")
    return lines


def _comparison(group: Group) -> list[str]:
    """The reference minus every other editor, paired by clip."""
    reference = reference_of(group.rows)
    others = [row for row in group.rows if SYSTEMS[row[0]].edits and row != reference]
    if reference is None or not others:
        return []
    lines = [f"{title_of(reference)} minus the others, paired by clip (* = the interval is clear of 0):", ""]
    lines.append("| minus | " + " | ".join(MEASURES[key].title for key in COMPARED) + " |")
    lines.append("|" + "---|" * (1 + len(COMPARED)))
    for row in others:
        cells = []
        for key in COMPARED:
            interval = group.difference(reference, row, key)
            clear = " *" if interval.above_zero or interval.below_zero else ""
            cells.append(MEASURES[key].show(interval, signed=True) + clear)
        lines.append("| " + " | ".join([title_of(row), *cells]) + " |")
    return [*lines, ""]


def _by_family(groups: Sequence[Group]) -> list[str]:
    rows = list(dict.fromkeys(row for group in groups for row in group.rows))
    lines = ["| clips | " + " | ".join(title_of(row) for row in rows) + " |", "|" + "---|" * (1 + len(rows))]
    for group in (group for group in groups if group.family):
        learnt = "" if _learnt(group) else " (not learnt)"
        means = [group.interval(row, "union").mean for row in rows]
        cells = ["-" if math.isnan(mean) else f"{100 * mean:.0f}" for mean in means]
        lines.append(f"| {group.name}{learnt}, n = {group.clips} | " + " | ".join(cells) + " |")
    return lines


def plot(groups: Sequence[Group], target: Path) -> None:
    """Bars with intervals of the main figures of every system, learnt scenes (or, without any, the others), as PNG."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.patches import Patch

    group = groups[0]
    rows: list[Row] = group.rows
    figure, axes = plt.subplots(1, len(PLOTTED), figsize=(4.2 * len(PLOTTED) + 2, 2.3 + 0.4 * len(rows)), sharey=True)
    reference = reference_of(rows)
    colours = ["#c0504d" if row == reference else "#4f81bd" if SYSTEMS[row[0]].edits else "#999999" for row in rows]
    for axis, (key, title) in zip(axes, PLOTTED.items()):
        measure = MEASURES[key]
        found = [group.interval(row, key) for row in rows]
        shown = [one if one.count else None for one in found]
        values = [
            [0.0] * 3 if one is None else [x * measure.scale for x in (one.mean, one.low, one.high)] for one in shown
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
    figure.suptitle(f"{group.name}: {group.clips} clips; bars: means, lines: 95 % intervals over clips", fontsize=11)
    figure.tight_layout(rect=(0, 0.06, 1, 1))
    figure.savefig(target, dpi=110)
    plt.close(figure)


def plot_kinds(groups: Sequence[Group], target: Path) -> None:
    """Frames in which all is right, of every system and kind of clip, as a table in colours (PNG)."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import numpy as np

    families = [group for group in groups if group.family]
    rows = list(dict.fromkeys(row for group in groups for row in group.rows))
    values = np.array([[100 * group.interval(row, "union").mean for group in families] for row in rows])
    size = (4.2 + 0.75 * len(families), 2.4 + 0.36 * len(rows))
    figure, axis = plt.subplots(figsize=size)
    picture = axis.imshow(values, vmin=0, vmax=100, cmap="viridis", aspect="auto")
    for (place, column), value in np.ndenumerate(values):
        text = "-" if math.isnan(value) else f"{value:.0f}"
        axis.text(column, place, text, ha="center", va="center", color="black" if value > 60 else "white", fontsize=9)
    axis.set_yticks(range(len(rows)), [title_of(row) for row in rows], fontsize=9)
    names = [f"{group.name}{'' if _learnt(group) else ' *'} ({group.clips})" for group in families]
    axis.set_xticks(range(len(families)), names, rotation=40, ha="right", fontsize=9)
    axis.set_title("frames with every region right, %, by kind of clip\n(kind, objects, motion, clips; * = not learnt)")
    figure.colorbar(picture, ax=axis, fraction=0.03, pad=0.02)
    figure.tight_layout()
    figure.savefig(target, dpi=110)
    plt.close(figure)


def _learnt(group: Group) -> bool:
    return all(cell.trained for cell in group.cells)
