"""Long Clip Windows in the real host: what a window sees, how windows are mixed, and who is told of them."""

from __future__ import annotations

import itertools
import logging

import comfy.model_management
import comfy.sample
import comfy.samplers
import pytest
import torch
from comfy.patcher_extension import WrappersMP
from comfy_extras import nodes_custom_sampler as core

from videograin.editing.attention_features import FeatureCollector
from videograin.editing.windows import Windows
from videograin.hosts.comfyui.inversion import invert_latent, noise_latent
from videograin.hosts.comfyui.round_trip import sample_back
from videograin.hosts.comfyui.unet.noise import leading_sigmas
from videograin.hosts.comfyui.unet.patch import patch_edit, patch_space_time, tag
from videograin.hosts.comfyui.windows import LongClipHandler, with_windows
from videograin.nodes.latent_blend import LatentBlend
from videograin.nodes.latent_blend_model import LatentBlendModel
from videograin.nodes.long_clip_windows import LongClipWindows

from . import tiny
from .edits import NODE, apart, close, edit_of, moving_masks
from .windows import windowed

pytestmark = pytest.mark.usefixtures("as_the_host_runs")

FRAMES = 7
# Written out by hand: four frames at a time, one of them the anchor 3 (the middle), and one frame of overlap.
# Three own frames each from 0, 2 and 4; their weights rise 1 2 1 and are shared out: frames 2 and 4 lie in two windows.
HOW = {"frames": 4, "overlap": 1, "anchors": 1}
BY_HAND = [
    ([0, 1, 2, 3], [1.0, 1.0, 0.5, 0.0]),
    ([2, 3, 4], [0.5, 1.0, 0.5]),
    ([3, 4, 5, 6], [0.0, 0.5, 1.0, 1.0]),
]


@pytest.fixture(scope="module")
def model():
    return tiny.tiny_model()


def node(model, **changes):
    return LongClipWindows.execute(model, **{**HOW, **changes}).args[0]


def sample(model, positive=None, **options):
    noise = options.pop("noise", None)
    noise = tiny.noise_of(FRAMES, (8, 8)) if noise is None else noise
    return tiny.sample(model, positive or tiny.conditioning(1), noise=noise, **options)


def prediction(model, positive, noise, cfg=1.0):
    """What the first model call of a run predicts: x0 [F, 4, h, w]."""
    found = []
    tiny.sample(model, positive, noise=noise, cfg=cfg, callback=lambda step, x0, *_: found.append(x0.clone()))
    return found[0]


# --- windows --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("frames", [FRAMES, FRAMES + 1])
@pytest.mark.parametrize("cfg", [1.0, 5.0])
def test_a_clip_that_fits_one_window_is_left_alone_bit_for_bit(model, frames, cfg):
    patched = patch_space_time(model, "full", node=NODE)
    assert torch.equal(sample(node(patched, frames=frames), cfg=cfg), sample(patched, cfg=cfg))


@pytest.mark.parametrize("sampler", ["euler", "heun", "dpmpp_2m", "ddim", "uni_pc"])
@pytest.mark.parametrize("cfg", [1.0, 5.0])
def test_without_attention_between_frames_windows_change_nothing(model, sampler, cfg):
    close(sample(node(model), cfg=cfg, sampler=sampler, steps=3), sample(model, cfg=cfg, sampler=sampler, steps=3))


@pytest.mark.parametrize("family", ["sd2", "sdxl"])
def test_other_families(family):
    other, positive = tiny.tiny_model(family), tiny.conditioning(1, family=family)
    close(sample(node(other), positive, cfg=5.0), sample(other, positive, cfg=5.0))


def test_full_attention_equals_a_loop_over_slices_of_the_clip(model):
    """Euler written out, on a model that knows no windows: slice, call, weigh, add."""
    patched = patch_space_time(model, "full", node=NODE)

    def euler(network, x, sigmas, extra_args, callback=None, disable=None):
        for now, then in itertools.pairwise(sigmas):
            x0 = torch.zeros_like(x)
            for frames, weights in BY_HAND:
                seen = network(x[frames], now * x.new_ones(len(frames)), **extra_args)
                for place, frame in enumerate(frames):
                    x0[frame] += weights[place] * seen[place]
            x = x + (x - x0) / now * (then - now)
        return x

    def run(model, sampler):
        guider = comfy.samplers.CFGGuider(model)
        guider.set_conds(tiny.conditioning(1), tiny.conditioning(99))
        guider.set_cfg(4.0)
        noise, sigmas = tiny.noise_of(FRAMES, (8, 8)), leading_sigmas(model, 4)
        return guider.sample(noise, torch.zeros_like(noise), sampler, sigmas, disable_pbar=True)

    by_hand = run(patched, comfy.samplers.KSAMPLER(euler))
    ours = run(node(patched), comfy.samplers.sampler_object("euler"))
    close(ours, by_hand, 1e-4)
    apart(ours, run(patched, comfy.samplers.sampler_object("euler")))


