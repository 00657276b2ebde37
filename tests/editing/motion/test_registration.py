"""One region found again in another frame: pictures of which every place is known, since they are formulas."""

import math
from functools import partial

import numpy as np
import pytest
import torch

from videograin.editing.motion.places import centres, moved
from videograin.editing.motion.registration import (
    COARSE,
    ENOUGH,
    EVEN,
    LEAST,
    NOTHING,
    REACH,
    SHORT,
    STRAIGHT,
    Registration,
    View,
    _blur,
    _box,
    _sane,
    about,
    moments,
    shift,
    wider,
)

from .reference import sample_one

SIZE, MIDDLE = (44, 52), np.array([24.0, 21.0])
TURNED = about(MIDDLE, 1.06, 0.09, 2.3, -1.7)


def colours(x, y):
    """Three waves that do not repeat themselves within a frame, in 0..2 (of FULL)."""
    waves = [(0.31, 0.17, 0.2), (-0.23, 0.29, 1.1), (0.11, -0.37, 2.3)]
    return torch.stack([1 + torch.sin(a * x + b * y + c) * torch.cos(0.13 * b * x - a * y) for a, b, c in waves])


def rectangle(x, y, wide=9, high=7):
    """How far inside of it a place is, in pixels."""
    return torch.minimum(wide - (x - MIDDLE[0]).abs(), high - (y - MIDDLE[1]).abs())


def view(matrix=None, shape=rectangle, free=None, known=True, picture=colours):
    """A frame in which all has moved by ``matrix``."""
    places = centres(SIZE, SIZE)
    if matrix is not None:
        places = moved(places, np.linalg.inv(matrix))
    x, y = places.unbind(-1)
    mask = (shape(x, y) + 0.5).clamp(0, 1)
    return View(torch.cat([picture(x, y), mask[None]]), torch.ones(SIZE) if free is None else free, known)


def off(one, other, corner=(33.0, 28.0)):
    """How far apart two transforms bring a corner of the rectangle, in pixels."""
    return float(np.hypot(*((one - other) @ np.array([*corner, 1.0]))[:2]))


def loss_one_by_one(first, second, matrix, outline):
    """(loss, overlap) by the formula of `fit`, a pixel at a time."""
    height, width = SIZE
    target = torch.cat([second.values, second.free[None]]).double().numpy()
    ours, theirs, differences, area = 0.0, 0.0, 0.0, 0
    for row in range(height):
        for column in range(width):
            if first.mask[row, column] <= 0.5:
                continue
            area += 1
            x, y = (matrix @ np.array([column + 0.5, row + 0.5, 1.0]))[:2]
            if not (0.5 <= x <= width - 0.5 and 0.5 <= y <= height - 0.5):
                continue
            *found, mask, free = sample_one(target, (x, y), SIZE, "bilinear")
            if free <= 0.5 or first.free[row, column] == 0:
                continue
            ours += 1
            inside = min(max(mask, 0), 1) if outline else 1.0
            theirs += inside
            apart = np.array(found) - first.values[:3, row, column].double().numpy()
            differences += inside * min(math.sqrt((apart**2).mean()), 1)
    if theirs < LEAST * area:
        return NOTHING, 1.0
    if not outline:
        return differences / theirs, None
    inverse, back = np.linalg.inv(matrix), 0.0
    for row in range(height):
        for column in range(width):
            if second.mask[row, column] > 0.5 and second.free[row, column] > 0:
                x, y = (inverse @ np.array([column + 0.5, row + 0.5, 1.0]))[:2]
                if 0 <= x < width and 0 <= y < height:
                    back += float(first.free[int(y), int(x)])
    union = ours + back * abs(np.linalg.det(inverse)) - theirs
    return differences / theirs + outline / 2 * (1 - theirs / union), theirs / union


@pytest.mark.parametrize(
    "matrix",
    [
        np.eye(3),
        shift(3.4, -2.6),
        about(MIDDLE, 1.2, 0.3, 1, 2),
        about(MIDDLE, 0.8, -0.2, 0, 0),
        shift(-22.5, 0),
        shift(24.5, 3),
        shift(2, 19.5),
        shift(0, -20.25),
        shift(60, 0),
    ],
)
@pytest.mark.parametrize("outline", [1.0, 0.4, 0.0])
def test_the_loss_is_the_formula_a_pixel_at_a_time(matrix, outline):
    free = [torch.ones(SIZE), torch.ones(SIZE)]
    free[0][14:20, 20:26] = 0  # other regions lie on it
    free[1][18:30, 28:33] = 0
    first, second = view(free=free[0]), view(TURNED, free=free[1])
    expected, overlap = loss_one_by_one(first, second, matrix, outline)
    found = Registration(first, second, outline).fit(matrix)
    assert found.loss == pytest.approx(expected, abs=1e-4)
    if overlap is not None and found.loss < NOTHING:
        assert found.overlap == pytest.approx(overlap, abs=1e-4)


