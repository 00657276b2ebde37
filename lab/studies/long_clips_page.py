"""OUT.md, .json, .png and _frames.png from what long_clips.py has measured."""

from __future__ import annotations

import json
import time
from itertools import groupby, pairwise
from pathlib import Path
from statistics import fmean

import numpy as np

from .clock import facts
from .long_clips_memory import above, by_setting, memory_table

RIGHT, JUMP = 0.9, 1.1  # targets
DRAWS = 2000  # of the bootstrap
PLAIN = "per frame"  # frames by themselves: nothing can happen at a border


def write_page(folder: Path, out: Path) -> None:
    """folder: with clips.jsonl, and memory.jsonl if it was measured. out: the page, without its suffix."""
    lines, memory = (_lines(folder / name) for name in ("clips.jsonl", "memory.jsonl"))
    longest = max(line["frames"] for line in lines)
    lines = [line for line in lines if line["frames"] == longest]
    strip = out.with_name(f"{out.name}_frames.png")
    result = {
        "made": made(lines, folder / "clips.jsonl"),
        "name": out.name,
        "commands": commands(lines, memory, out),
        "frames": longest,
        "steps": sorted({line["steps"] for line in lines}),
        "targets": {"right": RIGHT, "jump": JUMP},
        "settings": summary(lines),
        "clips": [facts_of(line) for line in lines],
        "memory": memory,
        "pictures": frames_around_a_border(folder, lines, strip),
    }
    out.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    out.with_suffix(".md").write_text(page(result), encoding="utf-8")
    plot(result, out.with_suffix(".png"))


def made(lines: list[dict], path: Path) -> dict[str, str]:
    """Machine, torch and date of the last clip; of this machine and the file where the lines do not say."""
    day = time.strftime("%Y-%m-%d", time.localtime(path.stat().st_mtime))
    known = {**facts("cpu"), "date": day}
    return {key: lines[-1].get(key, known[key]) for key in ("machine", "torch", "date")}


def commands(lines: list[dict], memory: list[dict], out: Path) -> list[str]:
    """What measures all of this again, from an empty folder."""
    script, told = "python -m videograin.lab.studies.long_clips", []
    clips: dict[tuple[int, int], list[str]] = {}  # settings with equally many clips go in one command
    for setting, some in groupby(sorted(lines, key=lambda line: line["setting"]), lambda line: line["setting"]):
        some = list(some)
        clips.setdefault((len({line["seed"] for line in some}), some[0]["steps"]), []).append(setting)
    for (count, steps), settings in clips.items():
        named = " ".join(f'"{name}"' for name in settings)
        told.append(f"{script} --frames {lines[0]['frames']} --clips {count} --steps {steps} --settings {named}")
    told += [f"{script} --memory --steps {steps}" for steps in sorted({run["steps"] for run in memory})]
    return [*told, f"{script} --page --out {out}"]


def _lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def borders_of(line: dict, lines: list[dict]) -> list[int]:
    """The frames f such that the window with the largest weight in f is another one than in f + 1.

    Where a setting has no windows, those of the first one that has: a control, in which nothing happens there.
    """
    windows = line["window_of"] or next(other["window_of"] for other in lines if other["window_of"])
    return [f for f, (here, there) in enumerate(pairwise(windows)) if here != there]


def jumps(colours: list) -> np.ndarray:
    """RGB distance of the mean colour from frame to frame, [F - 1]; nan where there is none."""
    values = np.array([[np.nan] * 3 if colour is None else colour for colour in colours], float)
    return np.linalg.norm(np.diff(values, axis=0), axis=1)


def split_jumps(line: dict, lines: list[dict], key: str, what: str = "edit") -> tuple[np.ndarray, np.ndarray]:
    """The jumps at the borders and those within windows, of both regions of one clip."""
    at = np.zeros(line["frames"] - 1, bool)
    at[borders_of(line, lines)] = True
    each = [jumps(region[key]) for region in line[what]]
    return tuple(np.concatenate([jump[chosen & ~np.isnan(jump)] for jump in each]) for chosen in (at, ~at))


def ratio(parts: list[tuple[np.ndarray, np.ndarray]]) -> dict:
    """Mean jump at borders and within windows, their ratio, and its 95 % interval (bootstrap over the jumps)."""
    border, within = (np.concatenate(some) for some in zip(*parts))
    draw = np.random.default_rng(0)
    means = [[draw.choice(some, len(some)).mean() for some in (border, within)] for _ in range(DRAWS)]
    low, high = np.percentile([a / b for a, b in means], [2.5, 97.5])
    return {
        "border": round(float(border.mean()), 3),
        "within": round(float(within.mean()), 3),
        "ratio": round(float(border.mean() / within.mean()), 3),
        "interval": [round(float(low), 3), round(float(high), 3)],
        "median_ratio": round(float(np.median(border) / np.median(within)), 3),
        "borders": len(border),
    }


