"""Region masks from files: PNG folders, mask videos, label videos or images, boxes; or, by name, from the layout.

Every source gives a ``MaskSource`` that can say how many masks it has before any of them is decoded, so that a wrong
count is found before a model is loaded. Two rules decide which mask belongs to which frame, and nothing else is
guessed:

1. exactly ``frames.count`` masks: one to one, in order;
2. as many masks as the source video has frames: taken at the same start and stride as the frames.

A single mask (or box) is static: it serves every frame. Where both rules would do, they pick the same masks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .geometry import Geometry
from .video import pictures, probe

if TYPE_CHECKING:
    from torch import Tensor

IMAGES = (".png", ".bmp", ".tif", ".tiff", ".webp", ".jpg", ".jpeg")
LOSSY = (".jpg", ".jpeg", ".webp")
# Lossy files are never quite black: video rounding leaves 1 of 255 levels in flat areas, JPEG and WebP up to 2
# (measured down to quality 50). Any value above 0 counts as touched, so without this margin of 5 levels, at black and
# at white, whole pictures would. Within 8 pixels of an edge ringing can exceed it and widen a mask a little: PNG is
# exact.
COMPRESSION_NOISE = 0.02
COLOUR_TOLERANCE = 40  # per channel, of 255: what yuv420p video leaves of a flat colour


class MaskError(ValueError):
    """Masks cannot be used. The text says which, what was expected and the remedy."""


@dataclass(frozen=True)
class MaskFrames:
    """Which frames of the source video the masks are for: start, count, stride as in the edit; total: its frames."""

    start: int
    count: int
    stride: int
    total: int

    def indices(self, masks: int, name: str) -> list[int]:
        """The index of each frame's mask among ``masks`` of them, by the rules above; MaskError for another count."""
        if masks == 1:
            return [0] * self.count
        if masks == self.count:
            return list(range(self.count))
        if masks == self.total:
            return [self.start + step * self.stride for step in range(self.count)]
        whole = f", or {self.total} (the whole source video)" if self.total != self.count else ""
        raise MaskError(
            f"{name} has {masks} masks for {self.count} frames; expected {self.count}{whole}, or 1 static mask; "
            "export one mask per frame or correct frames.start, frames.count, frames.stride"
        )


@dataclass(frozen=True)
class MaskFolder:
    """A folder of images in natural order (2 before 10). Grey or colour: bright = inside; with alpha and no
    brightness differences in it, the alpha counts."""

    folder: Path

    def files(self) -> list[Path]:
        """The image files in order; MaskError if there are none."""
        if not self.folder.is_dir():
            raise MaskError(f"{self.folder}: no such folder; expected a folder of mask images; correct the path")
        visible = (file for file in self.folder.iterdir() if not file.name.startswith("."))
        files = [file for file in visible if file.suffix.lower() in IMAGES]
        if not files:
            raise MaskError(f"{self.folder}: holds no images; expected one PNG per frame; correct the path")
        return sorted(files, key=lambda file: [int(part) if part.isdigit() else part for part in _parts(file.name)])

    def count(self) -> int:
        """How many masks there are."""
        return len(self.files())

    def load(self, geometry: Geometry, frames: MaskFrames) -> np.ndarray:
        """float32 [F, H, W] in [0, 1]."""
        files = self.files()
        chosen = frames.indices(len(files), str(self.folder))
        return _per_frame(chosen, lambda index: geometry.mask(_grey(files[index]), str(files[index])))


@dataclass(frozen=True)
class MaskVideo:
    """A video whose brightness is the mask: black = outside, white = inside."""

    file: Path

    def count(self) -> int:
        """How many masks there are."""
        return probe(self.file).frames

    def load(self, geometry: Geometry, frames: MaskFrames) -> np.ndarray:
        """float32 [F, H, W] in [0, 1]."""
        stack = []
        for picture in matched_pictures(self.file, frames):
            grey = picture.astype(np.float32).mean(axis=2) / 255
            stack.append(geometry.mask(_without_noise(grey), str(self.file)))
        return repeated(stack, frames)


@dataclass(frozen=True)
class LabelVideo:
    """A video or image (or folder of images) in which each object has its own grey value (``id``) or ``colour``.

    An id matches exactly, so it needs lossless files (PNG, ffv1). A colour matches within 40 of 255 per channel,
    enough for h264.
    """

    file: Path
    id: int | None = None
    colour: tuple[int, int, int] | None = None

    def count(self) -> int:
        """How many label pictures there are."""
        if self.file.is_dir():
            return MaskFolder(self.file).count()
        return 1 if self.file.suffix.lower() in IMAGES else probe(self.file).frames

    def load(self, geometry: Geometry, frames: MaskFrames) -> np.ndarray:
        """float32 [F, H, W], 0 or 1; MaskError where the value occurs in no frame."""
        if self.file.is_dir() or self.file.suffix.lower() in IMAGES:
            files = MaskFolder(self.file).files() if self.file.is_dir() else [self.file]
            chosen = frames.indices(len(files), str(self.file))
            masks = _per_frame(chosen, lambda index: self._select(_labels(files[index]), geometry))
        else:
            found = matched_pictures(self.file, frames)
            masks = repeated([self._select(picture, geometry) for picture in found], frames)
        if not masks.any():
            what = f"id {self.id}" if self.colour is None else "colour #{:02x}{:02x}{:02x}".format(*self.colour)
            raise MaskError(
                f"{self.file}: {what} occurs in none of the {frames.count} frames; expected it in one at least; "
                "look the value up in the file, and use lossless files (PNG) for ids"
            )
        return masks

    def _select(self, picture: np.ndarray, geometry: Geometry) -> np.ndarray:
        picture = geometry.labels(picture, str(self.file))
        if self.colour is not None:
            if picture.ndim == 2:
                picture = np.repeat(picture[..., None], 3, axis=2)
            distance = np.abs(picture.astype(np.int32) - np.array(self.colour)).max(axis=2)
            return (distance <= COLOUR_TOLERANCE).astype(np.float32)
        if picture.ndim == 3:
            if not (picture[..., :1] == picture).all():
                raise MaskError(f"{self.file}: is in colour, so it has no ids; expected grey; give colour instead")
            picture = picture[..., 0]
        return (picture == self.id).astype(np.float32)


