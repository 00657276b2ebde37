"""What a round trip says about an inversion: where measuring/round_trip.py has its borders from.

    python -m videograin.lab.studies.round_trips [--clips 4] [--edits 4]

Inverts clips of the embedded world in good and in bad ways and denoises them again, unguided; then edits some of them
from inversions that ended in more and in less noise. Writes round_trips.json and round_trips.md beside this file.
"""

from __future__ import annotations

import argparse
import datetime
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ...editing.pipeline import edit_clip, encode_clip, invert_clip
from ...editing.regions import Region
from ...editing.settings import AttentionSettings, InversionSettings, SamplingSettings
from ...hosts.diffusers import load_model
from ...measuring.round_trip import CALM, GOOD_DB, POOR_DB, WILD, frame_psnr, judge, measure_round_trip
from ...runner.demo import GUIDANCE
from ...world.clips import pair_clip
from ...world.demo_task import make_task
from ...world.score import pooled, score
from ..paths import BENCHMARKS

WRONG = "a white triangle and a purple square on meadow"
STEPS = 20  # of what goes wrong


@dataclass(frozen=True)
class Case:
    """name: in the table. prompt: of the inversion, None = the clip's own. back: prompt of the way back, None = the
    same. mode, mode_back: space-time attention of the two ways."""

    name: str
    method: str
    steps: int
    prompt: str | None = None
    back: str | None = None
    mode: str = "per_frame"
    mode_back: str = "per_frame"


CASES = (
    *(Case(f"{method}, {steps} steps", method, steps) for steps in (50, 20, 10, 5) for method in ("warm", "ddim")),
    Case("warm, 20 steps, attention full", "warm", STEPS, mode="full", mode_back="full"),
    Case("warm, 20 steps, empty prompt", "warm", STEPS, prompt=""),
    Case("warm, 20 steps, wrong prompt", "warm", STEPS, prompt=WRONG),
    Case("ddim, 20 steps, wrong prompt", "ddim", STEPS, prompt=WRONG),
    Case("warm, 20 steps, back with another attention", "warm", STEPS, mode_back="full"),
    Case("warm, 20 steps, back with another prompt", "warm", STEPS, back=""),
)
EDITS = (("warm", 20), ("ddim", 20), ("warm", 10), ("ddim", 10))


def trip(model, case: Case, clip, latents) -> dict:
    """One round trip: dB of every frame, and the std of the noise."""
    prompt = clip.caption if case.prompt is None else case.prompt
    settings = {"inversion": InversionSettings(method=case.method), "attention": AttentionSettings(mode=case.mode)}
    trajectory = invert_clip(model, clip.frames, prompt, steps=case.steps, latents=latents, **settings)
    if case.back is not None:
        trajectory = replace(trajectory, prompt=case.back)
    done = measure_round_trip(model, trajectory, attention=AttentionSettings(mode=case.mode_back))
    return {"psnr": frame_psnr(done.frames, done.vae), "std": done.noise_std}


def edit(model, seed: int, method: str, steps: int) -> dict:
    """One edit in as many steps as its inversion; how well it came out, by the demo's reader."""
    task, attention = make_task(seed, 8, 128), AttentionSettings(mode="per_frame")
    settings = InversionSettings(method=method, steps=steps)
    made = invert_clip(model, task.clip.frames, task.clip.caption, inversion=settings, attention=attention)
    regions = [Region(text, mask) for text, mask in zip(task.phrases, task.masks)]
    sampling = SamplingSettings(steps=steps, guidance=GUIDANCE)
    done = edit_clip(model, task.clip.frames, made, task.prompt, regions, sampling=sampling, attention=attention)
    right = pooled(score(done.frames, (task.masks > 0.5).numpy(), task.objects))
    return {"std": made.noise_std, "colour": right.colour, "object": right.object}


def span(values: Sequence[float], digits: int) -> str:
    return f"{min(values):.{digits}f} to {max(values):.{digits}f}"


def page(trips: dict[str, list[dict]], edits: dict[str, list[dict]], facts: dict) -> str:
    """The figures as a Markdown page."""
    clips = len(next(iter(trips.values())))
    lines = [
        "# Round trips",
        "",
        f"Made on {facts['date']} with torch {facts['torch']} by",
        "",
        "```sh",
        facts["command"],
        "```",
        "",
        f"{clips} clips of the embedded world, 8 frames of 128 x 128, inverted and denoised again without guidance.",
        "PSNR against the VAE's own; lowest and highest of the clips.",
        "",
        "| inversion | PSNR, mean of the frames | PSNR, lowest frame | std of the noise | judged good |",
        "|---|---|---|---|---|",
    ]
    for name, rows in trips.items():
        verdicts = [judge(row["psnr"], row["std"]) for row in rows]
        lines.append(
            f"| {name} | {span([v.mean for v in verdicts], 1)} dB | {span([v.lowest for v in verdicts], 1)} dB | "
            f"{span([v.std for v in verdicts], 2)} | {sum(v.ok for v in verdicts)} of {clips} |"
        )
    lines += [
        "",
        f"Borders (measuring/round_trip.py): the lowest frame is good from {GOOD_DB:g} dB on and lost below "
        f"{POOR_DB:g} dB; noise of",
        f"{CALM:g} to {WILD:g} is taken. Explicit ddim can lose a single frame even in 50 steps. A wrong prompt used",
        "both ways can come back well: the round trip tells whether the inversion can be undone, not whether its",
        "prompt is true.",
        "",
        f"### What the noise means for an edit ({len(next(iter(edits.values())))} clips)",
        "",
        f"As many steps as the inversion has, guidance {GUIDANCE:g}, exact boxes; shares of the frames. So few clips",
        "show no harm of calm noise.",
        "",
        "| inversion | std of the noise | colour right | colour and shape right |",
        "|---|---|---|---|",
    ]
    for name, rows in edits.items():
        mean = {key: sum(row[key] for row in rows) / len(rows) for key in ("colour", "object")}
        stds = span([row["std"] for row in rows], 2)
        lines.append(f"| {name} | {stds} | {mean['colour']:.0%} | {mean['object']:.0%} |")
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--clips", type=int, default=4)
    parser.add_argument("--edits", type=int, default=4)
    parser.add_argument("--out", type=Path, default=BENCHMARKS / "round_trips")
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = load_model()
    edits: dict[str, list[dict]] = {}
    for seed in range(args.edits):
        for method, steps in EDITS:
            edits.setdefault(f"{method}, {steps} steps", []).append(edit(model, seed, method, steps))
            print(seed, method, steps, edits[f"{method}, {steps} steps"][-1], flush=True)
    trips: dict[str, list[dict]] = {}
    for seed in range(args.clips):
        clip = pair_clip(seed, 8, 128)
        latents = encode_clip(model, clip.frames)
        for case in CASES:
            trips.setdefault(case.name, []).append(trip(model, case, clip, latents))
            print(seed, case.name, trips[case.name][-1], flush=True)
    facts = {
        "date": datetime.date.today().isoformat(),
        "torch": torch.__version__,
        "command": f"python -m videograin.lab.studies.round_trips --clips {args.clips} --edits {args.edits}",
    }
    whole = json.dumps({**facts, "trips": trips, "edits": edits}, indent=1)
    args.out.with_suffix(".json").write_text(whole + "\n", encoding="utf-8")
    args.out.with_suffix(".md").write_text(page(trips, edits, facts), encoding="utf-8")


if __name__ == "__main__":
    main()
