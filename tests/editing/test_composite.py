import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from videograin.editing.checks import NumberError
from videograin.editing.composite import CompositeError, composite, composite_support, composite_weight, latent_mask


def distances(region):
    """Distance of every cell to the nearest cell of the region, by brute force; inf where there is none."""
    points = np.argwhere(region)
    grid = np.stack(np.meshgrid(*map(np.arange, region.shape), indexing="ij"), -1)
    if len(points) == 0:
        return np.full(region.shape, np.inf)
    return np.sqrt(((grid[:, :, None] - points) ** 2).sum(-1)).min(-1)


def dot(h, w, y, x, frames=1):
    mask = torch.zeros(frames, h, w)
    mask[:, y, x] = 1
    return mask


def pictures(dtype, frames=2, h=24, w=30, seed=0):
    rng = np.random.default_rng(seed)
    if dtype == np.uint8:
        return rng.integers(0, 256, (2, frames, h, w, 3), dtype=np.uint8)
    return rng.random((2, frames, h, w, 3), dtype=np.float32)


# --- latent_mask ------------------------------------------------------------------------------------------------------


def test_one_pixel_fills_its_cell():
    for y, x in [(0, 0), (7, 7), (8, 15), (31, 39)]:
        mask = latent_mask(dot(32, 40, y, x), (4, 5), feather=0)
        assert mask.dtype == torch.float32
        assert mask.shape == (1, 4, 5)
        assert mask.nonzero().tolist() == [[0, y // 8, x // 8]]


def test_feather_is_a_linear_ramp_of_distance():
    mask = latent_mask(dot(56, 56, 28, 28), (7, 7), feather=2)[0]
    expected = [0, 1 / 3, 2 / 3, 1, 2 / 3, 1 / 3, 0]
    torch.testing.assert_close(mask[3], torch.tensor(expected))
    torch.testing.assert_close(mask[:, 3], torch.tensor(expected))
    assert mask[2, 2] == pytest.approx(1 - 2**0.5 / 3)
    assert mask[1, 1] == pytest.approx(1 - 8**0.5 / 3)


@settings(max_examples=40, deadline=None)
@given(
    h=st.integers(1, 9),
    w=st.integers(1, 9),
    cell=st.integers(1, 8),
    feather=st.sampled_from([0, 1, 1.5, 4]),
    seed=st.integers(0, 999),
)
def test_exact_cells_against_brute_force(h, w, cell, feather, seed):
    rng = np.random.default_rng(seed)
    union = torch.from_numpy((rng.random((2, h * cell, w * cell)) < rng.choice([0, 0.02, 0.2])).astype(np.float32))
    mask = latent_mask(union, (h, w), feather)
    core = union.reshape(2, h, cell, w, cell).amax((2, 4)).numpy() > 0
    for got, region in zip(mask.numpy(), core, strict=True):
        expected = np.clip(1 - distances(region) / (feather + 1), 0, 1)
        np.testing.assert_allclose(got, expected, atol=1e-5)
        assert (got[region] == 1).all()


@settings(max_examples=40, deadline=None)
@given(
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    pixels=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    seed=st.integers(0, 999),
)
def test_never_smaller_than_the_region_at_any_size(size, pixels, seed):
    """Every pixel > 0 lies in a cell that is 1, also where the sizes do not divide, or the latent is the larger one."""
    union = torch.from_numpy((np.random.default_rng(seed).random((1, *pixels)) < 0.05).astype(np.float32)) * 0.01
    mask = latent_mask(union, size, feather=0)[0]
    (H, W), (h, w) = pixels, size
    for _, y, x in union.nonzero().tolist():
        # the cells whose area (in pixels, [i H/h, (i + 1) H/h)) meets the pixel's
        rows = slice(y * h // H, -(-(y + 1) * h // H))
        columns = slice(x * w // W, -(-(x + 1) * w // W))
        assert (mask[rows, columns] == 1).all()


def test_soft_and_bool_unions_count_alike():
    soft = torch.zeros(1, 16, 16)
    soft[0, 3, 3] = 1e-3
    assert torch.equal(latent_mask(soft, (2, 2)), latent_mask(soft > 0, (2, 2)))
    assert latent_mask(soft, (2, 2), 0)[0].tolist() == [[1, 0], [0, 0]]


def test_empty_and_full():
    assert not latent_mask(torch.zeros(2, 16, 16), (2, 2), feather=3).any()
    assert (latent_mask(torch.ones(2, 16, 16), (2, 2), feather=3) == 1).all()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((torch.zeros(16, 16), (2, 2)), r"union: expected a mask \[F, H, W\].*got \[16, 16\]"),
        ((torch.zeros(0, 16, 16), (2, 2)), "no empty axis"),
        ((torch.full((1, 16, 16), 255, dtype=torch.uint8), (2, 2)), "bool or floating-point.*got uint8; divide"),
        ((torch.full((1, 16, 16), 255.0), (2, 2)), "from 0 to 1, got 255 to 255"),
        ((torch.full((1, 16, 16), float("nan")), (2, 2)), "from 0 to 1, got nan"),
        ((torch.zeros(1, 16, 16), (2, 0)), r"size: expected \(h, w\), two positive integers.*got \(2, 0\)"),
        ((torch.zeros(1, 16, 16), 8), "size: expected .*got 8"),
        ((torch.zeros(1, 16, 16), (2, 2), -1), "feather: expected a number >= 0, got -1"),
        ((torch.zeros(1, 16, 16), (2, 2), float("nan")), "feather: expected a number >= 0, got nan"),
    ],
)
def test_bad_latent_mask(arguments, says):
    with pytest.raises(CompositeError, match=says):
        latent_mask(*arguments)


# --- composite --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("as_torch", [False, True])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize(("dilate", "feather"), [(0, 0), (3, 0), (0, 4), (2.5, 3), (50, 50)])
def test_outside_bit_identical_inside_the_edit(dtype, as_torch, dilate, feather):
    source, edited = pictures(dtype)
    mask = np.zeros((2, 24, 30), np.float32)
    mask[0, 8:12, 9:14] = 0.2
    wrap = torch.from_numpy if as_torch else np.asarray
    result = composite(wrap(source), wrap(edited), wrap(mask), dilate=dilate, feather=feather)
    assert type(result) is (torch.Tensor if as_torch else np.ndarray)
    result = np.asarray(result)
    assert result.dtype == dtype
    support = composite_support(mask, dilate=dilate, feather=feather)
    d = distances(mask[0] > 0)
    assert (support[0] == (d < dilate + feather + 1)).all()
    assert result[~support].tobytes() == source[~support].tobytes()
    assert result[0][d <= dilate].tobytes() == edited[0][d <= dilate].tobytes()
    assert result[1].tobytes() == source[1].tobytes()  # no region in this frame


def test_weights_against_the_formula():
    mask = np.random.default_rng(1).random((3, 20, 26)) < 0.01
    got = composite_weight(mask, dilate=2, feather=3)
    assert got.dtype == np.float32
    for weight, region in zip(got, mask, strict=True):
        np.testing.assert_allclose(weight, np.clip(1 - (distances(region) - 2) / 4, 0, 1), atol=1e-5)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_the_border_is_the_mix(dtype):
    source, edited = pictures(dtype)
    mask = np.zeros((2, 24, 30), bool)
    mask[:, 10, 10] = True
    weight = composite_weight(mask, dilate=1, feather=5)[..., None]
    expected = (1 - weight) * source + weight * edited
    result = composite(source, edited, mask, dilate=1, feather=5)
    assert np.abs(result - expected).max() <= (0.5001 if dtype == np.uint8 else 1e-6)


def test_inputs_stay_as_they_are():
    source, edited = pictures(np.float32)
    mask = np.zeros((2, 24, 30), bool)
    mask[:, 10, 10] = True
    before = source.copy(), edited.copy()
    composite(source, edited, mask, dilate=2, feather=2)
    np.testing.assert_array_equal((source, edited), before)


@pytest.mark.parametrize("name", ["source", "edited"])
def test_frames_that_are_no_numbers_are_refused_even_outside_of_the_mask(name):
    frames = dict(zip(("source", "edited"), pictures(np.float32)))
    mask = np.zeros((2, 24, 30), bool)
    mask[:, 10, 10] = True
    frames[name][1, 0, 0, 0] = np.nan
    with pytest.raises(NumberError, match=rf"^{name}: NaN or inf in frame 1; .*--fp32-vae"):
        composite(frames["source"], frames["edited"], mask, dilate=2, feather=2)


def test_read_only_frames():
    source, edited = pictures(np.uint8)
    source.flags.writeable = False
    composite(source, edited, np.ones((2, 24, 30), bool), dilate=0, feather=0)


def test_bad_composites():
    source, edited = pictures(np.uint8)
    mask = np.zeros((2, 24, 30), bool)
    cases = [
        ((source, edited[:, :20], mask), r"source is \[2, 24, 30, 3\] uint8, edited \[2, 20, 30, 3\] uint8"),
        ((source, edited.astype(np.float32), mask), "uint8, edited .* float32; both need the same"),
        ((source, edited, mask[:1]), r"mask \[F, H, W\] = \[2, 24, 30\].*got \[1, 24, 30\]"),
        ((source, edited, mask[..., None]), r"mask: expected a mask \[F, H, W\].*got \[2, 24, 30, 1\]"),
        ((source, edited, mask.astype(np.uint8)), "mask: expected bool or floating-point"),
        ((source[..., :1], edited, mask), r"source: expected RGB frames .*got \[2, 24, 30, 1\]"),
        ((np.zeros((2, 24, 30, 4), np.uint8), edited, mask), "drop an alpha channel"),
        ((source, edited.astype(np.float64), mask), "edited: expected uint8 or float32 frames, got float64"),
        ((source, "edited", mask), "edited: expected RGB frames .*got str"),
    ]
    for arguments, says in cases:
        with pytest.raises(CompositeError, match=says):
            composite(*arguments, dilate=1, feather=1)
    for name in ("dilate", "feather"):
        with pytest.raises(CompositeError, match=f"{name}: expected a number >= 0, got -2"):
            composite(source, edited, mask, **{name: -2})


# --- keep -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_what_is_kept_stays_the_source_inside_the_region_and_its_borders(dtype):
    source, edited = pictures(dtype)
    mask, keep = np.zeros((2, 24, 30), bool), np.zeros((2, 24, 30), np.float32)
    mask[:, :, :12] = True
    keep[:, 10:14], keep[:, 15] = 1, 0.5  # row 15 is not more than a half
    done = composite(source, edited, mask, dilate=2, feather=3, keep=torch.from_numpy(keep).numpy())
    plain = composite(source, edited, mask, dilate=2, feather=3)
    assert (done[:, 10:14] == source[:, 10:14]).all()
    rest = np.r_[0:10, 14:24]
    assert (done[:, rest] == plain[:, rest]).all()
    support = composite_support(mask, dilate=2, feather=3, keep=keep)
    assert not support[:, 10:14].any()
    assert support[:, 15, :17].all()
    assert (done[~support] == source[~support]).all()


def test_a_cell_is_kept_by_its_share():
    union, keep = torch.ones(1, 32, 32), torch.zeros(1, 32, 32)
    keep[:, 8:16], keep[:, 16:22] = 1, 254 / 255
    mask = latent_mask(union, (4, 4), 1.0, keep=keep)[0]
    torch.testing.assert_close(mask[:, 0], torch.tensor([1.0, 0.0, 0.25, 1.0]))
    assert (mask[1] == 0).all()
    beside = latent_mask(dot(32, 32, 4, 4), (4, 4), 2.0, keep=keep)[0]  # the feather does not reach over it
    assert beside[1].tolist() == [0, 0, 0, 0]
    assert beside[2, 0] == pytest.approx(0.25 / 3)


def test_keep_has_the_shape_of_its_mask():
    for call in (
        lambda keep: latent_mask(torch.ones(1, 16, 16), (2, 2), keep=keep),
        lambda keep: composite_weight(torch.ones(1, 16, 16), keep=keep),
    ):
        with pytest.raises(CompositeError, match=r"keep: expected \[F, H, W\] = \[1, 16, 16\].*got \[2, 16, 16\]"):
            call(torch.ones(2, 16, 16))
        with pytest.raises(CompositeError, match="keep: expected values from 0 to 1"):
            call(torch.full((1, 16, 16), 255.0))
