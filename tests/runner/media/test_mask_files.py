"""The four mask sources: counts, geometry, exact values."""

from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from videograin.runner.media.encode import write_video
from videograin.runner.media.geometry import Geometry, GeometryError
from videograin.runner.media.mask_files import (
    Boxes,
    LabelVideo,
    MaskError,
    MaskFolder,
    MaskFrames,
    MaskVideo,
    load_masks,
)

SAME = Geometry.plan((96, 64))
TWO = MaskFrames(start=1, count=2, stride=2, total=6)


def squares(count: int, height: int = 64, width: int = 96) -> np.ndarray:
    """Mask k is a white square whose left edge is at 8 k."""
    masks = np.zeros((count, height, width), np.uint8)
    for index in range(count):
        masks[index, 16:32, 8 * index : 8 * index + 16] = 255
    return masks


def save_all(folder, pictures, names=None):
    folder.mkdir(exist_ok=True)
    for index, picture in enumerate(pictures):
        Image.fromarray(picture).save(folder / (names[index] if names else f"{index}.png"))
    return folder


def grey_video(path, pictures):
    """Lossless grey video."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.height, stream.width, stream.pix_fmt = *pictures.shape[1:], "gray"
        for index, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="gray")
            frame.pts, frame.time_base = index, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@given(st.integers(0, 9), st.integers(1, 9), st.integers(1, 5), st.integers(0, 9), st.integers(1, 60))
def test_which_mask_belongs_to_which_frame(start, count, stride, spare, masks):
    total = start + (count - 1) * stride + 1 + spare
    frames = MaskFrames(start, count, stride, total)
    if masks == 1:
        assert frames.indices(masks, "m") == [0] * count
    elif masks == count:
        assert frames.indices(masks, "m") == list(range(count))
    elif masks == total:
        assert frames.indices(masks, "m") == list(range(start, total, stride))[:count]
    else:
        with pytest.raises(MaskError, match=rf"m has {masks} masks for {count} frames; expected {count}\b"):
            frames.indices(masks, "m")


def test_folder_in_natural_order_one_to_one_and_like_the_source(tmp_path):
    masks = squares(6)
    whole = save_all(tmp_path / "whole", masks, [f"m{index}.png" for index in (1, 2, 9, 10, 11, 100)])
    loaded = load_masks(MaskFolder(whole), SAME, TWO)
    assert loaded.dtype == torch.float32
    assert loaded.shape == (2, 64, 96)
    assert torch.equal(loaded, torch.from_numpy(masks[[1, 3]] / np.float32(255)))
    some = save_all(tmp_path / "some", masks[[4, 5]])
    assert torch.equal(load_masks(MaskFolder(some), SAME, TWO), torch.from_numpy(masks[[4, 5]] / np.float32(255)))
    static = save_all(tmp_path / "static", masks[:1])
    assert torch.equal(load_masks(MaskFolder(static), SAME, TWO)[1], torch.from_numpy(masks[0] / np.float32(255)))


def test_a_wrong_count_names_both_numbers(tmp_path):
    folder = save_all(tmp_path / "three", squares(3))
    message = r"three has 3 masks for 2 frames; expected 2, or 6 \(the whole source video\), or 1 static mask; export"
    with pytest.raises(MaskError, match=message):
        load_masks(MaskFolder(folder), SAME, TWO)
    with pytest.raises(MaskError, match="boxes has 4 masks for 2 frames"):
        load_masks(Boxes(((0.0, 0.0, 8.0, 8.0),) * 4), SAME, TWO)


def test_folders_and_images_that_cannot_be_used(tmp_path):
    with pytest.raises(MaskError, match="no such folder"):
        MaskFolder(tmp_path / "gone").count()
    (tmp_path / "empty").mkdir()
    with pytest.raises(MaskError, match="holds no images"):
        MaskFolder(tmp_path / "empty").count()
    (tmp_path / "empty" / "a.png").write_text("no image")
    with pytest.raises(MaskError, match="not an image"):
        load_masks(MaskFolder(tmp_path / "empty"), SAME, TWO)


def test_image_kinds_agree(tmp_path):
    mask = squares(1)[0]
    rgba = np.dstack([np.full_like(mask, 7)] * 3 + [mask])
    kinds = {
        "grey": mask,
        "bits": mask > 0,
        "rgb": np.dstack([mask] * 3),
        "deep": mask.astype(np.uint16) * 257,
        "alpha": rgba,
    }
    expected = torch.from_numpy(mask / np.float32(255))
    for name, picture in kinds.items():
        folder = save_all(tmp_path / name, [picture])
        assert torch.equal(load_masks(MaskFolder(folder), SAME, TWO)[0], expected), name


def test_masks_take_the_same_way_as_the_frames(tmp_path, moving_squares):
    """A mask cut from the picture itself lands where the picture lands, cropped and shrunk, at any mask resolution."""
    geometry = Geometry.plan((96, 64), (32, 32))
    frame = np.zeros((64, 96, 3), np.uint8)
    frame[20:44, 36:60] = 255
    shown = geometry.frame(frame)[..., 0] / 255
    for scale in (1, 2):
        mask = np.kron(frame[..., 0], np.ones((scale, scale), np.uint8))
        folder = save_all(tmp_path / f"x{scale}", [mask])
        loaded = load_masks(MaskFolder(folder), geometry, MaskFrames(0, 1, 1, 1))[0].numpy()
        assert np.abs(loaded - shown).max() < 0.01
    ready = save_all(tmp_path / "ready", [(shown > 0.5).astype(np.uint8) * 255])
    loaded = load_masks(MaskFolder(ready), geometry, MaskFrames(0, 1, 1, 1))[0].numpy()
    assert (loaded == (shown > 0.5)).all()
    with pytest.raises(GeometryError, match=r"is 50 x 50 pixels; expected the shape of the source \(96 x 64"):
        load_masks(MaskFolder(save_all(tmp_path / "odd", [squares(1, 50, 50)[0]])), geometry, MaskFrames(0, 1, 1, 1))


def test_mask_video(tmp_path):
    masks = squares(6)
    path = tmp_path / "m.mp4"
    write_video(path, np.repeat(masks[..., None], 3, axis=3), 10)
    loaded = load_masks(MaskVideo(path), SAME, TWO)
    assert np.array_equal(loaded.numpy() > 0.5, masks[[1, 3]] > 0)
    assert float(loaded[:, 48:].max()) == 0  # black stays exactly outside after compression


@pytest.mark.parametrize("suffix", [".jpg", ".webp"])
def test_lossy_images_lose_their_compression_noise(tmp_path, suffix):
    rows, columns = np.mgrid[0:64, 0:96]
    disc = (rows - 30) ** 2 + (columns - 40) ** 2 < 18**2
    noise = np.random.default_rng(0).integers(0, 6, disc.shape)  # what compression leaves of flat black and white
    picture = np.where(disc, 255 - noise, noise).astype(np.uint8)
    (tmp_path / "m").mkdir()
    Image.fromarray(picture).save(tmp_path / "m" / f"0{suffix}", quality=95)
    stored = np.asarray(Image.open(tmp_path / "m" / f"0{suffix}").convert("L"))
    mask = load_masks(MaskFolder(tmp_path / "m"), SAME, TWO)[0].numpy()
    assert (stored[~disc] > 0).mean() > 0.5
    assert (mask[(stored <= 5)] == 0).all()
    assert (mask[(stored >= 250)] == 1).all()
    assert np.array_equal(mask > 0.5, stored > 127)
    png = save_all(tmp_path / "png", [picture])  # a lossless file means what it says
    assert torch.equal(load_masks(MaskFolder(png), SAME, TWO)[0], torch.from_numpy(picture / np.float32(255)))


@pytest.mark.parametrize("kind", ["video", "folder", "image"])
def test_label_ids_are_exact(tmp_path, kind):
    labels = np.zeros((6, 64, 96), np.uint8)
    labels[:, 10:30, 10:30], labels[:, 30:50, 40:60] = 1, 2
    labels[3, 0:5, 0:5] = 2
    if kind == "video":
        path = grey_video(tmp_path / "l.mkv", labels)
    elif kind == "folder":
        path = save_all(tmp_path / "l", labels)
    else:
        path = save_all(tmp_path / "l", labels[3:4]) / "0.png"
    two = load_masks(LabelVideo(path, id=2), SAME, TWO)
    expected = labels[[3, 3]] if kind == "image" else labels[[1, 3]]
    assert np.array_equal(two.numpy(), (expected == 2).astype(np.float32))
    with pytest.raises(MaskError, match="id 9 occurs in none of the 2 frames"):
        load_masks(LabelVideo(path, id=9), SAME, TWO)


def test_label_colours_survive_compression(tmp_path, source_video, moving_squares):
    red = load_masks(LabelVideo(source_video, colour=(214, 38, 42)), SAME, TWO).numpy()
    for place, index in enumerate((1, 3)):
        truth = np.zeros((64, 96), bool)
        truth[8:24, 8 + 4 * index : 24 + 4 * index] = True
        agree = (red[place] > 0) & truth
        assert agree.sum() >= 0.8 * truth.sum()
        assert ((red[place] > 0) & ~truth).sum() == 0
    with pytest.raises(MaskError, match="colour #00ff00 occurs in none"):
        load_masks(LabelVideo(source_video, colour=(0, 255, 0)), SAME, TWO)
    with pytest.raises(MaskError, match="is in colour, so it has no ids"):
        load_masks(LabelVideo(source_video, id=1), SAME, TWO)


def test_nearest_labels_make_no_new_values(tmp_path):
    labels = np.random.default_rng(0).choice([0, 100, 200], (64, 96)).astype(np.uint8)
    geometry = Geometry.plan((96, 64), (56, 40))
    assert set(np.unique(geometry.labels(labels, "l"))) <= {0, 100, 200}


def test_boxes_follow_crop_and_scale_and_cover_pixels_by_area():
    geometry = Geometry.plan((96, 64), (32, 32))  # keeps x 16..80, halves everything
    masks = load_masks(Boxes(((16.0, 0.0, 48.0, 64.0), (17.0, 1.0, 19.0, 3.0))), geometry, TWO)
    assert masks[0, :, :16].min() == 1
    assert masks[0, :, 16:].max() == 0
    assert masks[1].sum() == pytest.approx(1.0)
    assert masks[1, 0, 0] == pytest.approx(0.25)
    gone = load_masks(Boxes((None, (0.0, 0.0, 8.0, 8.0))), SAME, TWO)
    assert gone[0].max() == 0
    assert gone[1].sum() == 64


def test_boxes_in_shares_of_the_frame_are_said():
    notes: list[str] = []
    masks = load_masks(Boxes(((0.25, 0.0, 0.5, 1.0), None)), SAME, TWO, notes.append)
    assert masks[0, :, 24:48].min() == 1
    assert masks[0].sum() == 24 * 64
    assert masks[1].max() == 0
    assert "taken as shares of the frame, 96 x 64 pixels" in notes[0]
    load_masks(Boxes(((0.25, 0.0, 1.5, 1.0),)), SAME, TWO, notes.append)  # a number above 1: pixels
    assert len(notes) == 1


@pytest.mark.parametrize("box", [(96, 0, 120, 20), (-30, 0, 0, 20), (0, 64, 9, 80), (40, 30, 120, 60), (0, -20, 9, 9)])
def test_boxes_outside_of_the_frame_are_refused(box):
    where = "partly outside" if box[2] > 0 and box[0] < 96 and box[1] < 64 else "outside the picture"
    with pytest.raises(MaskError, match=rf"boxes\[2\] \[.*\] lies {where}; expected .* 96 x 64"):
        load_masks(Boxes((None, tuple(map(float, box)))), SAME, TWO)


def test_a_box_a_little_beyond_the_frame_is_cut_off_and_said():
    notes: list[str] = []
    masks = load_masks(Boxes(((-2.0, 0.0, 8.0, 65.0),)), SAME, TWO, notes.append)
    assert masks[0].sum() == 8 * 64
    assert notes == ["boxes: 1 reach beyond the frame, first boxes[1]: cut off there"]
    inside, beyond = (0.0, 0.0, 8.0, 8.0), (90.0, 0.0, 97.0, 8.0)
    notes.clear()
    load_masks(Boxes((inside, beyond, inside, beyond)), SAME, MaskFrames(0, 4, 1, 4), notes.append)
    assert notes == ["boxes: 2 reach beyond the frame, first boxes[2]: cut off there"]


def test_boxes_follow_a_crop_from_above():
    geometry = Geometry.plan((64, 96), (32, 32))  # keeps y 16..80, halves everything
    masks = load_masks(Boxes(((0.0, 16.0, 64.0, 48.0),)), geometry, TWO)
    assert masks[0, :16].min() == 1
    assert masks[0, 16:].max() == 0


def test_a_box_may_reach_beyond_the_frame_by_a_tenth_and_no_more():
    notes: list[str] = []
    assert Boxes(((-10.0, 0.0, 50.0, 50.0),)).in_pixels(100, 100, notes.append) == ((-10.0, 0.0, 50.0, 50.0),)
    assert len(notes) == 1
    with pytest.raises(MaskError, match="lies partly outside"):
        Boxes(((-10.1, 0.0, 50.0, 50.0),)).in_pixels(100, 100, notes.append)
