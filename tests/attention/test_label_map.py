"""Masks to token labels: hand-drawn cases, odd sizes, overlaps, small parts."""

import copy
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from videograin.attention import LabelMap, normalise_mask


def draw(*rows):
    """One frame, one character per pixel: '#' = 1, '.' = 0, '1'..'9' = tenths. -> [1, H, W]"""
    value = {"#": 1.0, ".": 0.0}
    return torch.tensor([[[value.get(c, int(c) / 10 if c.isdigit() else 0.0) for c in row] for row in rows]])


def drawn_labels(masks, grid):
    """Labels of the first frame as lines of text."""
    return ["".join(map(str, row)) for row in LabelMap(masks).labels(grid)[0].view(grid).tolist()]


def test_a_region_and_the_background():
    assert drawn_labels([draw("....", ".##.", ".##.", "....")], (4, 4)) == ["0000", "0110", "0110", "0000"]


def test_the_largest_share_of_a_token_wins():
    one = draw("###.....", "###.....")
    two = draw(".....###", ".....###")
    assert drawn_labels([one, two], (1, 4)) == ["1122"]  # the middle tokens are half covered: ties, see below
    assert drawn_labels([one, two], (1, 2)) == ["12"]
    assert drawn_labels([draw("#...", "...."), draw("..##", "..#.")], (1, 2)) == ["12"]  # 1 keeps its only token


def test_background_has_the_share_that_nothing_covers():
    # In the left token 6 of 16 pixels are region 1, 4 are region 2 and 6 are free; the other tokens are there so that
    # both regions have one anyway. A tie with the background goes to the region; one free pixel more, and it is not.
    one = draw("####....####", "........####", "##......####", "........####")
    two = draw("....####....", "########....", "....####....", "....####....")
    assert drawn_labels([one, two], (1, 3)) == ["121"]
    one[0, 2, 0] = 0
    assert drawn_labels([one, two], (1, 3)) == ["021"]


def test_ties_go_to_the_later_region():
    left, right = draw("##..", "##.."), draw("..##", "..##")
    assert drawn_labels([left, right], (1, 1)) == ["2"]
    assert drawn_labels([right, left], (1, 1)) == ["2"]
    assert drawn_labels([left], (1, 1)) == ["1"]  # against the background too
    thirds = [draw("#..#..#.."), draw(".#..#..#."), draw("..#..#..#")]
    assert drawn_labels(thirds, (1, 1)) == ["3"]  # sums of thirds are not exact in floating point


def test_a_later_region_hides_an_earlier_one():
    whole, part = torch.ones(1, 6, 6), draw("......", ".####.", "......", "......", "......", "......")
    assert drawn_labels([whole, part], (6, 6))[1] == "122221"
    assert drawn_labels([part, whole], (6, 6))[1].count("2") == 5  # the hidden part keeps one token
    # 5 of 8 pixels belong to the whole's mask, but 4 of those are hidden: what is seen decides.
    whole, part = draw("###.", "##..") * 1.0, draw("##..", "##..")
    assert drawn_labels([whole.repeat(1, 1, 2), torch.cat([part, part * 0], 2)], (1, 2)) == ["21"]


def test_soft_masks_are_shares():
    assert drawn_labels([draw("46")], (1, 2)) == ["01"]
    # On top 0.6 of the second; below it 0.4 * 0.9 are seen of the first.
    assert drawn_labels([draw("99"), draw("6.")], (1, 2)) == ["21"]


