"""Our patches on tiny random models of ComfyUI's own classes, sampled by ComfyUI's own samplers (hosts.md B2)."""

import copy
import inspect
import math

import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import comfy.supported_models
import pytest
import torch
from comfy.ldm.flux.model import FluxParams
from comfy.patcher_extension import WrappersMP

from videograin.hosts.comfyui.edit import KEY
from videograin.hosts.comfyui.families import FAMILIES as KNOWN
from videograin.hosts.comfyui.families import family_of
from videograin.hosts.comfyui.family import Noise, Patch, Prompts
from videograin.hosts.comfyui.unet.noise import noise_levels
from videograin.hosts.comfyui.unet.patch import blocks, finest_level, levels, patch_edit, patch_space_time, tag

from . import tiny
from .edits import FAMILIES, NODE, apart, close, edit_of, edited, labels_of, literal, moving_masks


@pytest.fixture(scope="module", params=FAMILIES)
def any_model(request):
    return tiny.tiny_model(request.param)


@pytest.fixture(scope="module")
def model():
    return tiny.tiny_model("sd1")


# --- nothing to do, nothing done ---


@pytest.mark.parametrize("cfg", [1.0, 7.0])
def test_per_frame_without_regions_is_the_unpatched_model_bit_for_bit(any_model, cfg):
    positive = tiny.conditioning(1, family="sdxl")
    vanilla = tiny.sample(any_model, positive, cfg=cfg)
    assert torch.equal(tiny.sample(patch_space_time(any_model, "per_frame", node=NODE), positive, cfg=cfg), vanilla)


def test_an_edit_whose_time_never_comes_is_the_unpatched_model_bit_for_bit(model):
    edit = edit_of(mode="per_frame", empty_range=True)
    assert torch.equal(edited(model, edit, cfg=7.0), tiny.sample(model, tiny.conditioning(1), cfg=7.0))


@pytest.mark.parametrize("mode", ["full", "sparse_causal", "key_frames"])
def test_space_time_attention_of_one_frame_is_plain_attention(any_model, mode, caplog):
    positive = tiny.conditioning(1, family="sdxl")
    patched = patch_space_time(any_model, mode, node=NODE)
    close(tiny.sample(patched, positive, frames=1), tiny.sample(any_model, positive, frames=1))
    assert "1 frame" in caplog.text


@pytest.mark.parametrize("mode", ["full", "sparse_causal", "key_frames"])
@pytest.mark.parametrize("frames", [2, 3, 16])
def test_space_time_attention_lets_frames_see_each_other(model, mode, frames):
    noise = tiny.noise_of(frames, (8, 12))
    other = noise.clone()
    other[0] += 1
    patched = patch_space_time(model, mode, 1, node=NODE)
    last = [tiny.sample(patched, tiny.conditioning(1), noise=n, steps=1)[-1] for n in (noise, other)]
    alone = [tiny.sample(model, tiny.conditioning(1), noise=n, steps=1)[-1] for n in (noise, other)]
    assert torch.equal(*alone)
    if mode != "key_frames" or frames < 4:  # with one anchor in the middle the last frame never sees the first
        apart(*last, 1e-4)


def test_full_space_time_attention_knows_no_order_of_frames(model):
    noise, order = tiny.noise_of(4), [2, 0, 3, 1]
    patched = patch_space_time(model, "full", node=NODE)
    straight = tiny.sample(patched, tiny.conditioning(1), noise=noise, cfg=4.0)
    close(tiny.sample(patched, tiny.conditioning(1), noise=noise[order], cfg=4.0), straight[order])


# --- the edit itself ---


