"""A decoded frame as a player shows it: upright, with square pixels, as RGB of the usual brightness (BT.709, SDR)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import ExifTags, Image

from .container import MAX_PIXELS, VideoError
from .mask_pictures import MaskError, pages_of
from .tone import HDR, WIDE, to_sdr

# Code points of ITU-T H.273, as FFmpeg and the tags of files number them.
RGB, BT709, UNSPECIFIED = 0, 1, 2
KNOWN_MATRICES = (RGB, BT709, 4, 5, 6, 7, 9, 10)  # 4 FCC, 5 and 6 BT.601, 7 SMPTE 240M, 9 and 10 BT.2020
PERCEPTUAL_MATRICES = (14, 15)  # ICtCp, IPT-C2 (Dolby Vision profile 5): no matrix makes RGB of them
SD_WIDTH, SD_HEIGHT = 1280, 576  # untagged: below this width and up to this height BT.601, else BT.709, as players do


EXIF = {
    tag: ("s" in way, "m" in way, "f" in way)
    for tag, way in enumerate(("", "m", "mf", "f", "s", "sm", "smf", "sf"), 1)  # swapped, mirrored, flipped
}
"""What `_orientation` gives, by EXIF's number (CIPA DC-008, tag 274)."""


@dataclass(frozen=True)
class Tags:
    """What a stream says of all its frames. aspect: width of a pixel over its height; transfer, primaries: numbers of
    ITU-T H.273; orientation: EXIF's, 1 to 8, of a picture, whose frames say less of it (`_orientation`)."""

    aspect: Fraction
    transfer: int
    primaries: int
    orientation: int | None = None

    @classmethod
    def of(cls, stream: Any, picture: Path | None = None) -> Tags:
        """Those of an open PyAV stream; square pixels where it does not say. picture: the file, where it is one."""
        context = stream.codec_context
        orientation = None if picture is None else exif_orientation(picture)
        return cls(Fraction(stream.sample_aspect_ratio or 1), context.color_trc, context.color_primaries, orientation)

    @property
    def special(self) -> bool:
        """Whether the frames are HDR or of a wide gamut."""
        return self.transfer in HDR or self.primaries in WIDE


def shown_size(frame: Any, tags: Tags, path: Any) -> tuple[int, int]:
    """(width, height) of a decoded frame as a player shows it. VideoError where that is beyond MAX_PIXELS."""
    width, height = max(1, round(frame.width * tags.aspect)), frame.height
    check_size(width, height, path)
    return (height, width) if _orientation(frame, tags)[0] else (width, height)


def check_size(width: int, height: int, path: Any) -> None:
    """VideoError for a frame of more than MAX_PIXELS."""
    if width * height > MAX_PIXELS:
        raise VideoError(
            f"{path}: its frames are {width} x {height}; expected at most {MAX_PIXELS // 10**6} million pixels; "
            "convert it to a smaller size"
        )


def upright(frame: Any, tags: Tags, alpha: bool = False) -> np.ndarray:
    """A decoded frame -> uint8 [H, W, 3] RGB as a player shows it. Matrix and range are those of its tags, without tags
    those that players take; HDR is tone-mapped, wide gamuts are brought to BT.709's (tone.py). alpha: give [H, W, 4]
    where the frame has alpha."""
    alpha = alpha and has_alpha(frame)
    kinds = ("rgba", "rgba64le") if alpha else ("rgb24", "rgb48le")
    how: dict[str, Any] = {"format": kinds[tags.special], **_matrix(frame)}
    if tags.aspect != 1:
        how["width"] = max(1, round(frame.width * tags.aspect))
    picture = frame.reformat(**how).to_ndarray()
    if tags.special:
        colours = to_sdr(picture[..., :3], tags.transfer, tags.primaries)
        picture = np.concatenate([colours, (picture[..., 3:] >> 8).astype(np.uint8)], axis=2)
    swapped, mirrored, flipped = _orientation(frame, tags)
    picture = picture.swapaxes(0, 1) if swapped else picture
    return np.ascontiguousarray(picture[:: -1 if flipped else 1, :: -1 if mirrored else 1])


def has_alpha(frame: Any) -> bool:
    """Whether a frame carries an alpha channel."""
    return any(part.is_alpha for part in frame.format.components)


