"""What the benchmarks share: a clock for the runner's stages, the memory of a process, the name of the machine."""

from __future__ import annotations

import itertools
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch


def synchronise(device: str) -> None:
    """Wait for what the device has been given; a CPU has done it already."""
    if device == "cuda":
        torch.cuda.synchronize()


def _status(name: str) -> int:
    # Not getrusage: its figure begins at the parent's.
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status[name].split()[0]) * 1024


def resident() -> int:
    """Bytes that this process holds in memory (Linux)."""
    return _status("VmRSS")


def peak_resident() -> int:
    """Bytes that this process held in memory at its highest point (Linux), since `restart_peak`."""
    return _status("VmHWM")


def restart_peak() -> None:
    """From here on `peak_resident` begins anew."""
    Path("/proc/self/clear_refs").write_text("5")


def machine(device: str) -> str:
    """The GPU, or the CPU and how many threads torch uses of it."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    info = Path("/proc/cpuinfo")
    names = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, {torch.get_num_threads()} thread(s)"


def facts(device: str) -> dict[str, str]:
    """What stands in the head of a page."""
    return {"machine": machine(device), "device": device, "torch": torch.__version__, "date": time.strftime("%Y-%m-%d")}


def in_a_process(module: str, *words: object, **environment: str) -> str:
    """What `python -m MODULE WORDS` prints; subprocess.CalledProcessError where it fails. For peaks of its own."""
    command = [sys.executable, "-m", module, *map(str, words)]
    return subprocess.run(
        command, stdout=subprocess.PIPE, text=True, check=True, env={**os.environ, **environment}
    ).stdout


class Clock:
    """Stands in for a runner's `ConsoleProgress`: notes when each stage began, ticked and ended, and shows nothing.

    device: "cpu": seconds of the process, so that what else the machine does counts little; "cuda": of the wall, with
    the GPU's work done. marks: of every stage [begin, tick, ..., end] in seconds.
    """

    def __init__(self, device: str = "cpu"):
        self.device = device
        self.marks: dict[str, list[float]] = {}
        self._clock = time.process_time if device == "cpu" else time.perf_counter

    def now(self) -> float:
        synchronise(self.device)
        return self._clock()

    @contextmanager
    def stage(self, name: str, total: int | None = None) -> Iterator[Callable[..., None]]:
        marks = self.marks[name] = [self.now()]
        try:
            yield lambda info=None: marks.append(self.now())
        finally:
            marks.append(self.now())

    def total(self, name: str) -> float:
        """Seconds of a whole stage."""
        return self.marks[name][-1] - self.marks[name][0]

    def steps(self, name: str) -> list[float]:
        """Seconds of every step of a stage: from tick to tick."""
        marks = self.marks[name][:-1]
        return [end - start for start, end in itertools.pairwise(marks)]
