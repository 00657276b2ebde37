"""Videos as people have them: every kind is made here with PyAV, read, and judged by its pictures and times."""

import io
import struct
from fractions import Fraction
from itertools import product

import av
import numpy as np
import pytest
from PIL import Image

from videograin.runner.media.encode import write_video
from videograin.runner.media.sound import read_audio
from videograin.runner.media.tone import HLG, PQ, pq_value
from videograin.runner.media.video import VideoError, probe, read_clip

COLOUR = (200, 30, 60)
NAMES = {1: "ITU709", 5: "ITU601", 6: "ITU601", 9: 9, None: "ITU601"}


def greys(count, height=48, width=64):
    """Frame k is grey 20 + 8 k."""
    return [np.full((height, width, 3), 20 + 8 * index, np.uint8) for index in range(count)]


def numbers(clip):
    """Which of ``greys`` the frames of a clip are."""
    return [round((frame.mean() - 20) / 8) for frame in clip.frames]


def make(path, frames, codec="libx264", pixels="yuv420p", fps=10, *, times=None, matrix=None, limits=None, **more):
    """A file of these frames. times: seconds; matrix, limits: numbers of colour matrix and range, as tags and in
    truth; more: options (of the codec), container (options), display (matrix), context (attributes), metadata."""
    if codec not in av.codecs_available:
        pytest.skip(f"this PyAV has no {codec}")
    with av.open(f"file:{path}", "w", options=more.get("container", {}), format=more.get("format")) as container:
        container.metadata.update(more.get("metadata", {}))
        stream = container.add_stream(codec, rate=fps, options=more.get("options", {}))
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pixels
        for name, value in {"colorspace": matrix, "color_range": limits, **more.get("context", {})}.items():
            if value is not None:
                setattr(stream.codec_context, name, value)
        if "display" in more:
            stream.set_display_matrix(more["display"])
        clock = Fraction(1, 1000) if times else 1 / Fraction(fps)
        if times:
            stream.codec_context.time_base = clock
        for index, picture in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(
                np.ascontiguousarray(picture), format="rgb24" if picture.dtype == np.uint8 else "rgb48le"
            )
            frame = frame.reformat(format=pixels, dst_colorspace=NAMES.get(matrix, "ITU709"), dst_color_range=limits)
            frame.pts, frame.time_base = round(times[index] * 1000) if times else index, clock
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("name", "codec", "pixels"),
    [
        ("a.mp4", "libx264", "yuv420p"),
        ("a.mov", "prores_ks", "yuv422p10le"),
        ("a.webm", "libvpx-vp9", "yuv420p"),
        ("a.webm", "libvpx", "yuv420p"),
        ("a.mkv", "libsvtav1", "yuv420p"),
        ("a.mp4", "libx265", "yuv420p10le"),
        ("a.mkv", "ffv1", "bgr0"),
        ("a.avi", "mpeg4", "yuv420p"),
        ("a.avi", "libx264", "yuv420p"),
        ("a.avi", "mjpeg", "yuvj420p"),
        ("a.ts", "mpeg2video", "yuv420p"),
        ("a.mov", "qtrle", "rgb24"),
        ("a.gif", "gif", "rgb8"),
        ("a.apng", "apng", "rgb24"),
        ("a.flv", "libx264", "yuv420p"),
        ("a.264", "libx264", "yuv420p"),
    ],
)
def test_containers_and_codecs(tmp_path, name, codec, pixels):
    fps = 25 if codec == "mpeg2video" else 10
    make(tmp_path / name, greys(9), codec, pixels, fps)
    clip = read_clip(tmp_path / name)
    assert clip.fps == fps or name == "a.264"  # a bare stream tells none
    assert len(clip.frames) == probe(tmp_path / name).frames == 9
    wanted = [frame.mean() for frame in greys(9)]
    assert np.abs(clip.frames.mean(axis=(1, 2, 3)) - wanted).max() < (20 if pixels == "rgb8" else 4)
    assert [note for note in clip.notes if "rate" in note or "damaged" in note] == []


