"""How steady long clips are, in windows, held steady and not; and how far things drift from first to last frame.

    python -m videograin.lab.studies.long_steadiness --clips 6 --frames 32 96  # goes on where it stopped

The clips, windows and settings are those of long_clips.py, with the objects' exact outlines before and after as masks.
One JSON line a clip, length and system in WORK/steadiness.jsonl, with the benchmark's figures (lab/bench/judge.py), and
`drift`; the means are printed at the end.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

import numpy as np
import torch

from ...editing.model import Model
from ...editing.pipeline import edit_clip, invert_clip
from ...editing.presets import GUIDANCE
from ...editing.regions import Region
from ...editing.settings import AttentionSettings, SamplingSettings, SteadySettings
from ...hosts.diffusers import load_model
from ...measuring.metrics.steadiness import centre
from ...world.demo_task import DemoTask
from ..bench.judge import Judge
from ..bench.steadiness import pieces
from ..bench.tasks import ClipSpec, EditRegion, EditTask
from ..json_lines import add_line, resume
from .clock import Clock, facts
from .long_clips import SETTINGS, Told, long_task

SYSTEMS = {"ours": True, "plain": False}  # whether the edit is held steady
MODE, WINDOWS = SETTINGS["overlap 4, anchors 2"]
DRIFTS = ("colour_drift", "size_drift", "centre_drift")
SHOWN = ("union", "union_clip", "flicker", "warp", "own", "own_ideal", "centre_jitter", "size_jitter", *DRIFTS)


def task_of(demo: DemoTask, seed: int) -> EditTask:
    """The demo's edit as one of the benchmark's, which its judge can look at."""
    ideal = demo.clip.edited(demo.objects)
    regions = [
        EditRegion(phrase, torch.maximum(before, after), (k,))
        for k, (phrase, before, after) in enumerate(zip(demo.phrases, demo.clip.masks, ideal.masks))
    ]
    spec = ClipSpec("instance", len(regions), True, "apart", 0.0, seed, seed, "tuning")
    return EditTask(spec, seed, demo.clip, ideal, tuple(regions))


def drift(frames: np.ndarray, task: EditTask, ends: int = 1) -> dict[str, float]:
    """What becomes of things from the first ``ends`` frames to the last: means over the objects, nan where none is seen
    at both ends.

    frames: uint8 [F, H, W, 3]. colour_drift: distance of the mean colours inside an object's piece (root mean square
    over channels, levels of 255); size_drift: of the side over the ideal's, as a share; centre_drift: of centre less
    the ideal's centre, in pixels.
    """
    places = task.ideal.masks.numpy() > 0.5
    shown = pieces(frames, places, [colour for colour, _ in task.wanted()])
    found = []
    for piece, place in zip(shown, places):
        seen = [f for f in range(len(frames)) if piece[f].any() and place[f].any()]
        first, last = ([f for f in seen if f in span] for span in (range(ends), range(len(frames) - ends, len(frames))))
        if not first or not last:
            continue
        colour, side, middle = (
            [np.mean([one(f) for f in end], 0) for end in (first, last)]
            for one in (
                lambda f, piece=piece: frames[f][piece[f]].mean(0),
                lambda f, piece=piece, place=place: math.sqrt(piece[f].sum() / place[f].sum()),
                lambda f, piece=piece, place=place: centre(piece[f]) - centre(place[f]),
            )
        )
        found.append(
            (
                math.sqrt(((colour[1] - colour[0]) ** 2).mean()),
                abs(side[1] / side[0] - 1),
                float(np.linalg.norm(middle[1] - middle[0])),
            )
        )
    return dict(zip(DRIFTS, np.mean(found, 0).tolist() if found else [math.nan] * 3))


def run(model: Model, task: EditTask, steady: bool, steps: int) -> dict[str, float]:
    """Invert and edit one clip: its figures."""
    frames, regions = task.clip.frames, [Region(one.phrase, one.mask) for one in task.regions]
    clock = Clock()
    options = {
        "attention": AttentionSettings(mode=MODE),
        "windows": WINDOWS,
        "progress": Told("steady" if steady else "plain", clock),
    }
    trajectory = invert_clip(model, frames, task.source_prompt, steps=steps, **options)
    sampling = SamplingSettings(steps=steps, guidance=GUIDANCE)
    done = edit_clip(
        model,
        frames,
        trajectory,
        task.prompt,
        regions,
        sampling=sampling,
        steady=SteadySettings(enabled=steady),
        **options,
    )
    return {
        **Judge(task).measure(done.frames),
        **drift(done.frames, task, max(1, len(frames) // 16)),
        "seconds": round(clock.total("edit"), 1),
    }


def measure(out: Path, lengths: list[int], steps: int, clips: range, model: Model | None = None) -> list[dict]:
    """A line for every clip, length and system that has none yet; all lines."""
    path = out / "steadiness.jsonl"
    done = {(line["system"], line["seed"], line["frames"], line["steps"]) for line in resume(path)}
    model = model or load_model()
    for frames in lengths:
        for seed in clips:
            for system, steady in SYSTEMS.items():
                if (system, seed, frames, steps) in done:
                    continue
                task = task_of(long_task(seed, frames), seed)
                line = {**facts("cpu"), "system": system, "seed": seed, "frames": frames, "steps": steps}
                figures = run(model, task, steady, steps)
                add_line(path, line | {key: None if math.isnan(value) else value for key, value in figures.items()})
    return resume(path)


def summary(lines: list[dict]) -> str:
    """A markdown table: means over clips of every length and system."""
    rows = [f"| frames | | clips | {' | '.join(SHOWN)} |", f"|---|---|---|{'---|' * len(SHOWN)}"]
    for frames, system in sorted({(line["frames"], line["system"]) for line in lines}):
        some = [line for line in lines if (line["frames"], line["system"]) == (frames, system)]
        cells = []
        for key in SHOWN:
            values = [line[key] for line in some if line.get(key) is not None]
            cells.append(f"{np.mean(values):.3g}" if values else "-")
        rows.append(f"| {frames} | {system} | {len(some)} | {' | '.join(cells)} |")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, nargs="+", default=[32, 96], help="lengths of the clips")
    parser.add_argument("--steps", type=int, default=16, help="of the inversion and of the edit")
    parser.add_argument("--clips", type=int, default=6, help="seeds 0, 1, ...")
    parser.add_argument("--work", type=Path, default=Path("runs/long_steadiness"), help="folder of what is measured")
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.work.mkdir(parents=True, exist_ok=True)
    lines = measure(args.work, args.frames, args.steps, range(args.clips))
    sys.stdout.write(summary(lines) + "\n")


if __name__ == "__main__":
    main()
