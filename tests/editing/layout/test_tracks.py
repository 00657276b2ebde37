import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import ndimage

from videograin.editing.layout.instances import Component, _deepest_cut, connected, cut_necks, find_components
from videograin.editing.layout.tracks import (
    STEP,
    Track,
    _claims,
    _share_out,
    centre,
    iou,
    link,
    often,
    open_frames,
    shifted,
    start_frame,
    usual_count,
)

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


def test_a_neck_is_as_narrow_as_the_score_between_the_cells_tells():
    """Three cells wide, of which the outer two hardly belong to it."""
    mask = touching(3)
    score = np.where(mask, 1.0, -1.0)
    assert len(cut_necks(Component(mask, 1), score, 0.0, 4)) == 1
    score[4:7, 6:8] = 0.05
    assert len(cut_necks(Component(mask, 1), score, 0.0, 4)) == 2


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


def test_both_parts_of_a_torn_thing_are_its():
    """A bar has come before it, and it shows to both sides of it."""
    bar, whole = box(0, 6, 12, 1), box(4, 4, 4, 6)
    thing, other = Track(0, Component(whole, 1)), Track(0, Component(bar, 2))
    parts = [Component(part, 1) for part in connected(whole & ~bar)]
    away = Component(box(0, 12, 2, 2), 1)
    claims = _claims([thing, other], 1, [*parts, Component(bar, 2), away])
    assert claims == [[thing], [thing], [other], []]


def test_what_is_seen_only_once_is_left_out():
    frames = [[(box(4, 4), 1)]] * 4
    assert len(link(clip(*frames, [(box(4, 4), 1), (box(9, 10), 1)]), 2)) == 1
    assert len(link(clip([(box(4, 4), 1), (box(9, 10), 1)]), 2)) == 2  # of a single frame everything counts
    assert link(clip([], []), 2) == []


def test_a_thing_that_is_there_for_a_short_time_alone_is_one():
    here = [(box(1, 1, 4, 4), 1)]
    frames = [here] * 3 + [[*here, (box(7, 9), 1)]] * 3 + [here] * 4
    tracks = link(clip(*frames), 2)
    assert [sorted(track) for track in tracks] == [list(range(10)), [3, 4, 5]]
    assert (tracks[1][4] == box(7, 9)).all()


def test_a_fragment_goes_to_what_it_touches_and_not_to_others():
    """A piece that breaks off in two frames, beside its thing; a second thing is elsewhere."""
    whole, away = box(2, 2, 4, 4), box(8, 9, 3, 4)
    frames = [[(whole, 1), (away, 1)]] * 6
    frames[2] = frames[3] = [(whole & ~box(2, 5, 4, 1), 1), (box(2, 5, 4, 1), 2), (away, 1)]
    found = []
    for things in frames:  # `find_components` would join so small a piece to its neighbour
        found.append([Component(mask, kind) for mask, kind in things])
    tracks = link(found, 2)
    assert len(tracks) == 2
    for frame in range(6):
        assert (tracks[0][frame] == whole).all()
        assert (tracks[1][frame] == away).all()


