"""When the frames of videos are shown, and the sound with them, in what is read and written."""

from fractions import Fraction

import av
import numpy as np
import pytest

from videograin.runner.media import video
from videograin.runner.media.container import decoded
from videograin.runner.media.encode import write_video
from videograin.runner.media.sound import read_audio
from videograin.runner.media.video import read_clip

from .video_files import greys, make, numbers


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4"])
def test_a_rate_that_varies_keeps_its_time_stamps(tmp_path, name):
    times = [0.0, 0.1, 0.2, 0.5, 0.6, 1.0, 1.033]
    make(tmp_path / name, greys(7), fps=30, times=times)
    clip = read_clip(tmp_path / name)
    assert clip.times[:-1] == pytest.approx(times, abs=0.002)
    assert "frame rate varies" in clip.notes[0]
    part = read_clip(tmp_path / name, start=1, count=3, stride=2)
    assert numbers(part) == [1, 3, 5]
    assert part.times == pytest.approx([0, 0.4, 0.9, clip.times[-1] - 0.1], abs=0.002)  # until the end of the file
    assert read_clip(tmp_path / name, start=1, count=2, stride=2).times == pytest.approx([0, 0.4, 0.9], abs=0.002)
    for ending in ("mp4", "mov", "mkv"):
        write_video(tmp_path / f"out.{ending}", clip.frames, clip.fps, times=clip.times)
        back = read_clip(tmp_path / f"out.{ending}")
        assert back.times == pytest.approx(clip.times, abs=0.002)
        assert numbers(back) == numbers(clip)


def test_a_rate_that_the_file_tells_wrongly_gives_way_to_the_time_stamps(tmp_path):
    make(tmp_path / "a.mkv", greys(12), fps=24, times=[index / 12 for index in range(12)])
    clip = read_clip(tmp_path / "a.mkv")
    assert float(clip.fps) == pytest.approx(12, abs=0.01)
    assert clip.times is None
    assert clip.span[1] == pytest.approx(1, abs=1 / 12)


def test_jitter_is_a_constant_rate(tmp_path):
    moved = np.random.default_rng(0).uniform(-0.004, 0.004, 30)
    make(tmp_path / "a.mkv", greys(30, 16, 16), fps=30, times=np.maximum(np.arange(30) / 30 + moved, 0).tolist())
    clip = read_clip(tmp_path / "a.mkv")
    assert clip.times is None
    assert clip.span[1] - clip.span[0] == pytest.approx(1, abs=1 / 30)


def test_sound_stays_in_step_where_the_rate_varies(tmp_path):
    times, end = [0.0, 0.1, 0.6, 0.7, 1.4, 1.5], 1.6
    wave = np.zeros((1, 48000 * 2), np.float32)
    wave[0, 48000 * 6 // 10 : 48000 * 7 // 10] = 0.5  # a click while frame 2 is shown
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        video = container.add_stream("libx264", rate=10)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        video.codec_context.time_base = Fraction(1, 1000)
        sound = container.add_stream("pcm_s16le", rate=48000, layout="mono")
        for picture, time in zip(greys(6), times):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = round(time * 1000), Fraction(1, 1000)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        frame = av.AudioFrame.from_ndarray((wave * 32767).astype(np.int16), format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 48000, 0, Fraction(1, 48000)
        container.mux([*sound.encode(frame), *sound.encode(None)])
    clip = read_clip(tmp_path / "a.mkv", start=1)
    write_video(tmp_path / "out.mp4", clip.frames, clip.fps, audio_from=clip, times=clip.times)
    back = read_clip(tmp_path / "out.mp4")
    loud = np.abs(read_audio(tmp_path / "out.mp4", 0, back.span[1]).samples[0]) > 0.2
    assert np.flatnonzero(loud)[[0, -1]] / 48000 == pytest.approx([back.times[1], back.times[2]], abs=0.02)
    assert back.span[1] == pytest.approx(end - 0.1, abs=0.1)


def test_frames_with_ticks_but_no_time_base_are_frames_without_times(tmp_path, monkeypatch):
    """As a decoder gives them for some damaged files."""
    make(tmp_path / "a.ts", greys(5), fps=10)
    known = decoded

    def without_base(*of):
        for frame in known(*of):
            bare = av.VideoFrame.from_ndarray(frame.to_ndarray(format="rgb24"), format="rgb24")
            bare.pts = frame.pts
            assert bare.time_base is None
            yield bare

    monkeypatch.setattr(video, "decoded", without_base)
    monkeypatch.setattr(video, "_packets", lambda path: ([None] * 5, 0.0, False, False))
    clip = read_clip(tmp_path / "a.ts")
    assert len(clip.frames) == 5
    assert clip.times is None


def test_frames_that_come_at_one_time_follow_each_other(tmp_path):
    write_video(tmp_path / "a.mp4", np.stack(greys(5)), Fraction(10), times=[0.0, 0.0, 0.0, 0.1, 0.3, 0.4])
    with av.open(str(tmp_path / "a.mp4")) as container:
        stamps = [frame.pts * frame.time_base for frame in container.decode(video=0)]
    assert [round(stamp * 90_000) for stamp in stamps] == [0, 1, 2, 9000, 27000]


def test_a_video_that_begins_late_is_not_taken_for_cut_off(tmp_path):
    make(tmp_path / "a.mkv", greys(5), times=[2.0, 2.1, 2.2, 2.3, 2.4])
    clip = read_clip(tmp_path / "a.mkv")
    assert clip.notes == ()
    assert clip.span == pytest.approx((2.0, 2.5))
