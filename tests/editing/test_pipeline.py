"""An edit in memory, on a tiny random model: what must hold for any weights."""

import numpy as np
import pytest
import torch

from videograin.attention import FlowLevels, RangeError
from videograin.editing.attention_features import FeaturesError
from videograin.editing.composite import composite_support
from videograin.editing.fingerprint import frames_digest
from videograin.editing.pipeline import PipelineError, check_model, edit_clip, encode_clip, invert_clip, starting_noise
from videograin.editing.regions import Areas, Region, edited_area, kept_area
from videograin.editing.settings import (
    AttentionSettings,
    BlendSettings,
    CompositeSettings,
    InversionSettings,
    SamplingSettings,
    SteadySettings,
)
from videograin.editing.trajectory import TrajectoryError
from videograin.measuring.metrics import pixels
from videograin.measuring.round_trip import measure_round_trip, with_round_trip

SOURCE = "a red square and a blue square on sand"
PROMPT = "a green circle and a yellow cross on sand"
FEW = SamplingSettings(steps=3, guidance=3)
OFF = SteadySettings(enabled=False)  # the motion of two frames of noise is no motion


@pytest.fixture(scope="module")
def frames():
    clip = np.random.default_rng(0).integers(0, 255, (2, 8, 12, 3), np.uint8)
    return np.repeat(np.repeat(clip, 8, axis=1), 8, axis=2)


@pytest.fixture(scope="module")
def trajectory(random_model, frames):
    return invert_clip(random_model, frames, SOURCE, steps=3)


@pytest.fixture(scope="module")
def regions():
    left, right = torch.zeros(64, 96), torch.zeros(2, 64, 96)
    left[8:40, 8:32] = 1
    right[0, 24:56, 64:88], right[1, 24:56, 56:80] = 1, 1
    return [Region("a green circle", left), Region("a yellow cross", right)]


@pytest.fixture(scope="module")
def edit(random_model, frames, trajectory, regions):
    return edit_clip(
        random_model,
        frames,
        trajectory,
        PROMPT,
        regions,
        sampling=FEW,
        attention=AttentionSettings(end=0.5),
        steady=OFF,
    )


def test_a_trajectory_knows_what_it_belongs_to(random_model, frames, trajectory):
    assert trajectory.latents.shape == (4, 2, 4, 8, 12)
    assert (trajectory.prompt, trajectory.family, trajectory.model) == (SOURCE, "sd1", random_model.fingerprint)
    assert trajectory.source == frames_digest(frames)
    scale = f"{random_model.vae.net.config['scaling_factor']:.6g}"
    assert trajectory.extra == {"attention": "full", "dtype": "float32", "latent_scale": scale}
    assert torch.equal(trajectory.clean, encode_clip(random_model, frames))


def test_features_are_collected_where_they_are_asked_for(random_model, frames, trajectory):
    plain, full = trajectory, invert_clip(random_model, frames, SOURCE, steps=3, features="full")
    assert plain.features is None
    assert torch.equal(full.latents, plain.latents)
    features = full.features
    assert (features.grid, features.level, features.frames) == ((8, 12), "full", 2)
    assert features.cross.shape == (2, 96, len(random_model.encode_prompt(SOURCE).ids))
    calls = features.calls
    assert invert_clip(random_model, frames, SOURCE, steps=3, features="half").features.grid == (4, 6)
    some = invert_clip(random_model, frames, SOURCE, steps=3, features="full", feature_range=(0.5, 1.0)).features
    assert 0 < some.calls < calls
    assert not torch.equal(some.values, features.values)


def test_features_that_cannot_be_had_are_an_error_before_the_first_step(random_model, frames, monkeypatch):
    monkeypatch.setattr("videograin.editing.pipeline.invert", lambda *_, **__: pytest.fail("the inversion started"))
    with pytest.raises(RangeError, match=r"none of the 3 steps lies between feature_start 0.4 and feature_end 0.41"):
        invert_clip(random_model, frames, SOURCE, steps=3, features="full", feature_range=(0.4, 0.41))
    with pytest.raises(FeaturesError, match="level must be one of half, full; got 'quarter'"):
        invert_clip(random_model, frames, SOURCE, steps=3, features="quarter")


