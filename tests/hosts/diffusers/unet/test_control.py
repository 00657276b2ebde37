"""ControlNet: residuals per frame and per chunk, as diffusers' own pipeline adds them."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from videograin.attention import Schedule
from videograin.editing.samplers import sample_euler

F, H, W = 2, 4, 6
PROMPT, NEGATIVE = "a red star", "a square"


@pytest.fixture(scope="module")
def folder(sd1, tmp_path_factory):
    from diffusers import ControlNetModel

    torch.manual_seed(0)
    net = ControlNetModel.from_unet(sd1.unet, conditioning_embedding_out_channels=(4, 4, 8, 8))
    for layer in [*net.controlnet_down_blocks, net.controlnet_mid_block, net.controlnet_cond_embedding.conv_out]:
        torch.nn.init.normal_(layer.weight, std=0.2)  # zero when made: it would do nothing
    path = tmp_path_factory.mktemp("control")
    net.save_pretrained(path)
    return path


@pytest.fixture
def frames():
    return np.random.default_rng(0).integers(0, 256, (F, 8 * H, 8 * W, 3), dtype=np.uint8)


@pytest.fixture
def x():
    return torch.randn(F, 4, H, W, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("guidance", "scale"), [(1.0, 1.0), (4.0, 0.5)])
def test_the_same_as_the_stock_pipeline(sd1, folders, folder, frames, x, guidance, scale):
    """Each frame on its own against StableDiffusionControlNetPipeline."""
    from diffusers import ControlNetModel, StableDiffusionControlNetPipeline

    pipe = StableDiffusionControlNetPipeline.from_pretrained(
        folders.sd1, controlnet=ControlNetModel.from_pretrained(folder), safety_checker=None
    )
    pipe.set_progress_bar_config(disable=True)
    sigmas = sd1.sigmas(4)
    prompt, negative = sd1.encode_prompt(PROMPT), sd1.encode_prompt(NEGATIVE)
    settings = {"frames": F, "negative": negative, "guidance": guidance, "spacetime": "per_frame"}
    control = sd1.load_control(folder, frames, scale=scale)
    with sd1.denoiser(prompt, controlnet=control, **settings) as denoise:
        got = sample_euler(denoise, x * (sigmas[0] ** 2 + 1) ** 0.5, sigmas)
    with sd1.denoiser(prompt, **settings) as denoise:
        without = sample_euler(denoise, x * (sigmas[0] ** 2 + 1) ** 0.5, sigmas)
    for f in range(F):
        image = torch.from_numpy(frames[f]).permute(2, 0, 1)[None].float() / 255
        expected = pipe(
            PROMPT,
            image,
            negative_prompt=NEGATIVE,
            guidance_scale=guidance,
            controlnet_conditioning_scale=scale,
            num_inference_steps=4,
            latents=x[f : f + 1].clone(),
            output_type="latent",
        ).images[0]
        size = float(expected.abs().max())
        assert torch.allclose(got[f] / size, expected / size, atol=1e-4)
        assert not torch.allclose(got[f] / size, without[f] / size, atol=1e-2)


def test_control_acts_in_its_part_of_the_run_only(sd1, folder, frames, x):
    prompt = sd1.encode_prompt(PROMPT)
    control = sd1.load_control(folder, frames, start=0.0, end=0.5)
    off = sd1.load_control(folder, frames, scale=0.0)
    with (
        sd1.denoiser(prompt, frames=F) as plain,
        sd1.denoiser(prompt, frames=F, controlnet=control) as early,
        sd1.denoiser(prompt, frames=F, controlnet=off) as never,
    ):
        for timestep, acts in ((900, True), (400, False)):
            sigma = sd1.levels.sigmas[timestep]
            assert torch.equal(early(x, sigma), plain(x, sigma)) is not acts
            assert torch.equal(never(x, sigma), plain(x, sigma))


@pytest.mark.parametrize(("start", "end"), [(0.0, 1.0), (0.0, 0.3), (0.3, 0.5), (0.5, 1.0), (0.019, 0.019)])
def test_control_acts_in_exactly_the_steps_in_which_a_schedule_does(sd1, folder, frames, x, start, end):
    """At 50 steps t = 0.981, 0.961, ..., read off float32 sigmas, so that an edge may lie on a step."""
    control, schedule = sd1.load_control(folder, frames, start=start, end=end), Schedule(1.0, 0.0, start, end)
    acted = []

    def net(*args, **options):
        acted.append(t)
        return [], None

    control = replace(control, net=net)
    times = [sd1.levels.t(sigma) for sigma in sd1.sigmas(50)[:-1]]
    for t in [*times, 0.0]:
        control.residuals(x, None, None, None, t)
    assert acted == [t for t in [*times, 0.0] if schedule.range.holds(t)]
    assert len(acted) == {1.0: 51, 0.3: 15, 0.5: 10, 0.019: 0}[end] - (25 if start == 0.5 else 0)


def test_control_of_another_length_or_size_is_refused(sd1, folder, frames, x):
    control = sd1.load_control(folder, frames[:1])
    with (
        sd1.denoiser(sd1.encode_prompt(PROMPT), frames=F, controlnet=control) as denoise,
        pytest.raises(ValueError, match="control video has 1 frames of 48x32; expected 2 frames of 48x32"),
    ):
        denoise(x, 1.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": -1.0}, "scale must be >= 0; got -1.0"),
        ({"start": 0.6, "end": 0.5}, "expected 0 <= start <= end <= 1"),
    ],
)
def test_wrong_settings_are_refused(sd1, folder, frames, options, message):
    with pytest.raises(ValueError, match=message):
        sd1.load_control(folder, frames, **options)


def test_wrong_folders_and_frames_are_refused(sd1, folder, frames, tmp_path):
    with pytest.raises(ValueError, match=r"has no config\.json; expected a local diffusers ControlNet folder"):
        sd1.load_control(tmp_path, frames)
    with pytest.raises(ValueError, match=r"must be uint8 \[F, H, W, 3\]; got torch.float32"):
        sd1.load_control(folder, frames.astype(np.float32))
    config = json.loads((folder / "config.json").read_text())
    for changes, message in (
        ({"_class_name": "T2IAdapter"}, "holds a T2IAdapter; expected a ControlNetModel"),
        ({"cross_attention_dim": 768}, "made for a text width of 768; this model has 16"),
    ):
        (tmp_path / "config.json").write_text(json.dumps({**config, **changes}))
        with pytest.raises(ValueError, match=message):
            sd1.load_control(tmp_path, frames)
