import copy

import pytest
import torch

from videograin.attention import LayerCall, RangeError
from videograin.editing import attention_features as module
from videograin.editing.attention_features import FeatureCollector, Features, FeaturesError, reference_features


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


WORDS = 7
ROUNDING = {"rtol": 2**-11, "atol": 1e-6}  # to float16, once


def calls(frames=3, grid=(2, 5), layers=((4, 8), (2, 16), (1, 3)), scale=2.0, keys=None):
    """(q, k, heads) of several layers of one level, of unlike heads and widths; keys: text tokens, None = its own."""
    tokens = grid[0] * grid[1]
    return [
        (
            scale * randn(frames, tokens, heads * d, seed=n),
            randn(frames, keys or tokens, heads * d, seed=n + 50),
            heads,
        )
        for n, (heads, d) in enumerate(layers)
    ]


def seen(q, k, heads, grid=(2, 5), *, kind="self", frames=None, t=0.5):
    return LayerCall(kind, q, k, heads, grid, tuple(2 * side for side in grid), t, frames)


def collect(given, grid=(2, 5), frames=3, dtype=torch.float32, words=()):
    collector = FeatureCollector(frames)
    for kind, layers in (("self", given), ("cross", words)):
        for q, k, heads in layers:
            collector.add(seen(q.to(dtype), k.to(dtype), heads, grid, kind=kind))
    return collector.result()


# --- the average ------------------------------------------------------------------------------------------------------


def test_it_is_the_mean_of_all_heads_softmax_rows():
    got = collect(calls())
    torch.testing.assert_close(got.values.double(), reference_features(calls()), **ROUNDING)
    assert (got.grid, got.frames, got.calls, got.level) == ((2, 5), 3, 3, "half")
    assert got.values.dtype == torch.float16
    assert got.cross is None


def test_cross_attention_is_averaged_likewise():
    words = calls(keys=WORDS)
    got = collect(calls(), words=words)
    assert (got.cross.shape, got.cross.dtype) == ((3, 10, WORDS), torch.float16)
    torch.testing.assert_close(got.cross.double(), reference_features(words), **ROUNDING)
    torch.testing.assert_close(got.cross.sum(-1, dtype=torch.float32), torch.ones(3, 10), rtol=0, atol=1e-3)
    assert torch.equal(got.values, collect(calls()).values)


def test_sums_are_float32_however_many_calls():
    """2049 equal calls: a float16 sum would stand still at 2048 ulps, and a mean of float16 rows would drift."""
    q, k, heads = calls()[2]
    collector = FeatureCollector(3)
    for _ in range(2049):
        collector.add(seen(q, k, heads))
    got = collector.result()
    torch.testing.assert_close(got.values.double(), reference_features([(q, k, heads)]), **ROUNDING)
    assert got.calls == 2049


def test_by_hand():
    """One head, two tokens: logits (0, ln 3) and (0, 0)."""
    q = torch.tensor([[[2.0], [0.0]]])
    k = torch.tensor([[[0.0], [torch.tensor(3.0).log() / 2]]])
    got = collect([(q, k, 1)], (1, 2), 1).values
    torch.testing.assert_close(got, torch.tensor([[[0.25, 0.75], [0.5, 0.5]]]).half())


@pytest.mark.parametrize("tile", [1, 7, 40, 160])
def test_tiles_change_nothing(monkeypatch, tile):
    whole = collect(calls(), words=calls(keys=WORDS))
    monkeypatch.setattr(module, "_TILE_CPU", tile)
    tiled = collect(calls(), words=calls(keys=WORDS))
    torch.testing.assert_close(tiled.values, whole.values, rtol=2**-10, atol=1e-6)
    torch.testing.assert_close(tiled.cross, whole.cross, rtol=2**-10, atol=1e-6)


def test_no_more_than_a_tile_of_probabilities_at_once(monkeypatch):
    sizes, softmax = [], torch.softmax

    def watched(x, *args, **kwargs):
        sizes.append(x.numel())
        return softmax(x, *args, **kwargs)

    monkeypatch.setattr(module, "_TILE_CPU", 4 * 60 * 10)
    monkeypatch.setattr(torch, "softmax", watched)
    collect(calls(grid=(6, 10), layers=((4, 8),)), (6, 10))
    assert max(sizes) == 4 * 60 * 10
    assert sum(sizes) == 3 * 4 * 60 * 60


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float16, 2e-3), (torch.bfloat16, 2e-2)])
def test_low_precision_comes_in_float32_counts(dtype, tolerance):
    """The inputs are rounded, the sums are not: equal to float32 arithmetic on the rounded inputs."""
    rounded = [(q.to(dtype).float(), k.to(dtype).float(), heads) for q, k, heads in calls()]
    got = collect(calls(), dtype=dtype)
    torch.testing.assert_close(got.values, collect(rounded).values, rtol=2**-10, atol=1e-6)
    torch.testing.assert_close(got.values, collect(calls()).values, rtol=0, atol=tolerance)