@pytest.mark.parametrize("cfg", [1.0, 7.0])
@pytest.mark.parametrize("halves", ["both", "cond", "uncond"])
def test_fused_equals_the_literal_formula(any_model, cfg, halves):
    positive = tiny.conditioning(1, family="sdxl")
    edit = edit_of(self_halves=halves, cross_halves=halves)
    fused = edited(any_model, edit, positive, cfg=cfg, steps=1)
    close(fused, edited(any_model, literal(edit), positive, cfg=cfg, steps=1))
    if cfg > 1 or halves != "uncond":
        plain = tiny.sample(patch_space_time(any_model, "full", node=NODE), positive, cfg=cfg, steps=1)
        apart(fused, plain)


@pytest.mark.parametrize("frames", [2, 3, 16])
def test_the_second_run_equals_the_first_and_the_parent_stays_as_it_was(any_model, frames):
    positive, edit = tiny.conditioning(1, family="sdxl"), edit_of(frames, moving_masks(frames, (64, 96)))
    options = copy.deepcopy(any_model.model_options)
    clip = {"noise": tiny.noise_of(frames, (8, 12)), "cfg": 7.0}
    before = tiny.sample(any_model, positive, **clip)
    patched = patch_edit(any_model, edit, node=NODE)
    inside = copy.deepcopy(patched.model_options["transformer_options"]["patches_replace"])
    runs = [tiny.sample(patched, tag(positive, edit), **clip) for _ in range(2)]
    assert torch.equal(*runs)
    apart(runs[0], before)
    assert any_model.model_options == options
    assert KEY not in any_model.wrappers.get(WrappersMP.OUTER_SAMPLE, {})
    assert KEY not in patched.model_options["transformer_options"]
    assert {slot: set(taken) for slot, taken in inside.items()} == {
        slot: set(taken) for slot, taken in patched.model_options["transformer_options"]["patches_replace"].items()
    }
    assert torch.equal(tiny.sample(any_model, positive, **clip), before)
    assert KEY not in positive[0][1]


def test_a_latent_of_odd_size(model):
    noise, edit = tiny.noise_of(2, (13, 22)), edit_of(2, moving_masks(2, (104, 176)))
    fused = edited(model, edit, noise=noise, steps=1)
    close(fused, edited(model, literal(edit), noise=noise, steps=1))
    large = edited(model, edit_of(2, moving_masks(2, (296, 528))), noise=tiny.noise_of(2, (37, 66)), steps=1)
    assert large.isfinite().all()


def test_a_region_with_an_empty_mask_is_absent(model):
    masks = moving_masks(3)
    labels = labels_of()
    one = edit_of(masks=masks[:1], text_labels=torch.where(labels == 2, -1, labels))
    two = edit_of(masks=[masks[0], torch.zeros_like(masks[1])])
    close(edited(model, two, cfg=7.0), edited(model, one, cfg=7.0), 1e-6)


def test_a_static_mask_stands_for_all_frames(model):
    masks = [mask[:1] for mask in moving_masks(3)]
    moving = edit_of(masks=[mask.repeat(3, 1, 1) for mask in masks])
    assert torch.equal(edited(model, edit_of(masks=masks)), edited(model, moving))
    flat = edit_of(masks=[mask[0] for mask in masks])
    assert torch.equal(edited(model, flat), edited(model, moving))


def test_halves_leave_the_other_half_alone(model):
    seen = {}

    def see(args, into):
        into["uncond"], into["cond"] = args["uncond_denoised"], args["cond_denoised"]
        return args["denoised"]

    positive = tiny.conditioning(1)
    for halves in ("cond", "uncond", "none"):
        edit = edit_of(mode="per_frame", self_halves=halves, cross_halves=halves) if halves != "none" else None
        patched = patch_edit(model, edit, node=NODE) if edit else model.clone()
        into = seen.setdefault(halves, {})
        patched.set_model_sampler_post_cfg_function(lambda args, into=into: see(args, into))
        tiny.sample(patched, tag(positive, edit) if edit else positive, cfg=7.0, steps=1)
    close(seen["cond"]["uncond"], seen["none"]["uncond"])
    close(seen["uncond"]["cond"], seen["none"]["cond"])
    apart(seen["cond"]["cond"], seen["none"]["cond"], 1e-3)
    apart(seen["uncond"]["uncond"], seen["none"]["uncond"], 1e-3)


