"""The systems do what their files say: against the product itself, and against formulas written out in other words."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from videograin.attention import LabelMap, Schedule, SpaceTime
from videograin.editing.pipeline import edit_clip, invert_clip
from videograin.editing.regions import Region
from videograin.editing.settings import BlendSettings, SteadySettings
from videograin.hosts.diffusers import load_model
from videograin.lab.bench.mask_damage import changed_masks
from videograin.lab.bench.settings import BenchSettings
from videograin.lab.bench.systems import SYSTEMS, composition, hard_masks, pick_systems, released_code
from videograin.lab.bench.systems.common import guided, regions_of, sample
from videograin.lab.bench.systems.modulations import PartialModulation
from videograin.lab.bench.tasks import clip_specs, edit_task

STEPS, FRAMES, SIDE = 2, 2, 64


@pytest.fixture(scope="module")
def model():
    return load_model()


@pytest.fixture(scope="module")
def settings():
    given = BenchSettings()
    strong = replace(given.attention, power=0.0, end=1.0)  # so that two steps show it
    return replace(given, sampling=replace(given.sampling, steps=STEPS), attention=strong)


def task_of(kind: str):
    spec = next(s for s in clip_specs() if s.kind == kind and s.objects == 2)
    return edit_task(spec, 0, FRAMES, SIDE)


@pytest.fixture(scope="module")
def instance(model, settings):
    """(task, its inversion)"""
    return prepared(model, settings, "instance")


def prepared(model, settings, kind):
    task = task_of(kind)
    how = {"inversion": settings.inversion, "attention": settings.attention}
    return task, invert_clip(model, task.clip.frames, task.source_prompt, steps=STEPS, **how)


def run(name, model, prepared, settings):
    task, trajectory = prepared
    return SYSTEMS[name].run(model, task.clip.frames, trajectory, task, settings)


def product(model, prepared, settings, regions, **attention):
    task, trajectory = prepared
    return edit_clip(
        model,
        task.clip.frames,
        trajectory,
        task.prompt,
        regions,
        sampling=settings.sampling,
        attention=replace(settings.attention, **attention),
        blend=settings.blend,
        steady=settings.steady,
        composite=replace(settings.composite, enabled=False),
    ).frames


def test_ours_is_the_product(model, settings, instance):
    regions = regions_of(instance[0], settings)
    ours = run("ours", model, instance, settings)
    assert np.array_equal(ours, product(model, instance, settings, regions))
    assert np.array_equal(
        run("cross", model, instance, settings), product(model, instance, settings, regions, self_strength=0.0)
    )
    assert np.array_equal(run("global", model, instance, settings), product(model, instance, settings, ()))


def test_every_system_gives_frames_of_its_own(model, settings, instance):
    frames = {name: run(name, model, instance, settings) for name in SYSTEMS}
    assert all(f.shape == (FRAMES, SIDE, SIDE, 3) and f.dtype == np.uint8 for f in frames.values())
    names = list(frames)
    for k, one in enumerate(names):
        assert all(not np.array_equal(frames[one], frames[other]) for other in names[k + 1 :]), one


def test_settings_reach_the_systems(model, settings, instance):
    ours = run("ours", model, instance, settings)
    wishes = ({"size_term": False}, {"levels": "coarse"}, {"levels": "finest"}, {"masks": "boxes"}, {"labels": "any"})
    for change in wishes:
        other = replace(settings, ablation=replace(settings.ablation, **change))
        assert not np.array_equal(run("ours", model, instance, other), ours), change
    reused = replace(settings, attention=replace(settings.attention, range="reuse", range_steps=4))
    assert not np.array_equal(run("ours", model, instance, reused), ours)
    expected = product(model, instance, reused, regions_of(instance[0], settings))
    assert np.array_equal(run("ours", model, instance, reused), expected)


def test_kept_regions_are_preserved_and_unblended_edits_are_not(model, settings):
    one_kept = prepared(model, settings, "one kept")
    assert [r.preserve for r in regions_of(one_kept[0], settings)] == [r.keep for r in one_kept[0].regions]
    free = replace(settings, blend=BlendSettings(enabled=False))
    assert not np.array_equal(run("hard", model, one_kept, settings), run("hard", model, one_kept, free))


def test_one_region_in_sequence_is_one_masked_edit(model, settings):
    one = prepared(model, settings, "one kept")
    task, trajectory = one
    edited = next(k for k, region in enumerate(task.regions) if not region.keep)
    mine = [r for k, r in enumerate(regions_of(task, settings)) if k == edited or (r.preserve and k > edited)]
    with guided(model, model.encode_prompt(task.prompt), settings, FRAMES) as denoise:
        expected = sample(model, denoise, task.clip.frames, trajectory, settings, 0, mine)
    assert np.array_equal(run("sequential", model, one, settings), expected)


def test_the_second_pass_starts_from_the_first_result(model, settings, instance):
    task, trajectory = instance
    seen = []

    class Spy:
        def __getattr__(self, name):
            return getattr(model, name)

        def encode_frames(self, frames):
            seen.append(frames)
            return model.encode_frames(frames)

    last = SYSTEMS["sequential"].run(Spy(), task.clip.frames, trajectory, task, settings)
    between = np.concatenate(seen)
    assert between.shape == task.clip.frames.shape
    first = task.regions[0].mask.numpy()
    assert not np.array_equal(between[first > 0.5], task.clip.frames[first > 0.5])
    # the composite between the passes: what lies 17 pixels from the first region is the source's, bit for bit
    import cv2

    well = np.stack([cv2.erode((one == 0).astype(np.uint8), np.ones((35, 35))) > 0 for one in first])
    assert well.any()
    assert np.array_equal(between[well], task.clip.frames[well])
    assert last.shape == between.shape


def test_modulated_passes_are_the_products_edits_of_one_region_each(model, settings, instance):
    """Against edit_clip and composite, called by hand: region by region, the second from the first's result."""
    task, trajectory = instance
    first, second = regions_of(task, settings)
    between, final = task.prompts_in_turn()
    how = {"inversion": settings.inversion, "attention": settings.attention}
    one = edit_clip(
        model,
        task.clip.frames,
        trajectory,
        between,
        [first],
        sampling=settings.sampling,
        attention=settings.attention,
        blend=settings.blend,
        composite=settings.composite,
        steady=SteadySettings(enabled=False),
    ).frames
    inverted = invert_clip(model, one, between, steps=STEPS, **how)
    two = edit_clip(
        model,
        one,
        inverted,
        final,
        [second],
        sampling=settings.sampling,
        attention=settings.attention,
        blend=settings.blend,
        steady=SteadySettings(enabled=False),
    ).decoded
    assert np.array_equal(run("sequential_modulated", model, instance, settings), two)
    plain = replace(
        settings, attention=replace(settings.attention, self_strength=0.0, cross_strength=0.0, splice=False)
    )
    assert np.array_equal(
        run("sequential_modulated", model, instance, plain), run("sequential", model, instance, settings)
    )


