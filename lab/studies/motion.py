"""How exactly the motion of regions is found: against the rendered world's own, with masks as they come in practice.

    python -m videograin.lab.studies.motion --out docs/benchmarks/motion

OUT.json and OUT.md. Half of the clips are 4 frames long, half 8; crossing ones have one thing pass in front of another.
Bent ones turn, squash, wave, hinge and change perspective besides (world/bent_clips.py).
"""

from __future__ import annotations

import argparse
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

from ...editing.motion.clip_motion import clip_motion
from ...editing.motion.value import BACKGROUND
from ...world.bent_clips import bent_clip
from ...world.clips import WorldClip, scene_clip
from ..bench.mask_damage import changed_masks
from ..bench.steadiness import exact_motion
from ..pages import render, write_page
from .clock import facts

SIDE, FIRST_SEED = 128, 70_000
KINDS = ("apart", "crossing", "bent apart", "bent crossing", "flat apart", "flat crossing")
MASKS = ("exact", "boxes", "grow", "holes", "shake", "drop")
TARGETS = {"exact": {"apart": 0.05, "crossing": 0.15}}
POOR = {"apart": 0.6, "crossing": 1.0}
BENT = {"apart": 0.5, "crossing": 1.5}  # of "apart" the median
LEAST = 16  # pixels that must be visible in both frames of a step
COMMAND = "python -m videograin.lab.studies.motion --clips {clips} --out docs/benchmarks/motion"

ABOUT = """\
{clips} clips of each kind ({quarter} with poor masks), {side} x {side} pixels, 4 and 8 frames in turn: one to
three things that keep apart, or two that cross. Bent things each do two of: turn, squash, wave, hinge, change
perspective; they have spots, or are flat (exact masks alone). Error: the mean over a thing's visible pixels of the
distance between the place that the motion gives and the true one, in pixels, a step from a frame to the next; steps of
things that show fewer than {least} pixels in either frame are left out. Cut: steps for which no motion is claimed (loss
above .3, or no mask and no fit by colours); they are not in the errors. Dense: regions whose motion is. Seeds from
70000; the settings were chosen on others.

Masks: exact; boxes round the things; 8 pixels larger (grow); holes in 20 % of the area, others in every frame; shaking
(place by up to 2, border by up to 3 pixels, anew in every frame); missing in 20 % of the frames (drop).

Targets are of the mean; those of bent and flat things apart, with exact masks, of the median.
"""
LIMITS = """\
What this does not say: inside a flat thing nothing shows how it bends, and a flat disc that turns looks like one that
does not; the exact motion counts it all the same. Of camera footage no true motion is known.
"""