def test_batches_through_the_vae_do_not_matter(random_model, frames, monkeypatch):
    whole = encode_clip(random_model, frames)
    monkeypatch.setattr("videograin.editing.pipeline.BATCH", 1)
    torch.testing.assert_close(encode_clip(random_model, frames), whole, atol=1e-5, rtol=1e-5)


def test_more_careful_inversion_comes_back_better(random_model, frames, trajectory):
    careful = InversionSettings(method="fixed_point", calls=8)
    better = measure_round_trip(random_model, invert_clip(random_model, frames, SOURCE, steps=3, inversion=careful))
    trip = measure_round_trip(random_model, trajectory)
    assert better.psnr > trip.psnr
    assert better.frames.shape == frames.shape
    noted = with_round_trip(trajectory, trip).extra
    assert noted["round_trip_psnr"] == f"{trip.psnr:.2f}"
    assert noted["noise_std"] == f"{trajectory.noise_std:.4f}"


def test_an_edit_has_the_right_shapes(edit, frames):
    assert edit.frames.shape == frames.shape
    assert edit.frames.dtype == np.uint8
    assert edit.latents.shape == (2, 4, 8, 12)
    assert edit.area.shape == (2, 64, 96)
    assert edit.blend_mask.shape == (2, 8, 12)
    assert [len(span) for span in edit.spans] == [3, 3]
    assert edit.notes == ()
    assert edit.modulated_steps == 1


def test_outside_the_masks_latents_and_pixels_are_the_sources(edit, frames, trajectory):
    outside = (edit.blend_mask == 0)[:, None].expand_as(edit.latents)
    assert outside.any()
    assert torch.equal(edit.latents[outside], trajectory.clean[outside])
    support = composite_support(
        edit.area.numpy(), dilate=CompositeSettings().dilate, feather=CompositeSettings().feather
    )
    assert (edit.frames[~support] == frames[~support]).all()
    inside = edit.area.numpy() == 1
    assert (edit.frames[inside] == edit.decoded[inside]).all()
    assert (edit.frames[inside] != frames[inside]).any()


def test_the_same_edit_twice_is_the_same(random_model, frames, trajectory, regions, edit):
    again = edit_clip(
        random_model,
        frames,
        trajectory,
        PROMPT,
        regions,
        sampling=FEW,
        attention=AttentionSettings(end=0.5),
        steady=OFF,
    )
    assert torch.equal(again.latents, edit.latents)
    assert (again.frames == edit.frames).all()


def test_regions_change_the_edit_and_strength_0_takes_the_change_away(random_model, frames, trajectory, regions):
    def latents(regions, **attention):
        attention = AttentionSettings(splice=False, end=1.0, **attention)
        options = {"sampling": FEW, "attention": attention, "blend": BlendSettings(enabled=False)}
        return edit_clip(random_model, frames, trajectory, PROMPT, regions, **options).latents

    plain = latents(())
    assert torch.equal(latents(regions, self_strength=0.0, cross_strength=0.0), plain)
    weak = [Region(region.phrase, region.mask, strength=0.0) for region in regions]
    assert not torch.equal(latents(regions), plain)
    assert not torch.equal(latents(weak), latents(regions))


def test_without_regions_nothing_is_blended_or_composited(random_model, frames, trajectory):
    result = edit_clip(random_model, frames, trajectory, PROMPT, sampling=FEW)
    assert (result.area, result.blend_mask, result.spans) == (None, None, ())
    assert result.frames is result.decoded


