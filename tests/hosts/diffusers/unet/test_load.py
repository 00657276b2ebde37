"""Loading: families, refusals by name, noise levels, VAE, fingerprint, and the embedded model."""

import json
import shutil

import numpy as np
import pytest
import torch

from videograin.attention import Schedule
from videograin.hosts.diffusers import ModelError, load_model
from videograin.hosts.diffusers import vae as diffusers_vae
from videograin.hosts.diffusers.unet.load import read_schedule


@pytest.fixture
def edited(folders, tmp_path):
    """Copies a family's folder with some JSON values changed: edited("sd1", "unet/config.json", in_channels=9)."""

    def copy(family, file, **changes):
        folder = tmp_path / "model"
        shutil.copytree(getattr(folders, family), folder)
        path = folder / file
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
        return folder

    return copy


def test_families_and_predictions(model):
    assert model.prediction == ("v_prediction" if model.family == "sd2" else "epsilon")
    assert (model.latent_channels, model.scale_factor) == (model.geometry.channels, model.geometry.cell) == (4, 8)
    assert not any(p.requires_grad for p in model.unet.parameters())


def test_sigmas_are_sds_leading_ddim_spacing(model):
    from diffusers import DDIMScheduler

    stock = DDIMScheduler.from_config(
        {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
    )
    for steps in (1, 7, 20, 30, 50, 500):
        sigmas = model.sigmas(steps)
        stock.set_timesteps(steps)
        alphas = stock.alphas_cumprod[stock.timesteps]
        assert sigmas.dtype == torch.float32
        assert sigmas[-1] == 0
        assert torch.allclose(sigmas[:-1], ((1 - alphas) / alphas) ** 0.5, rtol=1e-5)
        assert [round(model.levels.timestep(sigma)) for sigma in sigmas[:-1]] == stock.timesteps.tolist()
    times = [model.levels.timestep(sigma) for sigma in model.sigmas(50)[:-1]]
    assert times[:2] == pytest.approx([981, 961], abs=1e-3)
    assert times[-1] == pytest.approx(1, abs=1e-3)
    assert sum(Schedule(1.0).xi(model.levels.t(sigma)) > 0 for sigma in model.sigmas(50)[:-1]) == 15


@pytest.mark.parametrize("steps", [0, -1, 1000, 1001])
def test_impossible_step_counts_are_refused(sd1, steps):
    with pytest.raises(ValueError, match=f"steps must lie between 1 and 999; got {steps}"):
        sd1.sigmas(steps)


def test_zero_terminal_snr_stays_finite(tmp_path):
    config = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    alphas, offset, prediction = read_schedule({**config, "rescale_betas_zero_snr": True}, tmp_path)
    assert 0 < alphas[-1] < 1e-6
    assert (offset, prediction) == (1, "epsilon")


@pytest.mark.parametrize("at_once", [1, 4, 6])
def test_frames_go_through_the_vae_in_slices_as_one(model, monkeypatch, at_once):
    monkeypatch.setattr(diffusers_vae, "PIXELS_AT_ONCE", at_once * 16 * 24 + 1)
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (6, 16, 24, 3), dtype=np.uint8)
    latents = model.encode_frames(frames)
    assert latents.shape == (6, 4, 2, 3)
    assert latents.dtype == torch.float32
    images = torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.no_grad():
        mean = model.vae.net.encode(images).latent_dist.mean * model.vae.scaling
    assert torch.allclose(latents, mean, atol=1e-5)
    assert torch.equal(model.encode_frames(frames), latents)
    decoded = model.decode_latents(latents)
    assert decoded.shape == frames.shape
    assert decoded.dtype == np.uint8
    with torch.no_grad():
        stock = model.vae.net.decode(latents / model.vae.scaling).sample
    assert np.abs(decoded - ((stock + 1) * 127.5).clamp(0, 255).permute(0, 2, 3, 1).numpy()).max() <= 0.51


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (np.zeros((2, 20, 24, 3), np.uint8), "2 frames of 24x20; .*multiples of 8. Resize or crop to 24x16"),
        (np.zeros((2, 16, 24, 4), np.uint8), r"must be uint8 \[F, H, W, 3\]; got uint8 \(2, 16, 24, 4\)"),
        (np.zeros((2, 16, 24, 3), np.float32), "got float32"),
        (np.zeros((0, 16, 24, 3), np.uint8), "0 frames of 24x16"),
    ],
)
def test_wrong_frames_are_refused(sd1, frames, message):
    with pytest.raises(ValueError, match=message):
        sd1.encode_frames(frames)


def test_wrong_latents_are_refused(sd1):
    with pytest.raises(ValueError, match=r"must be \[F, 4, h, w\]"):
        sd1.decode_latents(torch.zeros(2, 3, 4, 4))


def test_fingerprint_tells_models_apart(folders, model):
    again = load_model(getattr(folders, model.family))
    assert again.fingerprint == model.fingerprint
    assert len(again.fingerprint) == 12
    with torch.no_grad():
        again.unet.conv_out.weight[0, 0, 0, 0] += 1
    assert again.fingerprint != model.fingerprint


