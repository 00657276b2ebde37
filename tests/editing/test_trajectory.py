import math
import os
import pickle

import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from videograin.editing import trajectory_file
from videograin.editing.attention_features import Features
from videograin.editing.samplers import sample_euler
from videograin.editing.trajectory import Trajectory, TrajectoryError

FACTS = {"prompt": "two men – 二人", "family": "sd1", "model": "ab12", "source": "cd34", "method": "warm"}


def make(latents=None, sigmas=None, **facts):
    if latents is None:
        latents = torch.randn(4, 3, 2, 5, 6, generator=torch.Generator().manual_seed(0))
    if sigmas is None:
        sigmas = torch.tensor([8.0, 3.0, 1.0, 0.0])
    return Trajectory(latents, sigmas, **{**FACTS, "extra": {"steps": "3"}, **facts})


def rewrite(path, metadata=None, **tensors):
    """Replace parts of a file (None = leave out)."""
    with safe_open(str(path), "pt") as handle:
        held = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118 (not a dict)
        facts = handle.metadata()
    held, facts = held | tensors, facts | (metadata or {})
    keep = {k: v for k, v in facts.items() if v is not None}
    safetensors.torch.save_file({k: v for k, v in held.items() if v is not None}, str(path), metadata=keep)
    return path


def raw(path, metadata=None, **tensors):
    """A file as `save` writes it, with parts replaced (None = left out) behind the class's back."""
    return rewrite(trajectory_file.save(make(), path), metadata, **tensors)


# --- values -----------------------------------------------------------------------------------------------------------


def test_properties():
    trajectory = make()
    assert (trajectory.steps, trajectory.frames, trajectory.channels, trajectory.size) == (3, 3, 2, (5, 6))
    assert torch.equal(trajectory.noise, trajectory.latents[0])
    assert torch.equal(trajectory.clean, trajectory.latents[3])
    with pytest.raises(AttributeError):
        trajectory.prompt = "other"


@pytest.mark.parametrize("wobble", [1, 1 + 3e-7, 1 - 3e-7])
def test_at_stored_levels_is_exact(wobble):
    """A few float32 ulps off, as between hosts, is still the stored level."""
    trajectory = make()
    for i, sigma in enumerate(trajectory.sigmas.tolist()):
        assert torch.equal(trajectory.at(sigma * wobble), trajectory.latents[i])


def test_at_between_is_linear_in_sigma():
    trajectory = make()
    expected = 0.25 * trajectory.latents[1] + 0.75 * trajectory.latents[2]
    torch.testing.assert_close(trajectory.at(1.5), expected)
    torch.testing.assert_close(trajectory.at(0.4), 0.4 * trajectory.latents[2] + 0.6 * trajectory.latents[3])


@pytest.mark.parametrize("sigma", [8.01, -0.1, math.nan, math.inf])
def test_outside_is_an_error(sigma):
    for ask in (make().at, make().denoised):
        with pytest.raises(TrajectoryError, match=r"outside the inversion, which covers 0 to 8; .*same SIGMAS"):
            ask(sigma)
    ends_high = make(sigmas=torch.tensor([8.0, 3.0, 1.0, 0.5]))
    with pytest.raises(TrajectoryError, match=r"sigma 0.4 lies outside .* covers 0.5 to 8"):
        ends_high.at(0.4)


def test_frames_are_taken_in_their_order():
    trajectory = make()
    for window in ([2, 0], (1,), torch.tensor([2, 2, 1]), [0, 1, 2]):
        index = torch.as_tensor(window)
        assert torch.equal(trajectory.at(3.0, window), trajectory.latents[1][index])
        torch.testing.assert_close(trajectory.at(2.0, window), trajectory.at(2.0)[index])
        assert torch.equal(trajectory.denoised(3.0, window), trajectory.denoised(3.0)[index])


@pytest.mark.parametrize(("frames", "got"), [([0, 3], "index 3"), ([-1], "index -1"), ([], "an empty list")])
def test_frames_that_do_not_exist(frames, got):
    with pytest.raises(TrajectoryError, match=f"from 0 to 2 .3 were inverted.*got {got}"):
        make().at(3.0, frames)


