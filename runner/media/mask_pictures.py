"""Picture files with masks or labels in them, as they are stored: whatever Pillow reads, one picture or many pages.

What a file is, its content says, not its name's ending. Sizes are checked before anything is decoded. Turned pictures
(EXIF, TIFF) come as viewers show them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ...editing.mask_values import StoredMask

MOST_PIXELS = 40_000_000
"""Of one picture; an 8K frame has 35 million. A file of a few kB can ask for thousands of millions."""
FORMATS = (
    *("PNG", "JPEG", "MPO", "TIFF", "WEBP", "BMP", "DIB"),
    *("GIF", "PPM", "JPEG2000", "AVIF", "QOI", "PCX", "SGI"),
)
LOSSY = ("JPEG", "MPO", "WEBP", "GIF", "JPEG2000", "AVIF")  # lossless forms of these are read well all the same
_COLOUR = 16  # of 255: channels that differ by more are a colour, not what compression leaves in a grey
_NEW_SUBFILE, _DESCRIPTION, _REDUCED = 254, 270, 1  # TIFF tags; the flag of a page that is another's small copy
_ORIENTATION = 274  # EXIF tag


class MaskError(ValueError):
    """Masks cannot be used. The text says which, what was expected and the remedy."""


class NoPicture(MaskError):
    """The file is none, or not a picture."""


def shown(path: Path | str) -> str:
    """A path for messages: bytes that are no text, and control characters, as escapes."""
    text = str(path).encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


@dataclass(frozen=True)
class PictureFile:
    """A picture file that was looked at, not decoded. pages: where its pictures are in it; format: Pillow's name."""

    path: Path
    pages: tuple[int, ...]
    format: str

    @property
    def lossy(self) -> bool:
        """Whether values in it may not be exact."""
        return self.format in LOSSY

    def masks(self, pages: Sequence[int]) -> Iterator[StoredMask]:
        """The pictures with these numbers, from 0, as masks."""
        for image, deep in self._images(pages):
            with _reading(self.path):
                stored = _stored(image, self.lossy)
            if deep is not None and stored.alpha is not None:
                stored = replace(stored, alpha=_upper(deep[..., 3]))
            if deep is not None and not stored.coloured:
                stored = replace(stored, grey=_brightness(deep), full=65535)
            yield stored

    def labels(self, pages: Sequence[int]) -> Iterator[np.ndarray]:
        """The pictures with these numbers, from 0: palette indices or grey values [H, W], or RGB uint8 [H, W, 3].

        MaskError for floating values that are no whole numbers.
        """
        for image, _ in self._images(pages):
            if image.mode == "F":
                values = np.asarray(image)
                if not np.array_equal(values, np.round(values)) or abs(values).max(initial=0) >= 2**31:
                    raise MaskError(
                        f"{shown(self.path)}: holds floating values; expected whole numbers as ids; save it in 8 or 16 "
                        "bits"
                    )
                yield values.astype(np.int32)
            elif image.mode == "P" and self.format != "GIF":
                yield np.asarray(image)
            elif image.mode in ("L", "LA"):
                yield np.asarray(image.getchannel("L"))
            elif image.mode[0] == "I":
                yield _deep(image)
            else:
                with _reading(self.path):
                    colours = np.asarray(image.convert("RGB"))
                yield colours

    def _images(self, pages: Sequence[int]) -> Iterator[tuple[Any, np.ndarray | None]]:
        """Each picture upright, as Pillow has it; and of colours in 16 bits, of which Pillow keeps the upper 8, all of
        them, uint16 [H, W, 3 or 4], blue first."""
        from PIL import Image, ImageOps

        with _reading(self.path), _opened(self.path) as image:
            for page in pages:
                image.seek(self.pages[page])
                _check_size(image, self.path)
                deep = _deep_colours(image, self.path, self.pages[page]) if _is_deep(image) else None
                image.load()
                if deep is not None:
                    turned = [Image.fromarray(channel) for channel in np.moveaxis(deep, 2, 0)]
                    for channel in turned:
                        channel.getexif()[_ORIENTATION] = image.getexif().get(_ORIENTATION, 1)
                    deep = np.dstack([np.asarray(ImageOps.exif_transpose(channel)) for channel in turned])
                yield ImageOps.exif_transpose(image), deep


def look_at(path: Path) -> PictureFile:
    """What a file is, from its head. NoPicture for one that is none, MaskError for one that
    is damaged or too large."""
    if not path.is_file():
        raise NoPicture(f"{shown(path)}: no such file; expected a picture; correct the path")
    with _reading(path), _opened(path) as image:
        _check_size(image, path)
        return PictureFile(path, tuple(pages_of(image, path)), str(image.format))


def is_picture(path: Path) -> bool:
    """Whether a file's content begins as a picture's does, whatever its name."""
    try:
        look_at(path)
    except NoPicture:
        return False
    except MaskError:
        return True
    return True


