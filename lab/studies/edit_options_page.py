"""OUT.md and .png of edit_options.py, and the sums behind them."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from ..pages import drawing, render

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
    """The variants that differ from the exact one in the logit range alone (`sampled`: in lines of old)."""
    return {name: row for name, row in variants.items() if "reuse" in name or "sampled" in name}


def within_noise(time: dict[str, float], control: dict[str, float]) -> bool:
    """Whether a ratio of times lies where the control's do, which does the same work as the exact variant."""
    return min(1, control["lowest"]) <= time["median"] <= max(1, control["highest"])


def decided(variants: dict[str, dict]) -> dict[str, Any]:
    """What follows from the figures. apart: {option: dB} of those that change an edit more than the control does, whose
    dB are `limit`; changed: (option, word, figure) of shares that differ clearly; largest: of the standard errors."""
    some, control = options(variants), variants[CONTROL]
    limit = control["same"]["median"] if control["same"] else float("inf")
    same = {name: row["same"]["median"] for name, row in some.items() if row["same"]}
    shares = [(name, word, row[key]) for name, row in some.items() for key, word in SHARES.items()]
    sure = [share for share in shares if share[2]["error"] is not None]
    return {
        "options": list(some.items()),
        "limit": limit,
        "apart": {name: value for name, value in same.items() if value < limit},
        "changed": [share for share in sure if abs(share[2]["gap"]) > CLEAR * share[2]["error"]],
        "largest": max((figure["error"] for *_, figure in sure), default=None),
    }


def page(found: dict, template: str = "edit_options") -> str:
    """The Markdown page; of the template edit_options_decision what follows alone."""
    meant = {"frames": FRAMES, "size": SIZE, "exact": EXACT, "control": CONTROL, "shares": SHARES, "few": FEW}
    meant |= {"clear": CLEAR, "modulated": MODULATED, "within_noise": within_noise, "variants": found["variants"]}
    return render(template, found=found, **meant, **decided(found["variants"]))


def plot(found: dict, path: Path) -> None:
    variants = found["variants"]
    names, clips = list(variants), variants[EXACT]["clips"]
    with drawing(path, 1, 2, figsize=(10, 4.6), dpi=110, sharey=True) as (_, (same, right)):
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
