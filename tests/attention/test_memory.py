"""A layer that does not fit the memory is computed in two halves of its heads, and the result is the same."""

import pytest
import torch

from videograin.attention import LabelMap, Modulation, RangeMemory, Schedule, SpaceTime, within_memory

HEADS, GRID = 3, (3, 4)  # odd: the halves differ


class Full(RuntimeError):
    pass


def is_full(error):
    return isinstance(error, Full)


def sized(limit, attend, calls):
    def attend_within(q, k, v, heads, part):
        calls.append((heads, part))
        if heads > limit:
            raise Full(f"{heads} heads")
        return attend(q, k, v, heads, part)

    return attend_within


def modulated(memory, place, t):
    left = torch.zeros(2, *GRID)
    left[:, :, :2] = 1
    always = Schedule(0.8, 1.0, 0.0, 1.0)
    edit = Modulation(LabelMap([left]), torch.tensor([-1, 1]), always, always, range_steps=3)

    def attend(q, k, v, heads, part):
        return edit.self_attention(
            q, k, v, heads=heads, grid=GRID, roles=("cond",), t=t, spacetime=SpaceTime("full", 2), ranges=memory,
            place=(place, part),
        )  # fmt: skip

    return attend


def tensors(heads=HEADS, seed=0):
    g = torch.Generator().manual_seed(seed)
    return [torch.randn(2, GRID[0] * GRID[1], heads * 4, generator=g) for _ in range(3)]


# Four heads: both halves have one shape, and only their place tells their ranges apart.
@pytest.mark.parametrize("heads", [3, 4])
def test_halves_give_the_same_and_keep_their_ranges_apart(heads):
    whole, halves, calls, released = RangeMemory(), RangeMemory(), [], []
    for seed, t in enumerate((0.9, 0.8, 0.7, 0.6)):
        x = tensors(heads, seed)
        expected = modulated(whole, "layer", t)(*x, heads, None)
        attend = sized(heads - 1, modulated(halves, "layer", t), calls)
        got = within_memory(attend, *x, heads, lacks_memory=is_full, release=lambda: released.append(1))
        torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)
    assert calls[:3] == [(heads, None), (heads // 2, 0), (heads - heads // 2, 1)]
    assert len(released) == 4


def test_what_fits_is_computed_once_and_nothing_is_released():
    calls = []
    attend = sized(HEADS, modulated(None, None, 0.9), calls)
    got = within_memory(
        attend,
        *tensors(),
        HEADS,
        lacks_memory=is_full,
        release=lambda: pytest.fail("released"),
    )
    assert got.shape == tensors()[0].shape
    assert calls == [(HEADS, None)]


@pytest.mark.parametrize(("heads", "limit", "tries"), [(3, 0, 2), (1, 0, 1)])
def test_what_does_not_fit_in_halves_either_is_the_host_s_to_report(heads, limit, tries):
    calls = []
    with pytest.raises(Full):
        within_memory(
            sized(limit, None, calls),
            *tensors(heads),
            heads,
            lacks_memory=is_full,
            release=lambda: None,
        )
    assert len(calls) == tries


def test_other_errors_pass():
    def attend(*_):
        raise KeyError("else")

    with pytest.raises(KeyError):
        within_memory(
            attend,
            *tensors(),
            HEADS,
            lacks_memory=is_full,
            release=lambda: pytest.fail("released"),
        )


def test_other_errors_are_passed_on_at_once():
    class Other(Full):
        pass

    def attend(q, k, v, heads, part):
        calls.append(part)
        raise Other("something else")

    calls = []
    with pytest.raises(Other):
        within_memory(attend, *tensors(), HEADS, lacks_memory=lambda error: type(error) is Full, release=lambda: None)
    assert calls == [None]


def test_two_heads_are_halved_into_one_each():
    calls, x = [], tensors(2)
    attend = sized(1, modulated(RangeMemory(), "layer", 0.9), calls)
    got = within_memory(attend, *x, 2, lacks_memory=is_full, release=lambda: None)
    torch.testing.assert_close(got, modulated(RangeMemory(), "layer", 0.9)(*x, 2, None), atol=1e-5, rtol=0)
    assert calls == [(2, None), (1, 0), (1, 1)]
