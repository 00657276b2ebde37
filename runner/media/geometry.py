"""How a picture of any size becomes one of the edit's size: one cut-out, one resize, the same for frames and masks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

UNIT = 8  # pixels per latent cell; the edit's sides are multiples of it


class GeometryError(ValueError):
    """A picture does not fit the source clip. The text names both sizes and the remedy."""


@dataclass(frozen=True)
class Geometry:
    """source, target: (width, height) in pixels; box: x0, y0, x1, y1 = the part of the source that is kept."""

    source: tuple[int, int]
    target: tuple[int, int]
    box: tuple[int, int, int, int]

    @classmethod
    def plan(cls, source: tuple[int, int], target: tuple[int, int] | None = None, fit: str = "crop") -> Geometry:
        """``crop``: keep the largest centred part with the target's shape; ``stretch``: keep everything.

        Without a target the source keeps its scale and loses up to 7 pixels a side, half at each end, to become a
        multiple of 8.
        """
        width, height = source
        if target is None:
            target = (width // UNIT * UNIT, height // UNIT * UNIT)
            if 0 in target:
                raise GeometryError(
                    f"the video is {width} x {height} pixels; expected at least {UNIT} x {UNIT}; "
                    "give a size to enlarge it"
                )
            left, top = (width - target[0]) // 2, (height - target[1]) // 2
            if fit == "crop":
                return cls(source, target, (left, top, left + target[0], top + target[1]))
        if fit == "stretch":
            return cls(source, target, (0, 0, width, height))
        scale = max(target[0] / width, target[1] / height)
        kept = (min(width, max(1, round(target[0] / scale))), min(height, max(1, round(target[1] / scale))))
        left, top = (width - kept[0]) // 2, (height - kept[1]) // 2
        return cls(source, target, (left, top, left + kept[0], top + kept[1]))

    def frame(self, picture: np.ndarray, name: str = "a frame") -> np.ndarray:
        """A uint8 picture [H, W, 3] -> the target's size: area average when it shrinks, else cubic.

        It shows the whole source picture at any resolution (or, like masks, has the target's size already).
        """
        if not self._is_ready(picture, name):
            picture = _resize(self._cut(picture), self.target, smooth=True)
        return np.ascontiguousarray(picture)

    def mask(self, mask: np.ndarray, name: str) -> np.ndarray:
        """A float32 mask [H, W] in [0, 1] -> the target's size, area-averaged (linear where it grows).

        The mask shows the whole source picture at any resolution, or else has exactly the target's size.
        """
        if not self._is_ready(mask, name):
            mask = _resize(self._cut(mask), self.target, smooth=False)
        return np.clip(mask, 0, 1).astype(np.float32)

    def labels(self, picture: np.ndarray, name: str) -> np.ndarray:
        """A label picture [H, W] or [H, W, 3] -> the target's size by the nearest pixel: no new values."""
        import cv2

        if self._is_ready(picture, name):
            return picture
        return cv2.resize(self._cut(picture), self.target, interpolation=cv2.INTER_NEAREST_EXACT)

    def describe(self) -> str:
        """One line for the report."""
        x0, y0, x1, y1 = self.box
        whole = (x0, y0, x1, y1) == (0, 0, *self.source)
        part = "whole picture" if whole else f"pixels x {x0}..{x1 - 1}, y {y0}..{y1 - 1}"
        return f"{self.source[0]} x {self.source[1]}, {part}, to {self.target[0]} x {self.target[1]}"

    def _is_ready(self, picture: np.ndarray, name: str) -> bool:
        """Whether a mask has the edit's size already; else it must have the source's shape, to a pixel of its own."""
        height, width = picture.shape[:2]
        if (width, height) == self.target:
            return True
        if abs(width * self.source[1] / self.source[0] - height) > 1:
            raise GeometryError(
                f"{name} is {width} x {height} pixels; expected the shape of the source "
                f"({self.source[0]} x {self.source[1]}, at any scale) or exactly the edit's size "
                f"({self.target[0]} x {self.target[1]}); export the masks again at the video's size"
            )
        return False

    def _cut(self, picture: np.ndarray) -> np.ndarray:
        """The kept part of a picture that shows the whole source at some resolution."""
        height, width = picture.shape[:2]
        across, down = width / self.source[0], height / self.source[1]
        x0, x1 = round(self.box[0] * across), round(self.box[2] * across)
        y0, y1 = round(self.box[1] * down), round(self.box[3] * down)
        return picture[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)]


def _resize(picture: np.ndarray, target: tuple[int, int], *, smooth: bool) -> np.ndarray:
    import cv2

    height, width = picture.shape[:2]
    if (width, height) == target:
        return picture
    shrinks = target[0] <= width and target[1] <= height
    enlarge = cv2.INTER_CUBIC if smooth else cv2.INTER_LINEAR
    return cv2.resize(picture, target, interpolation=cv2.INTER_AREA if shrinks else enlarge)
