"""Where the time and the memory of a whole edit go, by frames: the embedded model at 128 px on a CPU.

    python -m videograin.lab.studies.whole_edit --out docs/benchmarks/whole_edit  # some 15 minutes on one core
    python -m videograin.lab.studies.whole_edit --out docs/benchmarks/whole_edit --page

Each cell (mode, frames) is a process of its own: encode, inversion, edit with two regions, decode and composite by the
runner's own functions, on a clip of the rendered world. Times are seconds of the process with one thread. Memory is the
highest resident size, of each stage and of all, beyond that of a process that has only loaded the model and read the
clip's prompt. Then one call of the UNet is looked into for the share that attention takes of it.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import exp, log
from pathlib import Path

import torch
from torch.overrides import TorchFunctionMode

from ...attention import normalise_mask
from ...editing.composite import composite
from ...editing.pipeline import edit_clip, encode_clip, invert_clip
from ...editing.region_modulation import build_modulation
from ...editing.regions import Region
from ...editing.settings import AttentionSettings, CompositeSettings, SamplingSettings
from ...hosts.diffusers import load_model
from ...hosts.diffusers.model import DiffusersModel
from ...world.demo_task import Task, make_task
from .clock import MIB, Clock, facts, head, peak_resident, restart_peak

FRAMES, SIZE = (8, 16, 32, 64), 128
MODES = ("full", "full_coarse", "per_frame")
STEPS, MODULATED = 6, 0.5  # steps of a cell, and the part of them that is modulated
GUIDANCE = 5.0
WHOLE = {"inversion": 51, "modulated": 15, "plain": 35}  # UNet calls of the paper's 50 + 50 steps, 30 % modulated
STAGES = ("encode", "inversion step", "modulated step", "plain step", "decode", "composite")
PARTS = ("encode", "invert", "edit", "decode", "composite")  # whose memory is read
TARGET = 2.1
LAYER = 1.6  # a modulated layer / a plain one, the range measured in the call (attention_cpu.md)
OURS = {"attention": ("scaled_dot_product_attention",), "range": ("bmm", "amax", "amin", "maximum", "minimum")}
TEXT = 77  # keys of cross-attention, which is linear in the frames


class Stages(Clock):
    """Also notes the highest resident size of every stage. peaks: {stage: bytes}; peak: of all, and between them."""

    def __init__(self):
        super().__init__()
        self.peaks: dict[str, int] = {}
        self._peak = 0

    @property
    def peak(self) -> int:
        self._peak = max(self._peak, peak_resident())
        return self._peak

    @contextmanager
    def stage(self, name: str, total: int | None = None) -> Iterator[Callable[..., None]]:
        before = self.peak  # noted before it begins anew
        restart_peak()
        with super().stage(name, total) as tick:
            yield tick
        self.peaks[name] = peak_resident()
        self._peak = max(before, self.peaks[name])


def cell(mode: str, frames: int) -> dict:
    """One edit in this process: seconds of every stage, bytes at its highest point, shares of the profile."""
    if mode == "loaded":
        model, task = load_model(), make_task(0, 1, SIZE)
        model.encode_prompt(task.clip.caption)
        return {"peak": peak_resident()}
    model, task, clock = load_model(), make_task(0, frames, SIZE), Stages()
    attention = AttentionSettings(mode=mode, end=MODULATED)
    source = task.clip.frames
    latents = encode_clip(model, source, progress=clock)
    common = {"attention": attention, "progress": clock}
    made = invert_clip(model, source, task.clip.caption, steps=STEPS, latents=latents, **common)
    regions = [Region(text, mask) for text, mask in zip(task.phrases, task.masks)]
    sampling = SamplingSettings(steps=STEPS, guidance=GUIDANCE)
    result = edit_clip(
        model,
        source,
        made,
        task.prompt,
        regions,
        sampling=sampling,
        composite=CompositeSettings(enabled=False),
        **common,
    )
    with clock.stage("composite"):
        composite(source, result.decoded, result.area)
    steps, active = clock.steps("edit"), result.modulated_steps
    seconds = {
        "encode": clock.total("encode"),
        "inversion step": statistics.median(clock.steps("invert")[1:]),  # the first one calls the UNet twice
        "modulated step": statistics.median(steps[:active]),
        "plain step": statistics.median(steps[active:]),
        "decode": clock.total("decode"),
        "composite": clock.total("composite"),
    }
    held = {"peak": clock.peak, "peaks": {name: clock.peaks[name] for name in PARTS}}
    return {"mode": mode, "frames": frames, "seconds": seconds, **held, "shares": profile(model, task, attention)}


class Spent(TorchFunctionMode):
    """Seconds of the process in the functions of `OURS`, cross-attention's left out. Not torch.profiler, which counts
    the wall's time and with it whatever else the machine does."""

    def __init__(self):
        super().__init__()
        self.seconds = dict.fromkeys(OURS, 0.0)

    def __torch_function__(self, function, types, args=(), kwargs=None):
        begin = time.process_time()
        out = function(*args, **(kwargs or {}))
        took = time.process_time() - begin
        tensors = [x for x in args if isinstance(x, torch.Tensor)]
        for kind, names in OURS.items():
            if getattr(function, "__name__", "") in names and not any(TEXT in x.shape for x in tensors):
                self.seconds[kind] += took
        return out


