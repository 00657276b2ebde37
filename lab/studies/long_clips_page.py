"""OUT.md, .json, .png and _frames.png from what long_clips.py has measured."""

from __future__ import annotations

import time
from itertools import groupby, pairwise
from math import log2
from pathlib import Path
from statistics import fmean

import numpy as np

from ..json_lines import read_lines
from ..pages import MIB, drawing, render, write_page
from .clock import facts

RIGHT, JUMP = 0.9, 1.1  # targets
DRAWS = 2000  # of the bootstrap
PLAIN = "per frame"  # frames by themselves: nothing can happen at a border


def page_of(folder: Path, out: Path) -> Path:
    """The page, its JSON and pictures as `out`.*, from a folder with clips.jsonl and perhaps memory.jsonl."""
    lines, memory = (read_lines(folder / name) for name in ("clips.jsonl", "memory.jsonl"))
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
    return write_page(out, result, page(result), plot)


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


def page(found: dict) -> str:
    """The figures as a Markdown page."""
    meant = {"right": RIGHT, "jump": JUMP, "plain": PLAIN, "judged_jump": judged_jump}
    return render("long_clips", found=found, above=above, by_setting=by_setting, growth=growth, **meant)


def above(run: dict) -> float:
    """MiB at the peak beyond the loaded model and the rendered clip."""
    return (run["peak"] - run["before"]) / MIB


def by_setting(memory: list[dict]) -> dict[str, list[dict]]:
    """{setting: its runs, the shortest clip first}."""
    names = dict.fromkeys(run["setting"] for run in memory)
    return {
        name: sorted((run for run in memory if run["setting"] == name), key=lambda run: run["frames"]) for name in names
    }


def growth(runs: list[dict]) -> list[str]:
    """How what lies above the start grows from each length to the next."""
    told = []
    for a, b in pairwise(runs):
        more, doublings = above(b) - above(a), log2(b["frames"] / a["frames"])
        told.append(
            f"{a['frames']} to {b['frames']} frames {(above(b) / above(a)) ** (1 / doublings):.2f} x per doubling, "
            f"{more / (b['frames'] - a['frames']):.1f} MiB for each further frame"
        )
    return told


def judged_jump(jump: dict, clips: int) -> str:
    """A ratio beside its target: met or missed only if all of the interval is."""
    low, high = jump["interval"]
    found = f"{jump['ratio']:.2f}, interval {low:.2f} to {high:.2f}"
    if high <= JUMP or low > JUMP:
        return f"{found}: {'met' if high <= JUMP else '**MISSED**'}"
    mean = "meets" if jump["ratio"] <= JUMP else "misses"
    return f"{found}: the mean {mean} {JUMP:g}, {clips} clip{'s' * (clips != 1)} do{'es' * (clips == 1)} not settle it"


def plot(result: dict, path: Path) -> None:
    settings = result["settings"]
    places, names = range(len(settings)), list(settings)
    with drawing(path, 1, 3, figsize=(13, 4.2), saved_at=80) as (_, (shares, ratios, sizes)):
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
            places,
            [v["ratio"] for v in values],
            reach,
            fmt="o",
            color="#0072B2",
            capsize=4,
            label="mean, 95 % interval",
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
