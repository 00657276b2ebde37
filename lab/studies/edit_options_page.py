"""OUT.md and .png of edit_options.py, and the sums behind them."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from .clock import head

FRAMES, SIZE = 8, 128
EXACT, CONTROL = "full, exact", "full, exact x 1.0001"
FEW = 8  # clips; the shares of fewer decide nothing
CLEAR = 2.0  # standard errors by which a share must differ
MODULATED = 0.3  # of the steps of a run, by default
SHARES = {"colour": "colour", "object": "colour and shape"}


def whole_clips(lines: list[dict]) -> list[int]:
    """The seeds that every variant has."""
    by: dict[str, set[int]] = {}
    for line in lines:
        by.setdefault(line["variant"], set()).add(line["seed"])
    return sorted(set.intersection(*by.values()))


def summary(lines: list[dict]) -> dict[str, dict]:
    """{variant: mean of every figure, and its paired difference to the exact variant with its standard error; of times
    the ratios to it: median, lowest, highest}."""
    by: dict[str, dict[int, dict]] = {}
    for line in lines:
        by.setdefault(line["variant"], {})[line["seed"]] = line
    whole, out = whole_clips(lines), {}
    for name in by:
        rows, base = ([by[key][seed] for seed in whole] for key in (name, EXACT))
        found: dict[str, Any] = {"clips": len(whole)}
        for key in ("colour", "object", "leak", "background"):
            gaps = [row[key] - other[key] for row, other in zip(rows, base)]
            error = statistics.stdev(gaps) / len(gaps) ** 0.5 if len(gaps) > 1 else None
            found[key] = {
                "mean": statistics.fmean(row[key] for row in rows),
                "gap": statistics.fmean(gaps),
                "error": error,
            }
        same = [row["same"] for row in rows]
        found["same"] = None if None in same else {"median": statistics.median(same), "lowest": min(same)}
        for key in ("step", "edit"):
            ratios = [row[key] / other[key] for row, other in zip(rows, base)]
            found[key] = {"median": statistics.median(ratios), "lowest": min(ratios), "highest": max(ratios)}
        out[name] = found
    return out


def range_errors(lines: list[dict]) -> dict[str, list[float]]:
    """{variant: [median, 99th percentile]}, each the mean of the clips'."""
    whole = whole_clips(lines)
    held = [line["errors"] for line in lines if "errors" in line and line["seed"] in whole]
    return {name: [statistics.fmean(e[name][n] for e in held) for n in (0, 1)] for name in (held[0] if held else ())}


def options(variants: dict[str, dict]) -> dict[str, dict]:
    """The variants that differ from the exact one in the row range alone."""
    return {name: row for name, row in variants.items() if "reuse" in name or "sampled" in name}


def within_noise(time: dict[str, float], control: dict[str, float]) -> bool:
    """Whether a ratio of times lies where the control's do, which does the same work as the exact variant."""
    return min(1, control["lowest"]) <= time["median"] <= max(1, control["highest"])


def decision(variants: dict[str, dict]) -> list[str]:
    """What follows for the default of `row_range`, as far as the figures go."""
    clips, some, control = variants[EXACT]["clips"], options(variants), variants[CONTROL]
    lines, changed = [], []
    limit = control["same"]["median"] if control["same"] else float("inf")
    apart = {name: row["same"]["median"] for name, row in some.items() if row["same"] and row["same"]["median"] < limit}
    if apart:
        which = "Reuse and sampling change" if len(apart) == len(some) else f"{', '.join(apart)} change"
        lines.append(
            f"- {which} an edit more than the control does: `same` is {min(apart.values()):.0f} to "
            f"{max(apart.values()):.0f} dB, the control's {limit:.0f} dB."
        )
    else:
        lines.append("- No option changes an edit more than the control does (column `same`).")
    times = {key: [row[key]["median"] for row in some.values()] for key in ("step", "edit")}
    spread = control["step"]
    lines.append(
        f"- They take {min(times['step']):.2f} to {max(times['step']):.2f} x the time of a modulated step and "
        f"{min(times['edit']):.2f} to {max(times['edit']):.2f} x that of the edit. The control, which does the same "
        f"work as `{EXACT}`, took {spread['lowest']:.2f} to {spread['highest']:.2f} x and "
        f"{control['edit']['lowest']:.2f} to {control['edit']['highest']:.2f} x: what lies in there is noise (in the "
        "table: ~)."
    )
    if clips < FEW:
        lines.append(f"- {clips} clip{'s' * (clips != 1)}: shares of so few decide nothing.")
        return [*lines, "", "`row_range` stays `exact` by default because its result is certain."]
    for name, row in some.items():
        for key, word in SHARES.items():
            figure = row[key]
            if abs(figure["gap"]) > CLEAR * figure["error"]:
                changed.append(f"{name}: {word} {_gap(figure)}")
    compared = len(some) * len(SHARES)
    if changed:
        lines.append(
            f"- Shares that differ by more than {CLEAR:g} standard errors, of {compared} compared (by chance one in "
            f"twenty does): {'; '.join(changed)}."
        )
    else:
        error = max(row[key]["error"] for row in some.values() for key in SHARES)
        lines.append(
            f"- None of {compared} shares differs from `{EXACT}` by more than {CLEAR:g} standard errors (of up to "
            f"{error:.1%}): what is smaller than that these {clips} clips cannot tell."
        )
    if apart:
        end = "because its result is certain and what the others save is a part of the modulated steps alone"
        return [*lines, "", f"`row_range` stays `exact` by default {end}, {MODULATED:.0%} of a run's edit steps."]
    return [*lines, "", "`row_range` stays `exact` by default; nothing here would speak against another."]


