"""Videos as people have them: containers, codecs, streams, names, damage, sizes; each file is made here."""

import io
import struct
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from videograin.runner.media import container
from videograin.runner.media.encode import write_video
from videograin.runner.media.geometry import GeometryError
from videograin.runner.media.video import VideoError, _check_clip, probe, read_clip

from .video_files import greys, make, numbers


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
    make(tmp_path / "b.mkv", greys(24) * 2)
    with pytest.raises(VideoError, match="48 frames of 8160 x 16384 take 18 GiB of memory; expected at most 16; give"):
        read_clip(tmp_path / "b.mkv", size=(8160, 16384))
    with pytest.raises(VideoError, match="a clip of 8168 x 8 pixels cannot be written as a video beside its edit"):
        read_clip(tmp_path / "b.mkv", size=(8168, 8))


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


@pytest.mark.parametrize("kind", ["png", "jpg", "webp", "tiff", "bmp"])
def test_a_damaged_picture_of_a_folder_is_refused_not_left_out(tmp_path, kind):
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    for index in range(3):
        Image.fromarray(noise).save(tmp_path / f"{index}.{kind}")
    whole = (tmp_path / f"1.{kind}").read_bytes()
    (tmp_path / f"1.{kind}").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(VideoError, match=rf"1\.{kind}: .*; expected a (video or a )?whole picture; export it again"):
        read_clip(tmp_path)


def test_a_link_to_nothing_among_pictures_is_refused_not_left_out(tmp_path):
    for index, picture in enumerate(greys(2)):
        Image.fromarray(picture).save(tmp_path / f"{index}.png")
    try:
        (tmp_path / "2.png").symlink_to(tmp_path / "gone.png")
    except OSError:
        pytest.skip("this system lets nobody make links")
    with pytest.raises(VideoError, match=r"2\.png: no such file"):
        read_clip(tmp_path)


@pytest.mark.parametrize(("kind", "read"), [("tiff", "one"), ("webp", "none")])
def test_several_pictures_in_a_file_are_refused_where_they_would_not_be_read(tmp_path, kind, read):
    first, *others = map(Image.fromarray, greys(3))
    (tmp_path / "folder").mkdir()
    first.save(tmp_path / "folder" / f"0.{kind}")
    for place in ("", "folder"):
        first.save(tmp_path / place / f"1.{kind}", save_all=True, append_images=others, lossless=True)
        with pytest.raises(VideoError, match=rf"1\.{kind}: holds 3 pictures, of which {read} would be read; expected"):
            read_clip(tmp_path / place / ("" if place else f"1.{kind}"))


def test_an_animation_is_no_picture_of_a_folder(tmp_path):
    first, *others = map(Image.fromarray, greys(3))
    first.save(tmp_path / "0.png", save_all=True, append_images=others)
    assert numbers(read_clip(tmp_path / "0.png")) == [0, 1, 2]
    with pytest.raises(VideoError, match=r"0\.png: holds 3 pictures, of which one would be read"):
        read_clip(tmp_path)


def test_the_second_view_in_a_picture_of_a_camera_is_no_frame(tmp_path):
    first, second = map(Image.fromarray, greys(2))
    first.save(tmp_path / "0.jpg", format="MPO", save_all=True, append_images=[second])
    assert numbers(read_clip(tmp_path)) == [0]


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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "codec", "pixels"),
    [
        ("a.mp4", "libx264", "yuv420p"),
        ("a.mkv", "libx264", "yuv420p"),
        ("a.avi", "mpeg4", "yuv420p"),
        ("a.mov", "prores_ks", "yuv422p10le"),
        ("a.webm", "libvpx-vp9", "yuv420p"),
        ("a.gif", "gif", "rgb8"),
        ("a.flv", "libx264", "yuv420p"),
        ("a.ts", "libx264", "yuv420p"),
    ],
)
def test_bytes_changed_anywhere_give_a_clip_or_one_clear_error(tmp_path, name, codec, pixels):
    whole = make(tmp_path / name, greys(6), codec, pixels).read_bytes()
    draw, read, refused = np.random.default_rng(7), 0, []
    for index in range(500):
        held = bytearray(whole)
        for place in draw.integers(0, len(held) if index % 2 else min(len(held), 800), draw.integers(1, 20)):
            held[place] = draw.integers(256)
        (tmp_path / f"b{name}").write_bytes(held[: draw.integers(1, len(held))] if index % 5 == 0 else held)
        try:
            clip = read_clip(tmp_path / f"b{name}")
        except (VideoError, GeometryError) as error:
            refused.append(str(error))
            continue
        write_video(tmp_path / "out.mp4", clip.frames, clip.fps, times=clip.times)
        read += 1
    assert read > 50
    assert [text for text in refused if "expected" not in text] == []


@pytest.mark.parametrize(("size", "taken"), [((8160, 64), True), ((8162, 64), False), ((64, 16384), True)])
def test_clips_are_no_larger_than_two_of_them_can_be_written(size, taken):
    if taken:
        _check_clip("a.mp4", 2, size)
        return
    with pytest.raises(VideoError, match=r"a\.mp4: a clip of .* at most 8160 x 16384"):
        _check_clip("a.mp4", 2, size)


def test_a_clip_that_is_too_high_is_refused():
    with pytest.raises(VideoError, match=r"a clip of 64 x 16386 pixels"):
        _check_clip("a.mp4", 2, (64, 16386))


def test_a_file_that_asks_for_more_memory_than_there_is_is_no_video(tmp_path, monkeypatch):
    """FFmpeg's error is the same where memory is out, which is not the file's fault."""
    (tmp_path / "a.mp4").write_bytes(b"whatever")

    def lacking(*_, **__):
        raise av.error.MemoryError(12, "Cannot allocate memory")

    monkeypatch.setattr(container, "open_input", lacking)
    with pytest.raises(VideoError, match=r"a\.mp4: not a video"):
        probe(tmp_path / "a.mp4")
    monkeypatch.setattr(container, "memory_lacks", lambda: True)
    with pytest.raises(MemoryError):
        probe(tmp_path / "a.mp4")
