"""Writes video files, through PyAV: h264 pictures and, where there is sound, the matching span of it as AAC."""

from __future__ import annotations

import logging
import platform
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np

from ...editing.whole_file import whole_file
from .container import VideoError, url
from .sound import Sound, Voice, read_audio
from .video import Clip

CRF = 14  # x264's quality: visually lossless; figures are taken before encoding in any case
BT709, LIMITED = 1, 1  # what colours and range are tagged as: numbers of ITU-T H.273 and of FFmpeg
CLOCK = 90_000  # ticks per second where the rate varies
SUFFIXES = (".mp4", ".mov", ".mkv")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Written:
    """A video that was written. size: (width, height) in the file; notes: whatever was done to frames or sound."""

    path: Path
    frames: int
    size: tuple[int, int]
    fps: Fraction
    audio: bool
    notes: tuple[str, ...] = ()


def write_video(
    path: str | Path,
    frames: np.ndarray,
    fps: Fraction | float,
    audio_from: Clip | None = None,
    times: Sequence[float] | None = None,
) -> Written:
    """Write h264 (yuv420p, crf 14) and, where ``audio_from`` has sound, its span of it as AAC. Atomic.

    frames: uint8 [F, H, W, 3]; fps: frames per second; times: seconds from the first frame at which each is shown and
    the last one ends (F + 1 of them), None = by ``fps``; path: .mp4, .mov or .mkv. Colours are BT.709 of limited range,
    tagged so; an odd side gets its last row or column repeated once. The same frames give the same file. Sound that
    cannot be read is left out, which the notes say.
    """

    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        ending = path.suffix or "no suffix"
        raise VideoError(f"{path}: cannot write {ending!r}; expected {', '.join(SUFFIXES)}; rename it")
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or len(frames) == 0:
        raise VideoError(
            f"{path}: frames are {frames.dtype} {list(frames.shape)}; expected uint8 [frames, height, width, 3] and "
            "at least one frame; convert them"
        )
    if times is not None and len(times) != len(frames) + 1:
        raise VideoError(
            f"{path}: {len(times)} times for {len(frames)} frames; expected one for each and the end; correct them"
        )
    rate, notes = Fraction(fps).limit_denominator(100_000), []
    height, width = frames.shape[1:3]
    if height % 2 or width % 2:
        notes.append(f"{width} x {height} is odd: the last row or column is repeated once, as yuv420p needs even sides")
    sound = None
    if audio_from is not None:
        sound, problems = _sound_of(audio_from, times[-1] if times is not None else float(len(frames) / rate))
        notes += problems
    _encode(path, even(frames), rate, sound, times)
    for note in notes:
        log.warning("%s: %s", path, note)
    size = (width + width % 2, height + height % 2)
    return Written(path, len(frames), size, Fraction(fps), sound is not None, tuple(notes))


def even(frames: np.ndarray) -> np.ndarray:
    """Frames [F, H, W, 3] with even sides: an odd one has its last row or column repeated."""
    down, across = frames.shape[1] % 2, frames.shape[2] % 2
    return np.pad(frames, ((0, 0), (0, down), (0, across), (0, 0)), mode="edge") if down or across else frames


def _sound_of(clip: Clip, seconds: float) -> tuple[Sound | None, tuple[str, ...]]:
    """The sound of a clip's first ``seconds``, and what a user should know about it."""
    if not clip.has_audio or clip.path is None:
        return None, ()
    try:
        sound = read_audio(clip.path, clip.span[0], clip.span[0] + seconds)
    except (av.error.FFmpegError, ValueError, IndexError) as error:  # an hour's edit is worth more than its sound
        why = " ".join(str(error).split())
        return None, (f"the sound of {clip.path} could not be read ({why}): the video is silent",)
    if sound is None:
        return None, (f"{clip.path} has an audio stream without sound: the video is silent",)
    return sound, tuple(f"{clip.path}: {note}" for note in sound.notes)


def _encode(path: Path, frames: np.ndarray, fps: Fraction, sound: Sound | None, times: Sequence[float] | None) -> None:
    """Write even-sized uint8 frames [F, H, W, 3]. times: as in write_video."""
    clock, ticks = 1 / fps, list(range(len(frames) + 1))
    if times is not None:
        clock = Fraction(1, CLOCK)
        for index, time in enumerate(times):
            ticks[index] = max(round(time * CLOCK), ticks[index - 1] + 1 if index else 0)
    lengths = {begin: end - begin for begin, end in pairwise(ticks)}
    movflags = {"movflags": "faststart"} if path.suffix.lower() in (".mp4", ".mov") else {}
    with (
        _lack_of_memory(),
        whole_file(path) as temporary,
        av.open(url(temporary), "w", options=movflags) as container,
    ):
        # without B-frames where the rate varies: mp4 tells how long frames last in the order of decoding
        options = _options() if times is None else {**_options(), "bf": "0"}
        stream = container.add_stream("libx264", rate=fps, options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.time_base = clock
        context.colorspace = context.color_primaries = context.color_trc = BT709
        context.color_range = LIMITED
        voice = Voice(container, sound) if sound is not None else None

        def mux(packets: list[av.Packet]) -> None:
            for packet in packets:
                if times is not None:  # the last one's length is told by nothing else
                    packet.duration = lengths[packet.pts]
                container.mux(packet)

        for index, picture in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709")
            frame.pts, frame.time_base = ticks[index], clock
            mux(stream.encode(frame))
            if voice is not None:
                voice.write_until(float(ticks[index + 1] * clock))  # sound and pictures go in side by side
        mux(stream.encode(None))
        if voice is not None:
            voice.close()


@contextmanager
def _lack_of_memory() -> Iterator[None]:
    """x264 does not say why it gives up; with options and sizes that are checked, memory is what it lacks."""
    try:
        yield
    except av.error.ExternalError as error:
        raise MemoryError(f"the encoder of videos gave up: {error}") from error


def _options() -> dict[str, str]:
    """Same frames, same file. With its AVX-512 code x264 gave two to six different files out of 150 of the same frames
    (one thread or many); with AVX2 code, always the same one."""
    x86 = platform.machine().lower() in ("x86_64", "amd64")
    repeatable = {"threads": "1", **({"x264-params": "asm=AVX2"} if x86 else {})}
    return {"crf": str(CRF), "preset": "medium", **repeatable}
