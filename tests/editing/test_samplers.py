from itertools import pairwise

import pytest
import torch

from videograin.attention.options import SAMPLER_NAMES
from videograin.editing.checks import DenoiserError, LatentError, NumberError, SigmaError
from videograin.editing.samplers import SAMPLERS, sample_dpmpp_2m, sample_euler, sample_heun

CALLS = {"euler": lambda s: s, "ddim": lambda s: s, "heun": lambda s: 2 * s - 1, "dpmpp_2m": lambda s: s}


def test_table():
    assert set(SAMPLERS) == set(SAMPLER_NAMES)
    assert SAMPLERS["ddim"] is SAMPLERS["euler"] is sample_euler


@pytest.mark.parametrize("name", SAMPLERS)
def test_calls_and_callback(toy, name):
    model, sigmas = toy.Gaussian(), toy.sd_sigmas(5)
    x, infos = sigmas[0] * toy.randn(2, 3, 4, 4), []
    SAMPLERS[name](model, x, sigmas, callback=infos.append, disable=True)
    assert model.calls == CALLS[name](5)
    assert [info["i"] for info in infos] == list(range(5))
    assert [float(info["sigma"]) for info in infos] == sigmas[:-1].tolist()
    assert all(info["sigma_hat"] == info["sigma"] for info in infos)
    assert torch.equal(infos[0]["x"], x)
    assert torch.equal(infos[0]["denoised"], model.answer(x, float(sigmas[0])))


def test_extra_args_reach_the_model(toy):
    def model(x, sigma, *, seed, model_options):
        assert (seed, model_options) == (3, {"a": 1})
        return x * 0

    x = toy.randn(1, 1, 2, 2)
    result = sample_euler(model, x, toy.sd_sigmas(2), {"seed": 3, "model_options": {"a": 1}})
    torch.testing.assert_close(result, x * 0)


def test_euler_is_ddim(toy):
    """Deterministic DDIM in its own terms: z' = sqrt(a') x0 + sqrt(1 - a') eps, on z = x sqrt(a)."""
    model, sigmas = toy.Coupled(), toy.sd_sigmas(6)
    x = sigmas[0] * toy.randn(2, 3, 4, 4)
    z = x / (1 + sigmas[0] ** 2) ** 0.5
    for s, s_next in pairwise(sigmas):
        a, a_next = 1 / (1 + s**2), 1 / (1 + s_next**2)
        x0 = model.answer(z / a**0.5, float(s))
        eps = (z - a**0.5 * x0) / (1 - a) ** 0.5
        z = a_next**0.5 * x0 + (1 - a_next) ** 0.5 * eps
    torch.testing.assert_close(sample_euler(model, x, sigmas), z, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("sampler", "order"), [(sample_euler, 1), (sample_heun, 2), (sample_dpmpp_2m, 2)])
def test_order_of_convergence_to_the_exact_solution(toy, sampler, order):
    """On the closed-form flow of a Gaussian, halving the step divides the error by 2^order."""
    model, x = toy.Gaussian(), 5 * toy.randn(2, 3, 4, 4)
    exact = model.flow(x, 5.0, 0.5)

    def error(steps):  # even in log sigma, which dpmpp_2m's order assumes
        sigmas = torch.linspace(torch.tensor(5.0).log(), torch.tensor(0.5).log(), steps + 1).exp()
        return float((sampler(model, x, sigmas) - exact).norm())

    ratio = error(20) / error(40)
    assert 0.8 * 2**order < ratio < 1.25 * 2**order


