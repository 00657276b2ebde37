"""Logit ranges that serve several noise levels: how long one is kept, and that nothing kept is exact."""

import copy
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
import torch

from videograin.attention import (
    LabelMap,
    Modulation,
    RangeMemory,
    Schedule,
    SpaceTime,
    modulated_attention,
)

STEPS = 3
HEADS, GRID, WIDTH = 2, (3, 4), 16
TOKENS = GRID[0] * GRID[1]


def qk(seed, rows=9, keys=9, heads=HEADS):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(1, heads, rows, 4, generator=g), torch.randn(1, heads, keys, 4, generator=g)


def by_hand(q, k):
    logits = torch.einsum("bhid,bhjd->bhij", q, k) / q.shape[-1] ** 0.5
    return logits.amax(-1) - logits.amin(-1)


def served(memory, steps, calls):
    """For every (t, place) in turn: the number of the call whose queries its range comes from."""
    drawn = [qk(number) for number in range(len(calls))]
    ranges = [by_hand(*one) for one in drawn]
    sources = []
    for (t, place), (q, k) in zip(calls, drawn):
        found = memory.find(steps, place, t, q, k)
        (source,) = [number for number, one in enumerate(ranges) if torch.allclose(found, one, atol=1e-5)]
        sources.append(source)
    return sources


def test_a_range_serves_so_many_noise_levels():
    calls = [(t, "layer") for t in (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3)]
    assert served(RangeMemory(), STEPS, calls) == [0, 0, 0, 3, 3, 3, 6]
    assert served(RangeMemory(), 2, calls) == [0, 0, 2, 2, 4, 4, 6]


def test_levels_are_counted_and_not_calls():
    # Heun looks at a level at the end of one step and at the start of the next.
    calls = [(t, "layer") for t in (0.9, 0.8, 0.8, 0.7, 0.7, 0.6, 0.6, 0.5)]
    assert served(RangeMemory(), STEPS, calls) == [0, 0, 0, 0, 0, 5, 5, 5]
    # The halves of a batch in calls of their own are of one level, each with its own range.
    calls = [(t, ("layer", role)) for t in (0.9, 0.8, 0.7, 0.6) for role in ("cond", "uncond")]
    assert served(RangeMemory(), STEPS, calls) == [0, 1, 0, 1, 0, 1, 6, 7]


def test_halves_that_come_to_a_level_at_once_count_it_once():
    meeting = Barrier(2)

    class Level(float):
        """A noise level at which two threads wait for each other when it is compared with the last one."""

        def __gt__(self, other):
            meeting.wait(20)
            return float(self) > float(other)

        __ne__ = __gt__

    memory, first, second = RangeMemory(), qk(0), qk(1)
    roles = ("cond", "uncond")
    for role in roles:
        memory.find(STEPS, role, 0.9, *first)
    with ThreadPoolExecutor(2) as halves:
        for t in (0.8, 0.7):
            kept = list(halves.map(lambda role, t=t: memory.find(STEPS, role, Level(t), *second), roles))
            assert all(torch.allclose(found, by_hand(*first), atol=1e-5) for found in kept)
        fresh = list(halves.map(lambda role: memory.find(STEPS, role, Level(0.6), *second), roles))
    assert all(torch.allclose(found, by_hand(*second), atol=1e-5) for found in fresh)


def test_a_place_that_comes_late_or_skips_levels_is_measured_when_it_comes():
    calls = [(0.9, "a"), (0.8, "a"), (0.8, "b"), (0.7, "b"), (0.6, "a"), (0.6, "b"), (0.5, "b")]
    assert served(RangeMemory(), STEPS, calls) == [0, 0, 2, 2, 4, 2, 6]


def test_windows_that_change_from_step_to_step_do_not_fill_the_memory():
    memory = RangeMemory()
    for step in range(50):
        for window in range(4):
            q, k = qk(window)
            memory.find(STEPS, ("layer", step + window), 1 - step / 50, q, k)
        assert len(memory) <= 4 * STEPS
    # Windows that come back within the levels that a range serves find it.
    assert served(RangeMemory(), STEPS, [(0.9, 0), (0.9, 1), (0.8, 1), (0.8, 2), (0.7, 0)]) == [0, 1, 1, 3, 0]


