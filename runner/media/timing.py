"""When frames are shown. Time stamps count; a rate is only a short way to say them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

ASSUMED = Fraction(25)  # frames per second where a file says nothing at all (FFmpeg's own default)
HIGHEST = 1000  # frames per second: more is a time base that was taken for a rate
LONGEST = 600.0  # seconds that one frame may be shown: more is a damaged time stamp


@dataclass(frozen=True)
class Timing:
    """fps: frames per second (the mean, where they vary); begin: when the first frame is shown, in seconds of the file;
    times: when each one is, and when the last one ends (one number more than frames), or None where all lie at
    begin + index / fps; notes: what the file said wrongly."""

    fps: Fraction
    begin: float
    times: tuple[float, ...] | None = None
    notes: tuple[str, ...] = ()


def timing_of(stamps: Sequence[float | None], last: float, told: Sequence[Fraction | None]) -> Timing:
    """When frames are shown. stamps: their times in seconds, None where the file has none; last: how long the last one
    is shown, 0 = not said; told: rates that the file gives, the most trusted first.

    The rule: the first rate holds that puts every frame within half a frame of its time stamp and the end within one
    (also tried: the mean rate). Where none does, the rate varies and the time stamps are kept. Without time stamps, or
    where they do not increase or leave a frame standing for more than LONGEST seconds, the first rate told is used.
    """
    rates = [Fraction(rate) for rate in told if rate and 0 < rate <= HIGHEST]
    first = rates[0] if rates else ASSUMED
    known = [stamp for stamp in stamps if stamp is not None]
    begin = stamps[0] if stamps and stamps[0] is not None else 0.0
    if len(known) < len(stamps) or not stamps:
        source = "the rate it tells" if rates else "an assumed rate"
        return Timing(first, begin, None, (f"the video has no time stamps: {source}, {first} frames per second, is used",))
    steps = [later - sooner for sooner, later in zip(known, known[1:])]
    if any(not 0 < step <= LONGEST for step in steps):
        return Timing(
            first, begin, None, (f"the video's time stamps are broken: {first} frames per second are used instead",)
        )
    usual = sorted(steps)[len(steps) // 2] if steps else float(1 / first)
    end = known[-1] + (last if 0 < last <= LONGEST else usual)
    mean = Fraction(len(known)) / Fraction(end - known[0])
    for rate in (*rates, mean.limit_denominator(1), mean.limit_denominator(1001), mean.limit_denominator(100_000)):
        if rate and _fits(known, end, rate):
            said = f"the video says {first} frames per second, its time stamps {rate}: the time stamps count"
            return Timing(rate, begin, None, () if rate == first else (said,))
    note = f"the video's frame rate varies (mean {float(mean):.3f} per second): its time stamps are kept"
    return Timing(mean.limit_denominator(100_000), begin, (*known, end), (note,))


def _fits(times: Sequence[float], end: float, rate: Fraction) -> bool:
    step = float(1 / rate)
    if abs(end - times[0] - len(times) * step) > step * 1.001:
        return False
    return all(abs(time - times[0] - index * step) <= step * 0.501 for index, time in enumerate(times))
