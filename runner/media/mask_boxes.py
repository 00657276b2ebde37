"""Masks as boxes in numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...editing.mask_values import Note
from .geometry import Geometry
from .mask_frames import MaskFrames
from .mask_pictures import MaskError


@dataclass(frozen=True)
class Boxes:
    """Boxes (x0, y0, x1, y1) in source pixels, x1 and y1 exclusive; one per frame or a single static one. None where
    the object is not in the frame."""

    boxes: tuple[tuple[float, float, float, float] | None, ...]

    place = "boxes"

    def count(self) -> int:
        """How many boxes there are."""
        return len(self.boxes)

    def load(self, geometry: Geometry, frames: MaskFrames, note: Note) -> np.ndarray:
        """float32 [F, H, W]: the covered share of each pixel of the edit. note: is told of fractions, and of sides
        outside the frame. MaskError for a box outside of it."""
        chosen = frames.indices(len(self.boxes), "boxes")
        boxes = self.in_pixels(*geometry.source, note)
        made = {index: _box(boxes[index], geometry) for index in chosen}
        return np.stack([made[index] for index in chosen])

    def in_pixels(self, width: int, height: int, note: Note) -> tuple[tuple[float, ...] | None, ...]:
        """The boxes in pixels of the source; where no side of any box is above 1 they are shares of it.

        Raises:
            MaskError: a box outside of the frame, or more than a tenth of its side beyond it.
        """
        boxes, given = self.boxes, [box for box in self.boxes if box is not None]
        if given and all(0 <= side <= 1 for box in given for side in box):
            note(f"boxes: no number is above 1, so they are taken as shares of the frame, {width} x {height} pixels")
            boxes = tuple(
                None if box is None else (box[0] * width, box[1] * height, box[2] * width, box[3] * height)
                for box in boxes
            )
        beyond = []
        for index, box in enumerate(boxes, 1):
            if box is None:
                continue
            x0, y0, x1, y1 = box
            out = max(-x0 / width, -y0 / height, x1 / width - 1, y1 / height - 1)
            if out > 0.1 or not (x0 < width and y0 < height and x1 > 0 and y1 > 0):
                where = "outside the picture" if x0 >= width or y0 >= height or x1 <= 0 or y1 <= 0 else "partly outside"
                raise MaskError(
                    f"boxes[{index}] {[float(f'{side:g}') for side in box]} lies {where}; expected "
                    f"[x0, y0, x1, y1] in pixels of the source, {width} x {height}; correct it (of x, y, width, height "
                    "make x, y, x + width, y + height), or write null for no object"
                )
            beyond += [index] * (out > 0)
        if beyond:
            note(f"boxes: {len(beyond)} reach beyond the frame, first boxes[{beyond[0]}]: cut off there")
        return boxes


def _box(box: tuple[float, float, float, float] | None, geometry: Geometry) -> np.ndarray:
    x0, y0, x1, y1 = geometry.box
    width, height = geometry.target
    if box is None:
        return np.zeros((height, width), np.float32)
    across, down = width / (x1 - x0), height / (y1 - y0)
    rows = _covered((box[1] - y0) * down, (box[3] - y0) * down, height)
    columns = _covered((box[0] - x0) * across, (box[2] - x0) * across, width)
    return rows[:, None] * columns[None, :]


def _covered(low: float, high: float, cells: int) -> np.ndarray:
    """How much of each unit cell 0..cells - 1 lies between low and high: float32 [cells]."""
    edge = np.arange(cells, dtype=np.float64)
    return np.clip(np.minimum(high, edge + 1) - np.maximum(low, edge), 0, 1).astype(np.float32)