@pytest.mark.parametrize("last", [0.0, 0.5])
def test_denoised_makes_euler_walk_the_stored_path(last):
    trajectory = make(sigmas=torch.tensor([8.0, 3.0, 1.0, last]))
    walked = []

    def model(x, sigma):
        return trajectory.denoised(float(sigma[0]))

    end = sample_euler(model, trajectory.noise, trajectory.sigmas, callback=lambda info: walked.append(info["x"]))
    torch.testing.assert_close(torch.stack([*walked, end]), trajectory.latents, rtol=0, atol=1e-5)


def test_denoised_between_and_at_the_last_level():
    trajectory = make(sigmas=torch.tensor([8.0, 3.0, 1.0, 0.5]))
    assert torch.equal(trajectory.denoised(2.0), trajectory.denoised(3.0))  # the path is straight from 3 to 1
    assert not torch.equal(trajectory.denoised(1.0), trajectory.denoised(3.0))  # the step below counts
    assert torch.equal(trajectory.denoised(0.5), trajectory.denoised(1.0))  # nothing below: the last step's
    clean = make()
    for sigma in (1.0, 0.3, 0.0):
        assert torch.equal(clean.denoised(sigma), clean.clean)


# --- require ----------------------------------------------------------------------------------------------------------


def test_require_accepts_what_fits():
    make().require()
    make().require(frames=3, family="sd1", model="ab12", source="cd34", size=(5, 6))
    make().require(size=torch.Size([5, 6]))


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"frames": 8}, "frames: the inversion has 3, the edit 8.*frames that were inverted"),
        ({"family": "sdxl"}, "family: the inversion has 'sd1', the edit 'sdxl'.*load a model of that family"),
        ({"model": "ff"}, "model: the inversion has 'ab12', the edit 'ff'.*load the model that was used"),
        ({"source": "ee"}, "source: the inversion has 'cd34', the edit 'ee'.*use the video"),
        ({"size": (5, 7)}, r"latent size: the inversion has \(5, 6\), the edit \(5, 7\).*size that was inverted"),
    ],
)
def test_require_names_both_sides_and_the_remedy(asked, says):
    with pytest.raises(TrajectoryError, match=r"does not fit the edit.*" + says):
        make().require(**asked)


def test_require_lists_every_difference_and_distrusts_the_unrecorded():
    with pytest.raises(TrajectoryError, match=r"frames: .*model: the inversion has nothing recorded, the edit 'ff'"):
        make(model="").require(frames=2, model="ff", family="sd1")


# --- construction -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"latents": torch.zeros(4, 2, 5, 6)}, r"latents \[steps \+ 1, F, C, h, w\].*got \[4, 2, 5, 6\]"),
        ({"latents": torch.zeros(4, 0, 2, 5, 6)}, "no empty axis"),
        ({"latents": torch.zeros(4, 3, 2, 5, 6).half()}, "float32 latents on the CPU, got torch.float16"),
        ({"latents": torch.zeros(5, 3, 2, 5, 6)}, "got 4 sigmas for 5 latents"),
        ({"latents": torch.full((4, 3, 2, 5, 6), math.nan)}, "NaN or inf in 4 of 4 latents .first at sigma 8"),
        ({"sigmas": torch.tensor([0.0, 1.0, 3.0, 8.0])}, "ascending"),
        ({"sigmas": torch.tensor([8.0, 3.0, 3.0, 0.0])}, "strictly descending"),
        ({"sigmas": torch.tensor([8, 3, 1, 0])}, "float32 sigmas on the CPU, got torch.int64"),
        ({"sigmas": [8, 3, 1, 0]}, "got list"),
        ({"prompt": None}, "prompt must be a string, got NoneType"),
        ({"model": "\ud800"}, "model must be Unicode text.*remove that character"),
        ({"extra": {"steps": 3}}, r"extra\['steps'\] must be a string, got int"),
        ({"extra": {3: "steps"}}, "a key of extra must be a string"),
        ({"extra": ["a"]}, "extra must be a dict of strings, got list"),
        ({"features": torch.zeros(3, 6, 6)}, "features must be a Features or None, got Tensor"),
        ({"features": Features((1, 1), torch.ones(2, 1, 1))}, "features of 2 frames for latents of 3"),
    ],
)
def test_a_trajectory_is_checked_when_made(change, says):
    with pytest.raises(TrajectoryError, match=says):
        make(**change)