@torch.no_grad()
def profile(model: DiffusersModel, task: Task, attention: AttentionSettings) -> dict[str, dict[str, float]]:
    """What share of one guided UNet call space-time attention and the row range take, modulated and plain."""
    prompt, _, labels = model.encode_regions(task.prompt, task.phrases)
    frames = len(task.clip.frames)
    masks = [normalise_mask(mask, frames, "region") for mask in task.masks]
    regions = build_modulation(masks, labels, attention, [1.0] * len(masks))
    x, sigma = torch.randn(frames, 4, SIZE // 8, SIZE // 8), float(model.sigmas(STEPS)[0])
    shares = {}
    for name, modulation in (("modulated", regions), ("plain", None)):
        denoiser = model.denoiser(
            prompt,
            frames=frames,
            negative=model.encode_prompt(""),
            guidance=GUIDANCE,
            spacetime=attention.mode,
            modulation=modulation,
        )
        with denoiser as denoise, Spent() as spent:
            begin = time.process_time()
            denoise(x * (sigma**2 + 1) ** 0.5, sigma)
            whole = time.process_time() - begin
        shares[name] = {kind: seconds / whole for kind, seconds in spent.seconds.items()}
        shares[name]["rest"] = 1 - sum(shares[name].values())
    return shares


def run_cell(mode: str, frames: int) -> dict:
    """`cell` in a process of its own."""
    command = [sys.executable, "-m", __spec__.name, "--cell", mode, str(frames)]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)


def whole_edit(seconds: dict[str, float]) -> float:
    """Seconds of an edit with the paper's steps, estimated from the steps."""
    once = seconds["encode"] + seconds["decode"] + seconds["composite"]
    return once + sum(calls * seconds[f"{kind} step"] for kind, calls in WHOLE.items())


def half_way(cells: list[dict], kind: str) -> float | None:
    """The frames at which attention and row range together take half of a UNet call: between two measured sizes, where
    their share passes 0.5 on a straight line over log frames; None where it does not."""
    points = [(log(c["frames"]), 1 - c["shares"][kind]["rest"]) for c in cells]
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        if y0 < 0.5 <= y1:
            return exp(x0 + (0.5 - y0) / (y1 - y0) * (x1 - x0))
    return None


def growth(cells: list[dict], loaded: int, low: int = 8, high: int = 32) -> list[float]:
    """How memory beyond the loaded model grows with each doubling of the frames from `low` to `high`."""
    held = {c["frames"]: c["peak"] - loaded for c in cells}
    return [held[n * 2] / held[n] for n in held if n >= low and n * 2 <= high and n * 2 in held]


