"""Motion and steadiness out of IMAGE values, without the host; errors that name the node."""

import logging

import numpy as np
import pytest
import torch

from videograin.editing.regions import Region
from videograin.editing.settings import SteadySettings
from videograin.editing.steady import Steady
from videograin.hosts.comfyui.composite import composite_images
from videograin.hosts.comfyui.images import image_of, rgb_bytes
from videograin.hosts.comfyui.motion import found_motion, steadied_images
from videograin.world.clips import pair_clip

F, SIDE = 3, 64
HOW = {"source": "auto", "missing": "fill", "node": "Clip Motion"}


@pytest.fixture(scope="module")
def clip():
    return pair_clip(0, F, SIDE)


@pytest.fixture(scope="module")
def images(clip):
    return image_of(clip.frames)


@pytest.fixture(scope="module")
def regions(clip):
    return tuple(Region(phrase, mask) for phrase, mask in zip(clip.phrases, clip.masks))


@pytest.fixture(scope="module")
def motion(images, regions):
    return found_motion(images, regions, **HOW)[0]


def test_whole_masks_come_back_as_they_are(images, regions, caplog):
    with caplog.at_level(logging.WARNING):
        motion, same, notes, preview = found_motion(images, regions, **HOW)
    assert all(one is other for one, other in zip(same, regions))
    assert notes == []
    assert caplog.text == ""
    assert [one.pieces for one in motion.regions] == [[[0, 1, 2]]] * 2
    assert preview.shape[0] == F
    assert preview.dtype == torch.float32


def test_masks_of_another_size_are_stretched(images, regions, motion):
    half = tuple(Region(one.phrase, one.mask[:, ::2, ::2]) for one in regions)
    found, same, *_ = found_motion(images, half, **HOW)
    assert found.size == (SIDE, SIDE)
    assert same[0].mask.shape[-2:] in {(SIDE // 2, SIDE // 2), (SIDE, SIDE)}  # filled ones have the frames' size
    assert found.of(0).matrix(0, 2)[:2, 2] == pytest.approx(motion.of(0).matrix(0, 2)[:2, 2], abs=1)


def test_a_clip_without_regions_has_a_background(images):
    motion, regions, notes, _ = found_motion(images, (), **HOW)
    assert (motion.regions, regions, notes) == ((), (), [])
    assert motion.background.pieces == [[0, 1, 2]]


@pytest.mark.parametrize(
    ("frames", "masks", "message"),
    [(3, 2, "expected 1 frame or 3"), (0, 3, "expected frames"), (1, 3, "expected 1 frame")],
)
def test_errors_name_the_node(images, regions, frames, masks, message):
    cut = tuple(Region(one.phrase, one.mask[:masks]) for one in regions)
    with pytest.raises(ValueError, match=f"^Clip Motion: .*{message}"):
        found_motion(images[:frames], cut, **HOW)


def test_the_pixel_parts_are_those_of_the_runner(images, regions, motion):
    """Floats here, 8 bits there: half a step of rounding on the way in, half on the way out, and what the key makes
    of it."""
    edited = (images + 0.3 * torch.rand(F, 1, 1, 3, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    for key in (True, False):
        ours = steadied_images(images, edited, motion, regions, key=key, dilate=4)
        frames, decoded = rgb_bytes(images, "", ""), rgb_bytes(edited, "", "")
        settings = SteadySettings(enabled=True, key=key)
        theirs = Steady.of(motion, regions, F).pictures(frames, decoded, settings, 4)
        apart = np.abs(ours.numpy() * 255 - theirs)
        assert apart.mean() < 0.5
        assert apart.max() < 4
        assert np.abs(theirs.astype(float) - decoded).max() > 10  # they did something


def test_the_composite_without_motion_is_what_it_was(images, regions, motion):
    edited, mask = images.flip(1), regions[0].mask
    plain = composite_images(images, edited, mask, node="Pixel Composite")
    # Not bit by bit: where a tensor lies in memory decides which of its values go through vector instructions.
    keyless = composite_images(images, edited, mask, key=False, node="Pixel Composite")
    torch.testing.assert_close(plain, keyless, atol=1e-6, rtol=0)
    held = composite_images(images, edited, mask, motion=motion, regions=regions, node="Pixel Composite")
    assert (plain - held).abs().max() > 0.05
    torch.testing.assert_close(
        held[:, 0, :], plain[:, 0, :], atol=1e-6, rtol=0
    )  # the upper border is outside: the source's


def test_preserved_regions_are_left_alone(images, regions, motion):
    kept = tuple(Region(one.phrase, one.mask, preserve=True) for one in regions)
    edited = images.flip(1).contiguous()
    torch.testing.assert_close(
        steadied_images(images, edited, motion, kept, key=True, dilate=4), edited, atol=1e-6, rtol=0
    )
