"""Save Inversion and Load Inversion with ComfyUI's own folders, and files that go to and fro between the two hosts."""

import os

import folder_paths
import numpy as np
import pytest
import torch

from videograin.editing import trajectory_file
from videograin.editing.pipeline import invert_clip
from videograin.editing.trajectory import Trajectory
from videograin.hosts.comfyui.embedded_model import embedded_model
from videograin.hosts.comfyui.inversion import latent_samples
from videograin.hosts.diffusers import load_model
from videograin.measuring.round_trip import measure_round_trip
from videograin.nodes.ddim_video_inversion import DDIMVideoInversion
from videograin.nodes.load_inversion import LoadInversion
from videograin.nodes.save_inversion import SaveInversion
from videograin.world.clips import pair_clip

from .tiny import conditioning, tiny_model

pytestmark = pytest.mark.usefixtures("as_the_host_runs")


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    for name in ("input", "output"):
        (tmp_path / name).mkdir()
        monkeypatch.setattr(folder_paths, f"{name}_directory", str(tmp_path / name))
    return tmp_path / "input", tmp_path / "output"


@pytest.fixture(scope="module")
def inverted():
    """(noise, inversion, sigmas) of a random model, with layout features."""
    samples = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        return DDIMVideoInversion.execute(
            tiny_model(), conditioning(1), {"samples": samples}, 2, "warm", 3, "full", 2, True
        ).args


def save(inversion, prefix="videograin/inversion"):
    return SaveInversion.execute(inversion, prefix)


def test_what_is_saved_is_loaded(inverted, folders):
    noise, inversion, sigmas = inverted
    out = save(inversion)
    assert out.args == (inversion,)
    path = folders[1] / "videograin" / "inversion_00001_.safetensors"
    (text,) = out.ui.as_dict()["text"]
    assert str(path) in text
    assert f"{path.stat().st_size / 1e6:.3g} MB: 2 steps, warm, 2 frames of 8 x 8 latent cells, layout features" in text
    name = "videograin/inversion_00001_.safetensors [output]"
    assert LoadInversion.define_schema().inputs[0].options == [name]
    back, noise_back, sigmas_back = LoadInversion.execute(name).args
    assert torch.equal(back.latents, inversion.latents)
    assert torch.equal(back.features.values, inversion.features.values)
    assert (back.extra, back.family, back.model, back.method) == (
        inversion.extra,
        inversion.family,
        inversion.model,
        inversion.method,
    )
    assert torch.equal(sigmas_back, sigmas)
    assert torch.equal(noise_back["samples"], noise["samples"])


def test_the_host_counts_and_fills_in_the_date(inverted, folders):
    save(inverted[1], "%year%/a")
    save(inverted[1], "%year%/a")
    (folder,) = folders[1].iterdir()
    assert folder.name.isdigit()
    assert sorted(p.name for p in folder.iterdir()) == ["a_00001_.safetensors", "a_00002_.safetensors"]


@pytest.mark.parametrize("prefix", ["../x", "/tmp/x", "a/../../x", ""])
def test_saving_outside(inverted, folders, prefix):
    with pytest.raises(ValueError, match=r"^Save Inversion: filename_prefix"):
        save(inverted[1], prefix)
    assert list(folders[1].iterdir()) == list(folders[0].iterdir()) == []


@pytest.mark.parametrize(
    "name", ["../x.safetensors", "/etc/passwd", "../../x.safetensors [output]", "gone.safetensors"]
)
def test_loading_what_is_not_there_fails_before_the_run(name):
    says = LoadInversion.validate_inputs(name)
    assert isinstance(says, str)
    assert says.startswith("Load Inversion: file: ")
    with pytest.raises(ValueError, match=r"^Load Inversion: file: "):
        LoadInversion.execute(name)
    assert LoadInversion.fingerprint_inputs(name) == ""


