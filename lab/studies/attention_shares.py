"""Does the modulation keep words in their regions? Attention shares before and after, on the embedded world.

    python -m videograin.lab.studies.attention_shares [--clips 9] [--steps 50] [--attention per_frame]

Edits clips of the rendered world as `videograin edit` does (its defaults; guidance 5 and per-frame attention as in the
demo; exact boxes for masks), looks at cross-attention in the modulated steps, and writes attention_shares.json and
attention_shares.md beside this file. A third of the clips each: objects apart, touching, crossing.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from ...attention import LabelMap
from ...editing.pipeline import edit_clip, invert_clip
from ...editing.presets import GUIDANCE
from ...editing.settings import AttentionSettings, SamplingSettings
from ...hosts.diffusers import load_model
from ...measuring.attention_probe import AttentionProbe, Phrase
from ...measuring.attention_shares import share_table
from ...world.demo_task import make_task
from ...world.vocabulary import MOTIONS
from ..demo_edits import Several, read, regions_of
from ..pages import render, write_page
from ..paths import BENCHMARKS
from .clock import facts

LEVELS = ("half", "full")
GOAL = 1.5  # by which factor the own share shall rise


def measure(model, seed: int, motion: str, steps: int, attention: AttentionSettings) -> dict:
    """One clip: its rows at both levels, and how well the edit came out."""
    task = make_task(seed, 8, 128, motion)
    frames = task.clip.frames
    trajectory = invert_clip(model, frames, task.clip.caption, steps=steps, attention=attention)
    _, spans, labels, _ = model.encode_regions(task.prompt, task.phrases, splice=attention.splice)
    phrases = [Phrase(text, tuple(span), n) for n, (text, span) in enumerate(zip(task.phrases, spans), 1)]
    probes = [AttentionProbe(len(frames), phrases, length=len(labels), level=level) for level in LEVELS]
    how = {
        "sampling": SamplingSettings(steps=steps, guidance=GUIDANCE),
        "attention": attention,
        "observer": Several(probes),
    }
    done = edit_clip(model, frames, trajectory, task.prompt, regions_of(task), **how)
    label_map = LabelMap(list(task.masks))
    tables = {level: share_table(probe.result(), label_map).rows for level, probe in zip(LEVELS, probes)}
    right = read(task, done.frames)
    return {
        "seed": seed,
        "motion": motion,
        "prompt": task.prompt,
        "object": right.object,
        "leak": right.leak,
        "rows": {level: [{**asdict(row), "gain": row.gain} for row in rows] for level, rows in tables.items()},
    }


def page(found: Mapping[str, Any]) -> str:
    """The figures as a Markdown page."""
    return render("attention_shares", found=found, levels=LEVELS, goal=GOAL, guidance=GUIDANCE)


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
    found = {
        **facts("cpu"),
        "command": f"python -m videograin.lab.studies.attention_shares --clips {args.clips} --steps {args.steps} "
        f"--attention {args.attention}",
        "steps": args.steps,
        "attention": args.attention,
        "clips": results,
    }
    print(write_page(args.out, found, page(found)))


if __name__ == "__main__":
    main()