def test_fingerprint_of_fp16_weights_does_not_depend_on_the_dtype_in_use(folders, tmp_path):
    from diffusers import UNet2DConditionModel

    folder = tmp_path / "half"
    shutil.copytree(folders.sd1, folder)
    UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=torch.float16).save_pretrained(folder / "unet")
    half, full = (load_model(folder, dtype=dtype).fingerprint for dtype in (torch.float16, torch.float32))
    assert half == full


def test_fingerprint_of_a_float32_file_is_that_of_its_float16_loads_and_copies(folders, model, tmp_path):
    from diffusers import UNet2DConditionModel

    source = getattr(folders, model.family)
    assert load_model(source, dtype=torch.float16).fingerprint == model.fingerprint
    folder = tmp_path / "half"
    shutil.copytree(source, folder)
    UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=torch.float16).save_pretrained(folder / "unet")
    assert load_model(folder).fingerprint == model.fingerprint


def test_fp16_variant_files_are_found(folders, tmp_path):
    folder = tmp_path / "variant"
    shutil.copytree(folders.sd1, folder)
    for part in ("unet", "vae", "text_encoder"):
        for path in list((folder / part).glob("*.safetensors")):
            path.rename(path.with_name(path.stem + ".fp16.safetensors"))
    assert load_model(folder).fingerprint == load_model(folders.sd1).fingerprint


@pytest.mark.parametrize(
    ("family", "file", "changes", "message"),
    [
        (
            "sd1",
            "model_index.json",
            {"_class_name": "FluxPipeline", "unet": None, "transformer": ["diffusers", "FluxTransformer2DModel"]},
            "supports SD1.x, SD2.x, SDXL UNets; got FluxPipeline with FluxTransformer2DModel",
        ),
        ("sd1", "unet/config.json", {"in_channels": 9}, "takes 9 channels and gives 4 .*inpainting"),
        ("sd1", "unet/config.json", {"class_embed_type": "projection"}, "got unCLIP or another class-conditioned"),
        ("sd1", "unet/config.json", {"time_cond_proj_dim": 256}, r"got a guidance-distilled \(LCM\) model"),
        ("sd1", "unet/config.json", {"mid_block_type": "UNetMidBlock2DSimpleCrossAttn"}, "UNet with mid_block_type"),
        ("sd1", "unet/config.json", {"addition_embed_type": "text"}, "addition_embed_type 'text'"),
        ("sdxl", "model_index.json", {"text_encoder": [None, None]}, "SDXL refiner has one encoder"),
        ("sd1", "model_index.json", {"text_encoder": ["x", "RobertaSeriesModel"]}, "text_encoder of class Rob"),
        ("sd1", "scheduler/scheduler_config.json", {"prediction_type": "sample"}, "got prediction_type 'sample'"),
        ("sd1", "vae/config.json", {"_class_name": "AutoencoderTiny"}, "WorldVAE; got AutoencoderTiny"),
    ],
)
def test_other_models_are_refused_by_name(edited, family, file, changes, message):
    with pytest.raises(ValueError, match=message):
        load_model(edited(family, file, **changes))


def test_flow_schedulers_are_refused_by_name(tmp_path):
    with pytest.raises(ModelError, match="FlowMatchEulerDiscreteScheduler, which has no beta schedule"):
        read_schedule({"_class_name": "FlowMatchEulerDiscreteScheduler"}, tmp_path)


def test_missing_and_damaged_files_are_named(folders, tmp_path):
    with pytest.raises(ModelError, match="nowhere does not exist"):
        load_model(tmp_path / "nowhere")
    with pytest.raises(ModelError, match=r"has no model_index\.json"):
        load_model(tmp_path)
    (tmp_path / "model.ckpt").write_bytes(b"")
    with pytest.raises(ModelError, match=r"model\.ckpt is neither a folder nor a \.safetensors"):
        load_model(tmp_path / "model.ckpt")
    folder = tmp_path / "model"
    shutil.copytree(folders.sd1, folder)
    for path in (folder / "text_encoder").glob("*.safetensors"):
        path.rename(path.with_suffix(".bin"))
    with pytest.raises(ModelError, match=r"text_encoder has no \.safetensors weights"):
        load_model(folder)
    (folder / "scheduler" / "scheduler_config.json").write_text("{")
    with pytest.raises(ModelError, match=r"scheduler_config\.json is not valid JSON"):
        load_model(folder)
    (folder / "unet" / "config.json").unlink()
    with pytest.raises(ModelError, match=r"config\.json does not exist; the model folder is incomplete"):
        load_model(folder)


