"""Sheets of displacements beside sums over every pixel and grid point."""

import numpy as np
import pytest
import torch

from videograin.editing.motion.sheet import Grid, Sheet, splines

from .reference import spline_of

GRID = Grid((3, 12, 5, 18), 5.0)  # 9 x 13 pixels, 2 x 3 cells


@pytest.fixture
def points():
    return np.random.default_rng(0).normal(0, 1, (*GRID.points, 2))


def pixels():
    top, bottom, left, right = GRID.box
    return [(y - top, x - left, (x + 0.5, y + 0.5)) for y in range(top, bottom) for x in range(left, right)]


def test_splines_are_parts_of_one():
    t = torch.linspace(0, 1, 7)
    torch.testing.assert_close(splines(t).sum(-1), torch.ones(7))
    assert splines(torch.tensor(0.0)).tolist() == pytest.approx([1 / 6, 4 / 6, 1 / 6, 0])


def test_a_sheet_is_the_sum_of_its_splines(points):
    assert GRID.cells == (2, 3)
    places = [(5.0, 3.0), (9.3, 7.7), (18.0, 12.0), (-4.0, 30.0)]  # the last beyond the box: the edge's
    found = Sheet(GRID, points).at(torch.tensor(places))
    for place, one in zip(places, found):
        true = sum(
            points[r, c] * spline_of(GRID.box, GRID.cells, r, c, place)
            for r in range(GRID.points[0])
            for c in range(GRID.points[1])
        )
        np.testing.assert_allclose(one.numpy(), true, atol=1e-5)
    values = GRID.values(points)
    for y, x, place in pixels():
        np.testing.assert_allclose(values[y, x], Sheet(GRID, points).at(torch.tensor(place)).numpy(), atol=1e-5)


def test_the_sums_of_least_squares_are_those_over_all_pixels():
    weight = np.random.default_rng(1).uniform(0, 1, (9, 13))
    names = [(r, c) for r in range(GRID.points[0]) for c in range(GRID.points[1])]
    normal, right = np.zeros((len(names),) * 2), np.zeros(len(names))
    for y, x, place in pixels():
        here = np.array([spline_of(GRID.box, GRID.cells, r, c, place) for r, c in names])
        normal += weight[y, x] * np.outer(here, here)
        right += weight[y, x] * here
    np.testing.assert_allclose(GRID.normal(weight), normal, atol=1e-10)
    np.testing.assert_allclose(GRID.right(weight), right, atol=1e-10)


def test_roughness_is_that_of_differences(points):
    one = points[..., 0]
    second = (np.diff(one, 2, 0) ** 2).sum() + (np.diff(one, 2, 1) ** 2).sum()
    second += 2 * (np.diff(np.diff(one, axis=0), axis=1) ** 2).sum()
    first = (np.diff(one, axis=0) ** 2).sum() + (np.diff(one, axis=1) ** 2).sum()
    true = second + 0.02 * first + 1e-4 * (one**2).sum()
    assert one.ravel() @ GRID.roughness @ one.ravel() == pytest.approx(true)


def test_a_sheet_that_is_given_is_found(points):
    values = GRID.values(points)
    np.testing.assert_allclose(GRID.values(GRID.smoothed(values, np.ones((9, 13)), 1e-9)), values, atol=1e-3)
    flat = GRID.values(GRID.smoothed(values, np.ones((9, 13)), 1e5))
    assert np.ptp(flat, (0, 1)).max() < 0.05 * np.ptp(values, (0, 1)).max()


def test_what_is_displaced_comes_back(points):
    sheet = Sheet(GRID, 0.5 * points)
    places = torch.rand(50, 2, generator=torch.Generator().manual_seed(1)) * torch.tensor([13, 9]) + torch.tensor(
        [5, 3]
    )
    torch.testing.assert_close(sheet.undone(places + sheet.at(places)), places, atol=1e-3, rtol=0)


def test_a_fold_is_told():
    flat = np.zeros((*GRID.points, 2))
    assert Sheet(GRID, flat).upright()
    folded = flat.copy()
    folded[..., 0] = -6.0 * np.arange(GRID.points[1])  # 13 / 3 pixels on, 6 back
    assert not Sheet(GRID, folded).upright()
