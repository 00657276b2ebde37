import copy
import math
from itertools import pairwise

import pytest
import torch

from videograin.editing.blend import BlendError, Reference, blend
from videograin.editing.inversion import invert
from videograin.editing.samplers import SAMPLERS, sample_euler, sample_heun
from videograin.editing.step_hooks import StepError
from videograin.editing.trajectory import TrajectoryError

ALL = list(dict.fromkeys(SAMPLERS.values()))  # euler and ddim are one
F, C, H, W = 4, 3, 6, 7


@pytest.fixture(scope="module")
def world(toy):
    """A clip, its inversion and an edit model that answers something else everywhere."""
    sigmas = toy.sd_sigmas(10)
    trajectory = invert(toy.Coupled(), 0.5 * toy.randn(F, C, H, W), sigmas)
    mask = torch.zeros(F, H, W)
    for f in range(F):
        mask[f, 1 : 3 + f % 2, f : f + 3] = 1
    return sigmas, trajectory, mask


def edit_model(toy):
    return toy.Coupled(shift=0.7)


def outside(mask):
    return (mask == 0)[:, None].expand(F, C, H, W)


def t_of(sigma):
    """A toy noise level function for the ranges: t falls linearly from 1 at the top to 0."""
    return sigma / 20


# --- exactness --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", ALL)
def test_outside_is_the_clean_latent_and_every_input_the_trajectory(toy, world, sampler):
    sigmas, trajectory, mask = world
    model, out = edit_model(toy), outside(mask)
    result = blend(sampler, trajectory, mask)(model, trajectory.noise, sigmas)
    assert (result - trajectory.clean)[out].abs().max() <= 1e-5
    assert (result - trajectory.clean)[~out].abs().mean() > 0.1  # the edit does something
    assert model.calls == (19 if sampler is sample_heun else 10)
    for sigma, x in model.seen:
        assert torch.equal(x[out], trajectory.at(sigma)[out])


@pytest.mark.parametrize("sampler", ALL)
def test_exact_from_fresh_noise_too(toy, world, sampler):
    """The edit need not start from the inverted noise: the sampler's own x outside does not matter."""
    sigmas, trajectory, mask = world
    model, out = edit_model(toy), outside(mask)
    result = blend(sampler, trajectory, mask)(model, sigmas[0] * toy.randn(F, C, H, W, seed=9), sigmas)
    assert (result - trajectory.clean)[out].abs().max() <= 1e-5
    assert all(torch.equal(x[out], trajectory.at(sigma)[out]) for sigma, x in model.seen)


@pytest.mark.parametrize("sampler", ALL)
def test_exact_where_the_schedule_ends_above_zero(toy, sampler):
    sigmas = toy.sd_sigmas(10)[:-3]
    trajectory = invert(toy.Coupled(), toy.randn(F, C, H, W), sigmas)
    mask = torch.zeros(F, H, W)
    mask[:, 2:4, 2:4] = 1
    result = blend(sampler, trajectory, mask)(edit_model(toy), trajectory.noise, sigmas)
    out = outside(mask)
    assert sigmas[-1] > 0.3
    assert torch.equal(result[out], trajectory.clean[out])


@pytest.mark.parametrize("sampler", ALL)
def test_exact_where_the_run_ends_inside_a_longer_inversion(toy, world, sampler):
    """Two samplers in a row (KSamplerAdvanced's end_at_step): the first one stops at a stored level above 0."""
    sigmas, trajectory, mask = world
    out, run = outside(mask), blend(sampler, trajectory, mask)
    middle = run(edit_model(toy), trajectory.noise, sigmas[:6])
    assert torch.equal(middle[out], trajectory.at(float(sigmas[5]))[out])
    assert (run(edit_model(toy), middle, sigmas[5:]) - trajectory.clean)[out].abs().max() <= 1e-5


@pytest.mark.parametrize("sampler", ALL)
def test_empty_mask_returns_the_source_and_full_mask_is_no_blend(toy, world, sampler):
    sigmas, trajectory, _ = world
    empty = blend(sampler, trajectory, torch.zeros(F, H, W))(edit_model(toy), trajectory.noise, sigmas)
    assert torch.equal(empty, trajectory.clean)
    start = sigmas[0] * toy.randn(F, C, H, W, seed=3)
    full = blend(sampler, trajectory, torch.ones(F, H, W))(edit_model(toy), start, sigmas)
    assert torch.equal(full, sampler(edit_model(toy), start, sigmas))