def test_logits_beyond_float16():
    q = torch.full((1, 2, 4), 300.0).half()
    k = torch.tensor([300.0, 299.0]).half()[None, :, None].expand(1, 2, 4)
    assert torch.isfinite(collect([(q, k, 1)], (1, 2), 1).values).all()


def test_frames_do_not_see_each_other():
    changed = calls()
    changed[0][1][2, 4:] += 5
    before, after = collect(calls()).values, collect(changed).values
    assert torch.equal(before[:2], after[:2])
    assert not torch.allclose(before[2], after[2])


def test_windows_of_frames_are_averaged_where_they_overlap():
    q, k, heads = calls()[0]
    q2, k2 = randn(*q.shape, seed=9), randn(*k.shape, seed=10)
    collector = FeatureCollector(3)
    collector.add(seen(q[[2, 0]], k[[2, 0]], heads, frames=(2, 0)))
    collector.add(seen(q2[[0, 1]], k2[[0, 1]], heads, frames=torch.tensor([0, 1])))
    got = collector.result()
    first, second = reference_features([(q, k, heads)]), reference_features([(q2, k2, heads)])
    expected = torch.stack([(first[0] + second[0]) / 2, second[1], first[2]])
    torch.testing.assert_close(got.values.double(), expected, **ROUNDING)
    assert got.calls == 1


def test_results_stay_as_they_were_when_more_is_added():
    collector = FeatureCollector(3)
    given = calls(layers=((4, 8), (4, 8)))
    collector.add(seen(*given[0]))
    early = collector.result().values
    kept = early.clone()
    collector.add(seen(*given[1]))
    assert torch.equal(early, kept)
    assert not torch.equal(collector.result().values, early)


def test_nothing_is_left_of_autograd_and_clones_share_the_collector():
    collector = FeatureCollector(3)
    q, k, heads = calls()[0]
    collector.add(seen(q.requires_grad_(), k, heads))
    assert not collector.result().values.requires_grad
    assert copy.deepcopy({"collector": collector})["collector"] is collector


@pytest.mark.parametrize(
    ("level", "size", "grids"),
    [
        ("half", (16, 16), [(8, 8)]),
        ("half", (37, 66), [(19, 33)]),
        ("half", (1, 2), [(1, 1)]),
        ("full", (37, 66), [(37, 66)]),
    ],
)
def test_the_level(level, size, grids):
    collector = FeatureCollector(2, level)
    offered = [(37, 66), (19, 33), (18, 33), (16, 16), (8, 8), (4, 4), (10, 17), (1, 1), (66, 37), (33, 19)]
    assert [grid for grid in offered if collector.wants("self", grid, size, 0.5)] == grids
    assert all(collector.wants("cross", list(grid), torch.Size(size), 0.0) for grid in grids)


@pytest.mark.parametrize(
    ("start", "end", "wanted"),
    [(0.0, 1.0, [0.999, 0.75, 0.5, 0.25, 0.0]), (0.25, 0.75, [0.75, 0.5]), (0.0, 0.1, [0.999])],
)
def test_the_noise_range(start, end, wanted):
    """0 = pure noise, as percents of a denoising are: t falls from 1 to 0."""
    collector = FeatureCollector(2, start=start, end=end)
    offered = [0.999, 0.75, 0.5, 0.25, 0.0]
    for kind in ("self", "cross"):
        assert [t for t in offered if collector.wants(kind, (2, 5), (4, 10), t)] == wanted


def test_a_noise_range_without_a_step():
    collector = FeatureCollector(2, start=0.3, end=0.31)
    assert not collector.wants("self", (2, 5), (4, 10), 0.5)
    with pytest.raises(FeaturesError, match=r"no step lies between feature_start 0\.3 and feature_end 0\.31.*Widen"):
        collector.result()


