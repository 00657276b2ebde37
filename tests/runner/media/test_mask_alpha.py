"""Masks in the alpha of videos, and in colours of 16 bits."""

import struct
import zlib
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
from PIL import Image

from videograin.runner.media.geometry import Geometry
from videograin.runner.media.mask_files import MaskFolder, MaskFrames, MaskVideo, load_masks
from videograin.runner.media.mask_pictures import MaskError, look_at

SAME, FRAMES = Geometry.plan((48, 32)), MaskFrames(0, 3, 1, 3)
OBJECT = np.zeros((3, 32, 48), bool)
for place in range(3):
    OBJECT[place, 8:20, 6 + 8 * place : 22 + 8 * place] = True
WHITE = OBJECT.astype(np.uint8) * 255


def read(source):
    """(masks, notes)."""
    notes: list[str] = []
    return load_masks(source, SAME, FRAMES, notes.append).numpy(), notes


@pytest.mark.parametrize(("ending", "channels"), [("png", 3), ("png", 4), ("tiff", 3)])
def test_colours_of_16_bits_keep_values_below_256(tmp_path, ending, channels):
    (tmp_path / "m").mkdir()
    for index, mask in enumerate(OBJECT):
        picture = np.repeat(np.where(mask, 255, 0).astype(np.uint16)[..., None], channels, axis=2)
        picture[..., 3:] = 65535
        assert cv2.imwrite(str(tmp_path / f"m/{index}.{ending}"), picture)
    masks, notes = read(MaskFolder(tmp_path / "m"))
    assert np.array_equal(masks, OBJECT)
    assert len(notes) == 1
    assert "0 and 255 alone (white would be 65535)" in notes[0]


@pytest.mark.parametrize("channels", [3, 4])
def test_every_page_of_colours_in_16_bits_keeps_values_below_256(tmp_path, channels):
    pages = [np.repeat(np.where(mask, 255, 0).astype(np.uint16)[..., None], channels, axis=2) for mask in OBJECT]
    for page in pages:
        page[..., 3:] = 65535
    assert cv2.imwritemulti(str(tmp_path / "m.tif"), pages)
    masks, notes = read(MaskVideo(tmp_path / "m.tif"))
    assert np.array_equal(masks, OBJECT)
    assert "0 and 255 alone (white would be 65535)" in notes[0]


@pytest.mark.parametrize("opaque", [255, 65535])
def test_alpha_of_16_bits_is_the_mask_also_where_its_values_are_below_256(tmp_path, opaque):
    (tmp_path / "m").mkdir()
    for index, mask in enumerate(OBJECT):
        picture = np.full((*mask.shape, 4), 65535, np.uint16)
        picture[..., 3] = np.where(mask, opaque, 0)
        assert cv2.imwrite(str(tmp_path / f"m/{index}.png"), picture)
    masks, _ = read(MaskFolder(tmp_path / "m"))
    assert np.array_equal(masks, OBJECT)


def test_an_animation_in_colours_of_16_bits_is_refused_by_name(tmp_path):
    rows = [b"\0" + np.where(row, 255, 0).astype(">u2").repeat(3).tobytes() for row in OBJECT[0]]
    data = zlib.compress(b"".join(rows))
    control = struct.pack(">IIIIHHBB", 48, 32, 0, 0, 1, 10, 0, 0)
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", 48, 32, 16, 2, 0, 0, 0)),
        (b"acTL", struct.pack(">II", 3, 0)),
        (b"fcTL", struct.pack(">I", 0) + control),
        (b"IDAT", data),
    ]
    for number in (1, 3):
        chunks += [(b"fcTL", struct.pack(">I", number) + control), (b"fdAT", struct.pack(">I", number + 1) + data)]
    (tmp_path / "m.png").write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
            for name, body in [*chunks, (b"IEND", b"")]
        )
    )
    with pytest.raises(MaskError, match=r"m.png: the 16-bit colours of its picture 2 cannot be read"):
        read(MaskVideo(tmp_path / "m.png"))


