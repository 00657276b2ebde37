"""The embedded model through ComfyUI's own classes: the diffusers host's numbers, and stock code works on it."""

import comfy.lora
import comfy.model_management
import comfy.sample
import comfy.samplers
import comfy.sd
import comfy.supported_models
import latent_preview
import numpy as np
import pytest
import torch

import nodes
from videograin.editing.prompt_text import PromptError
from videograin.hosts.comfyui.embedded_model import embedded_model
from videograin.hosts.diffusers import load_model
from videograin.world.clips import pair_clip

pytestmark = pytest.mark.usefixtures("as_the_host_runs")

PROMPTS = (
    "a red circle and a blue square on sand",
    "a (red:1.3) circle and ((a blue) square:0.7) on sand",
    "",
    "a red circle and " * 30 + "a white cross on night",
)


@pytest.fixture(scope="module")
def parts():
    with torch.inference_mode():
        return embedded_model()


@pytest.fixture(scope="module")
def twin():
    return load_model()


@pytest.fixture(scope="module")
def images():
    return torch.from_numpy(pair_clip(3, 3, 128).frames).float() / 255


def encode(clip, text):
    return clip.encode_from_tokens_scheduled(clip.tokenize(text))


def sample(model, clip, latent, **options):
    arguments = {"seed": 0, "steps": 4, "cfg": 5.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0}
    positive, negative = encode(clip, "a red circle and a blue square on sand"), encode(clip, "")
    return nodes.common_ksampler(
        model, positive=positive, negative=negative, latent=latent, **{**arguments, **options}
    )[0]["samples"]


@pytest.mark.parametrize("text", PROMPTS)
def test_text_is_encoded_as_in_the_diffusers_host(parts, twin, text):
    (cond, extra), *others = encode(parts[1], text)
    expected = twin.encode_prompt(text)
    assert others == []
    assert cond.shape == expected.embedding.shape
    assert torch.allclose(cond, expected.embedding, atol=1e-5)
    assert extra["pooled_output"].shape == (1, 128)
    assert torch.isfinite(extra["pooled_output"]).all()


@pytest.mark.parametrize("step", [0, 20, 300, 700, 999])
def test_one_prediction_equals_the_diffusers_hosts(parts, twin, step):
    model, clip, _ = parts
    text = PROMPTS[1]
    sigma = model.get_model_object("model_sampling").sigmas[step]
    x = torch.randn(3, 4, 16, 24, generator=torch.Generator().manual_seed(step)) * (1 + sigma)
    comfy.model_management.load_models_gpu([model])
    ours = model.model.apply_model(x, sigma.expand(3), c_crossattn=encode(clip, text)[0][0].expand(3, -1, -1))
    with twin.denoiser(twin.encode_prompt(text), frames=3, spacetime="per_frame") as denoise:
        theirs = denoise(x, sigma)
    assert torch.allclose(ours, theirs, atol=1e-4)
    assert (ours - x).abs().max() > 10 * 1e-4  # or the model did nothing


def test_noise_levels_are_the_schedulers(parts, twin):
    sampling = parts[0].get_model_object("model_sampling")
    assert torch.allclose(sampling.sigmas, twin.levels.sigmas.float(), rtol=2e-5)  # theirs is summed in float32
    assert parts[0].model.model_type.name == "EPS"


def test_frames_are_encoded_and_decoded_as_in_the_diffusers_host(parts, twin, images):
    model, _, vae = parts
    latent = vae.encode(images)
    frames = (images * 255).round().to(torch.uint8).numpy()
    expected = twin.encode_frames(frames)
    assert torch.allclose(model.model.process_latent_in(latent), expected, atol=1e-5)
    assert torch.allclose(model.model.process_latent_out(expected), latent, atol=1e-5)
    decoded = (vae.decode(latent) * 255).round().numpy()
    assert decoded.shape == frames.shape
    assert np.abs(decoded - twin.decode_latents(expected).astype(float)).max() <= 1  # 127.5 x + 127.5 rounds elsewhere


def test_the_core_vae_nodes_work(parts, images):
    vae = parts[2]
    (latent,) = nodes.VAEEncode().encode(vae, images)
    (tiled,) = nodes.VAEEncodeTiled().encode(vae, images, 512, 64)
    assert torch.allclose(latent["samples"], tiled["samples"], atol=1e-5)  # one tile holds the whole frame
    (plain,) = nodes.VAEDecode().decode(vae, latent)
    (in_tiles,) = nodes.VAEDecodeTiled().decode(vae, latent, 64, 16)
    assert plain.shape == in_tiles.shape == images.shape
    assert (plain - in_tiles).abs().mean() < 0.01
    assert (plain - images).abs().mean() < 0.02
    mask = torch.zeros(1, 128, 128)
    mask[:, 32:96, 32:96] = 1
    (inpaint,) = nodes.VAEEncodeForInpaint().encode(vae, images.clone(), mask, 6)
    assert inpaint["noise_mask"].shape == (1, 1, 128, 128)
    assert (inpaint["samples"][..., 0, 0] - latent["samples"][..., 0, 0]).abs().max() < 1e-3  # far from the mask
    assert (inpaint["samples"] - latent["samples"]).abs().max() > 0.1