def test_a_world_vae_is_loaded_by_its_class_name(folders, tmp_path):
    from videograin.lab.training.pipeline_folder import save_vae
    from videograin.world.vae import WorldVAE

    folder = tmp_path / "model"
    shutil.copytree(folders.sd1, folder)
    shutil.rmtree(folder / "vae")
    torch.manual_seed(0)
    vae = WorldVAE((8, 8, 8), (1, 1, 1), (1, 1, 1), scaling_factor=0.5)
    save_vae(folder / "vae", vae, torch.float32)
    model = load_model(folder)
    assert (model.latent_channels, model.scale_factor) == (4, 8)
    frames = np.random.default_rng(0).integers(0, 256, (5, 16, 24, 3), dtype=np.uint8)
    latents = model.encode_frames(frames)
    images = torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.no_grad():
        assert torch.allclose(latents, vae.encode(images), atol=1e-5)
    assert model.decode_latents(latents).shape == frames.shape


def test_importing_the_host_imports_neither_diffusers_nor_transformers():
    import subprocess
    import sys

    code = "import sys, videograin.hosts.diffusers.unet.model; print({'diffusers', 'transformers'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_the_embedded_model_loads_and_keeps_a_frame():
    from videograin.editing.samplers import sample_euler
    from videograin.world.clips import pair_clip

    model = load_model()
    assert (model.family, model.prediction, model.scale_factor) == ("sd1", "epsilon", 8)
    frames = pair_clip(0, 1, 128).frames
    latents = model.encode_frames(frames)
    assert latents.shape == (1, model.latent_channels, 16, 16)
    assert np.abs(model.decode_latents(latents).astype(int) - frames).mean() < 5
    prompt, spans, _, _ = model.encode_regions("a red circle and a blue square on sand", ["red circle", "blue square"])
    assert [len(span) for span in spans] == [2, 2]
    with model.denoiser(prompt, frames=1) as denoise:
        out = sample_euler(denoise, torch.randn(1, model.latent_channels, 8, 8) * 14.6, model.sigmas(2))
    assert bool(out.isfinite().all())


def test_the_embedded_model_is_missed_by_name(monkeypatch, tmp_path):
    import videograin.hosts.diffusers as host

    monkeypatch.setattr(host, "MODEL", tmp_path / "model")
    with pytest.raises(ModelError, match="the embedded model is not in"):
        load_model()


def test_a_folder_as_the_training_writes_it_is_the_same_in_the_stock_pipeline(tmp_path):
    """The embedded model's layout, untrained: our chain against StableDiffusionPipeline with the same weights."""
    from diffusers import StableDiffusionPipeline

    import videograin.hosts.diffusers.embedded_vae  # noqa: F401  diffusers wants a folder's own classes imported first
    from videograin.editing.samplers import sample_euler
    from videograin.lab.training.pipeline_folder import new_modules, save_pipeline
    from videograin.lab.training.tokenizer import build_vocabulary
    from videograin.world.vae import WorldVAE

    unet = {
        "block_out_channels": (32, 32),
        "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        "layers_per_block": 1,
        "attention_head_dim": 4,
        "cross_attention_dim": 128,
    }
    schedule = {
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "clip_sample": False,
        "steps_offset": 1,
    }
    torch.manual_seed(0)
    save_pipeline(tmp_path, new_modules(unet, len(build_vocabulary()[0])), WorldVAE(scaling_factor=0.7), schedule)
    model = load_model(tmp_path)
    pipe = StableDiffusionPipeline.from_pretrained(tmp_path, torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    prompt, negative = "a red circle and a blue square", ""
    z = torch.randn(1, 4, 4, 6)
    settings = {"num_inference_steps": 5, "guidance_scale": 3.0, "height": 32, "width": 48, "latents": z.clone()}
    latents = pipe(prompt, negative_prompt=negative, output_type="latent", **settings).images
    sigmas = model.sigmas(5)
    halves = {"negative": model.encode_prompt(negative), "guidance": 3.0}
    with model.denoiser(model.encode_prompt(prompt), frames=1, **halves) as denoise:
        got = sample_euler(denoise, z * (sigmas[0] ** 2 + 1) ** 0.5, sigmas)
    scale = float(latents.abs().max())
    assert torch.allclose(got / scale, latents / scale, atol=1e-4)
    pixels = pipe(prompt, negative_prompt=negative, output_type="np", **settings).images
    assert np.abs(model.decode_latents(latents) / 255 - pixels).max() < 0.01


def test_a_folder_that_does_not_say_what_it_predicts_is_epsilon_with_a_warning_that_names_the_setting(edited, caplog):
    folder = edited("sdxl", "scheduler/scheduler_config.json", prediction_type=None)
    assert load_model(folder).prediction == "epsilon"
    scheduler = folder / "scheduler" / "scheduler_config.json"
    assert f"{scheduler} does not say prediction_type; the model is run as epsilon" in caplog.text
    assert "set it to v_prediction" in caplog.text


def test_a_folder_that_says_what_it_predicts_runs_without_a_word(folders, caplog):
    load_model(folders.sdxl)
    assert "prediction_type" not in caplog.text
