"""Which motions a registration may find."""

import numpy as np
import pytest

from videograin.editing.motion.registration import _sane


@pytest.mark.parametrize(
    ("size", "sane"), [(1.0, True), (1.9, True), (2.1, False), (0.51, True), (0.49, False), (float("nan"), False)]
)
def test_a_motion_that_more_than_quarters_or_quadruples_an_area_is_none(size, sane):
    assert _sane(np.diag([size, size, 1.0])) is sane
