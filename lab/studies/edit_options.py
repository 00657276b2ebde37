"""What reused logit ranges and the space-time modes do to an edit: the embedded world, paired over the same clips.

    python -m videograin.lab.studies.edit_options --clips 10 --out docs/benchmarks/edit_options
    python -m videograin.lab.studies.edit_options --clips 0 --out docs/benchmarks/edit_options

Every clip (8 frames, 128 px, two alike objects that become two different ones) is inverted once per space-time mode and
edited with every variant; the world's reader judges the frames, and each edit is compared with that of the exact range
in mode `full`. "exact x 1.0001" is the control: a change of the range far too small to mean anything shows how far two
edits drift apart for no reason. WORK/lines.jsonl gets one line a clip and variant; what stands there is not done again.
The error of the range itself is taken in the exact run, where the range of every level is known.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...attention import RangeMemory, logit_range
from ...editing.pipeline import EditResult, decode_clip, edit_clip, invert_clip
from ...editing.presets import GUIDANCE
from ...editing.settings import AttentionSettings, SamplingSettings
from ...hosts.diffusers import load_model
from ...measuring.metrics import pixels
from ...world.demo_task import DemoTask, make_task
from ..demo_edits import read, regions_of
from ..json_lines import add_line, resume
from ..pages import write_page
from .clock import Clock, facts
from .edit_options_page import CONTROL, EXACT, FRAMES, SIZE, page, plot, range_errors, summary

STEPS = 20
REUSE = (2, 3, 5, 15)
OTHER_MODES = ("full_coarse", "key_frames", "sparse_causal", "per_frame")


class Watching(RangeMemory):
    """Keeps nothing: the exact range of every call, times a factor; `look` is shown it."""

    def __init__(self, factor: float = 1.0, look: Callable[[Tensor], None] | None = None):
        super().__init__()
        self.factor, self.look = factor, look

    def find(self, steps: int, place: Hashable, t: float, q: Tensor, k: Tensor) -> Tensor:
        found = logit_range(q, k)
        if self.look is not None:
            self.look(found)
        return found * self.factor


class WithRanges:
    """A model whose edits keep ranges for so many noise levels, or in another memory; all else is the model's own."""

    def __init__(self, model: Any, steps: int, memory: RangeMemory | None):
        self._model, self._steps, self._memory = model, steps, memory

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def denoiser(self, *args: Any, modulation: Any = None, **options: Any) -> Any:
        if modulation is not None:
            modulation = replace(modulation, range_steps=self._steps)
        made = self._model.denoiser(*args, modulation=modulation, **options)
        if self._memory is not None:
            made._ranges = self._memory
        return made


@dataclass(frozen=True)
class Variant:
    """name: in the table. mode: of space-time attention. steps: noise levels that share a range. factor: on it."""

    name: str
    mode: str
    steps: int = 1
    factor: float | None = None


VARIANTS = (
    Variant(EXACT, "full"),
    Variant(CONTROL, "full", factor=1.0001),
    *(Variant(f"full, reuse {n}", "full", n) for n in REUSE),
    *(Variant(f"{mode}, exact", mode) for mode in OTHER_MODES),
)


def with_ranges(model: Any, variant: Variant) -> WithRanges:
    """The model as the variant has it."""
    # A memory is asked where more than one level may share a range.
    return WithRanges(model, *((variant.steps, None) if variant.factor is None else (2, Watching(variant.factor))))


