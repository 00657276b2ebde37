"""The fused form against the literal formula, against numbers worked out by hand, and against plain attention."""

import math
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from videograin.attention import logit_range, modulated_attention, plain_attention, reference_attention
from videograin.attention.fused import match_labels

HALF = (torch.float16, torch.bfloat16)
FUSED = "_scaled_dot_product_flash_attention_for_cpu"


def draw_case(seed, batch=2, heads=3, rows=11, keys=7, dim=5, regions=3, size=1.0, dtype=torch.float32, c_max=0.95):
    """Random q, k, v, labels with -1 among them and some labels on one side only, strengths with zeros among them."""
    g = torch.Generator().manual_seed(seed)
    q = (torch.randn(batch, heads, rows, dim, generator=g) * size).to(dtype)
    k = (torch.randn(batch, heads, keys, dim, generator=g) * size).to(dtype)
    v = torch.randn(batch, heads, keys, dim, generator=g).to(dtype)
    q_labels = torch.randint(-1, regions + 1, (batch, rows), generator=g)
    k_labels = torch.randint(-1, regions + 2, (batch, keys), generator=g)
    strength = torch.rand(batch, rows, generator=g) * c_max
    strength[torch.rand(batch, rows, generator=g) < 0.2] = 0
    return q, k, v, q_labels, k_labels, strength


def in_double(q, k, v, *rest):
    return q.double(), k.double(), v.double(), *rest


shapes = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 2**31),
        "batch": st.integers(1, 3),
        "heads": st.integers(1, 5),
        "rows": st.integers(1, 33),
        "keys": st.integers(1, 33),
        "dim": st.integers(1, 41),
        "regions": st.integers(0, 6),
    }
)


@settings(max_examples=80, deadline=None)
@given(shapes)
def test_fused_equals_the_literal_formula_exactly(case):
    case = draw_case(**case, dtype=torch.float64, size=1.5)
    torch.testing.assert_close(modulated_attention(*case), modulated_attention(*case, "reference"), atol=1e-11, rtol=0)


@settings(max_examples=80, deadline=None)
@given(shapes, st.floats(0.1, 2.0))
def test_fused_in_float32_is_within_1e_5(case, size):
    case = draw_case(**case, size=size)
    exact = reference_attention(*in_double(*case))
    torch.testing.assert_close(modulated_attention(*case).double(), exact, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(modulated_attention(*case, "reference").double(), exact, atol=1e-5, rtol=1e-5)


@settings(max_examples=80, deadline=None)
@given(shapes, st.sampled_from(HALF), st.floats(0.1, 2.0))
def test_fused_in_half_precision_errs_little_more_than_plain_attention_does(case, dtype, size):
    case = draw_case(**case, size=size, dtype=dtype)
    q, k, v = case[:3]
    own_error = (plain_attention(q, k, v).double() - plain_attention(q.double(), k.double(), v.double())).abs().max()
    error = (modulated_attention(*case).double() - reference_attention(*in_double(*case))).abs().max()
    assert error <= 3 * own_error + 4 * torch.finfo(dtype).eps * v.double().abs().max()


def relative(got, exact):
    return (got.double() - exact).norm() / exact.norm()


# Enough numbers that the luck of a rounding does not decide: a single bfloat16 is off by up to 3.9e-3 by itself.
many = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 2**31),
        "rows": st.integers(24, 48),
        "keys": st.integers(8, 80),
        "dim": st.integers(4, 41),
        "regions": st.integers(0, 6),
    }
)


@settings(max_examples=80, deadline=None)
@given(many, st.sampled_from(HALF), st.floats(0.1, 2.0))
def test_the_relative_error_in_half_precision_is_plain_attention_s_and_3e_3(case, dtype, size):
    case = draw_case(**case, size=size, dtype=dtype)
    q, k, v = case[:3]
    own = relative(plain_attention(q, k, v), plain_attention(q.double(), k.double(), v.double()))
    assert relative(modulated_attention(*case), reference_attention(*in_double(*case))) <= own + 3e-3


def literal_with_range(q, k, v, q_labels, k_labels, strength, known):
    """Eq. 4 in double precision, where the row's maximum is taken to lie `known` above its minimum."""
    q, k, v, c, known = q.double(), k.double(), v.double(), strength.double()[:, None, :, None], known.double()
    s = torch.einsum("bhid,bhjd->bhij", q, k) / q.shape[-1] ** 0.5
    low = s.amin(-1, keepdim=True)
    same = (q_labels[:, None, :, None] == k_labels[:, None, None]) & (q_labels >= 0)[:, None, :, None]
    return torch.where(same, s + c * (low + known[..., None] - s), s - c * (s - low)).softmax(-1) @ v