def test_an_outline_that_one_frame_does_not_tell_counts_for_nothing():
    first, second = view(), view(TURNED)
    plain, _ = loss_one_by_one(first, second, TURNED, 0.0)
    for untold in ((view(known=False), second), (first, view(TURNED, known=False))):
        assert Registration(*untold).fit(TURNED).loss == pytest.approx(plain, abs=1e-4)


def test_what_is_far_from_the_expected_place_size_and_direction_ranks_lower():
    first, second = view(), view(TURNED)
    matrix = about(MIDDLE, 1.1, 0.2, 3, 4)
    plain = Registration(first, second, expected=matrix).fit(matrix)
    apart = Registration(first, second).fit(matrix)
    far = np.hypot(*(matrix @ [*Registration(first, second).centre, 1])[:2] - Registration(first, second).centre)
    assert apart.rank - plain.rank == pytest.approx(SHORT * far + EVEN * np.log(1.1) + STRAIGHT * 0.2, abs=1e-6)
    assert apart.loss == plain.loss
    other = Registration(first, second, expected=about(MIDDLE, 1.1, 0.2, 0, 0), short=0.5).fit(matrix)
    assert other.rank - plain.rank == pytest.approx(0.5 * 5, abs=1e-6)


@pytest.mark.parametrize("across", [-REACH, -8, 0, 12, REACH])
@pytest.mark.parametrize("down", [-16, 0, 8])
def test_the_search_finds_a_shift_at_once_and_nothing_beside_it_again(across, down):
    small, true = partial(rectangle, wide=5, high=4), shift(across, down)
    found = Registration(view(shape=small), view(true, small)).search(np.eye(3), 5)
    assert np.array_equal(found[0], true)
    for place, one in enumerate(found):
        assert np.abs(one[:2, 2]).max() <= REACH
        for other in found[:place]:
            assert np.abs(one[:2, 2] - other[:2, 2]).max() >= 2 * COARSE


def test_the_search_goes_on_from_its_start():
    start = shift(-9.5, 4.5)
    found = Registration(view(), view(shift(-5.5, -3.5))).search(start, 1)
    assert np.allclose(found[0], start @ shift(4, -8))


@pytest.mark.parametrize(
    "true", [shift(0.4, -0.7), shift(1.6, 1.2), about(MIDDLE, 1.05, 0.06, 1, -1), about(MIDDLE, 0.96, -0.08, -1, 0.5)]
)
@pytest.mark.parametrize("outline", [1.0, 0.0])
def test_refining_finds_motion_between_pixels(true, outline):
    found = Registration(view(), view(true), outline).refine(np.eye(3))
    assert off(found, true) < 0.12
    moves = Registration(view(), view(true), outline).refine(np.eye(3), 2)
    assert np.allclose(moves[:2, :2], np.eye(2))


def test_refining_leaves_out_what_another_region_hides():
    free = torch.ones(SIZE)
    free[:, 26:] = 0  # half of it lies behind something else
    second = view(shift(1.3, -0.8), free=free)
    values = second.values.clone()
    values[:3, :, 26:] = 0.1
    found = Registration(view(), View(values, free, True)).refine(np.eye(3))
    assert off(found, shift(1.3, -0.8), (18.0, 20.0)) < 0.15


def test_a_disc_that_shows_no_turn_is_not_turned():
    def disc(x, y):
        return 8 - torch.hypot(x - MIDDLE[0], y - MIDDLE[1])

    def rings(x, y):
        distance = torch.hypot(x - MIDDLE[0], y - MIDDLE[1])
        return torch.stack([1 + torch.cos(0.5 * distance + c) for c in (0, 1, 2)])

    noise = 0.1 * torch.randn(4, *SIZE, generator=torch.Generator().manual_seed(3))
    noise[3] = 0
    second = view(shift(1.2, 0.7), disc, picture=rings)
    found = Registration(view(shape=disc, picture=rings), View(second.values + noise, second.free, True)).refine(
        np.eye(3)
    )
    assert found[1, 0] == 0
    assert off(found, shift(1.2, 0.7), MIDDLE) < 0.15


@pytest.mark.parametrize("true", [shift(7.3, -5.2), TURNED, about(MIDDLE, 0.95, 0.05, -6, 4)])
def test_the_best_of_several_starts_is_the_motion(true):
    one = Registration(view(), view(true))
    starts = [shift(30, 30), *one.search(np.eye(3))]
    found = one.best(starts)
    assert off(found.matrix, true) < 0.15
    assert found.overlap > 0.9
    assert found.loss == one.fit(found.matrix).loss


