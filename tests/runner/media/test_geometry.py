"""Which part of a picture is kept, and which masks show the whole source."""

import numpy as np
import pytest

from videograin.runner.media.geometry import Geometry, GeometryError


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
