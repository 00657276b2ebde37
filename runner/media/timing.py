"""When frames are shown. Time stamps count; a rate is only a short way to say them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

ASSUMED = Fraction(25)  # frames per second where a file says nothing at all (FFmpeg's own default)
HIGHEST = 1000  # frames per second: more is a time base that was taken for a rate
LONGEST = 600.0  # seconds that one frame may be shown: more is a damaged time stamp
JITTER = 0.25  # of a frame that a time stamp may stray from a constant rate
ROUNDING = 0.0011  # seconds: files count in milliseconds at the coarsest


@dataclass(frozen=True)
class Timing:
    """fps: frames per second (the mean, where they vary); begin: when the first frame is shown, in seconds of the file;
    times: when each one is, and when the last one ends (one number more than frames), or None where all lie at
    begin + index / fps; notes: what the file said wrongly or not at all."""

    fps: Fraction
    begin: float
    times: tuple[float, ...] | None = None
    notes: tuple[str, ...] = ()

    def seconds(self, frames: int) -> float:
        """How long all frames of the file are shown."""
        return float(frames / self.fps) if self.times is None else self.times[-1] - self.times[0]

    def part(self, start: int, count: int, stride: int) -> Timing:
        """That of ``count`` frames of this file: start, start + stride, ..."""
        if self.times is None:
            return Timing(self.fps / stride, self.begin + float(start / self.fps))
        last = min(start + count * stride, len(self.times) - 1)
        times = (*self.times[start : start + count * stride : stride][:count], self.times[last])
        return Timing(mean_rate(times), times[0], times)


def mean_rate(times: Sequence[float]) -> Fraction:
    """Frames per second of frames with these times, the last of which is the end of the last frame."""
    return (Fraction(len(times) - 1) / Fraction(times[-1] - times[0])).limit_denominator(100_000)


def timing_of(stamps: Sequence[float | None], last: float, told: Sequence[Fraction | None]) -> Timing:
    """When frames are shown. stamps: their times in seconds, None where the file has none; last: how long the last one
    is shown, 0 = not said; told: rates that the file gives, the most trusted first.

    The rule: the first rate holds that puts every frame within JITTER of its time stamp and the end within a frame
    (also tried: mean rates). Where none does, the rate varies and the time stamps are kept. Without time stamps, or
    where they do not increase or leave a frame standing for more than LONGEST seconds, the first rate told is used.
    """
    rates = [Fraction(rate) for rate in told if rate and 1 / LONGEST <= rate <= HIGHEST]
    first = rates[0] if rates else ASSUMED
    known = [stamp for stamp in stamps if stamp is not None]
    begin = stamps[0] if stamps and stamps[0] is not None else 0.0
    if len(known) < len(stamps) or not stamps:
        said = f"the video tells neither time stamps nor a rate: {first} frames per second are taken"
        return Timing(first, begin, None, () if rates else (said,))
    steps = [later - sooner for sooner, later in pairwise(known)]
    if any(not 0 < step <= LONGEST for step in steps):
        said = f"the video's time stamps are broken: {first} frames per second are taken instead"
        return Timing(first, begin, None, (said,))
    usual = sorted(steps)[len(steps) // 2] if steps else float(1 / first)
    times = (*known, known[-1] + (last if 1 / HIGHEST <= last <= LONGEST else usual))
    mean = mean_rate(times)
    means = [mean_rate(known), mean] if steps else [mean]  # how long the last frame lasts is often told wrongly
    for rate in (*rates, *(one.limit_denominator(most) for one in means for most in (1, 1001, 100_000))):
        if rate and _fits(times, rate):
            said = f"the video says {first} frames per second, its time stamps {rate}: the time stamps count"
            return Timing(rate, begin, None, () if rate == first else (said,))
    note = f"the video's frame rate varies (mean {float(mean):.3f} per second): its time stamps are kept"
    return Timing(mean, begin, times, (note,))


def _fits(times: Sequence[float], rate: Fraction) -> bool:
    step, begin, count = float(1 / rate), times[0], len(times) - 1
    if abs(times[-1] - begin - count * step) > step * 1.001:
        return False
    stray = max(step * JITTER, ROUNDING)
    return all(abs(time - begin - index * step) <= stray for index, time in enumerate(times[:-1]))
