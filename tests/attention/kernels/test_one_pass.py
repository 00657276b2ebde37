"""The order of visits of kernel "triton", and what happens where it cannot run. Its numbers: test_triton.py."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from videograin.attention import modulated_attention
from videograin.attention.fused import attend_matched, in_one_pass, match_labels
from videograin.attention.kernels.one_pass import one_pass_kernel
from videograin.attention.kernels.plan import make_plan


@given(
    seed=st.integers(0, 2**31),
    frames=st.integers(1, 3),
    queries=st.integers(1, 40),
    keys=st.integers(1, 40),
    count=st.integers(0, 4),
    rows=st.integers(1, 16),
)
def test_every_query_is_in_one_block_with_the_keys_of_its_label(seed, frames, queries, keys, count, rows):
    g = torch.Generator().manual_seed(seed)
    of_q, of_k = (torch.randint(-1, count, (frames, n), generator=g) for n in (queries, keys))
    plan = make_plan(of_q, of_k, count, rows)
    assert (plan.q_order.shape, plan.k_order.shape) == ((frames, queries), (frames, keys))
    for frame in range(frames):
        visited = []
        for first, end, same_first, same_end in plan.blocks[frame].tolist():
            block = plan.q_order[frame, first:end].tolist()
            assert len(block) <= rows
            same = set(plan.k_order[frame, same_first:same_end].tolist())
            for query in block:
                label = int(of_q[frame, query])
                assert same == {key for key in range(keys) if label >= 0 and int(of_k[frame, key]) == label}
            visited += block
        assert sorted(visited) == list(range(queries))
        assert sorted(plan.k_order[frame].tolist()) == list(range(keys))


def test_the_plan_of_a_level_is_made_once_whatever_repeats_it():
    labels = torch.randint(0, 3, (2, 20))
    level = match_labels(labels, labels)
    plan = level.plan(8, torch.device("cpu"))
    assert level.repeat(2).plan(8, torch.device("cpu")) is plan
    assert level.repeat(2).repeat(3).plan(8, torch.device("cpu")) is plan
    assert level.plan(16, torch.device("cpu")) is not plan


@pytest.mark.parametrize(
    ("device", "dtype", "why"),
    [("cpu", torch.float32, "needs an NVIDIA or AMD GPU, the model runs on cpu"), ("cuda", torch.float64, "float32")],
)
def test_where_it_cannot_run_the_warning_says_why(device, dtype, why):
    with pytest.warns(RuntimeWarning, match=why):
        assert one_pass_kernel.__wrapped__(torch.device(device), dtype, 8) is None


@pytest.mark.filterwarnings("ignore:modulated attention makes two passes")
def test_where_it_cannot_run_two_passes_give_the_result():
    g = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, 2, n, 8, generator=g) for n in (30, 20, 20))
    of_q, of_k = torch.randint(0, 3, (1, 30), generator=g), torch.randint(0, 3, (1, 20), generator=g)
    c = torch.rand(1, 30, generator=g) * 0.5
    assert not in_one_pass(q, "triton")
    found = attend_matched(q, k, v, match_labels(of_q, of_k), c, kernel="triton")
    assert torch.equal(found, modulated_attention(q, k, v, of_q, of_k, c))