def test_a_small_part_keeps_one_token_at_every_level():
    man = torch.zeros(1, 64, 64)
    man[:, 8:56, 16:48] = 1
    glasses = torch.zeros(1, 64, 64)
    glasses[:, 17:19, 25:30] = 1
    layout = LabelMap([man, glasses])
    for side in (64, 32, 16, 8, 4):
        labels = layout.labels((side, side)).view(side, side)
        assert (labels == 2).any()
        assert (labels == 1).any()
        assert labels[17 * side // 64, 27 * side // 64] == 2  # and in its place


def test_a_single_pixel_keeps_a_token_and_an_empty_mask_gets_none():
    speck = torch.zeros(3, 64, 64)
    speck[1, 40, 9] = 1
    labels = LabelMap([speck]).labels((8, 8))
    assert (labels[0] == 0).all()
    assert labels[1].nonzero().flatten().tolist() == [5 * 8 + 1]
    assert (labels[2] == 0).all()


def test_rounding_dust_is_no_mask():
    assert (LabelMap([torch.full((1, 8, 8), 1e-4)]).labels((2, 2)) == 0).all()
    assert (LabelMap([torch.full((1, 8, 8), 1 / 255)]).labels((2, 2)) == 1).sum() == 1


def test_two_specks_in_one_token_both_stay():
    one, two = torch.zeros(1, 16, 16), torch.zeros(1, 16, 16)
    one[:, 0, 0] = two[:, 1, 1] = 1
    labels = LabelMap([one, two]).labels((4, 4)).view(4, 4)
    assert (labels == 2).sum() == (labels == 1).sum() == 1
    assert labels[0, 0] == 2
    assert 1 in (labels[0, 1], labels[1, 0])  # the next token


def test_a_speck_does_not_take_the_last_token_of_another_region():
    small, speck = torch.zeros(1, 8, 16), torch.zeros(1, 8, 16)
    small[:, :, 0:8] = 1  # exactly the left of two tokens
    speck[:, 3, 5] = 1
    assert drawn_labels([small, speck], (1, 2)) == ["12"]


def test_an_owner_moves_to_another_token_of_its_own():
    # Region 2 shows only in token 0, where region 1 has its only token; region 1 also reaches into token 1.
    one, two, three = torch.zeros(1, 4, 12), torch.zeros(1, 4, 12), torch.zeros(1, 4, 12)
    one[:, :, 0:5] = 1
    two[:, 0, 0] = 1
    three[:, :, 8:] = 1
    assert drawn_labels([one, two, three], (1, 3)) == ["213"]


def test_where_regions_outnumber_tokens_the_label_stays_the_largest():
    left, right = draw("###.", "###."), draw("...#", "...#")
    assert drawn_labels([left, right], (1, 1)) == ["1"]


def test_odd_sizes_average_by_exact_area():
    # 37 rows onto 19 tokens: token i spans rows [i * 37 / 19, (i + 1) * 37 / 19). Rows 0 and 1 cover 1.0 + 0.947.. of
    # the first token's 1.947..; the second token has the last 0.052.. of row 1.
    mask = torch.zeros(2, 37, 66)
    mask[0, :2] = 1
    mask[1, 1:] = 1
    labels = LabelMap([mask]).labels((19, 33)).view(2, 19, 33)
    assert (labels[0, 0] == 1).all()
    assert (labels[0, 1:] == 0).all()
    assert (labels[1, 0] == 0).all()  # 0.947 of 1.947 is less than half
    assert (labels[1, 1:] == 1).all()


def test_union_averages_by_exact_area():
    mask = torch.zeros(1, 5, 2)
    mask[:, 2] = 1
    union = LabelMap([mask]).union(size=(2, 1))
    torch.testing.assert_close(union, torch.tensor([[[0.2], [0.2]]]))  # half of one row in 2.5


@pytest.mark.parametrize("grid", [(64, 64), (33, 19), (8, 8), (1, 1)])
def test_masks_smaller_than_the_grid_are_enlarged(grid):
    labels = LabelMap([torch.ones(1, 3, 3)]).labels(grid)
    assert (labels == 1).all()
    half = LabelMap([draw("#.", "#.")]).labels((4, 4)).view(4, 4)
    assert half.tolist() == [[1, 1, 0, 0]] * 4


def test_masks_of_different_sizes_are_composed_in_place():
    whole = torch.ones(1, 3, 3)
    part = torch.zeros(1, 48, 48)
    part[:, :16, 32:] = 1
    assert drawn_labels([whole, part], (3, 3)) == ["112", "111", "111"]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    regions=st.integers(1, 4),
    frames=st.integers(1, 3),
    size=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    grid=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    dense=st.floats(0.01, 0.9),
)
def test_every_mask_that_is_not_empty_has_a_token(seed, regions, frames, size, grid, dense):
    g = torch.Generator().manual_seed(seed)
    masks = [(torch.rand(frames, *size, generator=g) < dense).float() for _ in range(regions)]
    labels = LabelMap(masks).labels(grid)
    assert labels.dtype == torch.int64
    assert labels.shape == (frames, grid[0] * grid[1])
    for frame in range(frames):
        present = [k for k, mask in enumerate(masks, start=1) if mask[frame].any()]
        found = set(labels[frame].tolist()) - {0}
        assert found <= set(present)
        if len(present) <= grid[0] * grid[1]:
            assert found == set(present)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31), grid=st.tuples(st.integers(1, 9), st.integers(1, 9)))