def bias(modulation, grid, t=0.98, kind="self", mode="full"):
    frames = modulation.label_map.frames
    if kind == "cross":
        return modulation.cross_bias(("cond",), grid=grid, t=t)
    return modulation.self_bias(("cond",), grid=grid, t=t, spacetime=SpaceTime(mode, frames))


def partial(**more):
    left = torch.zeros(2, 8, 8)
    left[:, :4, :3] = 1
    right = torch.zeros(2, 8, 8)
    right[:, 2:7, 5:8] = 1
    words = torch.tensor([-1, 1, 1, -1, 2, -1])
    given = {"self_schedule": Schedule(0.5, 2.0, 0, 1), "cross_schedule": Schedule(1.0, 1.0, 0, 1), "finest": (8, 8)}
    return PartialModulation(label_map=LabelMap([left, right]), text_labels=words, **{**given, **more})


def test_without_the_size_term_every_region_is_modulated_alike():
    t = 0.9
    _, strength = bias(partial(size_term=False), (8, 8), t)
    assert torch.allclose(strength, torch.full_like(strength, 0.5 * t**2))
    labels = partial().label_map.labels((8, 8))
    for background, own in (("neutral", 1.0), ("paper", 1.0), ("free", 0.0)):
        wishes = {"background": background, "region_strength": (0.5, 1.0)}
        _, cross = bias(partial(size_term=False, **wishes), (8, 8), t, "cross")
        factor = torch.tensor([own, 0.5, 1.0])[labels]
        assert torch.allclose(cross, t * factor, atol=1e-6), background
    _, sized = bias(partial(), (8, 8), t)
    assert not torch.allclose(sized, strength)


