"""IMAGE as plain RGB frames: the alpha channel goes, and the log says so; nothing else changes."""

import numpy as np
import pytest
import torch

from videograin.hosts.comfyui.images import rgb_bytes, rgb_frames


@pytest.fixture
def images():
    return torch.rand(2, 5, 7, 3, generator=torch.Generator().manual_seed(0))


def test_rgb_stays_as_it_is_and_nothing_is_said(images, caplog):
    assert torch.equal(rgb_frames(images, "images", "A"), images)
    assert rgb_frames(images.half(), "images", "A").dtype == torch.float32
    assert caplog.text == ""


def test_alpha_is_dropped_and_said_once(images, caplog):
    rgba = torch.cat([images, torch.zeros(2, 5, 7, 1)], -1)
    assert torch.equal(rgb_frames(rgba, "images", "A"), images)
    assert [r.getMessage() for r in caplog.records] == ["A: images has an alpha channel, which is dropped."]


def test_bytes_are_rounded_and_cut_off():
    values = torch.tensor([-1.0, 0, 0.001, 0.003, 0.5, 1, 2]).reshape(1, 1, 7, 1).expand(1, 1, 7, 3)
    found = rgb_bytes(values, "images", "A")
    assert found.dtype == np.uint8
    assert found[0, 0, :, 1].tolist() == [0, 0, 0, 1, 128, 255, 255]


@pytest.mark.parametrize("shape", [(2, 5, 7), (2, 5, 7, 1), (2, 5, 7, 5), (0, 5, 7, 3)])
def test_what_is_no_image_is_refused(shape):
    with pytest.raises(ValueError, match=r"^source: expected frames \[F, H, W, 3\], got \["):
        rgb_frames(torch.zeros(shape), "source", "A")
    with pytest.raises(ValueError, match="got NoneType; connect"):
        rgb_frames(None, "source", "A")


@pytest.mark.parametrize("read", [rgb_frames, rgb_bytes])
def test_pictures_that_are_no_numbers_are_refused_with_their_frame(images, read):
    images[1, 2, 3, 0] = float("nan")
    with pytest.raises(ValueError, match=r"^edited: NaN or inf in frame 1; .*--fp32-vae"):
        read(images, "edited", "A")