def test_a_preserved_region_keeps_its_latents_and_its_label(random_model, frames, trajectory, regions):
    kept = [regions[0], Region(regions[1].phrase, regions[1].mask, preserve=True)]
    options = {"sampling": FEW, "attention": AttentionSettings(end=1.0, splice=False)}
    result = edit_clip(random_model, frames, trajectory, PROMPT, kept, **options)
    only = edit_clip(random_model, frames, trajectory, PROMPT, regions[:1], **options)
    cells = result.blend_mask == 0
    assert cells[0, 3:7, 9:11].all()
    assert torch.equal(result.blend_mask, only.blend_mask)
    assert not torch.equal(result.latents, only.latents)  # its label still steers the attention


def test_areas_lie_on_top_of_each_other():
    whole, part = torch.zeros(1, 8, 8), torch.zeros(8, 8)
    whole[:, :, :6], part[:4, :] = 1, 1
    top = edited_area([Region("man", whole), Region("hand", part, preserve=True)], (8, 8), 1)
    assert top[0, :4].max() == 0
    assert top[0, 4:, :6].min() == 1
    below = edited_area([Region("hand", part, preserve=True), Region("man", whole)], (8, 8), 1)
    assert torch.equal(below, whole)


def test_what_is_kept_follows_the_stacking_order():
    whole, part = torch.ones(1, 8, 8), torch.zeros(8, 8)
    part[:4] = 1
    man, hand = Region("man", whole), Region("hand", part, preserve=True)
    assert torch.equal(kept_area([man, hand], (8, 8), 1)[0], part)
    assert kept_area([hand, man], (8, 8), 1).max() == 0
    nearly = [man, Region("hand", part * (254 / 255), preserve=True)]
    assert torch.equal(kept_area(nearly, (8, 8), 1)[0], part)
    assert torch.equal(edited_area(nearly, (8, 8), 1)[0], 1 - part)
    ring = Region("ring", torch.where(part > 0, 0.0, 0.4), preserve=True)  # less than half covered: not kept
    assert kept_area([man, ring], (8, 8), 1).max() == 0


@pytest.mark.parametrize("value", [1.0, 254 / 255])
@pytest.mark.parametrize("top", [True, False])
def test_preserved_pixels_are_the_sources_bit_for_bit(random_model, frames, trajectory, value, top):
    """A band of 12 pixels, thinner than the borders that grow over it from both sides (dilate 8, feather 8)."""
    whole, band = torch.ones(2, 64, 96), torch.zeros(2, 64, 96)
    band[:, 26:38], band[1, :, :10] = value, 0
    stack = [Region("a green circle", whole), Region("a yellow cross", band, preserve=True)]
    result = edit_clip(
        random_model,
        frames,
        trajectory,
        PROMPT,
        stack if top else stack[::-1],
        sampling=FEW,
        blend=BlendSettings(feather=3),
    )
    kept = band.numpy() > 0
    changed = (result.frames != frames).any(axis=3)
    if not top:
        assert changed[kept].any()
        assert (result.blend_mask == 1).all()
        assert result.keep.max() == 0
        return
    assert not changed[kept].any()
    assert (result.frames[~kept] == result.decoded[~kept]).all()
    assert changed[~kept].any()
    assert np.array_equal(result.keep.numpy() == 1, kept)
    rows = torch.tensor([1, 1, 1, 0.25, 0.25, 1, 1, 1])  # rows 26 to 37: six of the eight pixels of cells 3 and 4
    torch.testing.assert_close(result.blend_mask[0], rows[:, None].expand(8, 12))


def test_a_preserved_band_of_whole_cells_keeps_its_latents(random_model, frames, trajectory):
    whole, band = torch.ones(64, 96), torch.zeros(64, 96)
    band[24:40] = 254 / 255
    stack = [Region("a green circle", whole), Region("a yellow cross", band, preserve=True)]
    sampling = SamplingSettings(steps=3, guidance=3, variation=0.5)
    result = edit_clip(random_model, frames, trajectory, PROMPT, stack, sampling=sampling)
    assert torch.equal(result.latents[:, :, 3:5], trajectory.clean[:, :, 3:5])
    assert not torch.equal(result.latents[:, :, :3], trajectory.clean[:, :, :3])
    area, sigma = edited_area(stack, (64, 96), 2), float(trajectory.sigmas[0])
    noise = starting_noise(trajectory, sigma, Areas(area, result.keep), sampling, random_model.levels)
    assert torch.equal(noise[:, :, 3:5], trajectory.noise[:, :, 3:5])