@pytest.mark.parametrize("frames", [1, 2])
def test_one_or_two_frames_and_no_duration_in_the_header(tmp_path, frames):
    make(tmp_path / "a.mkv", greys(frames), container={"live": "1"})
    clip = read_clip(tmp_path / "a.mkv")
    assert (numbers(clip), clip.fps, clip.times) == (list(range(frames)), 10, None)


def remuxed(source, target, shift, first=0):
    """The packets from number ``first`` on without encoding, ``shift`` seconds earlier."""
    options = {"avoid_negative_ts": "disabled"}
    with av.open(str(source)) as old, av.open(str(target), "w", options=options) as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        packets = [packet for packet in old.demux(video=0) if packet.size][first:]
        for packet in packets:
            back = round(shift / packet.time_base)
            packet.pts, packet.dts, packet.stream = packet.pts - back, packet.dts - back, stream
            new.mux(packet)


def test_frames_hidden_by_an_edit_list_do_not_count(tmp_path):
    make(tmp_path / "whole.mp4", greys(12), options={"g": "12", "bf": "0"})
    remuxed(tmp_path / "whole.mp4", tmp_path / "a.mp4", 0.4)
    clip = read_clip(tmp_path / "a.mp4", start=1, stride=2)
    assert clip.source_frames == probe(tmp_path / "a.mp4").frames == 8
    assert numbers(clip) == [5, 7, 9, 11]
    assert clip.span == pytest.approx((0.1, 0.9))


def test_frames_that_lean_on_ones_cut_off_do_not_count(tmp_path):
    options = {"g": "6", "bf": "3", "x264-params": "open-gop=1:scenecut=0:b-adapt=0:keyint=6:min-keyint=1"}
    make(tmp_path / "whole.mkv", greys(18), options=options)
    with av.open(str(tmp_path / "whole.mkv")) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    second = [index for index, packet in enumerate(packets) if packet.is_keyframe][1]
    remuxed(tmp_path / "whole.mkv", tmp_path / "a.mkv", 0, second)
    clip = read_clip(tmp_path / "a.mkv")
    assert len(clip.frames) == probe(tmp_path / "a.mkv").frames
    assert numbers(clip) == list(range(18 - len(clip.frames), 18))
    assert len(clip.frames) <= 18 - second


def test_text_in_any_encoding_is_no_reason_to_refuse(tmp_path):
    for name in ("a.mp4", "a.mkv", "a.avi"):
        make(tmp_path / name, greys(3), metadata={"title": "AAAA-AAAA"})
        held = (tmp_path / name).read_bytes()
        assert b"AAAA-AAAA" in held
        (tmp_path / name).write_bytes(held.replace(b"AAAA-AAAA", b"\xe9\xff\x83X-\xfe\xc3\x28\x80"))
        assert numbers(read_clip(tmp_path / name)) == [0, 1, 2]


@pytest.mark.parametrize("name", ["scene:1.mp4", "-i.mp4", "a%03d#?&.mp4", "with 'quote' and ünï.mp4", "http:x.mp4"])
def test_names_with_any_characters(tmp_path, name):
    write_video(tmp_path / name, np.stack(greys(3)), 10)
    assert numbers(read_clip(tmp_path / name)) == [0, 1, 2]


def test_a_picture_beside_the_video_is_not_the_clip(tmp_path):
    for name in ("a.mov", "a.mp4"):
        with av.open(str(tmp_path / name), "w") as container:
            cover = container.add_stream("mjpeg", rate=1)
            cover.width, cover.height, cover.pix_fmt = 96, 96, "yuvj420p"
            video = container.add_stream("libx264", rate=10)
            video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
            white = av.VideoFrame.from_ndarray(np.full((96, 96, 3), 255, np.uint8), format="rgb24")
            container.mux([*cover.encode(white), *cover.encode(None)])
            for picture in greys(5):
                container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(video.encode(None))
        clip = read_clip(tmp_path / name)
        assert (numbers(clip), clip.fps, clip.notes) == ([0, 1, 2, 3, 4], 10, ())