def test_levels():
    for levels, fine, coarse in (("all", True, True), ("coarse", False, True), ("finest", True, False)):
        modulation = partial(levels=levels)
        for kind in ("self", "cross"):
            assert (bias(modulation, (8, 8), kind=kind) is not None) == fine
            assert (bias(modulation, (4, 4), kind=kind) is not None) == coarse


@pytest.mark.parametrize("mode", ["full", "per_frame"])
def test_a_background_that_matches_nothing(mode):
    labels, _ = bias(partial(background_matches=False), (8, 8), mode=mode)
    whole, _ = bias(partial(), (8, 8), mode=mode)
    own = SpaceTime(mode, 2).queries(partial().label_map.labels((8, 8)))
    for matched, background in ((whole, True), (labels, False)):
        q, k = matched.q[..., :, None], matched.k[..., None, :]
        positive = (q == k) & (q >= 0)
        expected = own[..., :, None] == own[..., None, :]
        if not background:
            expected &= (own > 0)[..., :, None]
        assert torch.equal(positive, expected)


def test_hard_masks_against_loops():
    modulation = partial()
    masks = hard_masks.HardMasks(
        label_map=modulation.label_map, text_labels=modulation.text_labels, self_schedule=Schedule(0.0)
    )
    torch.manual_seed(0)
    heads, tokens, words = 2, 16, 6
    q, k, v = torch.randn(4, tokens, 8), torch.randn(4, words, 8), torch.randn(4, words, 8)
    out = masks.cross_attention(q, k, v, heads=heads, grid=(4, 4), roles=("uncond", "cond"), t=0.5, frames=2)
    labels = modulation.label_map.labels((4, 4))
    assert set(labels.unique().tolist()) == {0, 1, 2}
    for row in range(4):
        for token in range(tokens):
            own = int(labels[row % 2, token])
            seen = [w for w, word in enumerate(modulation.text_labels.tolist()) if row < 2 or word in (-1, own)]
            for head in range(heads):
                part = slice(4 * head, 4 * head + 4)
                weight = torch.softmax(k[row, seen, part] @ q[row, token, part] / 2, 0)
                assert torch.allclose(out[row, token, part], weight @ v[row, seen, part], atol=1e-5)


def test_composition_puts_predictions_where_their_masks_are():
    left, right = torch.zeros(1, 16, 16), torch.zeros(1, 16, 16)
    left[:, :, :8] = 1
    right[:, :, 4:12] = 1  # on top: of the left one the first quarter is seen
    shares = composition.weights([left, right], (2, 4))
    assert torch.allclose(shares.sum(0), torch.ones(1, 2, 4))
    assert torch.equal(shares[:, 0, 0], torch.tensor([[0.0, 0, 0, 1], [1.0, 0, 0, 0], [0.0, 1, 1, 0]]))
    constant = [lambda x, sigma, value=value: torch.full_like(x, value) for value in (1.0, 2.0, 3.0, -1.0)]
    denoise = composition.composed(constant[:3], constant[3], shares, guidance=5.0)
    out = denoise(torch.zeros(1, 4, 2, 4), torch.tensor(1.0))
    # -1 + 5 (value - (-1)) for the value seen in each column
    assert torch.allclose(out[0, 0, 0], torch.tensor([14.0, 19.0, 19.0, 9.0]))