def test_shares_count_the_tokens(seed, grid):
    g = torch.Generator().manual_seed(seed)
    layout = LabelMap([torch.rand(3, 9, 7, generator=g) for _ in range(2)])
    labels = layout.labels(grid)
    counted = torch.stack([(labels == k).float().mean(1) for k in range(3)], dim=1)
    torch.testing.assert_close(layout.shares(grid), counted)
    torch.testing.assert_close(layout.shares(grid, within="clip"), counted.mean(0).expand(3, -1))


def moving(frames=5):
    mask = torch.zeros(frames, 8, 8)
    for frame in range(frames):
        mask[frame, :, frame : frame + 2] = 1
    return mask


def test_select_shuffles_and_repeats_frames():
    layout = LabelMap([moving(), torch.zeros(5, 8, 8)])
    order = [4, 0, 0, 3]
    window = layout.select(order)
    assert (window.frames, window.regions) == (4, 2)
    assert torch.equal(window.labels((8, 8)), layout.labels((8, 8))[order])
    assert torch.equal(window.union(), layout.union()[order])
    assert torch.equal(window.select([3, 1]).labels((8, 8)), layout.labels((8, 8))[[3, 0]])
    small = layout.select(torch.tensor([1]))
    assert torch.equal(small.shares((8, 8), "clip"), small.shares((8, 8), "frame"))


def test_a_layout_is_a_value():
    mask = moving()
    layout = LabelMap([mask])
    before = layout.labels((8, 8))
    mask.fill_(0)
    layout.labels((8, 8)).fill_(9)
    layout.shares((8, 8)).fill_(9)
    layout.shares((8, 8), "clip").fill_(9)
    layout.union().fill_(9)
    assert torch.equal(layout.labels((8, 8)), before)
    assert layout.shares((8, 8)).sum(1).tolist() == pytest.approx([1.0] * 5)
    assert torch.equal(layout.union(), moving())
    assert copy.deepcopy(layout) is layout
    assert torch.equal(pickle.loads(pickle.dumps(layout)).labels((4, 4)), layout.labels((4, 4)))


def test_labels_are_measured_once_per_grid(monkeypatch):
    layout = LabelMap([moving()])
    first = layout.select([0, 1]).labels((4, 4))
    monkeypatch.setattr(LabelMap, "_frame", None)  # measuring again would fail
    assert torch.equal(layout.select([0, 1]).labels((4, 4)), first)
    assert layout.labels((4, 4)).shape == (5, 16)
    with pytest.raises(TypeError):
        layout.labels((2, 2))


