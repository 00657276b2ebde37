"""Which cells of a clip belong to things, and which kinds of things there are (method.md 9).

K-means clusters alone are a poor answer: they run along rims and through textures. They are good enough, though, to
say where the background surely is; every cell is then judged by its own attention to that.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..attention_features import Features

# A cluster is background where it takes at least this part of its fair share of the frame's border. On the embedded
# world (scene_clip, seeds 1000 to 1803) clusters on objects reached .5, and those on the ground started at .58.
BORDER = 0.6
ALIKE = 0.4  # log: reading the same words, none e ** 0.4 = 1.5 times as much or as little
# Foreground has to stand out: its mean attention to the background must differ from the background's own by this many
# standard deviations within the two, and by this much in log lift. Unrelated numbers reach neither.
DISTINCT, GAP = 2.0, 0.15
WORDS = 12  # text tokens that differ most over the foreground: what kinds are told apart by
PARTS = 6  # clusters of the foreground that kinds are put together from
APART = 1.3  # kinds differ in the attention to some token by a factor of more than e ** 1.3 = 3.7
MUTUAL = 1.1  # without cross-attention: kinds look at each other less than so many times chance
SAMPLE = 20_000  # cells that K-means of kinds is fitted on


@dataclass(frozen=True)
class Foreground:
    """mask: bool [F, h, w]. score: float32 [F, h, w], how little a cell looks at the background: minus the log of how
    many times more than by chance; mask is score > level."""

    mask: np.ndarray
    score: np.ndarray
    level: float


def find_foreground(features: Features, labels: np.ndarray) -> Foreground:
    """Foreground of a clip. labels: clusters int [F, h, w], 1 .. k.

    Where nothing stands out from the background (or everything does), mask is empty.
    """
    ground = grown_background(features, labels, sure_background(labels))
    score = -log_lift(features.values, ground)
    level = otsu(score)
    mask = score > level
    if not mask.any() or mask.all() or not ground.any():
        return Foreground(np.zeros_like(ground), score, level)
    above, below = score[mask], score[~mask]
    within = np.sqrt((above.var() * len(above) + below.var() * len(below)) / score.size)
    difference = above.mean() - below.mean()
    if difference < max(GAP, DISTINCT * within):
        mask = np.zeros_like(mask)
    return Foreground(mask, score, level)


def sure_background(labels: np.ndarray) -> np.ndarray:
    """Cells of clusters that keep to the frame's border: bool [F, h, w].

    A cluster counts in a frame where it is dense on the border both of that frame and over the clip: a thing may
    touch the border for a while, and a cluster may be one thing first and the ground later.
    """
    frames, height, width = labels.shape
    edge = np.ones((height, width), bool)
    edge[1:-1, 1:-1] = False
    member = np.eye(int(labels.max()) + 1)[labels.reshape(frames, -1)]  # [F, n, k + 1]
    area, border = member.mean(1), member[:, edge.ravel()].mean(1)  # [F, k + 1]
    dense = border >= BORDER * np.maximum(area, 1e-9)
    dense &= border.mean(0) >= BORDER * np.maximum(area.mean(0), 1e-9)
    return np.take_along_axis(dense, labels.reshape(frames, -1), 1).reshape(labels.shape)


def grown_background(features: Features, labels: np.ndarray, ground: np.ndarray) -> np.ndarray:
    """The sure background together with the clusters that read the same words: ground in the middle of the frame, or on
    one side of it, which K-means may set apart because attention is local. All bool [F, h, w].

    Without cross-attention: with the clusters that look at the background more than by chance.
    """
    cross = features.cross
    if not ground.any() or ground.all():
        return ground
    if cross is None:
        lift = log_lift(features.values, ground)
        joining = [lift[(labels == number) & ~ground].mean() > 0 for number in np.unique(labels[~ground])]
    else:
        mean = cross.float().mean((0, 1))
        means = [
            ((cross[_torch_mask(here)].float().mean(0) + 1e-5) / (mean + 1e-5)).log()
            for here in (ground, *((labels == number) & ~ground for number in np.unique(labels[~ground])))
        ]
        joining = [float((row - means[0]).abs().max()) < ALIKE for row in means[1:]]
    return ground | np.isin(labels, np.unique(labels[~ground])[joining])


def log_lift(values: Tensor, on: np.ndarray) -> np.ndarray:
    """Log of how many times more than by chance each cell's attention falls on the cells `on`: float32 [F, h, w].

    values: [F, n, n]. on: bool [F, h, w].
    """
    out = []
    for frame, chosen in zip(values, on):
        there = chosen.ravel()
        seen = frame[:, there].float().sum(1).numpy()
        out.append(np.log((seen + 1e-4) / (there.mean() + 1e-4)).reshape(on.shape[1:]))
    return np.stack(out).astype(np.float32)


def otsu(numbers: np.ndarray, bins: int = 64) -> float:
    """The threshold that divides numbers into two groups with the largest variance between them (Otsu 1979): the middle
    of all that do, so that it lies halfway between groups with nothing between them."""
    counts, edges = np.histogram(numbers, bins)
    middles = (edges[1:] + edges[:-1]) / 2
    below, total = np.cumsum(counts)[:-1], counts.sum()
    sums, whole = np.cumsum(counts * middles)[:-1], (counts * middles).sum()
    with np.errstate(divide="ignore", invalid="ignore"):
        between = np.nan_to_num((whole * below - total * sums) ** 2 / (below * (total - below)))
    best = np.nonzero(between >= between.max() * (1 - 1e-6))[0]
    return float(edges[1 + best[[0, -1]]].mean())


def find_kinds(features: Features, labels: np.ndarray, mask: np.ndarray, seed: int = 0) -> np.ndarray:
    """Kinds of things: int [F, h, w], 0 outside `mask`, else 1, 2, ...

    With cross-attention kinds are groups of foreground cells that look at different words; without it, groups of
    clusters that hardly look at each other. labels: clusters int [F, h, w].
    """
    if not mask.any():
        return np.zeros(mask.shape, int)
    cross = features.cross
    if cross is not None:
        tokens = _token_lifts(cross, mask)
        parts = _split(tokens, seed)
        far = _word_distance(tokens, parts)
    else:
        parts = labels[mask] - 1
        far = _mutual_distance(features.values, labels, mask)
    kinds = np.zeros(mask.shape, int)
    kinds[mask] = 1 + _group(parts, far)
    return kinds


def _token_lifts(cross: Tensor, mask: np.ndarray) -> np.ndarray:
    """Log attention of foreground cells to the tokens that differ most, against the clip's mean: [cells, <= WORDS]."""
    mean = cross.float().mean((0, 1)).numpy()
    seen = cross[_torch_mask(mask)].float().numpy()
    lifts = np.log((seen + 1e-5) / (mean + 1e-5))
    return lifts[:, np.argsort(-lifts.std(0), kind="stable")[:WORDS]]


