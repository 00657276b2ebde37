"""Clips beyond what full attention holds: 256 frames in windows, on the embedded world.

    python -m videograin.lab.studies.long_clips --clips 3  # goes on where it stopped
    python -m videograin.lab.studies.long_clips --memory --steps 4  # peak memory and time at several lengths
    python -m videograin.lab.studies.long_clips --page --out docs/benchmarks/long_clips

Two alike objects become two different ones (world/demo_task.py), boxes for masks, guidance 5, `full` attention within a
window. A clip of 256 frames lasts eight times as long as one of 32 and moves at the same speed. One JSON line a clip
and setting in WORK/clips.jsonl, and the edited frames beside it, so that figures can be taken anew without the model.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch

from ...editing.pipeline import decode_clip, edit_clip, invert_clip
from ...editing.presets import GUIDANCE
from ...editing.settings import AttentionSettings, SamplingSettings, SteadySettings
from ...editing.windows import Window, Windows
from ...hosts.diffusers import load_model
from ...measuring.metrics.pixels import psnr_outside_blend
from ...world.demo_task import DemoTask, make_task
from ...world.reader import components, read_region
from ..demo_edits import regions_of
from ..json_lines import add_line, resume
from .clock import Clock, facts, in_a_process, peak_resident
from .long_clips_page import page_of

# name: (attention, windows); None = all frames at once. The first is what the runner's defaults do.
SETTINGS = {
    "overlap 4, anchors 2": ("full", Windows(16, 4, 2)),
    "no anchors": ("full", Windows(16, 4, 0)),
    "no overlap": ("full", Windows(16, 0, 2)),
    "neither": ("full", Windows(16, 0, 0)),
    "per frame": ("per_frame", None),
    "all at once": ("full", None),
}
MEASURED = ("overlap 4, anchors 2", "no anchors", "no overlap", "per frame")  # by default
SPEED = 32  # frames in which a path of the world ends (pair_clip's span 1)
LENGTHS, AT_ONCE = (16, 64, 256), (16, 64)  # whose memory is measured


def long_task(seed: int, frames: int) -> DemoTask:
    return make_task(seed, frames, 128, span=frames / SPEED)


def dominant(windows: tuple[Window, ...], frames: int) -> list[int]:
    """The window that has the largest weight in each frame, the first of equals."""
    weights = np.zeros((len(windows), frames))
    for number, window in enumerate(windows):
        weights[number, list(window.indices)] = window.weights
    return weights.argmax(0).tolist()


def run(model, task: DemoTask, setting: str, steps: int) -> tuple[dict, np.ndarray]:
    """Invert and edit one clip; its figures and the edited frames (before the pixel composite)."""
    mode, windows = SETTINGS[setting]
    attention, clock = AttentionSettings(mode=mode), Clock()
    options = {"attention": attention, "windows": windows, "progress": Told(setting, clock)}
    frames = task.clip.frames
    trajectory = invert_clip(model, frames, task.clip.caption, steps=steps, **options)
    sampling = SamplingSettings(steps=steps, guidance=GUIDANCE)
    plain = {"sampling": sampling, "steady": SteadySettings(enabled=False)}  # long_steadiness.py compares the two
    done = edit_clip(model, frames, trajectory, task.prompt, regions_of(task), **plain, **options)
    vae = decode_clip(model, trajectory.clean)
    cut = () if windows is None else windows.split(len(frames))
    out = {
        "windows": len(cut) or None,
        "window_of": dominant(cut, len(frames)) if cut else None,
        "background_db": psnr_outside_blend(done.decoded, vae, done.blend_mask),
        "noise_std": trajectory.noise_std,
        "seconds": {name: round(clock.total(name), 1) for name in ("invert", "edit")},
        "edit": judged(done.decoded, task),
        "vae": colours(vae, task.clip.masks.numpy()),
    }
    return out, done.decoded


class Told(Clock):
    """A clock's `Progress` that also says on stderr how far it is."""

    def __init__(self, name: str, clock: Clock):
        self._name, self._clock = name, clock

    def stage(self, name: str, total: int | None = None):
        print(f"{time.strftime('%H:%M:%S')} {self._name}: {name} ({total})", file=sys.stderr, flush=True)
        return self._clock.stage(name, total)