def test_the_cover_of_tagging_tools_is_not_the_clip(tmp_path):
    make(tmp_path / "plain.mp4", greys(5))
    picture = io.BytesIO()
    Image.new("RGB", (96, 96)).save(picture, "JPEG")

    def box(kind, content):
        return struct.pack(">I4s", 8 + len(content), kind) + content

    data = box(b"data", struct.pack(">II", 13, 0) + picture.getvalue())
    handler = box(b"hdlr", bytes(8) + b"mdirappl" + bytes(9))
    tags = box(b"udta", box(b"meta", bytes(4) + handler + box(b"ilst", box(b"covr", data))))
    file = (tmp_path / "plain.mp4").read_bytes()
    at = file.index(b"moov") - 4
    assert file.index(b"mdat") < at  # nothing lies behind that would move
    length, header = struct.unpack(">I", file[at : at + 4])[0], struct.unpack(">I", file[at + 8 : at + 12])[0]
    cut = at + 8 + header
    (tmp_path / "a.mp4").write_bytes(file[:at] + box(b"moov", file[at + 8 : cut] + tags + file[cut : at + length]))
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert container.streams.video[0].codec_context.name == "mjpeg"
    assert numbers(read_clip(tmp_path / "a.mp4")) == [0, 1, 2, 3, 4]


def test_of_two_videos_the_first_is_used_and_said(tmp_path):
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        streams = [container.add_stream("libx264", rate=10) for _ in range(2)]
        for stream in streams:
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for stream, frames in zip(streams, (greys(4), greys(6)[2:])):
            for picture in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode(None))
    clip = read_clip(tmp_path / "a.mkv")
    assert numbers(clip) == [0, 1, 2, 3]
    assert clip.notes == ("the file has 2 videos: stream 0 (h264) is used",)


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


CORNER = np.zeros((32, 64, 3), np.uint8)
CORNER[:16, :16], CORNER[16:, 48:] = 255, 128  # white top left, grey bottom right