def _torch_mask(mask: np.ndarray) -> Tensor:
    return torch.from_numpy(mask.reshape(len(mask), -1))


def _split(rows: np.ndarray, seed: int) -> np.ndarray:
    """K-means of the foreground's cells: int [cells]."""
    from .clusters import k_means

    count = min(PARTS, len(np.unique(rows, axis=0)))
    if count < 2:
        return np.zeros(len(rows), int)
    chosen = np.random.default_rng(seed % 2**32).permutation(len(rows))[:SAMPLE]
    return k_means(rows[chosen], count, seed, starts=3).predict(rows)


def _word_distance(rows: np.ndarray, parts: np.ndarray):
    """Distance of two groups of parts, 1 = just apart: the largest difference of their mean rows over APART."""

    def far(one: list[int], other: list[int]) -> float:
        means = [rows[np.isin(parts, group)].mean(0) for group in (one, other)]
        return float(np.abs(means[0] - means[1]).max() / APART)

    return far


def _mutual_distance(values: Tensor, labels: np.ndarray, mask: np.ndarray):
    """Distance of two groups of clusters, 1 = just apart: MUTUAL over how many times more than by chance they look at
    each other."""
    frames, k = len(labels), int(labels.max())
    member = np.eye(k + 1, dtype=np.float32)[np.where(mask, labels, 0).reshape(frames, -1)][..., 1:]  # [F, n, k]
    mass = np.asarray(sum(m.T @ (v.float().numpy() @ m) for v, m in zip(values, member)))
    chance = np.asarray(sum(np.outer(m.sum(0), m.mean(0)) for m in member))

    def far(one: list[int], other: list[int]) -> float:
        both = [x[np.ix_(one, other)].sum() + x[np.ix_(other, one)].sum() for x in (mass, chance)]
        return float(MUTUAL * both[1] / max(both[0], 1e-9))

    return far


def _group(parts: np.ndarray, far) -> np.ndarray:
    """Join the nearest groups of parts until all are apart: int [cells], 0, 1, ... by falling number of cells."""
    groups = [[int(part)] for part in np.unique(parts)]
    while len(groups) > 1:
        distance, i, j = min((far(groups[i], groups[j]), i, j) for j in range(len(groups)) for i in range(j))
        if distance > 1:
            break
        groups[i] += groups.pop(j)
    groups.sort(key=lambda group: -np.isin(parts, group).sum())
    number = np.zeros(parts.max() + 1, int)
    for place, group in enumerate(groups):
        number[group] = place
    return number[parts]
