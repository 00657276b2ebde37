"""A whole edit with Stable Diffusion 1.5's true architecture and random weights on a GPU, against the targets.

    python -m videograin.lab.studies.sd15_gpu --out out/sd15_gpu  # on a machine with a GPU
    python -m videograin.lab.studies.sd15_gpu --flops --out docs/benchmarks/sd15_flops
    python -m videograin.lab.studies.sd15_gpu --device cpu --frames 2 --size 64 --steps 2 --channels 32 --dtypes float32

Without OpenCV (opencv-python-headless) it runs without latent blend and composite. --minutes stops it from beginning
more; the same command goes on where it was (exit status UNFINISHED). lab/gpu.py runs it with all else that needs a GPU.

Writes OUT.json and OUT.md after every cell. Each (frames, mode) is warmed up by two steps (kernels are compiled, cuDNN
loads), which do not count. Weights are made on the device from a seed; times do not depend on their values.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import shlex
import statistics
import sys
from pathlib import Path
from typing import Any

import torch

from ...editing.pipeline import edit_clip, encode_clip, invert_clip
from ...editing.settings import AttentionSettings, BlendSettings, CompositeSettings, SamplingSettings
from ...hosts.diffusers import DiffusersModel
from ...world.demo_task import make_task
from ..budget import UNFINISHED, Budget
from ..demo_edits import regions_of
from ..pages import read_figures, render, write_page
from . import random_sd15 as sd15
from .clock import Clock, facts, peak_resident, synchronise

MODES, RANGES = ("full", "full_coarse"), ("exact", "reuse")
# Frames: (seconds, GB). The paper, on an A6000, 16 frames: 3.83 min, 15.94 GB.
TARGETS = {16: (30.0, 8.0), 32: (None, 10.0)}
MODULATION_TARGET = 1.10  # the whole edit / the same one without modulation
MODULATED = 0.3  # part of the steps; half of them where there are so few that none would be
TERAFLOPS = 989.5
"""Dense fp16 and bf16 matrix work of an H200 in 10^12 operations a second, as NVIDIA publishes it (1,979 is its figure
with sparsity)."""
STAGES = ["encode", "inversion step", "modulated step", "plain step", "decode", "whole"]


def measure(model: DiffusersModel, frames: int, mode: str, how: str, args: argparse.Namespace) -> dict:
    """One inversion and one edit; how: the way to the row range."""
    device = model.device.type
    task = make_task(0, frames, args.size)
    source, prompt = task.clip.frames, task.clip.caption
    regions = regions_of(task)
    whole = importlib.util.find_spec("cv2") is not None
    extras = {"blend": BlendSettings(enabled=whole), "composite": CompositeSettings(enabled=whole)}

    def run(steps: int, clock: Clock) -> tuple[float, int]:
        """(seconds, modulated steps) of encode, inversion and edit."""
        attention = AttentionSettings(mode=mode, range=how, kernel=args.kernel, end=MODULATED if steps >= 10 else 0.5)
        common = {"attention": attention, "progress": clock}
        begin = clock.now()
        latents = encode_clip(model, source, progress=clock)
        made = invert_clip(model, source, prompt, steps=steps, latents=latents, **common)
        sampling = SamplingSettings(steps=steps, guidance=sd15.GUIDANCE)
        result = edit_clip(model, source, made, task.prompt, regions, sampling=sampling, **extras, **common)
        return clock.now() - begin, result.modulated_steps

    run(min(2, args.steps), Clock(device))
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    clock = Clock(device)
    seconds, active = run(args.steps, clock)
    edit = clock.steps("edit")
    times = {
        "encode": clock.total("encode"),
        "inversion step": statistics.median(clock.steps("invert")),
        "modulated step": statistics.median(edit[:active]),
        "plain step": statistics.median(edit[active:]) if edit[active:] else None,
        "decode": clock.total("decode"),
        "whole": seconds,
    }
    peaks = {"allocated": peak_resident(), "reserved": 0}
    if device == "cuda":
        peaks = {"allocated": torch.cuda.max_memory_allocated(), "reserved": torch.cuda.max_memory_reserved()}
    dtype = str(model.dtype).removeprefix("torch.")
    cell = {"dtype": dtype, "frames": frames, "mode": mode, "range": how}
    cell |= {"seconds": times, "modulated": active, **peaks}
    print(cell, file=sys.stderr, flush=True)
    return cell


def beside_plain(cell: dict) -> float | None:
    """Time of the whole edit over that of the same edit with all steps plain."""
    seconds, more = cell["seconds"], cell["modulated"]
    if seconds["plain step"] is None:
        return None
    return seconds["whole"] / (seconds["whole"] - more * (seconds["modulated step"] - seconds["plain step"]))


def profile(model: DiffusersModel, frames: int, args: argparse.Namespace) -> str:
    """Where the rest goes: the operators that take most, of one modulated and one plain step."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as profiled

    cuda = model.device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
    lines = []
    for kind in ("modulated", "plain"):
        denoiser, x, sigma = sd15.unet_call(
            model, make_task(0, frames, args.size), AttentionSettings(mode="full"), kind
        )
        with denoiser as denoise:
            denoise(x, sigma)
            with profiled(activities=activities) as log:
                denoise(x, sigma)
                synchronise(model.device.type)
        key = "self_device_time_total" if cuda else "self_cpu_time_total"
        shown = log.key_averages().table(sort_by=key, row_limit=25, max_name_column_width=60)
        lines += [f"### {kind} step, {frames} frames, full", "", "```", shown, "```", ""]
    return "\n".join(lines)


