"""Edits of things that bend, held steady along several motions and not: the embedded model on rendered clips.

    python -m videograin.lab.studies.bent_edits --clips 6 --out docs/benchmarks/bent_edits  # goes on where it stopped

Every thing gets another colour and keeps its shape; outlines are exact, and things keep apart or cross in turn. One
JSON line a clip and system in WORK/bent_edits.jsonl, with the benchmark's figures (lab/bench/judge.py); then OUT.json
and OUT.md. With --pictures, the frames of every edit as PNG in that folder.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from ...editing.model import Model
from ...editing.motion.clip_motion import clip_motion
from ...editing.motion.value import Motion
from ...editing.pipeline import edit_clip, invert_clip
from ...editing.presets import GUIDANCE
from ...editing.regions import Region
from ...editing.settings import SamplingSettings, SteadySettings
from ...hosts.diffusers import load_model
from ...world.bent_clips import bent_clip
from ...world.vocabulary import COLOURS
from ..bench.judge import Judge
from ..bench.steadiness import exact_motion
from ..bench.tasks import ClipSpec, EditRegion, EditTask
from ..json_lines import add_line, resume
from ..pages import cells, header, render, write_page
from .clock import facts

SIDE, FRAMES, FIRST_SEED = 128, 4, 90_000
SYSTEMS = ("plain", "similarity", "dense", "exact")  # not held steady; else along which motion
SHOWN = {"union": 1, "leak": 1, "flicker": 1, "warp": 1, "own": 1, "own_ideal": 1, "centre_jitter": 1, "ideal_psnr": 1}
KINDS = ("apart", "crossing")
OWN = 2.5  # times the ideal's own warp error, at most
COMMAND = "python -m videograin.lab.studies.bent_edits --clips {clips} --out docs/benchmarks/bent_edits"


def task_of(number: int) -> EditTask:
    """A clip of two things that bend, apart or crossing in turn, and the edit that gives each another colour."""
    motion = KINDS[number % 2]
    clip = bent_clip(FIRST_SEED + number, FRAMES, SIDE, objects=2, motion=motion, pan=0.15 * FRAMES / 8)
    things = zip(clip.scenes.colour[0].tolist(), clip.scenes.shape[0].tolist())
    ideal = clip.edited([((colour + 2) % len(COLOURS), shape) for colour, shape in things])
    regions = [EditRegion(text, masks, (k,)) for k, (text, masks) in enumerate(zip(ideal.phrases, clip.masks))]
    spec = ClipSpec("colour", 2, False, motion, 0.0, number, FIRST_SEED + number, "tuning")
    return EditTask(spec, number, clip, ideal, tuple(regions))


def motions(task: EditTask) -> dict[str, Motion]:
    """What each system is held to: "similarity" is the dense one without its sheets."""
    found = clip_motion(task.clip.frames, list(task.clip.masks))
    stiff = tuple(
        replace(one, form="similarity", bends=None) if one.bends is not None else one for one in found.regions
    )
    return {
        "similarity": replace(found, regions=stiff),
        "dense": found,
        "exact": exact_motion(task.clip.scenes, (SIDE, SIDE)),
    }


def measure(
    work: Path, clips: range, steps: int, pictures: Path | None = None, model: Model | None = None
) -> list[dict]:
    """A line for every clip and system that has none yet; all lines."""
    path = work / "bent_edits.jsonl"
    done = {(line["system"], line["number"], line["steps"]) for line in resume(path)}
    for number in clips:
        todo = [system for system in SYSTEMS if (system, number, steps) not in done]
        if not todo:
            continue
        model = model or load_model()
        task = task_of(number)
        known, judge = motions(task), Judge(task)
        forms = [one.form for one in known["dense"].regions]
        frames, regions = task.clip.frames, [Region(one.phrase, one.mask) for one in task.regions]
        trajectory = invert_clip(model, frames, task.source_prompt, steps=steps)
        edits = []
        for system in todo:
            done_edit = edit_clip(
                model,
                frames,
                trajectory,
                task.prompt,
                regions,
                sampling=SamplingSettings(steps=steps, guidance=GUIDANCE),
                steady=SteadySettings(enabled=system != "plain"),
                motion=known.get(system),
            )
            edits.append(done_edit.frames)
            figures = {k: None if math.isnan(v) else v for k, v in judge.measure(done_edit.frames).items()}
            line = {"system": system, "number": number, "steps": steps, "motion": task.spec.motion, "forms": forms}
            add_line(path, line | figures)
        if pictures is not None:
            rows = [np.concatenate(list(one), 1) for one in (frames, task.ideal.frames, *edits)]
            write_png(pictures / f"{number}.png", np.concatenate(rows))
    return resume(path)


def write_png(path: Path, picture: np.ndarray) -> None:
    """uint8 [H, W, 3]; the folder is made."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path)