# --- file -------------------------------------------------------------------------------------------------------------

TEXT = st.text(max_size=20)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    shape=st.tuples(*[st.integers(1, 4)] * 4),
    sigmas=st.lists(st.floats(0, 1e4, width=32), min_size=2, max_size=5, unique=True),
    texts=st.fixed_dictionaries(dict.fromkeys(FACTS, TEXT)),
    extra=st.dictionaries(TEXT, TEXT, max_size=3),
    seed=st.integers(0, 99),
)
def test_round_trip(tmp_path, shape, sigmas, texts, extra, seed):
    sigmas = torch.tensor(sorted((abs(s) for s in sigmas), reverse=True))
    latents = torch.randn(len(sigmas), *shape, generator=torch.Generator().manual_seed(seed))
    saved = Trajectory(latents, sigmas, **texts, extra=extra)
    loaded = trajectory_file.load(trajectory_file.save(saved, tmp_path / "a.safetensors"))
    assert torch.equal(loaded.latents, latents)
    assert torch.equal(loaded.sigmas, sigmas)
    assert {name: getattr(loaded, name) for name in FACTS} == texts
    assert loaded.extra == extra
    assert os.listdir(tmp_path) == ["a.safetensors"]


def test_views_can_be_saved(tmp_path):
    latents = torch.randn(8, 3, 2, 6, 5).transpose(-1, -2)[::2]
    loaded = trajectory_file.load(trajectory_file.save(make(latents), str(tmp_path / "v.safetensors")))
    assert torch.equal(loaded.latents, latents)


def test_metadata_is_strings_with_a_version(tmp_path):
    trajectory_file.save(make(), tmp_path / "a.safetensors")
    with safe_open(str(tmp_path / "a.safetensors"), "pt") as handle:
        metadata = handle.metadata()
    assert (metadata["format"], metadata["format_version"]) == ("videograin.trajectory", "1")
    assert (metadata["prompt"], metadata["extra.steps"]) == (FACTS["prompt"], "3")


@pytest.mark.parametrize("where", ["write", "sync", "rename"])
@pytest.mark.parametrize("stop", [KeyboardInterrupt, OSError])
def test_an_interrupted_save_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, where, stop):
    path = tmp_path / "a.safetensors"
    trajectory_file.save(make(prompt="old"), path)

    def interrupt(*args, **kwargs):
        if where == "write":
            with open(args[1], "wb") as handle:
                handle.write(b"half")
        raise stop

    place = {"write": "safetensors.torch.save_file", "sync": "os.fsync", "rename": "os.replace"}[where]
    monkeypatch.setattr(place, interrupt)
    with pytest.raises(stop):
        trajectory_file.save(make(prompt="new"), path)
    assert os.listdir(tmp_path) == ["a.safetensors"]
    assert trajectory_file.load(path).prompt == "old"


def test_unusable_paths(tmp_path):
    with pytest.raises(TrajectoryError, match=r"a name ending in .safetensors, got 'a.pt'"):
        trajectory_file.save(make(), tmp_path / "a.pt")
    with pytest.raises(TrajectoryError, match=r"the folder .*none does not exist; create it first"):
        trajectory_file.save(make(), tmp_path / "none" / "a.safetensors")
    for missing in (tmp_path / "b.safetensors", tmp_path):
        with pytest.raises(TrajectoryError, match="no such file; check the path"):
            trajectory_file.load(missing)


