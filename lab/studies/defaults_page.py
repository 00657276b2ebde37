"""The pages, tables and plots of defaults.py, from its JSON and the decisions alone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..bench.table import MEASURES
from ..bench.tasks import SPLITS
from .clock import head
from .defaults_sums import DECIDES, FEW, SHOWN, TOLERANCE, interval, is_worse, sentence, text_of

#: What a varied setting is, in words.
TITLES = {
    "self_halves": "Which half of a guided batch has its self-attention modulated",
    "cross_halves": "Which half of a guided batch has its cross-attention modulated",
    "self_strength": "Strength of the self-attention's modulation (xi at t = 1)",
    "cross_strength": "Strength of the cross-attention's modulation (xi at t = 1)",
    "power": "How fast the modulation falls: xi = strength x t ^ power",
    "end": "Until when attention is modulated, as a fraction of the run",
    "start": "From when attention is modulated, as a fraction of the run",
    "size_term": "The factor 1 - S (area share of the region) of Eq. 2",
    "levels": "At which levels of the UNet attention is modulated",
    "labels": "What decides the label of a token that a border crosses",
    "background": "What background queries match in cross-attention",
    "inversion": "The inversion's method",
    "mode": "Which frames a query sees",
    "blend": "The latent blend with the inversion's trajectory",
    "blend.start": "From when the latent blend holds, as a fraction of the run",
    "blend.end": "Until when the latent blend holds, as a fraction of the run",
    "feather": "Width of the blend's soft border, in latent pixels",
    "guidance": "Classifier-free guidance",
    "splice": "Phrases encoded by themselves, written into the global prompt's embedding",
    "range": "How the row range of self-attention is come by",
    "sampler": "The sampler",
    "composite": "The pixel composite after decoding",
    "masks": "Masks as they come in practice",
}
STRUCTURE = (
    "Fig. 15 (with and without structure control): not measured. The embedded model has no ControlNet, and no weights "
    "of one can be had here."
)


def slug(name: str) -> str:
    """A file's name for a setting's."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def write_pages(found: Mapping[str, Any], stated: Mapping[str, Any], out: Path) -> list[Path]:
    """Every page, and a picture for every default. Returns the files."""
    texts = pages(found, stated)
    for name, text in texts.items():
        (out / name).write_text(text, encoding="utf-8")
    pictures = [out / f"{slug(name)}.png" for name in found["defaults"]]
    for name, picture in zip(found["defaults"], pictures):
        plot(name, found["defaults"][name], picture)
    return [*(out / name for name in texts), *pictures]


def pages(found: Mapping[str, Any], stated: Mapping[str, Any]) -> dict[str, str]:
    """File name -> text."""
    out = {"README.md": index(found, stated)}
    for name, values in found["defaults"].items():
        out[f"{slug(name)}.md"] = page(name, values, found, stated.get(name))
    if found["clips"]["main"]:
        out["targets.md"] = targets_page(found, stated)
    out["paper.md"] = paper_page(found, stated)
    return out


def index(found: Mapping[str, Any], stated: Mapping[str, Any]) -> str:
    lines = [*head("What the defaults were chosen by", found), *about(found), ""]
    if found["defaults"]:
        lines += ["| default | value | figures and decision | page |", "|---|---|---|---|"]
    for name, values in found["defaults"].items():
        said = tolerance(values) if name in TOLERANCE else sentence(values, stated.get(name))
        lines.append(f"| `{name}` | {values['default']} | {said} | [{slug(name)}]({slug(name)}.md) |")
    links = ["[what of the paper comes out](paper.md)"]
    if found["clips"]["main"]:
        links = ["[all systems](systems.md)", "[targets](targets.md)", *links]
    lines += ["", f"More: {', '.join(links)}.", "", *measured_with(found, stated, listed=True)]
    return "\n".join(lines) + "\n"


def measured_with(found: Mapping[str, Any], stated: Mapping[str, Any], listed: bool = False) -> list[str]:
    """Of which settings the figures of all systems are, and where these are not what was decided. listed: all settings;
    otherwise the index, which has them, is named."""
    if not found["clips"]["main"]:
        return []
    clips = on(found["splits"]["main"], found["clips"]["main"])
    settings = "the settings that the [index](README.md) lists"
    if listed:
        values = ((key, "none" if value is None else text_of(value)) for key, value in found["main_setup"].items())
        settings = ", ".join(f"{key} = {value}" for key, value in values)
    other, unknown = [], []
    for name, value in found["main_values"].items():
        chosen = (stated.get(name) or {}).get("chosen")
        if value is None:
            unknown.append(f"`{name}`")
        elif chosen is None:
            unknown.append(f"`{name}` (measured with {value}, not decided)")
        elif text_of(chosen) != value:
            other.append(f"`{name}`: measured with {value}, decided {text_of(chosen)}")
    lines = [f"All systems were measured on {clips} with {settings}.", ""]
    if other:
        said = "Their figures are not those of the decided defaults"
        lines += [f"**{said}**: {'; '.join(other)}.", ""]
    if unknown:
        lines += [f"Whether these are the decided defaults is not known of {', '.join(unknown)}.", ""]
    if found["main_values"] and not other and not unknown:
        lines += ["These are the decided defaults wherever one was decided.", ""]
    return lines


