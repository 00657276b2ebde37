"""Intervals against cases whose resampling distribution is worked out by hand."""

import itertools
import math

import numpy as np
import pytest

from videograin.lab.bench.bootstrap import Interval, mean_interval, paired_interval


@pytest.mark.parametrize(
    ("level", "low", "high"),
    [
        # of two values 0 and 1 the resampled mean is 0, 1/2, 1 with chances 1/4, 1/2, 1/4
        (0.95, 0.0, 1.0),
        (0.6, 0.0, 1.0),  # tails of 20 %: still within the outer quarters
        (0.4, 0.5, 0.5),  # tails of 30 %: beyond them
    ],
)
def test_two_clips(level, low, high):
    assert mean_interval({"a": 0.0, "b": 1.0}, level=level) == Interval(0.5, low, high, 2)


def test_three_clips_against_all_27_draws():
    values = [0.0, 1.0, 5.0]
    means = sorted(sum(draw) / 3 for draw in itertools.product(values, repeat=3))
    # 95 %: one draw of 27 is 3.7 % > 2.5 %, so both ends are the extremes; 90 %: two of 27 are 7.4 % > 5 %
    whole = mean_interval(dict(zip("abc", values)), level=0.95)
    assert (whole.low, whole.high) == (means[0], means[-1]) == (0.0, 5.0)
    narrower = mean_interval(dict(zip("abc", values)), level=0.9)
    assert narrower.low == pytest.approx(means[1])  # 1/27 < 5 % < 4/27
    assert narrower.high == pytest.approx(means[-2])


def test_the_normal_interval_of_many_clips():
    values = np.random.default_rng(3).normal(2.0, 1.0, 400)
    interval = mean_interval({str(k): v for k, v in enumerate(values)})
    half = 1.96 * values.std() / 20
    assert interval.low == pytest.approx(values.mean() - half, abs=0.015)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.015)


def test_pairing_takes_out_what_makes_a_clip_hard():
    hard = {str(k): float(k) for k in range(20)}
    ours = {clip: value + 0.1 for clip, value in hard.items()}
    paired = paired_interval(ours, hard)
    assert (paired.low, paired.high) == pytest.approx((0.1, 0.1))
    assert paired.above_zero
    assert not paired.below_zero
    assert paired_interval(hard, ours).below_zero
    assert mean_interval(ours).low < mean_interval(hard).high  # unpaired they would overlap


def test_only_clips_that_both_have_count():
    paired = paired_interval({"a": 1.0, "b": 9.0, "c": 2.0}, {"a": 0.0, "c": 1.0, "d": 5.0, "e": 1.0})
    assert (paired.mean, paired.count) == (1.0, 2)
    with_nan = paired_interval({"a": 1.0, "b": math.nan}, {"a": 0.5, "b": 3.0})
    assert (with_nan.mean, with_nan.count) == (0.5, 1)


def test_nothing_to_average():
    interval = mean_interval({"a": math.nan})
    assert interval.count == 0
    assert math.isnan(interval.mean)
    assert not interval.above_zero
    assert not interval.below_zero


def test_the_seed_decides():
    values = {str(k): float(k % 7) for k in range(15)}
    assert mean_interval(values, seed=1) == mean_interval(values, seed=1)