@pytest.mark.parametrize("cfg", [1.0, 5.0])
def test_a_window_of_an_edit_is_a_clip_of_its_own(model, cfg):
    """Masks, area shares and noise of these frames alone."""
    noise, masks = tiny.noise_of(FRAMES, (8, 8)), moving_masks(FRAMES)
    expected = torch.zeros_like(noise)
    for frames, weights in BY_HAND:
        part = edit_of(masks=[mask[frames] for mask in masks])
        positive = tag(tiny.conditioning(1), part)
        seen = prediction(patch_edit(model, part, node=NODE), positive, noise[frames], cfg)
        expected[frames] += torch.tensor(weights).view(-1, 1, 1, 1) * seen
    edit = edit_of(masks=masks)
    found = prediction(node(patch_edit(model, edit, node=NODE)), tag(tiny.conditioning(1), edit), noise, cfg)
    close(found, expected, 1e-4)


@pytest.mark.parametrize(("changed", "seen"), [(3, True), (1, False)])
def test_anchors_are_seen_by_windows_that_they_do_not_lie_in(model, changed, seen):
    """Frame 3 is the anchor: the last frame, two windows away from frame 1, looks at it."""
    noise = tiny.noise_of(FRAMES, (8, 8))
    other = noise.clone()
    other[changed] += 1
    patched = node(patch_space_time(model, "full", node=NODE))
    last = [prediction(patched, tiny.conditioning(1), one)[-1] for one in (noise, other)]
    assert torch.equal(*last) != seen


def test_anchors_matter_through_attention_alone(model):
    full, alone = patch_space_time(model, "full", node=NODE), patch_space_time(model, "per_frame", node=NODE)
    # Frames of their own in a window: the same number, with and without the anchor beside them.
    settings = [{"frames": 4, "anchors": 1}, {"frames": 3, "anchors": 0}]
    close(*(sample(node(alone, **one)) for one in settings))
    apart(*(sample(node(full, **one)) for one in settings), 1e-3)


# --- other nodes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cfg", [1.0, 5.0])
def test_before_or_after_the_patch_is_the_same(model, cfg):
    edit = edit_of(FRAMES)
    positive = tag(tiny.conditioning(1), edit)
    before = patch_edit(node(model), edit, node=NODE)
    after = node(patch_edit(model, edit, node=NODE))
    assert torch.equal(sample(before, positive, cfg=cfg), sample(after, positive, cfg=cfg))


def test_two_edits_of_one_windowed_model(model):
    base, edits = node(model), [edit_of(FRAMES), edit_of(FRAMES, mode="per_frame")]
    together = [patch_edit(base, edit, node=NODE) for edit in edits]
    for edit, patched in zip(edits, together):
        positive = tag(tiny.conditioning(1), edit)
        alone = sample(patch_edit(node(model), edit, node=NODE), positive)
        assert torch.equal(sample(patched, positive), alone)
        assert torch.equal(sample(patched, positive), alone)  # the second run equals the first


def test_the_last_windows_count(model):
    patched = patch_space_time(model, "full", node=NODE)
    assert torch.equal(sample(node(node(patched, frames=3)), steps=1), sample(node(patched), steps=1))
    assert torch.equal(sample(node(windowed(patched, "standard_static")), steps=1), sample(node(patched), steps=1))


def test_nothing_is_left_behind(model):
    before = dict(model.model_options)
    patched = node(patch_space_time(model, "full", node=NODE))
    seen = []

    def watch(executor, base, conds, x, timestep, options):
        seen.append((options["transformer_options"]["context_window"].index_list, x.shape[0], timestep.shape[0]))
        return executor(base, conds, x, timestep, options)

    def after(executor, *args, **kwargs):
        out = executor(*args, **kwargs)
        options = executor.class_obj.model_options["transformer_options"]
        assert not {"context_window", "ad_params"} & set(options)
        return out

    patched.add_wrapper_with_key(WrappersMP.CALC_COND_BATCH, "test", watch)
    patched.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, "test", after)
    sample(patched, steps=1)
    assert seen == [(frames, len(frames), len(frames)) for frames, _ in BY_HAND]
    assert dict(model.model_options) == before
    assert "context_handler" not in model.model_options


