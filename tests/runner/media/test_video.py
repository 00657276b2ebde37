"""Video in and out, on real files made here."""

import math
from fractions import Fraction

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from videograin.editing.fingerprint import frames_digest
from videograin.measuring.metrics.pixels import psnr
from videograin.runner.media import encode as encoding
from videograin.runner.media.encode import even, write_video
from videograin.runner.media.geometry import Geometry, GeometryError
from videograin.runner.media.sound import read_audio
from videograin.runner.media.video import Clip, VideoError, probe, read_clip

RATE = 48000


def write_with_sound(path, frames, fps, tone=440.0, delay=0.0):
    """h264 and a sine tone, `delay` seconds of silence first, written with PyAV alone."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=fps)
        video.height, video.width, video.pix_fmt = *frames.shape[1:3], "yuv420p"
        sound = container.add_stream("aac", rate=RATE, layout="stereo")
        for index, picture in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = index, 1 / Fraction(fps)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        time = np.arange(round(len(frames) / fps * RATE)) / RATE
        wave = (0.5 * np.sin(2 * math.pi * tone * time) * (time >= delay)).astype(np.float32)
        for begin in range(0, len(wave), 1024):
            block = np.stack([wave[begin : begin + 1024]] * 2)
            frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="stereo")
            frame.sample_rate, frame.pts, frame.time_base = RATE, begin, Fraction(1, RATE)
            container.mux(sound.encode(frame))
        container.mux(sound.encode(None))


def numbered(count, height=48, width=64):
    """Frame k is grey 20 + 8 k (k below 30): a frame can be told by its brightness."""
    return np.stack([np.full((height, width, 3), 20 + 8 * (index % 29), np.uint8) for index in range(count)])


def test_round_trip_keeps_frames_rate_and_colours(tmp_path, moving_squares):
    fps = Fraction(30000, 1001)
    written = write_video(tmp_path / "a.mp4", moving_squares, fps)
    assert (written.frames, written.size, written.audio, written.notes) == (6, (96, 64), False, ())
    clip = read_clip(tmp_path / "a.mp4")
    assert clip.frames.shape == moving_squares.shape
    assert clip.frames.dtype == np.uint8
    assert clip.fps == fps
    assert psnr(clip.frames, moving_squares) > 30  # yuv420p smears the edges of saturated squares
    assert np.abs(clip.frames[0, 46:50, 70:74].astype(int) - (38, 84, 224)).max() <= 4  # inside a square: exact hue
    assert clip.digest == frames_digest(clip.frames)


def test_what_is_written_is_plain_h264(tmp_path, moving_squares):
    write_video(tmp_path / "a.mp4", moving_squares, 25)
    with av.open(str(tmp_path / "a.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert stream.average_rate == 25


def test_same_frames_same_file(tmp_path, moving_squares):
    for name in ("a.mp4", "b.mp4"):
        write_video(tmp_path / name, moving_squares, 24)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


@pytest.mark.parametrize(("start", "count", "stride"), [(0, None, 1), (3, 4, 2), (9, 1, 5), (1, 3, 4), (2, None, 3)])
def test_the_right_frames_are_taken(tmp_path, start, count, stride):
    write_video(tmp_path / "n.mp4", numbered(10), 10)
    clip = read_clip(tmp_path / "n.mp4", start, count, stride)
    expected = list(range(start, 10, stride))[:count]
    assert [round((frame.mean() - 20) / 8) for frame in clip.frames] == expected
    assert clip.fps == Fraction(10, stride)
    assert clip.span == pytest.approx((start / 10, start / 10 + len(expected) * stride / 10))
    assert (clip.source_frames, clip.start, clip.stride) == (10, start, stride)


def test_too_few_frames_names_both_numbers(tmp_path):
    write_video(tmp_path / "n.mp4", numbered(10), 10)
    with pytest.raises(VideoError, match=r"has 10 frames, of which 3 lie at start 4, stride 2; expected 5; lower"):
        read_clip(tmp_path / "n.mp4", 4, 5, 2)


def test_files_that_are_no_video(tmp_path):
    with pytest.raises(VideoError, match="no such file; expected a video"):
        probe(tmp_path / "gone.mp4")
    (tmp_path / "text.mp4").write_text("hello")
    with pytest.raises(VideoError, match="not a video"):
        probe(tmp_path / "text.mp4")


def test_probe(tmp_path, moving_squares):
    write_with_sound(tmp_path / "s.mp4", moving_squares, 12)
    info = probe(tmp_path / "s.mp4")
    assert (info.width, info.height, info.frames, info.fps, info.has_audio) == (96, 64, 6, 12, True)


def test_sound_is_kept_and_trimmed_to_the_frames(tmp_path):
    write_with_sound(tmp_path / "s.mp4", numbered(40), 20, delay=1.0)  # two seconds, silent in the first
    clip = read_clip(tmp_path / "s.mp4", start=10, count=10, stride=2)  # 0.5 s to 1.5 s
    assert clip.has_audio
    assert write_video(tmp_path / "out.mp4", clip.frames, clip.fps, audio_from=clip).audio
    with av.open(str(tmp_path / "out.mp4")) as container:
        stream = container.streams.audio[0]
        assert stream.codec_context.name == "aac"
        assert float(stream.duration * stream.time_base) == pytest.approx(1.0, abs=0.03)  # AAC frames last 21 ms
    sound = read_audio(tmp_path / "out.mp4", 0.0, 1.0)
    loud = np.abs(sound.samples[0]).reshape(10, -1).max(axis=1)  # tenths of a second
    assert loud[:4].max() < 0.02
    assert loud[6:9].min() > 0.4
    spectrum = np.abs(np.fft.rfft(sound.samples[0, 28800:43200]))  # 0.3 s: bins of 3.33 Hz
    assert spectrum.argmax() / 0.3 == pytest.approx(440, abs=4)


def test_a_rate_that_aac_lacks_is_resampled(tmp_path):
    samples = (0.5 * np.sin(2 * math.pi * 440 * np.arange(18000) / 18000)).astype(np.float32)
    with av.open(str(tmp_path / "odd.mkv"), "w") as container:
        video = container.add_stream("libx264", rate=10)
        video.height, video.width, video.pix_fmt = 32, 32, "yuv420p"
        sound = container.add_stream("pcm_s16le", rate=18000, layout="mono")
        for index in range(10):
            frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 10)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        frame = av.AudioFrame.from_ndarray((samples * 32767).astype(np.int16)[None], format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 18000, 0, Fraction(1, 18000)
        container.mux([*sound.encode(frame), *sound.encode(None)])
    sound = read_audio(tmp_path / "odd.mkv", 0.0, 1.0)
    assert sound.rate == 48000
    assert sound.samples.shape[1] == pytest.approx(48000, abs=100)
    assert np.abs(np.fft.rfft(sound.samples[0])).argmax() == pytest.approx(440, abs=3)


def test_lost_sound_is_said_not_fatal(tmp_path, moving_squares, caplog):
    clip = Clip(moving_squares, Fraction(10), path=tmp_path / "gone.mp4", has_audio=True)
    written = write_video(tmp_path / "a.mp4", moving_squares, 10, audio_from=clip)
    assert not written.audio
    assert "the video is silent" in written.notes[0]
    assert "the video is silent" in caplog.text


def test_odd_sizes_repeat_the_last_row_and_column_and_say_so(tmp_path, caplog):
    frames = np.random.default_rng(0).integers(0, 255, (2, 33, 47, 3), np.uint8)
    grown = even(frames)
    assert grown.shape == (2, 34, 48, 3)
    assert (grown[:, :33, :47] == frames).all()
    assert (grown[:, 33, :47] == frames[:, 32]).all()
    written = write_video(tmp_path / "odd.mp4", frames, 10)
    assert written.size == (48, 34)
    assert "47 x 33 is odd" in written.notes[0]
    assert "47 x 33 is odd" in caplog.text
    assert probe(tmp_path / "odd.mp4").width == 48
    assert read_clip(tmp_path / "odd.mp4", size=(40, 32)).frames.shape == (2, 32, 40, 3)


@pytest.mark.parametrize("turn", [90, -90, 180])
def test_rotation_metadata_is_applied(tmp_path, turn):
    upright = np.zeros((2, 32, 64, 3), np.uint8)
    upright[:, :16, :16] = 255  # a white corner, top left as shown
    stored = np.rot90(upright, -turn // 90, axes=(1, 2))
    with av.open(str(tmp_path / "r.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.height, stream.width, stream.pix_fmt = *stored.shape[1:3], "yuv420p"
        if not hasattr(stream, "set_display_rotation"):
            pytest.skip("this PyAV cannot write rotation metadata")
        stream.set_display_rotation(turn)
        for index, picture in enumerate(stored):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with av.open(str(tmp_path / "r.mp4")) as container:
        stated = next(container.decode(video=0)).rotation
    clip = read_clip(tmp_path / "r.mp4")
    # FFmpeg's own number (degrees anticlockwise) decides; only its sign convention on writing is PyAV's business.
    expected = np.rot90(stored, round(stated / 90), axes=(1, 2))
    assert clip.frames.shape == expected.shape
    assert np.abs(clip.frames.astype(int) - expected).mean() < 6
    assert stated % 180 == turn % 180


def test_alpha_is_dropped_and_said(tmp_path, caplog):
    with av.open(str(tmp_path / "a.mov"), "w") as container:
        stream = container.add_stream("png", rate=10)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "rgba"
        frame = av.VideoFrame.from_ndarray(np.full((32, 32, 4), (200, 100, 50, 128), np.uint8), format="rgba")
        frame.pts, frame.time_base = 0, Fraction(1, 10)
        container.mux([*stream.encode(frame), *stream.encode(None)])
    clip = read_clip(tmp_path / "a.mov")
    assert clip.frames[0, 5, 5].tolist() == [200, 100, 50]
    assert clip.notes == ("the video has an alpha channel: dropped",)
    assert "alpha channel" in caplog.text


@pytest.mark.parametrize("stop", [RuntimeError, KeyboardInterrupt])
def test_nothing_half_written_stays(tmp_path, moving_squares, monkeypatch, stop):
    write_video(tmp_path / "a.mp4", moving_squares, 10)
    before = (tmp_path / "a.mp4").read_bytes()
    real, calls = av.VideoFrame.from_ndarray, []

    class Interrupting:
        @staticmethod
        def from_ndarray(*args, **options):
            calls.append(1)
            if len(calls) == 3:
                raise stop
            return real(*args, **options)

    monkeypatch.setattr(encoding.av, "VideoFrame", Interrupting)
    with pytest.raises(stop):
        write_video(tmp_path / "a.mp4", moving_squares, 10)
    monkeypatch.undo()
    assert [file.name for file in tmp_path.iterdir()] == ["a.mp4"]
    assert (tmp_path / "a.mp4").read_bytes() == before


def test_writing_refuses_what_it_cannot_write(tmp_path, moving_squares):
    with pytest.raises(VideoError, match=r"cannot write '.avi'; expected .mp4"):
        write_video(tmp_path / "a.avi", moving_squares, 10)
    with pytest.raises(VideoError, match=r"float64 \[6, 64, 96, 3\]; expected uint8"):
        write_video(tmp_path / "a.mp4", moving_squares / 255.0, 10)
    with pytest.raises(VideoError, match="at least one frame"):
        write_video(tmp_path / "a.mp4", moving_squares[:0], 10)


sides = st.integers(1, 60).map(lambda side: 8 * side)


@given(st.integers(8, 2000), st.integers(8, 2000), sides, sides)
def test_crop_keeps_the_largest_centred_part_of_the_right_shape(width, height, across, down):
    geometry = Geometry.plan((width, height), (across, down))
    x0, y0, x1, y1 = geometry.box
    assert 0 <= x0 < x1 <= width
    assert 0 <= y0 < y1 <= height
    assert x1 - x0 == width or y1 - y0 == height
    assert abs(x0 - (width - x1)) <= 1
    assert abs(y0 - (height - y1)) <= 1
    # right shape to within half a pixel of rounding (and never less than a pixel)
    exact = (x1 - x0) * down / across if y1 - y0 < height else (y1 - y0) * across / down
    got = y1 - y0 if y1 - y0 < height else x1 - x0
    assert abs(got - exact) <= 0.5 + 1e-6 or got == 1


def test_stretch_keeps_everything_and_no_size_crops_to_eights():
    assert Geometry.plan((100, 50), (64, 64), "stretch").box == (0, 0, 100, 50)
    assert Geometry.plan((101, 59)).target == (96, 56)
    assert Geometry.plan((101, 59)).box == (2, 1, 98, 57)
    with pytest.raises(GeometryError, match="7 x 50 pixels; expected at least 8 x 8"):
        Geometry.plan((7, 50))
