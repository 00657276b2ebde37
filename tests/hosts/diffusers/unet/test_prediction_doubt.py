"""A model that is run as what it is not is found by its inversion; on the embedded model, which predicts epsilon."""

import pytest
import torch

from videograin.editing.inversion import invert
from videograin.editing.pipeline import encode_clip, invert_clip
from videograin.editing.run_doubts import prediction_doubt
from videograin.hosts.diffusers import load_model
from videograin.world.clips import pair_clip

STEPS = 10


@pytest.fixture(scope="module")
def clip():
    return pair_clip(1, 2, 128)


@pytest.mark.parametrize("method", ["ddim", "warm"])
def test_a_model_of_v_that_is_run_as_epsilon(clip, method):
    """Made of the embedded one: its epsilon and x0 are mixed to the v that it would predict."""
    model = load_model()
    latents, found = encode_clip(model, clip.frames), []
    with model.denoiser(model.encode_prompt(clip.caption), frames=2) as denoise:

        def mistaken(x, sigma, **_):
            clean, level = denoise(x, sigma), sigma.reshape(-1, 1, 1, 1)
            v = ((x - clean) / level - level * clean) / (1 + level**2).sqrt()
            return x - level * v

        for run in (denoise, mistaken):
            found.append(prediction_doubt(invert(run, latents, model.sigmas(STEPS), method=method)))
    assert found[0] is None
    assert "predicts v and is run as epsilon" in found[1]
    assert "set prediction_type" in found[1]


def test_a_model_of_epsilon_that_is_run_as_v_is_said_by_the_inversion(clip, caplog):
    model = load_model()
    invert_clip(model, clip.frames, clip.caption, steps=STEPS)
    assert "prediction" not in caplog.text
    model.prediction = "v_prediction"
    invert_clip(model, clip.frames, clip.caption, steps=STEPS)
    assert "inversion: the model's predictions do not fit its noise levels" in caplog.text


def test_a_schedule_that_ends_low_or_begins_in_the_middle_tells_nothing(clip):
    model = load_model()
    latents = encode_clip(model, clip.frames)
    with model.denoiser(model.encode_prompt(clip.caption), frames=2) as denoise:
        for sigmas in (model.sigmas(STEPS)[3:], model.sigmas(STEPS)[:3]):
            inverted = invert(lambda x, sigma, **_: 9 * denoise(x, sigma), latents, sigmas)
            assert torch.isfinite(inverted.noise).all()
            assert prediction_doubt(inverted) is None
