"""`make gpu`: everything of this repository that needs a GPU, in order of worth, in nine minutes a call.

    python -m videograin.lab.gpu                                # pages in docs/benchmarks/gpu, training in runs/gpu
    python -m videograin.lab.gpu --device cpu --small --out out/gpu --runs out/gpu/runs  # does it run? a few minutes

A call stops before its limit; the same command goes on with what is missing: parts that ended well are not run again,
the whole edit goes on with its next cell, the training with its next step. After each part OUT/gpu.json and
OUT/README.md say what there is. Nothing is downloaded.

For a bare machine that has torch (which brings jinja2), triton, transformers, einops and pydantic but neither network
nor this package: in this folder, on a machine with a network, once (those that the other machine has may be left out),

    pip download --no-deps --only-binary=:all: -d .gpu diffusers importlib_metadata zipp opencv-python-headless

then copy this folder there, and in it

    pip install --no-deps --no-index --target /tmp/site .gpu/*.whl
    ln -sfn "$PWD" /tmp/site/videograin
    PYTHONPATH=/tmp/site python -m videograin.lab.gpu

(the repository's root IS the package). Without matplotlib it makes no pictures of figures.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..version import __version__
from .budget import UNFINISHED
from .pages import read_figures, render, write_page
from .studies.clock import facts

MINUTES = 9.0
RESERVE = 0.3  # minutes that a part which stops by itself is given to write what it has
LEAST = 0.5  # minutes below which no part is begun
DONE, STOPPED, FAILED, MISSING = "done", "stopped at the limit", "failed", "not run"


@dataclass(frozen=True)
class Part:
    """One command. words: its module and options; small: other options for a trial; page: in OUT, "" for none; most:
    minutes of a call that it may take at most; stops: whether it takes ``--minutes`` and goes on where it was."""

    name: str
    question: str
    words: str
    small: str
    page: str = ""
    most: float = MINUTES
    stops: bool = False


#: In order of worth. {out}, {runs}, {device} are filled in.
PARTS = (
    Part(
        "layers",
        "Do both Triton kernels agree with the formula? What does modulation cost each of SD 1.5's layers?",
        "videograin.lab.studies.sd15_layers --device {device} --out {out}/layers",
        "--frames 1 --size 64 --channels 64 --rounds 1 --dtypes float32",
        "layers.md",
    ),
    Part(
        "attention",
        "One layer of 16,384 to 65,536 tokens beside plain attention and the literal formula: time, memory",
        "videograin.lab.studies.attention_cost --device {device} --out {out}/attention --peaks 65536",
        "--tokens 256 --peaks 256 --rounds 1",
        "attention_{device}.md",
    ),
    Part(
        "edit",
        "A whole edit with SD 1.5's architecture: time and peak memory",
        "videograin.lab.studies.sd15_gpu --device {device} --out {out}/sd15_gpu --profile",
        "--frames 2 --size 64 --steps 2 --channels 32 --dtypes float32 --modes full --ranges exact",
        "sd15_gpu.md",
        most=6.0,
        stops=True,
    ),
    Part(
        "training",
        "The embedded model trained anew",
        "videograin.lab.training train --device {device} --out {runs}",
        "--smoke",
        stops=True,
    ),
)


def command(part: Part, args: argparse.Namespace, minutes: float) -> list[str]:
    """The part's command with so many minutes left."""
    words = shlex.split(f"{part.words} {part.small if args.small else ''}")
    filled = [word.format(out=args.out, runs=args.runs, device=args.device) for word in words]
    stop = ["--minutes", f"{min(part.most, minutes) - RESERVE:.2f}"] if part.stops else []
    return [sys.executable, "-m", *filled, *stop]


def run_part(part: Part, args: argparse.Namespace, minutes: float) -> str:
    """Run it for so many minutes at most; how it ended. Its output goes to OUT/NAME.log."""
    environment = dict(os.environ)
    if args.device == "cpu" and importlib.util.find_spec("triton") is not None:
        environment["TRITON_INTERPRET"] = "1"
    with open(args.out / f"{part.name}.log", "w", encoding="utf-8") as log:
        how: dict[str, Any] = {"stdout": log, "stderr": subprocess.STDOUT, "env": environment}
        process = subprocess.Popen(command(part, args, minutes), start_new_session=True, **how)
        try:
            status = process.wait(60 * min(minutes, part.most + RESERVE))
        except subprocess.TimeoutExpired:
            return STOPPED
        finally:
            if process.poll() is None:  # with the processes that it started
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    return {0: DONE, UNFINISHED: STOPPED}.get(status, f"{FAILED} (exit status {status}, {part.name}.log)")


def resume(args: argparse.Namespace) -> dict[str, Any]:
    """What is there: {facts, small, parts: {name: {state, seconds, page}}}. ValueError where another machine or version
    made it."""
    made = {**facts(args.device), "videograin": __version__, "small": args.small}
    if not (args.out / "gpu.json").exists():
        return {**made, "parts": {part.name: {"state": MISSING, "seconds": 0.0, "page": ""} for part in PARTS}}
    found = read_figures(args.out / "gpu")
    same = ("machine", "device", "torch", "videograin", "small")
    if wrong := [f"{key}: there {found[key]!r}, now {made[key]!r}" for key in same if found[key] != made[key]]:
        raise ValueError(f"{args.out} was made otherwise ({'; '.join(wrong)}); give another --out, or delete it")
    return found


def page(found: dict[str, Any]) -> str:
    """The Markdown page: what was run, and where its figures stand."""
    return render("gpu", found=found, shown=[(part, found["parts"][part.name]) for part in PARTS])


def write(args: argparse.Namespace, found: dict[str, Any]) -> None:
    write_page(args.out / "gpu", found, page(found)).replace(args.out / "README.md")


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda", help="where it runs; cpu: for a trial")
    parser.add_argument("--small", action="store_true", help="tiny sizes: only shows that it runs")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="of this call (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks/gpu"), help="folder of the pages")
    parser.add_argument("--runs", type=Path, default=Path("runs/gpu"), help="folder of the training")
    args = parser.parse_args(words)
    if args.device == "cuda" and not torch.cuda.is_available():
        parser.error("torch sees no GPU; run this on a machine with one, or try it with --device cpu --small --out DIR")
    end = time.monotonic() + 60 * args.minutes
    args.out.mkdir(parents=True, exist_ok=True)
    try:
        found = resume(args)
    except ValueError as error:
        parser.error(str(error))
    write(args, found)
    for part in PARTS:
        entry, left = found["parts"][part.name], (end - time.monotonic()) / 60
        if entry["state"] == DONE or left < LEAST:
            continue
        print(f"{part.name}: {part.question} ({left:.1f} minutes left)", flush=True)
        begun = time.monotonic()
        entry["state"] = run_part(part, args, left)
        entry["seconds"] += time.monotonic() - begun
        made = part.page.format(device=args.device)
        entry["page"] = made if made and (args.out / made).exists() else ""
        print(f"{part.name}: {entry['state']}", flush=True)
        write(args, found)
    print(args.out / "README.md")
    states = [found["parts"][part.name]["state"] for part in PARTS]
    if any(state.startswith(FAILED) for state in states):
        return 1
    return 0 if all(state == DONE for state in states) else UNFINISHED


if __name__ == "__main__":
    raise SystemExit(main())