def test_union():
    whole, part = draw("####", "####"), draw(".5..", "....")
    layout = LabelMap([whole, part])
    assert torch.equal(layout.union(), whole)
    assert torch.equal(layout.union([2]), part)
    # Only the whole is edited, its part is preserved: half of the pixel under the part is left.
    assert torch.equal(layout.union([1], visible=True), draw("#5##", "####"))
    assert torch.equal(layout.union([1, 2], visible=True), whole)
    assert layout.union([2], size=(1, 2)).tolist() == [[[0.125, 0.0]]]


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        (torch.ones(4, 5), (6, 4, 5)),
        (torch.ones(1, 4, 5), (6, 4, 5)),
        (torch.ones(6, 4, 5), (6, 4, 5)),
        (torch.ones(6, 1, 4, 5), (6, 4, 5)),
        (torch.ones(1, 1, 4, 5), (6, 4, 5)),
        (torch.ones(6, 4, 5, dtype=torch.bool), (6, 4, 5)),
        (torch.full((6, 4, 5), 255, dtype=torch.uint8), (6, 4, 5)),
        (torch.ones(6, 4, 5, dtype=torch.float16), (6, 4, 5)),
        (np.ones((6, 4, 5)), (6, 4, 5)),
        (torch.full((4, 5), 1.0005), (6, 4, 5)),
    ],
)
def test_customary_masks_are_accepted(mask, expected):
    out = normalise_mask(mask, 6, "region 1")
    assert out.dtype == torch.float32
    assert torch.equal(out, torch.ones(expected))


def test_uint8_is_read_as_an_image():
    mask = torch.tensor([[0, 51, 255]], dtype=torch.uint8)
    torch.testing.assert_close(normalise_mask(mask, 1, "region 1"), torch.tensor([[[0, 0.2, 1]]]))


@pytest.mark.parametrize(
    ("mask", "says"),
    [
        (torch.ones(5, 4, 5), r"mask of region 2 \(bear\): expected 1 frame or 6 \(the clip's frames\); got 5"),
        (torch.ones(7, 1, 4, 5), "expected 1 frame or 6 .*; got 7"),
        (torch.ones(6, 4, 5, 3), r"got \(6, 4, 5, 3\).*take one channel"),
        (torch.ones(5), r"expected \[H, W\].*with F = 6; got \(5,\)"),
        (torch.ones(6, 0, 5), r"got \(6, 0, 5\)"),
        (torch.full((4, 5), 255.0), r"values in \[0, 1\]; got 255 to 255. Divide"),
        (torch.full((4, 5), -0.5), "got -0.5"),
        (torch.full((4, 5), float("nan")), "got nan"),
        (torch.ones(4, 5, dtype=torch.uint8), "uint8 values 0..255; got a maximum of 1"),
        (torch.ones(4, 5, dtype=torch.int64), "expected bool, floating or uint8; got torch.int64"),
    ],
)
def test_mask_errors_name_the_region_and_both_numbers(mask, says):
    with pytest.raises(ValueError, match=says):
        normalise_mask(mask, 6, "region 2 (bear)")


@pytest.mark.parametrize(
    ("masks", "says"),
    [
        ([], "at least one mask; got none"),
        ([torch.ones(4, 4)], r"region 1 must be a tensor \[F, H, W\]; got \(4, 4\)"),
        ([torch.ones(1, 4, 4), np.ones((1, 4, 4))], "region 2 must be a tensor .*; got ndarray"),
        ([torch.ones(2, 4, 4), torch.ones(3, 4, 4)], "region 2 has 3 frames, that of region 1 has 2"),
        ([torch.full((2, 4, 4), 7.0)], r"region 1: expected values in \[0, 1\]; got 7 to 7"),
    ],
)
def test_layout_errors(masks, says):
    with pytest.raises(ValueError, match=says):
        LabelMap(masks)


def test_question_errors():
    layout = LabelMap([torch.ones(3, 4, 4)])
    with pytest.raises(ValueError, match=r"grid must be \(h, w\) with both >= 1; got \(0, 4\)"):
        layout.labels((0, 4))
    with pytest.raises(ValueError, match="within must be 'frame' or 'clip'; got 'video'"):
        layout.shares((4, 4), within="video")
    with pytest.raises(ValueError, match=r"frame indices in 0 to 2; got \[1, 3\]"):
        layout.select([1, 3])
    with pytest.raises(ValueError, match="frame indices"):
        layout.select([])
    for which in ([0], [2], []):
        with pytest.raises(ValueError, match="regions must be numbers in 1 to 1"):
            layout.union(which)