@pytest.mark.parametrize("sampler", ALL)
def test_round_trip_when_the_edit_is_the_source(toy, world, sampler):
    """With the source model, Euler's blended run stays on the trajectory inside the mask as well."""
    sigmas, trajectory, mask = world
    result = blend(sampler, trajectory, mask)(toy.Coupled(), trajectory.noise, sigmas)
    plain = sampler(toy.Coupled(), trajectory.noise, sigmas)
    assert (result - trajectory.clean).abs().max() <= (plain - trajectory.clean).abs().max() * 1.5 + 1e-5


# --- soft masks -------------------------------------------------------------------------------------------------------


def test_soft_mask_mixes_input_and_prediction(toy, world):
    """One evaluation against the formulas of the module's docstring."""
    sigmas, trajectory, _ = world
    mask, sigma = toy.randn(F, H, W).sigmoid(), float(sigmas[4])
    reference, x = Reference(trajectory, mask), toy.randn(F, C, H, W, seed=5)
    m = mask[:, None]
    torch.testing.assert_close(reference.state(x, sigma), (1 - m) * trajectory.at(sigma) + m * x)
    torch.testing.assert_close(reference.prediction(x, sigma), (1 - m) * trajectory.denoised(sigma) + m * x)


@pytest.mark.parametrize("sampler", ALL)
def test_soft_result_is_the_mix_at_sigma_zero(toy, world, sampler):
    sigmas, trajectory, _ = world
    mask = torch.linspace(0, 1, W).expand(F, H, W).clone()
    model = edit_model(toy)
    result = blend(sampler, trajectory, mask)(model, trajectory.noise, sigmas)
    sigma, x = model.seen[-1]
    expected = torch.lerp(trajectory.clean, model.answer(x, sigma), mask[:, None])
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-5)
    assert torch.equal(result[..., 0], trajectory.clean[..., 0])


def test_an_edit_grows_with_the_mask(toy, world):
    sigmas, trajectory, _ = world
    change = []
    for m in (0.0, 0.25, 0.5, 1.0):
        run = blend(sample_euler, trajectory, torch.full((F, H, W), m))
        change.append(float((run(edit_model(toy), trajectory.noise, sigmas) - trajectory.clean).norm()))
    assert change[0] == 0
    assert change == sorted(change)


# --- partial ranges ---------------------------------------------------------------------------------------------------


def active_of(model, trajectory, out):
    """For each evaluation: was the input outside the mask the trajectory's?"""
    return [torch.equal(x[out], trajectory.at(sigma)[out]) for sigma, x in model.seen]


@pytest.mark.parametrize("start", ["inverted", "fresh"])
def test_ending_early_hands_over_at_the_trajectory(toy, world, start):
    """Euler leaves the range on the trajectory; from there on the background is the edit's own denoising."""
    sigmas, trajectory, mask = world
    model, out, cut = edit_model(toy), outside(mask), float(sigmas[6])
    limits = {"end": (1 - t_of(cut) + 1 - t_of(float(sigmas[7]))) / 2, "t_of": t_of}  # between two steps
    noise = trajectory.noise if start == "inverted" else sigmas[0] * toy.randn(F, C, H, W, seed=4)
    result = blend(sample_euler, trajectory, mask, **limits)(model, noise, sigmas)
    assert active_of(model, trajectory, out)[:7] == [True] * 7
    handed_over = model.seen[7][1]
    torch.testing.assert_close(handed_over[out], trajectory.latents[7][out], rtol=0, atol=1e-4)
    assert torch.equal(result, sample_euler(edit_model(toy), handed_over, sigmas[7:]))
    assert (result - trajectory.clean)[out].abs().max() > 1e-3  # no longer exact


@pytest.mark.parametrize("sampler", ALL)
def test_starting_late_still_ends_exact(toy, world, sampler):
    sigmas, trajectory, mask = world
    model, out, cut = edit_model(toy), outside(mask), float(sigmas[4])
    noise = sigmas[0] * toy.randn(F, C, H, W, seed=2)
    result = blend(sampler, trajectory, mask, start=1 - t_of(cut), t_of=t_of)(model, noise, sigmas)
    for sigma, x in model.seen:
        assert torch.equal(x[out], trajectory.at(sigma)[out]) == (sigma <= cut)
    assert (result - trajectory.clean)[out].abs().max() <= 1e-5


def test_a_range_holds_its_start_and_not_its_end(toy, world):
    sigmas, trajectory, mask = world
    model, start, end = edit_model(toy), 1 - t_of(float(sigmas[2])), 1 - t_of(float(sigmas[5]))
    blend(sample_euler, trajectory, mask, start=start, end=end, t_of=t_of)(
        model, sigmas[0] * toy.randn(F, C, H, W, seed=2), sigmas
    )
    assert active_of(model, trajectory, outside(mask)) == [2 <= i < 5 for i in range(10)]