@pytest.mark.parametrize("last", ["windows", "patch"])
def test_the_host_makes_room_for_a_window(model, last):
    """In either order, and as for a clip of the window's frames."""

    def shape_of(patched, frames):
        shapes = []

        def look(executor, patcher, noise_shape, *args, **kwargs):
            shapes.append(list(noise_shape))
            return executor(patcher, noise_shape, *args, **kwargs)

        patched = patched.clone()
        patched.add_wrapper_with_key(WrappersMP.PREPARE_SAMPLING, "test", look)
        tiny.sample(patched, positive, noise=tiny.noise_of(frames, (8, 8)), steps=1)
        return shapes[0]

    edit, long = edit_of(None, masks=[mask[:1] for mask in moving_masks(2)], mode="key_frames"), 40
    positive = tag(tiny.conditioning(1), edit)
    settings = {"frames": 8, "overlap": 1, "anchors": 1}
    if last == "windows":
        patched = node(patch_edit(model, edit, node=NODE), **settings)
    else:
        patched = patch_edit(node(model, **settings), edit, node=NODE)
    assert shape_of(patched, long) == shape_of(patch_edit(model, edit, node=NODE), 8)


@pytest.mark.parametrize("cut", [1, 2])
def test_cancel_between_windows(model, cut):
    patched, calls = node(model), []

    def watch(executor, *args, **kwargs):
        calls.append(1)
        if len(calls) == cut:
            comfy.model_management.interrupt_current_processing()
        return executor(*args, **kwargs)

    patched.add_wrapper_with_key(WrappersMP.CALC_COND_BATCH, "test", watch)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        sample(patched, steps=1)
    assert len(calls) == cut
    assert not comfy.model_management.processing_interrupted()


@pytest.mark.parametrize("masks", [FRAMES, 1])
def test_masks_of_a_conditioning_go_with_their_frames(model, masks):
    mask = (torch.rand(masks, 64, 64, generator=torch.Generator().manual_seed(4)) > 0.5).float()
    part = nodes_mask_set(tiny.conditioning(1), mask)
    both = part + tiny.conditioning(2)
    close(sample(node(model), both, cfg=4.0), sample(model, both, cfg=4.0))


def nodes_mask_set(positive, mask):
    import nodes

    return nodes.ConditioningSetMask().append(positive, mask, "default", 1.0)[0]


def test_a_prompt_for_each_frame_goes_with_its_frame(model):
    """Conditionings with a row per frame, as prompt schedules make them."""
    prompts = torch.cat([tiny.conditioning(seed)[0][0] for seed in range(FRAMES)])
    positive = [[prompts, {}]]
    straight = sample(model, positive)
    close(sample(node(model), positive), straight)
    apart(straight, sample(model, [[prompts.flip(0), {}]]), 1e-3)


# --- inversion, blend, check ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def clip(model):
    with torch.inference_mode():
        samples = torch.randn(FRAMES, 4, 8, 8, generator=torch.Generator().manual_seed(0)) * 4
        return {"samples": samples}


def invert(model, clip, mode="full", observer=None, steps=10, method="fixed_point"):
    sigmas = leading_sigmas(model, steps)
    how = {"method": method, "calls": 6, "mode": mode, "observer": observer, "node": "test"}
    return invert_latent(model, tiny.conditioning(1), clip, sigmas, **how)


def smooth():
    """The model with a network that is calm enough for few steps."""
    calm = tiny.tiny_model()
    calm.model.diffusion_model.out[2].weight.mul_(0.1)
    return calm


def test_the_way_up_is_walked_in_windows_and_leads_back(clip):
    calm = smooth()
    long = node(calm)
    inversion = invert(long, clip)
    assert inversion.extra["windows"] == Windows(**HOW).note()
    apart(inversion.noise, invert(calm, clip).noise, 1e-4)
    patched = patch_space_time(long, "full", node="test")
    sampler = comfy.samplers.sampler_object("euler")
    start = (patched, False, 7, 1.0, tiny.conditioning(1), tiny.conditioning(2), sampler, inversion.sigmas)
    found = core.SamplerCustom().sample(*start, noise_latent(inversion))[0]["samples"]
    assert (found - clip["samples"]).std() < 0.1 * clip["samples"].std()
    close(sample_back(long, tiny.conditioning(1), inversion, node="Inversion Check"), found, 1e-5)


def test_a_clip_in_one_window_is_noted_as_without(model, clip):
    assert "windows" not in invert(node(model, frames=FRAMES), clip, steps=2).extra
    assert "windows" not in invert(model, clip, steps=2).extra


def test_features_are_of_the_whole_clip(clip):
    """Without attention between frames the windows show a frame what it would show alone."""
    calm, found = smooth(), []
    for one in (calm, node(calm)):
        collector = FeatureCollector(FRAMES)
        invert(one, clip, "per_frame", collector, steps=2, method="ddim")
        found.append(collector.result())
    close(found[1].values.float(), found[0].values.float(), 1e-3)
    close(found[1].cross.float(), found[0].cross.float(), 1e-3)