@dataclass(frozen=True)
class Boxes:
    """Boxes (x0, y0, x1, y1) in source pixels, x1 and y1 exclusive; one per frame or a single static one. None where
    the object is not in the frame."""

    boxes: tuple[tuple[float, float, float, float] | None, ...]

    def count(self) -> int:
        """How many boxes there are."""
        return len(self.boxes)

    def load(self, geometry: Geometry, frames: MaskFrames) -> np.ndarray:
        """float32 [F, H, W]: the covered share of each pixel of the edit."""
        chosen = frames.indices(len(self.boxes), "boxes")
        return _per_frame(chosen, lambda index: _box(self.boxes[index], geometry))


@dataclass(frozen=True)
class FoundMask:
    """A thing of the layout that the edit itself finds (layout.py), by its name or number. There is nothing to count or
    to load before."""

    layout: str


MaskSource = MaskFolder | MaskVideo | LabelVideo | Boxes | FoundMask


def load_masks(source: MaskSource, geometry: Geometry, frames: MaskFrames) -> Tensor:
    """The masks of one region: torch float32 [F, H, W] in [0, 1] at the edit's size."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(source.load(geometry, frames)))


def _parts(name: str) -> list[str]:
    # re.split with a group keeps text at even and digits at odd places, so that keys of two names compare
    return re.split(r"(\d+)", name)


def _per_frame(chosen: list[int], one: Callable[[int], np.ndarray]) -> np.ndarray:
    made: dict[int, np.ndarray] = {}
    for index in chosen:
        if index not in made:
            made[index] = one(index)
    return np.stack([made[index] for index in chosen])


def repeated(stack: list[np.ndarray], frames: MaskFrames) -> np.ndarray:
    """One picture per frame: a single one serves all."""
    return np.stack(stack * frames.count if len(stack) == 1 else stack)


def matched_pictures(file: Path, frames: MaskFrames) -> Iterator[np.ndarray]:
    """The pictures of a mask or control video that belong to ``frames``: uint8 [H, W, 3]; one if it is static."""
    total = probe(file).frames
    chosen = frames.indices(total, str(file))
    if len(set(chosen)) == 1:
        start, stride, count = chosen[0], 1, 1
    else:
        start, stride, count = chosen[0], chosen[1] - chosen[0], len(chosen)
    got = 0
    for picture, _ in pictures(file, start, count, stride):
        got += 1
        yield picture
    if got < count:
        raise MaskError(f"{file}: only {got} of {count} masks could be decoded; expected {count}; convert it again")


def _open(file: Path):
    from PIL import Image, UnidentifiedImageError

    try:
        image = Image.open(file)
        image.load()
    except (UnidentifiedImageError, OSError) as error:
        raise MaskError(f"{file}: not an image that can be read ({error}); expected a PNG; export it again") from None
    return image


def _without_noise(grey: np.ndarray) -> np.ndarray:
    """Values in [0, 1] from lossy files, stretched so that COMPRESSION_NOISE at either end becomes exactly 0 and 1."""
    return np.clip((grey - COMPRESSION_NOISE) / (1 - 2 * COMPRESSION_NOISE), 0, 1)


def _grey(file: Path) -> np.ndarray:
    """A mask image as float32 [H, W] in [0, 1], without the compression noise of lossy files."""
    grey = _stored_grey(file)
    return _without_noise(grey) if file.suffix.lower() in LOSSY else grey


def _stored_grey(file: Path) -> np.ndarray:
    image = _open(file)
    if image.mode in ("I", "I;16", "F"):
        values = np.asarray(image).astype(np.float32)
        return values / (65535 if image.mode != "F" else max(1.0, float(values.max())))
    if image.mode == "1":
        return np.asarray(image).astype(np.float32)
    if image.mode in ("RGBA", "LA"):
        alpha = np.asarray(image.getchannel("A")).astype(np.float32) / 255
        grey = np.asarray(image.convert("RGB").convert("L")).astype(np.float32) / 255
        return alpha if grey.min() == grey.max() else grey * alpha
    values = np.asarray(image.convert("L"))
    if values.max() == 1:
        raise MaskError(
            f"{file}: its brightest value is 1 of 255, which may mean nothing or everything; expected 0 to 255; "
            "save the masks with 255 inside, or give the file as labels with id: 1"
        )
    return values.astype(np.float32) / 255


def _labels(file: Path) -> np.ndarray:
    """A label image as it is stored: palette indices or grey values [H, W], or RGB [H, W, 3]."""
    image = _open(file)
    if image.mode in ("P", "L", "I", "I;16"):
        values = np.asarray(image)
        if image.mode in ("I", "I;16"):
            return values.astype(np.uint16)
        return values
    return np.asarray(image.convert("RGB"))


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