def summary(lines: list[dict]) -> list[dict]:
    """Of every system the means over the clips, `ratio` the mean of own over the ideal's own, and how many clips are
    less right than plain."""
    plain = {line["number"]: line["union"] for line in lines if line["system"] == "plain"}
    rows = []
    for system in SYSTEMS:
        some = [line for line in lines if line["system"] == system]
        row = {"system": system, "clips": len(some)}
        for key in SHOWN:
            values = [line[key] for line in some if line.get(key) is not None]
            row[key] = round(float(np.mean(values)), 3) if values else None
        row["ratio"] = round(float(np.mean([line["own"] / line["own_ideal"] for line in some])), 2)
        for kind in KINDS:
            of_kind = [line for line in some if line["motion"] == kind]
            row[kind] = {
                "union": round(float(np.mean([line["union"] for line in of_kind])), 2),
                "ratio": round(float(np.mean([line["own"] / line["own_ideal"] for line in of_kind])), 2),
            }
        row["less_right"] = sum(line["union"] < plain[line["number"]] - 1e-9 for line in some)
        rows.append(row)
    return rows


def page(result: dict) -> str:
    rows = result["rows"]
    dense = next(row for row in rows if row["system"] == "dense")
    table = [header("held to", "clips", *SHOWN, "own / ideal's", "clips less right than plain")]
    for row in rows:
        figures = ["-" if row[key] is None else f"{row[key]:.3g}" for key in SHOWN]
        table.append(cells(row["system"], row["clips"], *figures, f"{row['ratio']:.2f}", row["less_right"]))
    told = (
        f"Targets for `dense`: own warp error at most {OWN} x the ideal's: {dense['ratio']:.2f}, "
        f"{'met' if dense['ratio'] <= OWN else '**missed**'}; all right never below plain: "
        f"{'met' if not dense['less_right'] else '**missed** in ' + str(dense['less_right']) + ' clip(s)'}."
    )
    by_kind = [f"{k}: {dense[k]['ratio']:.2f} x, all right {dense[k]['union']:.2f}" for k in KINDS]
    told += f" By kind ({'; '.join(by_kind)}), plain all right " + ", ".join(
        f"{rows[0][k]['union']:.2f}" for k in KINDS
    )
    told += "."
    return render("bent_edits", found=result["made"], table="\n".join(table), told=told, **result)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=6, help="numbers 0, 1, ...")
    parser.add_argument("--steps", type=int, default=16, help="of the inversion and of the edit")
    parser.add_argument("--out", type=Path, default=Path("bent_edits"))
    parser.add_argument("--work", type=Path, default=Path("runs/bent_edits"), help="folder of what is measured")
    parser.add_argument("--pictures", type=Path, help="folder of the frames as PNG: source, ideal, every system")
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.work.mkdir(parents=True, exist_ok=True)
    lines = measure(args.work, range(args.clips), args.steps, args.pictures)
    made = {**facts("cpu"), "command": COMMAND.format(clips=args.clips)}
    forms = [form for line in lines if line["system"] == "dense" for form in line["forms"]]
    facts_of = {"clips": args.clips, "steps": args.steps, "dense": forms.count("dense"), "regions": len(forms)}
    result = {"made": made, **facts_of, "rows": summary(lines), "lines": lines}
    write_page(args.out, result, page(result))


if __name__ == "__main__":
    main()
