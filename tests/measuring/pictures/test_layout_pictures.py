"""Layouts as pictures: label images that are read back, legends, clusters, and the PCA of features."""

import itertools
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from videograin.editing.layout.clip_layout import ClipLayout, Thing
from videograin.editing.layout.clusters import enlarge
from videograin.editing.mask_images import COLOURS, masks_from_colours
from videograin.measuring.pictures.layout_pictures import (
    cluster_preview,
    features_picture,
    label_pictures,
    layout_preview,
    layout_sheet,
    legend_lines,
    pca_picture,
    principal_parts,
)
from videograin.measuring.pictures.painting import INK, region_colour


def layout_of(numbers, scores=(), names=(), soft=0.0):
    """A layout from numbers [F, H, W], 1 = thing 1, ..., 0 = background. soft: what masks lack to 1 inside."""
    numbers = torch.as_tensor(numbers)
    count = int(numbers.max())
    masks = [torch.where(numbers == n, 1 - soft, soft / count) for n in [*range(1, count + 1), 0]]
    things = [
        Thing(
            place,
            names[place - 1] if place <= len(names) else "background" if place > count else f"thing {place}",
            "",
            scores[place - 1] if place <= len(scores) else float("nan"),
            place > count,
            mask > 0.5,
            mask.float(),
        )
        for place, mask in enumerate(masks, 1)
    ]
    size = tuple(numbers.shape[1:])
    return ClipLayout(tuple(things), size, size, numbers.clamp(min=1), count)


