"""Arrangement of frames: which keys a query sees, and that chunks never mix."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from videograin.attention import SpaceTime, space_time_attention

MODES = ("full", "sparse_causal", "key_frames", "per_frame")


def literal(q, k, v, heads, chunks, frames, table):
    """Attention in plain loops over chunks, frames and heads; table[f] lists the frames whose keys frame f sees."""
    out = torch.empty_like(q)
    width = q.shape[2] // heads
    for chunk in range(chunks):
        for frame in range(frames):
            row = chunk * frames + frame
            seen_k = torch.cat([k[chunk * frames + f] for f in table[frame]])
            seen_v = torch.cat([v[chunk * frames + f] for f in table[frame]])
            for head in range(heads):
                c = slice(head * width, (head + 1) * width)
                weights = (q[row][:, c] @ seen_k[:, c].T / width**0.5).softmax(-1)
                out[row][:, c] = weights @ seen_v[:, c]
    return out


def table_of(mode, frames):
    return {
        "full": [list(range(frames))] * frames,
        "sparse_causal": [[0, max(f - 1, 0)] for f in range(frames)],
        "per_frame": [[f] for f in range(frames)],
    }[mode]


@settings(max_examples=40, deadline=None)
@given(
    mode=st.sampled_from(("full", "sparse_causal", "per_frame")),
    frames=st.integers(1, 6),
    chunks=st.integers(1, 3),
    tokens=st.integers(1, 9),
    seed=st.integers(0, 2**31),
)
def test_modes_agree_with_a_literal_loop(mode, frames, chunks, tokens, seed):
    g = torch.Generator().manual_seed(seed)
    q, k, v = (torch.randn(chunks * frames, tokens, 8, generator=g) for _ in range(3))
    out = space_time_attention(q, k, v, heads=2, spacetime=SpaceTime(mode, frames))
    expected = literal(q, k, v, 2, chunks, frames, table_of(mode, frames))
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=1e-5)


def test_key_frames_agree_with_a_literal_loop():
    q, k, v = (torch.randn(2 * 8, 5, 8) for _ in range(3))
    table = [[0, 2, 6], [1, 2, 6], [2, 6, 1], [3, 2, 6], [4, 2, 6], [5, 2, 6], [6, 2, 5], [7, 2, 6]]
    out = space_time_attention(q, k, v, heads=2, spacetime=SpaceTime("key_frames", 8, key_frames=2))
    torch.testing.assert_close(out, literal(q, k, v, 2, 2, 8, table), atol=1e-5, rtol=1e-5)


@given(frames=st.integers(1, 20), key_frames=st.integers(1, 25))
def test_key_frames_are_the_own_frame_and_distinct_others(frames, key_frames):
    table = SpaceTime("key_frames", frames, key_frames).seen.tolist()
    assert len(table) == frames
    for frame, row in enumerate(table):
        assert row[0] == frame
        assert len(row) == len(set(row)) == min(key_frames + 1, frames)
        assert all(0 <= f < frames for f in row)


def test_anchors_are_evenly_spaced():
    assert SpaceTime("key_frames", 12, key_frames=3).seen[0].tolist() == [0, 2, 6, 10]


@pytest.mark.parametrize("mode", MODES)
def test_chunks_never_mix(mode):
    spacetime = SpaceTime(mode, 4)
    q, k, v = (torch.randn(2 * 4, 6, 8) for _ in range(3))
    out = space_time_attention(q, k, v, heads=2, spacetime=spacetime)
    changed = [torch.cat([x[:4], torch.randn_like(x[4:])]) for x in (q, k, v)]
    after = space_time_attention(*changed, heads=2, spacetime=spacetime)
    assert torch.equal(out[:4], after[:4])
    assert not torch.allclose(out[4:], after[4:])


@pytest.mark.parametrize("mode", MODES)
def test_labels_travel_with_their_features(mode):
    spacetime = SpaceTime(mode, 5)
    labels = torch.arange(2 * 5 * 3).view(10, 3)
    features = labels[..., None].expand(-1, -1, 4).float()
    for arrange in (spacetime.queries, spacetime.keys):
        assert torch.equal(arrange(features)[..., 0].long(), arrange(labels))
    assert len(spacetime.queries(labels)) == len(spacetime.keys(labels))
    assert torch.equal(spacetime.restore(spacetime.queries(labels)), labels)


def test_the_host_s_own_attention_is_called_once():
    calls = []

    def plain(q, k, v, heads):
        calls.append((q.shape, k.shape, heads))
        return q + 1

    x = torch.zeros(6, 4, 8)
    assert torch.equal(space_time_attention(x, x, x, heads=2, spacetime=SpaceTime("full", 3), plain=plain), x + 1)
    assert calls == [((2, 12, 8), (2, 12, 8), 2)]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("finest", [False, True])
def test_other_modes_are_the_same_at_every_level(mode, finest):
    spacetime = SpaceTime(mode, 4, 3)
    assert spacetime.at(finest) is spacetime


def test_full_coarse_is_full_at_the_coarser_levels_and_key_frames_at_the_finest():
    spacetime = SpaceTime("full_coarse", 8, key_frames=2)
    q, k, v = (torch.randn(2 * 8, 5, 8) for _ in range(3))
    anchored = [[0, 2, 6], [1, 2, 6], [2, 6, 1], [3, 2, 6], [4, 2, 6], [5, 2, 6], [6, 2, 5], [7, 2, 6]]
    for finest, table in ((False, table_of("full", 8)), (True, anchored)):
        out = space_time_attention(q, k, v, heads=2, spacetime=spacetime.at(finest))
        torch.testing.assert_close(out, literal(q, k, v, 2, 2, 8, table), atol=1e-5, rtol=1e-5)


def test_full_coarse_by_itself_arranges_nothing():
    spacetime, x = SpaceTime("full_coarse", 4), torch.zeros(4, 5, 8)
    for arrange in (spacetime.queries, spacetime.keys, spacetime.restore, lambda _: spacetime.seen):
        with pytest.raises(ValueError, match=r"'full_coarse' is .* no arrangement of its own.*Call at\(finest\) first"):
            arrange(x)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("full_coarse", 4, 0), "key_frames must be >= 1; got 0"),
        (("all", 4), "mode must be one of .*; got 'all'"),
        (("full", 0), "frames must be >= 1; got 0"),
        (("key_frames", 4, 0), "key_frames must be >= 1; got 0"),
    ],
)
def test_construction_errors(arguments, says):
    with pytest.raises(ValueError, match=says):
        SpaceTime(*arguments)


@pytest.mark.parametrize("mode", MODES)
def test_a_batch_of_other_frames_is_refused(mode):
    spacetime = SpaceTime(mode, 4)
    for arrange in (spacetime.queries, spacetime.keys):
        with pytest.raises(ValueError, match=r"4 frames per chunk; got \(6, 5, 8\)"):
            arrange(torch.zeros(6, 5, 8))


def test_restore_refuses_what_queries_did_not_return():
    with pytest.raises(ValueError, match=r"with 4 frames; got \(1, 6, 8\)"):
        SpaceTime("full", 4).restore(torch.zeros(1, 6, 8))


def test_in_full_attention_every_frame_sees_all_in_order():
    assert SpaceTime("full", 3).seen.tolist() == [[0, 1, 2]] * 3
