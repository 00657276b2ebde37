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
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from math import exp, log
from pathlib import Path
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from ...attention import normalise_mask
from ...editing.composite import composite
from ...editing.pipeline import edit_clip, encode_clip, invert_clip
from ...editing.region_modulation import build_modulation
from ...editing.settings import AttentionSettings, CompositeSettings, SamplingSettings
from ...hosts.diffusers import DiffusersModel, load_model
from ...world.demo_task import DemoTask, make_task
from ..demo_edits import regions_of
from ..pages import MIB, drawing, read_figures, render, write_page
from .clock import Clock, facts, in_a_process, peak_resident, restart_peak

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
    common |= {
        "sampling": SamplingSettings(steps=STEPS, guidance=GUIDANCE),
        "composite": CompositeSettings(enabled=False),
    }
    result = edit_clip(model, source, made, task.prompt, regions_of(task), **common)
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
def profile(model: DiffusersModel, task: DemoTask, attention: AttentionSettings) -> dict[str, dict[str, float]]:
    """What share of one guided UNet call space-time attention and the row range take, modulated and plain."""
    prompt, _, labels, _ = model.encode_regions(task.prompt, task.phrases)
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
    return json.loads(in_a_process(__spec__.name, "--cell", mode, frames))


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
    of = {mode: [c for c in found["cells"] if c["mode"] == mode] for mode in [c["mode"] for c in found["cells"]]}
    return render("whole_edit", found=found, of=of, **told(of, found["loaded"]), **MEANT)


def told(of: Mapping[str, list[dict]], loaded: int) -> dict[str, Any]:
    """slower: seconds of a modulated step / a plain one, in mode full; doublings: {(from, to frames): how memory grows
    with each doubling, over all modes}; differ: bytes by which peaks by stages, read in another run, differ at most."""
    ranges = ((8, 32), (32, 64))
    grown = {limits: [g for cells in of.values() for g in growth(cells, loaded, *limits)] for limits in ranges}
    apart = [abs(max(c["peaks"].values()) - c["peak"]) for cells in of.values() for c in cells if "peaks" in c]
    slower = [c["seconds"]["modulated step"] / c["seconds"]["plain step"] for c in of.get("full", ())]
    doublings = {limits: values for limits, values in grown.items() if values}
    return {"slower": slower, "doublings": doublings, "differ": max(apart, default=0)}


MEANT = {
    "size": SIZE, "guidance": GUIDANCE, "steps": STEPS, "stages": STAGES, "parts": PARTS, "target": TARGET,
    "layer": LAYER, "whole_edit": whole_edit, "growth": growth, "half_way": half_way,
    "times": lambda grown: ", ".join(f"{g:.2f} x" for g in grown) or "-",
}  # fmt: skip


def plot(found: dict, path: Path) -> None:
    from matplotlib.lines import Line2D

    colours = {"full": "#D55E00", "full_coarse": "#009E73", "per_frame": "#0072B2"}
    styles = {"modulated step": "-", "plain step": "--", "inversion step": ":"}
    with drawing(path, 1, 2, figsize=(10, 4.2), dpi=110) as (_, (time_axis, memory_axis)):
        for mode, colour in colours.items():
            cells = [c for c in found["cells"] if c["mode"] == mode]
            if not cells:
                continue
            frames = [c["frames"] for c in cells]
            for name, style in styles.items():
                time_axis.plot(
                    frames, [c["seconds"][name] for c in cells], style, marker="o", markersize=4, color=colour
                )
            held = [(c["peak"] - found["loaded"]) / MIB for c in cells]
            memory_axis.plot(frames, held, marker="o", color=colour)
        time_axis.set(xscale="log", yscale="log", ylabel="seconds", title="one step")
        low, high = time_axis.get_ylim()
        time_axis.set_ylim(low, high * 4)  # room for the legend of styles
        seconds = [s for s in (0.2, 0.5, 1, 2, 5, 10, 20, 50) if low <= s <= high]
        time_axis.set_yticks(seconds, [f"{s:g}" for s in seconds])
        memory_axis.set(
            xlim=(0, None), ylim=(0, None), ylabel="MiB beyond the loaded model", title="memory, whole process"
        )
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
    found = read_figures(args.out) if args.page else measure(args)
    print(write_page(args.out, found, page(found), plot))


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