def test_outside_the_blend_the_decoded_edit_is_near_the_vae(random_model, frames, trajectory):
    corner = torch.zeros(64, 96)
    corner[:8, :8] = 1
    result = edit_clip(random_model, frames, trajectory, PROMPT, [Region("a green circle", corner)], sampling=FEW)
    vae = random_model.decode_latents(trajectory.clean)
    near = pixels.psnr_outside_blend(result.decoded, vae, result.blend_mask, dilate=0)
    far = pixels.psnr_outside_blend(result.decoded, vae, result.blend_mask, dilate=16)
    assert far >= near > 10


@pytest.mark.parametrize("sampler", ["ddim", "heun", "dpmpp_2m"])
@pytest.mark.parametrize("mode", ["sparse_causal", "key_frames", "per_frame", "full_coarse"])
def test_samplers_and_attention_modes(random_model, frames, regions, sampler, mode):
    attention = AttentionSettings(mode=mode, anchors=1)
    trajectory = invert_clip(random_model, frames, SOURCE, steps=2, attention=attention)
    sampling = SamplingSettings(steps=2, guidance=2, sampler=sampler)
    options = {"sampling": sampling, "attention": attention, "negative": "a red cross"}
    result = edit_clip(random_model, frames, trajectory, PROMPT, regions, **options)
    outside = (result.blend_mask == 0)[:, None].expand_as(result.latents)
    torch.testing.assert_close(result.latents[outside], trajectory.clean[outside], atol=1e-5, rtol=0)


def test_progress_is_told_about_every_step(random_model, frames, trajectory, regions):
    class Counting:
        def __init__(self):
            self.steps = {}

        def stage(self, name, total=None):
            from contextlib import contextmanager

            @contextmanager
            def counting():
                self.steps[name] = [0, total]

                def tick(info=None):
                    self.steps[name][0] += 1

                yield tick

            return counting()

    counting = Counting()
    inverted = invert_clip(random_model, frames, SOURCE, steps=3, progress=counting)
    measure_round_trip(random_model, inverted, progress=counting)
    edit_clip(random_model, frames, inverted, PROMPT, regions, sampling=FEW, progress=counting)
    assert {"encode", "invert", "round trip", "edit", "decode"} <= set(counting.steps)
    assert all(done == (total or 0) for done, total in counting.steps.values()), counting.steps


def test_variation_is_seeded_keeps_the_variance_and_stays_inside(random_model, trajectory, regions):
    sigma, levels = float(trajectory.sigmas[0]), random_model.levels
    within = Areas(edited_area(regions, (64, 96), 2))

    def noise(seed, variation, within=within):
        sampling = SamplingSettings(seed=seed, variation=variation)
        return starting_noise(trajectory, sigma, within, sampling, levels)

    assert torch.equal(noise(1, 0.0), trajectory.noise)
    assert torch.equal(noise(1, 0.5), noise(1, 0.5))
    assert not torch.equal(noise(1, 0.5), noise(2, 0.5))
    changed = (noise(1, 0.5) != trajectory.noise).any(dim=1)
    assert changed[:, 0].sum() == 0
    assert changed[0, 2, 2]
    fresh = noise(1, 1.0, None) / (1 + sigma**2) ** 0.5
    assert torch.equal(fresh[0], fresh[1])
    assert 0.85 < float(fresh.std()) < 1.15
    sigma, levels = sigma / 15, FlowLevels()
    assert 0 < sigma < 1
    unit = noise(1, 1.0, None) / ((1 - sigma) ** 2 + sigma**2) ** 0.5
    torch.testing.assert_close(unit, fresh)


