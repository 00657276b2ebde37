"""The pictures of videos as players show them: orientation, shape of pixels, colours, interlacing, alpha."""

import io
from fractions import Fraction
from itertools import product

import av
import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps

from videograin.runner.media.encode import write_video
from videograin.runner.media.geometry import Geometry
from videograin.runner.media.mask_files import MaskFrames, MaskVideo
from videograin.runner.media.tone import HLG, PQ, pq_value
from videograin.runner.media.video import VideoError, probe, read_clip

from .video_files import greys, make

COLOUR = (200, 30, 60)
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


@pytest.mark.parametrize(
    ("size", "matrix"),
    [
        ((640, 480), "ITU601"),
        ((720, 576), "ITU601"),
        ((720, 578), "ITU709"),
        ((1278, 576), "ITU601"),
        ((1280, 576), "ITU709"),
        ((1280, 720), "ITU709"),
        ((608, 1080), "ITU709"),
    ],
)
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


def test_mask_videos_say_what_is_out_of_the_ordinary(tmp_path):

    make(tmp_path / "a.mkv", greys(6), options={"flags": "+ilme+ildct", "x264-params": "tff=1"})
    said = []
    MaskVideo(tmp_path / "a.mkv").load(Geometry.plan((64, 48)), MaskFrames(0, 6, 1, 6), said.append)
    assert any("a.mkv: the video is interlaced" in text for text in said)


@pytest.mark.parametrize(("orientation", "turns"), [(1, 0), (3, 2), (6, -1), (8, 1)])
def test_pictures_of_a_camera_that_have_exif_are_read_and_turned(tmp_path, orientation, turns):
    """PyAV has no name for EXIF beside a frame."""
    exif = Image.Exif()
    exif[274], exif[271] = orientation, "a camera"
    with av.open(str(tmp_path / "a.avi"), "w") as container:
        stream = container.add_stream("mjpeg", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 32, "yuvj420p"
        for index in range(2):
            data = io.BytesIO()
            Image.fromarray(CORNER).save(data, "JPEG", quality=95, exif=exif)
            packet = av.Packet(data.getvalue())
            packet.pts = packet.dts = index
            packet.time_base, packet.stream = Fraction(1, 10), stream
            container.mux(packet)
    frame = read_clip(tmp_path / "a.avi").frames[0].astype(int)
    expected = np.rot90(CORNER, turns).astype(int)
    assert frame.shape == expected.shape
    assert np.abs(frame - expected).mean() < 6


@pytest.mark.parametrize("kind", ["jpg", "png", "webp", "tiff"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_folder_of_turned_or_mirrored_pictures_is_upright(tmp_path, orientation, kind):
    stored = np.zeros((48, 64, 3), np.uint8)
    stored[:16, :24], stored[32:, 40:], stored[:16, 40:] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    for index in range(2):
        Image.fromarray(stored).save(tmp_path / f"{index}.{kind}", exif=exif, quality=95)
    with Image.open(tmp_path / f"0.{kind}") as picture:
        shown = np.asarray(ImageOps.exif_transpose(picture)).astype(int)
    clip = read_clip(tmp_path)
    assert clip.frames.shape == (2, *shown.shape)
    assert np.abs(clip.frames - shown).mean() < 6
