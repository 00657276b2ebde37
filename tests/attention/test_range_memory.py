"""What may be saved of the logit range: how long one is kept, which keys stand for all, and that "exact" stays exact."""

import copy
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from videograin.attention import (
    LabelMap,
    Modulation,
    RangeMemory,
    RangeRule,
    Schedule,
    SpaceTime,
    modulated_attention,
    logit_range,
)
from videograin.attention.ranges import sampled_keys

REUSE, SAMPLED = RangeRule("reuse", steps=3), RangeRule("sampled", every=4)
HEADS, GRID, WIDTH = 2, (3, 4), 16
TOKENS = GRID[0] * GRID[1]


def qk(seed, rows=9, keys=9, heads=HEADS):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(1, heads, rows, 4, generator=g), torch.randn(1, heads, keys, 4, generator=g)


def by_hand(q, k):
    logits = torch.einsum("bhid,bhjd->bhij", q, k) / q.shape[-1] ** 0.5
    return logits.amax(-1) - logits.amin(-1)


def served(memory, rule, calls):
    """For every (t, place) in turn: the number of the call whose queries its range comes from."""
    drawn = [qk(number) for number in range(len(calls))]
    ranges = [by_hand(*one) for one in drawn]
    sources = []
    for (t, place), (q, k) in zip(calls, drawn):
        found = memory.find(rule, place, t, q, k)
        (source,) = [number for number, spread in enumerate(ranges) if torch.allclose(found, spread, atol=1e-5)]
        sources.append(source)
    return sources


def test_a_range_serves_so_many_noise_levels():
    calls = [(t, "layer") for t in (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3)]
    assert served(RangeMemory(), REUSE, calls) == [0, 0, 0, 3, 3, 3, 6]
    assert served(RangeMemory(), replace(REUSE, steps=2), calls) == [0, 0, 2, 2, 4, 4, 6]


def test_levels_are_counted_and_not_calls():
    # Heun looks at a level at the end of one step and at the start of the next.
    calls = [(t, "layer") for t in (0.9, 0.8, 0.8, 0.7, 0.7, 0.6, 0.6, 0.5)]
    assert served(RangeMemory(), REUSE, calls) == [0, 0, 0, 0, 0, 5, 5, 5]
    # The halves of a batch in calls of their own are of one level, each with its own range.
    calls = [(t, ("layer", role)) for t in (0.9, 0.8, 0.7, 0.6) for role in ("cond", "uncond")]
    assert served(RangeMemory(), REUSE, calls) == [0, 1, 0, 1, 0, 1, 6, 7]


def test_a_place_that_comes_late_or_skips_levels_is_measured_when_it_comes():
    calls = [(0.9, "a"), (0.8, "a"), (0.8, "b"), (0.7, "b"), (0.6, "a"), (0.6, "b"), (0.5, "b")]
    assert served(RangeMemory(), REUSE, calls) == [0, 0, 2, 2, 4, 2, 6]


def test_windows_that_change_from_step_to_step_do_not_fill_the_memory():
    memory = RangeMemory()
    for step in range(50):
        for window in range(4):
            q, k = qk(window)
            memory.find(REUSE, ("layer", step + window), 1 - step / 50, q, k)
        assert len(memory) <= 4 * REUSE.steps
    # Windows that come back within the levels that a range serves find it.
    assert served(RangeMemory(), REUSE, [(0.9, 0), (0.9, 1), (0.8, 1), (0.8, 2), (0.7, 0)]) == [0, 1, 1, 3, 0]


def test_another_shape_is_measured_again():
    memory = RangeMemory()
    few, many, more_keys = qk(0), qk(1, rows=12, keys=12), qk(0, keys=12)
    for q, k in (few, many, few, more_keys):
        torch.testing.assert_close(memory.find(REUSE, "layer", 0.5, q, k), by_hand(q, k))