def test_self_and_cross_act_each_for_itself(model):
    results = [
        edited(model, edit_of(**options), cfg=7.0, steps=1)
        for options in ({}, {"self_strength": 0.0}, {"cross_strength": 0.0}, {"background": "free"})
    ]
    for number, one in enumerate(results):
        for other in results[:number]:
            apart(one, other, 1e-4)


def test_a_wrong_number_of_mask_frames_is_an_error_before_the_first_step(model):
    edit, steps = edit_of(5), []
    patched = patch_edit(model, edit, node=NODE)
    patched.set_model_unet_function_wrapper(lambda *args: steps.append(args))
    with pytest.raises(ValueError, match=rf"^{NODE}.*region 1 \(phrase 1\).*1 frame or 3.*got 5.*Cut or extend"):
        tiny.sample(patched, tag(tiny.conditioning(1), edit))
    assert not steps


def test_a_positive_that_is_not_ours_is_said(model, caplog):
    edit = edit_of(self_strength=0.0, mode="per_frame")
    out = tiny.sample(patch_edit(model, edit, node=NODE), tiny.conditioning(1))
    assert "output `positive`" in caplog.text
    assert torch.equal(out, tiny.sample(model, tiny.conditioning(1)))


# --- failing ---


def test_an_interrupted_run_leaves_nothing_behind(model):
    edit, positive = edit_of(), tiny.conditioning(1)
    vanilla, undisturbed = tiny.sample(model, positive), edited(model, edit, positive)
    patched = patch_edit(model, edit, node=NODE)

    def interrupt(*args):
        raise comfy.model_management.InterruptProcessingException

    with pytest.raises(comfy.model_management.InterruptProcessingException):
        tiny.sample(patched, tag(positive, edit), callback=interrupt)
    assert KEY not in patched.model_options["transformer_options"]
    assert torch.equal(tiny.sample(model, positive), vanilla)
    assert torch.equal(tiny.sample(patched, tag(positive, edit)), undisturbed)


# --- which models ---


def test_families_and_blocks():
    models = [tiny.tiny_model(family) for family in FAMILIES]
    assert [family_of(model, NODE).name_of(model) for model in models] == list(FAMILIES)
    assert [family_of(model, NODE).name_of(model.model) for model in models] == list(FAMILIES)
    places = list(blocks(tiny.tiny_model("sdxl")))
    assert places == [("input", 3, 2), ("middle", 0, 3), ("output", 0, 2), ("output", 1, 2)]


def tiny_flux():
    newer = {"txt_ids_dims": []} if "txt_ids_dims" in FluxParams.__dataclass_fields__ else {}
    config = comfy.supported_models.Flux(
        {
            **newer,
            "image_model": "flux",
            "in_channels": 4,
            "out_channels": 4,
            "vec_in_dim": 8,
            "context_in_dim": 8,
            "hidden_size": 32,
            "mlp_ratio": 1.0,
            "num_heads": 2,
            "depth": 1,
            "depth_single_blocks": 1,
            "axes_dim": [4, 6, 6],
            "theta": 10000,
            "patch_size": 2,
            "qkv_bias": True,
            "guidance_embed": True,
        }
    )
    config.set_inference_dtype(torch.float32, None)
    device = torch.device("cpu")
    return comfy.model_patcher.ModelPatcher(config.get_model({}, ""), device, device)


def test_other_models_are_refused_by_name():
    says = f"{NODE}: input `model`: supports SD1.x, SD2.x and SDXL UNets; got "
    with pytest.raises(ValueError, match=f"^{says}Flux. Load a checkpoint of one of these.$"):
        family_of(tiny_flux(), NODE)
    with pytest.raises(ValueError, match=f"^{says}str"):
        family_of("a model", NODE)