def test_a_noise_range_without_a_step_is_known_before_the_run():
    collector, edge = FeatureCollector(2, start=0.3, end=0.31), FeatureCollector(2, start=0.25, end=0.5)
    with pytest.raises(RangeError, match=r"none of the 3 steps .* 0\.3 and feature_end 0\.31 .* 0\.001, 0\.250"):
        collector.range.check_steps([0.999, 0.75, 0.5])
    collector.range.check_steps([0.999, 0.695])
    edge.range.check_steps(iter([0.75]))


def test_memory_does_not_grow_with_the_calls():
    """Two float32 buffers, as the docstring says, and no tensor more."""
    import gc

    def held():
        return sum(x.untyped_storage().nbytes() for x in gc.get_objects() if type(x) is torch.Tensor)

    gc.collect()
    collector, before = FeatureCollector(3, "full"), held()
    layers = calls(grid=(6, 8), layers=((4, 8),)), calls(grid=(6, 8), layers=((4, 8),), keys=WORDS)
    given = held()
    assert given > before  # it does see tensors
    for _ in range(5):
        for kind, ((q, k, heads),) in zip(("self", "cross"), layers):
            collector.add(seen(q, k, heads, (6, 8), kind=kind))
    grown = held() - given
    assert grown == 4 * 3 * 48 * (48 + WORDS)


def test_what_would_not_fit_the_memory_is_refused_before_it_is_taken(monkeypatch):
    q, k, heads = calls()[0]
    monkeypatch.setattr(module, "_MOST", 4 * 3 * 10 * (10 + WORDS) - 1)
    collector = FeatureCollector(3, "full")
    collector.add(seen(q, k, heads))
    with pytest.raises(FeaturesError, match=r"3 frames at 2 x 5 tokens need .* GB; expected.*feature_level half"):
        collector.add(seen(*calls(keys=WORDS)[0], kind="cross"))


def test_the_memory_that_features_need_is_told_in_gigabytes():
    large = torch.empty(0).new_empty(1, 1, 1).expand(64, 16384, 8)
    with pytest.raises(FeaturesError, match=r"64 frames at 128 x 128 tokens need 64\.0 GB; expected at most 8 GB"):
        FeatureCollector(64, "full").add(seen(large, large, 1, (128, 128)))


# --- mistakes ---------------------------------------------------------------------------------------------------------


def test_nothing_collected():
    with pytest.raises(FeaturesError, match=r"for any frame: the model has none at half the latent's side.*switch"):
        FeatureCollector(3).result()
    collector = FeatureCollector(3)
    q, k, heads = calls()[0]
    collector.add(seen(q[:1], k[:1], heads, frames=(1,)))
    with pytest.raises(FeaturesError, match=r"for frames 0, 2"):
        collector.result()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"grid": (2, 4)}, r"2 \* 4 tokens.*got \[3, 10, 32\]"),
        ({"heads": 5}, r"5 heads"),
        ({"frames": [0, 1]}, r"expected q and k \[2 frames"),
        ({"frames": [0, 1, 3]}, r"frames from 0 to 2, got \[0, 1, 3\]"),
        ({"frames": [0, 1, -1]}, "frames from 0 to 2"),
        ({"k": torch.zeros(3, 9, 32)}, r"and \[3, 9, 32\]"),
        ({"q": torch.zeros(2, 10, 32), "k": torch.zeros(2, 10, 32)}, "For a part of the 3 frames say which"),
        ({"kind": "cross", "k": torch.zeros(3, 7, 16)}, r"and \[3, 7, 16\]"),
        ({"kind": "cross", "k": torch.zeros(2, 7, 32)}, r"and \[2, 7, 32\]"),
    ],
)
def test_what_does_not_fit_is_refused_and_not_counted(change, says):
    q, k, heads = calls()[0]
    collector = FeatureCollector(3)
    with pytest.raises(FeaturesError, match=says):
        collector.add(seen(**{"q": q, "k": k, "heads": heads, **change}))
    with pytest.raises(FeaturesError, match="any frame"):
        collector.result()


def test_another_level_afterwards():
    collector = FeatureCollector(3)
    collector.add(seen(*calls()[0]))
    with pytest.raises(FeaturesError, match=r"grid \(5, 2\) after layers of \(2, 5\)"):
        collector.add(seen(*calls()[0], (5, 2)))
    with pytest.raises(FeaturesError, match=r"grid \(5, 2\) after layers of \(2, 5\)"):
        collector.add(seen(*calls(keys=WORDS)[0], (5, 2), kind="cross"))