@settings(max_examples=60, deadline=None)
@given(many, st.integers(2, 6), st.floats(0.1, 2.0))
def test_with_a_range_of_other_keys_or_queries_it_is_the_literal_formula_with_that_range(case, every, size):
    case = draw_case(**case, size=size)
    q, k = case[:2]
    other = draw_case(**{**case_shape(case), "seed": 17}, size=size)
    for known in (logit_range(q, k[:, :, ::every]), logit_range(other[0], other[1])):
        got = modulated_attention(*case, logit_range=known)
        torch.testing.assert_close(got.double(), literal_with_range(*case, known), atol=1e-5, rtol=1e-5)
        for dtype in HALF:
            low = tuple(x.to(dtype) for x in case[:3])
            own = relative(plain_attention(*low), plain_attention(*(x.double() for x in low)))
            exact = literal_with_range(*low, *case[3:], known)
            assert relative(modulated_attention(*low, *case[3:], logit_range=known), exact) <= own + 3e-3


def case_shape(case):
    q, k = case[:2]
    return {"batch": q.shape[0], "heads": q.shape[1], "rows": q.shape[2], "keys": k.shape[2], "dim": q.shape[3]}


@pytest.mark.parametrize("dtype", HALF)
def test_a_large_bias_keeps_its_bits_in_half_precision(dtype):
    # Two keys, the negative one at the top of the range and the positive one at the bottom: at c = 0.5 both end at the
    # same logit, whatever the range, so each gets half. A bias of about 100 rounded to 8 bits is off by up to 0.25.
    # (d = 3, so that the bias is no round number.)
    q = torch.linspace(12, 24, 256).to(dtype).view(1, 1, 256, 1).expand(-1, -1, -1, 3)
    k = torch.tensor([5.0, -5.0]).to(dtype).view(1, 1, 2, 1).expand(-1, -1, -1, 3)
    v = torch.tensor([0.0, 1.0]).to(dtype).view(1, 1, 2, 1).expand(-1, -1, -1, 3)
    labels = torch.ones(1, 256, dtype=torch.int64)
    out = modulated_attention(q, k, v, labels, torch.tensor([[0, 1]]), torch.full((1, 256), 0.5))
    assert (out.double() - 0.5).abs().max() <= torch.finfo(dtype).eps


@pytest.mark.parametrize("method", ["fused", "reference"])
def test_numbers_worked_out_by_hand(method):
    # d = 1, one query q = 1, logits 0, 1, 3; max 3, min 0; c = 0.5; only the middle key has the query's label.
    q = torch.tensor([1.0]).view(1, 1, 1, 1)
    k = torch.tensor([0.0, 1.0, 3.0]).view(1, 1, 3, 1)
    v = torch.tensor([10.0, 20.0, 40.0]).view(1, 1, 3, 1)
    modulated = [0 - 0.5 * (0 - 0), 1 + 0.5 * (3 - 1), 3 - 0.5 * (3 - 0)]  # 0, 2, 1.5
    weights = [math.exp(s) for s in modulated]
    expected = sum(w * x for w, x in zip(weights, (10, 20, 40))) / sum(weights)
    out = modulated_attention(q, k, v, torch.tensor([[7]]), torch.tensor([[0, 7, -1]]), torch.tensor([[0.5]]), method)
    assert out.item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("method", ["fused", "reference"])
def test_none_matches_nothing_not_even_none(method):
    q, k, v, q_labels, k_labels, strength = draw_case(1)
    none, some = torch.full_like(q_labels, -1), torch.full_like(q_labels, 5)
    all_none = modulated_attention(q, k, v, none, torch.full_like(k_labels, -1), strength, method)
    unmatched = modulated_attention(q, k, v, some, torch.full_like(k_labels, -1), strength, method)
    # All pairs negative: (1 - c) s + c min, that is attention with queries shrunk by 1 - c.
    shrunk = plain_attention(q * (1 - strength)[:, None, :, None], k, v)
    torch.testing.assert_close(all_none, shrunk, atol=1e-5, rtol=0)
    torch.testing.assert_close(unmatched, shrunk, atol=1e-5, rtol=0)


@pytest.mark.parametrize("method", ["fused", "reference"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, *HALF])
def test_strength_zero_is_plain_attention_bit_for_bit(method, dtype):
    q, k, v, q_labels, k_labels, strength = draw_case(2, dtype=dtype)
    out = modulated_attention(q, k, v, q_labels, k_labels, torch.zeros_like(strength), method)
    assert torch.equal(out, plain_attention(q, k, v))


