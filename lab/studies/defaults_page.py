"""The pages, tables and plots of defaults.py, from its JSON and the decisions alone."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..bench.table import MEASURES
from ..bench.tasks import SPLITS
from ..pages import drawing, render
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

    def said(name: str) -> str:
        values = found["defaults"][name]
        return tolerance(values) if name in TOLERANCE else sentence(values, stated.get(name))

    def shown(values: Mapping[str, Any]) -> list[str]:
        return [key for key in SHOWN if any(row["figures"][key]["clips"] for row in values["rows"])]

    setup, known = (
        found["setup"],
        {"frames": "frames", "sampling.steps": "denoising steps", "attention.mode": "attention"},
    )
    facts = [f"{setup[key]} {word}" for key, word in known.items() if key in setup]
    meant = {"facts": facts, "seeds": SPLITS, "wins": MEASURES[DECIDES], "decides": DECIDES, "few": FEW, "slug": slug}
    meant |= {"measures": MEASURES, "interval": interval, "said": said, "shown": shown, "all_shown": SHOWN}
    meant |= measured_with(found, stated)
    listed = {key: "none" if value is None else text_of(value) for key, value in found["main_setup"].items()}
    listed = ", ".join(f"{key} = {value}" for key, value in listed.items())
    out = {"README.md": render("defaults/index", **{**meant, "settings": listed})}
    for name, values in found["defaults"].items():
        title = "; ".join(TITLES.get(part, part) for part in name.split(", "))
        out[f"{slug(name)}.md"] = render("defaults/page", title=title, name=name, values=values, **meant)
    if found["clips"]["main"]:
        out["targets.md"] = render("defaults/targets", **meant)
    out["paper.md"] = render("defaults/paper", **meant)
    return out


def measured_with(found: Mapping[str, Any], stated: Mapping[str, Any]) -> dict[str, Any]:
    """Values of the template measured_with. other: settings that are not what was decided; unknown: of which it is not
    known. The settings are those of the index, which lists them itself."""
    other, unknown = [], []
    for name, value in found["main_values"].items():
        chosen = (stated.get(name) or {}).get("chosen")
        if value is None:
            unknown.append(f"`{name}`")
        elif chosen is None:
            unknown.append(f"`{name}` (measured with {value}, not decided)")
        elif text_of(chosen) != value:
            other.append(f"`{name}`: measured with {value}, decided {text_of(chosen)}")
    settings = "the settings that the [index](README.md) lists"
    return {"found": found, "on": on, "settings": settings, "other": other, "unknown": unknown}


def on(split: str, clips: int) -> str:
    """Which clips, in words."""
    return f"{clips} clips of the split `{split}`" if clips else "no clips"


def tolerance(values: Mapping[str, Any]) -> str:
    """What is lost by every value, in words."""
    lost = [
        f"`{row['value']}` {MEASURES[DECIDES].show(interval(row['minus'][DECIDES]), signed=True)}"
        for row in values["rows"]
        if "minus" in row
    ]
    return f"Points of `{MEASURES[DECIDES].title}` gained or lost: {'; '.join(lost)}. Nothing is chosen here."


def plot(name: str, values: Mapping[str, Any], target: Path) -> None:
    """Every value's difference from the default with its interval."""
    rows = [row for row in values["rows"] if "minus" in row and row["minus"][DECIDES]["clips"]]
    keys: Sequence[str] = list(rows[0]["minus"]) if rows else [DECIDES]
    size = (3.3 * len(keys), 1.7 + 0.32 * max(1, len(rows)))
    with drawing(target, 1, len(keys), figsize=size, dpi=110, sharey=True, squeeze=False) as (figure, (axes,)):
        for axis, key in zip(axes, keys):
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
        axes[0].set_yticks(range(len(rows)), [row["value"] for row in rows])
        axes[0].set_ylim(len(rows) - 0.5, -0.5)
        axes[0].set_ylabel(name)
        meaning = "green: better, red: worse, grey: not clear (uncorrected)"
        figure.suptitle(f"minus the default ({values['default']}), 95 % intervals over clips; {meaning}", fontsize=10)
