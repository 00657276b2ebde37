"""`videograin demo`: two alike moving objects become two different things, with and without regions, and the figures.

A clip of the rendered world is written to mp4 and read back like anybody's video, inverted, and edited twice from the
same inversion: by the global prompt alone (the baseline) and with regions. The world's reader judges both from pixels.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..editing.composite import composite_support
from ..editing.model import Model
from ..editing.pipeline import EditResult, edit_clip, invert_clip
from ..editing.presets import PRESETS, model_settings
from ..editing.regions import Region
from ..editing.result_set import whole_set
from ..editing.settings import EditSettings
from ..editing.whole_file import save_png, whole_file
from ..editing.windows import Windows
from ..measuring.metrics import pixels
from ..measuring.metrics.pixels import MARGIN
from ..measuring.pictures import sheets
from ..measuring.round_trip import RoundTrip, measure_round_trip
from ..world.demo_task import FPS, DemoTask, make_task
from ..world.score import Score, pooled, score
from ..world.vocabulary import BACKGROUND_NAMES
from .media.encode import write_video
from .media.video import read_clip
from .preflight import check_results
from .progress import ConsoleProgress
from .report import build_report, write_report

FILES = ("edit.mp4", "baseline.mp4", "side_by_side.mp4", "sheet.png", "demo.gif")  # of `_write`


@dataclass(frozen=True)
class Outcome:
    """One clip edited both ways, all frames uint8 [F, H, W, 3]. outside_db, outside_db_baseline: PSNR against the VAE
    round trip outside the blend mask dilated by 16 pixels, before the composite; identical: whether the finished edit
    equals the source outside the composite, bit for bit."""

    task: DemoTask
    source: np.ndarray
    trip: RoundTrip
    baseline: EditResult
    regions: EditResult
    score_baseline: list[Score]
    score_regions: list[Score]
    outside_db: float
    outside_db_baseline: float
    identical: bool


def run_clip(
    model: Model,
    task: DemoTask,
    source: np.ndarray,
    settings: EditSettings,
    progress: ConsoleProgress,
    windows: Windows | None = None,
) -> Outcome:
    """Invert once, edit twice, judge."""
    same = {"attention": settings.attention, "windows": windows, "progress": progress}
    how = {"steps": settings.sampling.steps, "inversion": settings.inversion}
    trajectory = invert_clip(model, source, task.clip.caption, **how, **same)
    trip = measure_round_trip(model, trajectory, **same)
    parts = ("sampling", "blend", "composite", "steady")
    common = {**{name: getattr(settings, name) for name in parts}, **same}
    with progress.part("global prompt alone"):
        baseline = edit_clip(model, source, trajectory, task.prompt, **common)
    regions = [Region(text, mask) for text, mask in zip(task.phrases, task.masks)]
    with progress.part("with regions"):
        edited = edit_clip(model, source, trajectory, task.prompt, regions, **common)
    masks = (task.masks > 0.5).numpy()
    area = edited.area.numpy()
    support = composite_support(area, dilate=settings.composite.dilate, feather=settings.composite.feather)
    return Outcome(
        task,
        source,
        trip,
        baseline,
        edited,
        score(baseline.frames, masks, task.objects),
        score(edited.frames, masks, task.objects),
        pixels.psnr_outside_blend(edited.decoded, trip.vae, edited.blend_mask),
        pixels.psnr_outside_blend(baseline.decoded, trip.vae, edited.blend_mask),
        pixels.equal_outside(edited.frames, source, support),
    )


def demo_settings(preset: str | None, steps: int | None, mode: str | None) -> EditSettings:
    """The demo's settings: those of the preset, or those that suit the embedded model, with what else was asked for."""
    found = model_settings(True) if preset is None else PRESETS[preset].settings(True)
    sampling = replace(found.sampling, steps=steps or found.sampling.steps)
    return replace(found, sampling=sampling, attention=replace(found.attention, mode=mode or found.attention.mode))


