"""Masks in the forms that tools write them: the same mask comes out of all, or one clear error."""

import io
import os
import struct
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from videograin.runner.media.geometry import Geometry
from videograin.runner.media.mask_files import LabelVideo, MaskError, MaskFolder, MaskFrames, MaskVideo, load_masks
from videograin.runner.media.mask_pictures import MOST_PIXELS, look_at, shown

SAME = Geometry.plan((48, 32))
COUNT = 3
FRAMES = MaskFrames(0, COUNT, 1, COUNT)
OBJECT = np.zeros((COUNT, 32, 48), bool)
for place in range(COUNT):
    OBJECT[place, 8:20, 6 + 8 * place : 22 + 8 * place] = True
COLOURS = [0, 0, 0, 128, 0, 0, 0, 128, 0]


def read(source, frames=FRAMES):
    """(masks, notes)."""
    notes: list[str] = []
    return load_masks(source, SAME, frames, notes.append).numpy(), notes


def saved(folder, images, ending="png", **options):
    folder.mkdir(parents=True, exist_ok=True)
    for index, image in enumerate(images):
        image.save(folder / f"{index:03d}.{ending}", **options)
    return MaskFolder(folder)


def indexed(mask, palette=COLOURS):
    image = Image.fromarray(mask.astype(np.uint8), mode="P")
    image.putpalette(palette)
    return image


def grey(mask, value=255, dtype=np.uint8):
    return Image.fromarray(np.where(mask, value, 0).astype(dtype))


def cut_out(mask, around=0):
    colour = np.random.default_rng(0).integers(20, 90, (*mask.shape, 3))
    return np.dstack([np.where(mask[..., None], colour, around), mask * 255]).astype(np.uint8)


SAID = {
    "palette": (indexed, "palette's indices"),
    "grey 1": (lambda mask: grey(mask, 1), "0 and 1 alone"),
    "grey 127": (lambda mask: grey(mask, 127), "0 and 127 alone"),
    "16 bits of 0 and 255": (lambda mask: grey(mask, 255, np.uint16), "0 and 255 alone"),
    "limited range": (lambda mask: Image.fromarray(np.where(mask, 235, 16).astype(np.uint8)), "16 and 235 alone"),
    "cut-out": (lambda mask: Image.fromarray(cut_out(mask)), "alpha channel is the mask"),
    "cut out of a photograph": (lambda mask: Image.fromarray(cut_out(mask, 255)), "alpha channel is the mask"),
    "grey with alpha": (lambda mask: Image.fromarray(cut_out(mask)).convert("LA"), "alpha channel is the mask"),
}


@pytest.mark.parametrize("kind", SAID)
def test_what_is_inside_is_inside_in_every_form_and_said(tmp_path, kind):
    make, words = SAID[kind]
    masks, notes = read(saved(tmp_path / "m", map(make, OBJECT)))
    assert np.array_equal(masks, OBJECT)
    assert len(notes) == 1
    assert words in notes[0]
    assert str(tmp_path / "m") in notes[0]


PLAIN = {
    "16 bits": lambda mask: grey(mask, 65535, np.uint16),
    "one bit": lambda mask: Image.fromarray(mask),
    "black and white palette": lambda mask: indexed(~mask, [255, 255, 255, 0, 0, 0]),
    "palette of the web": lambda mask: grey(mask).convert("RGB").convert("P"),
    "white where it is opaque": lambda mask: Image.merge("LA", [Image.new("L", mask.shape[::-1], 255), grey(mask)]),
    "opaque": lambda mask: grey(mask).convert("RGBA"),
}


@pytest.mark.parametrize("kind", PLAIN)
def test_plain_forms_need_no_word(tmp_path, kind):
    masks, notes = read(saved(tmp_path / "m", map(PLAIN[kind], OBJECT)))
    assert np.array_equal(masks, OBJECT)
    assert notes == []


@pytest.mark.parametrize("value", [1.0, 0.25, 255.0])
def test_floating_tiffs_of_two_values(tmp_path, value):
    masks, notes = read(saved(tmp_path / "m", [grey(mask, value, np.float32) for mask in OBJECT], "tif"))
    assert np.array_equal(masks, OBJECT)
    assert len(notes) == (value != 1)


