"""layout.md, layout.json and layout.png from the lines that layout.py has written."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from statistics import fmean

GOALS = {"iou": 0.6, "count": 0.8, "kept": 0.9, "loss": 0.10}
LEVELS = {"half": "half the latent's side (8 x 8)", "full": "the latent's side (16 x 16), 1 - t from 0.5 to 1"}


def write_page(folder: Path, out: Path) -> None:
    """folder: with clips.jsonl, edits.jsonl and settings.json. out: where the page and its pictures go."""
    clips, edits = (_lines(folder / name) for name in ("clips.jsonl", "edits.jsonl"))
    settings = json.loads((folder / "settings.json").read_text())
    table = summary(clips)
    kinds = len({clip["kind"] for clip in clips})
    result = {"settings": settings, "clips": len(clips), "kinds": kinds, "layouts": table, "edits": edit_summary(edits)}
    result["date"] = datetime.date.today().isoformat()
    (out / "layout.json").write_text(json.dumps(result, indent=1) + "\n")
    (out / "layout.md").write_text(_page(result, len(edits)))
    _plot(table, out / "layout.png")


def _lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


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


def _page(result: dict, edits: int) -> str:
    settings, layouts = result["settings"], result["layouts"]
    lines = [
        "# Layouts without masks, measured",
        "",
        f"{result['date']}, {result['clips']} clips of the embedded world (8 frames of 128 x 128; 1 to 3 objects), the "
        f"embedded model, {settings['steps']} steps of inversion, {settings['attention']} attention, seeds from 5000 "
        "(the algorithm was tuned on others). No mask goes in; exact masks only judge. Command:",
        "",
        f"    python -m videograin.lab.studies.found_layouts --out FOLDER --clips {result['clips'] // result['kinds']}"
        f" --edits {edits} --steps {settings['steps']} --attention {settings['attention']}",
        "    python -m videograin.lab.studies.found_layouts --out FOLDER --page",
        "",
        "## Targets",
        "",
        "| | target | half | full |",
        "|---|---|---|---|",
    ]
    whole = [layouts[level]["all"] for level in LEVELS]
    for text, name, goal in (
        ("mean IoU of matched instances at the attention grid", "iou", f">= {GOALS['iou']}"),
        ("clips with the right number of instances", "count", f">= {GOALS['count']:.0%}"),
        ("clips in which every instance keeps its label", "kept", f">= {GOALS['kept']:.0%}"),
    ):
        shown = [_verdict(row[name], GOALS[name], name == "iou") for row in whole]
        lines.append(f"| {text} | {goal} | {' | '.join(shown)} |")
    if edits:
        loss = [result["edits"]["all"][level]["loss"] for level in LEVELS]
        shown = [f"{value * 100:+.1f} points" + ("" if value <= GOALS["loss"] else " (missed)") for value in loss]
        lines.append(f"| loss of region accuracy (colour) of edits, {edits} pairs of alike objects | <= 10 points | "
                     f"{' | '.join(shown)} |")  # fmt: skip
    lines += [
        "",
        "IoU: over all frames of the clip, things paired one-to-one with objects, 0 for an object without a thing. "
        "Label kept: in every frame in which at least half of an object is seen, most of it lies in its thing. half, "
        "full: "
        + "; ".join(f"{level} = {text}" for level, text in LEVELS.items()) + ".",
        "",
    ]  # fmt: skip
    for level, text in LEVELS.items():
        lines += [f"## By kind of clip: {level}", "", f"Features at {text}.", "", *_table(layouts[level]), ""]
    lines += _clusters_alone(layouts)
    if edits:
        lines += _edits(result["edits"])
    lines += ["![IoU, count and labels by kind of clip](layout.png)", ""]
    return "\n".join(lines)


def _verdict(value: float, goal: float, plain: bool) -> str:
    return (f"{value:.3f}" if plain else f"{value:.0%}") + ("" if value >= goal else " (missed)")


def _table(rows: dict) -> list[str]:
    out = [
        "| clips | n | IoU | worst | count right | labels kept | named right | pixel IoU | without frames | seconds |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for kind, row in rows.items():
        out.append(
            f"| {kind} | {row['clips']} | {row['iou']:.3f} | {row['worst_iou']:.2f} | {row['count']:.0%} | "
            f"{row['kept']:.0%} | {row['named']:.0%} | {row['pixel_iou']:.3f} | "
            f"{row['pixel_iou_without_frames']:.3f} | {row['seconds']:.1f} |"
        )
    out += [
        "",
        "Named right: objects whose thing has their phrase. Pixel IoU: of the masks, each pixel to the largest; "
        "without frames: the cells interpolated alone. Seconds: of CPU, one thread, for all of "
        "find_layout.",
    ]
    return out


def _clusters_alone(layouts: dict) -> list[str]:
    """The paper's finding: the share of frames in which K-means alone tells two objects apart."""
    lines = [
        "## K-means alone (the paper's Fig. 3)",
        "",
        "Share of the frames in which the cluster that holds most of the first object is another than the one that "
        "holds most of the second; k = objects + 2.",
        "",
        "| clips | features | K-means per frame | K-means joint | layout |",
        "|---|---|---|---|---|",
    ]
    for level in LEVELS:
        for kind, row in layouts[level].items():
            if kind != "all" and "told_apart_joint" in row:
                lines.append(
                    f"| {kind} | {level} | {row['told_apart_per_frame']:.0%} | {row['told_apart_joint']:.0%} | "
                    f"{row['told_apart']:.0%} |"
                )
    return [*lines, ""]


def _edits(summary: dict) -> list[str]:
    lines = [
        "## Edits by found masks (the paper's Fig. 11)",
        "",
        "Two alike objects become two different ones, guidance 5, all masks grown by 12 pixels. Judged by the world's "
        "reader in the exact masks, grown alike: right colour; right colour and shape; the other region's colour.",
        "",
        "| clips | n | masks | colour | object | leak | colour lost | object lost |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for kind, rows in summary.items():
        for masks, row in rows.items():
            lines.append(
                f"| {kind} | {rows['exact']['clips']} | {masks} | {row['colour']:.1%} | {row['object']:.1%} | "
                f"{row['leak']:.1%} | {row['loss'] * 100:+.1f} | {row['object_loss'] * 100:+.1f} |"
            )
    return [*lines, ""]


def _plot(table: dict, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    kinds = list(next(iter(table.values())))
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.8), sharey=True)
    names = (("iou", "mean IoU"), ("count", "clips with the right count"), ("kept", "clips with labels kept"))
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
    figure.tight_layout()
    figure.savefig(path, dpi=80)
    plt.close(figure)
