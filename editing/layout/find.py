"""A clip's layout from its attention: clusters, foreground, instances, names, masks (method.md 9).

Features -> clusters (K-means) -> sure background -> foreground -> kinds -> components -> tracks -> names, masks
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ..attention_features import Features
from .clip_layout import BACKGROUND, ClipLayout, LayoutError, Thing, unique_names
from .clusters import cluster, cluster_by_silhouette
from .foreground import Foreground, find_foreground, find_kinds
from .instances import Component, cut_necks, find_components
from .names import Words, check_word_places, lifts, name_things
from .soft_masks import pixel_masks, soften
from .tracks import link, usual_count

__all__ = ["ClipLayout", "LayoutError", "Thing", "Words", "find_layout"]

LASTING = 0.5  # of the frames have to show the necks at which components are cut
LARGE_CELL = 8  # pixels of a cell where neither size nor frames are given


def find_layout(
    features: Features,
    frames: np.ndarray | None = None,
    *,
    size: tuple[int, int] | None = None,
    clusters: int = 0,
    bounds: tuple[int, int] = (2, 8),
    scope: str = "joint",
    seed: int = 0,
    max_things: int = 8,
    min_area: float = 0.01,
    gap: int = 2,
    words: Words | None = None,
    smooth: bool = True,
) -> ClipLayout:
    """Find the things of a clip.

    Args:
        features: collected during the inversion; things are named, and kinds told apart better, where they hold
            cross-attention.
        frames: uint8 [F, H, W, 3] whose edges the masks follow; None = borders that follow nothing.
        size: (H, W) of the masks; None = that of the frames, or 8 pixels a cell without frames.
        clusters: k of K-means; 0 = chosen by silhouette within `bounds` (both included).
        scope, seed: as in `cluster`.
        max_things: at most so many instances, the largest; >= 1.
        min_area: smaller components are specks and dropped; share of the frame, 0 .. 1.
        gap: frames in which a thing may be hidden and still be the same thing, >= 0.
        words: what may name the things; None = no names.
        smooth: soft borders that follow the frames; off: every pixel belongs to one thing, interpolated from the cells.

    Raises:
        LayoutError: arguments out of range, or that do not fit the features.
        ClusterError: k, bounds or scope out of range; scikit-learn missing.
    """
    _check(features, frames, max_things, min_area, gap, words)
    if size is None:
        height, width = frames.shape[1:3] if frames is not None else (LARGE_CELL * side for side in features.grid)
    else:
        height, width = size
    size = (int(height), int(width))
    if clusters:
        labels = cluster(features, clusters, scope, seed)
    else:
        labels = cluster_by_silhouette(features, bounds, scope, seed)
    ground = find_foreground(features, labels.numpy())
    tracks = find_instances(features, labels.numpy(), ground, min_area, gap, seed)
    notes = _notes(ground, len(tracks), max_things)
    cells = np.zeros((min(len(tracks), max_things) + 1, *labels.shape), bool)
    for thing, track in zip(cells, tracks):
        for frame, mask in track.items():
            thing[frame] = mask
    cells[-1] = ~cells[:-1].any(0)
    if smooth:
        masks = pixel_masks(soften(cells, ground.score, ground.level), size, frames)
    else:
        masks = pixel_masks(cells.astype(np.float32), size)
        best = masks.argmax(0)
        for number, mask in enumerate(masks):
            mask[:] = best == number
    things = _things(torch.from_numpy(cells), masks, features, words)
    return ClipLayout(things, (features.grid[0], features.grid[1]), size, labels, int(labels.max()), notes)


def find_instances(
    features: Features, labels: np.ndarray, ground: Foreground, min_area: float, gap: int, seed: int = 0
) -> list[dict[int, np.ndarray]]:
    """Instances of a clip: one {frame: bool [h, w]} a thing, by falling area; masks never overlap.

    labels: clusters int [F, h, w]. ground: from `find_foreground`. Two things of a kind that touch from beginning to
    end are cut at the neck between them, if half of the frames show more things that way.
    """
    kinds = find_kinds(features, labels, ground.mask, seed)
    smallest = max(1, round(min_area * labels[0].size))
    whole = [find_components(frame, smallest) for frame in kinds]
    cut: list[list[Component]] = [
        [part for piece in pieces for part in cut_necks(piece, score, ground.level, smallest)]
        for pieces, score in zip(whole, ground.score)
    ]
    return link(cut if usual_count(cut, LASTING) > usual_count(whole) else whole, gap)


def _things(cells: Tensor, masks: Tensor, features: Features, words: Words | None) -> tuple[Thing, ...]:
    """The instances and, last, the background, with names. cells: bool [K, F, h, w]; masks: [K, F, H, W]."""
    count = len(cells)
    named = [("", math.nan)] * count
    if words is not None:
        assert features.cross is not None  # `_check` asks
        named = name_things(lifts(features.cross, cells, words), words)
    names = [*unique_names([phrase for phrase, _ in named[:-1]]), BACKGROUND]
    return tuple(
        Thing(n + 1, names[n], *named[n], background=n == count - 1, cells=cells[n], mask=masks[n])
        for n in range(count)
    )


def _notes(ground: Foreground, found: int, most: int) -> tuple[str, ...]:
    notes = []
    if not ground.mask.any():
        notes.append(
            "Only the background was found: nothing stands out from it in this clip's attention. Try another number of "
            "clusters, the other feature level, or a source prompt that names what is seen."
        )
    elif not found:
        notes.append(
            "Only the background was found: what stands out from it is smaller than min_area, or is seen too briefly. "
            "Lower min_area to find it."
        )
    if found > most:
        notes.append(f"{found} things were found; the {most} largest are kept (max_things).")
    return tuple(notes)


def _check(
    features: Features, frames: np.ndarray | None, max_things: int, min_area: float, gap: int, words: Words | None
) -> None:
    if frames is not None and (frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3):
        raise LayoutError(f"frames: expected uint8 [F, H, W, 3], got {frames.dtype} {list(frames.shape)}.")
    if frames is not None and len(frames) != features.frames:
        raise LayoutError(
            f"frames: the features are of {features.frames} frames, but {len(frames)} were given; give the frames that "
            "were inverted."
        )
    for name, value, least in (("max_things", max_things, 1), ("gap", gap, 0)):
        if value < least:
            raise LayoutError(f"{name}: expected {least} or more, got {value}.")
    if not 0 <= min_area <= 1:
        raise LayoutError(f"min_area: expected a share of the frame from 0 to 1, got {min_area}.")
    if words is None:
        return
    if features.cross is None:
        raise LayoutError(
            "words: these features hold no cross-attention, so nothing can be named; invert again (features from "
            "before version 0.3 hold none), or leave names out."
        )
    try:
        check_word_places(words, features.cross.shape[-1])
    except ValueError as error:
        raise LayoutError(str(error)) from None