def test_one_level_at_a_time_measures_in_every_call_also_at_the_same_level():
    calls = [(t, "layer") for t in (0.9, 0.8, 0.8, 0.7)]
    memory = RangeMemory()
    assert served(memory, replace(REUSE, steps=1), calls) == [0, 1, 2, 3]
    assert len(memory) == 0


def test_a_memory_is_of_a_run_and_survives_the_copies_of_options():
    memory = RangeMemory()
    assert copy.deepcopy({"ranges": memory})["ranges"] is memory


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 60), st.integers(1, 12))
def test_a_sampled_range_never_exceeds_the_exact_one(seed, keys, every):
    q, k = qk(seed, keys=keys)
    sampled = RangeRule("sampled", every=every).measure(q, k)
    assert sampled.shape == (1, HEADS, 9)
    assert (sampled <= logit_range(q, k) + 1e-5).all()
    torch.testing.assert_close(sampled, by_hand(q, k[:, :, sampled_keys(keys, every)]))


@settings(deadline=None)
@given(st.integers(1, 5000), st.integers(1, 20))
def test_one_of_so_many_neighbours_is_sampled(keys, every):
    index = sampled_keys(keys, every)
    assert len(index) == -(-keys // every)
    assert (index // every).tolist() == list(range(len(index)))  # one of every group of neighbours, and inside it
    assert index.max() < keys


@pytest.mark.parametrize("every", [2, 3, 5, 8, 16])
@pytest.mark.parametrize("times", [1, 2, 3, 4, 5, 6, 8, 13, 16])
def test_every_column_of_a_picture_is_sampled(every, times):
    # A stride of `every` by itself would see one column of every `every`.
    width = every * times
    index = sampled_keys(8 * width * width, every)
    counts = (index % width).bincount(minlength=width)  # eight square frames
    mean = counts.float().mean()
    assert 0.75 * mean <= counts.min()
    assert counts.max() <= 1.25 * mean
    assert len((index[index < 2 * width * width] % width).unique()) == width


def modulation(**options):
    left = torch.zeros(2, *GRID)
    left[:, :, :2] = 1
    always = Schedule(0.8, 1.0, 0.0, 1.0)
    return Modulation(LabelMap([left]), torch.tensor([-1, 1, -1]), always, always, **options)


def attend(edit, seed, t, memory=None, place="layer", mode="full"):
    g = torch.Generator().manual_seed(seed)
    q, k, v = (torch.randn(4, TOKENS, WIDTH, generator=g) for _ in range(3))
    spacetime = SpaceTime(mode, 2)
    return edit.self_attention(
        q, k, v, heads=HEADS, grid=GRID, roles=("uncond", "cond"), t=t, spacetime=spacetime, ranges=memory, place=place
    )


@pytest.mark.parametrize("rule", [RangeRule("reuse", steps=1), RangeRule("sampled", every=1)])
@pytest.mark.parametrize("mode", ["full", "key_frames"])
def test_rules_that_save_nothing_are_exact_bit_for_bit(rule, mode):
    memory = RangeMemory()
    for seed, t in enumerate((0.9, 0.8, 0.8, 0.7)):
        got = attend(modulation(range_rule=rule), seed, t, memory, mode=mode)
        assert torch.equal(got, attend(modulation(), seed, t, mode=mode))


def test_without_a_memory_or_a_place_every_call_is_measured():
    edit = modulation(range_rule=REUSE)
    for memory, place in ((None, "layer"), (RangeMemory(), None)):
        for seed, t in enumerate((0.9, 0.8)):
            got = attend(edit, seed, t, memory, place)
            torch.testing.assert_close(got, attend(modulation(), seed, t), atol=1e-6, rtol=0)
        assert memory is None or len(memory) == 0


def test_with_a_memory_the_range_of_an_earlier_level_is_the_one_that_is_used():
    edit, memory = modulation(range_rule=REUSE), RangeMemory()
    attend(edit, 0, 0.9, memory)
    got = attend(edit, 1, 0.8, memory)
    g0, g1 = (torch.Generator().manual_seed(seed) for seed in (0, 1))
    earlier, now = ([torch.randn(4, TOKENS, WIDTH, generator=g) for _ in range(3)] for g in (g0, g1))

    def split(x):  # [2 chunks * 2 frames, T, channels] -> [2, heads, 2 T, d]
        return x.reshape(2, 2 * TOKENS, HEADS, -1).transpose(1, 2)

    labels = edit.label_map.labels(GRID).reshape(1, -1).expand(2, -1)
    strength = torch.full(labels.shape, 0.8 * 0.8 * 0.5)  # both labels cover one half
    spread = by_hand(split(earlier[0]), split(earlier[1]))
    expected = modulated_attention(*map(split, now), labels, labels, strength, logit_range=spread)
    torch.testing.assert_close(got, expected.transpose(1, 2).reshape(4, TOKENS, WIDTH), atol=1e-6, rtol=0)
    assert not torch.allclose(got, attend(modulation(), 1, 0.8), atol=1e-3)


def test_sampled_ranges_are_those_of_the_sampled_keys():
    g = torch.Generator().manual_seed(3)
    q, k, v = (torch.randn(4, TOKENS, WIDTH, generator=g).reshape(2, 2 * TOKENS, HEADS, -1).transpose(1, 2)
               for _ in range(3))  # fmt: skip
    edit = modulation(range_rule=SAMPLED)
    labels = edit.label_map.labels(GRID).reshape(1, -1).expand(2, -1)
    spread = by_hand(q, k[:, :, sampled_keys(2 * TOKENS, 4)])
    expected = modulated_attention(q, k, v, labels, labels, torch.full(labels.shape, 0.8 * 0.7 * 0.5), logit_range=spread)
    got = attend(edit, 3, 0.7)
    torch.testing.assert_close(got, expected.transpose(1, 2).reshape(4, TOKENS, WIDTH), atol=1e-6, rtol=0)
    assert not torch.allclose(got, attend(modulation(), 3, 0.7), atol=1e-3)


def test_a_window_of_the_edit_keeps_its_rule_and_kernel():
    edit = modulation(range_rule=SAMPLED, kernel="sdpa").select([1])
    assert (edit.range_rule, edit.kernel) == (SAMPLED, "sdpa")


def test_what_observers_are_shown_does_not_depend_on_the_rule():
    marks = [
        edit.self_bias(("cond",), grid=GRID, t=0.8, spacetime=SpaceTime("full", 2))
        for edit in (modulation(), modulation(range_rule=REUSE), modulation(range_rule=SAMPLED))
    ]
    for labels, strength in marks[1:]:
        assert torch.equal(strength, marks[0][1])
        assert torch.equal(labels.q, marks[0][0].q)
        assert torch.equal(labels.k, marks[0][0].k)


def test_the_reference_is_always_exact():
    exact, sampled = (modulation(method="reference", range_rule=rule) for rule in (RangeRule(), SAMPLED))
    assert torch.equal(attend(exact, 0, 0.9), attend(sampled, 0, 0.9))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"mode": "guess"}, r"mode must be one of \('exact', 'reuse', 'sampled'\); got 'guess'"),
        ({"steps": 0}, "steps must be a whole number >= 1; got 0"),
        ({"every": 2.5}, "every must be a whole number >= 1; got 2.5"),
    ],
)
def test_errors_say_what_was_expected_and_what_came(changes, says):
    with pytest.raises(ValueError, match=says):
        RangeRule(**changes)


def test_a_noise_level_above_the_last_begins_another_run():
    g = torch.Generator().manual_seed(0)
    memory, found = RangeMemory(), []
    for t in (0.9, 0.8, 0.7, 0.9, 0.8):
        q, k = torch.randn(1, 1, 5, 4, generator=g), torch.randn(1, 1, 6, 4, generator=g)
        found.append((memory.find(RangeRule("reuse", 5), "layer", t, q, k), by_hand(q, k)))
    torch.testing.assert_close(found[3][0], found[3][1])
    assert not torch.equal(found[3][0], found[0][0])
    assert torch.equal(found[4][0], found[3][0])