def test_without_a_start_that_shows_anything_the_first_is_told_as_nothing():
    found = Registration(view(), view()).best([shift(100, 0), shift(0, 100)])
    assert found.loss == NOTHING
    assert np.array_equal(found.matrix, shift(100, 0))


def test_what_moves_like_the_background_does_not_count():
    """A mask that is too wide holds background that stands still; the thing in it moves."""
    true, back = shift(3.0, 0.0), np.eye(3)

    places = centres(SIZE, SIZE)
    x, y = places.unbind(-1)
    behind = colours(0.7 * x + 40, 0.7 * y)
    frames = []
    for matrix in (back, true):
        there = moved(places, np.linalg.inv(matrix)).unbind(-1)
        frames.append(torch.where(rectangle(*there, 4, 4) > 0, colours(*there), behind))
    wide = (rectangle(x, y) > 0).float()[None]
    views = [View(torch.cat([frame, wide]), torch.ones(SIZE), True) for frame in frames]
    told = Registration(*views, outline=0.0, behind=back)
    untold = Registration(*views, outline=0.0)
    assert told.fit(true).rank < told.fit(back).rank
    assert untold.fit(true).rank > untold.fit(back).rank


@pytest.mark.parametrize("pixels", [1, 2, 5])
def test_the_middle_of_the_smallest_regions_is_in_them(pixels):
    def few(x, y):
        return ((y.floor() == 20) & (x.floor() >= 30) & (x.floor() < 30 + pixels)).float() - 0.5

    one = Registration(view(shape=few), view(shape=few))
    assert one.centre.tolist() == [30 + pixels / 2, 20.5]
    centre, side = moments(view(shape=few).mask)
    assert centre.tolist() == [30 + pixels / 2, 20.5]
    assert side == pytest.approx(math.sqrt(pixels))


def test_the_window_and_the_rim_of_a_mask():
    mask = torch.zeros(10, 12)
    assert _box(mask, 3) == (0, 1, 0, 1)
    mask[4:6, 5:9] = 1
    assert _box(mask, 0) == (4, 6, 5, 9)
    assert _box(mask, 2) == (2, 8, 3, 11)
    assert _box(mask, 7) == (0, 10, 0, 12)
    grown = wider(mask, 2)
    assert grown.sum() == 6 * 8
    assert grown[2:8, 3:11].all()


@pytest.mark.parametrize(
    ("size", "sane"), [(1.0, True), (1.9, True), (2.1, False), (0.51, True), (0.49, False), (float("nan"), False)]
)
def test_a_motion_that_more_than_quarters_or_quadruples_an_area_is_none(size, sane):
    assert _sane(np.diag([size, size, 1.0])) is sane


def test_the_blur_is_the_mean_of_a_cell_of_the_grid_at_every_pixel():
    values = torch.rand(2, 9, 11, generator=torch.Generator().manual_seed(0))
    blurred = _blur(values, 4)
    assert blurred.shape == values.shape
    # A window of four by four lies between pixels: the mean of the four that are nearest to lying over the pixel.
    four = [values[:, 4 + y - 2 : 4 + y + 2, 5 + x - 2 : 5 + x + 2].mean((1, 2)) for y in (0, 1) for x in (0, 1)]
    torch.testing.assert_close(blurred[:, 4, 5], torch.stack(four).mean(0))


def test_starts_beside_one_another_are_refined_once():
    class Counting(Registration):
        def refine(self, start, free=4):
            counted.append(free)
            return super().refine(start, free)

    counted = []
    second = view(shift(1.0, 0.5))
    noise = 0.4 * torch.randn(4, *SIZE, generator=torch.Generator().manual_seed(5))
    noise[3] = 0
    one = Counting(view(), View(second.values + noise, second.free, True))
    assert one.fit(shift(1.0, 0.5)).loss > ENOUGH
    one.best([shift(0.5, 0.5)])
    alone = len(counted)
    one.best([shift(0.5, 0.5), shift(0.6, 0.5), shift(0.5, 0.4)])
    assert len(counted) == 2 * alone
    one.best([shift(0.5, 0.5), shift(100, 0), shift(0, 100)])
    assert len(counted) == 3 * alone


def test_what_has_left_a_narrow_frame_is_not_searched_beyond_its_edge():
    """A frame that is higher than wide, at whose right edge a region half leaves it."""
    size = (64, 32)
    places = centres(size, size)

    def frame(right):
        x, y = places.unbind(-1)
        x = x - right
        mask = (torch.minimum(8 - (x - 18).abs(), 8 - (y - 30).abs()) + 0.5).clamp(0, 1)
        return View(torch.cat([colours(x, y), mask[None]]), torch.ones(size), True)

    found = Registration(frame(0), frame(12)).search(np.eye(3), 1)
    assert np.array_equal(found[0], shift(12, 0))