@pytest.mark.parametrize("form", ["sampler", "model"])
def test_the_blend_sees_the_whole_clip(model, clip, form):
    long = node(model)
    inversion = invert(long, clip, steps=5)
    mask = torch.zeros(FRAMES, 64, 64)
    for frame in range(FRAMES):
        mask[frame, 16:48, 4 * frame : 4 * frame + 24] = 1
    patched, edges = patch_space_time(long, "full", node=NODE), (0.0, 1.0, 0.0)
    sampler = comfy.samplers.sampler_object("euler")
    if form == "sampler":
        sampler = LatentBlend.execute(sampler, inversion, mask, *edges).args[0]
    else:
        patched = LatentBlendModel.execute(patched, inversion, mask, *edges, True).args[0]
    start = (patched, False, 7, 3.0, tiny.conditioning(2), tiny.conditioning(3), sampler, inversion.sigmas)
    found = core.SamplerCustom().sample(*start, noise_latent(inversion))[0]["samples"]
    inside = torch.nn.functional.interpolate(mask[:, None], (8, 8), mode="area").expand_as(found) > 0
    close(found[~inside], clip["samples"][~inside], 1e-5)
    apart(found[inside], clip["samples"][inside], 0.05)


@pytest.mark.parametrize("how", [HOW, {**HOW, "overlap": 2}, None])
@pytest.mark.parametrize("who", ["blend", "check"])
def test_other_windows_than_the_inversions_are_a_warning(model, clip, how, who, caplog):
    inversion = invert(node(model), clip, "per_frame", steps=2)
    caplog.set_level(logging.WARNING)
    caplog.clear()
    now = model if how is None else node(model, **how)
    if who == "check":
        sample_back(now, tiny.conditioning(1), inversion, node="Inversion Check")
    else:
        sampler = comfy.samplers.sampler_object("euler")
        sampler = LatentBlend.execute(sampler, inversion, torch.ones(1, 64, 64), 0.0, 1.0, 0.0).args[0]
        positive = tiny.conditioning(1)
        start = (now, False, 7, 1.0, positive, positive, sampler, inversion.sigmas, noise_latent(inversion))
        core.SamplerCustom().sample(*start)
    if how == HOW:
        assert caplog.text == ""
    else:
        said = "all frames at once" if how is None else "windows (frames 4, overlap 2, anchors 1)"
        name = "Inversion Check" if who == "check" else "Latent Blend"
        made = "the inversion was made with windows (frames 4, overlap 1, anchors 1)"
        assert f"{name}: {made}, this run uses {said}" in caplog.text


def test_windows_of_other_nodes_are_noted_and_compared(clip, caplog):
    """ComfyUI 0.3.64 takes core's windows where there are as many frames as sigmas."""
    calm = smooth()
    theirs = windowed(calm, "standard_static", length=4)
    inversion = invert(theirs, clip, steps=FRAMES - 1)
    assert inversion.extra["windows"] == "of another node, frames 4, overlap 1"
    caplog.clear()
    sample_back(theirs, tiny.conditioning(1), inversion, node="Inversion Check")
    assert "the inversion was made with" not in caplog.text
    sample_back(node(calm), tiny.conditioning(1), inversion, node="Inversion Check")
    assert "windows (of another node, frames 4, overlap 1), this run uses windows (frames 4," in caplog.text


# --- the node -------------------------------------------------------------------------------------------------------


def test_the_node_gives_what_the_host_asks_of_a_handler(model):
    handler = node(model).model_options["context_handler"]
    assert isinstance(handler, LongClipHandler)
    assert (handler.dim, handler.context_length, handler.context_overlap) == (0, 4, 1)
    assert handler.windows == Windows(**HOW)
    assert with_windows(model, Windows()).clone().model_options["context_handler"].windows == Windows()


def test_what_cannot_work_is_refused_by_name(model):
    with pytest.raises(ValueError, match=r"^Long Clip Windows: Windows: overlap 3 and anchors . leave none"):
        node(model, overlap=3)
    with pytest.raises(ValueError, match=r"^Long Clip Windows: input `model`: supports SD1\.x"):
        LongClipWindows.execute(object(), **HOW)


def test_animatediff_is_refused_by_name(model):
    patched = node(model)  # tests/in_comfyui/neighbours has the pack itself; here its mark on a run stands in
    patched.model_options["transformer_options"]["ad_params"] = {"sub_idxs": None, "full_length": FRAMES}
    with pytest.raises(ValueError, match=r"^Long Clip Windows: AnimateDiff-Evolved samples this model"):
        sample(patched, steps=1)
