"""Sound as files have it: any codec, rate, layout; what AAC cannot take is changed by a rule that the notes name."""

from fractions import Fraction

import av
import numpy as np
import pytest

from videograin.runner.media.encode import write_video
from videograin.runner.media.sound import AAC_RATES, read_audio
from videograin.runner.media.video import read_clip

PICTURES = [np.full((48, 64, 3), 40 * index, np.uint8) for index in range(5)]


def make(path, codec, layout, rate=48000, form="s16", tracks=1, seconds=0.5):
    """A video of half a second whose channel k is a tone of 200 (k + 1) Hz."""
    channels = av.AudioLayout(layout).nb_channels
    time = np.arange(round(rate * seconds)) / rate
    wave = 0.3 * np.sin(2 * np.pi * 200 * np.arange(1, channels + 1) * time[:, None]).astype(np.float32)
    samples = {
        "u8": lambda: np.round(wave * 127 + 128).astype(np.uint8),
        "s16": lambda: (wave * 32767).astype(np.int16),
        "s32": lambda: (wave * (2**31 - 1)).astype(np.int32),
        "flt": lambda: wave,
        "dbl": lambda: wave.astype(np.float64),
    }[form]()
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=10)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        sounds = [container.add_stream(codec, rate=rate, layout=layout) for _ in range(tracks)]
        for picture in PICTURES:
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(video.encode(None))
        for sound in sounds:
            for first in range(0, len(samples), 960):
                block = np.ascontiguousarray(samples[first : first + 960].reshape(1, -1))
                frame = av.AudioFrame.from_ndarray(block, format=form, layout=layout)
                frame.sample_rate, frame.pts, frame.time_base = rate, first, Fraction(1, rate)
                container.mux(sound.encode(frame))
            container.mux(sound.encode(None))
    return path


def tones(path):
    """The strongest tone of every channel in Hz, and the name of the layout."""
    sound = read_audio(path, 0, 0.5)
    spectrum = np.abs(np.fft.rfft(sound.samples[:, : round(0.5 * sound.rate)]))
    return [round(int(line.argmax()) * 2, -1) for line in spectrum], sound.layout


def edited(folder, name):
    """What an edit of the file has: (result, its notes)."""
    clip = read_clip(folder / name)
    written = write_video(folder / "out.mp4", clip.frames, clip.fps, audio_from=clip)
    return folder / "out.mp4", written


@pytest.mark.parametrize(
    ("name", "codec", "layout", "form"),
    [
        ("a.avi", "pcm_s16le", "stereo", "s16"),
        ("a.mkv", "pcm_s16le", "mono", "s16"),
        ("a.mov", "pcm_s24le", "stereo", "s32"),
        ("a.avi", "pcm_u8", "mono", "u8"),
        ("a.mkv", "pcm_f64le", "stereo", "dbl"),
        ("a.mkv", "flac", "5.1", "s16"),
        ("a.mkv", "libopus", "stereo", "flt"),
        ("a.mkv", "ac3", "5.1(side)", "flt"),
        ("a.mkv", "pcm_s16le", "5.1", "s16"),
        ("a.mp4", "aac", "quad", "flt"),
        ("a.avi", "libmp3lame", "stereo", "flt"),
    ],
)
def test_every_channel_comes_through(tmp_path, name, codec, layout, form):
    if codec not in av.codecs_available:
        pytest.skip(f"this PyAV has no {codec}")
    make(tmp_path / name, codec, layout, form=form)
    result, written = edited(tmp_path, name)
    assert (written.audio, written.notes) == (True, ())
    channels = av.AudioLayout(layout).nb_channels
    expected = [200 * (index + 1) for index in range(channels)]
    found, named = tones(result)
    # ac3 and AAC cut the channel for low tones; the others carry theirs
    low = 3 if channels == 6 else None
    assert [tone for index, tone in enumerate(found) if index != low] == [
        tone for index, tone in enumerate(expected) if index != low
    ]
    assert named == layout.removesuffix("(side)")


@pytest.mark.parametrize(
    ("name", "codec", "layout"),
    [
        ("a.mov", "pcm_s16le", "7.1"),
        ("a.mkv", "pcm_s16le", "7.1"),
        ("a.mkv", "flac", "7.1"),
        ("a.mov", "pcm_s16le", "hexadecagonal"),
        ("a.mkv", "pcm_s16le", "hexadecagonal"),
        ("a.mov", "pcm_s16le", "22.2"),
        ("a.mkv", "flac", "6.1"),
    ],
)
def test_layouts_that_aac_lacks_are_mixed_down_and_said(tmp_path, name, codec, layout):
    make(tmp_path / name, codec, layout)
    result, written = edited(tmp_path, name)
    assert written.audio
    assert f"its sound has {av.AudioLayout(layout).nb_channels} channels" in written.notes[0]
    assert written.notes[0].endswith("mixed down to stereo")
    sound = read_audio(result, 0, 0.5)
    assert sound.layout == "stereo"
    assert np.abs(sound.samples).max(axis=1).min() > 0.05


