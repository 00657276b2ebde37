"""Reads and writes video files, through PyAV (imported when first used).

Rules that are easy to get wrong, in one place:

- Frames are counted from 0 in decoding order of the file's first video stream; ``start`` and ``stride`` are in frames.
- Rotation metadata and non-square pixels are applied on reading: a frame is what a player shows.
- An alpha channel is dropped (noted in ``Clip.notes``).
- h264 in yuv420p needs even sides: an odd side gets its last row or column repeated once (noted in ``Written.notes``).
- Colours: what is written is BT.709, tagged as such; what is read follows the file's tags.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from ...editing.fingerprint import frames_digest
from .geometry import Geometry

log = logging.getLogger(__name__)


class VideoError(ValueError):
    """A video cannot be read or written as asked. The text says which file, what was expected and the remedy."""


@dataclass(frozen=True)
class VideoInfo:
    """What a file says about its first video stream. width, height: as shown (rotation and pixel shape applied);
    frames: number of coded frames; fps: mean frame rate; has_audio: whether there is an audio stream; alpha: whether
    the pictures carry one."""

    path: Path
    width: int
    height: int
    frames: int
    fps: Fraction
    has_audio: bool
    alpha: bool = False


@dataclass(frozen=True)
class Clip:
    """Frames cut from a video. frames: uint8 [F, H, W, 3] RGB at the edit's size; fps: frames per second of these
    frames (the file's divided by the stride); span: their first and last second in the file; digest: of the frames."""

    frames: np.ndarray
    fps: Fraction
    path: Path | None = None
    has_audio: bool = False
    span: tuple[float, float] = (0.0, 0.0)
    digest: str = ""
    start: int = 0
    stride: int = 1
    source_frames: int = 0
    geometry: Geometry | None = None
    notes: tuple[str, ...] = ()


def open_video(path: str | Path) -> Any:
    """An open PyAV container with at least one video stream. Raises VideoError for anything else."""
    import av

    path = Path(path)
    if not path.is_file():
        raise VideoError(f"{path}: no such file; expected a video; correct the path")
    try:
        container = av.open(str(path))
    except (av.error.FFmpegError, OSError) as error:
        raise VideoError(f"{path}: not a video that FFmpeg can read ({error}); expected e.g. mp4; convert it") from None
    if not container.streams.video:
        container.close()
        raise VideoError(f"{path}: has no video stream; expected a video; choose another file")
    return container


def probe(path: str | Path) -> VideoInfo:
    """Size, rate and number of frames. Counts packets (fast, nothing but the first frame is decoded)."""
    with open_video(path) as container:
        stream = container.streams.video[0]
        first = next(_decoded(container, stream, path), None)
        if first is None:
            raise VideoError(f"{path}: not one frame could be decoded; expected a video; convert it with ffmpeg")
        width, height = shown_size(first)
        alpha = any(part.is_alpha for part in first.format.components)
        has_audio = bool(container.streams.audio)
        fps = stream.average_rate or stream.guessed_rate or Fraction(25)
    with open_video(path) as container:
        count = sum(1 for packet in container.demux(video=0) if packet.size)
    return VideoInfo(Path(path), width, height, count, Fraction(fps), has_audio, alpha)


def shown_size(frame: Any) -> tuple[int, int]:
    """(width, height) of a decoded frame as a player shows it: square pixels, upright."""
    aspect = _pixel_aspect(frame)
    width, height = max(1, round(frame.width * aspect)), frame.height
    return (height, width) if _quarter_turns(frame) % 2 else (width, height)


def _pixel_aspect(frame: Any) -> Fraction:
    """Width of a pixel over its height; 1 where the file does not say."""
    aspect = getattr(frame, "sample_aspect_ratio", None)
    return Fraction(aspect) if aspect else Fraction(1)


def _quarter_turns(frame: Any) -> int:
    """How many quarter turns anticlockwise the picture needs; FFmpeg gives degrees anticlockwise."""
    return round(getattr(frame, "rotation", 0) / 90) % 4


def _decoded(container: Any, stream: Any, path: str | Path) -> Iterator[Any]:
    import av

    stream.thread_type = "AUTO"
    try:
        yield from container.decode(stream)
    except av.error.FFmpegError as error:
        raise VideoError(f"{path}: damaged video data ({error}); expected whole frames; convert it again") from None


def upright(frame: Any) -> np.ndarray:
    """A decoded frame -> uint8 [H, W, 3] RGB as a player shows it."""
    aspect = _pixel_aspect(frame)
    if aspect == 1:
        picture = frame.to_ndarray(format="rgb24")
    else:
        picture = frame.reformat(width=max(1, round(frame.width * aspect)), format="rgb24").to_ndarray()
    return np.ascontiguousarray(np.rot90(picture, _quarter_turns(frame)))


def pictures(path: str | Path, start: int, count: int | None, stride: int) -> Iterator[tuple[np.ndarray, float | None]]:
    """Frames start, start + stride, ... of a file as (uint8 [H, W, 3] RGB, time in seconds); stops where it ends."""
    with open_video(path) as container:
        taken = 0
        for index, frame in enumerate(_decoded(container, container.streams.video[0], path)):
            if count is not None and taken == count:
                return
            if index >= start and (index - start) % stride == 0:
                yield upright(frame), frame.time
                taken += 1


def available(frames: int, start: int, stride: int) -> int:
    """How many frames start, start + stride, ... exist below ``frames``."""
    return max(0, -(-(frames - start) // stride))


def too_few(path: str | Path, count: int, start: int, stride: int, have: int) -> VideoError:
    """The error for a range that runs over the end."""
    return VideoError(
        f"{path} has {have} frames, of which {available(have, start, stride)} lie at start {start}, stride {stride}; "
        f"expected {count}; lower frames.count, frames.start or frames.stride"
    )


def read_clip(
    path: str | Path,
    start: int = 0,
    count: int | None = None,
    stride: int = 1,
    size: tuple[int, int] | None = None,
    fit: str = "crop",
) -> Clip:
    """Read ``count`` frames (None = all to the end) from ``start``, every ``stride``-th, at ``size`` = (width, height).

    size None: the file's own, cropped to multiples of 8. fit: ``crop`` or ``stretch`` (geometry.py). Raises VideoError
    naming both numbers when the file has too few frames.
    """
    info = probe(path)
    geometry = Geometry.plan((info.width, info.height), size, fit)
    frames, times = [], []
    for picture, time in pictures(path, start, count, stride):
        if (picture.shape[1], picture.shape[0]) != geometry.source:
            raise VideoError(
                f"{path}: frame {start + len(frames) * stride} is {picture.shape[1]} x {picture.shape[0]}, the first "
                f"was {info.width} x {info.height}; expected one size; convert the video with ffmpeg"
            )
        frames.append(geometry.frame(picture))
        times.append(time)
    if not frames or (count is not None and len(frames) < count):
        raise too_few(path, count or 1, start, stride, info.frames)
    stacked = np.stack(frames)
    fps = info.fps / stride
    begin = times[0] if times[0] is not None else float(start / info.fps)
    notes = ("the video has an alpha channel: dropped",) if info.alpha else ()
    for note in notes:
        log.warning("%s: %s", path, note)
    return Clip(
        frames=stacked,
        fps=fps,
        path=Path(path),
        has_audio=info.has_audio,
        span=(float(begin), float(begin + len(stacked) / fps)),
        digest=frames_digest(stacked),
        start=start,
        stride=stride,
        source_frames=info.frames,
        geometry=geometry,
        notes=notes,
    )
