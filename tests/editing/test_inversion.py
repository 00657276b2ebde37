import pytest
import torch

from videograin.attention.options import INVERSION_METHODS
from videograin.editing.checks import LatentError, NumberError, SigmaError
from videograin.editing.inversion import invert
from videograin.editing.samplers import sample_euler
from videograin.editing.trajectory import Trajectory


def round_trip(model, x, sigmas, **settings):
    """Largest error after inverting and denoising with Euler."""
    trajectory = invert(model, x, sigmas, **settings)
    return float((sample_euler(model, trajectory.noise, sigmas) - x).abs().max())


def residuals(model, trajectory):
    """[S, F] how far each stored step is from solving x_t = x_s + (t - s) eps(x_t, t)."""
    rows = []
    for r, r_next, t, s in zip(
        trajectory.latents[:-1], trajectory.latents[1:], trajectory.sigmas[:-1], trajectory.sigmas[1:], strict=True
    ):
        eps = (r - model.answer(r, float(t))) / t
        rows.append((r - r_next - (t - s) * eps).flatten(1).norm(dim=1))
    return torch.stack(rows)


def mixture(toy, seed=1):
    modes = toy.randn(3, 4, 4, 4, seed=seed)
    return toy.Mixture(modes, 0.3), modes[[0, 1, 2, 0]] + 0.3 * toy.randn(4, 4, 4, 4, seed=seed + 100)


@pytest.mark.parametrize("steps", [20, 50])
@pytest.mark.parametrize("kind", ["gaussian", "mixture", "coupled"])
def test_order_of_the_methods(toy, kind, steps):
    """warm beats ddim, and fixed_point with the default 3 extra calls beats warm."""
    if kind == "mixture":
        model, x = mixture(toy)
    else:
        model, x = (toy.Gaussian() if kind == "gaussian" else toy.Coupled()), toy.randn(4, 4, 4, 4) * 0.7 + 0.3
    sigmas = toy.sd_sigmas(steps)
    ddim, warm, fixed = (round_trip(model, x, sigmas, method=m) for m in ("ddim", "warm", "fixed_point"))
    assert fixed < 0.7 * warm < 0.7 * 0.7 * ddim


@pytest.mark.parametrize("method", INVERSION_METHODS)
def test_noise_converges_to_the_exact_flow(toy, method):
    """Against the closed form: with more steps the inverted noise approaches the solution of the ODE (first order)."""
    model, x = toy.Gaussian(), toy.randn(2, 4, 4, 4)
    sigmas = torch.linspace(0, 3, 41).flip(0)
    exact = model.flow(x, 0.0, 3.0)
    coarse, fine = (float((invert(model, x, s, method=method).noise - exact).norm()) for s in (sigmas[::4], sigmas))
    assert fine < 0.4 * coarse


def test_fixed_point_round_trip_converges(toy):
    model, x = mixture(toy)
    sigmas = toy.sd_sigmas(50)
    errors = [round_trip(model, x, sigmas, method="fixed_point", calls=k) for k in (1, 2, 4, 8, 16)]
    assert errors[0] > 5 * errors[1] > 25 * errors[2]
    assert max(errors[3:]) < 2e-5


@pytest.mark.parametrize(("method", "calls", "expected"), [("ddim", 3, 7), ("warm", 3, 8), ("fixed_point", 3, 28)])
def test_number_of_network_calls(toy, method, calls, expected):
    # this Gaussian contracts at every step (|t - s| / t * share of eps in x < 1), so the guard never stops
    model = toy.Gaussian()
    invert(model, toy.randn(2, 4, 4, 4), toy.sd_sigmas(7), method=method, calls=calls)
    assert model.calls == expected


@pytest.mark.parametrize("method", INVERSION_METHODS)
def test_the_network_is_never_asked_at_zero(toy, method):
    model, sigmas = toy.Gaussian(), toy.sd_sigmas(6)
    invert(model, toy.randn(1, 2, 3, 3), sigmas, method=method)
    assert sorted({s for s, _ in model.seen}, reverse=True) == sigmas[:-1].tolist()