def pages_of(image: Any, path: Path) -> Iterator[int]:
    """The places of an open file's pictures: no small copies, no stand-in for viewers that show no animations.
    MaskError where not all can be read."""
    count = getattr(image, "n_frames", 1)
    if image.format == "TIFF":
        described = str(image.tag_v2.get(_DESCRIPTION, ""))
        told = [line[7:] for line in described.splitlines() if line.startswith("images=")]
        if described.startswith("ImageJ=") and told and told[0].isdigit() and int(told[0]) != count:
            raise MaskError(
                f"{shown(path)}: ImageJ wrote {told[0]} pictures into it of which {count} can be read; expected one "
                "page each; save it as an image sequence"
            )
        for page in range(count if count > 1 else 0):
            image.seek(page)
            if not int(image.tag_v2.get(_NEW_SUBFILE, 0)) & _REDUCED:
                yield page
        if count > 1:
            return
    yield from range(1 if getattr(image, "default_image", False) and count > 1 else 0, count)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    from PIL import Image

    Image.init()
    with open(path, "rb") as file, Image.open(file, formats=[name for name in FORMATS if name in Image.OPEN]) as image:
        yield image


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """What Pillow raises on a file as a MaskError: damaged files raise whatever their decoder stumbles over."""
    from PIL import Image, UnidentifiedImageError

    try:
        yield
    except MaskError:
        raise
    except Image.DecompressionBombError as error:
        raise _too_large(path, str(error).partition("(")[2].partition(")")[0] or "many pixels") from None
    except MemoryError:
        raise _too_large(path, "it does not fit the memory") from None
    except UnidentifiedImageError:
        raise NoPicture(
            f"{shown(path)}: not an image that can be read; expected a picture such as PNG; export it again"
        ) from None
    except (
        *(OSError, ValueError, SyntaxError, EOFError, LookupError, TypeError, AttributeError),
        *(ArithmeticError, AssertionError, NotImplementedError, RuntimeError, struct.error),
    ) as error:
        why = " ".join(str(error).split()) or type(error).__name__
        raise MaskError(
            f"{shown(path)}: not an image that can be read to its end ({why}); expected a whole picture such as PNG; "
            "export it again"
        ) from None


def _check_size(image: Any, path: Path) -> None:
    if image.width * image.height > MOST_PIXELS:
        raise _too_large(path, f"{image.width} x {image.height} pixels")


def _too_large(path: Path, what: str) -> MaskError:
    return MaskError(
        f"{shown(path)}: is too large: {what}; expected at most {MOST_PIXELS // 10**6} million pixels, best the "
        "video's size; make it smaller"
    )


def _stored(image: Any, lossy: bool) -> StoredMask:
    """A decoded picture as it is stored."""
    if image.mode[0] == "I":
        return StoredMask(_deep(image), 65535)
    if image.mode == "F":
        return StoredMask(np.asarray(image).astype(np.float32), None)
    if image.mode == "1":
        return StoredMask(np.asarray(image), 1)
    alpha = None
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        alpha = np.asarray(image.convert("RGBA").getchannel("A"))
    indices = palette = None
    if image.mode == "P":
        indices = np.asarray(image)
        palette = np.array(image.getpalette("RGB") or [0, 0, 0], np.uint8).reshape(-1, 3)
    if image.mode in ("L", "LA"):
        return StoredMask(np.asarray(image.getchannel("L")), alpha=alpha, lossy=lossy)
    colours = image.convert("RGB")
    channels = np.asarray(colours)
    coloured = bool((np.ptp(channels, axis=2) > _COLOUR).any())
    grey = np.asarray(colours.convert("L") if alpha is not None else image.convert("L"))
    return StoredMask(grey, 255, alpha, indices, palette, coloured, lossy)


def _is_deep(image: Any) -> bool:
    """Whether a picture, not yet decoded, is in colours of 16 bits."""
    args = image.tile[0].args if image.tile else ""
    return image.mode in ("RGB", "RGBA") and ";16" in str(args if isinstance(args, str) else args[0])


def _deep_colours(image: Any, path: Path, page: int) -> np.ndarray:
    """A picture in colours of 16 bits as stored, uint16 [H, W, 3 or 4], blue first. MaskError where it cannot be read:
    the upper 8 bits alone are black where a tool wrote 0 to 255."""
    import cv2

    try:
        _, found = cv2.imdecodemulti(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED, range=(page, page + 1))
    except cv2.error:
        found = ()
    if len(found) != 1 or found[0].dtype != np.uint16 or found[0].shape[2:] != (len(image.mode),):
        raise MaskError(
            f"{shown(path)}: the 16-bit colours of its picture {page + 1} cannot be read; expected grey, or colours in "
            "8 bits, or one PNG for each picture; save it so"
        )
    return found[0]


def _brightness(deep: np.ndarray) -> np.ndarray:
    import cv2

    return cv2.cvtColor(deep, cv2.COLOR_BGRA2GRAY if deep.shape[2] == 4 else cv2.COLOR_BGR2GRAY)


def _upper(alpha: np.ndarray) -> np.ndarray:
    """Alpha uint16 as uint8: its upper 8 bits, or 8-bit values that a tool put into 16 as they are."""
    return (alpha if alpha.max(initial=0) <= 255 else alpha >> 8).astype(np.uint8)


def _deep(image: Any) -> np.ndarray:
    """16 or 32 bits as uint16 where they fit, else int32."""
    values = np.asarray(image)
    fits = values.min(initial=0) >= 0 and values.max(initial=0) <= 65535
    return values.astype(np.uint16 if fits else np.int32)
