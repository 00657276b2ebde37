"""layout.md, layout.json and layout.png from the lines that layout.py has written."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from ..json_lines import read_lines
from ..pages import drawing, render, write_page

GOALS = {"iou": 0.6, "count": 0.8, "kept": 0.9, "loss": 0.10}
LEVELS = {"half": "half the latent's side (8 x 8)", "full": "the latent's side (16 x 16), 1 - t from 0.5 to 1"}


def page_of(folder: Path, out: Path) -> Path:
    """The page, its JSON and picture as `out`.*, from a folder with clips.jsonl, edits.jsonl and settings.json."""
    clips, edits = (read_lines(folder / name) for name in ("clips.jsonl", "edits.jsonl"))
    found = {
        "settings": json.loads((folder / "settings.json").read_text()),
        "clips": len(clips),
        "kinds": len({clip["kind"] for clip in clips}),
        "layouts": summary(clips),
        "edits": edit_summary(edits),
        "date": time.strftime("%Y-%m-%d"),
    }
    return write_page(out, found, page(found), plot)


def page(found: Mapping[str, Any]) -> str:
    """The figures as a Markdown page."""
    return render("layout", found=found, goals=GOALS, levels=LEVELS)


def summary(clips: list[dict]) -> dict[str, dict[str, dict[str, float]]]:
    """{level: {kind of clip, or "all": {figure: value}}}.

    iou, pixel_iou, pixel_iou_without_frames, named: means over objects; count, kept: shares of clips (kept: of those
    whose every object kept its label); told_apart*: means over the clips with two objects or more.
    """
    out: dict[str, dict[str, dict[str, float]]] = {}
    for level in clips[0]["layouts"]:
        out[level] = {}
        for kind in [*dict.fromkeys(clip["kind"] for clip in clips), "all"]:
            chosen = [clip["layouts"][level] for clip in clips if kind in ("all", clip["kind"])]
            out[level][kind] = _figures(chosen)
    return out


def _figures(layouts: list[dict]) -> dict[str, float]:
    figures = {"clips": len(layouts)}
    for name in ("iou", "pixel_iou", "pixel_iou_without_frames"):
        figures[name] = fmean(value for layout in layouts for value in layout[name])
    figures["worst_iou"] = min(min(layout["iou"]) for layout in layouts)
    figures["count"] = fmean(layout["things"] == layout["objects"] for layout in layouts)
    figures["kept"] = fmean(all(layout["kept"]) for layout in layouts)
    figures["kept_objects"] = fmean(value for layout in layouts for value in layout["kept"])
    figures["named"] = fmean(layout["named"] for layout in layouts)
    figures["seconds"] = fmean(layout["seconds"] for layout in layouts)
    for name in ("told_apart", "told_apart_per_frame", "told_apart_joint"):
        values = [layout[name] for layout in layouts if layout.get(name) is not None and layout[name] == layout[name]]
        if values:
            figures[name] = fmean(values)
    return {name: round(value, 4) for name, value in figures.items()}


def edit_summary(edits: list[dict]) -> dict[str, dict[str, dict[str, float]]]:
    """{kind of clip, or "all": {masks: {colour, object, leak, loss}}}; loss: of colour accuracy to exact masks."""
    out: dict[str, dict[str, dict[str, float]]] = {}
    for kind in [*dict.fromkeys(edit["kind"] for edit in edits), "all"] if edits else []:
        chosen = [edit["scores"] for edit in edits if kind in ("all", edit["kind"])]
        rows = {
            masks: {name: fmean(scores[masks][name] for scores in chosen) for name in ("colour", "object", "leak")}
            for masks in chosen[0]
        }
        for row in rows.values():
            row["loss"] = rows["exact"]["colour"] - row["colour"]
            row["object_loss"] = rows["exact"]["object"] - row["object"]
        out[kind] = {masks: {n: round(v, 4) for n, v in row.items()} for masks, row in rows.items()}
        out[kind]["exact"]["clips"] = len(chosen)
    return out


def plot(found: Mapping[str, Any], path: Path) -> None:
    table = found["layouts"]
    kinds = list(next(iter(table.values())))
    names = (("iou", "mean IoU"), ("count", "clips with the right count"), ("kept", "clips with labels kept"))
    with drawing(path, 1, 3, figsize=(11, 3.8), sharey=True, saved_at=80) as (figure, axes):
        for axis, (name, title) in zip(axes, names):
            for offset, (level, colour) in zip((0.2, -0.2), (("half", "#0072B2"), ("full", "#E69F00"))):
                values = [table[level][kind][name] for kind in kinds]
                axis.barh([-i + offset for i in range(len(kinds))], values, 0.38, color=colour, label=level)
            axis.axvline(GOALS[name], color="black", linewidth=1, linestyle="--")
            axis.set_title(title, fontsize=11)
            axis.set_xlim(0, 1)
        axes[0].set_yticks([-i for i in range(len(kinds))], kinds)
        figure.legend(*axes[0].get_legend_handles_labels(), fontsize=9, loc="lower left", title="features")
        figure.text(0.99, 0.01, "dashed: target", ha="right", fontsize=9)