@pytest.mark.parametrize("order", [1, -1])
def test_a_thing_is_followed_to_both_ends_of_the_clip(order):
    """It shrinks as it goes, so that one end shows it best and is where the following begins."""
    frames = [[(box(4, 1 + f, 3, 6 - f // 2), 1)] for f in range(6)][::order]
    (track,) = link(clip(*frames), 2)
    assert sorted(track) == list(range(6))
    assert all((track[f] == things[0][0]).all() for f, things in enumerate(frames))


@pytest.mark.parametrize(("gap", "things"), [(2, 1), (1, 2)])
def test_a_thing_may_be_hidden_for_so_many_frames(gap, things):
    here = [(box(4, 4), 1)]
    other = [(box(9, 10), 2)]
    frames = [here + other] * 4 + [other] * 2 + [here + other] * 4
    assert len(link(clip(*frames), gap)) == 1 + things


BIG = (40, 48)


def patch(y, x, height, width):
    mask = np.zeros(BIG, bool)
    mask[y : y + height, x : x + width] = True
    return mask


@pytest.mark.parametrize(("down", "right"), [(0, 0), (3, -2), (-5, 4), (5, 5)])
def test_things_in_one_component_are_moved_until_they_cover_it(down, right):
    """Two rectangles that were expected elsewhere: each cell goes to the one that is there."""
    tall, flat = patch(10, 10, 14, 6), patch(10, 20, 5, 12)
    tracks = [Track(0, Component(tall, 1)), Track(0, Component(flat, 1))]
    now = [patch(10 + down, 10 + right, 14, 6), patch(10 + down, 16 + right, 5, 12)]
    merged = now[0] | now[1]
    parts, places = _share_out(tracks, 1, merged)
    for part, place, mask in zip(parts, places, now):
        assert (part == mask).all()
        assert place.tolist() == centre(mask).tolist()
    assert ((parts[0] ^ parts[1]) == merged).all()


@pytest.mark.parametrize(("down", "right"), [(0, 10), (0, -10), (10, 0), (-10, 0)])
def test_a_thing_that_merged_is_looked_for_near_where_it_was_expected_alone(down, right):
    thing, other = patch(16, 20, 8, 8), patch(36, 44, 4, 4)
    tracks = [Track(0, Component(thing, 1)), Track(0, Component(other, 1))]
    _, places = _share_out(tracks, 1, patch(16 + down, 20 + right, 8, 8) | other)
    reach = round(STEP * max(BIG))
    assert 5 <= np.abs(places[0] - centre(thing)).max() <= reach + 2


def test_what_no_shape_covers_goes_to_the_nearest_by_size():
    large, small = patch(10, 5, 10, 10), patch(13, 30, 4, 4)
    tracks = [Track(0, Component(large, 1)), Track(0, Component(small, 1))]
    bridge = patch(14, 15, 2, 15)
    parts, _ = _share_out(tracks, 1, large | small | bridge)
    border = 15 + np.flatnonzero(parts[1][14, 15:30])[0]
    # From the centres, 9.5 and 31.5, in sides of 10 and 4: as far from both at 9.5 + 22 * 10 / 14.
    assert border == pytest.approx(9.5 + 22 * 10 / 14, abs=1)
    assert (parts[0] | parts[1] == large | small | bridge).all()


def thing_of(frame, *masks):
    track = Track(frame, Component(masks[0], 1))
    for number, mask in enumerate(masks[1:], 1):
        track.add(frame + number, mask)
        track.settle(frame + number)
    return track


def test_a_thing_is_expected_to_go_on_at_its_speed():
    track = thing_of(3, box(1, 1), box(2, 3), box(3, 5))
    assert track.expected(6).tolist() == [5.0, 8.0]
    assert track.expected(2).tolist() == [1.0, 0.0]
    assert track.expected(4).tolist() == [3.0, 4.0]
    assert thing_of(0, box(1, 1)).expected(5).tolist() == [2.0, 2.0]


def test_a_half_hidden_shape_is_not_taken_over():
    track = thing_of(0, box(4, 4, 4, 4), box(4, 4, 4, 2))
    assert track.template.sum() == 16
    assert thing_of(0, box(4, 4, 4, 4), box(4, 4, 4, 3)).template.sum() == 12


def test_how_many_things_there_are_is_told_by_frames_that_hide_none():
    one, two = [(box(1, 1, 4, 4), 1)], [(box(1, 1, 4, 4), 1), (box(7, 8, 4, 4), 1)]
    assert usual_count(clip(*[one] * 2, *[two] * 8)) == 2
    assert usual_count(clip(*[one] * 8, *[two] * 2)) == 2
    assert usual_count(clip([], [])) == 0
    assert open_frames(clip(*[one] * 2, *[two] * 8)) == list(range(2, 10))
    assert open_frames(clip([], one, [], one)) == [1, 3]
    assert start_frame(clip([], one, [], one)) in (1, 3)
    assert start_frame(clip([], [])) is None
    assert [often(frames) for frames in (1, 2, 5, 10, 15, 20)] == [1, 2, 2, 2, 3, 4]


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


def test_a_third_lobe_goes_to_the_side_that_it_is_nearer_to():
    """Narrow necks join the left one and the right one to the middle."""
    depth = np.zeros((15, 50), int)
    y, x = np.indices(depth.shape)
    for middle, radius in ((8, 6), (24, 7), (38, 5)):
        depth |= np.hypot(y - 7, x - middle) <= radius
    depth[7, 8:24] = 1
    depth[7, 24:38] = 1
    cut = _deepest_cut(ndimage.distance_transform_edt(depth))
    assert cut[7, 24] != cut[7, 8]
    assert cut[7, 24] == cut[7, 38]
