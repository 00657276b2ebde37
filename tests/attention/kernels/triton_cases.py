"""Cases for the interpreter of Triton, which must be asked for before triton is imported: test_triton.py starts
pytest on this file in a process of its own."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from videograin.attention import logit_range, modulated_attention, reference_attention
from videograin.attention.fused import attend_in_one_pass, match_labels
from videograin.attention.kernels.triton_attention import triton_modulated_attention
from videograin.attention.kernels.triton_range import triton_logit_range

DIMS = st.sampled_from([8, 33, 40, 64, 80, 160])
DTYPES = st.sampled_from([torch.float32, torch.float16, torch.bfloat16])


def heads_of(batch, tokens, heads, dim, dtype, g):
    """[batch, heads, tokens, dim], strided as heads are split."""
    return torch.randn(batch, tokens, heads, dim, generator=g).to(dtype).transpose(1, 2) * 2


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    batch=st.integers(1, 2),
    heads=st.integers(1, 3),
    rows=st.integers(0, 150),
    keys=st.integers(1, 150),
    dim=DIMS,
    dtype=DTYPES,
)
def test_equals_the_logits_written_out(seed, batch, heads, rows, keys, dim, dtype):
    g = torch.Generator().manual_seed(seed)
    q = heads_of(batch, rows, heads, dim, dtype, g)
    k = heads_of(batch, keys, heads, dim, dtype, g)
    s = q.double() @ k.double().mT / dim**0.5
    found = triton_logit_range(q, k)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), s.amax(-1) - s.amin(-1), atol=2e-5, rtol=1e-5)


def test_channels_that_do_not_lie_side_by_side():
    q, k = torch.randn(1, 2, 16, 20).mT, torch.randn(1, 2, 16, 30).mT
    torch.testing.assert_close(triton_logit_range(q, k), logit_range(q, k))


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    chunks=st.integers(1, 2),
    frames=st.integers(1, 2),
    heads=st.integers(1, 2),
    rows=st.integers(1, 300),
    keys=st.integers(1, 200),
    regions=st.integers(0, 4),
    dim=DIMS,
    dtype=DTYPES,
)
def test_one_pass_equals_the_literal_formula(seed, chunks, frames, heads, rows, keys, regions, dim, dtype):
    g = torch.Generator().manual_seed(seed)
    q = heads_of(chunks * frames, rows, heads, dim, dtype, g)
    k, v = (heads_of(chunks * frames, keys, heads, dim, dtype, g) for _ in range(2))
    # Equal labels side by side, as in pictures, and -1 among them; each frame has its own.
    q_labels, k_labels = (torch.randint(-1, regions + 1, (frames, n), generator=g).sort(1)[0] for n in (rows, keys))
    if seed % 2:
        q_labels, k_labels = q_labels.roll(7, 1), k_labels[:, torch.randperm(keys, generator=g)]
    c = torch.rand(chunks * frames, rows, generator=g) * 0.999
    matched = match_labels(q_labels, k_labels).repeat(chunks)
    found = attend_in_one_pass(triton_modulated_attention, q, k, v, matched, c)
    of_q, of_k = q_labels.repeat(chunks, 1), k_labels.repeat(chunks, 1)
    exact = reference_attention(q.double(), k.double(), v.double(), of_q, of_k, c.double())
    assert found.dtype == dtype
    assert found.shape == q.shape
    fused = modulated_attention(q, k, v, of_q, of_k, c)
    # Queries are not rounded again here, so it may err less than the fused form, and little more.
    allowed = {torch.float32: 2e-5, torch.float16: 1e-3, torch.bfloat16: 8e-3}[dtype]
    assert (found - exact).abs().max() <= (fused - exact).abs().max() + allowed * v.abs().max()


def test_one_pass_leaves_its_inputs_alone_and_reads_any_strides():
    g = torch.Generator().manual_seed(1)
    q, k, v = (torch.randn(1, 2, 16, 70, generator=g).mT for _ in range(3))
    before = [x.clone() for x in (q, k, v)]
    labels = torch.randint(0, 2, (1, 70), generator=g)
    c = torch.rand(1, 70, generator=g) * 0.5
    found = attend_in_one_pass(triton_modulated_attention, q, k, v, match_labels(labels, labels), c)
    torch.testing.assert_close(found, reference_attention(q, k, v, labels, labels, c), atol=1e-5, rtol=1e-5)
    assert all(torch.equal(x, old) for x, old in zip((q, k, v), before))