def test_ddim_and_warm_in_their_own_words(toy):
    """Two steps from clean (0) over 1 to 3, written out."""
    model, x = toy.Coupled(), toy.randn(2, 3, 4, 4)
    sigmas = torch.tensor([3.0, 1.0, 0.0])

    def eps(x, t):
        return (x - model.answer(x, t)) / t

    one = x + 1 * eps(x, 1.0)
    ddim = one + 2 * eps(one, 3.0)
    torch.testing.assert_close(invert(model, x, sigmas, method="ddim").noise, ddim)
    e1 = eps(x + 1 * eps(x, 1.0), 1.0)
    one = x + 1 * e1
    warm = one + 2 * eps(one + 2 * e1, 3.0)
    torch.testing.assert_close(invert(model, x, sigmas, method="warm").noise, warm)


def test_guard_keeps_the_ddim_step_where_iterating_diverges(toy):
    """eps = -3 x / t: the fixed-point map multiplies errors by -3 (t - s) / t, so every change grows."""

    def model(x, sigma):
        seen.append(float(sigma[0]))
        return 4 * x

    seen, x, sigmas = [], toy.randn(2, 3, 4, 4), torch.tensor([2.0, 0.0])
    fixed = invert(model, x, sigmas, method="fixed_point", calls=6)
    assert len(seen) == 2  # ddim's call and the one that showed the growth
    assert torch.equal(fixed.noise, invert(model, x, sigmas, method="ddim").noise)


def test_guard_stops_all_frames_when_one_grows(toy):
    """Frame 0 contracts, frame 1 diverges: iterates of different ages are never mixed, the clip stays coherent."""
    factor = torch.tensor([0.9, 4.0]).view(2, 1, 1, 1)
    x, sigmas = toy.randn(2, 3, 4, 4), torch.tensor([2.0, 0.0])
    fixed = invert(lambda x, sigma: factor * x, x, sigmas, method="fixed_point", calls=6)
    torch.testing.assert_close(fixed.noise, x + (1 - factor) * x)


def test_guard_keeps_the_best_iterate_when_the_last_call_is_in_doubt(toy):
    """Changes shrink to 0.6 per call, more than SHRINK: the last iterate, whose residual is unknown, is not taken."""
    x, sigmas = toy.randn(1, 3, 4, 4), torch.tensor([2.0, 0.0])

    def iterate(k):  # x <- x_s - 0.6 x, that is eps (t - s) = -0.6 x
        y = x
        for _ in range(k):
            y = x - 0.6 * y
        return y

    fixed = invert(lambda x, sigma: 1.6 * x, x, sigmas, method="fixed_point", calls=3)
    torch.testing.assert_close(fixed.noise, iterate(3))  # 4 calls were made, the 4th only verified this one
    fixed = invert(lambda x, sigma: 1.4 * x, x, sigmas, method="fixed_point", calls=3)
    solution = x / 1.4
    assert (fixed.noise - solution).norm() < 0.4**3.9 * (x - solution).norm()  # here the last one is taken


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("steps", [6, 10, 20])
def test_fixed_point_is_never_worse_than_ddim(toy, steps, seed):
    """Step by step and frame by frame, on mixtures whose modes are far apart (where unguarded iteration diverges)."""
    modes = toy.randn(3, 4, 6, 6, seed=seed)
    model, x = toy.Mixture(modes, 0.2), modes[[0, 1, 2, 0]] + 0.2 * toy.randn(4, 4, 6, 6, seed=seed + 50)
    trajectory = invert(model, x, toy.sd_sigmas(steps), method="fixed_point", calls=3)
    starts = trajectory.latents[1:]
    ddim = torch.stack(
        [invert(model, x_s, trajectory.sigmas[i : i + 2], method="ddim").noise for i, x_s in enumerate(starts)]
    )
    for i in range(steps):
        pair = [
            residuals(model, Trajectory(torch.stack([top, starts[i]]), trajectory.sigmas[i : i + 2].clone()))
            for top in (trajectory.latents[i], ddim[i])
        ]
        assert (pair[0] <= pair[1] * 1.001 + 1e-5).all()