def test_frames_are_checked(random_model, trajectory, frames):
    for wrong, message in (
        (frames / 255.0, r"float64 \[2, 64, 96, 3\]; expected uint8"),
        (frames[:, :60], "96 x 60 pixels; expected multiples of 8"),
        (frames[:0], "0 frames"),
    ):
        with pytest.raises(PipelineError, match=message):
            encode_clip(random_model, wrong)
    with pytest.raises(TrajectoryError, match="source"):
        edit_clip(random_model, 255 - frames, trajectory, PROMPT, sampling=FEW)
    with pytest.raises(TrajectoryError, match="frames: the inversion has 2, the edit 1"):
        edit_clip(random_model, frames[:1], trajectory, PROMPT, sampling=FEW)


def test_an_edit_that_starts_above_the_inversion_is_refused(random_model, frames, trajectory):
    with pytest.raises(PipelineError, match=r"edit of 20 steps starts at sigma .* the inversion \(3 steps\) ends"):
        edit_clip(random_model, frames, trajectory, PROMPT, sampling=SamplingSettings(steps=20))


def test_an_edit_may_have_fewer_steps_than_the_inversion(random_model, frames, regions):
    longer = invert_clip(random_model, frames, SOURCE, steps=2, inversion=InversionSettings(steps=6))
    result = edit_clip(random_model, frames, longer, PROMPT, regions, sampling=SamplingSettings(steps=3, guidance=2))
    assert np.isfinite(result.latents.numpy()).all()


def test_what_the_user_did_not_mean_is_noted(random_model, frames, trajectory, regions, caplog):
    sometimes = regions[1].mask.clone()
    sometimes[1] = 0
    odd = [Region(regions[0].phrase, regions[0].mask, strength=0.0), Region(regions[1].phrase, sometimes)]
    result = edit_clip(random_model, frames, trajectory, PROMPT, odd, sampling=FEW)
    assert any("has strength 0" in note for note in result.notes)
    assert any("none of the 3 steps lies between" in note for note in result.notes)
    assert any("empty mask in 1 of 2 frames, first 1" in note for note in result.notes)
    assert "empty mask" in caplog.text


def test_halves_that_are_not_computed_modulate_nothing(random_model, frames, trajectory, regions):
    def run(guidance, **attention):
        attention, sampling = AttentionSettings(end=1.0, **attention), SamplingSettings(steps=3, guidance=guidance)
        return edit_clip(
            random_model, frames, trajectory, PROMPT, regions, sampling=sampling, attention=attention, steady=OFF
        )

    every = run(3, self_halves="uncond", cross_halves="uncond")
    assert (every.modulated_steps, every.notes) == (3, ())
    none = run(1, self_halves="uncond", cross_halves="uncond")
    assert none.modulated_steps == 0
    assert [note.split(",")[0] for note in none.notes] == [
        "attention.self_halves is uncond",
        "attention.cross_halves is uncond",
    ]
    plain = run(1, self_strength=0.0, cross_strength=0.0)
    assert torch.equal(none.latents, plain.latents)
    cross = run(1, self_halves="uncond")
    assert cross.modulated_steps == 3
    assert len(cross.notes) == 1
    assert "guidance 1 computes no unconditional half: self-attention is not modulated" in cross.notes[0]
    assert run(1, self_halves="both").modulated_steps == 3


def test_another_dtype_is_named_where_the_model_is_not_the_same(random_model_folder, random_model, trajectory):
    from videograin.hosts.diffusers import load_model

    half = load_model(random_model_folder, dtype=torch.bfloat16)  # float16 counts as the same model
    message = r"made in float32, the edit runs in bfloat16: .* set dtype to float32, or invert again in bfloat16"
    with pytest.raises(TrajectoryError, match=message):
        check_model(half, trajectory)
    check_model(random_model, trajectory)
    with torch.no_grad():
        half.unet.float().conv_in.weight.add_(1)
    with pytest.raises(TrajectoryError, match="model: the inversion has") as caught:
        check_model(half, trajectory)
    assert "dtype" not in str(caught.value)
