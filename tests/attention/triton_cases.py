"""Cases for the interpreter of Triton, which must be asked for before triton is imported: test_triton_range.py starts
pytest on this file in a process of its own."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from videograin.attention import row_range
from videograin.attention.triton_range import triton_row_range


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    batch=st.integers(1, 2),
    heads=st.integers(1, 3),
    rows=st.integers(0, 150),
    keys=st.integers(1, 150),
    dim=st.sampled_from([8, 33, 40, 64, 80, 160]),
    dtype=st.sampled_from([torch.float32, torch.float16, torch.bfloat16]),
)
def test_equals_the_logits_written_out(seed, batch, heads, rows, keys, dim, dtype):
    g = torch.Generator().manual_seed(seed)
    q = torch.randn(batch, rows, heads, dim, generator=g).to(dtype).transpose(1, 2) * 2  # as heads are split: strided
    k = torch.randn(batch, keys, heads, dim, generator=g).to(dtype).transpose(1, 2) * 2
    s = q.double() @ k.double().mT / dim**0.5
    found = triton_row_range(q, k)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), s.amax(-1) - s.amin(-1), atol=2e-5, rtol=1e-5)


def test_channels_that_do_not_lie_side_by_side():
    q, k = torch.randn(1, 2, 16, 20).mT, torch.randn(1, 2, 16, 30).mT
    torch.testing.assert_close(triton_row_range(q, k), row_range(q, k))