def rows_of(clips: int) -> list[tuple[str, str, int]]:
    """(masks, kind, how many clips) of every row."""
    out = []
    for masks in MASKS:
        for kind in KINDS:
            if masks == "exact" or not kind.startswith("flat"):
                out.append((masks, kind, clips if masks == "exact" else max(1, clips // 4)))
    return out


def clip_of(kind: str, number: int) -> WorldClip:
    """Clips of 4 and 8 frames in turn, the background always as fast; things alike in every other pair of clips."""
    frames = (4, 8)[number % 2]
    form, _, motion = kind.rpartition(" ")
    objects = 2 if motion == "crossing" else 1 + number % 3
    seed = FIRST_SEED + 1000 * KINDS.index(kind) + number
    same = objects > 1 and number % 4 > 1
    how = {"objects": objects, "same": same, "motion": motion, "pan": 0.15 * frames / 8}
    if not form:
        return scene_clip(seed, frames, SIDE, **how)
    return bent_clip(seed, frames, SIDE, **how, **({"pattern": 0.0} if form == "flat" else {}))


def measure(kind: str, number: int, masks: str) -> dict:
    """Errors of all steps of a clip, pixels, and how many steps of things that are seen in both frames were cut."""
    torch.set_num_threads(1)
    clip = clip_of(kind, number)
    begun = time.process_time()
    motion = clip_motion(clip.frames, changed_masks(list(clip.masks), masks, number))
    seconds = time.process_time() - begun
    true = exact_motion(clip.scenes, (SIDE, SIDE))
    errors, behind, cut = [], [], 0
    areas = [*clip.masks, (clip.masks.amax(0) < 0.5).float()]
    for k, area in enumerate(areas):
        region = k if k < len(clip.masks) else BACKGROUND
        for f in range(len(clip.frames) - 1):
            seen = area[f] > 0.5
            if min(int(seen.sum()), int((area[f + 1] > 0.5).sum())) < LEAST:
                continue
            if not motion.of(region).linked(f, f + 1):
                cut += region != BACKGROUND
                continue
            found, exact = (one.places(region, f, f + 1, (SIDE, SIDE)) for one in (motion, true))
            (behind if region == BACKGROUND else errors).append(float((found - exact).norm(dim=-1)[seen].mean()))
    return {
        "kind": kind, "number": number, "masks": masks, "frames": len(clip.frames), "cut": int(cut),
        "errors": errors, "background": behind, "seconds": seconds,
        "dense": sum(one.form == "dense" for one in motion.regions), "regions": len(motion.regions),
    }  # fmt: skip


def target_of(masks: str, kind: str) -> tuple[float, str]:
    """What a row is to reach, and of which figure."""
    form, _, motion = kind.rpartition(" ")
    if form and masks == "exact":
        return BENT[motion], "median" if motion == "apart" else "mean"
    return TARGETS.get(masks, POOR)[motion], "mean"


def summary(lines: list[dict]) -> list[dict]:
    """One row for every kind of mask and clip that there are lines of."""
    rows = []
    for masks, kind, _ in rows_of(1):
        some = [line for line in lines if (line["masks"], line["kind"]) == (masks, kind)]
        errors = np.concatenate([line["errors"] for line in some])
        behind = np.concatenate([line["background"] for line in some])
        target, figure = target_of(masks, kind)
        row = {
            "masks": masks,
            "clips": kind,
            "n": len(some),
            "steps": len(errors),
            "cut": sum(line["cut"] for line in some),
            "dense": sum(line["dense"] for line in some),
            "regions": sum(line["regions"] for line in some),
            "mean": round(float(errors.mean()), 3),
            "median": round(float(np.median(errors)), 3),
            "p95": round(float(np.quantile(errors, 0.95)), 3),
            "most": round(float(errors.max()), 2),
            "background": round(float(behind.mean()), 3) if len(behind) else None,
            "seconds_4_frames": round(float(np.mean([x["seconds"] for x in some if x["frames"] == 4])), 2),
            "target": target,
        }
        rows.append({**row, "met": row[figure] <= target})
    return rows


def page(result: dict) -> str:
    lines = [
        ABOUT.format(clips=result["clips"], quarter=max(1, result["clips"] // 4), side=SIDE, least=LEAST),
        "| masks | clips | n | steps | cut | dense | mean | median | 95 % | most | background | target | |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in result["rows"]:
        lines.append(
            f"| {row['masks']} | {row['clips']} | {row['n']} | {row['steps']} | {row['cut']} | "
            f"{row['dense']} of {row['regions']} | {row['mean']:.3f} | {row['median']:.3f} | {row['p95']:.2f} | "
            f"{row['most']:.2f} | {row['background']:.3f} | {row['target']} | {'met' if row['met'] else '**missed**'} |"
        )
    stiff, bent = ([r["seconds_4_frames"] for r in result["rows"] if (" " in r["clips"]) == it] for it in (False, True))
    lines += [
        "",
        f"A clip of 4 frames took {min(stiff):.2f} to {max(stiff):.2f} s of one core, other work on the machine "
        f"(target .5); with things that bend {min(bent):.2f} to {max(bent):.2f} s.",
        "",
        LIMITS,
    ]
    return render("motion", found=result["made"], body="\n".join(lines))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=12, help="of each kind")
    parser.add_argument("--out", type=Path, default=Path("motion"))
    parser.add_argument("--workers", type=int, default=1, help="clips at a time")
    args = parser.parse_args()
    jobs = [(kind, number, masks) for masks, kind, clips in rows_of(args.clips) for number in range(clips)]
    with ProcessPoolExecutor(args.workers, get_context("spawn")) as pool:
        lines = []
        for line in pool.map(measure, *zip(*jobs)):
            lines.append(line)
            print(line["masks"], line["kind"], len(lines), flush=True)
    made = {**facts("cpu"), "command": COMMAND.format(clips=args.clips)}
    result = {"made": made, "clips": args.clips, "rows": summary(lines)}
    write_page(args.out, result, page(result))


if __name__ == "__main__":
    main()
