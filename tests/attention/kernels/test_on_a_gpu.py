"""On a GPU: a fused kernel runs for modulated calls, and the Triton kernels agree with torch. Skipped without one."""

import pytest
import torch

from videograin.attention import LabelMap, Modulation, SpaceTime, logit_range, reference_attention
from videograin.attention.fused import attend_in_one_pass, match_labels

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

FUSED = {f"aten::_scaled_dot_product_{name}_attention" for name in ("flash", "efficient", "cudnn")}
HEADS, DIM, GRID = 8, 40, (16, 16)  # SD 1.5's finest level has so many heads and channels
TEXT = torch.tensor([-1, 1, 2, -1, -1])
dtypes = pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])


def random(*shape, dtype, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to("cuda", dtype)


@dtypes
@pytest.mark.parametrize("kind", ["self", "cross"])
def test_a_fused_kernel_is_the_one_that_runs(kind, dtype):
    left = torch.zeros(2, *GRID)
    left[:, :, : GRID[1] // 2] = 1
    edit = Modulation(LabelMap([left, left.flip(2)]), TEXT)
    tokens, width = GRID[0] * GRID[1], HEADS * DIM
    q, words = random(4, tokens, width, dtype=dtype), random(4, len(TEXT), width, dtype=dtype)
    call = {"heads": HEADS, "grid": GRID, "roles": ("uncond", "cond"), "t": 0.98}
    run = {
        "self": lambda: edit.self_attention(q, q, q, spacetime=SpaceTime("full", 2), **call),
        "cross": lambda: edit.cross_attention(q, words, words, frames=2, **call),
    }[kind]
    run()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        run()
    counts = {event.key: event.count for event in profile.key_averages()}
    # In cross-attention the unconditional half is plain attention.
    assert sum(counts.get(name, 0) for name in FUSED) == {"self": 1, "cross": 2}[kind]
    assert "aten::_scaled_dot_product_attention_math" not in counts


@dtypes
def test_the_range_kernel_agrees_with_torch(dtype):
    pytest.importorskip("triton")
    from videograin.attention.kernels.triton_range import triton_logit_range

    q, k = random(2, HEADS, 700, DIM, dtype=dtype), random(2, HEADS, 1000, DIM, dtype=dtype, seed=1)
    tiled = logit_range(q, k, chunk=256)  # a chunk of one's own is for the pass in torch
    torch.testing.assert_close(triton_logit_range(q, k), tiled, rtol=1e-4, atol=1e-4)


@dtypes
def test_the_one_pass_kernel_agrees_with_the_literal_formula(dtype):
    pytest.importorskip("triton")
    from videograin.attention.kernels.triton_attention import triton_modulated_attention

    q, k, v = (random(2, HEADS, n, DIM, dtype=dtype, seed=n) for n in (700, 1000, 1000))
    g = torch.Generator().manual_seed(0)
    of_q, of_k = (torch.randint(-1, 3, (2, n), generator=g) for n in (700, 1000))
    c = torch.rand(2, 700, generator=g) * 0.9
    found = attend_in_one_pass(triton_modulated_attention, q, k, v, match_labels(of_q, of_k), c)
    marks = (of_q.cuda(), of_k.cuda(), c.double().cuda())
    exact = reference_attention(q.double(), k.double(), v.double(), *marks)
    rough = {torch.float16: 4e-3, torch.bfloat16: 3e-2}[dtype]
    torch.testing.assert_close(found.double(), exact, rtol=rough, atol=rough)