@pytest.mark.parametrize("name", SAMPLERS)
def test_last_step_to_zero_returns_the_prediction(toy, name):
    model, x = toy.Coupled(), toy.randn(2, 3, 4, 4)
    result = SAMPLERS[name](model, x, torch.tensor([0.8, 0.0]))
    torch.testing.assert_close(result, model.answer(x, 0.8), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", SAMPLERS)
def test_half_precision_stays(toy, name):
    x = toy.randn(2, 3, 4, 4).to(torch.bfloat16)
    result = SAMPLERS[name](toy.Gaussian(), x, torch.tensor([2.0, 1.0, 0.5, 0.0]))
    assert result.dtype == torch.bfloat16
    assert torch.isfinite(result).all()


@pytest.mark.parametrize(
    ("sigmas", "says"),
    [
        (torch.tensor([0.0, 1.0, 2.0]), "ascending.*inversion turns it round itself"),
        (torch.tensor([3.0, 1.0, 2.0, 0.0]), "sigma 1 is 1 and sigma 2 is 2"),
        (torch.tensor([3.0, 1.0, 1.0]), "sigma 1 is 1 and sigma 2 is 1"),
        (torch.tensor([1.0]), "at least 2 values.*got 1"),
        (torch.tensor([[1.0, 0.0]]), r"1-D tensor.*\[1, 2\]"),
        ([1.0, 0.0], "1-D tensor.*got list"),
        (torch.tensor([float("inf"), 1.0]), "finite values >= 0"),
        (torch.tensor([1.0, -0.5]), "finite values >= 0"),
    ],
)
@pytest.mark.parametrize("name", SAMPLERS)
def test_bad_sigmas(toy, name, sigmas, says):
    model = toy.Gaussian()
    with pytest.raises(SigmaError, match=says):
        SAMPLERS[name](model, toy.randn(1, 1, 2, 2), sigmas)
    assert model.calls == 0


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", SAMPLERS)
def test_broken_denoiser(toy, name, bad):
    def model(x, sigma):
        x = x.clone()
        if sigma[0] < 2:
            x[1, 0, 0, :2] = bad
        return x

    with pytest.raises(NumberError, match=r"sigma 1 \(step [12] of 2\): NaN or inf in frame 1;.*float32"):
        SAMPLERS[name](model, toy.randn(2, 3, 2, 2), torch.tensor([3.0, 1.0, 0.0]))


def test_denoiser_of_another_shape(toy):
    with pytest.raises(DenoiserError, match=r"shape \[2, 1, 2, 2\], got shape \[1, 1, 2, 2\] at sigma 1"):
        sample_euler(lambda x, sigma: x[:1], toy.randn(2, 1, 2, 2), torch.tensor([1.0, 0.0]))
    with pytest.raises(DenoiserError, match="got NoneType"):
        sample_euler(lambda x, sigma: None, toy.randn(2, 1, 2, 2), torch.tensor([1.0, 0.0]))


@pytest.mark.parametrize(
    ("x", "says"),
    [
        (torch.zeros(3, 2, 2), r"\[F, C, h, w\].*got shape \[3, 2, 2\]"),
        (torch.zeros(0, 3, 2, 2), "no empty axis"),
        (torch.zeros(1, 3, 2, 2, dtype=torch.int64), "floating-point latents, got torch.int64"),
        ("latents", "got str"),
    ],
)
def test_bad_latents(x, says):
    with pytest.raises(LatentError, match=says):
        sample_euler(lambda x, sigma: x, x, torch.tensor([1.0, 0.0]))


def test_latents_that_are_no_numbers():
    x = torch.zeros(3, 3, 2, 2)
    x[1, 0, 0, 0] = float("inf")
    with pytest.raises(NumberError, match=r"x: NaN or inf in frame 1;.*float32"):
        sample_euler(lambda x, sigma: x, x, torch.tensor([1.0, 0.0]))


@pytest.mark.parametrize("name", SAMPLERS)
def test_no_sampler_keeps_what_a_gradient_would_need(name):
    weight = torch.ones(1, requires_grad=True)
    end = SAMPLERS[name](lambda x, sigma: x * weight * 0.5, torch.ones(1, 1, 2, 2), torch.tensor([2.0, 1.0, 0.5, 0.0]))
    assert not end.requires_grad
