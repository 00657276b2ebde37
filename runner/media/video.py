"""Reads video files, through PyAV. docs/video.md has a table of what is read how.

- Frames are counted from 0 among those that a player shows, in the order in which it shows them; ``start`` and
  ``stride`` are in frames.
- A frame is what a player shows: upright, with square pixels, whole pictures, in SDR (picture.py).
- Time stamps count, not the rate that a file tells (timing.py).
- A folder of pictures is a video, in natural order of their names.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from ...editing.fingerprint import frames_digest
from .container import Damage, VideoError, clip_stream, decoded, open_video, stream_notes
from .geometry import Geometry, GeometryError
from .mask_frames import IMAGES, in_order
from .picture import Tags, check_picture, check_size, deinterlaced, has_alpha, shown_size, tag_notes, upright
from .timing import ASSUMED, Timing, timing_of

DECODED_WHOLE = 2**32  # pixels of all frames: up to here (2000 frames of 1080p) every frame is decoded to count them
MAX_BYTES = 2**34  # of a clip's frames in memory
MAX_SIDES = (8160, 16384)  # of a clip: h264 has 16384 at most, and two clips must fit beside each other

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class VideoInfo:
    """What a file says about its video. width, height: as shown (rotation and pixel shape applied); frames: number of
    frames that are shown; fps: mean frame rate; has_audio: whether there is an audio stream; alpha: whether the
    pictures carry one; timing: when they are shown; interlaced: whether some are; notes: what else is out of
    the ordinary."""

    path: Path
    width: int
    height: int
    frames: int
    fps: Fraction
    has_audio: bool
    alpha: bool
    timing: Timing
    interlaced: bool
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Clip:
    """Frames cut from a video. frames: uint8 [F, H, W, 3] RGB at the edit's size; fps: frames per second of these
    frames (the file's divided by the stride; the mean, where it varies); span: their first and last second in the file;
    digest: of the frames; times: seconds from the first frame at which each is shown and the last one ends, F + 1 of
    them, None where the rate is constant."""

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
    times: tuple[float, ...] | None = None


def probe(path: str | Path) -> VideoInfo:
    """Size, timing and number of frames. Decodes files up to DECODED_WHOLE; of longer ones only the first frame, where
    nothing in them is out of the ordinary. VideoError for what is no video."""
    path = Path(path)
    if path.is_dir():
        files = _picture_files(path)
        first = probe(files[0])
        said = f"a folder of pictures tells no rate: {ASSUMED} frames per second are taken"
        return replace(first, path=path, frames=len(files), fps=ASSUMED, timing=Timing(ASSUMED, 0.0, None, (said,)))
    stamps, last, stamped, plain = _packets(path)  # those of decoded frames may be guesses
    damage, interlaced, shown = Damage(), False, []
    with open_video(path) as container:
        stream = clip_stream(container, path)
        notes = stream_notes(container, stream)
        told = (stream.average_rate, stream.guessed_rate, stream.base_rate)
        first = None
        for frame in decoded(container, stream, damage):
            if first is None:
                first = frame
                tags = _tags(stream, path)
                width, height = shown_size(frame, tags, path)
                alpha = has_alpha(frame) or stream.metadata.get("alpha_mode") == "1"
                notes = (*notes, *tag_notes(frame, tags, path))
            interlaced = interlaced or bool(frame.interlaced_frame)
            if plain and not interlaced and len(stamps) * frame.width * frame.height > DECODED_WHOLE:
                break
            shown.append(_seconds(frame.pts, frame.time_base))
            last = _seconds(frame.duration, frame.time_base) or 0.0
        else:
            if not stamped or len(shown) != len(stamps):
                guessed = container.format.name == "avi"  # has no time stamps but one rate
                stamps = [None] * len(shown) if guessed else shown
        has_audio, seconds = bool(container.streams.audio), _told_seconds(stream)
    if path.suffix.lower() in IMAGES:
        check_picture(path, len(shown))
    if first is None:
        raise _no_frame(path, damage)
    timing = timing_of(stamps, last, told)
    if interlaced:
        notes = (*notes, "the video is interlaced: made whole pictures (bwdif)")
    found = timing.seconds(len(stamps))
    if damage.notes():
        notes = (*notes, *damage.notes())
    elif seconds - found > 1.5 / timing.fps:
        notes = (*notes, f"the video says that it lasts {seconds:.2f} s, it is damaged or cut off after {found:.2f} s")
    return VideoInfo(path, width, height, len(stamps), timing.fps, has_audio, alpha, timing, interlaced, notes)


def _no_frame(path: Path, damage: Damage) -> VideoError:
    why = f" ({damage.first})" if damage.errors else ""
    return VideoError(
        f"{path}: not one frame could be decoded{why}; expected a video or a whole picture; export it again, or "
        "convert it with ffmpeg"
    )


def _packets(path: Path) -> tuple[list[float | None], float, bool, bool]:
    """Of a file's packets that are shown: their times in order, how long the last one is, whether one may trust
    these times, and also that each packet is a frame."""
    found, stamped = [], True
    with open_video(path) as container:
        stream = clip_stream(container, path)
        context = stream.codec_context
        check_size(context.width, context.height, path)
        plain = context.name in ("h264", "hevc", "prores", "mjpeg", "dnxhd")
        try:
            for packet in container.demux(stream):
                if packet.size:
                    stamped = stamped and packet.pts is not None and not (packet.is_discard or packet.is_corrupt)
                    plain = plain and bool(found or packet.is_keyframe)
                    found.append((packet.pts or 0, packet.duration or 0))
        except av.error.FFmpegError:  # damaged: decoding says more about it
            stamped = False
        base = stream.time_base
    found.sort()
    stamped = stamped and len({pts for pts, _ in found}) == len(found) > 0
    last = (_seconds(found[-1][1], base) or 0.0) if stamped else 0.0
    return [_seconds(pts, base) for pts, _ in found], last, stamped, stamped and plain


def _seconds(ticks: int | None, base: Fraction | None) -> float | None:
    """A time of a file in seconds. None where it is not told: damaged files have ticks without a time base, too."""
    return None if ticks is None or base is None else float(ticks * base)


def _told_seconds(stream: Any) -> float:
    """How long a stream lasts from its first frame on, by its header; 0 where it does not say."""
    if told := _seconds(stream.duration, stream.time_base):
        return told
    hours, minutes, seconds = (stream.metadata.get("DURATION", "") + "::").split(":")[:3]  # as Matroska has it
    try:
        end = int(hours) * 3600 + int(minutes) * 60 + float(seconds)
        return end - (_seconds(stream.start_time, stream.time_base) or 0.0)
    except ValueError:
        return 0.0


def _picture_files(folder: Path) -> list[Path]:
    named = [file for file in folder.iterdir() if not file.name.startswith(".") and file.suffix.lower() in IMAGES]
    files = in_order([file for file in named if file.is_file() or not file.exists()])  # the latter: links to nothing
    if not files:
        raise VideoError(
            f"{folder}: holds no pictures ({', '.join(IMAGES)}); expected a video, or a folder with one for each "
            "frame; correct the path"
        )
    return files


def pictures(
    path: str | Path, start: int, count: int | None, stride: int, *, interlaced: bool = False, alpha: bool = False
) -> Iterator[tuple[np.ndarray, float | None]]:
    """Frames start, start + stride, ... of a file as (uint8 [H, W, 3] RGB, time in seconds); stops where it ends.
    interlaced: make whole pictures, which then have no time. alpha: give [H, W, 4] where frames have alpha."""
    path, taken = Path(path), 0
    if count == 0:
        return
    for index, (frame, tags) in enumerate(_frames(path, interlaced)):
        if index >= start and (index - start) % stride == 0:
            yield upright(frame, tags, alpha), None if interlaced else frame.time
            taken += 1
            if taken == count:
                return


def _frames(path: Path, interlaced: bool) -> Iterator[tuple[Any, Tags]]:
    """Every frame that is shown, with its stream's tags. VideoError for a file of a folder that is not one picture:
    left out, it would shift all that follow."""
    folder = path.is_dir()
    for file in _picture_files(path) if folder else [path]:
        with open_video(file) as container:
            stream = clip_stream(container, file)
            damage = Damage()
            found, tags = decoded(container, stream, damage), _tags(stream, file)
            for frame in deinterlaced(found, stream) if interlaced else found:
                if folder:
                    check_picture(file, 1)
                yield frame, tags
                if folder:
                    break
            else:
                if folder:
                    check_picture(file, 0)
                    raise _no_frame(file, damage)


def _tags(stream: Any, file: Path) -> Tags:
    return Tags.of(stream, file if file.suffix.lower() in IMAGES else None)


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
    naming both numbers when the file has too few frames, or when they would be larger than MAX_SIDES or
    take more than MAX_BYTES.
    """
    info = probe(path)
    try:
        geometry = Geometry.plan((info.width, info.height), size, fit)
    except GeometryError as error:
        raise VideoError(f"{path}: {error}") from None
    wanted = available(info.frames, start, stride) if count is None else count
    _check_clip(path, wanted, geometry.target)
    frames, times = [], []
    for picture, time in pictures(path, start, count, stride, interlaced=info.interlaced):
        if (picture.shape[1], picture.shape[0]) != geometry.source:
            raise VideoError(
                f"{path}: frame {start + len(frames) * stride} is {picture.shape[1]} x {picture.shape[0]}, the first "
                f"was {info.width} x {info.height}; expected one size; convert the video with ffmpeg"
            )
        frames.append(geometry.frame(picture))
        times.append(time)
    if not frames or (count is not None and len(frames) < count):
        raise too_few(path, count or 1, start, stride, min(info.frames, start + len(frames) * stride))
    stacked = np.stack(frames)
    timing = info.timing.part(start, len(stacked), stride)
    begin = timing.begin if times[0] is None or Path(path).is_dir() else times[0]
    end = begin + float(len(stacked) / timing.fps) if timing.times is None else timing.times[-1]
    alpha = ("the video has an alpha channel: dropped",) if info.alpha else ()
    notes = (*info.notes, *info.timing.notes, *alpha)
    for note in notes:
        log.warning("%s: %s", path, note)
    return Clip(
        frames=stacked,
        fps=timing.fps,
        path=Path(path),
        has_audio=info.has_audio,
        span=(float(begin), float(end)),
        digest=frames_digest(stacked),
        start=start,
        stride=stride,
        source_frames=info.frames,
        geometry=geometry,
        notes=notes,
        times=timing.times and tuple(time - timing.begin for time in timing.times),
    )


def _check_clip(path: str | Path, frames: int, size: tuple[int, int]) -> None:
    if size[0] > MAX_SIDES[0] or size[1] > MAX_SIDES[1]:
        raise VideoError(
            f"{path}: a clip of {size[0]} x {size[1]} pixels cannot be written as a video beside its edit; expected at "
            f"most {MAX_SIDES[0]} x {MAX_SIDES[1]}; give a smaller size"
        )
    total = frames * size[0] * size[1] * 3
    if total > MAX_BYTES:
        raise VideoError(
            f"{path}: {frames} frames of {size[0]} x {size[1]} take {total / 2**30:.0f} GiB of memory; expected at "
            f"most {MAX_BYTES // 2**30}; give frames.count or a smaller size"
        )