def test_odd_sides_are_cropped_by_the_host_as_for_any_vae(parts, images):
    assert parts[2].encode(images[:, :101, :93]).shape == (3, 4, 12, 11)


def test_ksampler_makes_the_same_latent_twice_and_makes_pictures(parts):
    model, clip, vae = parts
    empty = {"samples": torch.zeros(2, 4, 16, 16)}
    first, second = (sample(model, clip, empty, steps=12) for _ in range(2))
    assert torch.equal(first, second)
    pictures = vae.decode(first)
    red = (pictures - torch.tensor([214, 38, 42]) / 255).abs().amax(-1) < 0.2
    blue = (pictures - torch.tensor([38, 84, 224]) / 255).abs().amax(-1) < 0.2
    assert min(red.float().mean((1, 2)).tolist() + blue.float().mean((1, 2)).tolist()) > 0.02  # both, in each


def test_lora_keys_are_found_and_a_lora_changes_the_result_only_on_its_clone(parts):
    model, clip, _ = parts
    keys = comfy.lora.model_lora_keys_clip(clip.cond_stage_model, comfy.lora.model_lora_keys_unet(model.model, {}))
    names = {
        "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k": (128, 64),
        "lora_unet_up_blocks_1_attentions_1_transformer_blocks_0_attn1_to_q": (128, 128),
        "lora_te_text_model_encoder_layers_1_mlp_fc1": (128, 512),
    }
    assert set(names) <= set(keys)
    generator = torch.Generator().manual_seed(0)
    lora = {}
    for name, (inside, outside) in names.items():
        lora[f"{name}.lora_down.weight"] = torch.randn(2, inside, generator=generator)
        lora[f"{name}.lora_up.weight"] = torch.randn(outside, 2, generator=generator)
    latent = {"samples": torch.zeros(1, 4, 16, 16)}
    before = sample(model, clip, latent)
    changed_model, changed_clip = comfy.sd.load_lora_for_models(model, clip, lora, 0.5, 0.5)
    assert len(changed_model.patches) == 2
    assert len(changed_clip.patcher.patches) == 1
    assert not torch.equal(sample(changed_model, clip, latent), before)
    assert not torch.equal(sample(model, changed_clip, latent), before)
    assert torch.equal(sample(model, clip, latent), before)


def test_a_clone_shares_the_weights_and_not_the_patches(parts):
    model = parts[0]
    clone = model.clone()
    clone.set_model_attn1_patch(lambda q, k, v, extra: (q, k, v))
    assert clone.model is model.model
    assert "patches" not in model.model_options["transformer_options"]


def test_loading_in_parts_gives_the_same(parts):
    """What --lowvram does: some weights stay behind and are cast when used."""
    model = embedded_model()[0]
    x, sigma, text = torch.ones(2, 4, 16, 16), torch.tensor([5.0, 5.0]), torch.ones(2, 77, 128)
    model.patch_model(lowvram_model_memory=0)
    whole = model.model.apply_model(x, sigma, c_crossattn=text)
    model.unpatch_model()
    model.patch_model(device_to=torch.device("cpu"), lowvram_model_memory=2 * 1024 * 1024)
    assert model.model.model_lowvram
    assert torch.allclose(model.model.apply_model(x, sigma, c_crossattn=text), whole, atol=1e-6)


def test_clip_skip_takes_the_layer_before(parts):
    clip = parts[1].clone()
    clip.clip_layer(-2)
    skipped = encode(clip, PROMPTS[0])[0][0]
    assert torch.isfinite(skipped).all()
    assert not torch.allclose(skipped, encode(parts[1], PROMPTS[0])[0][0], atol=1e-2)


def test_words_of_other_worlds_are_refused_in_the_runners_words(parts, twin):
    with pytest.raises(PromptError) as ours:
        nodes.CLIPTextEncode().encode(parts[1], "a (dog:1.2) on sand, best quality")
    with pytest.raises(PromptError) as theirs:
        twin.encode_prompt("a (dog:1.2) on sand, best quality")
    assert str(ours.value) == str(theirs.value)
    assert "'dog', 'best', 'quality' are no words" in str(ours.value)


def test_it_is_an_sd15_and_the_hosts_lists_do_not_know_it(parts):
    config = parts[0].model.model_config
    assert isinstance(config, comfy.supported_models.SD15)
    assert type(config) not in comfy.supported_models.models
    assert comfy.supported_models.SD15.unet_config["context_dim"] == 768


def test_the_preview_shows_the_colours(parts, images):
    model, _, vae = parts
    latent = model.model.process_latent_in(vae.encode(images[:1]))
    form = model.model.latent_format
    preview = latent_preview.Latent2RGBPreviewer(form.latent_rgb_factors, form.latent_rgb_factors_bias)
    shown = torch.from_numpy(np.asarray(preview.decode_latent_to_preview(latent)).copy()).float() / 255
    small = torch.nn.functional.avg_pool2d(images[:1].movedim(-1, 1), 8)[0].movedim(0, -1)
    assert shown.shape == small.shape
    assert (shown - small).square().mean() < 0.4 * (small.mean((0, 1)) - small).square().mean()