def test_soft_masks_stay_soft_and_dark_ones_are_said(tmp_path):
    ramp = np.tile(np.linspace(0, 255, 48), (32, 1)).astype(np.uint8)
    masks, notes = read(saved(tmp_path / "soft", [Image.fromarray(ramp)]))
    assert np.array_equal(masks[0], ramp.astype(np.float32) / 255)
    assert notes == []
    masks, notes = read(saved(tmp_path / "dark", [Image.fromarray(ramp // 3)]))
    assert np.array_equal(masks[0], (ramp // 3).astype(np.float32) / 255)
    assert "is dark: its brightest value is 85 of 255" in notes[0]
    deep = saved(tmp_path / "deep", [Image.fromarray(ramp.astype(np.uint16))])
    masks, notes = read(deep)
    assert np.array_equal(masks[0], ramp.astype(np.float32) / 255)
    assert "8-bit values in 16 bits" in notes[0]
    masks, notes = read(saved(tmp_path / "float", [Image.fromarray(ramp.astype(np.float32))], "tif"))
    assert np.array_equal(masks[0], ramp.astype(np.float32) / 255)
    assert "values up to 255" in notes[0]


def test_several_objects_are_all_inside_and_counted(tmp_path):
    numbers = OBJECT.astype(np.uint8)
    numbers[:, 24:30, 2:8] = 2
    for folder, images in (("grey", map(Image.fromarray, numbers)), ("palette", map(indexed, numbers))):
        masks, notes = read(saved(tmp_path / folder, images))
        assert np.array_equal(masks, numbers > 0)
        assert "1, 2" in notes[0]
        assert "`labels` with `id`" in notes[0]


def test_frames_without_the_object_do_not_change_how_the_others_are_read(tmp_path):
    gone = OBJECT.copy()
    gone[1] = False
    gone[2] = True
    for folder, make in (("palette", indexed), ("grey", lambda mask: grey(mask, 1))):
        assert np.array_equal(read(saved(tmp_path / folder, map(make, gone)))[0], gone)
    assert np.array_equal(read(saved(tmp_path / "cut", [Image.fromarray(cut_out(mask)) for mask in gone]))[0], gone)


def test_palettes_that_number_objects_differently_are_refused(tmp_path):
    palettes = [COLOURS, [0, 0, 0, 0, 128, 0, 128, 0, 0], COLOURS]
    images = [indexed(mask, palette) for mask, palette in zip(OBJECT, palettes)]
    with pytest.raises(MaskError, match="m: the palettes differ from picture to picture"):
        read(saved(tmp_path / "m", images))


def test_values_that_are_no_numbers_are_refused(tmp_path):
    values = OBJECT[0].astype(np.float32)
    values[0, 0] = np.nan
    with pytest.raises(MaskError, match=r"000\.tif: holds values that are no numbers"):
        read(saved(tmp_path / "m", [Image.fromarray(values)], "tif"))


MANY = {
    "tif": {},
    "gif": {"loop": 0},
    "png": {},
    "webp": {"lossless": True},
}


@pytest.mark.parametrize("form", MANY)
def test_every_page_is_a_mask(tmp_path, form):
    pages = [grey(mask) for mask in OBJECT]
    (tmp_path / "m").mkdir()
    file = tmp_path / "m" / f"all.{form}"
    pages[0].save(file, save_all=True, append_images=pages[1:], **MANY[form])
    for source in (MaskFolder(tmp_path / "m"), MaskVideo(file)):
        assert source.count() == COUNT
        assert np.array_equal(read(source)[0], OBJECT)
    if form == "gif":
        return
    assert np.array_equal(read(LabelVideo(file, colour=(255, 255, 255)))[0], OBJECT)


def test_ids_in_the_pages_of_one_file(tmp_path):
    pages = [grey(mask, 2) for mask in OBJECT]
    pages[0].save(tmp_path / "ids.tif", save_all=True, append_images=pages[1:])
    assert np.array_equal(read(LabelVideo(tmp_path / "ids.tif", id=2))[0], OBJECT)


def test_many_pages_beside_other_files_are_refused_with_the_count(tmp_path):
    pages = [grey(mask) for mask in OBJECT]
    folder = saved(tmp_path / "m", pages[:1])
    pages[0].save(tmp_path / "m" / "stack.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(MaskError, match=r"stack\.tif: holds 3 pictures beside 1 other files"):
        folder.count()


def test_a_small_copy_inside_a_tiff_is_no_mask(tmp_path):
    page, copy = grey(OBJECT[0]), grey(OBJECT[0]).resize((12, 8))
    copy.encoderinfo = {"tiffinfo": {254: 1}}
    (tmp_path / "m").mkdir()
    page.save(tmp_path / "m" / "a.tif", save_all=True, append_images=[copy])
    assert len(look_at(tmp_path / "m" / "a.tif").pages) == 1


def test_a_stack_of_which_pillow_sees_one_page_is_refused(tmp_path):
    (tmp_path / "m").mkdir()
    grey(OBJECT[0]).save(tmp_path / "m" / "a.tif", tiffinfo={270: "ImageJ=1.53t\nimages=6\nslices=6\n"})
    with pytest.raises(MaskError, match=r"a\.tif: ImageJ wrote 6 pictures into it of which 1 can be read"):
        MaskFolder(tmp_path / "m").count()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["png", "tif"])
def test_turned_pictures_are_taken_as_viewers_show_them(tmp_path, orientation, form):
    tags = Image.Exif()
    tags[0x0112] = orientation
    turns = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # the transpose that stores it so
    images = [grey(mask) for mask in OBJECT]
    if turns[orientation] is not None:
        images = [image.transpose(Image.Transpose(turns[orientation])) for image in images]
    assert np.array_equal(read(saved(tmp_path / "m", images, form, exif=tags))[0], OBJECT)


def test_the_content_counts_not_the_ending(tmp_path):
    for folder, form, ending in (("jpg", "JPEG", "jpg"), ("png", "JPEG", "png"), ("none", "PNG", "mask")):
        saved(tmp_path / folder, map(grey, OBJECT), ending, format=form)
    honest = read(MaskFolder(tmp_path / "jpg"))
    assert np.array_equal(read(MaskFolder(tmp_path / "png"))[0], honest[0])
    assert np.array_equal(read(MaskFolder(tmp_path / "none"))[0], OBJECT)


@pytest.mark.parametrize("quality", [30, 60, 90])
@pytest.mark.parametrize("white", [255, 120])
def test_hard_masks_survive_jpeg(tmp_path, quality, white):
    rows, columns = np.mgrid[0:128, 0:192]
    disc = (rows - 60) ** 2 + (columns - 90) ** 2 < 40**2
    saved(tmp_path / "m", [grey(disc, white)], "jpg", quality=quality)
    notes: list[str] = []
    mask = load_masks(MaskFolder(tmp_path / "m"), Geometry.plan((192, 128)), FRAMES, notes.append)[0].numpy()
    distance = np.sqrt((rows - 60.0) ** 2 + (columns - 90) ** 2) - 40
    assert (mask[distance > 5] == 0).all()
    assert (mask[distance < -5] > 0.9).all()
    assert all("m: " in note for note in notes)
    assert any("is dark" in note for note in notes) == (white == 120)


def test_soft_masks_in_jpeg_stay_soft(tmp_path):
    ramp = np.tile(np.linspace(0, 255, 48), (32, 1)).astype(np.uint8)
    mask = read(saved(tmp_path / "m", [Image.fromarray(ramp)], "jpg", quality=95))[0][0]
    assert np.abs(mask - ramp / 255).max() < 0.05


def test_ids_compressed_with_loss_are_refused(tmp_path):
    noise = np.random.default_rng(0).integers(0, 3, OBJECT.shape)
    images = [Image.fromarray((mask * 90 + more * 40).astype(np.uint8)) for mask, more in zip(OBJECT, noise)]
    saved(tmp_path / "m", images, "jpg")
    with pytest.raises(MaskError, match="m: is compressed with loss"):
        read(LabelVideo(tmp_path / "m", id=90))


@pytest.mark.parametrize("lossy", [False, True])
@given(st.tuples(*[st.integers(0, 255)] * 3), st.tuples(*[st.integers(0, 255)] * 3))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_label_colours_may_be_anywhere_in_the_cube(tmp_path, lossy, wanted, other):
    apart = max(abs(a - b) for a, b in zip(wanted, other))
    if min(apart, max(wanted)) < (64 if lossy else 1):
        return
    labels = np.zeros((32, 48, 3), np.uint8)
    labels[4:28, 4:20], labels[4:28, 28:44] = wanted, other
    file = tmp_path / ("l.jpg" if lossy else "l.png")
    Image.fromarray(labels).save(file, **({"quality": 95, "subsampling": 0} if lossy else {}))
    found = read(LabelVideo(file, colour=wanted))[0][0]
    inner = np.zeros((32, 48), bool)
    inner[6:26, 6:18] = True
    outer = np.ones((32, 48), bool)
    outer[2:30, 2:22] = False
    assert (found[inner] == 1).mean() > 0.95
    assert (found[outer] == 0).mean() > 0.95


def test_a_colour_that_is_not_there_is_said_or_refused(tmp_path):
    labels = np.zeros((32, 48, 3), np.uint8)
    labels[4:28, 4:20] = (200, 10, 10)
    Image.fromarray(labels).save(tmp_path / "l.png")
    masks, notes = read(LabelVideo(tmp_path / "l.png", colour=(220, 0, 0)))
    assert masks[0].sum() == 24 * 16
    assert "has no #dc0000; the nearest colour is taken, #c80a0a" in notes[0]
    with pytest.raises(MaskError, match=r"#00ff00 occurs in none of the 3 frames \(it has #000000, #c80a0a\)"):
        read(LabelVideo(tmp_path / "l.png", colour=(0, 255, 0)))


def test_hidden_and_other_files_are_no_masks(tmp_path):
    folder = saved(tmp_path / "m", map(grey, OBJECT))
    for name in ("._000.png", ".DS_Store", "Thumbs.db", "notes.txt"):
        (tmp_path / "m" / name).write_bytes(b"no picture")
    (tmp_path / "m" / "more.png").mkdir()
    os.mkfifo(tmp_path / "m" / "pipe.png")
    assert np.array_equal(read(folder)[0], OBJECT)


NAMES = ["a:{}.png", "50%{}.png", "-{}.png", "[{}].png", "ünï {}.png", "%03d {}.png", "²{}.png", "new\nline {}.png"]


@pytest.mark.parametrize("name", NAMES)
def test_names_may_have_any_characters(tmp_path, name):
    (tmp_path / name.format("")).mkdir()
    for index, mask in zip((2, 10, 100), OBJECT):
        grey(mask, 1).save(tmp_path / name.format("") / name.format(index))
    masks, notes = read(MaskFolder(tmp_path / name.format("")))
    assert np.array_equal(masks, OBJECT)
    assert all("\n" not in note for note in notes)


def test_names_that_are_no_text_are_shown_as_bytes(tmp_path):
    place = os.fsencode(tmp_path) + b"/\xe9.png"
    with open(place, "wb") as file:
        file.write(b"no picture")
    (path,) = tmp_path.iterdir()
    assert shown(path).endswith("\\udce9.png")
    with pytest.raises(MaskError) as caught:
        look_at(path)
    str(caught.value).encode()


def bomb(side: int) -> bytes:
    """A PNG of side x side black bits: a few kB."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0))
    rows = zlib.compress(bytes(side // 8 + 1) * 64)
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [int(MOST_PIXELS**0.5) + 1, 40_000, 200_000])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_pictures_that_unfold_are_refused_before_they_do(tmp_path, side):
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "0.png").write_bytes(bomb(side))
    for source in (MaskFolder(tmp_path / "m"), MaskVideo(tmp_path / "m" / "0.png"), LabelVideo(tmp_path / "m", id=1)):
        with pytest.raises(MaskError, match=r"0\.png: is too large: .* expected at most 40 million pixels") as caught:
            source.count()
        assert any(told in str(caught.value) for told in (f": {side} x {side} pixels;", f": {side * side} pixels;"))


@given(st.sampled_from(sorted(SAID)), st.data())
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_form_of_any_two_valued_picture_gives_the_same_mask(tmp_path_factory, kind, data):
    small = np.array(data.draw(st.lists(st.booleans(), min_size=24, max_size=24))).reshape(4, 6)
    small[0, :2] = True, False
    mask = np.kron(small, np.ones((8, 8), bool))
    folder = saved(tmp_path_factory.mktemp("m"), [SAID[kind][0](mask)])
    assert np.array_equal(read(folder)[0][0], mask)


def small_files() -> dict[str, bytes]:
    """Valid files of every kind, small."""
    pages = [grey(mask[:16, :16]) for mask in OBJECT]
    kinds = {
        "PNG": [pages[0]],
        "APNG": pages,
        "palette": [indexed(OBJECT[0][:16, :16])],
        "alpha": [Image.fromarray(cut_out(OBJECT[0][:16, :16]))],
        "TIFF": pages,
        "GIF": pages,
        "WEBP": pages,
        "JPEG": [pages[0]],
        "BMP": [pages[0]],
    }
    found = {}
    for name, images in kinds.items():
        buffer = io.BytesIO()
        more = {"save_all": True, "append_images": images[1:]} if len(images) > 1 else {}
        images[0].save(buffer, {"APNG": "PNG", "palette": "PNG", "alpha": "PNG"}.get(name, name), **more)
        found[name] = buffer.getvalue()
    return found


FILES = small_files()
SMALL = Geometry.plan((16, 16))


@given(st.sampled_from(sorted(FILES)), st.lists(st.tuples(st.integers(0, 9999), st.integers(0, 255)), max_size=6))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.filterwarnings("ignore")
def test_damaged_files_give_masks_or_one_clear_error(tmp_path_factory, kind, flips):
    content = bytearray(FILES[kind])
    for place, value in flips:
        content[place % len(content)] = value
    file = tmp_path_factory.mktemp("m") / "0.png"
    file.write_bytes(content)
    for source in (MaskFolder(file.parent), LabelVideo(file.parent, id=255)):
        masks, said = np.zeros(0), ""
        try:
            count = source.count()
            masks = load_masks(source, SMALL, MaskFrames(0, count, 1, count), str).numpy()
        except ValueError as error:
            said = str(error)
        assert (str(file.parent) in said) == (masks.size == 0)
        assert "\n" not in said
        assert ((masks >= 0) & (masks <= 1)).all()
