"""Confidence intervals of means and paired differences by the bootstrap (Efron & Tibshirani 1993, ch. 13). numpy only.

The unit that is drawn is the clip: edits of one clip with several seeds are not independent, so they are averaged
before anything is drawn. Intervals are percentile intervals; their ends are values the resampled mean really took.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

RESAMPLES, LEVEL = 10_000, 0.95


@dataclass(frozen=True)
class Interval:
    """A mean with its percentile interval [low, high]; count: clips it rests on. nan, nan, nan for none."""

    mean: float
    low: float
    high: float
    count: int

    @property
    def above_zero(self) -> bool:
        """Whether the whole interval lies above 0."""
        return self.low > 0

    @property
    def below_zero(self) -> bool:
        return self.high < 0


def mean_interval(values: Mapping[str, float], *, seed: int = 0, level: float = LEVEL) -> Interval:
    """The mean over clips and its interval. values: one number a clip; nan = this clip says nothing, it is left out."""
    numbers = np.array([value for value in values.values() if not math.isnan(value)], dtype=np.float64)
    if not len(numbers):
        return Interval(math.nan, math.nan, math.nan, 0)
    draw = np.random.default_rng(seed).integers(len(numbers), size=(RESAMPLES, len(numbers)))
    tail = (1 - level) / 2
    low, high = np.quantile(numbers[draw].mean(axis=1), [tail, 1 - tail], method="inverted_cdf")
    return Interval(float(numbers.mean()), float(low), float(high), len(numbers))


def paired_interval(
    ours: Mapping[str, float], theirs: Mapping[str, float], *, seed: int = 0, level: float = LEVEL
) -> Interval:
    """The mean of ours - theirs over the clips that both have, and its interval: both systems' values of a drawn clip
    are drawn together, so what makes a clip easy or hard for everybody cancels."""
    both = {name: ours[name] - theirs[name] for name in ours if name in theirs}
    return mean_interval(both, seed=seed, level=level)