def on(split: str, clips: int) -> str:
    """Which clips, in words."""
    return f"{clips} clips of the split `{split}`" if clips else "no clips"


def about(found: Mapping[str, Any]) -> list[str]:
    """On what the figures rest."""
    setup, part = found["setup"], "runs" if found["clips"]["runs"] else "main"
    known = {"frames": "frames", "sampling.steps": "denoising steps", "attention.mode": "attention"}
    facts = ", ".join(f"{setup[key]} {word}" for key, word in known.items() if key in setup)
    facts = f" ({facts})" if facts else ""
    wins = MEASURES[DECIDES]
    return [
        f"{on(found['splits'][part], found['clips'][part])} of the benchmark's embedded world{facts}; settings are "
        f"chosen on the split `tuning` (clips from seed {SPLITS['tuning']}), results reported on `test` (from "
        f"{SPLITS['test']}). Mean over clips [95 % bootstrap interval over clips]. One setting is changed at a time "
        "(those named together, together); differences are paired by clip and seed, and the default's row is over the "
        f"values' clips. A value wins if its difference in `{wins.title}` ({wins.text}) lies above 0 with its whole "
        f"interval, over {FEW} clips or more. For that the interval is widened for the number k of values that are "
        "tried of one setting (Bonferroni: its level is 1 - 0.05 / k): of settings of which no value changes anything "
        "one in forty or fewer has a winner by chance. What else a winner loses is told uncorrected."
    ]


def page(name: str, values: Mapping[str, Any], found: Mapping[str, Any], stated: Mapping[str, Any] | None) -> str:
    lines = [*head(f"{_title(name)}: `{name}`", found), *about(found), "", *table(values), ""]
    hows = {one["how"] for one in found["inversions"]}
    if name in ("inversion", "mode") and len(hows) > 1:
        lines += [*inversion_table(found["inversions"]), ""]
    lines += [f"![difference from the default]({slug(name)}.png)", ""]
    lines.append(tolerance(values) if name in TOLERANCE else sentence(values, stated))
    used = (f"- {MEASURES[key].title}: {MEASURES[key].text}; {MEASURES[key].better} is better" for key in SHOWN)
    return "\n".join([*lines, "", *used]) + "\n"


def table(values: Mapping[str, Any]) -> list[str]:
    shown = [key for key in SHOWN if any(row["figures"][key]["clips"] for row in values["rows"])]
    compared = list(next((row["minus"] for row in values["rows"] if "minus" in row), {}))
    heads = ["value", "clips", *(MEASURES[key].title for key in shown), "warp / ideal"]
    heads += ["paired clips", *(f"{MEASURES[key].title}: minus default" for key in compared)]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for row in values["rows"]:
        mark = "" if row["label"] else " (default)"
        cells = [f"`{row['value']}`{mark}", str(row["figures"][DECIDES]["clips"])]
        cells += [MEASURES[key].show(interval(row["figures"][key])) for key in shown]
        cells += [f"{row['warp_ratio']:.1f}", str(row.get("paired", "-"))]
        for key in compared:
            gap = interval(row["minus"][key]) if "minus" in row else None
            clear = gap is not None and (gap.above_zero or gap.below_zero)
            cells.append("-" if gap is None else MEASURES[key].show(gap, signed=True) + (" *" if clear else ""))
        lines.append("| " + " | ".join(cells) + " |")
    said = "\\* = the whole 95 % interval lies on one side of 0; this mark is not corrected for the number of values."
    return [*lines, "", said]


def tolerance(values: Mapping[str, Any]) -> str:
    """What is lost by every value, in words."""
    lost = [
        f"`{row['value']}` {MEASURES[DECIDES].show(interval(row['minus'][DECIDES]), signed=True)}"
        for row in values["rows"]
        if "minus" in row
    ]
    return f"Points of `{MEASURES[DECIDES].title}` gained or lost: {'; '.join(lost)}. Nothing is chosen here."