def test_an_inactive_range_is_no_blend(toy, world):
    sigmas, trajectory, mask = world
    run = blend(sample_euler, trajectory, mask, start=0.5, end=0.5, t_of=lambda sigma: 0.2)
    noise = 3 * sigmas[0] * toy.randn(F, C, H, W)
    # a schedule beyond the inversion is fine where the blend is not active
    assert torch.equal(run(edit_model(toy), noise, 3 * sigmas), sample_euler(edit_model(toy), noise, 3 * sigmas))


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        ({"start": 0.6, "end": 0.4}, "0 <= start <= end <= 1.*got 0.6 and 0.4"),
        ({"end": 1.5}, "fractions of the run.*got 0 and 1.5"),
        ({"end": math.nan}, "got 0 and nan"),
        ({"end": 0.9}, "need t_of .*Levels.t"),
    ],
)
def test_bad_ranges(world, limits, says):
    with pytest.raises(ValueError, match=says):
        blend(sample_euler, world[1], world[2], **limits)


# --- windows ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", ALL)
@pytest.mark.parametrize("frames", [[0, 1], [3, 1, 0], [2, 3, 0, 1], [1]])
def test_windows_take_mask_and_trajectory_of_their_frames(toy, world, sampler, frames):
    sigmas, trajectory, mask = world
    model = edit_model(toy)
    run = blend(sampler, trajectory, mask, frames=frames)
    result = run(model, trajectory.noise[frames], sigmas)
    out = outside(mask)[frames]
    assert (result - trajectory.clean[frames])[out].abs().max() <= 1e-5
    for sigma, x in model.seen:
        assert torch.equal(x[out], trajectory.at(sigma, frames)[out])


def test_bad_windows(toy, world):
    sigmas, trajectory, mask = world
    with pytest.raises(TrajectoryError, match=r"from 0 to 3 .*got index 4"):
        blend(sample_euler, trajectory, mask, frames=[3, 4])
    model = edit_model(toy)
    with pytest.raises(BlendError, match=r"latents have shape \[3, 3, 6, 7\], the inversion \[2, 3, 6, 7\].*window"):
        blend(sample_euler, trajectory, mask, frames=[0, 1])(model, trajectory.noise[:3], sigmas)
    with pytest.raises(BlendError, match=r"shape \[4, 3, 6, 6\], the inversion \[4, 3, 6, 7\]"):
        blend(sample_euler, trajectory, mask)(model, trajectory.noise[..., :6], sigmas)
    assert model.calls == 0


# --- levels -----------------------------------------------------------------------------------------------------------


def sample_midpoint(model, x, sigmas, extra_args=None, callback=None, disable=None):
    """A sampler that evaluates between the levels as well (DPM-Solver-2, Karras et al. 2022)."""
    ones = x.new_ones(x.shape[0])
    for s, s_next in pairwise(sigmas):
        d = (x - model(x, s * ones)) / s
        if s_next > 0:
            middle = (s * s_next).sqrt()
            x_2 = x + d * (middle - s)
            d = (x_2 - model(x_2, middle * ones)) / middle
        x = x + d * (s_next - s)
    return x


def test_levels_between_the_stored_ones_are_interpolated(toy, world):
    sigmas, trajectory, mask = world
    model, out = edit_model(toy), outside(mask)
    result = blend(sample_midpoint, trajectory, mask)(model, trajectory.noise, sigmas)
    assert model.calls == 19
    for sigma, x in model.seen:
        assert torch.equal(x[out], trajectory.at(sigma)[out])
    assert (result - trajectory.clean)[out].abs().max() <= 1e-5


@pytest.mark.parametrize("sampler", ALL)
def test_another_schedule_than_the_inversions_is_exact_too(toy, world, sampler):
    sigmas, trajectory, mask = world
    other = torch.cat([torch.linspace(float(sigmas[1]), 0.02, 8), torch.zeros(1)])
    model, out = edit_model(toy), outside(mask)
    result = blend(sampler, trajectory, mask)(model, trajectory.at(float(other[0])), other)
    assert (result - trajectory.clean)[out].abs().max() <= 1e-5


@pytest.mark.parametrize("factor", [1.5, 0.5])
def test_levels_outside_the_inversion_are_refused_before_any_call(toy, world, factor):
    sigmas, _, mask = world
    trajectory = invert(toy.Coupled(), toy.randn(F, C, H, W), sigmas[:-2])
    model = edit_model(toy)
    with pytest.raises(TrajectoryError, match=r"outside the inversion, which covers .*same SIGMAS"):
        blend(sample_euler, trajectory, mask)(model, trajectory.noise, sigmas[:-2] * factor)
    with pytest.raises(TrajectoryError, match=r"sigma 0.0413\d* lies outside .* covers 0.346"):
        blend(sample_euler, trajectory, mask)(model, trajectory.noise, sigmas)
    assert model.calls == 0