def judged(frames: np.ndarray, task: DemoTask) -> list[dict]:
    """What the reader sees of each region, and its mean colour, frame by frame.

    colour, object, leak: 0 or 1 a frame: right colour; right colour and shape; the other region's colour. exact: mean
    RGB over the pixels of what should be there (the wanted shape in the source object's place); read: over the largest
    component of the wanted colour that touches the region, None where there is none.
    """
    wanted = task.clip.edited(task.objects).masks.numpy() > 0.5
    boxes = (task.masks > 0.5).numpy()
    out = []
    for k, (colour, shape) in enumerate(task.objects):
        others = {c for c, _ in task.objects} - {colour}
        seen = [read_region(frame, box) for frame, box in zip(frames, boxes[k])]
        out.append(
            {
                "colour": [int(s.colour == colour) for s in seen],
                "object": [int((s.colour, s.shape) == (colour, shape)) for s in seen],
                "leak": [int(s.colour in others) for s in seen],
                "exact": _means(frames, wanted[k]),
                "read": [_of_component(frame, box, colour) for frame, box in zip(frames, boxes[k])],
            }
        )
    return out


def colours(frames: np.ndarray, masks: np.ndarray) -> list[dict]:
    """Mean RGB of each object, frame by frame, where nothing is edited. masks: [K, F, H, W] in [0, 1]."""
    return [{"exact": _means(frames, mask > 0.5)} for mask in masks]


def _means(frames: np.ndarray, mask: np.ndarray) -> list[list[float] | None]:
    return [_mean(frame, inside) for frame, inside in zip(frames, mask)]


def _mean(frame: np.ndarray, inside: np.ndarray) -> list[float] | None:
    return [round(float(v), 3) for v in frame[inside].mean(0)] if inside.any() else None


def _of_component(frame: np.ndarray, box: np.ndarray, colour: int) -> list[float] | None:
    """Mean RGB of the largest component of a colour in a region."""
    found = [mask for c, mask in components(frame) if c == colour and (mask & box).any()]
    return _mean(frame, max(found, key=lambda mask: int((mask & box).sum()))) if found else None


def measure(out: Path, frames: int, steps: int, clips: range, settings: list[str]) -> None:
    """A line for every clip and setting that has none yet, the settings one after the other."""
    path, model = out / "clips.jsonl", load_model()
    done = {(line["setting"], line["seed"], line["frames"], line["steps"]) for line in resume(path)}
    for setting in settings:
        for seed in clips:
            if (setting, seed, frames, steps) in done:
                continue
            begun, task = time.time(), long_task(seed, frames)
            figures, edited = run(model, task, setting, steps)
            np.savez_compressed(out / f"{setting.replace(' ', '_')}-{seed}-{frames}-{steps}.npz", frames=edited)
            line = {**facts("cpu"), "setting": setting, "seed": seed, "frames": frames, "steps": steps}
            line["prompt"] = task.prompt
            add_line(path, {**line, **figures})
            right = [np.mean(region["object"]) for region in figures["edit"]]
            print(f"{setting}, seed {seed}: object {right}, {time.time() - begun:.0f} s", file=sys.stderr, flush=True)


def memory(out: Path, steps: int) -> None:
    """A line for every length and way that has none yet; a process each, so that each has a peak of its own."""
    path = out / "memory.jsonl"
    done = {(line["setting"], line["frames"], line["steps"]) for line in resume(path)}
    for setting, lengths in (("overlap 4, anchors 2", LENGTHS), ("all at once", AT_ONCE)):
        for frames in lengths:
            if (setting, frames, steps) in done:
                continue
            line = json.loads(in_a_process(__spec__.name, "--one", setting, "--frames", frames, "--steps", steps))
            add_line(path, {**facts("cpu"), "steps": steps, **line})
            print(line, file=sys.stderr, flush=True)


def one(setting: str, frames: int, steps: int) -> None:
    """Print what one edit takes: resident memory before (model loaded, clip drawn) and at its peak, and seconds."""
    model, task = load_model(), long_task(0, frames)
    before = peak_resident()
    figures, _ = run(model, task, setting, steps)
    line = {"setting": setting, "frames": frames, "before": before, "peak": peak_resident(), **figures["seconds"]}
    print(json.dumps(line))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=256, help="of every clip; --memory has lengths of its own")
    parser.add_argument("--steps", type=int, default=16, help="of the inversion and of the edit")
    parser.add_argument("--clips", type=int, default=3, help="seeds 0, 1, ...")
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=MEASURED, help="what is compared")
    parser.add_argument("--work", type=Path, default=Path("runs/long_clips"), help="folder of what is measured")
    parser.add_argument("--out", type=Path, default=Path("out/long_clips"), help="the page, without its suffix")
    parser.add_argument("--memory", action="store_true", help="measure memory and time, a process for each length")
    parser.add_argument("--page", action="store_true", help="write the page from what is measured")
    parser.add_argument("--one", choices=SETTINGS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.one:
        one(args.one, args.frames, args.steps)
        return
    args.work.mkdir(parents=True, exist_ok=True)
    if args.memory:
        memory(args.work, args.steps)
    elif args.page:
        print(page_of(args.work, args.out))
    else:
        measure(args.work, args.frames, args.steps, range(args.clips), args.settings)


if __name__ == "__main__":
    main()