def test_a_family_is_whole(any_model):
    """No model is of two families, and each has what the rest of the room calls."""
    (family,) = (one for one in KNOWN if one.name_of(any_model) is not None)
    assert family is family_of(any_model, NODE)
    assert family.geometry.channels == any_model.get_model_object("latent_format").latent_channels
    for module, asked in ((family.patch, Patch), (family.prompts, Prompts), (family.noise, Noise)):
        names = [name for name in vars(asked) if not name.startswith("_")]
        assert names
        for name in names:
            wanted = list(inspect.signature(getattr(asked, name)).parameters.values())[1:]
            assert [(p.name, p.kind, p.default) for p in wanted] == [
                (p.name, p.kind, p.default) for p in inspect.signature(getattr(module, name)).parameters.values()
            ]


def test_a_unet_of_another_family_is_refused():
    other = tiny.tiny_model("sd1")
    other.model.model_config = comfy.supported_models.SVD_img2vid({**other.model.model_config.unet_config})
    with pytest.raises(ValueError, match="got SVD_img2vid"):
        family_of(other, NODE)


def test_noise_levels_are_the_models_own(any_model):
    levels, sampling = noise_levels(any_model), any_model.get_model_object("model_sampling")
    for timestep in (0, 17, 500, 999):
        assert levels.timestep(sampling.sigmas[timestep]) == pytest.approx(timestep, abs=1e-3)
    assert len(noise_levels(any_model.model)) == 1000


# --- memory ---


def test_room_is_reserved_with_the_host(any_model, monkeypatch):
    """For as many frames as are sampled at once, also where context windows cut the estimate down."""
    asked = []
    original = comfy.model_base.BaseModel.memory_required
    monkeypatch.setattr(
        comfy.model_base.BaseModel,
        "memory_required",
        lambda self, input_shape, **kwargs: asked.append(list(input_shape)) or original(self, input_shape, **kwargs),
    )
    positive = tiny.conditioning(1, family="sdxl")
    needed = {}
    for name, patched in (
        ("plain", any_model),
        ("per_frame", patch_space_time(any_model, "per_frame", node=NODE)),
        ("key_frames", patch_space_time(any_model, "key_frames", 2, node=NODE)),
        ("full_coarse", patch_space_time(any_model, "full_coarse", 2, node=NODE)),
        ("full", patch_space_time(any_model, "full", node=NODE)),
        ("edit", patch_edit(any_model, edit_of(), node=NODE)),
    ):
        asked.clear()
        tiny.sample(patched, positive, cfg=7.0, steps=1)
        needed[name] = max(shape[0] * shape[2] * shape[3] for shape in asked)
    assert needed["plain"] == needed["per_frame"] == 2 * 3 * 16 * 16
    assert needed["plain"] == needed["full"] < needed["key_frames"]
    assert needed["full_coarse"] == needed["key_frames"]  # what the finest level gathers is the most
    assert needed["plain"] < needed["edit"]


@tiny.needs_overrides
@pytest.mark.parametrize("size", [(11, 22), (16, 16)])
def test_the_levels_are_those_that_the_host_computes(any_model, size):
    """Every layer in its order, the finest told by its tokens; odd sides are halved upwards."""
    seen = []

    def override(func, q, k, v, heads, **kwargs):
        if q.shape == k.shape:  # self-attention: the prompt has 77 tokens
            seen.append((q.shape[1], q.shape[2], heads))
        return func(q, k, v, heads, **kwargs)

    watched = any_model.clone()
    watched.model_options["transformer_options"]["optimized_attention_override"] = override
    tiny.sample(watched, tiny.conditioning(1, family="sdxl"), noise=tiny.noise_of(2, size), steps=1)
    found = levels(any_model, size)
    assert [(level.tokens, level.channels, level.heads) for level in found] == seen
    most = max(tokens for tokens, *_ in seen)
    assert [level.finest for level in found] == [tokens == most for tokens, *_ in seen]
    sides = finest_level(any_model)
    assert most == math.ceil(size[0] / sides) * math.ceil(size[1] / sides)