def _gap(figure: dict[str, float | None]) -> str:
    error = "" if figure["error"] is None else f" +- {figure['error']:.1%}"
    return f"{figure['gap']:+.1%}{error}"


def page(found: dict) -> str:
    """The Markdown page."""
    variants, errors = found["variants"], found["errors"]
    clips = variants[EXACT]["clips"]
    levels = found["levels"]
    plus_minus = f"; +- is the standard error of the paired difference to `{EXACT}`" if clips > 1 else ""
    lines = [
        *head("What the options of the attention do to an edit", found),
        f"The embedded model, {clips} clip{'s' * (clips != 1)} of {FRAMES} frames, {SIZE} x {SIZE}, two objects each, "
        f"{found['steps']} + {found['steps']} steps, of which {levels} are modulated (at 50 steps it is 15, and "
        "neighbouring noise levels lie closer: reuse errs less). Shares are of all frames of all objects, as the "
        f"world's reader sees them{plus_minus}. Background: PSNR "
        "against the VAE round trip outside the blend mask. Same: PSNR of the edit, within the regions, to that of "
        f"`{EXACT}`. The second row is the control: the range times 1.0001. Times are divided by `{EXACT}`'s of the "
        "same clip: median (lowest to highest of the clips); ~ marks medians among the control's. Range error: over "
        f"all rows of {levels} levels, where levels at which reuse measures count as 0.",
        "",
        "| variant | colour | gap to exact | colour and shape | gap to exact | leak | background, dB | same, dB: "
        "median (lowest) | time of a modulated step | of the edit | range error: median, 99 % |",
        "|---" * 11 + "|",
    ]
    for name, row in variants.items():
        gaps = {key: _gap(row[key]) if name != EXACT else "-" for key in SHARES}
        same = "equal" if row["same"] is None else f"{row['same']['median']:.1f} ({row['same']['lowest']:.1f})"
        if name == EXACT:
            same = "-"
        error = "{:.2%}, {:.1%}".format(*errors[name]) if name in errors else "-"
        times = " | ".join(_time(name, row[key], variants[CONTROL][key]) for key in ("step", "edit"))
        lines.append(
            f"| {name} | {row['colour']['mean']:.1%} | {gaps['colour']} | {row['object']['mean']:.1%} | "
            f"{gaps['object']} | {row['leak']['mean']:.1%} | {row['background']['mean']:.1f} | {same} | "
            f"{times} | {error} |"
        )
    picture = f"![what each variant changes, and what the reader finds]({found['name']}.png)"
    return "\n".join([*lines, "", picture, "", *decision(variants)]) + "\n"


def _time(name: str, time: dict[str, float], control: dict[str, float]) -> str:
    if name == EXACT:
        return "1"
    mark = "~" if name != CONTROL and within_noise(time, control) else ""
    return f"{mark}{time['median']:.2f} ({time['lowest']:.2f} to {time['highest']:.2f})"


def plot(found: dict, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    variants = found["variants"]
    names, clips = list(variants), variants[EXACT]["clips"]
    figure, (same, right) = pyplot.subplots(1, 2, figsize=(10, 4.6), dpi=110, sharey=True)
    for place, name in enumerate(names):
        row, colour = variants[name], {EXACT: "black", CONTROL: "black"}.get(name, "#0072B2")
        if name in options(variants):
            colour = "#D55E00"
        if name != EXACT and row["same"] is not None:
            same.plot([row["same"]["lowest"], row["same"]["median"]], [place] * 2, color=colour, linewidth=1)
            same.plot(row["same"]["median"], place, "o", color=colour)
            same.plot(row["same"]["lowest"], place, "|", color=colour)
        share = row["object"]
        error = 0 if name == EXACT or share["error"] is None else share["error"]
        right.errorbar(share["mean"], place, xerr=error or None, fmt="o", color=colour, capsize=3)
    if variants[CONTROL]["same"] is not None:
        same.axvline(variants[CONTROL]["same"]["median"], color="black", linewidth=1, linestyle=":")
    same.set_xlim(0, None)
    same.set_xlabel("dB: median, lowest (dotted: the control)")
    same.set_title("PSNR to the edit with `exact`", fontsize=11)
    bars = "; bars: standard error of the gap to exact" if clips > 1 else ""
    right.set_xlabel(f"mean (dotted: exact){bars}")
    right.axvline(variants[EXACT]["object"]["mean"], color="black", linewidth=1, linestyle=":")
    right.xaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    right.set_title(f"colour and shape right, {clips} clip{'s' * (clips != 1)}", fontsize=11)
    same.set_yticks(range(len(names)), names, fontsize=9)
    same.invert_yaxis()  # of both
    for axis in (same, right):
        axis.grid(alpha=0.25)
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)
