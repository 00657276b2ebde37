"""How good a found layout is, against exact masks: the pure figures behind layout.md."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...editing.layout.tracks import iou

VISIBLE = 0.5  # of its usual area: frames in which less of an object is seen do not judge its label


@dataclass(frozen=True)
class Agreement:
    """match: for every object the number of its thing, -1 = none. iou: for every object, over the whole clip (0 where
    there is no thing). kept: for every object, whether in every frame in which at least half of it is seen most of it
    lies in its thing."""

    match: tuple[int, ...]
    iou: tuple[float, ...]
    kept: tuple[bool, ...]


def cells_of(masks: Tensor, grid: tuple[int, int]) -> np.ndarray:
    """Exact masks float [K, F, H, W] at a grid: int [F, h, w], 1 .. K = the object that covers most of the cell, 0 =
    the background does."""
    cover = torch.stack([F.adaptive_avg_pool2d(mask[None], grid)[0] for mask in masks.float()])
    return torch.cat([1 - cover.sum(0, keepdim=True), cover]).argmax(0).numpy()


def agree(things: np.ndarray, truth: np.ndarray, objects: int) -> Agreement:
    """Things bool [K, F, h, w] against int [F, h, w] from `cells_of`. Paired one-to-one for the largest sum of IoUs."""
    from scipy.optimize import linear_sum_assignment

    table = np.array([[iou(truth == k, thing) for thing in things] for k in range(1, objects + 1)])
    table = table.reshape(objects, len(things))
    match = [-1] * objects
    for k, j in zip(*linear_sum_assignment(-table)):
        if table[k, j] > 0:
            match[k] = int(j)
    kept = tuple(match[k] >= 0 and _kept(things, truth == k + 1, match[k]) for k in range(objects))
    return Agreement(tuple(match), tuple(float(table[k, j]) if j >= 0 else 0.0 for k, j in enumerate(match)), kept)


def _kept(things: np.ndarray, own: np.ndarray, match: int) -> bool:
    area = own.sum((1, 2))
    usual = np.median(area[area > 0]) if area.any() else 0
    for frame in np.nonzero(area >= max(1, VISIBLE * usual))[0]:
        common = (things[:, frame] & own[frame]).sum((1, 2))
        if common[match] == 0 or common[match] < common.max():
            return False
    return True


def told_apart(clusters: np.ndarray, truth: np.ndarray, pair: tuple[int, int]) -> float:
    """Share of the frames that show both objects in which bare clusters tell them apart: the cluster that most of one's
    cells have is not the one that most of the other's have. clusters, truth: int [F, h, w]."""
    apart, judged = 0, 0
    for labels, objects in zip(clusters, truth):
        cells = [labels[objects == k] for k in pair]
        if min(len(c) for c in cells):
            judged += 1
            apart += np.bincount(cells[0]).argmax() != np.bincount(cells[1]).argmax()
    return apart / judged if judged else float("nan")


def named_right(found: Sequence[str], match: Sequence[int], phrases: Sequence[str]) -> float:
    """Share of the objects whose thing has their phrase. found: a phrase for every thing. phrases: "a red circle"."""
    right = [j >= 0 and found[j] == wanted.removeprefix("a ") for j, wanted in zip(match, phrases)]
    return sum(right) / len(right)
