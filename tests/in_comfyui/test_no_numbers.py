"""NaN and infinity inside the real ComfyUI: who comes first on the way names the stage, the frames and the remedy."""

import pytest
import torch

from videograin.hosts.comfyui.inversion import invert_latent
from videograin.nodes.pixel_composite import PixelComposite

from .blending import BLEND, PATCH, World
from .edits import NODE, edit_of, edited
from .tiny import tiny_model


@pytest.fixture(scope="module")
def world():
    return World()


def broken(model, frame=1):
    """A model whose answer for one frame is no number."""

    def answer(apply, arguments):
        out = apply(arguments["input"], arguments["timestep"], **arguments["c"])
        out[frame :: len(out)] = float("nan")
        return out

    model = model.clone()
    model.set_model_unet_function_wrapper(answer)
    return model


def spoiled(latent, frame=2):
    samples = latent["samples"].clone()
    samples[frame, 0, 0, 0] = float("inf")
    return {"samples": samples}


def test_a_model_that_overflows_under_the_blend(world):
    with pytest.raises(ValueError, match=rf"^{BLEND}: the sampled latents: NaN or inf in frame 1; .*--force-fp32"):
        world.custom(world.sampler(), model=broken(world.model))
    with pytest.raises(ValueError, match=rf"^{PATCH}: the sampled latents: NaN or inf in frame 1; .*--force-fp32"):
        world.ksampler(world.patched(broken(world.model)))


def test_a_model_that_overflows_in_an_edit_without_a_blend():
    with pytest.raises(ValueError, match=rf"^{NODE}: the sampled latents: NaN or inf in frame 1; .*--force-fp32"):
        edited(broken(tiny_model("sdxl")), edit_of(mode="per_frame"))


def test_a_model_that_overflows_in_the_inversion(world):
    with pytest.raises(ValueError, match=r"^test: denoiser at sigma .*\(step 1 of 5\): NaN or inf in frame 1; "):
        invert_latent(broken(world.model), world.source, world.latent, world.sigmas, node="test")


def test_latents_of_a_vae_that_overflowed(world):
    with pytest.raises(ValueError, match=r"^test: latent_image: NaN or inf in frame 2; .*--fp32-vae"):
        invert_latent(world.model, world.source, spoiled(world.latent), world.sigmas, node="test")
    with pytest.raises(ValueError, match=rf"^{BLEND}: .* starts from: NaN or inf in frame 2; .*--fp32-vae"):
        world.custom(world.sampler(), noise=spoiled(world.noise))
    free = world.patched(start_from_inversion=False)
    with pytest.raises(ValueError, match=rf"^{PATCH}: .* starts from: NaN or inf in frame 2; .*--fp32-vae"):
        world.ksampler(free, latent=spoiled(world.latent))


def test_pictures_of_a_vae_that_overflowed():
    source, edited = torch.rand(2, 3, 64, 64, 3)
    edited[2, 5] = float("nan")
    with pytest.raises(ValueError, match=r"^Pixel Composite: edited: NaN or inf in frame 2; .*--fp32-vae"):
        PixelComposite.execute(source, edited, torch.ones(1, 64, 64), 8, 8)
