"""The streaming logit range against the logits written out."""

from importlib import import_module

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from videograin.attention import logit_range


def written_out(q, k):
    s = q.double() @ k.double().transpose(-1, -2) / q.shape[-1] ** 0.5
    return s.amax(-1) - s.amin(-1)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    heads=st.integers(1, 4),
    rows=st.integers(1, 40),
    keys=st.integers(1, 40),
    dim=st.integers(1, 33),
    chunk=st.one_of(st.none(), st.integers(1, 50)),
    dtype=st.sampled_from([torch.float64, torch.float32, torch.float16, torch.bfloat16]),
)
def test_equals_the_range_of_the_logits_for_any_tile(seed, heads, rows, keys, dim, chunk, dtype):
    g = torch.Generator().manual_seed(seed)
    q = torch.randn(2, heads, rows, dim, generator=g).to(dtype) * 2
    k = torch.randn(2, heads, keys, dim, generator=g).to(dtype) * 2
    spread = logit_range(q, k, chunk=chunk)
    assert spread.shape == (2, heads, rows)
    assert spread.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    torch.testing.assert_close(spread.double(), written_out(q, k), atol=1e-5, rtol=1e-5)


def test_one_key_has_no_range():
    assert torch.equal(logit_range(torch.randn(1, 2, 9, 4), torch.randn(1, 2, 1, 4)), torch.zeros(1, 2, 9))


@pytest.mark.parametrize(
    ("q", "k", "chunk", "says"),
    [
        ((2, 4, 8), (2, 4, 8), None, r"expected q \[B, heads, N, d\].*got q \(2, 4, 8\)"),
        ((1, 2, 4, 8), (2, 4, 8), None, r"got q \(1, 2, 4, 8\) and k \(2, 4, 8\)"),
        ((1, 2, 4, 8), (1, 3, 4, 8), None, "equal B, heads and d"),
        ((1, 2, 4, 8), (2, 2, 4, 8), None, "equal B, heads and d"),
        ((1, 2, 4, 8), (1, 2, 4, 7), None, r"equal B, heads and d; got q \(1, 2, 4, 8\) and k \(1, 2, 4, 7\)"),
        ((1, 2, 4, 8), (1, 2, 0, 8), None, "at least one key"),
        ((1, 2, 4, 8), (1, 2, 4, 8), 0, "must be >= 1; got 0"),
    ],
)
def test_errors(q, k, chunk, says):
    with pytest.raises(ValueError, match=says):
        logit_range(torch.zeros(q), torch.zeros(k), chunk=chunk)


def test_where_the_kernel_does_not_run_it_says_so_and_leaves_the_work_to_torch():
    """Here on the CPU, whether triton is installed or not."""
    find = import_module("videograin.attention.kernels.logit_range")._kernel.__wrapped__
    with pytest.warns(RuntimeWarning, match="found in torch, not by the Triton kernel, which is faster: [A-Z]"):
        assert find(torch.device("cpu"), torch.float32, 40) is None


def test_gradients_pass_through_the_tiles():
    q = torch.randn(1, 2, 7, 4, dtype=torch.float64, requires_grad=True)
    k = torch.randn(1, 2, 9, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda q, k: logit_range(q, k, chunk=4), (q, k))


def test_where_the_tile_does_not_fit_the_memory_a_smaller_one_does(monkeypatch):
    g = torch.Generator().manual_seed(0)
    q, k = (torch.randn(1, 2, 700, 8, generator=g) for _ in range(2))
    exact = logit_range(q, k, chunk=700)
    empty, asked = torch.empty, []

    def little_memory(*size, **options):
        asked.append(size[0])
        if size[0] > 300_000:
            raise torch.OutOfMemoryError("pretended")
        return empty(*size, **options)

    monkeypatch.setattr(torch, "empty", little_memory)
    found = logit_range(q, k)
    assert asked[1:] == [2 * 512**2, 2 * 256**2]  # the first is the result
    torch.testing.assert_close(found, exact)
    with pytest.raises(torch.OutOfMemoryError):
        logit_range(q.repeat(1, 40, 1, 1), k.repeat(1, 40, 1, 1))  # 128 a side is the least
