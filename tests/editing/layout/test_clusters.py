import itertools
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from videograin.editing.attention_features import Features
from videograin.editing.layout.clusters import (
    ClusterError,
    cluster,
    enlarge,
    k_means,
    masks_of,
    match_numbers,
    neutral_picture,
    parse_pick,
)

GRID = (8, 12)


def block(top, left, height=3, width=3):
    thing = torch.zeros(GRID, dtype=torch.bool)
    thing[top : top + height, left : left + width] = True
    return thing


def features(things, seed=0, noise=0.1):
    """Attention as a model's: tokens look mostly at tokens of their own kind. things: [F][K] bool [h, w]."""
    generator = torch.Generator().manual_seed(seed)
    values = []
    for frame in things:
        kind = sum(number * thing.long() for number, thing in enumerate(frame, 1)).flatten()
        logits = 3.0 * (kind[:, None] == kind[None]) + noise * torch.randn(len(kind), len(kind), generator=generator)
        values.append(logits.softmax(-1))
    return Features(GRID, torch.stack(values))


def same(labels, number, things):
    return torch.equal(labels == number, torch.stack(things))


MOVING = [[block(0, 0 + f)] for f in range(8)]  # one thing, from the left edge to where it no longer overlaps its start
TWO = [[block(1, 1 + f), block(5, 9 - f, 2, 2)] for f in range(8)]  # two things that pass each other
SCOPES = pytest.mark.parametrize("scope", ["joint", "per_frame"])


# --- clusters ---------------------------------------------------------------------------------------------------------


@SCOPES
@pytest.mark.parametrize("seed", [0, 1, 2**63])
def test_a_moving_thing_is_one_cluster_with_one_number(scope, seed):
    labels = cluster(features(MOVING), 2, scope, seed)
    assert labels.shape == (8, *GRID)
    assert labels.dtype == torch.int64
    assert same(labels, 2, [frame[0] for frame in MOVING])


@SCOPES
def test_two_things_keep_their_numbers_while_they_pass(scope):
    """Numbered by area: 1 the ground, 2 the larger thing, 3 the smaller one."""
    labels = cluster(features(TWO), 3, scope)
    for number, thing in ((1, 2), (2, 0), (3, 1)):
        expected = [frame[thing] if thing < 2 else ~(frame[0] | frame[1]) for frame in TWO]
        assert same(labels, number, expected)


@SCOPES
def test_a_thing_that_was_hidden_is_found_again(scope):
    hidden = [TWO[0], TWO[0], TWO[0][:1], TWO[0][:1], TWO[0], TWO[0]]
    labels = cluster(features(hidden), 3, scope)
    for frame in (0, 1, 4, 5):
        assert torch.equal(labels[frame] == 2, TWO[0][0])
        assert torch.equal(labels[frame] == 3, TWO[0][1])


@SCOPES
def test_noise_in_the_attention(scope):
    truth = cluster(features(TWO, noise=0), 3)
    wrong = [(cluster(features(TWO, seed, noise=1.0), 3, scope) != truth).float().mean() for seed in range(6)]
    assert np.mean(wrong) < 0.1


@SCOPES
def test_the_same_seed_gives_the_same_numbers(scope):
    given = features(TWO, noise=1.5)
    assert torch.equal(cluster(given, 5, scope, 7), cluster(given, 5, scope, 7))


@SCOPES
@pytest.mark.parametrize("clusters", [2, 5, 16])
def test_numbers_are_1_to_k_by_area(scope, clusters):
    labels = cluster(features(TWO, noise=1.5), clusters, scope)
    numbers, areas = labels.unique(return_counts=True)
    assert numbers.tolist() == list(range(1, len(numbers) + 1))
    assert len(numbers) == clusters
    assert areas.tolist() == sorted(areas.tolist(), reverse=True)


@SCOPES
def test_one_frame(scope):
    assert same(cluster(features(TWO[:1]), 3, scope), 2, [TWO[0][0]])


@SCOPES
@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
def test_frames_without_any_structure(scope):
    """All rows alike: fewer clusters than asked for, and no crash."""
    flat = Features((2, 3), torch.full((2, 6, 6), 1 / 6))
    assert cluster(flat, 3, scope).unique().tolist() == [1]


def test_the_features_stay_as_they_are():
    given = features(TWO)
    before = given.values.clone()
    cluster(given, 3, "joint")
    assert torch.equal(given.values, before)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((1,), "clusters must lie between 2 and 96 .a frame has 8 x 12 tokens.; got 1"),
        ((97,), "got 97"),
        ((3, "both"), "scope must be one of joint, per_frame; got 'both'"),
    ],
)
def test_arguments_out_of_range(arguments, says):
    with pytest.raises(ClusterError, match=says):
        cluster(features(TWO), *arguments)