def test_a_row_of_strength_zero_among_others_is_plain_attention():
    q, k, v, q_labels, k_labels, strength = draw_case(3)
    strength[:, ::2] = 0
    strength[:, 1::2] = 0.9
    out, plain = modulated_attention(q, k, v, q_labels, k_labels, strength), plain_attention(q, k, v)
    torch.testing.assert_close(out[:, :, ::2], plain[:, :, ::2], atol=1e-6, rtol=1e-6)
    assert (out[:, :, 1::2] - plain[:, :, 1::2]).abs().max() > 0.1


def test_only_equality_of_labels_counts():
    q, k, v, q_labels, k_labels, strength = draw_case(4)
    renamed = torch.tensor([10**12, 3, 0, 77, 5, -1])  # the last one is label -1's place
    out = modulated_attention(q, k, v, renamed[q_labels], renamed[k_labels], strength)
    torch.testing.assert_close(out, modulated_attention(q, k, v, q_labels, k_labels, strength), atol=1e-6, rtol=0)


@given(st.integers(0, 2**31), st.integers(1, 40), st.integers(1, 40), st.integers(0, 12))
def test_labels_that_meet_are_numbered_in_rising_order_small_or_large(seed, rows, keys, regions):
    g = torch.Generator().manual_seed(seed)
    q_labels = torch.randint(-1, regions + 1, (2, rows), generator=g)
    k_labels = torch.randint(-1, regions + 2, (2, keys), generator=g)
    meet = sorted((set(q_labels.flatten().tolist()) & set(k_labels.flatten().tolist())) - {-1})
    large = [torch.where(labels < 0, -1, labels * 10**6 + 5000) for labels in (q_labels, k_labels)]  # sorted
    for matched in (match_labels(q_labels, k_labels), match_labels(*large)):
        assert matched.count == len(meet)
        for labels, index in ((q_labels, matched.q), (k_labels, matched.k)):
            expected = [[meet.index(label) if label in meet else -1 for label in row] for row in labels.tolist()]
            assert index.tolist() == expected


def test_equal_labels_attract_and_different_ones_repel():
    q, k, v, _, _, _ = draw_case(5, rows=12, keys=12)
    labels = (torch.arange(12) % 2).expand(2, -1)
    v = labels[:, None, :, None].float().expand_as(v).contiguous()  # the output is the attention paid to label 1
    weak = modulated_attention(q, k, v, labels, labels, torch.full((2, 12), 0.1))
    strong = modulated_attention(q, k, v, labels, labels, torch.full((2, 12), 0.6))
    assert (strong[:, :, 1::2] > weak[:, :, 1::2]).all()
    assert (strong[:, :, 0::2] < weak[:, :, 0::2]).all()


def test_a_known_logit_range_gives_the_same_and_is_used():
    case = draw_case(6)
    known = logit_range(case[0], case[1])
    assert torch.equal(modulated_attention(*case, logit_range=known), modulated_attention(*case))
    assert not torch.allclose(modulated_attention(*case, logit_range=0 * known), modulated_attention(*case))


def test_inputs_are_left_alone_and_may_be_strided():
    q, k, v, q_labels, k_labels, strength = draw_case(7)
    strided = [x.transpose(1, 2).contiguous().transpose(1, 2) for x in (q, k, v)]
    before = [x.clone() for x in strided]
    out = modulated_attention(*strided, q_labels, k_labels, strength)
    assert all(torch.equal(x, y) for x, y in zip(strided, before))
    torch.testing.assert_close(out, modulated_attention(q, k, v, q_labels, k_labels, strength), atol=1e-6, rtol=0)


class _Watch(TorchDispatchMode):
    """Remembers the operations, the most elements of any tensor that one returned, and the most channels of a 4-d
    one."""

    largest = widest = 0

    def __init__(self):
        super().__init__()
        self.operations = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.operations[func.overloadpacket.__name__] += 1
        out = func(*args, **(kwargs or {}))
        for x in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(x, torch.Tensor):
                self.largest = max(self.largest, x.numel())
                self.widest = max(self.widest, x.shape[-1] if x.dim() == 4 else 0)
        return out


def test_the_fused_form_never_builds_the_logits():
    case = draw_case(8, batch=1, heads=1, rows=2048, keys=2048, dim=8)
    with _Watch() as watch:
        modulated_attention(*case)
    assert 2048 * 16 <= watch.largest < 2048 * 2048 / 4
    case = draw_case(8, batch=1, heads=1, rows=512, keys=512, dim=8)
    with _Watch() as watch:
        modulated_attention(*case, "reference")
    assert watch.largest >= 512 * 512  # the watch does see them


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_kernel_that_runs_is_the_fused_one(dtype):
    case = draw_case(8, batch=1, heads=2, rows=256, keys=256, dim=40, dtype=dtype)
    with _Watch() as watch:
        modulated_attention(*case)
    assert watch.operations[FUSED] == 1


