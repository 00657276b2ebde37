"""The reader: what a picture of the world shows, judged from pixels alone.

Nearest palette colour -> connected components -> the shape whose template, at the component's own centre and area,
overlaps it best. It knows nothing of the model and is never tuned to it; `evaluate.py` measures it on rendered truth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from .render import coverage
from .vocabulary import BACKGROUND_NAMES, BACKGROUNDS, COLOUR_NAMES, COLOURS, SHAPES

MIN_AREA = 0.012  # smallest component that counts as an object, as a share of the picture's area
MIN_IOU = 0.75  # a component that fits no template this well has no shape

_PALETTE = np.array([*COLOURS.values(), *(c for pair in BACKGROUNDS.values() for c in pair)], np.float32)
_BACKGROUND_OF = np.repeat(np.arange(len(BACKGROUNDS)), 2)


@dataclass(frozen=True)
class Found:
    """One object. colour: index; shape: index or -1 (fits no template); centre (x, y) and area in pixels; iou with
    the best template; mask bool [H, W]."""

    colour: int
    shape: int
    centre: tuple[float, float]
    area: int
    iou: float
    mask: np.ndarray

    @property
    def name(self) -> str:
        return f"{COLOUR_NAMES[self.colour]} {SHAPES[self.shape] if self.shape >= 0 else 'blob'}"


def classify(frame: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 3] -> int [H, W]: the nearest palette entry (colours first, then two tones a background)."""
    difference = frame[:, :, None, :].astype(np.float32) - _PALETTE
    return (difference**2).sum(-1).argmin(-1)


def components(frame: np.ndarray, region: np.ndarray | None = None) -> list[tuple[int, np.ndarray]]:
    """(colour, bool [H, W]) of every one-coloured component that is large enough; `region` limits the view."""
    import cv2

    classes = classify(frame)
    smallest = MIN_AREA * frame.shape[0] * frame.shape[1]
    out = []
    for colour in range(len(COLOURS)):
        mask = classes == colour
        if region is not None:
            mask &= region
        if mask.sum() < smallest:
            continue
        opened = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
        count, labels, stats, _ = cv2.connectedComponentsWithStats(opened, connectivity=4)
        out += [(colour, labels == i) for i in range(1, count) if stats[i, cv2.CC_STAT_AREA] >= smallest]
    return out


_UNIT_AREA = [float(coverage(torch.tensor([k]), torch.tensor([[0.5, 0.5]]), torch.tensor([0.25]), 256, 256).sum())
              / (0.25 * 256) ** 2 for k in range(len(SHAPES))]  # fmt: skip


def fit_shape(mask: np.ndarray) -> tuple[int, float]:
    """The best template for a bool [H, W] mask: (shape or -1, IoU). Each template has the mask's own centroid and
    area, so position and size are never judged, only form."""
    height, width = mask.shape
    side = min(height, width)
    ys, xs = np.nonzero(mask)
    centre = torch.tensor([[(xs.mean() + 0.5) / side, (ys.mean() + 0.5) / side]], dtype=torch.float32)
    shapes = torch.arange(len(SHAPES))
    radius = torch.tensor([(len(xs) / a) ** 0.5 / side for a in _UNIT_AREA], dtype=torch.float32)
    templates = coverage(shapes, centre.expand(len(shapes), 2), radius, height, width).numpy() > 0.5
    iou = [float((t & mask).sum() / (t | mask).sum()) for t in templates]
    best = int(np.argmax(iou))
    return (best if iou[best] >= MIN_IOU else -1), iou[best]


def read(frame: np.ndarray) -> list[Found]:
    """All objects of a picture uint8 [H, W, 3], largest first."""
    found = []
    for colour, mask in components(frame):
        shape, iou = fit_shape(mask)
        ys, xs = np.nonzero(mask)
        found.append(Found(colour, shape, (float(xs.mean()), float(ys.mean())), len(xs), iou, mask))
    return sorted(found, key=lambda f: -f.area)


def read_background(frame: np.ndarray) -> str:
    """The background whose two tones claim most of the pixels that no object colour claims."""
    classes = classify(frame)
    counts = np.bincount(_BACKGROUND_OF[classes[classes >= len(COLOURS)] - len(COLOURS)], minlength=len(BACKGROUNDS))
    return BACKGROUND_NAMES[int(counts.argmax())]


def same_objects(found: Sequence[Found], wanted: Sequence[tuple[int, int]]) -> tuple[bool, bool]:
    """(every wanted (colour, shape) is there, and nothing is missing or extra)."""
    rest = [(f.colour, f.shape) for f in found]
    for want in wanted:
        if want not in rest:
            return False, False
        rest.remove(want)
    return True, not rest


@dataclass(frozen=True)
class RegionReading:
    """What one region of one frame shows: colour and shape of the component that fills most of it. -1, -1 where no
    component has half of itself in the region or fills a quarter of it; shape -1 where no template fits."""

    colour: int
    shape: int


def read_region(frame: np.ndarray, region: np.ndarray) -> RegionReading:
    """Colour and shape of what is drawn in a region. frame uint8 [H, W, 3]; region bool [H, W] (the edit's mask).

    The component is taken from the whole picture, not cut by the mask, so that an object that spills out of its region
    is judged as it looks.
    """
    touching = [(int((mask & region).sum()), colour, mask) for colour, mask in components(frame)]
    touching = [entry for entry in touching if entry[0] > 0.25 * region.sum() or entry[0] > 0.5 * entry[2].sum()]
    if not touching:
        return RegionReading(-1, -1)
    _, colour, mask = max(touching, key=lambda entry: entry[0])
    return RegionReading(colour, fit_shape(mask)[0])
