"""Clips compared pixel by pixel: every expected value is worked out by hand in the comment beside it."""

import math

import numpy as np
import pytest

from videograin.measuring.metrics.pixels import border_band, outside, psnr, ssim, structure_error


def noise(seed=0, frames=2, side=24) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 200, (frames, side, side, 3), dtype=np.uint8)


def flat(value: int, frames=2, side=24) -> np.ndarray:
    return np.full((frames, side, side, 3), value, np.uint8)


def left(side=24) -> np.ndarray:
    weight = np.zeros((side, side))
    weight[:, : side // 2] = 1
    return weight


def test_a_clip_against_itself():
    clip = noise()
    assert psnr(clip, clip) == math.inf
    assert ssim(clip, clip) == pytest.approx(1, abs=1e-12)
    assert structure_error(clip, clip) == 0


def test_a_constant_offset():
    clip = noise()
    # 10 of 255 everywhere: MSE 100, 10 log10(65025 / 100) = 28.1308 dB; no gradient changes.
    assert psnr(clip, clip + np.uint8(10)) == pytest.approx(28.1308, abs=1e-4)
    assert structure_error(clip, clip + np.uint8(10)) == pytest.approx(0, abs=1e-12)
    # Flat frames have no variance: what is left is (2 * 100 * 110 + C1) / (100^2 + 110^2 + C1) with C1 = 6.5025,
    # 22006.5025 / 22106.5025 = 0.9954764.
    assert ssim(flat(100), flat(110)) == pytest.approx(0.9954764, abs=1e-7)


def test_a_recolouring_of_one_frame_and_one_channel():
    recoloured = flat(100)
    recoloured[1, ..., 0] = 130
    # 900 in one of three channels of one of two frames: MSE 900 / 6 = 150, 10 log10(65025 / 150) = 26.3699 dB.
    assert psnr(flat(100), recoloured) == pytest.approx(26.3699, abs=1e-4)


def test_contrast_scaled_by_a_half():
    clip = noise() // 2 * 2
    # g_b = g_a / 2: |g_a - g_b| = |g_a| / 2 over |g_a| + |g_a| / 2, so 1 / 3.
    assert structure_error(clip, clip // 2) == pytest.approx(1 / 3)


def test_edges_that_vanish_and_edges_elsewhere():
    step = flat(0)
    step[:, :, 12:] = 200
    other = flat(0)
    other[:, :, 4:] = 200
    assert structure_error(step, flat(77)) == 1  # nothing in common with a flat frame
    assert structure_error(step, other) == 1  # the differences at 11, 12 and at 3, 4 do not meet
    assert structure_error(flat(1), flat(2)) == 0  # no edges in either


def test_a_weight_counts_only_what_it_covers():
    clip, changed = noise(), noise()
    changed[:, :, 12:] = noise(5)[:, :, 12:]
    for measure, same in ((psnr, math.inf), (ssim, 1), (structure_error, 0)):
        assert measure(clip, changed, left()) == pytest.approx(same)
        assert measure(clip, changed) != pytest.approx(same, abs=0.1)
    # Half the pixels differ by 10, at weight 0.5 against 1: MSE 100 * 0.5 / 1.5 = 33.33, 32.9021 dB.
    a, b = flat(50), flat(50)
    b[:, :, :12] = 60
    assert psnr(a, b, 1 - 0.5 * left()) == pytest.approx(32.9021, abs=1e-4)


def test_a_bool_weight_per_frame():
    clip = noise()
    changed = clip.copy()
    changed[1] += 10
    weight = np.zeros(clip.shape[:3], bool)
    weight[0] = True
    assert psnr(clip, changed, weight) == math.inf
    assert psnr(clip, changed, ~weight) == pytest.approx(28.1308, abs=1e-4)


def test_no_weight_gives_nan():
    clip = noise()
    for measure in (psnr, ssim, structure_error):
        assert math.isnan(measure(clip, clip, np.zeros((24, 24))))


@pytest.mark.parametrize("weight", [np.ones((14, 14)), np.random.default_rng(9).random((14, 14)), left(14)])
def test_ssim_is_the_formula_of_the_paper_window_by_window(weight):
    a, b = noise(1, 1, 14), noise(2, 1, 14)
    x, y = (clip[0] @ np.array([0.299, 0.587, 0.114]) for clip in (a, b))
    rows, columns = np.mgrid[:14, :14]
    values = np.zeros((14, 14))
    for row, column in np.argwhere(weight > 0):
        near = (abs(rows - row) <= 5) & (abs(columns - column) <= 5)
        window = near * np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / (2 * 1.5**2)) * weight
        window /= window.sum()
        mx, my = (window * x).sum(), (window * y).sum()
        vx, vy = (window * (x - mx) ** 2).sum(), (window * (y - my) ** 2).sum()
        cov = (window * (x - mx) * (y - my)).sum()
        c1, c2 = 2.55**2, 7.65**2
        values[row, column] = (2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
    assert ssim(a, b, weight) == pytest.approx((values * weight).sum() / weight.sum(), rel=1e-9)


def test_the_band_lies_on_both_sides_of_the_border():
    mask = np.zeros((1, 20, 20), np.float32)
    mask[0, :, 10:] = 1
    band = border_band(mask, 3)[0]
    # Column 10 is 1 pixel from the nearest outside (column 9), 12 is 3, 13 is 4; outwards 9 is 1, 7 is 3, 6 is 4.
    assert np.flatnonzero(band[5]).tolist() == [7, 8, 9, 10, 11, 12]
    assert band.dtype == np.float32
    assert border_band(np.zeros((1, 8, 8))).sum() == 0
    assert border_band(np.ones((1, 8, 8))).sum() == 0


def test_outside_keeps_its_distance():
    mask = np.zeros((2, 11, 11), np.float32)
    mask[0, 5, 5] = 0.01  # touched is enough
    kept = outside(mask, 2)
    # Within 2 pixels of (5, 5): the 13 grid points of a disc of radius 2.
    assert kept[0].sum() == 121 - 13
    assert kept[1].sum() == 121
    assert outside(mask)[0].sum() == 120


@pytest.mark.parametrize(
    ("a", "b", "weight", "said"),
    [
        (flat(1), flat(1, frames=3), None, "expected two uint8"),
        (flat(1), flat(1).astype(float), None, "expected two uint8"),
        (flat(1), flat(1), np.ones((3, 24, 24)), r"weight is \[3, 24, 24\]; expected \[2, 24, 24\]"),
    ],
)
def test_mistakes_name_both_shapes(a, b, weight, said):
    for measure in (psnr, ssim, structure_error):
        with pytest.raises(ValueError, match=said):
            measure(a, b, weight)
