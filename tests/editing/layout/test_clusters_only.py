"""Bare clusters as a layout: the clusters of before, under the numbers of before."""

import pytest
import torch

from videograin.editing.attention_features import Features
from videograin.editing.layout.clusters import ClusterError, cluster, masks_of
from videograin.editing.layout.clusters_only import kinds_layout, pick_kinds

GRID = (6, 6)


def features():
    """Two alike blocks on a ground of two halves, which look at their own kind, and a little noise; float16."""
    kinds = torch.zeros(3, *GRID, dtype=torch.int64)
    kinds[:, 3:] = 2
    kinds[:, 1:3, 1:3] = kinds[:, 4:6, 3:6] = 1
    same = (kinds.flatten(1)[:, :, None] == kinds.flatten(1)[:, None]).float()
    same += 0.1 * torch.rand(same.shape, generator=torch.Generator().manual_seed(0))
    return Features(GRID, (same / same.sum(-1, keepdim=True)).half())


@pytest.mark.parametrize("scope", ["joint", "per_frame"])
def test_masks_and_numbers_are_those_of_the_clusters(scope):
    layout = kinds_layout(features(), (24, 24), clusters=3, scope=scope, seed=4)
    labels = cluster(features(), 3, scope, 4)
    assert torch.equal(layout.clusters, labels)
    wanted = masks_of(labels, "3, 1+2", (24, 24))
    (first, one), (second, two) = pick_kinds(layout, "3, 1+2")
    assert (first, second) == ("cluster 3", "cluster 1 + cluster 2")
    assert torch.equal(one, wanted[0])
    assert torch.equal(two, wanted[1])
    assert [name for name, _ in pick_kinds(layout, "")] == layout.names == ["cluster 1", "cluster 2", "cluster 3"]
    assert torch.equal(sum(mask for _, mask in pick_kinds(layout, "")), torch.ones(3, 24, 24))
    assert torch.equal(layout.pick("cluster 3")[0][1], wanted[0])


def test_0_clusters_are_chosen():
    layout = kinds_layout(features(), GRID, bounds=(2, 4))
    assert 2 <= layout.k <= 4
    assert kinds_layout(features(), GRID, bounds=(3, 3)).k == 3


def test_the_layout_is_of_the_size_of_the_frames():
    layout = kinds_layout(features(), (24, 12), clusters=2)
    assert layout.size == (24, 12)
    assert layout.things[0].mask.shape == (3, 24, 12)


def test_numbers_that_do_not_exist_are_refused_as_before():
    with pytest.raises(ClusterError, match=r"^pick: expected cluster numbers from 1 to 2, such as .* got '3' in '3'"):
        pick_kinds(kinds_layout(features(), GRID, clusters=2), "3")