def table(outcomes: Sequence[Outcome]) -> str:
    """The figures as text: per region of the first clip, then over all clips if there are several."""
    first = outcomes[0]
    lines = [f"{'':<34}{'global prompt alone':>26}{'with regions':>26}"]
    lines.append(f"{'':<34}{'colour  object   leak':>26}{'colour  object   leak':>26}")

    def row(name: str, scores: Sequence[Score]) -> str:
        return f"{name:<34}" + "".join(f"{s.colour:>12.0%}{s.object:>7.0%}{s.leak:>7.0%}" for s in scores)

    for k, text in enumerate(first.task.phrases):
        lines.append(row(f"{k + 1} -> {text}", [first.score_baseline[k], first.score_regions[k]]))
    if len(outcomes) > 1:
        both = [pooled([s for o in outcomes for s in getattr(o, name)]) for name in ("score_baseline", "score_regions")]
        lines.append(row(f"all {len(outcomes)} clips ({both[0].count} judged)", both))
    outside = [f"{min(getattr(o, n) for o in outcomes):.1f} dB" for n in ("outside_db_baseline", "outside_db")]
    kept = "identical" if all(o.identical for o in outcomes) else "CHANGED"
    lines += [
        f"{f'outside the blend mask + {MARGIN} px':<34}{outside[0]:>26}{outside[1]:>26}",
        f"{'outside the composite':<34}{'':>26}{kept:>26}",
        f"round trip without an edit: {min(o.trip.psnr for o in outcomes):.1f} dB, std of the noise "
        f"{min(o.trip.noise_std for o in outcomes):.3f} to {max(o.trip.noise_std for o in outcomes):.3f}. "
        "Decibels: against the VAE round trip, lowest of the clips; identical: to the source, bit for bit.",
    ]
    return "\n".join(lines)


def edit_file(task: DemoTask, settings: EditSettings, preset: str | None, windows: Windows | None = None) -> str:
    """The same edit as a file for `videograin edit`. preset: the one that the settings come from."""
    attention = settings.attention
    lines = [
        "# The demo's edit, for `videograin edit`. Boxes are [x0, y0, x1, y1] in pixels of the source, one per frame.",
        "video: source.mp4",
        f"source_prompt: {task.clip.caption}",
        f"prompt: {task.prompt}",
        "regions:",
    ]
    for text, boxes in zip(task.phrases, task.clip.boxes().tolist()):
        lines += [f"  - phrase: {text}", "    masks:", "      boxes:"]
        lines += [f"        - [{', '.join(f'{v:.1f}' for v in box)}]" for box in boxes]
    how = f"{{mode: {attention.mode}, power: {attention.power:g}, end: {attention.end:g}}}"
    lines += [] if preset is None else [f"preset: {preset}"]
    lines += [f"steps: {settings.sampling.steps}", f"guidance: {settings.sampling.guidance}", f"attention: {how}"]
    if windows is not None:
        lines.append(f"windows: {{frames: {windows.frames}, overlap: {windows.overlap}, anchors: {windows.anchors}}}")
    return "\n".join([*lines, "output: replayed", ""])


