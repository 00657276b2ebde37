"""Which part of a picture is kept, and which masks show the whole source."""

import numpy as np
import pytest

from videograin.runner.media.geometry import Geometry, GeometryError, _resize


@pytest.mark.parametrize(("source", "target", "box"), [((96, 64), (64, 64), (16, 0)), ((64, 96), (64, 64), (0, 16))])
def test_the_middle_is_kept_to_the_pixel(source, target, box):
    width, height = source
    frame = np.arange(width * height * 3, dtype=np.uint32).reshape(height, width, 3).astype(np.uint8)
    left, top = box
    kept = Geometry.plan(source, target).frame(frame)
    assert np.array_equal(kept, frame[top : top + 64, left : left + 64])


def test_a_mask_may_be_a_pixel_off_the_shape_of_the_source_as_rounding_makes_it():
    geometry = Geometry.plan((96, 64))
    assert geometry.mask(np.ones((32, 49), np.float32), "m").shape == (64, 96)
    with pytest.raises(GeometryError, match="m is 51 x 32 pixels; expected the shape of the source"):
        geometry.mask(np.ones((32, 51), np.float32), "m")


@pytest.mark.parametrize("shape", [(60, 20), (20, 60)])
def test_what_grows_to_one_side_alone_is_interpolated_not_repeated(shape):
    """Masks of 60 x 20 at 30 x 40: a smooth ramp stays smooth along the side that grows."""
    ramp = np.linspace(0, 1, min(shape), dtype=np.float32)
    picture = np.tile(ramp, (60, 1)).copy() if shape == (60, 20) else np.tile(ramp[:, None], (1, 60)).copy()
    target = (40, 30) if shape == (60, 20) else (30, 40)
    found = _resize(picture, target, smooth=False)
    along = found[10] if shape == (60, 20) else found[:, 10]
    inner = np.diff(along)[2:-2]
    assert inner.min() > 0.5 * inner.max()


@pytest.mark.parametrize(("shape", "target"), [((40, 240), (60, 10)), ((240, 40), (10, 60))])
def test_what_shrinks_to_both_sides_is_averaged(shape, target):
    picture = np.random.default_rng(0).random(shape).astype(np.float32)
    found = _resize(picture, target, smooth=False)
    assert np.allclose(found, picture.reshape(target[1], 4, target[0], 4).mean((1, 3)), atol=1e-6)