def test_one_level_per_call(world):
    _, trajectory, mask = world

    def sampler(model, x, sigmas, **kwargs):
        return model(x, torch.tensor([3.0, 2.0, 1.0, 0.5]))

    with pytest.raises(StepError, match="one noise level for the whole batch"):
        blend(sampler, trajectory, mask)(lambda x, sigma: x, trajectory.noise, trajectory.sigmas)


# --- being a sampler --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", ALL)
def test_callback_shows_the_blended_state(toy, world, sampler):
    sigmas, trajectory, mask = world
    infos, out = [], outside(mask)
    noise = sigmas[0] * toy.randn(F, C, H, W, seed=9)
    blend(sampler, trajectory, mask)(edit_model(toy), noise, sigmas, callback=infos.append)
    assert [info["i"] for info in infos] == list(range(10))
    for info in infos:
        sigma = float(info["sigma"])
        assert torch.equal(info["x"][out], trajectory.at(sigma)[out])
        assert torch.equal(info["denoised"][out], trajectory.denoised(sigma)[out])
        assert "sigma_hat" in info


def test_callback_without_sigma(world):
    """Some of ComfyUI's samplers (uni_pc) report only x, i and denoised."""
    sigmas, trajectory, mask = world
    infos = []

    def sampler(model, x, sigmas, extra_args=None, callback=None, disable=None):
        callback({"x": x * 0, "i": 2, "denoised": x})
        return x

    blend(sampler, trajectory, mask)(None, trajectory.noise, sigmas, callback=infos.append)
    assert torch.equal(infos[0]["x"][outside(mask)], trajectory.latents[2][outside(mask)])


def test_arguments_and_attributes_pass_through(world):
    sigmas, trajectory, mask = world
    seen = {}

    class Model:
        class inner_model:
            class inner_model:
                model_sampling = "sampling"

        def __call__(self, x, sigma, **kwargs):
            seen["call"] = kwargs
            return x

    def sampler(model, x, sigmas, extra_args=None, callback=None, disable=None, eta=0.0):
        seen.update(sampling=model.inner_model.inner_model.model_sampling, eta=eta, disable=disable, callback=callback)
        assert not hasattr(model, "latent_image")
        copy.copy(model)  # looks attributes up before any is set: must not recurse
        return model(x, sigmas[:1].expand(F), **extra_args)

    blend(sampler, trajectory, mask)(Model(), trajectory.noise, sigmas, {"seed": 1}, None, True, eta=0.5)
    assert seen == {"sampling": "sampling", "eta": 0.5, "disable": True, "callback": None, "call": {"seed": 1}}


def test_nothing_is_written_into(toy, world):
    sigmas, trajectory, mask = world
    kept, noise = trajectory.latents.clone(), sigmas[0] * toy.randn(F, C, H, W)
    before, m = noise.clone(), mask.clone()
    results = [blend(SAMPLERS["euler"], trajectory, mask)(edit_model(toy), noise, sigmas) for _ in range(2)]
    assert torch.equal(*results)  # no state from run to run
    assert torch.equal(noise, before)
    assert torch.equal(mask, m)
    assert torch.equal(trajectory.latents, kept)


def test_half_precision_runs(toy, world):
    sigmas, trajectory, mask = world
    out = outside(mask)
    result = blend(sample_euler, trajectory, mask)(edit_model(toy), trajectory.noise.bfloat16(), sigmas)
    assert result.dtype == torch.bfloat16
    assert torch.equal(result[out], trajectory.clean.bfloat16()[out])


@pytest.mark.parametrize(
    ("mask", "says"),
    [
        (torch.zeros(1, H, W), r"\[F, h, w\] = \[4, 6, 7\].*got \[1, 6, 7\].*latent_mask"),
        (torch.zeros(F, 8 * H, 8 * W), r"got \[4, 48, 56\]"),
        (torch.zeros(F, 1, H, W), r"got \[4, 1, 6, 7\]"),
        (None, "got NoneType"),
        (torch.full((F, H, W), 255.0), "from 0 to 1, got 255 to 255; divide"),
        (torch.full((F, H, W), math.nan), "from 0 to 1, got nan"),
    ],
)
def test_bad_masks(world, mask, says):
    with pytest.raises(BlendError, match=says):
        blend(sample_euler, world[1], mask)
