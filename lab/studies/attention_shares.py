"""Does the modulation keep words in their regions? Attention shares before and after, on the embedded world.

    python -m videograin.lab.studies.attention_shares [--clips 9] [--steps 50] [--attention per_frame]

Edits clips of the rendered world as `videograin edit` does (its defaults; guidance 5 and per-frame attention as in the
demo; exact boxes for masks), looks at cross-attention in the modulated steps, and writes attention_shares.json and
attention_shares.md beside this file. A third of the clips each: objects apart, touching, crossing.
"""

from __future__ import annotations

import argparse
import datetime
import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from ...attention import Layout, Seen
from ...editing.pipeline import edit_clip, invert_clip
from ...editing.regions import Region
from ...editing.settings import AttentionSettings, SamplingSettings
from ...hosts.diffusers import load_model
from ...measuring.attention_probe import AttentionProbe, Phrase
from ...measuring.attention_shares import share_table
from ...runner.demo import GUIDANCE
from ...world.demo_task import make_task
from ...world.score import pooled, score
from ..paths import BENCHMARKS

MOTIONS = ("apart", "touching", "crossing")
LEVELS = ("half", "full")
GOAL = 1.5  # by which factor the own share shall rise


class Both:
    """An observer that shows everything to several others."""

    def __init__(self, probes: Sequence[AttentionProbe]):
        self.probes = probes

    def wants(self, *layer) -> bool:
        return any(probe.wants(*layer) for probe in self.probes)

    def add(self, seen: Seen) -> None:
        for probe in self.probes:
            if probe.wants(seen.kind, seen.grid, seen.size, seen.t):
                probe.add(seen)

    def __deepcopy__(self, memo) -> Both:
        return self


def measure(model, seed: int, motion: str, steps: int, attention: AttentionSettings) -> dict:
    """One clip: its rows at both levels, and how well the edit came out (demo.py's reader)."""
    task = make_task(seed, 8, 128, motion)
    frames = task.clip.frames
    trajectory = invert_clip(model, frames, task.clip.caption, steps=steps, attention=attention)
    _, spans, labels = model.encode_regions(task.prompt, task.phrases, splice=attention.splice)
    phrases = [Phrase(text, tuple(span), n) for n, (text, span) in enumerate(zip(task.phrases, spans), 1)]
    probes = [AttentionProbe(len(frames), phrases, length=len(labels), level=level) for level in LEVELS]
    done = edit_clip(
        model,
        frames,
        trajectory,
        task.prompt,
        [Region(text, mask) for text, mask in zip(task.phrases, task.masks)],
        sampling=SamplingSettings(steps=steps, guidance=GUIDANCE),
        attention=attention,
        observer=Both(probes),
    )
    layout = Layout(list(task.masks))
    tables = {level: share_table(probe.result(), layout).rows for level, probe in zip(LEVELS, probes)}
    right = pooled(score(done.frames, (task.masks > 0.5).numpy(), task.objects))
    return {
        "seed": seed,
        "motion": motion,
        "prompt": task.prompt,
        "object": right.object,
        "leak": right.leak,
        "rows": {level: [{**asdict(row), "gain": row.gain} for row in rows] for level, rows in tables.items()},
    }


def page(results: Sequence[dict], facts: dict) -> str:
    """The figures as a Markdown page."""
    lines = [
        "# Attention shares: do words stay in their regions?",
        "",
        f"Made on {facts['date']} with torch {facts['torch']} by",
        "",
        "```sh",
        facts["command"],
        "```",
        "",
        f"{len(results)} clips of the embedded world (8 frames of 128 x 128, two alike objects that become two other "
        "things),",
        f"edited as `videograin edit` does: {facts['steps']} steps, guidance {GUIDANCE:g}, attention "
        f"{facts['attention']}, the paper's schedules, exact",
        "boxes for masks. The share of a phrase's cross-attention that comes from its own region, averaged over the",
        "modulated steps (0 to 0.3 of the run), the layers of the level and all heads, without and with the modulation",
        "in the same calls. No share can exceed 100 %: a phrase that has 70 % of its own already cannot rise by "
        f"{GOAL:g} x.",
        "",
        "| level | own share before | after | factor: mean | lowest | highest | regions with >= 1.5 x |",
        "|---|---|---|---|---|---|---|",
    ]
    for level in LEVELS:
        rows = [row for result in results for row in result["rows"][level]]
        gains = [row["gain"] for row in rows]
        own = [statistics.mean(row[when]["own"] for row in rows) for when in ("before", "after")]
        lines.append(
            f"| {level} | {own[0]:.0%} | {own[1]:.0%} | **{statistics.mean(gains):.2f}** | {min(gains):.2f} | "
            f"{max(gains):.2f} | {sum(gain >= GOAL for gain in gains)} of {len(gains)} |"
        )
    missed = [
        f"{level}: seed {result['seed']} ({result['motion']}), {row['phrase']!r}: {row['before']['own']:.0%} to "
        f"{row['after']['own']:.0%}, {row['gain']:.2f} x"
        for level in LEVELS
        for result in results
        for row in result["rows"][level]
        if row["gain"] < GOAL
    ]
    lines += ["", f"Below {GOAL:g} x:" if missed else f"None is below {GOAL:g} x.", *[f"- {item}" for item in missed]]
    lines += ["", "### Every region", ""]
    lines.append(
        "| seed | motion | phrase | area | half: own before > after | factor | full: own before > after | factor | "
        "clip: object right | leak |"
    )
    lines.append("|---|---|---|---|---|---|---|---|---|---|")
    for result in results:
        for half, full in zip(*(result["rows"][level] for level in LEVELS)):
            cells = [
                f"{row['before']['own']:.0%} > {row['after']['own']:.0%} | {row['gain']:.2f}" for row in (half, full)
            ]
            lines.append(
                f"| {result['seed']} | {result['motion']} | {half['phrase']} | {full['area']:.0%} | {cells[0]} | "
                f"{cells[1]} | {result['object']:.0%} | {result['leak']:.0%} |"
            )
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--clips", type=int, default=9)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--attention", default="per_frame")
    parser.add_argument("--out", type=Path, default=BENCHMARKS / "attention_shares")
    args = parser.parse_args()
    torch.set_num_threads(1)
    model, attention = load_model(), AttentionSettings(mode=args.attention)
    results = []
    for seed in range(args.clips):
        begun = time.time()
        results.append(measure(model, seed, MOTIONS[seed % len(MOTIONS)], args.steps, attention))
        gains = [f"{row['gain']:.2f}" for level in LEVELS for row in results[-1]["rows"][level]]
        print(f"seed {seed}: {', '.join(gains)} ({time.time() - begun:.0f} s)", flush=True)
    facts = {
        "date": datetime.date.today().isoformat(),
        "torch": torch.__version__,
        "command": f"python -m videograin.lab.studies.attention_shares --clips {args.clips} --steps {args.steps} "
        f"--attention {args.attention}",
        "steps": args.steps,
        "attention": args.attention,
    }
    args.out.with_suffix(".json").write_text(json.dumps({**facts, "clips": results}, indent=1) + "\n", encoding="utf-8")
    args.out.with_suffix(".md").write_text(page(results, facts), encoding="utf-8")


if __name__ == "__main__":
    main()
