"""The probe: averages over layers, steps and windows, in bounded memory."""

import copy

import pytest
import torch
from torch.nn.functional import interpolate

from videograin.attention import LayerCall, RangeError, SpaceTime
from videograin.attention.fused import match_labels
from videograin.measuring.attention_probe import AttentionProbe, InspectionError, Phrase, Place
from videograin.measuring.attention_weights import cross_tiles, self_row

FRAMES, LENGTH, HEADS, DIM = 4, 6, 2, 4
SIZE = (4, 6)  # of the latent
HALF = (2, 3)
WORDS = (Phrase("a cat", (1, 2), 1), Phrase("sky", (4,)))
CAT, SKY = [1, 2], [4]


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def cross(seed=0, grid=HALF, frames=None, keys=LENGTH, modulated=True, t=0.9):
    count, tokens = FRAMES if frames is None else len(frames), grid[0] * grid[1]
    q, k = randn(count, tokens, HEADS * DIM, seed=seed), randn(count, keys, HEADS * DIM, seed=seed + 1)
    if not modulated:
        return LayerCall("cross", q, k, HEADS, grid, SIZE, t, frames)
    labels = torch.arange(tokens).remainder(2).expand(count, -1), torch.arange(keys).remainder(3).expand(count, -1)
    return LayerCall(
        "cross", q, k, HEADS, grid, SIZE, t, frames, None, match_labels(*labels), torch.full(q.shape[:2], 0.7)
    )


def looks(seed=0, grid=HALF, frames=None, mode="full"):
    count, tokens = FRAMES if frames is None else len(frames), grid[0] * grid[1]
    q, k = randn(count, tokens, HEADS * DIM, seed=seed), randn(count, tokens, HEADS * DIM, seed=seed + 1)
    return LayerCall("self", q, k, HEADS, grid, SIZE, 0.9, frames, SpaceTime(mode, count))


def words_of(seen, positions):
    """(before, after) [F, T] of some tokens: the mean over the heads of the sum over the tokens."""
    out = torch.zeros(2, len(seen.q), seen.q.shape[1])
    for tile in cross_tiles(seen):
        for n, p in enumerate((tile.before, tile.after)):
            out[n, tile.place, tile.rows] = p[..., positions].sum(-1).mean(0)
    return out


def probe_of(**options):
    return AttentionProbe(**{"frames": FRAMES, "phrases": WORDS, "length": LENGTH, **options})


# --- words ------------------------------------------------------------------------------------------------------------


def test_it_is_the_mean_over_layers_and_steps():
    probe, calls = probe_of(), [cross(0), cross(10), cross(20, modulated=False)]
    for seen in calls:
        probe.add(seen)
    maps = probe.result()
    for number, positions in enumerate((CAT, SKY)):
        before, after = torch.stack([words_of(seen, positions) for seen in calls]).mean(0).unflatten(2, HALF)
        torch.testing.assert_close(maps.before[number], before)
        torch.testing.assert_close(maps.after[number], after)
    assert (maps.modulated, maps.frames, maps.grid) == (2, FRAMES, HALF)
    assert maps.phrases == WORDS


def test_windows_are_averaged_frame_by_frame():
    probe, calls = probe_of(), [cross(0, frames=(2, 0)), cross(10, frames=(3, 2)), cross(20, frames=(1,))]
    for seen in calls:
        probe.add(seen)
    maps = probe.result()
    cat = [words_of(seen, CAT)[1].unflatten(1, HALF) for seen in calls]
    expected = torch.stack([cat[0][1], cat[2][0], (cat[0][0] + cat[1][1]) / 2, cat[1][0]])
    torch.testing.assert_close(maps.after[0], expected)


def test_a_repeated_prompt_counts_in_every_copy():
    probe, seen = probe_of(), cross(keys=3 * LENGTH)
    probe.add(seen)
    expected = words_of(seen, [1, 2, 7, 8, 13, 14])[1].unflatten(1, HALF)
    torch.testing.assert_close(probe.result().after[0], expected)


def test_levels_are_brought_to_the_finest_each_layer_counting_the_same():
    probe, fine, coarse = probe_of(level="all"), cross(0, (4, 6)), [cross(10), cross(20)]
    for seen in (coarse[0], fine, coarse[1]):
        probe.add(seen)
    small = [interpolate(words_of(s, SKY)[1].unflatten(1, HALF)[None], (4, 6), mode="bilinear")[0] for s in coarse]
    expected = (words_of(fine, SKY)[1].unflatten(1, (4, 6)) + small[0] + small[1]) / 3
    torch.testing.assert_close(probe.result().after[1], expected)


# --- a pixel ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["full", "sparse_causal", "key_frames", "per_frame"])
def test_a_pixel_in_multiples_of_an_even_look(mode):
    place = Place(1, 0.99, 0.4)  # token (0, 2) of 2 x 3
    probe, calls = probe_of(phrases=(), place=place), [looks(0, mode=mode), looks(5, mode=mode)]
    for seen in calls:
        probe.add(seen)
    maps = probe.result()
    rows = torch.stack([self_row(seen, 1, 2)[0] for seen in calls]).mean(0)
    torch.testing.assert_close(maps.look_before, rows.unflatten(1, HALF) * FRAMES * 6)
    assert abs(float(maps.look_before.mean()) - 1) < 1e-5
    assert maps.before.shape == (0, FRAMES, *HALF)
    assert maps.modulated == 0


