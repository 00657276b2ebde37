"""However ComfyUI cuts a run into calls, the edit is the same: halves, several prompts, windows, areas (hosts.md
B3)."""

import inspect

import comfy.context_windows
import comfy.model_base
import comfy.samplers
import pytest
import torch
from comfy.patcher_extension import WrappersMP

from nodes import ConditioningCombine, ConditioningConcat, ConditioningSetArea
from videograin.hosts.comfyui.unet.patch import patch_edit, tag

from . import tiny
from .edits import FAMILIES, NODE, apart, close, edit_of, edited, labels_of, moving_masks


@pytest.fixture(scope="module", params=FAMILIES)
def any_model(request):
    return tiny.tiny_model(request.param)


@pytest.fixture(scope="module")
def model():
    return tiny.tiny_model("sd1")


# --- how the host calls ---


def cannot_batch(model):
    """A clone that evaluates one conditioning a call, as when memory is short."""
    patched = model.clone()
    patched.add_wrapper_with_key(
        WrappersMP.CALC_COND_BATCH,
        "test",
        lambda executor, base, conds, x, sigma, options: [
            executor(base, [c if n == m else None for m, c in enumerate(conds)], x, sigma, options)[n]
            for n in range(len(conds))
        ],
    )
    return patched


def test_split_calls_agree_with_one_call(any_model, monkeypatch):
    edit = edit_of(cross_halves="both")
    together = edited(any_model, edit, cfg=7.0)
    calls = []
    patched = patch_edit(any_model, edit, node=NODE)
    patched.set_model_unet_function_wrapper(
        lambda apply, args: calls.append(args["cond_or_uncond"]) or apply(args["input"], args["timestep"], **args["c"])
    )
    monkeypatch.setattr(comfy.model_base.BaseModel, "memory_required", lambda self, shape, **kw: 1e18 * (shape[0] > 3))
    close(tiny.sample(patched, tag(tiny.conditioning(1, family="sdxl"), edit), cfg=7.0), together)
    assert [0] in calls
    assert [1] in calls
    assert all(len(call) == 1 for call in calls)


def test_the_order_of_the_halves_does_not_matter(model):
    edit = edit_of(self_halves="cond")
    patched = patch_edit(model, edit, node=NODE)

    def reversed_order(args):
        conds = args["conds"][::-1]
        return comfy.samplers.calc_cond_batch(
            args["model"], conds, args["input"], args["sigma"], args["model_options"]
        )[::-1]

    usual = tiny.sample(patched, tag(tiny.conditioning(1), edit), cfg=7.0)
    patched.set_model_sampler_calc_cond_batch_function(reversed_order)
    close(tiny.sample(patched, tag(tiny.conditioning(1), edit), cfg=7.0), usual)


def test_two_positives(model):
    """One Euler step is linear in the denoised picture, and ComfyUI averages two positives."""
    edit = edit_of()
    one, two = (tag(tiny.conditioning(n), edit) for n in (1, 2))
    patched = patch_edit(model, edit, node=NODE)
    (both,) = ConditioningCombine().combine(one, two)
    single = [tiny.sample(patched, c, steps=1) for c in (one, two)]
    close(tiny.sample(patched, both, steps=1), (single[0] + single[1]) / 2)


def test_concatenated_conditioning_keeps_its_labels(model):
    """154 tokens, of which the first 77 are ours; the negative's 77 are repeated by the host."""
    edit = edit_of(cross_halves="both")
    (concat,) = ConditioningConcat().concat(tag(tiny.conditioning(1), edit), tiny.conditioning(5))
    patched = patch_edit(model, edit, node=NODE)
    together = tiny.sample(patched, concat, cfg=7.0, steps=1)
    close(tiny.sample(cannot_batch(patched), concat, cfg=7.0, steps=1), together)
    # The same labels written out by hand.
    explicit = edit_of(cross_halves="cond", text_labels=torch.cat([labels_of(), torch.full((77,), -1)]))
    by_hand = patch_edit(model, explicit, node=NODE)
    cond = tiny.sample(by_hand, tag([[concat[0][0], {}]], explicit), steps=1)
    close(tiny.sample(patched, concat, steps=1), cond)
    apart(cond, tiny.sample(patched, tag(tiny.conditioning(1), edit), steps=1), 1e-4)


def test_a_repeated_positive_repeats_its_labels(model):
    """A longer negative makes the host repeat ours; evaluated alone it is not repeated."""
    edit = edit_of()
    positive, negative = tag(tiny.conditioning(1), edit), tiny.conditioning(99, tokens=154)
    patched = patch_edit(model, edit, node=NODE)
    together = tiny.sample(patched, positive, negative, cfg=7.0, steps=1)
    close(tiny.sample(cannot_batch(patched), positive, negative, cfg=7.0, steps=1), together)


