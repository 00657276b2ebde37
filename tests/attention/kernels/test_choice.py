"""Which kernel computes modulated calls, and how xformers is called (a stand-in: the real one runs on GPUs alone)."""

import sys
from types import ModuleType

import pytest
import torch

from videograin.attention import LabelMap, Modulation, SpaceTime
from videograin.attention.kernels.choice import attend

FUSED = "aten::_scaled_dot_product_flash_attention_for_cpu"
TEXT = torch.tensor([-1, 1, 2, -1, -1])


def layout(frames=2, grid=(8, 8)):
    left = torch.zeros(frames, *grid)
    left[:, :, : grid[1] // 2] = 1
    return LabelMap([left, left.flip(1)])


def operations(function):
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        function()
    return {event.key: event.count for event in profile.key_averages()}


# float16 is emulated on most CPUs, but goes the same way.
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("dim", [4, 8, 16, 40, 64, 80, 160])
@pytest.mark.parametrize("kind", ["self", "cross"])
def test_the_fused_kernel_is_the_one_that_runs(kind, dim, dtype):
    edit = Modulation(layout(), TEXT)
    q, words = torch.randn(4, 64, 2 * dim, dtype=dtype), torch.randn(4, len(TEXT), 2 * dim, dtype=dtype)
    call = {"heads": 2, "grid": (8, 8), "roles": ("uncond", "cond"), "t": 0.98}
    run = {
        "self": lambda: edit.self_attention(q, q, q, spacetime=SpaceTime("full", 2), **call),
        "cross": lambda: edit.cross_attention(q, words, words, frames=2, **call),
    }[kind]
    run()
    counts = operations(run)
    # In cross-attention the unconditional half is plain attention.
    assert counts.get(FUSED, 0) == {"self": 1, "cross": 2}[kind]
    assert "aten::_scaled_dot_product_attention_math" not in counts


@pytest.fixture
def xformers(monkeypatch):
    """A stand-in that keeps xformers' contract: [B, tokens, heads, d], a scale, no mask."""
    package, ops, calls = ModuleType("xformers"), ModuleType("xformers.ops"), []

    def memory_efficient_attention(query, key, value, attn_bias=None, p=0.0, scale=None):
        assert attn_bias is None
        assert p == 0
        calls.append((query.shape, key.shape, value.shape))
        weights = torch.einsum("bnhd,bmhd->bhnm", query.double(), key.double()).mul(scale).softmax(-1)
        return torch.einsum("bhnm,bmhd->bnhd", weights, value.double()).to(query.dtype)

    package.ops, ops.memory_efficient_attention = ops, memory_efficient_attention
    monkeypatch.setitem(sys.modules, "xformers", package)
    monkeypatch.setitem(sys.modules, "xformers.ops", ops)
    return calls


def test_xformers_is_given_its_own_layout(xformers):
    g = torch.Generator().manual_seed(0)
    q = torch.randn(2, 3, 7, 8, generator=g)
    k, v = (torch.randn(2, 3, 5, 8, generator=g) for _ in range(2))
    torch.testing.assert_close(attend(q, k, v, 0.3, "xformers"), attend(q, k, v, 0.3, "sdpa"))
    assert xformers == [((2, 7, 3, 8), (2, 5, 3, 8), (2, 5, 3, 8))]


def test_an_edit_with_xformers_is_the_same_edit(xformers):
    g = torch.Generator().manual_seed(1)
    q, words = torch.randn(2, 64, 16, generator=g), torch.randn(2, len(TEXT), 16, generator=g)
    results = []
    for kernel in ("sdpa", "auto", "xformers"):
        edit = Modulation(layout(), TEXT, kernel=kernel)
        call = {"heads": 2, "grid": (8, 8), "roles": ("cond",), "t": 0.98}
        in_self = edit.self_attention(q, q, q, spacetime=SpaceTime("full", 2), **call)
        results.append((in_self, edit.cross_attention(q, words, words, frames=2, **call)))
    for other in results[1:]:
        torch.testing.assert_close(other, results[0])
    assert len(xformers) == 2


def test_without_xformers_the_edit_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "xformers", None)  # makes the import fail
    with pytest.raises(ValueError, match=r"Modulation: kernel 'xformers' needs the package xformers.*pip install"):
        Modulation(layout(), TEXT, kernel="xformers")


def test_an_unknown_kernel_is_refused():
    with pytest.raises(ValueError, match=r"Modulation: kernel must be one of \('auto', .*; got 'sage'"):
        Modulation(layout(), TEXT, kernel="sage")


def test_what_xformers_cannot_compute_is_named(monkeypatch):
    def cannot(*_, **__):
        raise NotImplementedError

    package, ops = ModuleType("xformers"), ModuleType("xformers.ops")
    package.ops, ops.memory_efficient_attention = ops, cannot
    monkeypatch.setitem(sys.modules, "xformers", package)
    monkeypatch.setitem(sys.modules, "xformers.ops", ops)
    q = torch.zeros(1, 2, 5, 24)
    with pytest.raises(ValueError, match=r"cannot compute attention in torch.float32 on cpu with 24 channels here"):
        attend(q, q, q, 1.0, "xformers")