def test_a_pixel_in_windows_is_that_of_the_windows_that_have_it():
    probe = probe_of(phrases=(), place=Place(3, 0.0, 0.0))
    for frames in ((0, 1), (3, 2), (1, 3)):
        probe.add(looks(frames=frames))
    look = probe.result().look_after
    first, second = self_row(looks(), 0, 0)[0] * 0, self_row(looks(frames=(3, 2)), 0, 0)[0]
    first[[3, 2]] += second / 2
    first[[1, 3]] += self_row(looks(frames=(1, 3)), 1, 0)[0] / 2
    torch.testing.assert_close(look, first.unflatten(1, HALF) * FRAMES * 6)
    assert look[0].abs().max() == 0


@pytest.mark.parametrize(("x", "y", "token"), [(0.0, 0.0, 0), (0.999, 0.999, 23), (0.5, 0.25, 9), (0.34, 0.76, 20)])
def test_the_token_of_a_pixel(x, y, token):
    assert Place(0, x, y).token((4, 6)) == token


# --- what is looked at ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("level", "grids"), [("half", [(3, 4)]), ("full", [(5, 7)]), ("all", [(5, 7), (3, 4), (2, 2), (1, 1)])]
)
def test_levels(level, grids):
    probe = probe_of(level=level)
    wanted = [grid for grid in ((5, 7), (3, 4), (2, 2), (1, 1)) if probe.wants("cross", grid, (5, 7), 0.9)]
    assert wanted == grids


def test_kinds():
    words, pixel = probe_of(), probe_of(phrases=(), place=Place(0, 0.5, 0.5))
    both = probe_of(place=Place(0, 0.5, 0.5))
    asked = [[probe.wants(kind, HALF, SIZE, 0.9) for kind in ("self", "cross")] for probe in (words, pixel, both)]
    assert asked == [[False, True], [True, False], [True, True]]


def test_the_range_is_that_of_the_modulation():
    """50 DDIM steps: 0 to 0.3 are the first 15."""
    probe = probe_of()
    steps = [0.981 - 0.02 * n for n in range(50)]
    assert [probe.wants("cross", HALF, SIZE, t) for t in steps] == [True] * 15 + [False] * 35
    assert all(probe_of(end=1.0).wants("cross", HALF, SIZE, t) for t in [*steps, 0.0])
    assert not probe_of(start=0.5, end=0.6).wants("cross", HALF, SIZE, 0.9)


def test_nothing_grows_with_the_number_of_calls():
    probe = probe_of(level="all", place=Place(0, 0.5, 0.5))

    def kept():
        sums = [*probe._words.values(), *probe._looks.values()]
        return sum(s.values.numel() for s in sums)

    for seed in range(3):
        for seen in (cross(seed), cross(seed, (4, 6)), looks(seed)):
            probe.add(seen)
        # before and after of 2 phrases at two grids, and of the pixel at one
        assert kept() == 2 * FRAMES * (2 * 6 + 2 * 24 + 6)


def test_it_is_its_own_deep_copy():
    probe = probe_of()
    assert copy.deepcopy({"a": [probe]})["a"][0] is probe


# --- mistakes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"frames": 0}, "at least 1 frame"),
        ({"phrases": ()}, "name some words, or choose a pixel"),
        ({"level": "quarter"}, "half, full, all; got 'quarter'"),
        ({"start": 0.3, "end": 0.3}, r"got 0\.3 twice"),
        ({"end": 1.5}, r"0 <= start <= end <= 1"),
        ({"length": 4}, r"'sky': expected token positions from 0 to 3; got \[4\]"),
        ({"phrases": (Phrase("x", ()),)}, "'x': expected token positions"),
        ({"place": Place(4, 0.5, 0.5)}, "frames 0 to 3 .*got frame 4"),
        ({"place": Place(0, 1.0, 0.5)}, "inside the picture"),
    ],
)
def test_mistakes(given, said):
    with pytest.raises(ValueError, match=said):
        probe_of(**given)


def test_frames_that_nobody_saw():
    probe = probe_of()
    with pytest.raises(InspectionError, match="no cross-attention was seen at half the latent's side for any frame"):
        probe.result()
    probe.add(cross(frames=(0, 2)))
    with pytest.raises(InspectionError, match="for frames 1, 3: "):
        probe.result()


def test_words_of_another_pack():
    probe = probe_of()
    probe.add(cross(keys=LENGTH + 1, modulated=False))
    with pytest.raises(InspectionError, match="7 text keys, no multiple of the prompt's 6 tokens"):
        probe.result()


def test_calls_that_do_not_fit():
    with pytest.raises(InspectionError, match=r"queries of 4 of the 4 frames with 2 \* 3 tokens"):
        probe_of().add(LayerCall("cross", randn(4, 5, 8), randn(4, 6, 8), HEADS, HALF, SIZE, 0.9))
    with pytest.raises(InspectionError, match=r"for frames \[0, 9\]"):
        probe_of().add(cross(frames=(0, 9)))


def test_a_range_without_a_step_is_known_before_the_run():
    probe = probe_of(start=0.3, end=0.4)
    probe.range.check_steps([0.99, 0.7, 0.5])
    with pytest.raises(RangeError, match=r"none of the 5 steps lies between start 0\.3 and end 0\.4 .*0\.010, 0\.290"):
        probe.range.check_steps([0.99, 0.71, 0.6, 0.5, 0.1])
