"""The shipped model is as good as its card says. Fewer pictures than `make evaluate`, the same judge."""

from pathlib import Path

import pytest

import videograin.world
from videograin.hosts.diffusers import load_model
from videograin.lab.training.evaluate import autoencoder, round_trip, text_to_image

FOLDER = Path(videograin.world.__file__).parent / "model"


@pytest.fixture(scope="module")
def model():
    return load_model()


def test_it_is_small_and_half_precision():
    from safetensors import safe_open

    weights = list(FOLDER.rglob("*.safetensors"))
    assert len(weights) == 3
    assert sum(path.stat().st_size for path in weights) <= 20e6
    for path in weights:
        with safe_open(path, "pt") as file:
            dtypes = {file.get_slice(key).get_dtype() for key in file.keys()}  # noqa: SIM118 - not a dict
        assert dtypes - {"I64"} == {"F16"}, path


def test_the_vae_is_not_the_ceiling(model):
    figures = autoencoder(model, 60)
    assert figures["vae_psnr_db"] >= 35
    assert figures["reader_after_vae"]["objects"] >= 0.99


def test_it_draws_what_the_prompt_says(model):
    one = text_to_image(model, 8, 1)
    assert one["right"] >= 7 / 8
    two = text_to_image(model, 8, 2)
    assert two["right"] >= 6 / 8


def test_inversion_and_back_keeps_the_clip(model):
    figures = round_trip(model, 1, "warm")
    assert figures["psnr_db_min"] >= 40
    assert 0.9 < figures["noise_std"][0] < 1.05
