"""What is hardly meant of a run, told by its numbers. The real samplers of ComfyUI are in tests/in_comfyui."""

from itertools import pairwise

import pytest
import torch

from videograin.editing.inversion import invert
from videograin.editing.run_doubts import (
    Additions,
    inverted_start_doubt,
    levels_doubt,
    prediction_doubt,
    start_doubt,
)
from videograin.editing.samplers import SAMPLERS
from videograin.editing.trajectory import Trajectory

from .conftest import Gaussian, sd_sigmas

SIGMAS = sd_sigmas(8)


@pytest.fixture(scope="module")
def trajectory():
    clean = torch.randn(2, 3, 4, 6, generator=torch.Generator().manual_seed(0))
    return invert(Gaussian(), clean, SIGMAS)


@pytest.fixture(scope="module")
def fresh():
    return torch.randn(2, 3, 4, 6, generator=torch.Generator().manual_seed(1))


def everywhere(trajectory):
    return torch.ones(trajectory.frames, *trajectory.size)


# --- the start --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sigma", [2.5, 5.0, 14.0])
def test_a_start_that_fits_its_noise_level(fresh, sigma):
    picture = fresh.flip(0)
    assert start_doubt(sigma * fresh + picture, sigma, fresh=False) is None
    assert start_doubt(torch.zeros_like(picture), sigma, fresh=True) is None
    assert (start_doubt(picture, sigma, fresh=True) is None) == (sigma < 10)


@pytest.mark.parametrize("sigma", [2.5, 5.0, 14.0])
def test_a_start_that_does_not_fit_its_noise_level(fresh, sigma):
    picture = fresh.flip(0)
    assert "hardly any noise" in start_doubt(picture, sigma, fresh=False)
    assert "noise already" in start_doubt(sigma * fresh + picture, sigma, fresh=True)


def test_near_the_end_of_a_schedule_pictures_and_noise_cannot_be_told_apart(fresh):
    assert start_doubt(fresh, 1.0, fresh=False) is None
    assert start_doubt(2 * fresh, 1.0, fresh=True) is None


def test_the_inverted_start_and_others(trajectory, fresh):
    sigma, mask = float(SIGMAS[0]), everywhere(trajectory)
    clean, noise = trajectory.latents[-1], trajectory.noise

    def reason(x):
        return inverted_start_doubt(x, sigma, trajectory, mask)

    assert reason(noise) is None
    assert reason(noise + 1e-3 * fresh) is None
    assert "(these are the clip's frames without noise)" in reason(clean)
    assert "(noise was added to them)" in reason(noise + sigma * fresh)
    assert "(this is fresh noise, or another inversion's)" in reason(clean + sigma * fresh)
    assert "(they were changed on the way)" in reason(0.9 * noise)


def test_a_run_that_goes_on_may_differ_inside_the_mask_alone(trajectory, fresh):
    mask, sigma = everywhere(trajectory), float(SIGMAS[3])
    mask[:, :, 3:] = 0
    x = trajectory.at(sigma)
    inside, outside = x.clone(), x.clone()
    inside[..., :3] += fresh[..., :3]
    outside[..., 3:] += fresh[..., 3:] * sigma
    assert inverted_start_doubt(inside, sigma, trajectory, mask) is None
    assert "does not start from the inverted" in inverted_start_doubt(outside, sigma, trajectory, mask)
    assert inverted_start_doubt(outside, sigma, trajectory, everywhere(trajectory)) is None
    top = trajectory.noise + (inside - x) * 5
    assert inverted_start_doubt(top, float(SIGMAS[0]), trajectory, mask) is not None


# --- the levels -------------------------------------------------------------------------------------------------------


def test_the_inversions_levels_a_part_of_them_and_all_but_the_last_are_no_others(trajectory):
    for levels in (SIGMAS, SIGMAS[2:], SIGMAS[:4], SIGMAS[3:5], torch.cat([SIGMAS[:-2], SIGMAS[-1:]])):
        assert levels_doubt(levels, trajectory) is None


def test_other_levels(trajectory):
    half = torch.cat([SIGMAS[:-1:2], SIGMAS[-1:]])
    assert "takes 4 steps from sigma" in levels_doubt(half, trajectory)
    assert "3 levels are left out of those of the inversion (8 steps)" in levels_doubt(half, trajectory)
    moved = SIGMAS.clone()
    moved[2] *= 1.001
    assert "1 of its noise levels lie between" in levels_doubt(moved, trajectory)


# --- additions --------------------------------------------------------------------------------------------------------


def seen(run, fresh):
    """How often a sampler, run(model, x, sigmas), is found to add something."""
    additions, found, model = Additions(), [], Gaussian()

    def watched(x, sigma, **_):
        denoised = model(x, sigma)
        found.append(additions(x, denoised))
        return denoised

    run(watched, fresh * SIGMAS[0], SIGMAS)
    return found


@pytest.mark.parametrize("name", SAMPLERS)
def test_solvers_of_the_ode_add_nothing(fresh, name):
    assert not any(seen(SAMPLERS[name], fresh))


@pytest.mark.parametrize("share", [0.05, 1.0])
def test_noise_between_the_steps_is_found_at_once(fresh, share):
    def ancestral(model, x, sigmas):
        for sigma, following in pairwise(sigmas[:-1]):
            denoised = model(x, sigma.expand(len(x)))
            x = denoised + (x - denoised) / sigma * following + share * following * torch.randn_like(x)

    torch.manual_seed(0)
    found = seen(ancestral, fresh)
    assert found[:2] == [False, True]


# --- what the model predicts ------------------------------------------------------------------------------------------


def inverted(noise=1.0, first=1.0, last=0.0):
    """An inversion from sigma 14: the deviations of its noise, of what the clip is predicted as, both as multiples of
    what fits, and its last noise level."""
    clean = torch.randn(2, 4, 6, 6, generator=torch.Generator().manual_seed(0))
    wide = torch.randn(2, 4, 6, 6, generator=torch.Generator().manual_seed(1)) * noise * (1 + 14.0**2) ** 0.5
    sigmas = torch.tensor([14.0, 7.0, last])
    predicted = clean * first
    # The first two latents lie on a line to the prediction.
    middle = predicted + (wide - predicted) * (7 / 14)
    return Trajectory(torch.stack([wide, middle, clean]), sigmas)


def test_predictions_of_the_clips_size_are_no_doubt():
    assert prediction_doubt(inverted()) is None
    assert prediction_doubt(inverted(first=1.5)) is None
    assert prediction_doubt(inverted(noise=1.2)) is None


@pytest.mark.parametrize("wrong", [{"first": 3.0}, {"noise": 1.8}])
def test_either_sign_of_another_prediction_is_enough(wrong):
    assert "prediction_type" in prediction_doubt(inverted(**wrong))


def test_an_inversion_that_does_not_begin_with_the_clip_tells_nothing():
    assert prediction_doubt(inverted(first=3.0, last=0.1)) is None