def drift(line: dict, lines: list[dict]) -> float:
    """How far the windows' colours lie from the clip's: root mean square distance in RGB, where the reader finds the
    wanted colour."""
    borders, squares = [-1, *borders_of(line, lines), line["frames"] - 1], []
    for region in line["edit"]:
        colours = np.array([[np.nan] * 3 if c is None else c for c in region["read"]], float)
        pieces = [colours[a + 1 : b + 1] for a, b in pairwise(borders)]
        means = np.array([np.nanmean(piece, 0) for piece in pieces if not np.isnan(piece).all()])
        squares += list(((means - means.mean(0)) ** 2).sum(1))
    return round(float(np.sqrt(np.mean(squares))), 3)


def summary(lines: list[dict]) -> dict[str, dict]:
    """{setting: its figures over all clips}."""
    out = {}
    for setting in dict.fromkeys(line["setting"] for line in lines):
        some = [line for line in lines if line["setting"] == setting]
        regions = [region for line in some for region in line["edit"]]
        edges = [(line, {g for f in borders_of(line, lines) for g in (f, f + 1)}) for line in some]
        near = [region["object"][f] for line, places in edges for region in line["edit"] for f in places]
        out[setting] = {
            "clips": len(some),
            "windows": some[0]["windows"],
            **{key: round(fmean(fmean(region[key]) for region in regions), 4) for key in ("colour", "object", "leak")},
            "worst_region": {
                key: round(min(fmean(region[key]) for region in regions), 4) for key in ("colour", "object")
            },
            "object_at_borders": round(fmean(near), 4),
            "jump": ratio([split_jumps(line, lines, "exact") for line in some]),
            "jump_of_the_component": ratio([split_jumps(line, lines, "read") for line in some]),
            "jump_of_the_source": ratio([split_jumps(line, lines, "exact", "vae") for line in some]),
            "drift": round(fmean(drift(line, lines) for line in some), 3),
            "background_db": round(min(line["background_db"] for line in some), 2),
            "seconds_per_frame": {
                name: round(fmean(line["seconds"][name] / line["frames"] for line in some), 3)
                for name in ("invert", "edit")
            },
        }
    return out


def facts_of(line: dict) -> dict:
    """One clip for the JSON, without its frames."""
    kept = {key: line[key] for key in ("setting", "seed", "prompt", "steps", "windows", "seconds")}
    shares = {key: [round(fmean(region[key]), 4) for region in line["edit"]] for key in ("colour", "object", "leak")}
    return {**kept, **shares, "background_db": round(line["background_db"], 2)}


