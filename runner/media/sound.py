"""The sound of a video file: the span of it that belongs to a clip, in a form that AAC takes, and how it is written."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from .container import DEFAULT, Damage, open_input, packet_frames

AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)
AAC_LAYOUTS = ("mono", "stereo", "2.1", "3.0", "4.0", "quad", "5.0", "5.1")  # those that come back as they went in
RENAMED = {"5.0(side)": "5.0", "5.1(side)": "5.1"}  # the same speakers for every player
BY_NUMBER = {1: "mono", 2: "stereo", 3: "2.1", 4: "4.0", 5: "5.0", 6: "5.1"}  # where a file names none, as FFmpeg does
MAX_BYTES = 2**33  # of a clip's samples in memory
DRIFT = 0.02  # seconds by which audio timestamps may stray before a gap or overlap is believed


@dataclass(frozen=True)
class Sound:
    """Samples float32 [channels, n] at ``rate`` per second, with PyAV's name of the channel layout; notes: what was
    done to them."""

    samples: np.ndarray
    rate: int
    layout: str
    notes: tuple[str, ...] = ()


def read_audio(path: str | Path, begin: float, end: float) -> Sound | None:
    """The sound from ``begin`` to ``end`` (seconds), silence where it has none; None without an audio stream.

    Of several streams that can be decoded, the first that the file marks as its default one, else the first. Rates
    that AAC lacks become 48000 per second, layouts that it lacks stereo. ValueError where nothing can be decoded.
    """
    with open_input(path) as container:
        if not container.streams.audio:
            return None
        streams = [stream for stream in container.streams.audio if stream.codec_context is not None]
        if not streams:
            raise ValueError("FFmpeg has no decoder for it")
        stream = next((one for one in streams if int(one.disposition.value) & DEFAULT), streams[0])
        damage = Damage()
        reader = _Reader(begin, end)
        for frame in packet_frames(container, stream, damage):
            if not reader.add(frame):
                break
        lost, index = len(container.streams.audio) - len(streams), stream.index  # gone once it is closed
    if reader.samples is None:
        if damage.errors:
            raise ValueError(damage.first)
        return None
    notes = list(reader.notes)
    if lost:
        notes.append(f"{lost} of its audio streams cannot be decoded: the sound is stream {index}")
    if damage.errors:
        notes.append(f"its sound is damaged ({damage.errors} errors, the first: {damage.first}): what is whole is used")
    return Sound(reader.samples, reader.rate, reader.layout, tuple(notes))


class _Reader:
    """Puts decoded audio frames where their time stamps say."""

    def __init__(self, begin: float, end: float) -> None:
        self.begin, self.seconds = begin, end - begin
        self.samples: np.ndarray | None = None
        self.rate, self.layout, self.position = 0, "", None
        self.notes: list[str] = []

    def add(self, frame: Any) -> bool:
        """Take a frame; False where it begins behind the end."""
        if self.samples is None:
            self._set_up(frame)
        stated = None if frame.time is None else round((frame.time - self.begin) * self.rate)
        if self.position is None or (stated is not None and abs(stated - self.position) > DRIFT * self.rate):
            self.position = stated or 0
        if self.position >= self.samples.shape[1]:
            return False
        for piece in self._resampled(frame):
            first, last = max(self.position, 0), min(self.position + piece.shape[1], self.samples.shape[1])
            if last > first:
                self.samples[:, first:last] = piece[:, first - self.position : last - self.position]
            self.position += piece.shape[1]
        return True

    def _set_up(self, frame: Any) -> None:
        name, channels = frame.layout.name, frame.layout.nb_channels
        layout = name if name in AAC_LAYOUTS else RENAMED.get(name)
        if layout is None and name == f"{channels} channels":
            layout = BY_NUMBER.get(channels)
        if layout is None:
            layout = "stereo"
            self.notes.append(f"its sound has {channels} channels ({name}): mixed down to stereo")
        self.layout, self.rate = layout, frame.sample_rate
        if self.rate not in AAC_RATES:
            self.notes.append(f"its sound has {self.rate} samples per second: resampled to 48000")
            self.rate = 48000
        shape = av.AudioLayout(layout).nb_channels, max(1, round(self.seconds * self.rate))
        if 4 * shape[0] * shape[1] > MAX_BYTES:
            raise ValueError(f"{self.seconds / 3600:.1f} hours of it take more than {MAX_BYTES // 2**30} GiB of memory")
        self.samples = np.zeros(shape, np.float32)
        self.resampler = self._new_resampler()

    def _new_resampler(self) -> Any:
        # Interleaved samples: PyAV handles no more than eight planes, and libswresample's output with more crashed.
        return av.AudioResampler(format="flt", layout=self.layout, rate=self.rate)

    def _resampled(self, frame: Any) -> list[np.ndarray]:
        try:
            found = self.resampler.resample(frame)
        except ValueError:  # format, rate or layout changed on the way
            self.resampler = self._new_resampler()
            found = self.resampler.resample(frame)
        channels = len(self.samples)
        return [np.clip(part.to_ndarray().reshape(-1, channels).T, -1, 1) for part in found]


class Voice:
    """The audio half of a file being written: ``sound`` as AAC."""

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
        """Send the rest."""
        self.write_until(self.sound.samples.shape[1] / self.sound.rate)
        self.container.mux(self.stream.encode(None))
