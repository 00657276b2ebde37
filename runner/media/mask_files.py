"""Region masks from files: folders of pictures, mask videos, label videos or pictures, boxes; or, by name, from the
layout.

Every source gives a ``MaskSource`` that can say how many masks it has before any of them is decoded, so that a wrong
count is found before a model is loaded. Two rules decide which mask belongs to which frame, and nothing else is
guessed:

1. exactly ``frames.count`` masks: one to one, in order;
2. as many masks as the source video has frames: taken at the same start and stride as the frames.

A single mask (or box) is static: it serves every frame. Where both rules would do, they pick the same masks.

What the pixels mean is editing/mask_values.py and editing/label_values.py, how files are opened mask_pictures.py.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...editing.label_values import FlatColours, hex_of, is_smeared, of_colour
from ...editing.mask_values import PLAIN, MaskSurvey, Note, StoredMask
from .geometry import Geometry
from .mask_boxes import Boxes
from .mask_frames import IMAGES, MaskFrames, in_order, numbering
from .mask_pictures import MaskError, NoPicture, PictureFile, is_picture, look_at, shown
from .video import VideoInfo, pictures, probe

if TYPE_CHECKING:
    from torch import Tensor

_COLOUR = 40  # of 255: channels of a video's pixel that differ by more are a colour; less is left by compression

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class MaskFolder:
    """A folder of pictures in natural order (2 before 10), or of one file with a picture for each frame."""

    folder: Path

    @property
    def place(self) -> str:
        """Where the masks are, for messages."""
        return shown(self.folder)

    def files(self) -> list[Path]:
        """The picture files in order: those with a picture's ending, or where there are none those with its content.
        Hidden files do not count. MaskError if there are none."""
        if not self.folder.is_dir():
            raise MaskError(f"{self.place}: no such folder; expected a folder of mask images; correct the path")
        there = [file for file in self.folder.iterdir() if not file.name.startswith(".") and file.is_file()]
        files = [file for file in there if file.suffix.lower() in IMAGES] or [
            file for file in there if is_picture(file)
        ]
        if not files:
            held = f" (but {shown(min(there).name)})" if there else ""
            raise MaskError(
                f"{self.place}: holds no images{held}; expected one PNG per frame; correct the path, or give a "
                "video of masks as `video`"
            )
        return in_order(files)

    def count(self) -> int:
        """How many masks there are. MaskError for a file of many pictures beside others."""
        return len(self.pages())

    def load(self, geometry: Geometry, frames: MaskFrames, note: Note) -> np.ndarray:
        """float32 [F, H, W] in [0, 1]. note: is told what is out of the ordinary."""
        found = self.pages()
        chosen = frames.indices(len(found), self.place)
        if len(found) > 1:
            for remark in numbering([file.path for file, _ in found], frames.start, frames.stride, frames.total):
                note(f"{self.place}: {remark}")
        return _masks(found, chosen, geometry, self.place, note)

    def pages(self) -> list[tuple[PictureFile, int]]:
        """Every picture as its file and its number in it. MaskError for a file of many pictures beside others."""
        files = [look_at(file) for file in self.files()]
        many = [file for file in files if len(file.pages) != 1]
        if many and len(files) > 1:
            raise MaskError(
                f"{shown(many[0].path)}: holds {len(many[0].pages)} pictures beside {len(files) - 1} other files; "
                "expected one picture in each file, or one file with all; save its pages as files"
            )
        return [(file, page) for file in files for page in range(len(file.pages))]


@dataclass(frozen=True)
class MaskVideo:
    """A video whose brightness is the mask: black = outside, white = inside; or its alpha, where it varies. An
    animation or a file of many pages is one as well."""

    file: Path

    @property
    def place(self) -> str:
        """Where the masks are, for messages."""
        return shown(self.file)

    def count(self) -> int:
        """How many masks there are."""
        found = _picture_file(self.file)
        return probe(self.file).frames if found is None else len(found.pages)

    def load(self, geometry: Geometry, frames: MaskFrames, note: Note) -> np.ndarray:
        """float32 [F, H, W] in [0, 1]. note: is told what is out of the ordinary."""
        name, found = self.place, _picture_file(self.file)
        if found is not None:
            whole = [(found, page) for page in range(len(found.pages))]
            return _masks(whole, frames.indices(len(whole), name), geometry, name, note)
        info = probe(self.file)
        for text in info.notes:
            note(f"{name}: {text}")
        kept = set()  # the number of channels

        def read() -> Iterator[StoredMask]:
            for picture in matched_pictures(self.file, info, frames, alpha=True):
                kept.add(picture.shape[2])
                yield _of_video(picture)

        stack = _read(read, geometry, lambda _: name, name, note)
        if info.alpha and 4 not in kept:
            note(f"{name}: has an alpha channel that cannot be decoded: its brightness is the mask")
        return repeated(stack, frames)


@dataclass(frozen=True)
class LabelVideo:
    """A video or picture (or folder of pictures) in which each object has its own grey value (``id``) or ``colour``.

    An id matches exactly, so it needs lossless files (PNG, ffv1). A colour matches within 40 of 255 per channel,
    enough for h264; where several flat colours lie so near, the nearest.
    """

    file: Path
    id: int | None = None
    colour: tuple[int, int, int] | None = None

    @property
    def place(self) -> str:
        """Where the masks are, for messages."""
        return shown(self.file)

    def count(self) -> int:
        """How many label pictures there are."""
        found = self._pictures()
        return probe(self.file).frames if found is None else len(found)

    def load(self, geometry: Geometry, frames: MaskFrames, note: Note) -> np.ndarray:
        """float32 [F, H, W], 0 or 1; MaskError where the value occurs in no frame. note: is told of labels that
        compression has moved."""
        found = self._pictures()
        if found is None:
            info = probe(self.file)
            masks = self._select(lambda: matched_pictures(self.file, info, frames), True, geometry, frames, note)
            return repeated(masks, frames)
        chosen = frames.indices(len(found), self.place)
        places = sorted(set(chosen))
        lossy = any(file.lossy for file, _ in found)
        stack = self._select(lambda: _labels([found[place] for place in places]), lossy, geometry, frames, note)
        return np.stack([stack[places.index(index)] for index in chosen])

    def _pictures(self) -> list[tuple[PictureFile, int]] | None:
        """Every picture as its file and its number in it; None for a video."""
        if self.file.is_dir():
            return MaskFolder(self.file).pages()
        found = _picture_file(self.file)
        return None if found is None else [(found, page) for page in range(len(found.pages))]

    def _select(
        self,
        read: Callable[[], Iterable[np.ndarray]],
        lossy: bool,
        geometry: Geometry,
        frames: MaskFrames,
        note: Note,
    ) -> list[np.ndarray]:
        """The masks of the pictures that ``read`` gives, at the edit's size."""
        if self.colour is None:
            masks = self._by_number(read(), lossy, geometry)
            what, others = f"id {self.id}", ""
        else:
            masks, flat = self._by_colour(read, lossy, geometry, note)
            what, found = f"colour {hex_of(self.colour)}", ", ".join(map(hex_of, flat.others()))
            others = f" (it has {found})" if found else ""
        if not any(mask.any() for mask in masks):
            raise MaskError(
                f"{self.place}: {what} occurs in none of the {frames.count} frames{others}; expected it in one "
                "at least; look the value up in the file, and use lossless files (PNG) for ids"
            )
        return masks

    def _by_number(self, found: Iterable[np.ndarray], lossy: bool, geometry: Geometry) -> list[np.ndarray]:
        masks, values = [], set()
        for picture in found:
            if picture.ndim == 3:
                if not (picture[..., :1] == picture).all():
                    raise MaskError(f"{self.place}: is in colour, so it has no ids; expected grey; give colour instead")
                picture = picture[..., 0]
            if lossy:
                values |= set(np.unique(picture).tolist())
                if is_smeared(values):
                    raise MaskError(
                        f"{self.place}: is compressed with loss: it has {len(values)} values and more, so ids "
                        "cannot be told apart; expected a lossless file (PNG, ffv1); export it again"
                    )
            masks.append((geometry.labels(picture, self.place) == self.id).astype(np.float32))
        return masks

    def _by_colour(
        self, read: Callable[[], Iterable[np.ndarray]], lossy: bool, geometry: Geometry, note: Note
    ) -> tuple[list[np.ndarray], FlatColours]:
        flat, masks, near = FlatColours(self.colour, lossy), [], [self.colour]
        for picture in map(_coloured, read()):
            flat.add(picture)
            masks.append(of_colour(geometry.labels(picture, self.place), self.colour, near))
        near = flat.near()
        if len(near) > 1:
            found = (geometry.labels(_coloured(picture), self.place) for picture in read())
            masks = [of_colour(picture, self.colour, near) for picture in found]
        if flat.is_another():
            others = f", not {', '.join(map(hex_of, near[1:4]))}" if near[1:] else ""
            note(f"{self.place}: has no {hex_of(self.colour)}; the nearest colour is taken, {hex_of(near[0])}{others}")
        return masks, flat