def test_another_number_of_text_keys_drops_them_for_good_and_keeps_the_rest(caplog):
    collector = FeatureCollector(3)
    for keys in (WORDS, 2 * WORDS, WORDS, 3 * WORDS):
        collector.add(seen(*calls()[0]))
        collector.add(seen(*calls(keys=keys)[0], kind="cross"))
    got = collector.result()
    assert (got.cross, got.calls) == (None, 4)
    torch.testing.assert_close(got.values.double(), reference_features(calls()[:1]), **ROUNDING)
    assert not collector.wants("cross", (2, 5), (4, 10), 0.5)
    assert collector.wants("self", (2, 5), (4, 10), 0.5)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "7 and then with 14 text keys" in caplog.text


def test_words_that_some_frame_never_saw_are_left_out():
    collector = FeatureCollector(3)
    collector.add(seen(*calls()[0]))
    q, k, heads = calls(keys=WORDS)[0]
    collector.add(seen(q[:2], k[:2], heads, kind="cross", frames=(0, 1)))
    assert collector.result().cross is None


def test_arguments_of_the_collector():
    with pytest.raises(FeaturesError, match="frames must be >= 1"):
        FeatureCollector(0)
    with pytest.raises(FeaturesError, match="level must be one of half, full; got 'quarter'"):
        FeatureCollector(1, "quarter")
    for start, end in ((-0.1, 1), (0.5, 0.5), (0.6, 0.5), (0, 1.1), (float("nan"), 1)):
        with pytest.raises(RangeError, match=r"feature_start <=? feature_end"):
            FeatureCollector(1, start=start, end=end)


GOOD = torch.full((2, 6, 6), 1 / 6)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"values": torch.full((2, 6, 5), 0.2)}, r"expected \[F, 6, 6\] for a grid of \(2, 3\), got \[2, 6, 5\]"),
        ({"values": torch.zeros(0, 6, 6)}, "got .0, 6, 6"),
        ({"values": [1.0]}, "got list"),
        ({"values": GOOD.double()}, "float16 or float32 on the CPU, got torch.float64"),
        ({"values": GOOD * 2}, "12 of 12 rows are no probabilities"),
        ({"values": GOOD.index_fill(1, torch.tensor([1]), torch.nan)}, "2 of 12 rows"),
        ({"values": GOOD + torch.tensor([-0.3, 0.3, 0, 0, 0, 0])}, "12 of 12 rows"),
        ({"grid": (-2, -3)}, "sides >= 1"),
        ({"calls": 0}, "calls must be an integer >= 1, got 0"),
        ({"level": "double"}, "level must be one of half, full; got 'double'"),
        ({"cross": torch.full((2, 5, 4), 0.25)}, r"cross features: expected \[2, 6, L\].*got \[2, 5, 4\]"),
        ({"cross": torch.full((1, 6, 4), 0.25)}, r"cross features: expected \[2, 6, L\].*got \[1, 6, 4\]"),
        ({"cross": torch.zeros(2, 6, 0)}, r"got \[2, 6, 0\]"),
        ({"cross": torch.full((2, 6, 4), 0.2)}, "cross features: 12 of 12 rows are no probabilities"),
    ],
)
def test_features_are_checked_when_made(change, says):
    with pytest.raises(FeaturesError, match=says):
        Features(**{"grid": (2, 3), "values": GOOD, **change})


def test_features_cannot_be_changed():
    with pytest.raises(AttributeError):
        Features((2, 3), GOOD).values = GOOD


@pytest.mark.parametrize("sides", [(6, 10), (32, 32), (64, 64)])
def test_float32_is_rounded_and_its_rows_stay_probabilities(sides):
    """Flat, peaked and ragged rows: what float16 makes of them passes its own check, here and after loading."""
    tokens = sides[0] * sides[1]
    flat = torch.full((1, tokens, tokens), 1 / tokens)
    peaked = torch.softmax(12 * randn(1, tokens, tokens), -1)
    ragged = torch.softmax(randn(1, tokens, tokens, seed=1), -1)
    for rows in (flat, peaked, ragged):
        once = Features(sides, rows, cross=rows[..., :1] * 0 + 1)
        assert (once.values.dtype, once.cross.dtype) == (torch.float16, torch.float16)
        torch.testing.assert_close(once.values.float(), rows, rtol=2**-11, atol=2**-25)
        assert Features(sides, once.values).values is once.values
