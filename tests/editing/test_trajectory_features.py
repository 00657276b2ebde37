"""Features in the file of a trajectory: saved and loaded, of old and of new, and every damage found."""

import zlib

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from videograin.editing import trajectory_file
from videograin.editing.attention_features import Features
from videograin.editing.trajectory import TrajectoryError

from .test_trajectory import make, rewrite


def some_features(frames=3, grid=(2, 3), calls=7, cross=True, level="full"):
    tokens = grid[0] * grid[1]
    rows, words = (
        torch.rand(frames, tokens, length, generator=torch.Generator().manual_seed(seed))
        for seed, length in ((1, tokens), (2, 5))
    )
    words = words / words.sum(-1, keepdim=True) if cross else None
    return Features(grid, rows / rows.sum(-1, keepdim=True), calls, words, level)


def with_features(path, **options):
    return trajectory_file.save(make(features=some_features(**options)), path)


def an_old_file(path):
    """As the first version of the format has it, spelled out: float32, self-attention alone, no level."""
    rows = torch.rand(3, 6, 6, generator=torch.Generator().manual_seed(1))
    rows = rows / rows.sum(-1, keepdim=True)
    facts = {
        "features.grid": "2x3",
        "features.calls": "7",
        "features.checksum": f"{zlib.crc32(rows.numpy().tobytes()):08x}",
    }
    return rewrite(trajectory_file.save(make(), path), facts, **{"features.self": rows}), rows


def test_features_are_saved_and_loaded(tmp_path):
    loaded = trajectory_file.load(with_features(tmp_path / "a.safetensors"))
    expected = some_features()
    assert torch.equal(loaded.features.values, expected.values)
    assert torch.equal(loaded.features.cross, expected.cross)
    assert loaded.features.values.dtype == loaded.features.cross.dtype == torch.float16
    assert (loaded.features.grid, loaded.features.calls, loaded.features.level) == ((2, 3), 7, "full")
    assert torch.equal(loaded.latents, make().latents)
    assert loaded.extra == {"steps": "3"}


def test_files_of_old_still_load(tmp_path):
    path, rows = an_old_file(tmp_path / "old.safetensors")
    features = trajectory_file.load(path).features
    assert torch.equal(features.values, rows.half())
    assert (features.cross, features.level, features.calls) == (None, "", 7)
    again = trajectory_file.load(trajectory_file.save(make(features=features), tmp_path / "new.safetensors")).features
    assert torch.equal(again.values, features.values)
    assert (again.cross, again.level) == (None, "")


def test_features_without_text_are_saved_and_loaded(tmp_path):
    path = with_features(tmp_path / "a.safetensors", cross=False, level="half")
    loaded = trajectory_file.load(path).features
    assert (loaded.cross, loaded.level) == (None, "half")
    with safe_open(str(path), "pt") as handle:
        assert set(handle.keys()) == {"latents", "sigmas", "features.self"}


def test_a_file_without_features_holds_nothing_of_them(tmp_path):
    path = trajectory_file.save(make(), tmp_path / "a.safetensors")
    assert trajectory_file.load(path).features is None
    with safe_open(str(path), "pt") as handle:
        assert set(handle.keys()) == {"latents", "sigmas"}
        assert not [key for key in handle.metadata() if key.startswith("features")]


def test_who_knows_nothing_of_features_can_read_the_rest(tmp_path):
    """The format's version and what it says of the latents are the same with and without features."""
    facts = []
    for features in (None, some_features()):
        path = trajectory_file.save(make(features=features), tmp_path / "a.safetensors")
        with safe_open(str(path), "pt") as handle:
            facts.append({k: v for k, v in handle.metadata().items() if not k.startswith("features.")})
    assert facts[0] == facts[1]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_any_flipped_bit_is_found_with_features_too(tmp_path, position, bit):
    path = with_features(tmp_path / "a.safetensors")
    data = bytearray(path.read_bytes())
    start = 8 + int.from_bytes(data[:8], "little")
    data[start + int((len(data) - start) * position)] ^= 1 << bit
    path.write_bytes(data)
    with pytest.raises(TrajectoryError, match="run the inversion again"):
        trajectory_file.load(path)


@pytest.mark.parametrize(
    ("metadata", "tensors", "says"),
    [
        ({}, {"features.self": None}, "damaged .missing: features.self"),
        ({"features.grid": None}, {}, "damaged .missing: features.grid"),
        ({"features.checksum": None, "features.calls": None}, {}, "missing: features.calls, features.checksum"),
        ({"features.checksum": "0"}, {}, "the features do not match their checksum"),
        ({"features.grid": "2x3x1"}, {}, "expected numbers such as 8x12 and 150, got .*2x3x1"),
        ({"features.grid": "-2x-3"}, {}, "sides >= 1"),
        ({"features.grid": "3x3"}, {}, r"expected \[F, 9, 9\] for a grid of \(3, 3\), got \[3, 6, 6\]"),
        ({"features.calls": "many"}, {}, "expected numbers"),
        ({"features.calls": "9" * 5000}, {}, "expected numbers"),
        ({"features.calls": "0"}, {}, "calls must be an integer >= 1, got 0"),
        ({}, {"features.self": torch.zeros(3, 6, 6)}, "do not match their checksum"),
        ({}, {"features.cross": torch.zeros(3, 6, 5).half()}, "do not match their checksum"),
        ({}, {"features.cross": None}, "do not match their checksum"),
        ({}, {"features.self": None, "features.cross": None}, "damaged .missing: features.self"),
        ({"features.level": "double"}, {}, "level must be one of half, full; got 'double'"),
    ],
)
def test_damaged_features(tmp_path, metadata, tensors, says):
    path = rewrite(with_features(tmp_path / "a.safetensors"), metadata, **tensors)
    with pytest.raises(TrajectoryError, match=rf"(?s)a\.safetensors: .*{says}.*run the inversion again"):
        trajectory_file.load(path)
