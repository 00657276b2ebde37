"""Fusion along motion against its literal form, one cell at a time, and what it must leave alone."""

import numpy as np
import pytest
import torch

from videograin.attention.coverage import visible_parts
from videograin.attention.options import AVERAGES
from videograin.editing.fusion import (
    NEIGHBOURS,
    SOFT,
    Shares,
    _reaching,
    background,
    beside,
    fuse,
    keyed,
    neighbours,
    widened,
)
from videograin.editing.motion.value import CUT, Motion, RegionMotion, from_transforms

from .motion.reference import place_in, sample_one

SIZE, CELLS, F, K = (32, 40), (8, 10), 4, 2


def sliding(dx, dy, count=F):
    steps = np.repeat(np.eye(3)[None], count, 0)
    steps[:, 0, 2], steps[:, 1, 2] = dx * np.arange(count), dy * np.arange(count)
    return from_transforms(steps)


@pytest.fixture
def motion():
    turn = np.repeat(np.eye(3)[None], F, 0)
    for f in range(F):
        a = 0.05 * f
        turn[f, :2, :2] = [[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]
    return Motion(SIZE, (sliding(3.3, 1.2), from_transforms(turn)), sliding(-1.5, 0.0), "exact")


@pytest.fixture
def masks():
    masks = torch.zeros(K, F, *SIZE)
    for f in range(F):
        masks[0, f, 6 + f : 18 + f, 4 + 3 * f : 17 + 3 * f] = 1
        masks[1, f, 12:26, 14:34] = 0.8
    return masks


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def literally(values, motion, shares, strength=1.0, agreed=np.median):
    """The formula of `fuse`, one cell at a time, in float64."""
    values, most = values.double().numpy(), shares.most.double().numpy()
    count, _, height, width = values.shape
    out = values.copy()
    for k, region in enumerate(motion.regions):
        for i in range(count):
            for row in range(height):
                for column in range(width):
                    share = float(shares.of[k, i, row, column])
                    if share == 0:
                        continue
                    place = ((column + 0.5) * SIZE[1] / width, (row + 0.5) * SIZE[0] / height)
                    seen = [values[i, :, row, column]]
                    for j in range(count):
                        if j == i or not region.linked(i, j):
                            continue
                        there = place_in(region, SIZE, np.array(place), i, j)
                        if not (0 <= there[0] <= SIZE[1] and 0 <= there[1] <= SIZE[0]):
                            continue
                        if sample_one(most[k, j][None], there, SIZE, "bilinear")[0] > 0.5:
                            seen.append(sample_one(values[j], there, SIZE, "bicubic"))
                    out[i, :, row, column] += strength * share * (agreed(seen, 0) - values[i, :, row, column])
    return torch.from_numpy(out)


@pytest.mark.parametrize("strength", [1.0, 0.4])
@pytest.mark.parametrize("average", AVERAGES)
def test_against_the_literal_form(motion, masks, strength, average):
    values, shares = random(F, 3, *CELLS), Shares.at(masks, CELLS)
    fused = fuse(values, motion, shares, strength=strength, average=average)
    wanted = literally(values, motion, shares, strength, {"mean": np.mean, "median": np.median}[average])
    torch.testing.assert_close(fused.double(), wanted, rtol=0, atol=2e-5)
    assert (fused - values).abs().max() > 0.1


def test_shares_divide_what_is_touched(masks):
    shares = Shares.at(masks, CELLS)
    seen = visible_parts(masks)[1:]
    touched = torch.nn.functional.adaptive_max_pool2d(seen, CELLS).amax(0) > 0
    torch.testing.assert_close(shares.of.sum(0), touched.float())
    # the later region covers 0.8 of what lies under it
    torch.testing.assert_close(seen[0][masks[1] > 0], masks[0][masks[1] > 0] * 0.2)
    assert bool(touched.any())
    assert not bool(touched.all())


def test_a_steady_thing_stays_and_a_flickering_one_is_steadied():
    """A picture that slides exactly as the motion says is its own median; one frame that differs is outvoted."""
    canvas = random(1, 1, 48, 80, seed=3)
    canvas = torch.nn.functional.avg_pool2d(canvas, 5, 1, 2)[0]
    frames = torch.stack([canvas[:, 8:40, 20 - 4 * f : 60 - 4 * f] for f in range(F)])  # contents move 4 px a frame
    motion = Motion(SIZE, (sliding(4.0, 0.0),), sliding(0, 0), "exact")
    masks = torch.zeros(1, F, *SIZE)
    for f in range(F):
        masks[0, f, 8:24, 8 + 4 * f : 20 + 4 * f] = 1
    shares = Shares.at(masks, SIZE)
    torch.testing.assert_close(fuse(frames, motion, shares), frames, rtol=0, atol=1e-5)
    shaken = frames.clone()
    shaken[2] += 1.0
    inside = masks[0, 2] > 0
    repaired = fuse(shaken, motion, shares)
    torch.testing.assert_close(repaired[2][:, inside], frames[2][:, inside], rtol=0, atol=1e-5)
    assert torch.equal(repaired[2][:, ~inside], shaken[2][:, ~inside])


def test_what_is_left_alone(motion, masks):
    values, shares = random(F, 3, *CELLS), Shares.at(masks, CELLS)
    assert fuse(values, motion, shares, strength=0.0) is values
    assert fuse(values, motion, shares, []) is values
    only = fuse(values, motion, shares, [1])
    outside = (shares.of[1] == 0)[:, None].expand_as(values)
    assert torch.equal(only[outside], values[outside])
    assert not torch.equal(only, values)
    nothing = Shares.at(torch.zeros_like(masks), CELLS)
    assert torch.equal(fuse(values, motion, nothing), values)


def test_frames_of_other_pieces_are_not_asked(masks):
    """Where the chain is cut each side makes its own median; a piece of one frame keeps its own values, bit for bit."""
    whole = sliding(3.0, 1.0)
    before, losses = whole.before.copy(), whole.losses.copy()
    before[3], losses[3] = -1, CUT + 0.1
    cut = RegionMotion(before, whole.steps, losses, whole.present)
    values, shares = random(F, 3, *CELLS), Shares.at(masks[:1], CELLS)
    fused = fuse(values, Motion(SIZE, (cut,), sliding(0, 0), "exact"), shares)
    assert torch.equal(fused[3], values[3])
    other = values.clone()
    other[3] = 9.0
    assert torch.equal(fuse(other, Motion(SIZE, (cut,), sliding(0, 0), "exact"), shares)[:3], fused[:3])


def test_the_nearest_frames():
    assert list(neighbours(3, 7)) == list(range(7))
    for frame in (0, 5, 20, 39):
        near = list(neighbours(frame, 40))
        assert frame in near
        assert len(near) == NEIGHBOURS
        assert 0 <= near[0] < near[-1] < 40


def test_widened_regions_do_not_cross_others(masks):
    wide = widened(masks, 3) > 0
    seen = visible_parts(masks)[1:] > 0.5
    assert bool((wide[0] & ~seen[0]).any())
    assert not bool((wide[0] & seen[1]).any())
    assert not bool((wide[1] & seen[0]).any())
    assert bool(wide[1][seen[1]].all())


def test_the_background_is_read_from_frames_that_show_it():
    canvas = torch.nn.functional.avg_pool2d(random(1, 3, 32, 60, seed=5), 5, 1, 2)[0]
    frames = torch.stack([canvas[:, :, 2 * f : 40 + 2 * f] for f in range(F)])  # the camera pans 2 px a frame
    motion = Motion(SIZE, (sliding(6.0, 0.0),), sliding(-2.0, 0.0), "exact")
    masks, filmed = torch.zeros(1, F, *SIZE), frames.clone()
    for f in range(F):
        masks[0, f, 10:20, 6 * f + 4 : 6 * f + 12] = 1
        filmed[f, :, 10:20, 6 * f + 4 : 6 * f + 12] = 1.0
    behind, known = background(filmed, motion, masks)
    assert bool(known.all())
    torch.testing.assert_close(behind, frames, rtol=0, atol=1e-4)
    still = Motion(SIZE, (sliding(0.0, 0.0),), sliding(-2.0, 0.0), "exact")
    always = torch.zeros(1, F, *SIZE)
    always[:, :, 10:20, 10:30] = 1
    standing = frames.clone()
    standing[:, :, 10:20, 10:30] = canvas[:, 10:20, 40:60].flip(2)  # a thing that stands before the panned background
    _, known = background(standing, still, always)
    assert not bool(known[:, 14, 20].any())  # never seen behind its middle
    assert bool(known[:, 2, 2].all())


def test_what_a_wide_mask_holds_of_the_background_is_known_there():
    canvas = torch.nn.functional.avg_pool2d(random(1, 3, 32, 60, seed=5), 5, 1, 2)[0]
    filmed = torch.stack([canvas[:, :, 2 * f : 40 + 2 * f] for f in range(F)])
    motion = Motion(SIZE, (sliding(0.0, 0.0),), sliding(-2.0, 0.0), "exact")
    box = torch.zeros(F, *SIZE)
    box[:, 4:28, 4:36] = 1
    filmed[:, :, 12:20, 12:28] = canvas[:, 12:20, 40:56].flip(2)
    shown = beside(filmed, motion, 0, box)
    thing = torch.zeros(SIZE, dtype=torch.bool)
    thing[11:21, 11:29] = True
    assert not bool(shown[:, 13:19, 13:27].any())
    assert shown[:, (box[0] > 0) & ~thing].float().mean() > 0.9
    assert not bool(shown[:, box[0] == 0].any())
    told, untold = (background(filmed, motion, box[None], wide=wide)[1] for wide in (True, False))
    assert torch.equal(background(filmed, motion, box[None])[1], told)
    assert bool((told & shown).sum() > (untold & shown).sum())
    fits = torch.zeros(F, *SIZE)
    fits[:, 12:20, 12:28] = 1
    filmed[:, :, 12:20, 12:28] = 0.5  # flat: its inside agrees along any motion
    assert not bool(beside(filmed, motion, 0, fits).any())


def test_the_key_puts_back_what_the_edit_shows_of_the_background():
    motion = Motion(SIZE, (sliding(0.0, 0.0),), sliding(0.0, 0.0), "exact")
    masks = torch.zeros(1, F, *SIZE)
    masks[:, :, 6:26, 6:34] = 1
    shares = Shares.at(masks, SIZE)
    behind, known = torch.zeros(F, 3, *SIZE), torch.ones(F, *SIZE, dtype=torch.bool)
    raw = torch.full((F, 3, *SIZE), 0.05)  # as good as the background
    raw[:, :, 12:20, 14:26] = 0.8  # the new thing
    fused = raw + 0.02
    out = keyed(fused, raw, behind, known, motion, shares, [0])
    assert torch.equal(out[:, :, 8, 8], behind[:, :, 8, 8])
    torch.testing.assert_close(out[:, :, 15, 20], fused[:, :, 15, 20])
    assert torch.equal(out[:, :, 2, 2], fused[:, :, 2, 2])  # no region
    unknown = keyed(fused, raw, behind, ~known, motion, shares, [0])
    assert torch.equal(unknown, fused)


def test_the_background_fades_beyond_what_is_known_of_it():
    behind, known = random(1, 3, *SIZE), torch.zeros(1, *SIZE, dtype=torch.bool)
    known[0, :, :18] = True
    carried, sure = _reaching(behind, known)
    assert torch.equal(carried[0, :, :, :18], behind[0, :, :, :18])
    side = 2 * SOFT + 1
    for column in range(SIZE[1]):
        share = sum(0 <= other < 18 for other in range(column - SOFT, column + SOFT + 1))
        share /= sum(0 <= other < SIZE[1] for other in range(column - SOFT, column + SOFT + 1))
        expected = 1.0 if column < 18 else min(2 * share, 1)
        assert torch.allclose(sure[0, 0, :, column], torch.tensor(expected), atol=1e-6), column
    middle = SIZE[0] // 2
    around = behind[0, :, middle - SOFT : middle + SOFT + 1, 18 - SOFT : 18].mean((1, 2))
    assert torch.allclose(carried[0, :, middle, 18], around, atol=1e-5)
    assert side % 2
