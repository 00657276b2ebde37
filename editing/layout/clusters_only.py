"""A layout of bare clusters: kinds of things, not single ones (the paper's Fig. 3), and none of them the background."""

from __future__ import annotations

import math

from torch import Tensor

from ..attention_features import Features
from .clip_layout import ClipLayout, Thing
from .clusters import cluster, cluster_by_silhouette, enlarge, masks_of, parse_pick


def kinds_layout(
    features: Features,
    size: tuple[int, int],
    *,
    clusters: int = 0,
    bounds: tuple[int, int] = (2, 8),
    scope: str = "joint",
    seed: int = 0,
) -> ClipLayout:
    """Every cluster as a thing "cluster 1", "cluster 2", ... with hard borders; arguments as in `find_layout`."""
    if clusters:
        labels = cluster(features, clusters, scope, seed)
    else:
        labels = cluster_by_silhouette(features, bounds, scope, seed)
    k = int(labels.max())
    large = enlarge(labels, size)
    things = [Thing(n, f"cluster {n}", "", math.nan, False, labels == n, (large == n).float()) for n in range(1, k + 1)]
    return ClipLayout(tuple(things), features.grid, (size[0], size[1]), labels, k)


def pick_kinds(layout: ClipLayout, pick: str) -> list[tuple[str, Tensor]]:
    """(name, mask) of each entry of a pick by cluster numbers, as `clusters.parse_pick` reads it."""
    names = [" + ".join(f"cluster {n}" for n in numbers) for numbers in parse_pick(pick, layout.k)]
    return list(zip(names, masks_of(layout.clusters, pick, layout.size)))