@pytest.mark.parametrize(("swap", "x", "y"), list(product([False, True], [1, -1], [1, -1])))
def test_the_display_matrix_turns_and_mirrors(tmp_path, swap, x, y):
    one = 1 << 16
    a, b, c, d = (0, y * one, x * one, 0) if swap else (x * one, 0, 0, y * one)
    if not hasattr(av.video.stream.VideoStream, "set_display_matrix"):
        pytest.skip("this PyAV cannot write display matrices")
    make(tmp_path / "a.mp4", [CORNER] * 2, display=[a, b, 0, c, d, 0, 0, 0, 1 << 30])
    frame = read_clip(tmp_path / "a.mp4").frames[0].astype(int)
    # where the matrix takes every stored pixel, relative to the centre
    down, across = np.mgrid[:32, :64]
    across, down = 2 * across - 63, 2 * down - 31
    right, below = (a * across + c * down) // one, (b * across + d * down) // one
    width, height = (32, 64) if swap else (64, 32)
    expected = np.zeros((height, width, 3), int)
    expected[(below + height - 1) // 2, (right + width - 1) // 2] = CORNER
    assert frame.shape == expected.shape
    assert np.abs(frame - expected).mean() < 6


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_pixels_are_made_square(tmp_path, name):
    make(tmp_path / name, [CORNER] * 2, context={"sample_aspect_ratio": Fraction(4, 3)})
    info = probe(tmp_path / name)
    assert (info.width, info.height) == (85, 32)
    frame = read_clip(tmp_path / name, size=(80, 32), fit="stretch").frames[0]
    assert frame[4:12, 2:16].min() > 200  # the white corner: a quarter of the width
    assert frame[4:12, 24:].max() < 50


@pytest.mark.parametrize(
    ("codec", "pixels", "matrix", "limits"),
    [
        ("libx264", "yuv420p", 1, 1),
        ("libx264", "yuv420p", 1, 2),
        ("libx264", "yuv420p", 6, 1),
        ("libx264", "yuv444p", 6, 2),
        ("libx264", "yuv420p", 9, 1),
        ("libx264", "yuv422p10le", 1, 1),
        ("libx265", "yuv444p10le", 9, 2),
        ("libvpx-vp9", "yuv420p", 5, 1),
        ("prores_ks", "yuv444p10le", 1, 1),
    ],
)
def test_matrix_and_range_are_those_of_the_tags(tmp_path, codec, pixels, matrix, limits):
    path = tmp_path / ("a.mov" if codec == "prores_ks" else "a.mkv")
    make(path, [np.full((48, 64, 3), COLOUR, np.uint8)] * 2, codec, pixels, matrix=matrix, limits=limits)
    clip = read_clip(path)
    assert np.abs(clip.frames[0, 24, 32].astype(int) - COLOUR).max() <= 5
    assert clip.notes == ()


@pytest.mark.parametrize(("size", "matrix"), [((640, 480), "ITU601"), ((1280, 720), "ITU709"), ((608, 1080), "ITU709")])
def test_without_tags_the_size_tells_the_matrix(tmp_path, size, matrix):
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        frame = av.VideoFrame.from_ndarray(np.full((size[1], size[0], 3), COLOUR, np.uint8), format="rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace=matrix)
        frame.colorspace = 2
        container.mux([*stream.encode(frame), *stream.encode(None)])
    assert np.abs(read_clip(tmp_path / "a.mp4").frames[0, 24, 32].astype(int) - COLOUR).max() <= 5


def test_what_is_written_is_tagged_as_what_it_is(tmp_path):
    write_video(tmp_path / "a.mp4", np.full((2, 48, 64, 3), COLOUR, np.uint8), 10)
    with av.open(str(tmp_path / "a.mp4")) as container:
        frame = next(container.decode(video=0))
    assert (frame.colorspace, frame.color_range, frame.color_trc, frame.color_primaries) == (1, 1, 1, 1)
    assert np.abs(read_clip(tmp_path / "a.mp4").frames[0, 24, 32].astype(int) - COLOUR).max() <= 4


def test_hdr_is_tone_mapped_and_said(tmp_path):
    steps = np.array([0.0, 1, 10, 50, 100, 203, 500, 1000])
    picture = np.repeat(np.round(pq_value(steps) * 65535).astype(np.uint16), 16)[None, :, None]
    picture = np.broadcast_to(picture, (32, 128, 3))
    tags = {"color_trc": PQ, "color_primaries": 9}
    make(tmp_path / "a.mkv", [picture] * 2, pixels="yuv420p10le", matrix=9, limits=1, context=tags)
    clip = read_clip(tmp_path / "a.mkv")
    shown = clip.frames[0, 16, 8::16].astype(float)
    assert clip.notes == ("the video is HDR (PQ): tone-mapped to SDR (BT.709)",)
    assert np.ptp(shown, axis=1).max() <= 3  # grey stays grey
    assert (np.diff(shown[:, 1]) >= 1).all()  # every step can be told from the next
    assert shown[3, 1] == pytest.approx(255 * (50 / 203) ** (1 / 2.4), abs=3)  # as bright as it was, below the knee
    assert shown[-1, 1] >= 250


def test_hlg_is_tone_mapped_and_said(tmp_path):
    values = np.repeat(np.array([0, 16384, 32768, 49151, 65535], np.uint16), 16)[None, :, None]
    tags = {"color_trc": HLG, "color_primaries": 9}
    picture = np.broadcast_to(values, (32, 80, 3))
    make(tmp_path / "a.mkv", [picture] * 2, pixels="yuv420p10le", matrix=9, limits=1, context=tags)
    clip = read_clip(tmp_path / "a.mkv")
    shown = clip.frames[0, 16, 8::16, 1].astype(float)
    assert clip.notes == ("the video is HDR (HLG): tone-mapped to SDR (BT.709)",)
    assert (np.diff(shown) > 10).all()
    # 75 % HLG is 203 cd/m2 on a display of 1000: SDR's white, of which BT.2390 leaves room for what is brighter
    assert 190 < shown[3] < 240
    assert shown[4] >= 250


def test_a_wide_gamut_is_brought_to_the_usual_one(tmp_path):
    grey, red = np.full((32, 64, 3), 128, np.uint8), np.full((32, 64, 3), (200, 60, 60), np.uint8)
    tags = {"color_trc": 1, "color_primaries": 12}
    make(tmp_path / "a.mkv", [grey, red], pixels="yuv444p", matrix=1, limits=1, context=tags)
    clip = read_clip(tmp_path / "a.mkv")
    assert clip.notes == ("the video has a wide gamut: brought to BT.709's",)
    assert np.abs(clip.frames[0, 16, 32].astype(int) - 128).max() <= 2
    assert clip.frames[1, 16, 32, 0] > 208  # P3's red lies outside of BT.709's
    assert clip.frames[1, 16, 32, 1] < 58


def test_colours_that_cannot_be_read_are_refused(tmp_path):
    make(tmp_path / "a.mkv", greys(2), context={"colorspace": 14})
    with pytest.raises(VideoError, match="its colours are ICtCp; expected YCbCr or RGB; convert it"):
        read_clip(tmp_path / "a.mkv")


def test_interlaced_video_becomes_whole_pictures(tmp_path):
    def square(left):
        picture = np.full((64, 96, 3), 40, np.uint8)
        picture[16:48, left : left + 24] = 220
        return picture

    frames = []
    for index in range(8):
        frame = square(8 * index)
        frame[1::2] = square(8 * index + 4)[1::2]
        frames.append(frame)
    options = {"flags": "+ilme+ildct", "x264-params": "tff=1", "crf": "4"}
    make(tmp_path / "a.mkv", frames, options=options)
    clip = read_clip(tmp_path / "a.mkv")
    assert len(clip.frames) == probe(tmp_path / "a.mkv").frames == 8
    assert clip.notes == ("the video is interlaced: made whole pictures (bwdif)",)
    combed = np.abs(np.diff(frames[4][20:44, :, 0].astype(int), axis=0)).mean()
    left = np.abs(np.diff(clip.frames[4, 20:44, :, 0].astype(int), axis=0)).mean()
    assert left < combed / 4
    assert clip.frames[4, 32, 38:54].min() > 180
    part = read_clip(tmp_path / "a.mkv", start=4, count=2, stride=2)
    assert (part.frames == clip.frames[[4, 6]]).all()
    assert part.span == pytest.approx((0.4, 0.8))


def test_alpha_beside_the_pictures_is_said(tmp_path):
    make(tmp_path / "a.webm", greys(2), "libvpx-vp9", "yuva420p")
    assert read_clip(tmp_path / "a.webm").notes == ("the video has an alpha channel: dropped",)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts", "a.avi"])
@pytest.mark.parametrize("damage", ["cut", "zeros", "noise"])
def test_what_is_whole_of_a_damaged_file_is_used_and_said(tmp_path, name, damage):
    pictures = np.random.default_rng(1).integers(0, 255, (24, 6, 8, 3), np.uint8).repeat(8, 1).repeat(8, 2)
    moving = {"container": {"movflags": "faststart"}} if name == "a.mp4" else {}
    make(tmp_path / name, list(pictures), options={"g": "4"}, **moving)
    whole = read_clip(tmp_path / name).frames
    held = (tmp_path / name).read_bytes()
    end = held.index(b"idx1") if name == "a.avi" else len(held)
    at = end * 7 // 10
    tail = {
        "cut": b"",
        "zeros": bytes(end - at) + held[end:],
        "noise": np.random.default_rng(0).bytes(end - at) + held[end:],
    }[damage]
    (tmp_path / name).write_bytes(held[:at] + tail)
    info, clip = probe(tmp_path / name), read_clip(tmp_path / name)
    assert info.frames == clip.source_frames == len(clip.frames)
    assert 8 <= len(clip.frames) <= 24
    assert (clip.frames[:8] == whole[:8]).all()
    assert name == "a.ts" or any("damaged" in note for note in clip.notes)  # in a .ts nothing tells how long it was
    with pytest.raises(VideoError, match=f"has {info.frames} frames"):
        read_clip(tmp_path / name, count=25)


def test_frames_that_would_fill_the_memory_are_refused_before_they_are_decoded(tmp_path):
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + bytes(4)

    header = struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0)
    picture = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", bytes(64)) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(picture)
    with pytest.raises(VideoError, match=r"a\.png"):
        probe(tmp_path / "a.png")
    make(tmp_path / "a.mkv", greys(2, 1024, 1024), context={"sample_aspect_ratio": Fraction(200, 1)})
    with pytest.raises(VideoError, match=r"its frames are 204800 x 1024; expected at most 134 million pixels"):
        probe(tmp_path / "a.mkv")
    make(tmp_path / "b.mkv", greys(24))
    with pytest.raises(VideoError, match="24 frames of 16384 x 16384 take 18 GiB of memory; expected at most 16; give"):
        read_clip(tmp_path / "b.mkv", size=(16384, 16384))


def test_a_folder_of_pictures_is_a_video(tmp_path):
    for index, picture in enumerate(greys(11)):
        Image.fromarray(picture).save(tmp_path / f"frame {index}.png")
    (tmp_path / ".hidden.png").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("no picture")
    clip = read_clip(tmp_path, start=1, stride=3)
    assert (numbers(clip), clip.source_frames, clip.fps) == ([1, 4, 7, 10], 11, Fraction(25, 3))
    assert clip.span == pytest.approx((0.04, 0.52))
    assert clip.notes == ("a folder of pictures tells no rate: 25 frames per second are taken",)
    (tmp_path / "empty").mkdir()
    with pytest.raises(VideoError, match=r"empty: holds no pictures \(\.png"):
        probe(tmp_path / "empty")


def test_files_that_name_other_files_are_refused(tmp_path):
    make(tmp_path / "a.ts", greys(3), "mpeg2video", fps=25)
    (tmp_path / "a.m3u8").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\na.ts\n#EXT-X-ENDLIST\n")
    (tmp_path / "a.txt").write_text("ffconcat version 1.0\nfile a.ts\n")
    for name in ("a.m3u8", "a.txt"):
        with pytest.raises(VideoError, match=name.replace(".", r"\.")):
            probe(tmp_path / name)


def test_frames_of_two_sizes_are_refused(tmp_path):
    for name, height in (("a", 48), ("b", 64)):
        make(tmp_path / f"{name}.ts", greys(3, height), "mpeg2video", fps=25)
    (tmp_path / "c.ts").write_bytes((tmp_path / "a.ts").read_bytes() + (tmp_path / "b.ts").read_bytes())
    with pytest.raises(VideoError, match=r"frame \d is 64 x 64, the first was 64 x 48; expected one size; convert"):
        read_clip(tmp_path / "c.ts")


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi"])
def test_long_files_are_counted_by_their_packets(tmp_path, name, monkeypatch):
    make(tmp_path / name, greys(20), fps=24)
    exact = probe(tmp_path / name)
    monkeypatch.setattr("videograin.runner.media.video.DECODED_WHOLE", 0)
    assert probe(tmp_path / name) == exact
    assert exact.frames == 20
    assert numbers(read_clip(tmp_path / name, start=3, count=4, stride=5)) == [3, 8, 13, 18]


def test_mask_videos_say_what_is_out_of_the_ordinary(tmp_path):
    from videograin.runner.media.geometry import Geometry
    from videograin.runner.media.mask_files import MaskFrames, MaskVideo

    make(tmp_path / "a.mkv", greys(6), options={"flags": "+ilme+ildct", "x264-params": "tff=1"})
    said = []
    MaskVideo(tmp_path / "a.mkv").load(Geometry.plan((64, 48)), MaskFrames(0, 6, 1, 6), said.append)
    assert any("a.mkv: the video is interlaced" in text for text in said)
