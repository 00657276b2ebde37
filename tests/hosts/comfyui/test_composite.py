"""IMAGE and MASK of any customary form into the pixel composite; errors that name the node."""

import pytest
import torch

from videograin.editing.composite import composite_support
from videograin.hosts.comfyui.composite import composite_images
from videograin.hosts.comfyui.errors import naming

F, H, W = 3, 24, 40
EXACT = {"dilate": 0.0, "feather": 0.0, "node": "Pixel Composite"}


@pytest.fixture
def frames():
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(F, H, W, 3, generator=generator) for _ in range(2)]


@pytest.fixture
def mask():
    mask = torch.zeros(F, H, W)
    for f in range(F):
        mask[f, 4:14, 3 + f : 20 + f] = 1
    return mask


@pytest.mark.parametrize(("dilate", "feather"), [(0.0, 0.0), (3.0, 0.0), (2.0, 4.0)])
def test_outside_is_the_source_bit_for_bit(frames, mask, dilate, feather):
    source, edited = frames
    out = composite_images(source, edited, mask, dilate=dilate, feather=feather, node="x")
    support = torch.from_numpy(composite_support(mask, dilate=dilate, feather=feather))
    assert torch.equal(out[~support], source[~support])
    assert torch.equal(out[mask > 0], edited[mask > 0])


def test_masks_of_every_form(frames, mask):
    expected = composite_images(*frames, mask, **EXACT)
    for same in (mask > 0, mask[:, None], mask.double(), mask.half()):
        assert torch.equal(composite_images(*frames, same, **EXACT), expected)
    static = composite_images(*frames, mask[0], **EXACT)
    assert torch.equal(static, composite_images(*frames, mask[:1].expand(F, -1, -1), **EXACT))
    assert torch.equal(static, composite_images(*frames, mask[:1], **EXACT))


@pytest.mark.parametrize("size", [(3, 5), (48, 80), (36, 60), (7, 11)])
def test_a_mask_of_another_size_covers_every_pixel_it_touches(frames, size):
    """Pixel (y, x) and cell (j, i) touch where their intervals overlap."""
    small = torch.rand(1, *size, generator=torch.Generator().manual_seed(1)) > 0.8
    out = composite_images(*frames, small, **EXACT)[0]
    h, w = size
    for y in range(H):
        for x in range(W):
            rows = slice(y * h // H, -(-(y + 1) * h // H))
            columns = slice(x * w // W, -(-(x + 1) * w // W))
            expected = frames[1] if small[0, rows, columns].any() else frames[0]
            assert torch.equal(out[y, x], expected[0, y, x])


def test_preserved_at_its_own_size(frames):
    everything, left = torch.ones(1, H, W), torch.zeros(6, 10)
    left[:, :5] = 1
    out = composite_images(*frames, everything, preserved=left, **{**EXACT, "feather": 4.0})
    assert torch.equal(out[:, :, :20], frames[0][:, :, :20])
    assert torch.equal(out[:, :, 20:], frames[1][:, :, 20:])


@pytest.mark.parametrize("which", [0, 1])
def test_alpha_is_dropped_and_said(frames, mask, which, caplog):
    expected = composite_images(*frames, mask, **EXACT)
    assert caplog.text == ""
    given = list(frames)
    given[which] = torch.cat([frames[which], torch.zeros(F, H, W, 1)], -1)
    assert torch.equal(composite_images(*given, mask, **EXACT), expected)
    assert f"Pixel Composite: {('source', 'edited')[which]} has an alpha channel" in caplog.text


def test_the_frames_that_came_in_stay(frames, mask):
    before = [x.clone() for x in (*frames, mask)]
    composite_images(*frames, mask, node="x")
    assert all(torch.equal(a, b) for a, b in zip(before, (*frames, mask), strict=True))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda s, e, m: (s, e[:2], m), "source has 3 frames, edited has 2"),
        (lambda s, e, m: (s, e[:, :16], m), "source is 40 x 24 pixels, edited is 40 x 16.*Upscale Image"),
        (lambda s, e, m: (s[..., 0], e, m), r"source: expected frames \[F, H, W, 3\], got \[3, 24, 40\]"),
        (lambda s, e, m: (s, e[..., :2], m), r"edited: expected frames"),
        (lambda s, e, m: (s, e, m[:2]), r"mask of the edited regions \(input `mask`\): expected 1 frame or 3.*got 2"),
        (lambda s, e, m: (s, e, m * 255), r"expected values in \[0, 1\]"),
    ],
)
def test_what_does_not_fit(frames, mask, change, says):
    with pytest.raises(ValueError, match=says) as caught:
        composite_images(*change(*frames, mask), node="Pixel Composite")
    assert str(caught.value).startswith("Pixel Composite: ")


def test_naming():
    with pytest.raises(ValueError, match=r"^A: text$"), naming("A"), naming("A"):
        raise ValueError("text")
    with pytest.raises(RuntimeError, match=r"^text$"), naming("A"):
        raise RuntimeError("text")


def test_an_empty_mask_is_said(frames, mask, caplog):
    out = composite_images(*frames, torch.zeros_like(mask, dtype=torch.float32), node="Pixel Composite")
    assert torch.equal(out, frames[0])
    assert "Pixel Composite: the mask is empty" in caplog.text