class Windows(comfy.context_windows.IndexListContextHandler):
    """ComfyUI's own. In 0.3.64 it cannot tell a batch of frames from the steps, unless they are equally many."""

    def set_step(self, timestep, model_options):
        super().set_step(timestep[:1], model_options)


# Newer ones put a frame of the window before into each window, which is not what these tests compare with.
ALONE = {"causal_window_fix": False} if "causal_window_fix" in inspect.signature(Windows.__init__).parameters else {}


def windows(model, length, schedule="batched"):
    patched = model.clone()
    patched.model_options["context_handler"] = Windows(
        context_schedule=comfy.context_windows.get_matching_context_schedule(schedule),
        fuse_method=comfy.context_windows.get_matching_fuse_method("flat"),
        context_length=length,
        context_overlap=1,
        **ALONE,
    )
    comfy.context_windows.create_prepare_sampling_wrapper(patched)
    return patched


@pytest.mark.parametrize("patch_first", [True, False])
def test_context_windows_are_edited_as_clips_of_their_own(model, patch_first):
    masks, noise, positive = moving_masks(8), tiny.noise_of(8), tiny.conditioning(1)
    edit = edit_of(8, masks)
    if patch_first:
        patched = windows(patch_edit(model, edit, node=NODE), 5)
    else:
        patched = patch_edit(windows(model, 5), edit, node=NODE)
    whole = tiny.sample(patched, tag(positive, edit), noise=noise, cfg=7.0, steps=1)
    for part in (slice(0, 5), slice(5, 8)):
        own = edit_of(masks=[mask[part] for mask in masks])
        close(edited(model, own, positive, noise=noise[part], cfg=7.0, steps=1), whole[part])


def test_looped_windows_run(model):
    edit = edit_of(6)
    patched = windows(patch_edit(model, edit, node=NODE), 4, "looped_uniform")
    out = tiny.sample(patched, tag(tiny.conditioning(1), edit), frames=6)
    assert out.isfinite().all()


def animatediff(model, parts):
    """A clone that evaluates parts of the batch and names them as AnimateDiff-Evolved does."""

    def by_parts(executor, base, conds, x, sigma, options):
        outs = [torch.zeros_like(x) for _ in conds]
        for indices in parts:
            options["transformer_options"]["ad_params"] = {"sub_idxs": indices, "full_length": len(x)}
            for out, part in zip(outs, executor(base, conds, x[indices], sigma[indices], options)):
                out[indices] = part
        return outs

    patched = model.clone()
    patched.add_wrapper_with_key(WrappersMP.CALC_COND_BATCH, "test", by_parts)
    return patched


@pytest.mark.parametrize("parts", [[[3, 1], [0, 2]], [[4, 0, 2], [1, 3, 5]], [[5, 4, 3, 2, 1, 0]]])
def test_shuffled_frames_find_their_masks(model, parts):
    frames = sum(map(len, parts))
    masks, noise, positive = moving_masks(frames), tiny.noise_of(frames), tiny.conditioning(1)
    edit = edit_of(masks=masks)
    patched = animatediff(patch_edit(model, edit, node=NODE), parts)
    whole = tiny.sample(patched, tag(positive, edit), noise=noise, cfg=7.0, steps=1)
    for part in parts:
        own = edit_of(masks=[mask[part] for mask in masks])
        close(edited(model, own, positive, noise=noise[part], cfg=7.0, steps=1), whole[part])


def test_frames_that_nobody_names_are_an_error(model):
    edit = edit_of(4)
    patched = animatediff(patch_edit(model, edit, node=NODE), [[0, 1]])
    wrapper = patched.wrappers[WrappersMP.CALC_COND_BATCH]["test"][0]

    def nameless(executor, *args):
        def forget(base, conds, x, sigma, options):
            options["transformer_options"].pop("ad_params")
            return executor(base, conds, x, sigma, options)

        return wrapper(forget, *args)

    patched.wrappers[WrappersMP.CALC_COND_BATCH]["test"] = [nameless]
    with pytest.raises(ValueError, match=r"2 of the run's 4 frames.*Use Long Clip Windows"):
        tiny.sample(patched, tag(tiny.conditioning(1), edit), frames=4)


def test_an_area_runs_unmodulated_and_says_so(model, caplog):
    edit = edit_of()
    patched = patch_edit(model, edit, node=NODE)
    (area,) = ConditioningSetArea().append(tag(tiny.conditioning(1), edit), 64, 128, 0, 0, 1.0)
    (all_conds,) = ConditioningCombine().combine(area, tag(tiny.conditioning(2), edit))
    assert tiny.sample(patched, all_conds, cfg=7.0).isfinite().all()
    assert caplog.text.count("masks do not apply") == 1


def test_samplers_of_other_kinds(model):
    edit = edit_of()
    for sampler in ("heun", "dpmpp_2m", "euler_ancestral"):
        assert edited(model, edit, sampler=sampler, steps=3).isfinite().all()
