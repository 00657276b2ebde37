"""What the row range's options and the space-time modes do to an edit: the embedded world, paired over the same clips.

    python -m videograin.lab.studies.edit_options --clips 10 --out docs/benchmarks/edit_options
    python -m videograin.lab.studies.edit_options --clips 0 --out docs/benchmarks/edit_options

Every clip (8 frames, 128 px, two alike objects that become two different ones) is inverted once per space-time mode and
edited with every variant; the world's reader judges the frames, and each edit is compared with that of the exact range
in mode `full`. "exact x 1.0001" is the control: a change of the range far too small to mean anything shows how far two
edits drift apart for no reason. WORK/lines.jsonl gets one line a clip and variant; what stands there is not done again.
The error of the range itself is taken in the exact run, where all rules are asked about the same queries and keys.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...attention import RangeRule, row_range
from ...editing.pipeline import EditResult, decode_clip, edit_clip, invert_clip
from ...editing.settings import AttentionSettings, SamplingSettings
from ...hosts.diffusers import load_model
from ...measuring.metrics import pixels
from ...runner.demo import GUIDANCE
from ...world.demo_task import DemoTask, make_task
from ..demo_edits import read, regions_of
from ..json_lines import add_line, resume
from ..pages import write_page
from .clock import Clock, facts
from .edit_options_page import CONTROL, EXACT, FRAMES, SIZE, page, plot, range_errors, summary

STEPS = 20
REUSE, SAMPLED = (2, 3, 5, 15), (4, 8, 16)
OTHER_MODES = ("full_coarse", "key_frames", "sparse_causal", "per_frame")


@dataclass(frozen=True)
class Watching(RangeRule):
    """The exact range, times a factor; `look` is shown the queries, the keys and the range of every call."""

    factor: float = 1.0
    look: Callable[[Tensor, Tensor, Tensor], None] | None = None

    @property
    def exact(self) -> bool:
        return False  # so that `measure` is asked

    def measure(self, q: Tensor, k: Tensor) -> Tensor:
        spread = row_range(q, k)
        if self.look is not None:
            self.look(q, k, spread)
        return spread * self.factor


class WithRule:
    """A model whose edits take the row range by this rule; everything else is the model's own."""

    def __init__(self, model: Any, rule: RangeRule):
        self._model, self._rule = model, rule

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def denoiser(self, *args: Any, modulation: Any = None, **options: Any) -> Any:
        if modulation is not None:
            modulation = replace(modulation, range_rule=self._rule)
        return self._model.denoiser(*args, modulation=modulation, **options)


@dataclass(frozen=True)
class Variant:
    """name: in the table. mode: of space-time attention. rule: of the row range."""

    name: str
    mode: str
    rule: RangeRule


VARIANTS = (
    Variant(EXACT, "full", RangeRule()),
    Variant(CONTROL, "full", Watching("sampled", factor=1.0001)),
    *(Variant(f"full, reuse {n}", "full", RangeRule("reuse", steps=n)) for n in REUSE),
    *(Variant(f"full, sampled {n}", "full", RangeRule("sampled", every=n)) for n in SAMPLED),
    *(Variant(f"{mode}, exact", mode, RangeRule()) for mode in OTHER_MODES),
)


class RangeErrors:
    """Collects, in an exact run, the ranges of every modulated call and what the sampled rules would have said.

    Calls of a noise level come in the same order at every level.
    """

    def __init__(self):
        self.ranges: list[Tensor] = []
        self.sampled: dict[int, list[Tensor]] = {every: [] for every in SAMPLED}

    def look(self, q: Tensor, k: Tensor, spread: Tensor) -> None:
        self.ranges.append(spread)
        for every, errors in self.sampled.items():
            found = RangeRule("sampled", every=every).measure(q, k)
            errors.append((found / spread - 1).abs().flatten())

    def result(self, levels: int) -> dict[str, list[float]]:
        """{variant: [median, 99th percentile] of the relative error over all rows of all levels}; a level at which
        "reuse" measures has none."""
        layers = len(self.ranges) // levels
        out = {f"full, sampled {every}": _quantiles(errors) for every, errors in self.sampled.items()}
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

            def edit(rule: RangeRule, clock: Clock, made=made, regions=regions, options=(sampling, attention)):
                common = {"sampling": options[0], "attention": options[1], "progress": clock}
                return edit_clip(WithRule(model, rule), task.clip.frames, made, task.prompt, regions, **common)

            result = edit(variant.rule, clock)
            if variant.name == EXACT:
                np.save(kept, result.decoded)
            line = {"seed": seed, "variant": variant.name, **judge(task, result, vae, np.load(kept))}
            line["step"] = statistics.fmean(clock.steps("edit")[: result.modulated_steps])
            line["edit"] = clock.total("edit")
            if variant.name == EXACT:
                errors = RangeErrors()
                edit(Watching("sampled", look=errors.look), Clock())
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