def test_validation_and_fingerprint(inverted, folders):
    trajectory_file.save(inverted[1], folders[0] / "a.safetensors")
    assert LoadInversion.validate_inputs("a.safetensors") is True
    assert LoadInversion.validate_inputs(None) is True  # linked: no value yet
    assert LoadInversion.fingerprint_inputs(None) == ""
    before = LoadInversion.fingerprint_inputs("a.safetensors")
    assert before == LoadInversion.fingerprint_inputs("a.safetensors")
    os.utime(folders[0] / "a.safetensors", ns=(5, 5))
    assert LoadInversion.fingerprint_inputs("a.safetensors") != before


def test_a_damaged_file(inverted, folders):
    path = trajectory_file.save(inverted[1], folders[0] / "a.safetensors")
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"^Load Inversion: .*damaged"):
        LoadInversion.execute("a.safetensors")


def test_sigmas_and_noise_are_copies(inverted, folders):
    trajectory_file.save(inverted[1], folders[0] / "a.safetensors")
    inversion, noise, sigmas = LoadInversion.execute("a.safetensors").args
    kept = inversion.sigmas.clone(), inversion.latents.clone()
    sigmas.fill_(7)
    noise["samples"].fill_(7)
    assert torch.equal(inversion.sigmas, kept[0])
    assert torch.equal(inversion.latents, kept[1])


@pytest.mark.parametrize(("family", "scale"), [("sd1", 0.18215), ("sd2", 0.18215), ("sdxl", 0.13025)])
def test_files_that_do_not_say_their_scale_have_their_familys(family, scale):
    old = Trajectory(torch.ones(2, 1, 4, 2, 2), torch.tensor([1.0, 0.0]), family=family)
    assert scale == tiny_model(family).get_model_object("latent_format").scale_factor
    assert torch.equal(latent_samples(old, 0), old.noise / scale)


@pytest.mark.parametrize("extra", [{"latent_scale": "x"}, {"latent_scale": "0"}, {"latent_scale": "nan"}, {}])
def test_no_scale_at_all(extra, folders):
    old = Trajectory(torch.ones(2, 1, 4, 2, 2), torch.tensor([1.0, 0.0]), extra=extra)
    trajectory_file.save(old, folders[0] / "a.safetensors")
    with pytest.raises(ValueError, match=r"Load Inversion: .*does not say its latents' scale"):
        LoadInversion.execute("a.safetensors")


# --- the standalone runner's files ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def clip():
    return pair_clip(3, 2, 64)


def test_a_file_of_the_standalone_runner(clip, folders):
    """Its noise and clean latents, at ComfyUI's scale, are what the embedded model's own VAE and nodes work with."""
    twin = load_model()
    theirs = invert_clip(twin, clip.frames, clip.caption, steps=4)
    trajectory_file.save(theirs, folders[0] / "runner.safetensors")
    back, noise, sigmas = LoadInversion.execute("runner.safetensors").args
    assert torch.equal(back.latents, theirs.latents)
    assert torch.equal(sigmas, theirs.sigmas)
    model, _, vae = embedded_model()
    assert torch.allclose(model.model.process_latent_in(noise["samples"]), theirs.noise, rtol=1e-5)
    pixels = vae.decode(model.model.process_latent_out(back.clean))
    frames = (pixels * 255).round().numpy()
    assert np.abs(frames - twin.decode_latents(theirs.clean)).max() <= 1


def test_a_file_of_comfyui_in_the_standalone_runner(clip, folders):
    """It loads and walks back down there; only the runner's check of the weights does not know ComfyUI's."""
    model, text, vae = embedded_model()
    source = text.encode_from_tokens_scheduled(text.tokenize(clip.caption))
    samples = vae.encode(torch.from_numpy(clip.frames).float() / 255)
    inversion = DDIMVideoInversion.execute(
        model, source, {"samples": samples}, 6, "fixed_point", 4, "full", 2, False
    ).args[1]
    save(inversion, "a")
    loaded = trajectory_file.load(folders[1] / "a_00001_.safetensors")
    twin = load_model()
    assert torch.allclose(loaded.clean, twin.encode_frames(clip.frames), atol=1e-5)
    named = Trajectory(loaded.latents, loaded.sigmas, prompt=clip.caption, family=loaded.family)
    assert measure_round_trip(twin, named).psnr > 35
