import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from videograin.editing.layout.instances import Component, connected, cut_necks, find_components
from videograin.editing.layout.tracks import centre, iou, link, shifted

SIZE = (12, 14)


def box(y, x, height=3, width=3):
    mask = np.zeros(SIZE, bool)
    mask[max(0, y) : max(0, y + height), max(0, x) : max(0, x + width)] = True
    return mask


def clip(*frames):
    """Components of every frame from lists of (mask, kind), as `find_components` finds them."""
    out = []
    for things in frames:
        kinds = np.zeros(SIZE, int)
        for mask, kind in things:
            kinds[mask] = kind
        out.append(find_components(kinds, 2))
    return out


# --- components -------------------------------------------------------------------------------------------------------


@settings(max_examples=80, deadline=None)
@given(arrays.arrays(np.int64, SIZE, elements=st.integers(0, 2)), st.integers(1, 6))
def test_components_are_disjoint_pieces_of_the_kinds(kinds, smallest):
    pieces = find_components(kinds, smallest)
    together = np.sum([piece.mask for piece in pieces], 0) if pieces else np.zeros(SIZE, int)
    assert together.max() <= 1
    assert not together[kinds == 0].any()
    assert all(piece.mask.sum() >= smallest for piece in pieces)
    assert all(len(connected(piece.mask)) == 1 for piece in pieces)
    large = [m for kind in (1, 2) for m in connected(kinds == kind) if m.sum() >= smallest]
    assert len(pieces) >= len(large)
    assert all(any((piece.mask & m).sum() == m.sum() for piece in pieces) for m in large)  # nothing large is cut


def test_small_pieces_join_what_they_touch_and_specks_vanish():
    kinds = np.zeros(SIZE, int)
    kinds[2:6, 2:6] = 1
    kinds[2:6, 6] = 2  # a rim of another kind
    kinds[10, 12] = 1  # a speck
    (piece,) = find_components(kinds, 5)
    assert piece.kind == 1
    assert piece.mask.sum() == 20
    assert not piece.mask[10, 12]


def touching(neck):
    mask = box(2, 1, 5, 5) | box(2, 8, 5, 5)
    mask[4 : 4 + neck, 5:9] = True
    return mask


@pytest.mark.parametrize(("neck", "parts"), [(1, 2), (2, 2), (5, 1)])
def test_necks_are_cut_where_they_are_narrow(neck, parts):
    mask = touching(neck) if neck < 5 else box(2, 1, 5, 12)
    cut = cut_necks(Component(mask, 1), np.where(mask, 1.0, -1.0), 0.0, 4)
    assert len(cut) == parts
    assert (np.sum([piece.mask for piece in cut], 0) == mask).all()
    if parts == 2:
        assert sorted(int(piece.mask[:, :7].sum() > piece.mask[:, 7:].sum()) for piece in cut) == [0, 1]


def test_a_small_bump_is_no_thing():
    mask = box(2, 1, 6, 6) | box(4, 7, 1, 1) | box(3, 8, 2, 2)
    assert len(cut_necks(Component(mask, 1), np.where(mask, 1.0, -1.0), 0.0, 2)) == 1


# --- tracks -----------------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 11), st.integers(1, 2)), max_size=3), min_size=1,
                max_size=6), st.integers(0, 3))  # fmt: skip
def test_tracks_never_overlap_and_invent_no_cells(frames, gap):
    found = clip(*[[(box(y, x), kind) for y, x, kind in things] for things in frames])
    tracks = link(found, gap)
    for frame, pieces in enumerate(found):
        masks = [track[frame] for track in tracks if frame in track]
        together = np.sum(masks, 0) if masks else np.zeros(SIZE, int)
        assert together.max() <= 1
        there = np.any([p.mask for p in pieces], 0) if pieces else np.zeros(SIZE, bool)
        assert not together[~there].any()
    assert all(mask.any() for track in tracks for mask in track.values())
    areas = [sum(int(m.sum()) for m in track.values()) for track in tracks]
    assert areas == sorted(areas, reverse=True)


def test_separate_things_keep_their_masks():
    frames = [[(box(1, f), 1), (box(7, 9 - f, 4, 4), 1)] for f in range(6)]
    large, small = link(clip(*frames), 2)
    for f, things in enumerate(frames):
        assert (small[f] == things[0][0]).all()
        assert (large[f] == things[1][0]).all()


@pytest.mark.parametrize("kinds", [(1, 1), (1, 2)])
def test_things_that_cross_are_told_apart_by_their_motion(kinds):
    frames = [[(box(4, f), kinds[0]), (box(5, 10 - f), kinds[1])] for f in range(11)]
    tracks = link(clip(*frames), 2)
    assert len(tracks) == 2
    first = next(track for track in tracks if track[0][4, 0])
    assert first[10][4, 10]
    assert not first[10][5, 0]


def test_a_thing_behind_another_is_not_lost_while_they_are_one_component():
    frames = [[(box(4, 2 + 2 * f), 1), (box(4, 6), 1)] for f in range(5)]  # all hidden in frame 2
    tracks = link(clip(*frames), 2)
    assert len(tracks) == 2
    moving = next(track for track in tracks if track[0][4, 2])
    assert moving[4][4, 10]


def test_a_torn_thing_stays_one():
    """Half hidden behind a bar in two frames, and seen to both sides of it."""
    bar = box(0, 6, 12, 2)
    places = [1, 1, 1, 5, 5, 9, 9, 9]
    tracks = link(clip(*[[(box(4, x, 4, 4) & ~bar, 1), (bar, 2)] for x in places]), 2)
    assert len(tracks) == 2


def test_what_is_seen_only_once_is_left_out():
    frames = [[(box(4, 4), 1)]] * 4
    assert len(link(clip(*frames, [(box(4, 4), 1), (box(9, 10), 1)]), 2)) == 1
    assert len(link(clip([(box(4, 4), 1), (box(9, 10), 1)]), 2)) == 2  # of a single frame everything counts
    assert link(clip([], []), 2) == []


@given(st.integers(-15, 15), st.integers(-15, 15))
def test_shifted(down, right):
    mask = box(5, 6, 2, 3)
    expected = np.zeros((60, 60), bool)
    expected[25 + down : 27 + down, 26 + right : 29 + right] = True
    assert (shifted(mask, down, right) == expected[20 : 20 + SIZE[0], 20 : 20 + SIZE[1]]).all()


def test_iou_and_centre():
    assert iou(box(0, 0, 2, 2), box(0, 1, 2, 2)) == pytest.approx(1 / 3)
    assert iou(box(0, 0, 0, 0), box(0, 0, 0, 0)) == 0
    assert centre(box(2, 4, 3, 5)).tolist() == [3.0, 6.0]
    assert centre(np.zeros((3, 5), bool)).tolist() == [1.0, 2.0]
