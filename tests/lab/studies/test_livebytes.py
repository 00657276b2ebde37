"""The counter of live tensor bytes behind docs/benchmarks/vram.md, on sums that can be done by hand."""

import pytest
import torch

from videograin.lab.studies import livebytes


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_the_peak_is_what_is_alive_at_once(device):
    with livebytes.LiveBytes(device) as count:
        a = torch.empty(1000, dtype=torch.float32, device=device)  # 4000 bytes
        b = a + 1  # 8000
        del a
        c = b.half()  # 6000
        del b
        d = torch.empty(100, dtype=torch.float16, device=device)  # 2200
    assert count.peak == 8000
    assert count.live == 2200
    del c, d
    assert count.live == 0


def test_views_and_ignored_tensors_cost_nothing():
    x = torch.empty(64, 64, device="meta")
    with livebytes.LiveBytes() as count:
        count.ignore(x)
        y = x.t()[3:, 5:].unsqueeze(0)
    assert count.peak == 0
    assert y.shape == (1, 61, 59)


def test_fused_attention_is_counted_without_its_logits():
    q, k = torch.empty(2, 8, 4096, 40, device="meta"), torch.empty(2, 8, 9000, 40, device="meta")
    with livebytes.LiveBytes() as count, livebytes.FusedAttention():
        count.ignore(q, k)
        out = torch.nn.functional.scaled_dot_product_attention(q, k, k)
    assert out.shape == q.shape
    assert count.live == q.numel() * 4
    assert count.peak == count.live + 2 * 8 * 4096 * 4  # and one float32 for each row


def test_the_dimensions_of_attention_are_those_of_torch():
    q, v = torch.randn(1, 2, 5, 8), torch.randn(1, 2, 7, 16)
    k = torch.randn(1, 2, 7, 8)
    real = torch.nn.functional.scaled_dot_product_attention(q, k, v)
    with livebytes.FusedAttention():
        assert torch.nn.functional.scaled_dot_product_attention(q, k, v).shape == real.shape
