"""Motion as a value: the fast forms are the literal ones, nothing is carried over a cut, files come back."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from videograin.editing.motion.motion_file import load, save
from videograin.editing.motion.places import centres, inside, moved, sample
from videograin.editing.motion.value import BACKGROUND, Motion, MotionError, RegionMotion, frame_list, from_transforms

from .reference import place_in, sample_one

SIZE = (24, 40)  # of the frames
HALF = (SIZE[0] // 2, SIZE[1] // 2)


def similarity(angle, scale, dx, dy) -> np.ndarray:
    a, b = scale * np.cos(angle), scale * np.sin(angle)
    return np.array([[a, -b, dx], [b, a, dy], [0, 0, 1.0]])


def region(seed=0, before=(-1, 0, 1, 1, 3), bent=False, **changes) -> RegionMotion:
    draw = np.random.default_rng(seed)
    count = len(before)
    steps = np.stack(
        [
            np.eye(3) if b < 0 else similarity(draw.normal(0, 0.1), draw.uniform(0.9, 1.1), *draw.normal(0, 2, 2))
            for b in before
        ]
    )
    bends = draw.normal(0, 0.5, (2, count, 3, 5, 2)).astype(np.float32) if bent else None
    before = np.array(before)
    losses = np.where(before < 0, np.nan, 0.1)
    values = {"before": before, "steps": steps, "losses": losses, "present": np.ones(count, bool), "bends": bends}
    return RegionMotion(**{**values, **changes})


def motion(*regions, size=SIZE) -> Motion:
    return Motion(size, regions, region(9, tuple(range(-1, len(regions[0].before) - 1))), "given")


@given(st.integers(0, 10**6), st.sampled_from(["bicubic", "bilinear"]), st.sampled_from([(3, 5), (6, 10), (24, 40)]))
@settings(max_examples=25, deadline=None)
def test_values_are_read_as_the_formula_says(seed, mode, grid):
    draw = np.random.default_rng(seed)
    values = draw.normal(size=(2, *grid))
    places = draw.uniform((-6, -6), (SIZE[1] + 6, SIZE[0] + 6), (4, 2))
    fast = sample(torch.from_numpy(values), torch.from_numpy(places)[None], SIZE, mode)
    slow = np.stack([sample_one(values, place, SIZE, mode) for place in places], -1)
    assert fast.shape == (2, 1, 4)
    np.testing.assert_allclose(fast[:, 0], slow, atol=2e-5)


@given(st.integers(0, 10**6), st.booleans(), st.integers(0, 4), st.integers(0, 4))
@settings(max_examples=40, deadline=None)
def test_frames_are_composed_step_by_step(seed, bent, i, j):
    one = region(seed, bent=bent)
    fast = motion(one).places(0, i, j, (4, 5))
    for row in range(4):
        for column in range(5):
            place = np.array([(column + 0.5) * SIZE[1] / 5, (row + 0.5) * SIZE[0] / 4])
            np.testing.assert_allclose(fast[row, column], place_in(one, SIZE, place, i, j), atol=1e-3)


def test_a_latent_and_a_picture_move_by_the_same_way():
    x = torch.arange(SIZE[1]).float() + 0.5
    picture = x.expand(1, *SIZE)  # a ramp, the value of a place is its x
    latent = torch.nn.functional.avg_pool2d(picture, 4)
    still = from_transforms(np.stack([np.eye(3), similarity(0, 1, 4, 0)]))
    value = motion(still)
    carried, seen = value.carry(picture, 0, 0, 1)
    small, small_seen = value.carry(latent, 0, 0, 1)
    # What lies at x in frame 0 lies at x + 4 in frame 1.
    torch.testing.assert_close(carried[0, 5, 2:-8], x[2:-8] + 4)
    torch.testing.assert_close(small[0, 2, 2:-3], latent[0, 2, 2:-3] + 4)
    assert seen[0].tolist() == [True] * 36 + [False] * 4
    assert small_seen[0].tolist() == [True] * 9 + [False]


def test_the_own_frame_is_not_touched():
    values = torch.rand(3, *HALF)
    carried, seen = motion(region()).carry(values, 0, 2, 2)
    assert carried is values
    assert seen.all()


def test_nothing_is_carried_from_piece_to_piece():
    one = region(before=(-1, 0, -1, 2, 3), present=np.array([True, True, True, True, False]))
    assert one.pieces == [[0, 1], [2, 3]]
    assert one.linked(0, 1)
    assert one.linked(3, 2)
    assert not one.linked(1, 2)
    assert not one.linked(3, 4)  # hangs there, but is not seen
    assert one.linked(4, 4)
    with pytest.raises(MotionError, match="frames 1 and 2 are of different pieces"):
        motion(one).places(0, 1, 2, HALF)
    off = region(form="off")
    assert not off.linked(0, 1)


def test_the_background_is_asked_like_a_region():
    value = motion(region())
    there = value.places(BACKGROUND, 0, 1, (4, 5))
    torch.testing.assert_close(there, moved(centres((4, 5), SIZE), value.background.steps[1]))


def test_transforms_from_the_first_frame_become_steps():
    whole = np.stack([similarity(0.1 * f, 1.05**f, 3 * f, -f) for f in range(4)])
    one = from_transforms(whole, np.array([True, True, False, True]))
    np.testing.assert_allclose(one.matrix(1, 3), whole[3] @ np.linalg.inv(whole[1]), atol=1e-12)
    assert one.before.tolist() == [-1, 0, -1, 1]
    assert not one.linked(1, 2)


def test_the_edge_of_the_frame_is_in_it():
    places = torch.tensor([[0.0, 0.0], [40.0, 24.0], [40.1, 1.0], [1.0, -0.1]])
    assert inside(places, SIZE).tolist() == [True, True, False, False]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"before": np.array([-1, 1, 1, 1, 3])}, "expected earlier frames"),
        ({"steps": np.zeros((5, 3, 3))}, "cannot be undone"),
        ({"present": np.ones(4, bool)}, r"present is \[4\]; expected \[5\]"),
        ({"bends": np.zeros((5, 3, 5, 2), np.float32)}, r"expected \[2, 5, h, w, 2\]"),
    ],
)
def test_what_is_no_motion_is_refused(change, text):
    with pytest.raises(MotionError, match=text):
        region(**change)


def test_regions_have_one_number_of_frames():
    with pytest.raises(MotionError, match=r"regions of \[2, 5\] frames"):
        Motion(SIZE, (region(),), region(before=(-1, 0)), "given")


def test_notes_say_where_nothing_is_known():
    losses = np.array([np.nan, 0.1, 0.52, 0.1, np.nan])
    cut = region(before=(-1, 0, -1, 2, -1), losses=losses, present=np.array([True] * 4 + [False]))
    lines = motion(cut, region(form="off")).notes(["the cup"])
    assert len(lines) == 3
    assert lines[0] == "the cup: not seen in frame 4"
    assert lines[1].startswith("the cup: no motion found that leads to frame 2 (loss 0.52")
    assert lines[2].startswith("region 2: its motion could not be found")
    assert motion(region()).notes() == []


def test_frames_are_listed_as_runs():
    assert frame_list([3]) == "frame 3"
    assert frame_list([0, 2, 3, 4, 9]) == "frames 0, 2-4, 9"


def test_a_file_comes_back_as_it_was(tmp_path):
    value = motion(region(1), region(2, bent=True, form="dense"))
    again = load(save(value, tmp_path / "motion.safetensors"))
    assert (again.size, again.source) == (value.size, value.source)
    for a, b in zip((*again.regions, again.background), (*value.regions, value.background), strict=True):
        assert a.form == b.form
        for part in ("before", "steps", "losses", "present", "bends"):
            np.testing.assert_array_equal(getattr(a, part), getattr(b, part))
    torch.testing.assert_close(again.places(1, 4, 2, HALF), value.places(1, 4, 2, HALF), rtol=0, atol=0)


def test_what_is_no_motion_file_is_refused(tmp_path):
    from safetensors.numpy import save_file

    path = tmp_path / "motion.safetensors"
    with pytest.raises(MotionError, match="no such file"):
        load(path)
    path.write_bytes(b"not that")
    with pytest.raises(MotionError, match="damaged"):
        load(path)
    save_file({"x": np.zeros(1)}, str(path))
    with pytest.raises(MotionError, match="not a motion"):
        load(path)
    facts = {"format": "videograin.motion", "format_version": "1", "forms": '["dense"]', "size": "[2, 2]"}
    save_file({"x": np.zeros(1)}, str(path), metadata={**facts, "format_version": "2"})
    with pytest.raises(MotionError, match="update VideoGrain"):
        load(path)
    save_file({"x": np.zeros(1)}, str(path), metadata=facts)
    with pytest.raises(MotionError, match="damaged"):
        load(path)
    with pytest.raises(MotionError, match=r"ending in \.safetensors"):
        save(motion(region()), tmp_path / "motion.pt")


def test_of_the_own_frame_every_place_is_known():
    motion = Motion((8, 12), (), from_transforms(np.repeat(np.eye(3)[None], 2, 0)), "exact")
    values = torch.rand(3, 4, 6)
    same, seen = motion.carry(values, BACKGROUND, 1, 1)
    assert torch.equal(same, values)
    assert seen.shape == (4, 6)
    assert bool(seen.all())
