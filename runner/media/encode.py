"""Encoding with PyAV: h264 pictures and, where there is sound, the matching span of it as AAC."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np

from ...editing.whole_file import whole_file
from .video import Clip, VideoError, log

if TYPE_CHECKING:
    from .video import Clip

AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)
DRIFT = 0.02  # seconds by which audio timestamps may stray before a gap or overlap is believed


def encode(path: Path, frames: np.ndarray, fps: Fraction, audio_from: Clip | None) -> tuple[bool, str]:
    """Write even-sized uint8 frames [F, H, W, 3]; returns whether sound was written and, if it was lost, why."""

    sound, problem = None, ""
    if audio_from is not None and audio_from.has_audio and audio_from.path is not None:
        begin = audio_from.span[0]
        try:
            sound = read_audio(audio_from.path, begin, begin + float(len(frames) / fps))
        except (av.error.FFmpegError, ValueError) as error:  # an hour's edit is worth more than its sound
            problem = f"the sound of {audio_from.path} could not be read ({error}): the video is silent"

    with whole_file(path) as temporary, av.open(str(temporary), "w", options=_muxer_options(path)) as container:
        options = {"crf": str(CRF), "preset": "medium", **_repeatable()}
        stream = container.add_stream("libx264", rate=fps, options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.colorspace = context.color_primaries = context.color_trc = BT709
        voice = _Voice(container, sound) if sound is not None else None
        for index, picture in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709")
            frame.pts, frame.time_base = index, 1 / fps
            container.mux(stream.encode(frame))
            if voice is not None:
                voice.write_until(float((index + 1) / fps))  # sound and pictures go in side by side
        container.mux(stream.encode(None))
        if voice is not None:
            voice.close()
    return sound is not None, problem


def _repeatable() -> dict[str, str]:
    """Same frames, same file. With its AVX-512 code x264 gave two to six different files out of 150 of the same frames
    (one thread or many); with AVX2 code, always the same one."""
    x86 = platform.machine().lower() in ("x86_64", "amd64")
    return {"threads": "1", **({"x264-params": "asm=AVX2"} if x86 else {})}


def _muxer_options(path: Path) -> dict[str, str]:
    return {"movflags": "faststart"} if path.suffix.lower() in (".mp4", ".mov") else {}


class Sound:
    """Samples float32 [channels, n] at ``rate`` per second, with PyAV's name of the channel layout."""

    def __init__(self, samples: np.ndarray, rate: int, layout: str) -> None:
        self.samples, self.rate, self.layout = samples, rate, layout


def read_audio(path: Path, begin: float, end: float) -> Sound | None:
    """The first audio stream from ``begin`` to ``end`` (seconds), silence where it has none; None without a stream."""
    with av.open(str(path)) as container:
        if not container.streams.audio:
            return None
        stream = container.streams.audio[0]
        rate = stream.codec_context.sample_rate
        layout = stream.codec_context.layout.name
        resampler = av.AudioResampler(format="fltp", layout=layout, rate=rate)
        total = max(1, round((end - begin) * rate))
        samples = np.zeros((len(stream.codec_context.layout.channels), total), dtype=np.float32)
        position = None
        for decoded in container.decode(stream):
            stated = None if decoded.time is None else round((decoded.time - begin) * rate)
            if position is None or (stated is not None and abs(stated - position) > DRIFT * rate):
                position = stated or 0
            if position >= total:
                break
            for frame in resampler.resample(decoded):
                piece = frame.to_ndarray()
                first, last = max(position, 0), min(position + piece.shape[1], total)
                if last > first:
                    samples[:, first:last] = piece[:, first - position : last - position]
                position += piece.shape[1]
    if rate not in AAC_RATES:
        samples, rate = _resampled(samples, rate, layout, 48000), 48000
    return Sound(samples, rate, layout)


def _resampled(samples: np.ndarray, rate: int, layout: str, target: int) -> np.ndarray:
    resampler = av.AudioResampler(format="fltp", layout=layout, rate=target)
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="fltp", layout=layout)
    frame.sample_rate = rate
    pieces = [piece.to_ndarray() for piece in [*resampler.resample(frame), *resampler.resample(None)]]
    return np.concatenate(pieces, axis=1)


class _Voice:
    """The audio half of a file being written."""

    def __init__(self, container: Any, sound: Sound) -> None:
        self.container, self.sound, self.sent = container, sound, 0
        self.stream = container.add_stream("aac", rate=sound.rate, layout=sound.layout)
        self.stream.bit_rate = 192_000

    def write_until(self, time: float) -> None:
        """Send samples up to ``time`` seconds, in blocks of 1024 (AAC's frame), the last of them shorter."""
        total = self.sound.samples.shape[1]
        while self.sent < min(round(time * self.sound.rate), total):
            block = np.ascontiguousarray(self.sound.samples[:, self.sent : self.sent + 1024])
            frame = av.AudioFrame.from_ndarray(block, format="fltp", layout=self.sound.layout)
            frame.sample_rate, frame.pts = self.sound.rate, self.sent
            frame.time_base = Fraction(1, self.sound.rate)
            self.container.mux(self.stream.encode(frame))
            self.sent += block.shape[1]

    def close(self) -> None:
        self.write_until(self.sound.samples.shape[1] / self.sound.rate)
        self.container.mux(self.stream.encode(None))


CRF = 14  # x264's quality: visually lossless; figures are taken before encoding in any case


BT709 = 1  # the number of BT.709 in the colour tags (ITU-T H.273)


SUFFIXES = (".mp4", ".mov", ".mkv")


@dataclass(frozen=True)
class Written:
    """A video that was written. size: (width, height) in the file; notes: whatever was done to frames or sound."""

    path: Path
    frames: int
    size: tuple[int, int]
    fps: Fraction
    audio: bool
    notes: tuple[str, ...] = ()


def even(frames: np.ndarray) -> np.ndarray:
    """Frames [F, H, W, 3] with even sides: an odd one has its last row or column repeated."""
    down, across = frames.shape[1] % 2, frames.shape[2] % 2
    return np.pad(frames, ((0, 0), (0, down), (0, across), (0, 0)), mode="edge") if down or across else frames


def write_video(path: str | Path, frames: np.ndarray, fps: Fraction | float, audio_from: Clip | None = None) -> Written:
    """Write h264 (yuv420p, crf 14) and, where ``audio_from`` has sound, its span of it as AAC. Atomic.

    frames: uint8 [F, H, W, 3]; fps: frames per second; path: .mp4, .mov or .mkv. The same frames give the same file.
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
    notes = []
    height, width = frames.shape[1:3]
    if height % 2 or width % 2:
        notes.append(f"{width} x {height} is odd: the last row or column is repeated once, as yuv420p needs even sides")
    audio, problem = encode(path, even(frames), Fraction(fps).limit_denominator(100_000), audio_from)
    if problem:
        notes.append(problem)
    for note in notes:
        log.warning("%s: %s", path, note)
    size = (width + width % 2, height + height % 2)
    return Written(path, len(frames), size, Fraction(fps), audio, tuple(notes))
