"""The object that hosts call: batches of chunks and frames, schedules, halves, and what must change nothing."""

import copy
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from videograin.attention import LabelMap, Modulation, Schedule, SpaceTime, space_time_attention
from videograin.attention.modulation import _check_text_labels

HEADS, WIDTH, GRID, WORDS = 2, 16, (3, 5), 7
TOKENS = GRID[0] * GRID[1]
TEXT = torch.tensor([-1, 1, 1, -1, 2, -1, -1])
ALWAYS = {"self_schedule": Schedule(0.8, 1, 0, 1), "cross_schedule": Schedule(0.9, 1, 0, 1)}


def two_regions(frames):
    """Region 1 walks to the right; region 2 stays in the last row and is absent from the first of several frames."""
    one, two = torch.zeros(frames, *GRID), torch.zeros(frames, *GRID)
    for frame in range(frames):
        one[frame, :2, frame % 4 : frame % 4 + 2] = 1
    two[:, 2, 1:4] = 1
    if frames > 1:
        two[0] = 0
    return LabelMap([one, two])


def batch(chunks, frames, tokens=TOKENS, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(chunks * frames, tokens, WIDTH, generator=g) * 1.5


def plain(q, k, v, heads):
    """A host's attention, recognisable: not bit-identical to torch's fused kernel."""
    q, k, v = (x.double().unflatten(2, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    out = (q @ k.transpose(2, 3) / q.shape[3] ** 0.5).softmax(-1) @ v
    return out.transpose(1, 2).flatten(2).float()


def run_self(modulation, q, k, v, roles, frames, t=0.9, mode="full", plain=plain):
    spacetime = SpaceTime(mode, frames)
    return modulation.self_attention(
        q, k, v, heads=HEADS, grid=GRID, roles=roles, t=t, spacetime=spacetime, plain=plain
    )


def run_cross(modulation, q, k, v, roles, frames, t=0.9, plain=plain, **more):
    return modulation.cross_attention(
        q, k, v, heads=HEADS, grid=GRID, roles=roles, t=t, frames=frames, plain=plain, **more
    )


def row_by_row(q, k, v, q_labels, k_labels, c):
    """Eq. 1 and 4 for one picture [N, channels], one query and one head at a time, in double precision."""
    out = torch.empty(q.shape, dtype=torch.float64)
    d = WIDTH // HEADS
    for head in range(HEADS):
        at = slice(head * d, (head + 1) * d)
        for i in range(len(q)):
            s = k[:, at].double() @ q[i, at].double() / d**0.5
            same = k_labels == q_labels[i]
            s = torch.where(same, s + c[i] * (s.max() - s), s - c[i] * (s - s.min()))
            out[i, at] = s.softmax(0) @ v[:, at].double()
    return out


def strength_by_hand(labels, frame, xi, within, factors=(1.0, 1.0, 1.0)):
    area = labels[frame] if within == "frame" else labels
    return [xi * (1 - (area == label).double().mean()) * factors[label] for label in labels[frame]]


@pytest.mark.parametrize("method", ["fused", "reference"])
@pytest.mark.parametrize("mode", ["full", "sparse_causal", "key_frames", "per_frame"])
def test_self_attention_is_eq_4_row_by_row(mode, method):
    frames, t = 3, 0.9
    modulation = Modulation(two_regions(frames), TEXT, **ALWAYS, region_strength=(0.5, 1.0), method=method)
    q, k, v = (batch(1, frames, seed=n) for n in range(3))
    out = run_self(modulation, q, k, v, ("cond",), frames, t=t, mode=mode)
    labels = modulation.label_map.labels(GRID)
    for frame, seen in enumerate(SpaceTime(mode, frames).seen):
        c = strength_by_hand(labels, frame, 0.8 * t, "clip", (1.0, 0.5, 1.0))
        keys, values, key_labels = (x[seen].flatten(0, 1) for x in (k, v, labels))
        expected = row_by_row(q[frame], keys, values, labels[frame], key_labels, c)
        torch.testing.assert_close(out[frame].double(), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("background", ["neutral", "paper", "free"])
def test_cross_attention_is_eq_1_row_by_row(background):
    frames, t = 3, 0.9
    words = TEXT.clone()
    words[0] = 0  # the start token
    modulation = Modulation(two_regions(frames), words, **ALWAYS, background=background)
    q, k, v = batch(1, frames), batch(1, frames, WORDS, 1), batch(1, frames, WORDS, 2)
    out = run_cross(modulation, q, k, v, ("cond",), frames, t=t)
    labels = modulation.label_map.labels(GRID)
    for frame in range(frames):
        c = strength_by_hand(labels, frame, 0.9 * t, "frame", (0.0 if background == "free" else 1.0, 1.0, 1.0))
        if background == "neutral":  # the start token is the background's, at full strength
            c = [0.9 * t if label == 0 else own for label, own in zip(labels[frame], c)]
        matched = words if background == "neutral" else TEXT
        expected = row_by_row(q[frame], k[frame], v[frame], labels[frame], matched, c)
        torch.testing.assert_close(out[frame].double(), expected, atol=1e-5, rtol=1e-5)


@settings(max_examples=25, deadline=None)
@given(
    frames=st.sampled_from([2, 3, 16]),
    halves=st.sampled_from(["both", "cond", "uncond"]),
    mode=st.sampled_from(["full", "sparse_causal", "key_frames", "per_frame"]),
    seed=st.integers(0, 2**31),
)
def test_the_order_of_the_halves_and_split_calls_agree(frames, halves, mode, seed):
    modulation = Modulation(two_regions(frames), TEXT, **ALWAYS, self_halves=halves, cross_halves=halves)

    def attend(which):
        roles = tuple("cond" if n else "uncond" for n in which)
        rows = torch.cat([torch.arange(frames) + n * frames for n in which])
        in_self = [batch(2, frames, seed=seed % 1000 + n)[rows] for n in range(3)]
        in_cross = [in_self[0], *(batch(2, frames, WORDS, seed % 1000 + n)[rows] for n in (3, 4))]
        return (
            run_self(modulation, *in_self, roles, frames, mode=mode).chunk(len(which)),
            run_cross(modulation, *in_cross, roles, frames).chunk(len(which)),
        )

    uncond_first, cond_first, cond, uncond = attend((0, 1)), attend((1, 0)), attend((1,)), attend((0,))
    for kind in (0, 1):
        for other in (cond_first[kind][1], uncond[kind][0]):
            torch.testing.assert_close(uncond_first[kind][0], other, atol=2e-6, rtol=1e-5)
        for other in (cond_first[kind][0], cond[kind][0]):
            torch.testing.assert_close(uncond_first[kind][1], other, atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize(
    ("halves", "changed"), [("both", (True, True)), ("cond", (False, True)), ("uncond", (True, False))]
)
def test_only_the_chosen_half_is_modulated_and_the_other_is_the_host_s_own(halves, changed):
    frames = 2
    modulation = Modulation(two_regions(frames), TEXT, **ALWAYS, self_halves=halves, cross_halves=halves)
    q, k, v = (batch(2, frames, seed=n) for n in range(3))
    text_k, text_v = batch(2, frames, WORDS, 3), batch(2, frames, WORDS, 4)
    roles = ("uncond", "cond")
    vanilla = space_time_attention(q, k, v, heads=HEADS, spacetime=SpaceTime("full", frames), plain=plain)
    pairs = (
        (run_self(modulation, q, k, v, roles, frames), vanilla),
        (run_cross(modulation, q, text_k, text_v, roles, frames), plain(q, text_k, text_v, HEADS)),
    )
    for out, untouched in pairs:
        for chunk in (0, 1):
            rows = slice(chunk * frames, (chunk + 1) * frames)
            if changed[chunk]:
                assert (out[rows] - untouched[rows]).abs().max() > 1e-2
            else:
                torch.testing.assert_close(out[rows], untouched[rows], atol=1e-6, rtol=0)


def silent_modulations(frames):
    one = torch.ones(frames, *GRID)
    layout = two_regions(frames)
    off = Schedule(0.0, 5, 0, 1)
    return {
        "strength 0": Modulation(layout, TEXT, off, off, "both", "both"),
        "outside the active range": Modulation(layout, TEXT, Schedule(1.0, 0, 0.5, 1), Schedule(1.0, 0, 0.5, 1)),
        "one full-frame region": Modulation(LabelMap([one]), TEXT.clamp(max=1), **ALWAYS),
        "empty masks": Modulation(LabelMap([0 * one, 0 * one]), TEXT, **ALWAYS),
        "region strength 0": Modulation(LabelMap([one, layout.union([2])]), TEXT, **ALWAYS, region_strength=(0.0, 0.0)),
    }


@pytest.mark.parametrize("own", [plain, None])
@pytest.mark.parametrize("frames", [2, 3, 16])
@pytest.mark.parametrize("case", silent_modulations(2))
def test_what_changes_nothing_is_the_plain_path_bit_for_bit(case, frames, own):
    modulation = silent_modulations(frames)[case]
    q, k, v = (batch(2, frames, seed=n) for n in range(3))
    text_k, text_v = batch(2, frames, WORDS, 3), batch(2, frames, WORDS, 4)
    roles = ("cond", "uncond")
    vanilla = space_time_attention(q, k, v, heads=HEADS, spacetime=SpaceTime("full", frames), plain=own)
    assert torch.equal(run_self(modulation, q, k, v, roles, frames, plain=own), vanilla)
    per_frame = space_time_attention(  # cross-attention is attention per frame; let the other entry do the reshaping
        q, text_k, text_v, heads=HEADS, spacetime=SpaceTime("per_frame", frames), plain=own
    )
    assert torch.equal(run_cross(modulation, q, text_k, text_v, roles, frames, plain=own), per_frame)


def test_an_empty_mask_is_an_absent_region():
    frames = 3
    layout = two_regions(frames)
    one, two = layout.union([1]), layout.union([2])
    absent = Modulation(LabelMap([one, two]), TEXT, **ALWAYS)
    empty = Modulation(LabelMap([one, torch.zeros_like(two), two]), torch.where(TEXT == 2, 3, TEXT), **ALWAYS)
    q, k, v = (batch(1, frames, seed=n) for n in range(3))
    text_k, text_v = batch(1, frames, WORDS, 3), batch(1, frames, WORDS, 4)
    for run, tensors in ((run_self, (q, k, v)), (run_cross, (q, text_k, text_v))):
        torch.testing.assert_close(
            run(empty, *tensors, ("cond",), frames), run(absent, *tensors, ("cond",), frames), atol=1e-6, rtol=0
        )


def test_frames_of_one_half_do_not_reach_the_other():
    frames = 3
    modulation = Modulation(two_regions(frames), TEXT, **ALWAYS)
    q, k, v = (batch(2, frames, seed=n) for n in range(3))
    out = run_self(modulation, q, k, v, ("uncond", "cond"), frames)
    for x in (k, v):
        x[frames:] = batch(1, frames, seed=9)
    after = run_self(modulation, q, k, v, ("uncond", "cond"), frames)
    assert torch.equal(out[:frames], after[:frames])
    assert not torch.allclose(out[frames:], after[frames:])


def test_a_context_window_is_the_edit_of_its_frames():
    modulation = Modulation(two_regions(6), TEXT, **ALWAYS)
    window = [4, 0, 5, 0]
    q, k, v = (batch(1, 6, seed=n) for n in range(3))
    text_k, text_v = batch(1, 6, WORDS, 3), batch(1, 6, WORDS, 4)
    whole = run_cross(modulation, q, text_k, text_v, ("cond",), 6)
    part = run_cross(modulation.select(window), q[window], text_k[window], text_v[window], ("cond",), 4)
    torch.testing.assert_close(part, whole[window], atol=1e-6, rtol=0)
    # The window is the clip of its call: the area shares and the logit range are the window's own.
    alone = Modulation(LabelMap([modulation.label_map.union([n])[window] for n in (1, 2)]), TEXT, **ALWAYS)
    in_window = [x[window] for x in (q, k, v)]
    assert torch.equal(
        run_self(modulation.select(window), *in_window, ("cond",), 4), run_self(alone, *in_window, ("cond",), 4)
    )


def test_a_second_run_equals_the_first_and_inputs_are_left_alone():
    modulation = Modulation(two_regions(3), TEXT, **ALWAYS)
    tensors = [batch(2, 3, seed=n) for n in range(3)]
    before = [x.clone() for x in tensors]
    first = run_self(modulation, *tensors, ("uncond", "cond"), 3)
    assert torch.equal(run_self(modulation, *tensors, ("uncond", "cond"), 3), first)
    assert all(torch.equal(x, y) for x, y in zip(tensors, before))
    assert copy.deepcopy(modulation) is modulation


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_stays_near_single(dtype):
    modulation = Modulation(two_regions(3), TEXT, **ALWAYS)
    q, k, v = (batch(2, 3, seed=n).to(dtype) for n in range(3))
    out = run_self(modulation, q, k, v, ("uncond", "cond"), 3, plain=None)
    exact = run_self(modulation, q.float(), k.float(), v.float(), ("uncond", "cond"), 3, plain=None)
    assert out.dtype == dtype
    torch.testing.assert_close(out.float(), exact, atol=8 * torch.finfo(dtype).eps, rtol=0)


def test_repeated_text_takes_repeated_labels():
    modulation = Modulation(two_regions(2), TEXT, **ALWAYS)
    q, k, v = batch(1, 2), batch(1, 2, WORDS, 1), batch(1, 2, WORDS, 2)
    once = run_cross(modulation, q, k, v, ("cond",), 2)
    twice = run_cross(modulation, q, k.repeat(1, 2, 1), v.repeat(1, 2, 1), ("cond",), 2, text_labels=TEXT.repeat(2))
    torch.testing.assert_close(twice, once, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"text_labels": torch.tensor([-1, 3])},
            r"1..2 \(the label map's regions\), 0 for start.*got \[-1, 3\]",
        ),
        ({"text_labels": torch.tensor([-2, 1])}, r"got \[-2, 1\]"),
        ({"text_labels": torch.tensor([1.0])}, r"got torch.float32 \[1\]"),
        ({"self_halves": "all"}, r"self_halves must be one of \('both', 'cond', 'uncond'\); got 'all'"),
        ({"cross_halves": None}, "cross_halves must be one of"),
        ({"background": "none"}, r"background must be one of \('neutral', 'paper', 'free'\); got 'none'"),
        ({"method": "fast"}, "method must be one of"),
        ({"region_strength": (1.0,)}, r"2 factors in \[0, 1\], one per region; got \[1.0\]"),
        ({"region_strength": (1.0, 2.0)}, r"got \[1.0, 2.0\]"),
    ],
)
def test_construction_errors(changes, says):
    with pytest.raises(ValueError, match=says):
        replace(Modulation(two_regions(2), TEXT), **changes)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"roles": ()}, r"roles must be one of \('cond', 'uncond'\) per chunk of the batch; got \(\)"),
        ({"roles": ("cond", "negative")}, "got .'cond', 'negative'"),
        ({"roles": ("cond",)}, r"expected q \[1 chunks \* 3 frames.*got \(6, 15, 16\)"),
        ({"frames": 2}, r"the call has 2 frames, the label map has 3.*modulation.select"),
        ({"q": torch.zeros(6, 14, 16)}, r"3 \* 5 tokens.*got \(6, 14, 16\)"),
        ({"q": torch.zeros(6, 15, 15)}, r"2 heads \* d\]; got \(6, 15, 15\)"),
        ({"k": torch.zeros(6, 14, 16)}, r"\(6, 14, 16\)|\[6, 14, 16\]"),
        ({"t": 900}, r"t must lie in \[0, 1\] \(timestep / 1000\); got 900"),
    ],
)
@pytest.mark.parametrize("kind", ["self", "cross"])
def test_call_errors(kind, changes, says):
    modulation = Modulation(two_regions(3), TEXT, **ALWAYS)
    text = TOKENS if kind == "self" else WORDS
    arguments = {
        "q": batch(2, 3),
        "k": batch(2, 3, text),
        "v": batch(2, 3, text),
        "roles": ("uncond", "cond"),
        "frames": 3,
        **changes,
    }
    with pytest.raises(ValueError, match=says):
        (run_self if kind == "self" else run_cross)(modulation, **arguments)


