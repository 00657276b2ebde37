"""How pictures lie in latents."""

import pytest

from videograin.editing.model import LatentGeometry


@pytest.mark.parametrize(
    ("group", "frames", "expected"), [(1, 1, 1), (1, 16, 16), (4, 1, 1), (4, 5, 2), (4, 81, 21), (8, 81, 11), (4, 6, 3)]
)
def test_a_clip_s_latent_frames(group, frames, expected):
    """Groups of `group` frames behind a first one that stands alone."""
    assert LatentGeometry(8, 16, group).latent_frames(frames) == expected


def test_cells_and_pixels():
    geometry = LatentGeometry(cell=16, channels=48)
    assert geometry.cells((480, 832)) == (30, 52)
    assert geometry.pixels((30, 52)) == (480, 832)