def test_a_rate_that_aac_lacks_is_said(tmp_path):
    make(tmp_path / "a.mkv", "pcm_s16le", "stereo", rate=18000)
    result, written = edited(tmp_path, "a.mkv")
    assert written.notes[0].endswith("its sound has 18000 samples per second: resampled to 48000")
    assert tones(result)[0] == [200, 400]


@pytest.mark.parametrize("rate", AAC_RATES)
def test_rates_that_aac_has_are_kept(tmp_path, rate):
    make(tmp_path / "a.mkv", "pcm_s16le", "mono", rate=rate)
    result, written = edited(tmp_path, "a.mkv")
    assert written.notes == ()
    assert read_audio(result, 0, 0.5).rate == rate


def test_the_track_that_the_file_marks_as_its_default_is_taken(tmp_path):
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        video = container.add_stream("libx264", rate=10)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        sounds = [container.add_stream("pcm_s16le", rate=48000, layout="mono") for _ in range(3)]
        for sound, disposition in zip(sounds, (0, 1, 0)):
            sound.disposition = disposition
        for picture in PICTURES:
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(video.encode(None))
        for number, sound in enumerate(sounds, 1):
            wave = np.full((1, 24000), 1000 * number, np.int16)
            frame = av.AudioFrame.from_ndarray(wave, format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 48000, 0, Fraction(1, 48000)
            container.mux([*sound.encode(frame), *sound.encode(None)])
    found = read_audio(tmp_path / "a.mkv", 0, 0.5)
    assert np.abs(found.samples - 2000 / 32768).max() < 1e-4


def test_the_sound_lasts_as_long_as_the_pictures(tmp_path):
    make(tmp_path / "a.mkv", "pcm_s16le", "mono")
    result, _ = edited(tmp_path, "a.mkv")
    with av.open(str(result)) as container:
        sent = sum(packet.duration * packet.time_base for packet in container.demux(audio=0) if packet.size)
    assert float(sent) == pytest.approx(0.5, abs=0.03)


def with_unknown_codec(path):
    """Make the first audio track one that no decoder knows."""
    held = path.read_bytes()
    at = held.index(b"mp4a", held.index(b"stsd", held.index(b"soun")))
    details = held.index(b"esds", at)
    path.write_bytes(held[:at] + b"zzzz" + held[at + 4 : details] + b"yyyy" + held[details + 4 :])


def test_sound_that_nobody_can_decode_does_not_cost_the_picture(tmp_path):
    with_unknown_codec(make(tmp_path / "a.mp4", "aac", "stereo", form="flt"))
    _, written = edited(tmp_path, "a.mp4")
    assert not written.audio
    assert "could not be read (FFmpeg has no decoder for it): the video is silent" in written.notes[0]


def test_the_track_that_can_be_decoded_is_taken(tmp_path):
    with_unknown_codec(make(tmp_path / "a.mp4", "aac", "stereo", form="flt", tracks=2))
    result, written = edited(tmp_path, "a.mp4")
    assert written.audio
    assert written.notes[0].endswith("1 of its audio streams cannot be decoded: the sound is stream 2")
    assert tones(result)[0] == [200, 400]


def test_damaged_sound_is_used_as_far_as_it_is_whole(tmp_path):
    make(tmp_path / "a.mkv", "flac", "stereo", seconds=3)
    held = bytearray((tmp_path / "a.mkv").read_bytes())
    with av.open(str(tmp_path / "a.mkv")) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(audio=0) if packet.size]
    position, size = packets[3]
    held[position + 20 : position + size - 20] = bytes(size - 40)
    (tmp_path / "a.mkv").write_bytes(held)
    result, written = edited(tmp_path, "a.mkv")
    assert written.audio
    assert "its sound is damaged" in written.notes[0]
    assert tones(result)[0] == [200, 400]


def test_sound_that_would_fill_the_memory_is_refused(tmp_path):
    make(tmp_path / "a.mkv", "flac", "stereo")
    with pytest.raises(ValueError, match=r"13\.9 hours of it take more than 8 GiB of memory"):
        read_audio(tmp_path / "a.mkv", 0, 50_000)