@pytest.mark.parametrize("given", [False, True])
# One head of one row of the batch takes 2 (64 + 48) 16 channels of 4 bytes, 14,336.
@pytest.mark.parametrize(("workspace", "calls"), [(0, 15), (14_335, 15), (30_000, 9), (80_000, 3), (150_000, 2)])
def test_part_by_part_is_as_all_at_once(monkeypatch, workspace, calls, given):
    q, k, v, *rest = draw_case(12, batch=3, heads=5, rows=64, keys=48, dim=8)
    known = logit_range(q, k) if given else None
    whole = modulated_attention(q, k, v, *rest, logit_range=known)
    monkeypatch.setattr("videograin.attention.fused.WORKSPACE", workspace)
    with _Watch() as watch:
        parts = modulated_attention(q, k, v, *rest, logit_range=known)
    torch.testing.assert_close(parts, whole, atol=1e-6, rtol=0)
    assert watch.operations[FUSED] == calls


def test_small_labels_are_counted_and_not_sorted():
    sorting = {"sort", "unique", "_unique2", "searchsorted", "isin"}
    q, k, v, q_labels, k_labels, strength = draw_case(11)
    with _Watch() as watch:
        modulated_attention(q, k, v, q_labels, k_labels, strength)
    assert "bincount" in watch.operations
    assert not sorting & set(watch.operations)
    with _Watch() as watch:
        modulated_attention(q, k, v, q_labels * 10**6 + 10**6 - 1, k_labels * 10**6 + 10**6 - 1, strength)
    assert sorting & set(watch.operations)  # the watch does see them


def test_many_labels_of_which_few_meet_stay_narrow():
    q, k, v, _, _, strength = draw_case(9, batch=1, heads=1, rows=512, keys=512, dim=8)
    q_labels, k_labels = torch.arange(512)[None], torch.arange(510, 1022)[None]  # 510 and 511 meet
    with _Watch() as watch:
        out = modulated_attention(q, k, v, q_labels, k_labels, strength)
    assert watch.widest == 16  # 8 channels, 2 labels that meet, padded to a multiple of 8
    torch.testing.assert_close(
        out, modulated_attention(q, k, v, q_labels, k_labels, strength, "reference"), atol=1e-5, rtol=0
    )


def broken(**changes):
    names = ("q", "k", "v", "q_labels", "k_labels", "strength")
    return {**dict(zip(names, draw_case(10))), **changes}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"q": torch.randn(2, 11, 5)}, r"q \[B, heads, N, d\].*got q \(2, 11, 5\).*Split the heads"),
        ({"v": torch.randn(2, 3, 8, 5)}, r"v \(2, 3, 8, 5\)"),
        ({"k": torch.randn(2, 3, 0, 5), "v": torch.randn(2, 3, 0, 5)}, "at least one key"),
        ({"v": torch.randn(2, 3, 7, 5).half()}, "one floating dtype; got torch.float32, torch.float32, torch.float16"),
        ({"q_labels": torch.zeros(2, 12, dtype=torch.int64)}, r"q_labels must be int64 \[2, 11\].*got.*\[2, 12\]"),
        ({"k_labels": torch.zeros(2, 7)}, r"k_labels must be int64 \[2, 7\].*got torch.float32"),
        ({"k_labels": torch.full((2, 7), -2)}, "k_labels must be >= 0, or -1 for none; got -2"),
        ({"strength": torch.zeros(2, 7)}, r"strength must be floating \[2, 11\].*got torch.float32 \[2, 7\]"),
        ({"strength": torch.zeros(2, 11, dtype=torch.int64)}, "strength must be floating"),
        ({"strength": torch.ones(2, 11)}, r"strength must lie in \[0, 1\); got 1.0 to 1.0"),
        ({"strength": torch.full((2, 11), -0.5)}, "got -0.5"),
        ({"strength": torch.full((2, 11), math.nan)}, "got nan"),
        ({"method": "fast"}, "method must be one of .*'fused', 'reference'.*got 'fast'"),
        ({"logit_range": torch.zeros(2, 3, 7)}, r"logit_range must be .*\(2, 3, 11\); got \(2, 3, 7\)"),
        ({"logit_range": torch.zeros(2, 3, 11), "method": "reference"}, "logit_range is used by method 'fused' alone"),
    ],
)
def test_errors_say_what_was_expected_and_what_came(changes, says):
    with pytest.raises(ValueError, match=says):
        modulated_attention(**broken(**changes))