@pytest.mark.parametrize("keep", [0, 5, 100, 0.5, -1])
def test_a_truncated_file(tmp_path, keep):
    path = trajectory_file.save(make(), tmp_path / "a.safetensors")
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep) if isinstance(keep, float) else keep])
    with pytest.raises(TrajectoryError, match=r"a.safetensors: damaged.*bytes.*run the inversion again"):
        trajectory_file.load(path)


def test_nobody_is_told_to_delete_a_file_of_another_kind(tmp_path):
    (tmp_path / "clip.mp4").write_bytes(b"\xff" * 64)
    with pytest.raises(TrajectoryError, match=r"; choose a file written by the inversion\.$"):
        trajectory_file.load(tmp_path / "clip.mp4")


def test_garbage_and_pickles_are_never_unpickled(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "exploded"),))

    path = tmp_path / "a.safetensors"
    for data in (os.urandom(4096), b"\xff" * 64, pickle.dumps(Bomb())):
        path.write_bytes(data)
        with pytest.raises(TrajectoryError, match=r"damaged, or not a .safetensors file at all"):
            trajectory_file.load(path)
    torch.save({"latents": Bomb()}, path)
    with pytest.raises(TrajectoryError, match=r"damaged, or not a .safetensors file at all"):
        trajectory_file.load(path)
    assert not (tmp_path / "exploded").exists()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_any_flipped_bit_in_the_tensors_is_found(tmp_path, position, bit):
    path = trajectory_file.save(make(), tmp_path / "a.safetensors")
    data = bytearray(path.read_bytes())
    start = 8 + int.from_bytes(data[:8], "little")
    data[start + int((len(data) - start) * position)] ^= 1 << bit
    path.write_bytes(data)
    with pytest.raises(TrajectoryError, match="run the inversion again"):
        trajectory_file.load(path)


def test_a_safetensors_file_of_something_else(tmp_path):
    path = tmp_path / "a.safetensors"
    safetensors.torch.save_file({"unet.weight": torch.zeros(2)}, str(path))
    with pytest.raises(TrajectoryError, match=r"not an inversion of this project .it holds unet.weight.; choose"):
        trajectory_file.load(path)
    safetensors.torch.save_file({}, str(path), metadata={"format": "pt"})
    with pytest.raises(TrajectoryError, match="it holds no tensor"):
        trajectory_file.load(path)


@pytest.mark.parametrize(
    ("metadata", "tensors", "says"),
    [
        ({"format_version": "2"}, {}, "format version 2, this VideoGrain reads up to 1; update VideoGrain"),
        ({"format_version": "one"}, {}, "damaged .format version 'one', expected '1'"),
        ({"format_version": "9" * 5000}, {}, "damaged .format version"),
        ({"format_version": None}, {}, "damaged .format version ''"),
        ({"family": None}, {}, "damaged .missing: family"),
        ({"checksum": None}, {}, "damaged .missing: checksum"),
        ({"checksum": "00000000"}, {}, "do not match their checksum"),
        ({}, {"sigmas": None}, "damaged .missing: sigmas"),
        ({}, {"latents": torch.full((4, 3, 2, 5, 6), math.nan)}, "NaN or inf in 4 of 4 latents"),
        ({}, {"latents": torch.zeros(4, 3, 2, 5)}, r"expected latents .* got \[4, 3, 2, 5\]"),
        ({}, {"latents": torch.zeros(3, 3, 2, 5, 6)}, "got 4 sigmas for 3 latents"),
        ({}, {"latents": torch.zeros(4, 3, 2, 5, 6).half()}, "expected float32 latents"),
        ({}, {"sigmas": torch.tensor([0.0, 1.0, 3.0, 8.0])}, "ascending"),
    ],
)
def test_damaged_newer_and_wrong_contents(tmp_path, metadata, tensors, says):
    path = raw(tmp_path / "a.safetensors", metadata, **tensors)
    with pytest.raises(TrajectoryError, match=rf"a\.safetensors: .*{says}"):
        trajectory_file.load(path)