@pytest.mark.parametrize("method", INVERSION_METHODS)
def test_schedule_that_ends_above_zero(toy, method):
    model, sigmas = toy.Gaussian(), toy.sd_sigmas(20)[:-4]
    x = toy.randn(2, 4, 4, 4)
    trajectory = invert(model, x, sigmas, method=method, calls=10)
    assert trajectory.sigmas[-1] > 0
    assert torch.equal(trajectory.clean, x)
    assert min(s for s, _ in model.seen) > float(sigmas[-1])  # asked at the upper end of each step only
    assert (sample_euler(model, trajectory.noise, sigmas) - x).abs().max() < {"ddim": 2, "warm": 0.2}.get(method, 1e-4)


def test_trajectory_and_callback(toy):
    model, x, sigmas, infos = toy.Gaussian(), toy.randn(3, 4, 5, 6).double(), toy.sd_sigmas(4).double(), []
    facts = {"prompt": "two men", "family": "sd1", "model_id": "ab12", "source": "cd34", "extra": {"steps": "4"}}
    trajectory = invert(model, x, sigmas, callback=infos.append, **facts)
    assert trajectory.latents.shape == (5, 3, 4, 5, 6)
    assert trajectory.latents.dtype == trajectory.sigmas.dtype == torch.float32
    assert torch.equal(trajectory.sigmas, sigmas.float())
    assert torch.equal(trajectory.clean, x.float())
    assert (trajectory.prompt, trajectory.family) == ("two men", "sd1")
    assert (trajectory.model, trajectory.source) == ("ab12", "cd34")
    assert (trajectory.method, trajectory.extra) == ("warm", {"steps": "4"})
    assert [info["i"] for info in infos] == [0, 1, 2, 3]
    up = trajectory.sigmas.flip(0)
    for info, low, high, latent in zip(infos, up[:-1], up[1:], trajectory.latents.flip(0)[:-1], strict=True):
        assert (info["sigma"], info["sigma_hat"]) == (low, high)
        assert torch.equal(info["x"], latent)
        assert info["denoised"].shape == x.shape
    assert invert(model, x, sigmas, method="fixed_point", calls=2).method == "fixed_point(2)"


def test_latents_already_stored_do_not_change(toy):
    """The trajectory owns its memory: a caller who writes into x later does not change it."""
    x = toy.randn(1, 2, 3, 3)
    trajectory = invert(toy.Gaussian(), x, toy.sd_sigmas(3))
    kept = trajectory.clean.clone()
    x.zero_()
    assert torch.equal(trajectory.clean, kept)


@pytest.mark.parametrize("method", INVERSION_METHODS)
def test_broken_denoiser(toy, method):
    def model(x, sigma):
        return x * (float("nan") if sigma[0] > 2 else 0.5)

    with pytest.raises(NumberError, match=r"at sigma 3 \(step 2 of 2\): NaN or inf in 2 frames \(0, 1\);"):
        invert(model, toy.randn(2, 3, 4, 4), torch.tensor([3.0, 1.0, 0.0]), method=method)


def test_bad_arguments(toy):
    x, sigmas, model = toy.randn(1, 3, 4, 4), toy.sd_sigmas(4), toy.Gaussian()
    with pytest.raises(SigmaError, match="ascending"):
        invert(model, x, sigmas.flip(0))
    with pytest.raises(SigmaError, match="strictly descending"):
        invert(model, x, sigmas[[0, 2, 1, 4]])
    with pytest.raises(LatentError, match=r"got shape \[3, 4, 4\]"):
        invert(model, x[0], sigmas)
    with pytest.raises(ValueError, match="one of warm, ddim, fixed_point, got 'null'"):
        invert(model, x, sigmas, method="null")
    for calls in (0, -1, 1.5, True):
        with pytest.raises(ValueError, match=r"integer >= 1.*method='ddim'"):
            invert(model, x, sigmas, method="fixed_point", calls=calls)
    assert model.calls == 0