def page(found: dict) -> str:
    """The Markdown page."""
    modes = list(dict.fromkeys(c["mode"] for c in found["cells"]))
    of = {mode: [c for c in found["cells"] if c["mode"] == mode] for mode in modes}
    lines = [
        *head("A whole edit, by frames", found),
        f"The embedded model, {SIZE} x {SIZE} pixels, two regions, guidance {GUIDANCE:g}, row range: exact. "
        f"{STEPS} + {STEPS} steps a cell, half of the edit's modulated; a step's figure is the median of its kind. "
        "Seconds of the process, one thread. An edit step is one UNet call on both halves, an inversion step on one.",
        "",
        "| mode | frames | "
        + " | ".join(f"{name}, s" for name in STAGES)
        + " | 50 + 50 steps, s (estimated from the steps) |",
        "|---" * (len(STAGES) + 3) + "|",
    ]
    for c in found["cells"]:
        cells = " | ".join(f"{c['seconds'][name]:.2f}" for name in STAGES)
        lines.append(f"| {c['mode']} | {c['frames']} | {cells} | {whole_edit(c['seconds']):.0f} |")
    lines += ["", *told_of_time(of, found.get("note", "")), "", "![seconds of a step, and memory](whole_edit.png)"]
    lines += [
        "",
        "## Memory",
        "",
        f"Highest resident size beyond a process that only loaded the model ({found['loaded'] / MIB:.0f} MiB), MiB, "
        "and how it grows with each doubling of the frames.",
        "",
        "| mode | " + " | ".join(f"{c['frames']} frames" for c in of[modes[0]]) + " | growth, 8 to 32 frames "
        f"| target: <= {TARGET} | 32 to 64 |",
        "|---" * (len(of[modes[0]]) + 4) + "|",
    ]
    for mode in modes:
        held = " | ".join(f"{(c['peak'] - found['loaded']) / MIB:.0f}" for c in of[mode])
        grown = growth(of[mode], found["loaded"])
        verdict = "met" if grown and max(grown) <= TARGET else "MISSED" if grown else "-"
        shown, beyond = (
            ", ".join(f"{g:.2f} x" for g in some) or "-" for some in (grown, growth(of[mode], found["loaded"], 32, 64))
        )
        lines.append(f"| {mode} | {held} | {shown} | {verdict} | {beyond} |")
    lines += ["", *told_of_memory(of, found["loaded"]), *stage_table(found)]
    lines += [
        "",
        "## Where the quadratic part begins",
        "",
        "Share of one guided UNet call that space-time attention itself takes, and with it the row range of a "
        "modulated call (time of the process in those functions, one call).",
        "",
        "| mode | frames | plain: attention | modulated: attention | modulated: row range |",
        "|---|---|---|---|---|",
    ]
    for c in found["cells"]:
        plain, modulated = c["shares"]["plain"], c["shares"]["modulated"]
        lines.append(
            f"| {c['mode']} | {c['frames']} | {plain['attention']:.0%} | {modulated['attention']:.0%} "
            f"| {modulated['range']:.0%} |"
        )
    lines.append("")
    for mode in modes:
        where = {kind: half_way(of[mode], kind) for kind in ("plain", "modulated")}
        told = ", ".join(
            f"{kind} calls from about {frames:.0f} frames (N = {frames * (SIZE // 8) ** 2:,.0f} tokens)"
            if frames
            else f"{kind} calls at none of these sizes"
            for kind, frames in where.items()
        )
        lines.append(f"- `{mode}`: half of the time is attention's in {told}.")
    return "\n".join(lines) + "\n"


def span(values: list[float]) -> str:
    """The least and the greatest of values, one digit after the point."""
    low, high = (f"{pick(values):.1f}" for pick in (min, max))
    return low if low == high else f"{low} to {high}"


def told_of_time(of: dict[str, list[dict]], note: str) -> list[str]:
    """What a modulated step takes beside a plain one, in mode full. note: on the run, or empty."""
    ratios = [c["seconds"]["modulated step"] / c["seconds"]["plain step"] for c in of.get("full", [])]
    if not ratios:
        return []
    return [
        f"A modulated step of `full` took {span(ratios)} x a plain one, {ratios[-1]:.1f} x at "
        f"{of['full'][-1]['frames']} frames, where a layer by itself takes {LAYER} x "
        "([attention_cpu](attention_cpu.md)). "
        + note
        + "Seconds of a loaded machine are less certain than the ratios of that page, which are taken in turn."
    ]


def told_of_memory(of: dict[str, list[dict]], loaded: int) -> list[str]:
    """How memory grows over all modes, below and above 32 frames."""
    ranges = ((8, 32), (32, 64))
    grown = {limits: [g for cells in of.values() for g in growth(cells, loaded, *limits)] for limits in ranges}
    told = [f"{span(found)} x per doubling from {a} to {b} frames" for (a, b), found in grown.items() if found]
    return [f"Memory grows {', '.join(told)}."] if told else []


