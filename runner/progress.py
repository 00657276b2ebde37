"""One progress bar per long stage, and the seconds each stage took.

On a terminal: a tqdm bar with step and time left. Elsewhere (a log, a pipe), and for a stage that has no steps to
count: one line when it ends.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO


class StageTimer:
    """Seconds of wall time per stage, in the order the stages first began; a stage met again adds to its time."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.seconds: dict[str, float] = {}
        self._clock = clock

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the block, also when it is left by an exception."""
        self.seconds.setdefault(name, 0.0)
        begin = self._clock()
        try:
            yield
        finally:
            self.seconds[name] += self._clock() - begin


class ConsoleProgress:
    """Shows stages and times them.

    stream: where to (default stderr), with bars on a terminal; quiet: show nothing, time all the same.
    """

    def __init__(self, *, stream: TextIO | None = None, quiet: bool = False) -> None:
        self.stream = sys.stderr if stream is None else stream
        self.bars = self.stream.isatty()
        self.quiet = quiet
        self.timer = StageTimer()
        self._part = ""

    @contextmanager
    def part(self, title: str) -> Iterator[None]:
        """Stages inside are shown with ``title`` behind their names, to tell those of one name apart. They are timed by
        their names alone."""
        before, self._part = self._part, f", {title}"
        try:
            yield
        finally:
            self._part = before

    @contextmanager
    def stage(self, name: str, total: int | None = None) -> Iterator[Callable[..., None]]:
        """Yield ``tick(info=None)``, to be called once per step; it takes the dict of a k-diffusion callback, and a
        stage of unknown length (total None) needs no ticks: it gets a line, on a terminal too."""
        shown = name + self._part
        bar = self._bar(shown, total) if total and self.bars and not self.quiet else None
        with self.timer.stage(name):
            begin = time.perf_counter()
            try:
                yield _ticker(bar)
            finally:
                if bar is not None:
                    bar.close()
        if bar is None and not self.quiet:
            seconds = time.perf_counter() - begin
            steps = f" ({total} steps)" if total else ""
            print(f"{shown}{steps}: {seconds:.1f} s", file=self.stream, flush=True)

    def say(self, text: str) -> None:
        """A line of plain text, above any bar."""
        if not self.quiet:
            print(text, file=self.stream, flush=True)

    def _bar(self, name: str, total: int) -> Any:
        from tqdm import tqdm

        return tqdm(total=total, desc=f"{name:<16}", unit="step", file=self.stream, dynamic_ncols=True, leave=True)


def _ticker(bar: Any) -> Callable[..., None]:
    def tick(info: Any = None) -> None:
        if bar is not None:
            bar.update(1)

    return tick