def test_composition_of_one_prompt_everywhere_is_that_prompt(model, settings, instance):
    task, trajectory = instance
    whole = replace(task.regions[0], mask=torch.ones_like(task.regions[0].mask))
    one = replace(task, regions=(whole,))
    free = replace(settings, blend=BlendSettings(enabled=False))
    found = composition.edit(model, task.clip.frames, trajectory, one, free)
    with guided(model, model.encode_prompt(task.alone(whole)), free, FRAMES) as denoise:
        expected = sample(model, denoise, task.clip.frames, trajectory, free, 0)
    assert np.abs(found.astype(int) - expected).max() <= 1


def test_the_released_codes_blend_is_one_level_too_noisy():
    sigmas = torch.tensor([8.0, 3.0, 0.0])
    clean = torch.randn(1, 4, 64, 64, generator=torch.Generator().manual_seed(1))
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., :32] = 1

    def to_zero(x, sigma, **extra):
        return torch.zeros_like(x)

    x = released_code._denoise(to_zero, clean + 8, sigmas[:2], clean, mask, torch.Generator().manual_seed(0))
    assert torch.allclose(x[..., :32], (clean + 8)[..., :32] * 3 / 8, atol=1e-5)  # Euler towards zero, untouched
    z = (x / (1 + 9) ** 0.5)[..., 32:]  # at sigma 3 the source should be clean / sqrt(10) with noise of 3 / sqrt(10)
    share = (z * clean[..., 32:]).mean() / (clean[..., 32:] ** 2).mean()
    assert float(share) == pytest.approx(1 / 65**0.5, abs=0.03)  # of sigma 8 instead
    assert float((z - share * clean[..., 32:]).std()) == pytest.approx(8 / 65**0.5, abs=0.03)
    last = released_code._denoise(to_zero, x, sigmas[1:], clean, mask, torch.Generator().manual_seed(0))
    assert float((last[..., 32:] * 10**0.5 - clean[..., 32:]).std()) == pytest.approx(3, abs=0.1)
    unblended = released_code._denoise(to_zero, x, sigmas[1:], clean, None, torch.Generator())
    assert torch.allclose(unblended, torch.zeros_like(x), atol=1e-5)


def test_masks_are_changed_before_they_are_used(settings):
    task = task_of("instance")
    boxes = replace(settings, ablation=replace(settings.ablation, masks="boxes"))
    given = regions_of(task, boxes)
    expected = changed_masks([region.mask for region in task.regions], "boxes")
    assert all(isinstance(r, Region) and torch.equal(r.mask, mask) for r, mask in zip(given, expected))


def test_systems_are_picked_by_name():
    assert [s.name for s in pick_systems(["ours", "global"])] == ["global", "ours"]
    assert len(pick_systems(None)) == len(SYSTEMS)
    with pytest.raises(ValueError, match="'sdedit' does not exist"):
        pick_systems(["sdedit"])


@pytest.mark.parametrize("change", ["drop", "holes"])
def test_masks_are_mended_as_in_the_product(settings, change):
    spec = next(s for s in clip_specs(["instance"]) if s.motion == "apart")
    task = edit_task(spec, 0, 4, 128)
    damaged = replace(settings, ablation=replace(settings.ablation, masks=change))
    held = regions_of(task, damaged)
    plain = regions_of(task, replace(damaged, steady=SteadySettings(enabled=False)))
    for one, left, true in zip(held, plain, task.regions):
        whole, rest, mended = (mask > 0.5 for mask in (true.mask, left.mask, one.mask))
        lost = whole & ~rest
        assert lost.any()
        assert 3 * (mended & lost).sum() > 2 * lost.sum()
        assert (mended & ~whole).sum() < 0.05 * whole.sum()