def inversion_table(inversions: Iterable[Mapping[str, Any]]) -> list[str]:
    lines = ["| inversion | round trip, dB | std of the noise: mean (lowest to highest) | s |", "|---|---|---|---|"]
    for one in inversions:
        low, mean, high = one["std"]
        psnr = MEASURES["ideal_psnr"].show(interval(one["psnr"]))
        lines.append(f"| {one['how']} | {psnr} | {mean:.3f} ({low:.3f} to {high:.3f}) | {one['seconds']:.1f} |")
    return lines


def targets_page(found: Mapping[str, Any], stated: Mapping[str, Any]) -> str:
    lines = [*head("Targets", found), *measured_with(found, stated)]
    lines += ["| target | figure [95 % interval] | split | clips | |", "|---|---|---|---|---|"]
    for row in found["targets"]:
        clips = f"{row['split'] or '-'} | {row['clips'] or '-'}"
        lines.append(f"| {row['target']} | {row['figure']} | {clips} | {row['verdict']} |")
    lines += [
        "",
        "Met or not by the mean; the interval says how sure that is. `all regions right` is of frames; where a "
        "background is edited, a second copy of a kept object in it costs nothing. Masks and inversions come from the "
        "runs that varied settings, all else from those of all systems: hence the splits.",
    ]
    lines += [
        "",
        "Identical to the source outside the composite: by construction, and tests/editing/test_composite.py.",
    ]
    return "\n".join(lines) + "\n"


def paper_page(found: Mapping[str, Any], stated: Mapping[str, Any]) -> str:
    lines = [*head("What of the paper comes out on this world", found)]
    lines += [
        "Verdicts are computed: a claim comes out if the whole interval of its paired difference is on its side; n is "
        "the number of clips.",
        "",
        *measured_with(found, stated),
    ]
    for title, part in (("Table 3: the parts of the method", "table_3"), ("Fig. 14: which frames are seen", "fig_14")):
        values = found[part]
        lines += [f"## {title}", ""]
        if not values["claims"]:
            lines += ["Not measured.", ""]
            continue
        lines += [f"{on(values['split'], values['clips'])}.", ""]
        keys = [key for key in values["rows"][0] if key != "name"]
        heads = ("n" if key == "n" else MEASURES[key].title for key in keys)
        lines += ["| | " + " | ".join(heads) + " |", "|---" * (1 + len(keys)) + "|"]
        lines += [f"| {row['name']} | " + " | ".join(row[key] for key in keys) + " |" for row in values["rows"]]
        lines += ["", "| claim | | paired difference |", "|---|---|---|"]
        lines += [f"| {one['claim']} | {one['verdict']} | {one['figures']} |" for one in values["claims"]]
        lines.append("")
    return "\n".join([*lines, "## Structure control", "", STRUCTURE]) + "\n"


def plot(name: str, values: Mapping[str, Any], target: Path) -> None:
    """Every value's difference from the default with its interval."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = [row for row in values["rows"] if "minus" in row and row["minus"][DECIDES]["clips"]]
    keys: Sequence[str] = list(rows[0]["minus"]) if rows else [DECIDES]
    size = (3.3 * len(keys), 1.7 + 0.32 * max(1, len(rows)))
    figure, axes = pyplot.subplots(1, len(keys), figsize=size, dpi=110, sharey=True)
    for axis, key in zip(axes if len(keys) > 1 else [axes], keys):
        measure = MEASURES[key]
        for place, row in enumerate(rows):
            gap = interval(row["minus"][key])
            mean, low, high = (measure.scale * x for x in (gap.mean, gap.low, gap.high))
            worse = is_worse(key, gap)
            better = not worse and (gap.above_zero or gap.below_zero)
            colour = "#009E73" if better else "#D55E00" if worse else "#555555"
            axis.plot([low, high], [place] * 2, color=colour, linewidth=2)
            axis.plot(mean, place, "o", color=colour)
        axis.axvline(0, color="black", linewidth=1, linestyle=":")
        axis.set_title(f"{measure.title}\n({measure.better} is better)", fontsize=10)
        axis.grid(axis="x", alpha=0.25)
    first = axes[0] if len(keys) > 1 else axes
    first.set_yticks(range(len(rows)), [row["value"] for row in rows])
    first.set_ylim(len(rows) - 0.5, -0.5)
    first.set_ylabel(name)
    meaning = "green: better, red: worse, grey: not clear (uncorrected)"
    figure.suptitle(f"minus the default ({values['default']}), 95 % intervals over clips; {meaning}", fontsize=10)
    figure.tight_layout()
    figure.savefig(target)
    pyplot.close(figure)


def _title(name: str) -> str:
    return "; ".join(TITLES.get(part, part) for part in name.split(", "))