def test_another_shape_is_measured_again():
    memory = RangeMemory()
    few, many, more_keys = qk(0), qk(1, rows=12, keys=12), qk(0, keys=12)
    for q, k in (few, many, few, more_keys):
        torch.testing.assert_close(memory.find(STEPS, "layer", 0.5, q, k), by_hand(q, k))


def test_a_memory_is_of_a_run_and_survives_the_copies_of_options():
    memory = RangeMemory()
    assert copy.deepcopy({"ranges": memory})["ranges"] is memory


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


@pytest.mark.parametrize("mode", ["full", "key_frames"])
def test_one_level_a_range_keeps_nothing_and_is_exact_bit_for_bit(mode):
    memory = RangeMemory()
    for seed, t in enumerate((0.9, 0.8, 0.8, 0.7)):
        got = attend(modulation(range_steps=1), seed, t, memory, mode=mode)
        assert torch.equal(got, attend(modulation(), seed, t, mode=mode))
    assert len(memory) == 0


def test_without_a_memory_or_a_place_every_call_is_measured():
    edit = modulation(range_steps=STEPS)
    for memory, place in ((None, "layer"), (RangeMemory(), None)):
        for seed, t in enumerate((0.9, 0.8)):
            got = attend(edit, seed, t, memory, place)
            torch.testing.assert_close(got, attend(modulation(), seed, t), atol=1e-6, rtol=0)
        assert memory is None or len(memory) == 0


def test_with_a_memory_the_range_of_an_earlier_level_is_the_one_that_is_used():
    edit, memory = modulation(range_steps=STEPS), RangeMemory()
    attend(edit, 0, 0.9, memory)
    got = attend(edit, 1, 0.8, memory)
    g0, g1 = (torch.Generator().manual_seed(seed) for seed in (0, 1))
    earlier, now = ([torch.randn(4, TOKENS, WIDTH, generator=g) for _ in range(3)] for g in (g0, g1))

    def split(x):  # [2 chunks * 2 frames, T, channels] -> [2, heads, 2 T, d]
        return x.reshape(2, 2 * TOKENS, HEADS, -1).transpose(1, 2)

    labels = edit.label_map.labels(GRID).reshape(1, -1).expand(2, -1)
    strength = torch.full(labels.shape, 0.8 * 0.8 * 0.5)  # both labels cover one half
    known = by_hand(split(earlier[0]), split(earlier[1]))
    expected = modulated_attention(*map(split, now), labels, labels, strength, logit_range=known)
    torch.testing.assert_close(got, expected.transpose(1, 2).reshape(4, TOKENS, WIDTH), atol=1e-6, rtol=0)
    assert not torch.allclose(got, attend(modulation(), 1, 0.8), atol=1e-3)


def test_a_window_of_the_edit_keeps_its_steps_and_kernel():
    edit = modulation(range_steps=STEPS, kernel="sdpa").select([1])
    assert (edit.range_steps, edit.kernel) == (STEPS, "sdpa")


def test_what_observers_are_shown_does_not_depend_on_the_steps():
    (labels, strength), (others, other) = (
        edit.self_bias(("cond",), grid=GRID, t=0.8, spacetime=SpaceTime("full", 2))
        for edit in (modulation(), modulation(range_steps=STEPS))
    )
    assert torch.equal(strength, other)
    assert torch.equal(labels.q, others.q)
    assert torch.equal(labels.k, others.k)


def test_the_reference_is_always_exact():
    exact, kept, memory = (
        modulation(method="reference"),
        modulation(method="reference", range_steps=STEPS),
        RangeMemory(),
    )
    for seed, t in enumerate((0.9, 0.8)):
        assert torch.equal(attend(exact, seed, t), attend(kept, seed, t, memory))


def test_no_step_is_refused():
    with pytest.raises(ValueError, match="range_steps must be >= 1; got 0"):
        modulation(range_steps=0)


def test_a_noise_level_above_the_last_begins_another_run():
    g = torch.Generator().manual_seed(0)
    memory, found = RangeMemory(), []
    for t in (0.9, 0.8, 0.7, 0.9, 0.8):
        q, k = torch.randn(1, 1, 5, 4, generator=g), torch.randn(1, 1, 6, 4, generator=g)
        found.append((memory.find(5, "layer", t, q, k), by_hand(q, k)))
    torch.testing.assert_close(found[3][0], found[3][1])
    assert not torch.equal(found[3][0], found[0][0])
    assert torch.equal(found[4][0], found[3][0])