@dataclass(frozen=True)
class FoundMask:
    """A thing of the layout that the edit itself finds (layout.py), by its name or number. There is nothing to count or
    to load before."""

    layout: str


MaskSource = MaskFolder | MaskVideo | LabelVideo | Boxes | FoundMask


def load_masks(source: MaskSource, geometry: Geometry, frames: MaskFrames, note: Note = log.warning) -> Tensor:
    """The masks of one region: torch float32 [F, H, W] in [0, 1] at the edit's size. note: is told, in one sentence
    that names the file, of everything about them that is out of the ordinary."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(source.load(geometry, frames, note)))


def _picture_file(file: Path) -> PictureFile | None:
    """A file whose content is that of pictures; None for a video, or for one that is not there."""
    try:
        return look_at(file)
    except NoPicture:
        return None


def _masks(
    found: list[tuple[PictureFile, int]], chosen: list[int], geometry: Geometry, source: str, note: Note
) -> np.ndarray:
    """The masks of these pictures for all frames. chosen: the place among ``found`` of each frame's."""
    places = sorted(set(chosen))
    names = [shown(found[place][0].path) for place in places]

    def read() -> Iterator[StoredMask]:
        for file, pages in _grouped([found[place] for place in places]):
            yield from file.masks(pages)

    stack = _read(read, geometry, names.__getitem__, source, note)
    return np.stack([stack[places.index(index)] for index in chosen])