def test_text_of_another_length_is_refused():
    modulation = Modulation(two_regions(3), TEXT, **ALWAYS)
    k = batch(1, 3, 2 * WORDS)
    with pytest.raises(ValueError, match=r"\[3, 7, 16\]; got \[3, 14, 16\].*repeated or padded likewise"):
        run_cross(modulation, batch(1, 3), k, k, ("cond",), 3)


def test_a_neutral_background_without_a_start_token_is_the_papers():
    frames = 2
    q, k, v = batch(1, frames), batch(1, frames, WORDS, 1), batch(1, frames, WORDS, 2)
    neutral, paper = (Modulation(two_regions(frames), TEXT, **ALWAYS, background=b) for b in ("neutral", "paper"))
    assert torch.equal(run_cross(neutral, q, k, v, ("cond",), frames), run_cross(paper, q, k, v, ("cond",), frames))
    started = TEXT.clone()
    started[0] = 0
    with_start = Modulation(two_regions(frames), started, **ALWAYS, background="neutral")
    assert not torch.allclose(
        run_cross(with_start, q, k, v, ("cond",), frames), run_cross(paper, q, k, v, ("cond",), frames)
    )


def test_a_neutral_background_looks_at_the_start_token():
    """Logits all 0 but one: its range is 1, so a background query's share of the start token is known by hand."""
    words = torch.tensor([0, 1, -1])
    mask = torch.zeros(1, 2, 2)
    mask[0, 0, 0] = 1
    modulation = Modulation(LabelMap([mask]), words, cross_schedule=Schedule(0.5, 0, 0, 1), background="neutral")
    q, k = torch.ones(1, 4, 1), torch.tensor([[[0.0], [1.0], [0.0]]])
    out = modulation.cross_attention(
        q, k, torch.eye(3)[None, :, :1] * 1.0, heads=1, grid=(2, 2), roles=("cond",), t=0.9, frames=1
    )
    # c = 0.5: logits (1 - c) (0, 1, 0) + c (1 - 0) on the start token = (.5, .5, 0)
    share = math.exp(0.5) / (2 * math.exp(0.5) + 1)
    torch.testing.assert_close(out[0, 3, 0], torch.tensor(share))


@pytest.mark.parametrize("values", [[], [0.0, 1.0], [[0, 1]], [3], [-2]])
def test_text_labels_of_another_kind_are_refused(values):
    labels = torch.tensor(values, dtype=torch.float32 if len(values) == 2 else torch.int64)
    with pytest.raises(ValueError, match=r"text_labels must be int64 \[text tokens\] with values 1\.\.2"):
        _check_text_labels(labels, 2)


def test_a_text_label_without_a_list_is_refused():
    with pytest.raises(ValueError, match="text_labels must be int64"):
        _check_text_labels(torch.tensor(1), 2)


@pytest.mark.parametrize("kind", ["self", "cross"])
def test_a_bias_is_there_at_every_strength_but_0(kind):
    def bias(start):
        schedule = Schedule(start, 1, 0, 1)
        edit = Modulation(two_regions(2), TEXT, schedule, schedule)
        if kind == "self":
            return edit.self_bias(("cond",), grid=GRID, t=1.0, spacetime=SpaceTime("full", 2))
        return edit.cross_bias(("cond",), grid=GRID, t=1.0)

    assert bias(0.0) is None
    assert bias(0.5) is not None
    assert bias(1.0) is not None