class RangeErrors:
    """Collects, in an exact run, the ranges of every modulated call.

    Calls of a noise level come in the same order at every level.
    """

    def __init__(self):
        self.ranges: list[Tensor] = []

    def result(self, levels: int) -> dict[str, list[float]]:
        """{variant: [median, 99th percentile] of the relative error over all rows of all levels}; a level at which
        "reuse" measures has none."""
        layers, out = len(self.ranges) // levels, {}
        for steps in REUSE:
            errors = []
            for level in range(levels):
                for layer in range(layers):
                    true = self.ranges[level * layers + layer]
                    used = self.ranges[level // steps * steps * layers + layer]
                    errors.append((used / true - 1).abs().flatten())
            out[f"full, reuse {steps}"] = _quantiles(errors)
        return out


def _quantiles(errors: list[Tensor]) -> list[float]:
    values = np.sort(torch.cat(errors).numpy())
    return [float(values[int(share * (len(values) - 1))]) for share in (0.5, 0.99)]


def run_clip(model: Any, seed: int, variants: list[Variant], work: Path, steps: int) -> list[dict]:
    """All `variants` of one clip that are not done yet, as lines."""
    task, lines = make_task(seed, FRAMES, SIZE), []
    kept = work / f"exact_{seed}.npy"
    for mode in dict.fromkeys(v.mode for v in variants):
        attention, sampling = AttentionSettings(mode=mode), SamplingSettings(steps=steps, guidance=GUIDANCE)
        made = invert_clip(model, task.clip.frames, task.clip.caption, steps=steps, attention=attention)
        vae = decode_clip(model, made.clean)
        for variant in (v for v in variants if v.mode == mode):
            clock, regions = Clock(), regions_of(task)

            def edit(model: Any, clock: Clock, made=made, regions=regions, options=(sampling, attention)):
                common = {"sampling": options[0], "attention": options[1], "progress": clock}
                return edit_clip(model, task.clip.frames, made, task.prompt, regions, **common)

            result = edit(with_ranges(model, variant), clock)
            if variant.name == EXACT:
                np.save(kept, result.decoded)
            line = {"seed": seed, "variant": variant.name, **judge(task, result, vae, np.load(kept))}
            line["step"] = statistics.fmean(clock.steps("edit")[: result.modulated_steps])
            line["edit"] = clock.total("edit")
            if variant.name == EXACT:
                errors = RangeErrors()
                edit(WithRanges(model, 2, Watching(look=errors.ranges.append)), Clock())
                line["errors"], line["levels"] = errors.result(result.modulated_steps), result.modulated_steps
            lines.append(line)
            add_line(work / "lines.jsonl", line)
            print(line, file=sys.stderr, flush=True)
    return lines


def judge(task: DemoTask, result: EditResult, vae: np.ndarray, exact: np.ndarray) -> dict[str, float | None]:
    """The figures of one edit; `same`: PSNR to the edit with the exact range, within the regions, None = equal."""
    right = read(task, result.frames)
    same = pixels.psnr(result.decoded, exact, result.area.numpy() > 0.5)
    return {
        "colour": right.colour,
        "object": right.object,
        "leak": right.leak,
        "background": pixels.psnr_outside_blend(result.decoded, vae, result.blend_mask),
        "same": None if math.isinf(same) else same,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=10, help="how many; 0: only the page of what is there")
    parser.add_argument("--first", type=int, default=0, help="seed of the first clip")
    parser.add_argument("--steps", type=int, default=STEPS, help="of the inversion and of the edit")
    parser.add_argument("--work", type=Path, default=Path("runs/edit_options"), help="folder of what is measured")
    parser.add_argument("--out", type=Path, default=Path("out/edit_options"), help="the page, without its suffix")
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.work.mkdir(parents=True, exist_ok=True)
    path = args.work / "lines.jsonl"
    lines = resume(path)
    done = {(line["seed"], line["variant"]) for line in lines}
    model = load_model() if args.clips else None
    for seed in range(args.first, args.first + args.clips):
        missing = [v for v in VARIANTS if (seed, v.name) not in done]
        if missing:
            lines += run_clip(model, seed, missing, args.work, args.steps)
        write(lines, args)
    write(lines, args)


def write(lines: list[dict], args: argparse.Namespace) -> None:
    """The JSON, the page and the picture of what is there so far."""
    if not lines:
        return
    result = summary(lines)
    steps = "" if args.steps == STEPS else f" --steps {args.steps}"
    found = {
        **facts("cpu"),
        "command": f"python -m videograin.lab.studies.edit_options --clips {result[EXACT]['clips']}{steps} "
        f"--out {args.out}",
        "name": args.out.name,
        "steps": args.steps,
        "levels": next(line["levels"] for line in lines if "levels" in line),
        "variants": result,
        "errors": range_errors(lines),
    }
    write_page(args.out, found, page(found), plot)


if __name__ == "__main__":
    main()
