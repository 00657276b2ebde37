"""Opening video files with PyAV: which stream is the clip, and its frames even where the file is damaged."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av

MAX_PIXELS = 2**27  # of a frame: 8K has 33 million; a header that says more is damaged or a bomb
PLAYLISTS = ("hls", "concat", "dash", "sdp", "rtsp", "rtp", "imf")  # files that name other files
STILL_CODECS = ("mjpeg", "png", "bmp", "webp", "gif", "tiff", "jpeg2000", "jpegxl")
HELD = 64  # damaged frames at the end that are left out, at most; more than that are how the file is

COVERS = 0x0400 | 0x0800  # AV_DISPOSITION_ATTACHED_PIC, _TIMED_THUMBNAILS (libavformat/avformat.h)
STILL_IMAGE = 0x100000  # AV_DISPOSITION_STILL_IMAGE
DEFAULT = 0x0001  # AV_DISPOSITION_DEFAULT


class VideoError(ValueError):
    """A video cannot be read or written as asked. The text says which file, what was expected and the remedy."""


@dataclass
class Damage:
    """What of a file could not be decoded: the number of errors, the first one's text, the damaged frames that were
    kept as the decoder mended them, and those at the end that were left out."""

    errors: int = 0
    first: str = ""
    kept: int = 0
    left_out: int = 0

    def add(self, error: Exception) -> None:
        """Count an error; one that says nothing of the file is raised again."""
        if isinstance(error, MemoryError) and memory_lacks():
            raise error
        self.errors += 1
        self.first = self.first or " ".join(str(error).split())

    def notes(self) -> tuple[str, ...]:
        """What a user should know."""
        said = [f"{self.errors} errors, the first: {self.first}"] if self.errors else []
        said += [f"{self.kept} frames mended by the decoder"] if self.kept else []
        said += [f"{self.left_out} damaged frames at the end left out"] if self.left_out else []
        return (f"the video is damaged ({'; '.join(said)}): what could be decoded is used",) if said else ()


def memory_lacks() -> bool:
    """Whether an error of FFmpeg about memory is about memory: a damaged file may ask for any amount of it, too."""
    try:
        return not bytearray(2**26)
    except MemoryError:
        return True


def url(path: str | Path) -> str:
    """A path as FFmpeg takes it for a file whatever its name holds (`scene:1.mp4` would be the protocol `scene`)."""
    return f"file:{path}"


def open_video(path: str | Path) -> Any:
    """An open PyAV container with at least one video stream. Raises VideoError for anything else."""
    path = Path(path)
    if not path.exists():
        raise VideoError(f"{path}: no such file; expected a video, or a folder of pictures; correct the path")
    if not path.is_file():
        raise VideoError(f"{path}: not a regular file; expected a video, or a folder of pictures; correct the path")
    try:
        container = open_input(path)
    except (av.error.FFmpegError, OSError, UnicodeError) as error:
        if isinstance(error, MemoryError) and memory_lacks():
            raise
        raise VideoError(f"{path}: not a video that FFmpeg can read ({error}); expected e.g. mp4; convert it") from None
    names = container.format.name.split(",")
    if any(name in PLAYLISTS for name in names):
        problem = f"is a playlist ({names[0]}) that names other files; expected a video; give the video itself"
    elif not container.streams.video:
        problem = "has no video stream; expected a video; choose another file"
    else:
        return container
    container.close()
    raise VideoError(f"{path}: {problem}")


def open_input(path: str | Path) -> Any:
    """A file opened for reading. No other protocol than that of files is used, frames of more than MAX_PIXELS are not
    decoded to find out what the file holds, and text in any encoding will do."""
    return av.open(
        url(path),
        options={"max_pixels": str(MAX_PIXELS)},
        container_options={"protocol_whitelist": "file"},
        metadata_errors="replace",
    )


def clip_stream(container: Any, path: str | Path) -> Any:
    """The stream that is the clip: of those that can be decoded and are no cover picture, the first that the file marks
    as its default one, else the first. VideoError where there is none."""
    streams = [stream for stream in container.streams.video if stream.codec_context is not None]
    if not streams:
        raise VideoError(f"{path}: FFmpeg has no decoder for its video; expected e.g. h264; convert it")
    real = [stream for stream in streams if not _is_cover(stream)]
    if not real:
        raise VideoError(f"{path}: holds a cover picture and no video; expected a video; choose another file")
    moving = [stream for stream in real if not _is_still(stream)] or real
    return next((stream for stream in moving if int(stream.disposition.value) & DEFAULT), moving[0])


def _is_cover(stream: Any) -> bool:
    return bool(int(stream.disposition.value) & COVERS)


def _is_still(stream: Any) -> bool:
    """Whether a stream is one picture: a cover that is not marked as one."""
    still = bool(int(stream.disposition.value) & STILL_IMAGE)
    return still or (stream.frames == 1 and stream.codec_context.name in STILL_CODECS)


def stream_notes(container: Any, chosen: Any) -> tuple[str, ...]:
    """What a user should know about the choice of a stream."""
    decodable = [stream for stream in container.streams.video if stream.codec_context is not None]
    videos = [stream for stream in decodable if not (_is_cover(stream) or _is_still(stream))]
    if len(videos) < 2:
        return ()
    return (f"the file has {len(videos)} videos: stream {chosen.index} ({chosen.codec_context.name}) is used",)


def decoded(container: Any, stream: Any, damage: Damage) -> Iterator[Any]:
    """All frames of a video stream that can be decoded, in the order in which they are shown. Damaged ones are kept as
    the decoder mended them, but for those at the end of the file."""
    stream.codec_context.options = {**stream.codec_context.options, "max_pixels": str(MAX_PIXELS)}
    held: list[Any] = []
    for frame in packet_frames(container, stream, damage):
        if frame.is_corrupt and len(held) < HELD:
            held.append(frame)
            continue
        damage.kept += len(held) + bool(frame.is_corrupt)
        yield from held
        held.clear()
        yield frame
    damage.left_out = len(held)


def packet_frames(container: Any, stream: Any, damage: Damage) -> Iterator[Any]:
    """All frames of a video or audio stream that can be decoded; what cannot be is counted in ``damage``."""
    stream.thread_type = "SLICE"  # with threads for frames, damaged ones come out otherwise from run to run
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except av.error.FFmpegError as error:
            damage.add(error)
            break
        try:
            frames = packet.decode()
        except (av.error.EOFError, av.error.BlockingIOError):
            continue
        except (av.error.FFmpegError, ValueError) as error:
            damage.add(error)
            continue
        yield from frames
    with suppress(av.error.FFmpegError):
        yield from stream.codec_context.decode(None)