def test_missing_scikit_learn_names_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.cluster", None)
    with pytest.raises(ClusterError, match=r"scikit-learn cannot be imported.*pip install scikit-learn"):
        cluster(features(TWO), 3)


# --- numbers from frame to frame --------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_matching_takes_the_best_of_all_renumberings(data):
    k = data.draw(st.integers(2, 5))
    before, now = (np.array(data.draw(st.lists(st.integers(0, k - 1), min_size=12, max_size=12))) for _ in range(2))

    def overlap(renamed):
        pairs = [(before == n, renamed == n) for n in range(k)]
        return sum((a & b).sum() / max((a | b).sum(), 1) for a, b in pairs)

    best = max(overlap(np.array(order)[now]) for order in itertools.permutations(range(k)))
    assert overlap(match_numbers(before, now, k)) == pytest.approx(best)


def test_matching_undoes_a_renumbering():
    before = np.array([0, 0, 1, 1, 1, 2])
    assert match_numbers(before, np.array([2, 2, 0, 0, 0, 1]), 3).tolist() == before.tolist()


# --- masks ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "picked"),
    [
        ("", ((1,), (2,), (3,), (4,))),
        ("  ", ((1,), (2,), (3,), (4,))),
        ("2", ((2,),)),
        ("1, 2+3", ((1,), (2, 3))),
        (" 4+ 1 ,\t3 ", ((4, 1), (3,))),
        ("2+2", ((2,),)),
    ],
)
def test_pick(text, picked):
    assert parse_pick(text, 4) == picked


@pytest.mark.parametrize("text", ["0", "5", "1,", ",", "+", "1+", "2 3", "-1", "1.0", "one", "²", "1;2", "9" * 5000])
def test_pick_names_the_widget_and_the_legal_numbers(text):
    with pytest.raises(ClusterError, match="pick: expected cluster numbers from 1 to 4, such as"):
        parse_pick(text, 4)


def test_masks_at_the_grid_are_the_clusters():
    labels = torch.tensor([[[1, 1, 2], [3, 4, 4]], [[2, 1, 1], [1, 1, 3]]])
    first, both = masks_of(labels, "1, 2+3", (2, 3))
    assert torch.equal(first, (labels == 1).float())
    assert torch.equal(both, ((labels == 2) | (labels == 3)).float())


@pytest.mark.parametrize("size", [(16, 24), (37, 66), (128, 192), (5, 4)])
def test_masks_of_any_size_divide_the_frame(size):
    labels = cluster(features(TWO), 3)
    masks = torch.stack(masks_of(labels, "", size))
    assert masks.shape == (3, 8, *size)
    assert torch.equal(masks.sum(0), torch.ones(8, *size))
    assert set(masks.unique().tolist()) == {0.0, 1.0}


def test_enlarged_clusters_are_where_the_clusters_are():
    """The middle of every cell belongs to the cell's cluster, and a straight border runs where it ran."""
    labels = torch.randint(1, 4, (2, 5, 7), generator=torch.Generator().manual_seed(0))
    assert torch.equal(enlarge(labels, (25, 35))[:, 2::5, 2::5], labels)
    halves = torch.tensor([[[1, 1, 2, 2]] * 3])
    assert torch.equal(enlarge(halves, (12, 16))[0], torch.tensor([[1] * 8 + [2] * 8] * 12))


# --- pictures ---------------------------------------------------------------------------------------------------------


def test_a_neutral_picture_shows_what_the_latents_show():
    thing = torch.stack([block(1, f).float() for f in range(3)])
    latents = thing[:, None] * torch.tensor([3.0, -2, 0, 1])[:, None, None] + 40
    picture = neutral_picture(latents)
    assert (picture.shape, picture.dtype) == ((3, *GRID, 3), np.uint8)
    assert set(np.unique(picture[thing.bool().numpy()])) == {255}
    assert set(np.unique(picture[~thing.bool().numpy()])) == {0}
    assert neutral_picture(torch.zeros(1, 4, 2, 2)).shape == (1, 2, 2, 3)


def test_centres_are_the_means_of_their_rows():
    rows = np.random.default_rng(0).normal(size=(60, 3)) + np.repeat([[0], [6], [12]], 20, 0)
    found = k_means(rows, 3, 0)
    for number in range(3):
        assert np.allclose(found.cluster_centers_[number], rows[found.labels_ == number].mean(0), atol=1e-9)
    assert sorted(np.bincount(found.labels_)) == [20, 20, 20]