def _labels(found: list[tuple[PictureFile, int]]) -> Iterator[np.ndarray]:
    for file, pages in _grouped(found):
        yield from file.labels(pages)


def _grouped(found: list[tuple[PictureFile, int]]) -> Iterator[tuple[PictureFile, list[int]]]:
    """Every file once, with the pages of it that are wanted: an animation is decoded from its beginning."""
    pages: dict[Path, tuple[PictureFile, list[int]]] = {}
    for file, page in found:
        pages.setdefault(file.path, (file, []))[1].append(page)
    yield from pages.values()


def _read(
    read: Callable[[], Iterable[StoredMask]],
    geometry: Geometry,
    name: Callable[[int], str],
    source: str,
    note: Note,
) -> list[np.ndarray]:
    """The pictures of one source as masks float32 [H, W] in [0, 1] at the edit's size.

    Nearly all are plain, so they are read as such at once; a source that turns out to be of another kind is read again.
    """
    survey, masks = MaskSurvey(), []
    for index, picture in enumerate(read()):
        try:
            survey.add(picture)
        except ValueError as error:
            raise MaskError(f"{name(index)}: {error}") from None
        masks.append(geometry.mask(PLAIN.mask(picture), name(index)))
    try:
        reading = survey.reading(lambda text: note(f"{source}: {text}"))
    except ValueError as error:
        raise MaskError(f"{source}: {error}") from None
    if reading == PLAIN:
        return masks
    return [geometry.mask(reading.mask(picture), name(index)) for index, picture in enumerate(read())]


def _of_video(picture: np.ndarray) -> StoredMask:
    """A frame of a mask video uint8 [H, W, 3], or with alpha [H, W, 4]."""
    colours, alpha = picture[..., :3], picture[..., 3] if picture.shape[2] == 4 else None
    spread = int(np.ptp(colours, axis=2).max())
    grey = colours[..., 0] if spread == 0 else colours.astype(np.float32).mean(axis=2)
    return StoredMask(grey, alpha=alpha, coloured=spread > _COLOUR, lossy=True)


def _coloured(picture: np.ndarray) -> np.ndarray:
    """A label picture as uint8 [H, W, 3]."""
    return picture if picture.ndim == 3 else np.repeat(np.clip(picture, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def repeated(stack: list[np.ndarray], frames: MaskFrames) -> np.ndarray:
    """One picture per frame: a single one serves all."""
    return np.stack(stack * frames.count if len(stack) == 1 else stack)


def matched_pictures(file: Path, info: VideoInfo, frames: MaskFrames, alpha: bool = False) -> Iterator[np.ndarray]:
    """The pictures of a mask or control video that belong to ``frames``: uint8 [H, W, 3], with ``alpha`` [H, W, 4]
    where they have it; one if it is static. info: of the file (`probe`, which may decode all of it)."""
    chosen = frames.indices(info.frames, shown(file))
    if len(set(chosen)) == 1:
        start, stride, count = chosen[0], 1, 1
    else:
        start, stride, count = chosen[0], chosen[1] - chosen[0], len(chosen)
    got = 0
    for picture, _ in pictures(file, start, count, stride, interlaced=info.interlaced, alpha=alpha):
        got += 1
        yield picture
    if got < count:
        raise MaskError(
            f"{shown(file)}: only {got} of {count} masks could be decoded; expected {count}; convert it again"
        )