def operations(args: argparse.Namespace) -> list[dict]:
    """FLOPs of an edit and how long the chip would take for nothing else."""
    calls = {"inversion": args.steps + 1, "modulated": round(MODULATED * args.steps)}
    calls["plain"] = args.steps - calls["modulated"]
    rows = []
    for frames in args.frames:
        for mode in args.modes:
            spent = sd15.whole(sd15.flops(frames, args.size, mode, args.channels), calls)
            limit = sum(spent.values()) / args.teraflops / 1e12
            rows.append({"frames": frames, "mode": mode, "flops": spent, "limit": limit})
    return rows


def page(found: dict) -> str:
    """The Markdown page of what is there so far."""
    meant = {"channels": sd15.CHANNELS, "stages": STAGES, "parts": sd15.PARTS, "targets": TARGETS}
    meant |= {"beside_plain": beside_plain, "modulation_target": MODULATION_TARGET}
    return render("sd15_gpu", found=found, **meant)


def prepare(model: DiffusersModel, args: argparse.Namespace) -> DiffusersModel:
    """The model as the options ask; what is not standard here is tried by them, side by side."""
    if args.channels_last:
        model.unet.to(memory_format=torch.channels_last)
    torch.backends.cudnn.benchmark = args.cudnn_benchmark
    return model


def begin(args: argparse.Namespace, device: str) -> dict[str, Any]:
    """What the page holds before anything was measured, with the cells of a run that was stopped."""
    found: dict[str, Any] = {
        **facts(device),
        "command": shlex.join(["python", "-m", "videograin.lab.studies.sd15_gpu", *sys.argv[1:]]),
        "cells": [],
        "operations": [],
        "profile": "",
    }
    same = {"size": args.size, "steps": args.steps, "channels": args.channels, "kernel": args.kernel}
    found |= {**same, "teraflops": args.teraflops}
    same |= {key: found[key] for key in ("machine", "torch")}
    if args.out.with_name(f"{args.out.name}.json").exists():
        before = read_figures(args.out)
        if all(before.get(key) == value for key, value in same.items()):
            found |= {key: before[key] for key in ("cells", "operations", "profile")}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda", help="where it runs; cpu: for a trial")
    parser.add_argument("--frames", type=int, nargs="+", default=[16, 32], help="lengths of the clips")
    parser.add_argument("--size", type=int, default=512, help="pixels a side")
    parser.add_argument("--steps", type=int, default=50, help="of the inversion and of the edit")
    parser.add_argument("--channels", type=int, default=sd15.CHANNELS, help="of the UNet's first level; 320: SD 1.5")
    parser.add_argument("--dtypes", nargs="+", default=["float16", "bfloat16"], help="of UNet and text encoder")
    parser.add_argument("--modes", nargs="+", default=list(MODES), help="of space-time attention")
    parser.add_argument("--ranges", nargs="+", default=list(RANGES), help="ways to the row range")
    parser.add_argument("--kernel", default="auto", help="of modulated attention (editing/settings.py)")
    parser.add_argument("--channels-last", action="store_true", help="UNet weights in channels_last memory format")
    parser.add_argument(
        "--cudnn-benchmark", action="store_true", help="cuDNN tries its convolutions and takes the fastest"
    )
    parser.add_argument("--profile", action="store_true", help="also say where the time goes")
    parser.add_argument("--flops", action="store_true", help="only count the operations; needs no GPU")
    parser.add_argument("--teraflops", type=float, default=TERAFLOPS, help="what the chip does, 10^12 a second")
    parser.add_argument("--minutes", type=float, help="begin nothing more after so many")
    parser.add_argument("--out", type=Path, default=Path("out/sd15_gpu"), help="the page, without its suffix")
    args = parser.parse_args()
    if args.device == "cuda" and not args.flops and not torch.cuda.is_available():
        sys.exit("torch sees no GPU; run this on a machine with one, with --device cpu and small numbers, or --flops")
    torch.set_num_threads(1)
    budget = Budget(args.minutes)
    found = begin(args, "cpu" if args.flops else args.device)
    if args.flops:
        found["operations"] = operations(args)
    else:
        for dtype in args.dtypes:
            run_dtype(dtype, found, args, budget)
    print(write_page(args.out, found, page(found)))
    if not args.flops and missing(found, args):
        sys.exit(UNFINISHED)


def missing(found: dict[str, Any], args: argparse.Namespace, dtype: str | None = None) -> list[tuple]:
    """(dtype, frames, mode, range) of the cells that were not run yet, of one dtype or all; also ("profile",)."""
    done = {(cell["dtype"], cell["frames"], cell["mode"], cell["range"]) for cell in found["cells"]}
    wanted = itertools.product([dtype] if dtype else args.dtypes, args.frames, args.modes, args.ranges)
    cells: list[tuple] = [key for key in wanted if key not in done]
    return cells + ([("profile",)] if args.profile and not found["profile"] else [])


def run_dtype(dtype: str, found: dict[str, Any], args: argparse.Namespace, budget: Budget) -> None:
    """All cells of a dtype that are missing, and the profile; the page is written after each."""
    left = missing(found, args, dtype)
    if not left or budget.spent:
        return
    model = prepare(sd15.build(args.device, getattr(torch, dtype), args.channels), args)
    for key in left:
        if budget.spent:
            return
        if key == ("profile",):
            found["profile"] = profile(model, args.frames[0], args)
        else:
            found["cells"].append(measure(model, *key[1:], args))
        write_page(args.out, found, page(found))


if __name__ == "__main__":
    main()