def test_colours_of_16_bits_are_soft_masks_and_turned_as_any(tmp_path):
    ramp = np.tile(np.linspace(0, 65535, 48), (32, 1)).astype(np.uint16)
    (tmp_path / "m").mkdir()
    stored = np.ascontiguousarray(np.repeat(np.rot90(ramp)[..., None], 3, axis=2))
    data = cv2.imencode(".png", stored)[1].tobytes()
    exif = Image.Exif()
    exif[274] = 6  # stored turned to the left: shown turned to the right
    body = exif.tobytes().removeprefix(b"Exif\0\0")
    chunk = b"eXIf" + body
    data = data[:33] + struct.pack(">I", len(body)) + chunk + struct.pack(">I", zlib.crc32(chunk)) + data[33:]
    (tmp_path / "m/0.png").write_bytes(data)
    masks, notes = read(MaskFolder(tmp_path / "m"))
    assert np.allclose(masks[0], ramp / np.float32(65535), atol=1e-6)
    assert notes == []


def video(path, grey, alpha, codec="png", pixels="rgba"):
    """A mask video with alpha: uint8 [F, H, W] each."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10)
        stream.height, stream.width = alpha.shape[1:]
        stream.pix_fmt = pixels
        for index, (light, part) in enumerate(zip(grey, alpha)):
            frame = av.VideoFrame.from_ndarray(np.dstack([light] * 3 + [part]), format="rgba")
            frame.pts, frame.time_base = index, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return MaskVideo(path)


@pytest.mark.parametrize(("codec", "pixels"), [("png", "rgba"), ("qtrle", "argb"), ("prores_ks", "yuva444p10le")])
def test_alpha_of_a_mask_video_is_the_mask_where_it_varies(tmp_path, codec, pixels):
    masks, notes = read(video(tmp_path / "cut.mov", np.full_like(WHITE, 120), WHITE, codec, pixels))
    assert np.array_equal(masks, OBJECT)
    assert not any("alpha" in note and "decoded" in note for note in notes)


def test_alpha_of_a_mask_video_that_is_opaque_everywhere_is_no_mask(tmp_path):
    masks, notes = read(video(tmp_path / "opaque.mov", WHITE, np.full_like(WHITE, 255)))
    assert np.array_equal(masks, OBJECT)
    assert notes == []


def test_alpha_that_cannot_be_decoded_is_said(tmp_path):
    _, notes = read(video(tmp_path / "a.webm", WHITE, WHITE, "libvpx-vp9", "yuva420p"))
    assert any("alpha channel that cannot be decoded: its brightness is the mask" in note for note in notes)


def test_the_stand_in_of_an_animation_is_no_mask(tmp_path):
    grey, white, black = (Image.new("L", (8, 8), value) for value in (128, 255, 0))
    for name, pictures in (("a.png", [white]), ("b.png", [white, black])):
        grey.save(tmp_path / name, save_all=True, default_image=True, append_images=pictures)
    one, two = look_at(tmp_path / "a.png"), look_at(tmp_path / "b.png")
    assert (len(one.pages), len(two.pages)) == (1, 2)
    assert next(iter(one.masks([0]))).grey.min() == 255


def test_colours_that_cannot_be_converted_are_refused_by_name(tmp_path):
    grey = Image.new("L", (48, 32), 128)
    Image.merge("LAB", [grey] * 3).save(tmp_path / "a.tiff")
    with pytest.raises(MaskError, match=r"a\.tiff: not an image that can be read to its end \(conversion from LAB"):
        read(MaskVideo(tmp_path / "a.tiff"))


def test_what_was_found_of_a_file_is_not_changed_afterwards(tmp_path):
    Image.new("L", (4, 4)).save(tmp_path / "a.png")
    found = look_at(tmp_path / "a.png")
    with pytest.raises(AttributeError):
        found.pages = ()
    assert found == look_at(tmp_path / "a.png")