def stripes(count, frames=2, size=(64, 96)):
    """Things 1 .. count as upright stripes from the RIGHT, the background below."""
    numbers = torch.zeros(frames, *size, dtype=torch.int64)
    wide = size[1] // count
    for n in range(count):
        numbers[:, : size[0] // 2, size[1] - (n + 1) * wide : size[1] - n * wide] = n + 1
    return numbers


def grey(frames=2, size=(64, 96)):
    return np.full((frames, *size, 3), 128, np.uint8)


def has(picture, colour):
    return int((picture == np.array(colour)).all(-1).sum())


# --- label images -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 9, 16])
def test_label_images_are_read_back_by_colours_in_the_order_of_the_numbers(count):
    """Thing 1 is on the right, so the order of first appearance is the other way round."""
    numbers = stripes(count)
    labels = label_pictures(layout_of(numbers, soft=0.3))
    assert (labels.dtype, labels.shape) == (np.uint8, (2, 64, 96, 3))
    found = masks_from_colours(torch.from_numpy(labels).float() / 255)
    assert [colour for colour, _ in found] == [region_colour(n) for n in range(1, count + 1)]
    for n, (_, mask) in enumerate(found, 1):
        assert torch.equal(mask.bool(), numbers == n)


def test_colours_of_others_keep_the_order_in_which_they_appear():
    own, other = region_colour(2), (255, 0, 0)
    images = torch.tensor([[[own, other, region_colour(1)]]]).float() / 255
    assert [colour for colour, _ in masks_from_colours(images)] == [own, other, region_colour(1)]


def test_all_colours_differ_and_none_is_black():
    assert len(set(COLOURS)) == len(COLOURS) == 16
    assert (0, 0, 0) not in COLOURS
    darker = np.array(COLOURS, int)
    apart = [np.abs(a - b).max() for a, b in itertools.combinations(darker, 2)]
    assert min(apart) > 16


def test_a_pixel_goes_to_the_strongest_mask_and_a_hidden_thing_has_none():
    layout = layout_of(stripes(2))
    things = list(layout.things)
    for place, values in enumerate(([0.2, 0.0], [0.5, 0.0], [0.3, 1.0])):
        mask = torch.tensor(values)[:, None, None].expand(2, 64, 96).contiguous()
        things[place] = Thing(place + 1, f"{place}", "", 0.0, place == 2, mask > 0.5, mask)
    labels = label_pictures(ClipLayout(tuple(things), layout.grid, layout.size, layout.clusters, 2))
    assert has(labels[0], region_colour(2)) == 64 * 96
    assert has(labels[1], (0, 0, 0)) == 64 * 96


# --- preview and sheet ------------------------------------------------------------------------------------------------


def test_a_line_says_number_name_and_score():
    layout = layout_of(stripes(2), scores=[2.44], names=["red circle", "thing 2"])
    assert legend_lines(layout) == ["1  red circle (2.4 x)", "2  thing 2", "3  background"]


def test_the_preview_paints_things_and_not_the_background():
    layout = layout_of(stripes(2))
    preview = layout_preview(grey(), layout)
    assert preview.shape[2] == 384
    picture, legend = preview[0, :256], preview[0, 256:]
    middle = picture[20:100]
    assert np.ptp(middle[:, 200:].astype(int), axis=-1).min() < np.ptp(middle[:, 200:].astype(int), axis=-1).max()
    assert (np.ptp(picture[140:].astype(int), axis=-1) == 0).all()  # the background below stays grey
    assert np.ptp(picture[30:60, 5:20].astype(int), axis=-1).min() > 30  # thing 2 on the left is coloured
    assert [has(legend, region_colour(n)) for n in (1, 2, 3)] == [14 * 14, 14 * 14, 0]
    assert has(legend, INK) > 100


def test_names_and_scores_change_the_legend_alone():
    one, other = (layout_preview(grey(), layout_of(stripes(2), [s], [n])) for s, n in ((2.0, "cup"), (3.0, "hand")))
    assert (one[:, :256] == other[:, :256]).all()
    assert (one[:, 256:] != other[:, 256:]).any()


def test_masks_of_large_frames_are_shrunk_with_them():
    numbers = stripes(2, 1, (600, 900))
    sheet = layout_sheet(grey(1, (600, 900)), layout_of(numbers))
    assert sheet.shape[1] == 768
    assert has(sheet, region_colour(1)) > 200


@pytest.mark.parametrize(("frames", "shown"), [(1, 1), (2, 2), (9, 3)])
def test_the_sheet_shows_the_first_the_middle_and_the_last_frame(frames, shown):
    numbers = stripes(1, frames)
    numbers[1:-1] *= 0  # the thing is in the first and the last frame
    sheet = layout_sheet(grey(frames), layout_of(numbers))
    cell = (768 - 4 * 6) // 3
    row = sheet[39 + 5 : 39 + 60]  # below the frames' numbers
    coloured = [np.ptp(row[:, 6 + n * (cell + 6) :][:, 4 : cell - 4].astype(int), axis=-1).max() > 30 for n in range(3)]
    assert coloured == [True, shown == 2, shown == 3]
    assert [bool((row[:, 6 + n * (cell + 6) + 9] < 250).any()) for n in range(3)] == [n < shown for n in range(3)]


@pytest.mark.parametrize("count", [3, 4, 9, 15])
def test_a_long_legend_has_two_columns_with_every_colour_once(count):
    sheet = layout_sheet(grey(2, (96, 192)), layout_of(stripes(count, 2, (96, 192))))
    below = sheet[39 + 124 + 12 :]
    patches = [has(below, region_colour(n)) for n in range(1, count + 1)]
    assert all(28 * 28 <= patch < 29 * 28 for patch in patches)  # some letters' rims are grey as region 8 is
    left = [has(below[:, :384], region_colour(n)) > 28 * 27 for n in range(1, count + 1)]
    half = count if count + 1 <= 4 else -(-(count + 1) // 2)
    assert left == [True] * half + [False] * (count - half)


def test_what_the_layout_has_to_say_stands_below_the_legend():
    plain = layout_of(stripes(2))
    said = replace(plain, notes=("9 things were found; the 2 largest are kept (max_things).", "Another note."))
    one, other = layout_sheet(grey(), plain), layout_sheet(grey(), said)
    assert (other[: len(one)] == one).all()
    assert len(other) - len(one) > 2 * 28
    assert has(other[len(one) :], INK) > 200


# --- clusters and features --------------------------------------------------------------------------------------------


def test_painted_clusters_differ_and_are_large_enough_for_numbers():
    labels = torch.ones(2, 6, 9, dtype=torch.int64)
    labels[:, :3], labels[:, :, 6:] = 2, 3
    frames = np.full((2, 64, 96, 3), 128, np.uint8)
    painted = cluster_preview(labels, frames)
    assert painted.shape == (2, 256, 384, 3)
    assert painted.dtype == np.uint8
    inside = [np.median(painted[enlarge(labels, (256, 384)).numpy() == n], axis=0) for n in (1, 2, 3)]
    assert min(np.abs(a - b).max() for a, b in itertools.combinations(inside, 2)) > 40
    assert cluster_preview(labels, np.zeros((2, 300, 450, 3), np.uint8)).shape == (2, 300, 450, 3)


def rows_of(kinds):
    """Features of tokens that look at their own kind alone: kinds int [F, n] -> [F, n, n]."""
    same = (kinds[:, :, None] == kinds[:, None]).float()
    return same / same.sum(-1, keepdim=True)


def moving(frames=4, side=6):
    """Kinds [F, n]: a 2 x 2 block that moves one cell a frame over two halves of a ground."""
    kinds = torch.zeros(frames, side, side, dtype=torch.int64)
    kinds[:, side // 2 :] = 1
    for f in range(frames):
        kinds[f, 2:4, f : f + 2] = 2
    return kinds.flatten(1)


def test_pca_finds_the_main_directions():
    """Against a full eigendecomposition of one frame: the same coordinates up to sign."""
    values = torch.rand(1, 40, 40, generator=torch.Generator().manual_seed(1)).softmax(-1)
    values[:, :20, :10] += 0.2
    values[:, 5:15, 20:] += 0.1
    values[:, 12:30, 30:] += 0.06
    values /= values.sum(-1, keepdim=True)
    rows = values[0].double().sqrt()
    rows = rows - rows.mean(0)
    _, _, right = torch.linalg.svd(rows)
    wanted = (rows @ right[:3].T).abs()
    torch.testing.assert_close(principal_parts(values)[0].abs().double(), wanted, rtol=0, atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_a_kind_keeps_its_colour_while_it_moves(dtype):
    kinds = moving()
    picture = pca_picture(SimpleNamespace(values=rows_of(kinds).to(dtype), grid=(6, 6))).reshape(4, 36, 3).astype(int)
    colours = [picture[kinds.numpy() == kind] for kind in range(3)]
    assert max(np.abs(c - np.median(c, axis=0)).max() for c in colours) < 60
    means = [np.median(c, axis=0) for c in colours]
    assert min(np.abs(a - b).max() for a, b in itertools.combinations(means, 2)) > 80


def test_two_alike_things_have_one_colour_and_lightness_alone_tells_them_from_the_ground():
    """The paper's finding (Fig. 3), and what is left of the picture without any colour vision."""
    kinds = torch.zeros(2, 8, 8, dtype=torch.int64)
    kinds[:, 1:3, 1:3] = kinds[:, 5:7, 5:7] = 1
    picture = pca_picture(SimpleNamespace(values=rows_of(kinds.flatten(1)), grid=(8, 8)), (8, 8)).astype(int)
    assert np.abs(picture[:, 1:3, 1:3] - picture[:, 5:7, 5:7]).max() <= 2
    light = picture @ [0.299, 0.587, 0.114]
    assert light[:, 1, 1].min() - light[:, 0, 4].max() > 60


def test_features_without_any_difference_are_one_colour():
    flat = torch.full((2, 16, 16), 1 / 16)
    assert len(np.unique(pca_picture(SimpleNamespace(values=flat, grid=(4, 4))).reshape(-1, 3), axis=0)) == 1
    assert principal_parts(torch.ones(1, 1, 1)).shape == (1, 1, 3)


def test_the_features_picture_is_pca_beside_clusters_under_titles():
    kinds = moving()
    features = SimpleNamespace(values=rows_of(kinds), grid=(6, 6))
    labels = kinds.reshape(4, 6, 6) + 1
    frames = grey(4, (96, 96))
    page = features_picture(features, labels, frames)
    clusters = cluster_preview(labels, frames)
    height, width = clusters.shape[1:3]
    assert page.shape == (4, page.shape[1], 2 * width + 6, 3)
    assert (page[:, -height:, -width:] == clusters).all()
    assert (page[:, -height:, :width] == pca_picture(features, (height, width))).all()
    assert has(page[0, :-height], INK) > 50