def tag_notes(frame: Any, tags: Tags, path: Any) -> tuple[str, ...]:
    """What a user should know about how a frame's colours are read. VideoError for those that cannot be read."""
    notes, matrix = [], frame.colorspace
    if matrix in PERCEPTUAL_MATRICES:
        raise VideoError(
            f"{path}: its colours are {'ICtCp' if matrix == 14 else 'IPT (Dolby Vision)'}; expected YCbCr or RGB; "
            "convert it to BT.709 with a program that knows them"
        )
    if not frame.format.is_rgb and matrix not in (*KNOWN_MATRICES, UNSPECIFIED):
        notes.append(f"the video's colour matrix has the unknown number {matrix}: read as a video without tags")
    if tags.transfer in HDR:
        notes.append(f"the video is HDR ({HDR[tags.transfer]}): tone-mapped to SDR (BT.709)")
    elif tags.primaries in WIDE:
        notes.append("the video has a wide gamut: brought to BT.709's")
    return tuple(notes)


def deinterlaced(frames: Iterable[Any], stream: Any) -> Iterator[Any]:
    """As many frames as there are, whole pictures where they are marked as interlaced (FFmpeg's filter bwdif)."""
    graph = av.filter.Graph()
    ends = (
        graph.add_buffer(template=stream, time_base=stream.time_base),
        graph.add("bwdif", "mode=send_frame:deint=interlaced"),
        graph.add("buffersink"),
    )
    graph.link_nodes(*ends).configure()
    for index, frame in enumerate(frames):
        frame.pts = index  # its own may be missing, and the filter needs some that rise
        graph.vpush(frame)
        yield from _pulled(graph)
    graph.vpush(None)
    yield from _pulled(graph)


def _pulled(graph: Any) -> Iterator[Any]:
    while True:
        try:
            yield graph.vpull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return


def _matrix(frame: Any) -> dict[str, str]:
    """Which matrix to read a frame with where its tags do not say."""
    if frame.format.is_rgb or frame.colorspace in KNOWN_MATRICES:
        return {}
    small = frame.width < SD_WIDTH and frame.height <= SD_HEIGHT
    return {"src_colorspace": "ITU601" if small else "ITU709"}


def exif_orientation(path: Path) -> int | None:
    """A picture's orientation tag, 1 to 8; None where it has none, or is none that Pillow knows."""
    try:
        with Image.open(path) as picture:
            said = picture.getexif().get(ExifTags.Base.Orientation)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    return said if said in EXIF else None


def _load(picture: Image.Image, path: Path) -> None:
    try:
        picture.load()
    except OSError as error:
        raise VideoError(f"{path}: {error}; expected a whole picture; export it again") from None


def check_picture(path: Path, read: int) -> None:
    """VideoError for a picture file that holds several pictures of which FFmpeg gives one or none (``read``), and for a
    JPEG that is cut off, of which FFmpeg makes up the rest."""
    try:
        with Image.open(path) as picture:
            jpeg = picture.format in ("JPEG", "MPO")  # the latter has a camera's other views besides
            pages = 1 if jpeg else len(list(pages_of(picture, path)))
            if jpeg and read:
                picture.draft("L", (1, 1))  # an eighth of the size: it has to be read to its end, not to be seen
                _load(picture, path)
    except VideoError:
        raise
    except MaskError as error:
        raise VideoError(str(error)) from None
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError):
        return
    if pages > 1 >= read:
        raise VideoError(
            f"{path}: holds {pages} pictures, of which {'one' if read else 'none'} would be read; expected a video, or "
            "a folder with a file for each picture; save them so"
        )


def _orientation(frame: Any, tags: Tags) -> tuple[bool, bool, bool]:
    """Whether a frame's axes are to be swapped, and the result then mirrored (left and right) and flipped (top and
    bottom), by its display matrix; the nearest of the eight ways.

    The matrix takes a stored place to x = a x + c y, y = b x + d y (libavutil/display.h).
    """
    if tags.orientation is not None:
        return EXIF[tags.orientation]
    try:
        sides = list(frame.side_data)
    except ValueError:  # PyAV has no name for one of them (EXIF in the pictures of a camera), and then gives none
        quarters = round(frame.rotation / 90) % 4  # anticlockwise; that it is mirrored as well is not told
        return quarters % 2 == 1, quarters in (2, 3), quarters in (1, 2)
    for side in sides:
        if side.type.name == "DISPLAYMATRIX":
            a, b, _, c, d, *_ = np.frombuffer(bytes(side), np.int32).tolist()
            if abs(b) + abs(c) > abs(a) + abs(d):
                return True, c < 0, b < 0
            return False, a < 0, d < 0
    return False, False, False