def moving_picture(path: Path, columns: Sequence[tuple[str, np.ndarray]], side: int = 224) -> None:
    """Clips beside each other with a title each, as an endless GIF that swings forth and back."""
    from PIL import Image, ImageDraw

    font = sheets.font(16)
    pictures = []
    count = len(columns[0][1])
    for index in [*range(count), *range(count - 2, 0, -1)]:
        picture = Image.new("RGB", (len(columns) * (side + 8) - 8, side + 26), "white")
        ink = ImageDraw.Draw(picture)
        for place, (title, frames) in enumerate(columns):
            x = place * (side + 8)
            ink.text((x + side // 2, 12), title, "black", font, anchor="mm")
            picture.paste(Image.fromarray(frames[index]).resize((side, side), Image.Resampling.BICUBIC), (x, 26))
        pictures.append(picture)
    options = {"save_all": True, "append_images": pictures[1:], "duration": int(1000 / FPS), "loop": 0}
    with whole_file(path) as temporary:
        pictures[0].save(temporary, format="GIF", optimize=True, **options)


def main(args: argparse.Namespace) -> int:
    """The command. args: out, frames, size, seed, steps, clips, motion, attention, windows, preset, quiet; None where
    the preset decides."""
    from ..hosts.diffusers import load_model

    if args.size % 8:
        raise ValueError(f"--size is {args.size}; expected a multiple of 8 (one latent cell); use e.g. 128")
    out = Path(args.out)
    results = [*FILES, "edit.yaml", "report.json"]
    sources = ["source.mp4", *(f"source_{seed}.mp4" for seed in range(args.seed + 1, args.seed + args.clips))]
    check_results(out, [*results, *sources], "--out")
    progress = ConsoleProgress(quiet=args.quiet)
    with progress.stage("load model"):
        model = load_model()
    settings = demo_settings(args.preset, args.steps, args.attention)
    windows = None if args.windows is None else Windows(frames=args.windows)
    outcomes = []
    with whole_set(out, "report.json") as new:
        for seed, name in enumerate(sources, args.seed):
            task = make_task(seed, args.frames, args.size, args.motion)
            write_video(new / name, task.clip.frames, FPS)
            clip = read_clip(new / name)
            progress.say(f"{task.clip.caption}  ->  {task.prompt}")
            outcomes.append(run_clip(model, task, clip.frames, settings, progress, windows))
        _write(new, outcomes[0], edit_file(outcomes[0].task, settings, args.preset, windows), progress)
        shown = table(outcomes)
        whole = [pooled([s for o in outcomes for s in getattr(o, n)]) for n in ("score_baseline", "score_regions")]
        report = build_report(
            command=f"videograin demo --seed {args.seed} --frames {args.frames} --size {args.size} "
            f"--steps {settings.sampling.steps} --clips {args.clips} --motion {args.motion} "
            f"--attention {settings.attention.mode}"
            + ("" if windows is None else f" --windows {args.windows}")
            + ("" if args.preset is None else f" --preset {args.preset}"),
            settings={
                "sampling": settings.sampling,
                "attention": settings.attention,
                "windows": windows,
            }
            | ({} if args.preset is None else {"preset": args.preset}),
            seed=args.seed,
            table=shown.split("\n"),
            model={"family": model.family, "fingerprint": model.fingerprint},
            figures={
                "baseline": whole[0],
                "regions": whole[1],
                "clips": [_facts(o) for o in outcomes],
            },
            seconds=progress.timer.seconds,
            device=model.device,
        )
        write_report(new / "report.json", report)
    print(shown)
    print("seconds: " + ", ".join(f"{name} {value:.1f}" for name, value in progress.timer.seconds.items()))
    for name in results:
        print(out / name)
    return 0


def _facts(outcome: Outcome) -> dict[str, Any]:
    return {
        "source_prompt": outcome.task.clip.caption,
        "prompt": outcome.task.prompt,
        "background": BACKGROUND_NAMES[int(outcome.task.clip.scenes.background[0])],
        "baseline": outcome.score_baseline,
        "regions": outcome.score_regions,
        "round_trip_psnr_db": outcome.trip.psnr,
        "noise_std": outcome.trip.noise_std,
        f"outside_blend_{MARGIN}px_psnr_db": outcome.outside_db,
        f"outside_blend_{MARGIN}px_psnr_db_baseline": outcome.outside_db_baseline,
        "outside_composite_identical": outcome.identical,
    }


def _write(out: Path, first: Outcome, edit_text: str, progress: ConsoleProgress) -> None:
    source, baseline, edited = first.source, first.baseline.frames, first.regions.frames
    files = [out / name for name in FILES]
    with progress.stage("write"):
        write_video(files[0], edited, FPS)
        write_video(files[1], baseline, FPS)
        write_video(files[2], sheets.side_by_side(source, baseline, edited), FPS)
        painted = sheets.paint_regions(source, list(first.task.masks.numpy()))
        rows = [("source", source), ("global prompt alone", baseline), ("regions", painted), ("with regions", edited)]
        legend = [f"{k}  {text}" for k, text in enumerate(first.task.phrases, 1)]
        save_png(files[3], sheets.contact_sheet(rows, legend, title=first.task.prompt))
        moving_picture(files[4], [("source", source), ("global prompt alone", baseline), ("with regions", edited)])
        with whole_file(out / "edit.yaml") as temporary:
            temporary.write_text(edit_text, encoding="utf-8")
