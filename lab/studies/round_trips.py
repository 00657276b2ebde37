"""What a round trip says about an inversion: where measuring/round_trip.py has its borders from.

    python -m videograin.lab.studies.round_trips [--clips 4] [--edits 4]

Inverts clips of the embedded world in good and in bad ways and denoises them again, unguided; then edits some of them
from inversions that ended in more and in less noise. Writes round_trips.json and round_trips.md beside this file.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ...editing.pipeline import edit_clip, encode_clip, invert_clip
from ...editing.presets import GUIDANCE
from ...editing.settings import AttentionSettings, InversionSettings, SamplingSettings
from ...hosts.diffusers import load_model
from ...measuring.round_trip import CALM, GOOD_DB, POOR_DB, WILD, Verdict, frame_psnr, judge, measure_round_trip
from ...world.clips import pair_clip
from ...world.demo_task import make_task
from ..demo_edits import read, regions_of
from ..pages import render, write_page
from ..paths import BENCHMARKS
from .clock import facts

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
    how = {"sampling": SamplingSettings(steps=steps, guidance=GUIDANCE), "attention": attention}
    done = edit_clip(model, task.clip.frames, made, task.prompt, regions_of(task), **how)
    right = read(task, done.frames)
    return {"std": made.noise_std, "colour": right.colour, "object": right.object}


def page(found: Mapping[str, Any]) -> str:
    """The figures as a Markdown page."""
    borders = {"good": GOOD_DB, "poor": POOR_DB, "calm": CALM, "wild": WILD}
    return render("round_trips", found=found, judged=judged, guidance=GUIDANCE, **borders)


def judged(trips: Sequence[Mapping[str, Any]]) -> list[Verdict]:
    return [judge(row["psnr"], row["std"]) for row in trips]


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
    command = f"python -m videograin.lab.studies.round_trips --clips {args.clips} --edits {args.edits}"
    found = {**facts("cpu"), "command": command, "trips": trips, "edits": edits}
    print(write_page(args.out, found, page(found)))


if __name__ == "__main__":
    main()