def frames_around_a_border(folder: Path, lines: list[dict], path: Path, around: int = 5) -> str:
    """A strip of frames per setting across one border of the first clip; returns what it shows."""
    from PIL import Image, ImageDraw

    first = lines[0]
    borders = borders_of(first, lines)
    border, rows = borders[len(borders) // 2], []
    for line in lines:
        name = f"{line['setting'].replace(' ', '_')}-{line['seed']}-{line['frames']}-{line['steps']}.npz"
        if line["seed"] != first["seed"] or not (folder / name).exists():
            continue
        own = min(borders_of(line, lines), key=lambda f: abs(f - border))
        frames = np.load(folder / name)["frames"][own - around + 1 : own + around + 1]
        rows.append((f"{line['setting']}: frames {own - around + 1} to {own + around}", frames))
    side, head = rows[0][1].shape[1], 16
    sheet = Image.new("RGB", (2 * around * side + 6, len(rows) * (side + head)), "white")
    ink = ImageDraw.Draw(sheet)
    for number, (title, frames) in enumerate(rows):
        top = number * (side + head)
        ink.text((2, top + 2), title, fill="black")
        for place, frame in enumerate(frames):
            sheet.paste(Image.fromarray(frame), (place * side + 6 * (place >= around), top + head))
    sheet.quantize(128).save(path)
    return f"seed {first['seed']} ({first['prompt']}); the gap is the border"


def page(result: dict) -> str:
    """The figures as a Markdown page."""
    settings, about = result["settings"], result["made"]
    steps = ", ".join(map(str, result["steps"]))
    lines = [
        "# Long clips: windows of frames",
        "",
        f"Made on {about['date']} on {about['machine']} with torch {about['torch']} by",
        "",
        "```sh",
        *result["commands"],
        "```",
        "",
        f"Clips of the embedded world of {result['frames']} frames of 128 x 128 px, seeds from 0 on in order, at the "
        "speed of one of 32 frames; two alike objects become two different ones, boxes for masks, "
        f"{steps} + {steps} steps, guidance 5, mode `full` within a window of 16 frames (`per frame`: no frame sees "
        "another). Judged before the pixel composite.",
        "",
        "- *colour*, *object*, *leak*: share of frames in which the reader finds the right colour; right colour and "
        "shape; the other region's colour. In brackets: of the worst region.",
        "- *jump*: distance in RGB (0 to 255 each) between the mean colours of a region in neighbouring frames, over "
        "the pixels where the wanted shape should be. A *border* lies between two frames in which different windows "
        "have the largest weight. *ratio*: mean jump at borders / mean jump elsewhere, with its 95 % interval "
        "(bootstrap over the jumps, as if each were independent).",
        "- *drift*: how far apart the windows' colours lie: root mean square distance in RGB of each window's mean "
        "colour from the clip's, where the reader finds the wanted colour.",
        "",
        "| setting | clips | windows | colour | object | leak | jump at border | within | ratio | drift | background |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, row in settings.items():
        jump, worst = row["jump"], row["worst_region"]
        lines.append(
            f"| {name} | {row['clips']} | {row['windows'] or '-'} | {row['colour']:.1%} ({worst['colour']:.1%}) | "
            f"{row['object']:.1%} ({worst['object']:.1%}) | "
            f"{row['leak']:.1%} | {jump['border']:.1f} | {jump['within']:.1f} | {jump['ratio']:.2f} "
            f"({_interval(jump)}) | {row['drift']:.1f} | {row['background_db']:.1f} dB |"
        )
    lines += ["", *verdict(settings), "", f"![shares, jumps and memory]({result['name']}.png)", ""]
    lines += [f"Across a border: {result['pictures']}.", ""]
    lines += [f"![frames across a border]({result['name']}_frames.png)", ""]
    return "\n".join([*lines, *more(settings), *clip_table(result["clips"]), *memory_table(result["memory"])])


def verdict(settings: dict) -> list[str]:
    """The targets, met or not, for the setting that the runner's defaults are."""
    name, row = next((name, row) for name, row in settings.items() if row["windows"])
    worst, component = row["worst_region"], row["jump_of_the_component"]
    held = [
        f"colour right in {row['colour']:.1%} of frames, {worst['colour']:.1%} of the worst region's; colour and shape "
        f"in {row['object']:.1%} and {worst['object']:.1%} (target {RIGHT:.0%} on average: "
        f"{_word(row['colour'] >= RIGHT)} for colour, {_word(row['object'] >= RIGHT)} for both)",
        f"at borders colour and shape are right in {row['object_at_borders']:.1%} of frames, everywhere in "
        f"{row['object']:.1%}",
        f"jump ratio over {row['jump']['borders']} border jumps (target <= {JUMP:g}): "
        f"{judged_jump(row['jump'], row['clips'])}",
        f"over the pixels of the object that the reader finds, wherever it is and whatever its shape, the jump is "
        f"{component['border']:.2f} at borders and {component['within']:.2f} within windows",
    ]
    plain = settings.get(PLAIN)
    if plain is not None:
        held.append(
            f"for comparison `{PLAIN}`, which has no windows, at the same places: ratio {plain['jump']['ratio']:.2f} "
            f"({_interval(plain['jump'])}); colour {plain['colour']:.1%}, colour and shape {plain['object']:.1%}"
        )
    return [f"Of *{name}*, the defaults:", "", *[f"- {item}" for item in held]]


def judged_jump(jump: dict, clips: int) -> str:
    """A ratio beside its target: met or missed only if all of the interval is."""
    low, high = jump["interval"]
    found = f"{jump['ratio']:.2f}, interval {_interval(jump)}"
    if high <= JUMP or low > JUMP:
        return f"{found}: {_word(high <= JUMP)}"
    mean = "meets" if jump["ratio"] <= JUMP else "misses"
    return f"{found}: the mean {mean} {JUMP:g}, {clips} clip{'s' * (clips != 1)} do{'es' * (clips == 1)} not settle it"


def _interval(jump: dict) -> str:
    return "{:.2f} to {:.2f}".format(*jump["interval"])


def _word(met: bool) -> str:
    return "met" if met else "**MISSED**"


def more(settings: dict) -> list[str]:
    lines = [
        "## Other ways to look at the jump",
        "",
        "*of the component*: over the pixels of the object that the reader finds, so that a wrong shape does not "
        "count; *median*: of the medians; *source*: the unedited clip after the VAE, at the same places. "
        "*object at borders*: colour and shape right in the two frames next to a border.",
        "",
        "| setting | ratio | of the component (at border, within) | median | source | object at borders | everywhere |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in settings.items():
        component = row["jump_of_the_component"]
        lines.append(
            f"| {name} | {row['jump']['ratio']:.2f} | {component['ratio']:.2f} ({component['border']:.2f}, "
            f"{component['within']:.2f}) | "
            f"{row['jump']['median_ratio']:.2f} | {row['jump_of_the_source']['ratio']:.2f} | "
            f"{row['object_at_borders']:.1%} | {row['object']:.1%} |"
        )
    return [*lines, ""]


def clip_table(clips: list[dict]) -> list[str]:
    lines = ["## Every clip", "", "| setting | seed | prompt | colour | object | leak | invert + edit, s |"]
    lines.append("|---|---|---|---|---|---|---|")
    for clip in clips:
        shares = [", ".join(f"{value:.0%}" for value in clip[key]) for key in ("colour", "object", "leak")]
        seconds = f"{clip['seconds']['invert']:.0f} + {clip['seconds']['edit']:.0f}"
        lines.append(f"| {clip['setting']} | {clip['seed']} | {clip['prompt']} | {' | '.join(shares)} | {seconds} |")
    return [*lines, ""]


def plot(result: dict, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    settings = result["settings"]
    places, names = range(len(settings)), list(settings)
    figure, (shares, ratios, sizes) = plt.subplots(1, 3, figsize=(13, 4.2))
    for offset, key, colour in ((-0.2, "colour", "#0072B2"), (0.2, "object", "#E69F00")):
        label = {"colour": "colour right", "object": "colour and shape right"}[key]
        heights = [row[key] for row in settings.values()]
        bars = shares.bar([p + offset for p in places], heights, 0.38, color=colour, label=label)
        shares.bar_label(bars, [f"{height:.0%}" for height in heights], fontsize=8)
    shares.axhline(RIGHT, color="black", linewidth=1, linestyle="--", label="target")
    shares.set_ylim(0, 1.45)  # room for the legend above the bars
    shares.set_yticks([0, 0.2, 0.4, 0.6, 0.8, 1])
    shares.set_title("share of frames", fontsize=11)
    shares.legend(fontsize=8, loc="upper center", frameon=False)
    values = [row["jump"] for row in settings.values()]
    reach = np.array([[v["ratio"] - v["interval"][0], v["interval"][1] - v["ratio"]] for v in values]).T
    ratios.errorbar(
        places, [v["ratio"] for v in values], reach, fmt="o", color="#0072B2", capsize=4, label="mean, 95 % interval"
    )
    ratios.axhline(JUMP, color="black", linewidth=1, linestyle="--", label="target: at most")
    ratios.set_ylim(0, 1.4 * max(1.5, *(v["interval"][1] for v in values)))
    ratios.legend(fontsize=8, loc="upper center", frameon=False)
    ratios.set_title("colour jump at borders / within windows", fontsize=11)
    margin = max(0.6, (4 - len(names)) / 2)
    for axis in (shares, ratios):
        axis.set_xticks(list(places), [name.replace(", ", ",\n") for name in names], fontsize=8)
        axis.set_xlim(-margin, len(names) - 1 + margin)
    runs_of = by_setting(result["memory"])
    for name, runs in runs_of.items():
        line = "--" if name == "all at once" else "-"
        sizes.plot([run["frames"] for run in runs], [above(run) for run in runs], line, marker="o", label=name)
    if runs_of:
        lengths = sorted({run["frames"] for run in result["memory"]})
        sizes.set_xticks(lengths, [str(n) for n in lengths])
        sizes.set_xlim(0, 1.08 * lengths[-1])
        sizes.set_ylim(0, 1.4 * max(map(above, result["memory"])))
        sizes.set_xlabel("frames")
        sizes.legend(fontsize=8, loc="upper left", frameon=False)
        sizes.set_title("peak memory beyond model and clip, MiB", fontsize=11)
    else:
        sizes.set_axis_off()
    figure.tight_layout()
    figure.savefig(path, dpi=80)
    plt.close(figure)