def stage_table(found: dict) -> list[str]:
    """Memory by stages, of the cells where it was read."""
    cells = [c for c in found["cells"] if "peaks" in c]
    if not cells:
        return []
    others = "."
    if len(cells) < len(found["cells"]):
        apart = max(abs(max(c["peaks"].values()) - c["peak"]) for c in cells) / MIB
        others = f"; read later, in another run of these cells alone: its peaks differ by up to {apart:.0f} MiB."
    lines = [
        "",
        f"By stages, in the same way (what an earlier stage left behind counts in the later ones){others}",
        "",
        "| mode | frames | " + " | ".join(PARTS) + " |",
        "|---" * (len(PARTS) + 2) + "|",
    ]
    for c in cells:
        held = " | ".join(f"{(c['peaks'][name] - found['loaded']) / MIB:.0f}" for name in PARTS)
        lines.append(f"| {c['mode']} | {c['frames']} | {held} |")
    return lines


def plot(found: dict, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.lines import Line2D

    colours = {"full": "#D55E00", "full_coarse": "#009E73", "per_frame": "#0072B2"}
    styles = {"modulated step": "-", "plain step": "--", "inversion step": ":"}
    figure, (time_axis, memory_axis) = pyplot.subplots(1, 2, figsize=(10, 4.2), dpi=110)
    for mode, colour in colours.items():
        cells = [c for c in found["cells"] if c["mode"] == mode]
        if not cells:
            continue
        frames = [c["frames"] for c in cells]
        for name, style in styles.items():
            time_axis.plot(frames, [c["seconds"][name] for c in cells], style, marker="o", markersize=4, color=colour)
        held = [(c["peak"] - found["loaded"]) / MIB for c in cells]
        memory_axis.plot(frames, held, marker="o", color=colour)
    time_axis.set(xscale="log", yscale="log", ylabel="seconds", title="one step")
    low, high = time_axis.get_ylim()
    time_axis.set_ylim(low, high * 4)  # room for the legend of styles
    seconds = [s for s in (0.2, 0.5, 1, 2, 5, 10, 20, 50) if low <= s <= high]
    time_axis.set_yticks(seconds, [f"{s:g}" for s in seconds])
    memory_axis.set(xlim=(0, None), ylim=(0, None), ylabel="MiB beyond the loaded model", title="memory, whole process")
    for axis in (time_axis, memory_axis):
        axis.set(xlabel="frames")
        ticks = sorted({c["frames"] for c in found["cells"]})
        axis.set_xticks(ticks, [str(n) for n in ticks])
        axis.minorticks_off()
        axis.grid(alpha=0.25)
    kinds = [Line2D([], [], color="black", linestyle=style, label=name) for name, style in styles.items()]
    modes = [Line2D([], [], color=colour, marker="o", label=mode) for mode, colour in colours.items()]
    time_axis.legend(handles=kinds, title="kind of step", fontsize=10, loc="upper left", frameon=False)
    memory_axis.legend(handles=modes, title="mode (both panels)", fontsize=10, loc="upper left", frameon=False)
    figure.tight_layout()
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, nargs="+", default=list(FRAMES), help="lengths of the clips")
    parser.add_argument("--modes", nargs="+", default=list(MODES), help="of space-time attention")
    parser.add_argument("--out", type=Path, default=Path("out/whole_edit"), help="without its suffix")
    parser.add_argument("--page", action="store_true", help="only write the page and the picture from OUT.json")
    parser.add_argument("--cell", nargs=2, metavar=("MODE", "FRAMES"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    if args.cell:
        sys.stdout.write(json.dumps(cell(args.cell[0], int(args.cell[1]))))
        return
    json_file = args.out.with_suffix(".json")
    found = json.loads(json_file.read_text(encoding="utf-8")) if args.page else measure(args)
    json_file.parent.mkdir(parents=True, exist_ok=True)
    json_file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    args.out.with_suffix(".md").write_text(page(found), encoding="utf-8")
    plot(found, args.out.with_suffix(".png"))


def measure(args: argparse.Namespace) -> dict:
    """All cells, one process after the other."""
    command = f"python -m videograin.lab.studies.whole_edit --out {args.out}"
    if args.frames != list(FRAMES):
        command += f" --frames {' '.join(map(str, args.frames))}"
    if args.modes != list(MODES):
        command += f" --modes {' '.join(args.modes)}"
    found = {**facts("cpu"), "command": command, "loaded": run_cell("loaded", 0)["peak"], "cells": []}
    for mode in args.modes:
        for frames in args.frames:
            begin = time.perf_counter()
            found["cells"].append(run_cell(mode, frames))
            print(f"{mode} {frames}: {time.perf_counter() - begin:.0f} s", found["cells"][-1], file=sys.stderr)
    return found


if __name__ == "__main__":
    main()
