"""Attention Map in the real ComfyUI: a sampler that looks, on random models and on the embedded one."""

import logging
import os
from dataclasses import replace

import comfy.model_management
import comfy.samplers
import comfy.utils
import pytest
import torch
from comfy_extras import nodes_custom_sampler as core

from videograin.editing.regions import Region
from videograin.hosts.comfyui.embedded_model import embedded_model
from videograin.hosts.comfyui.unet.patch import patch_edit, patch_space_time, tag
from videograin.hosts.comfyui.unet.slots import AttentionSlot
from videograin.nodes.attention_map import AttentionMap
from videograin.nodes.st_layout_attn_patch import STLayoutAttnPatch
from videograin.world.demo_task import make_task

from . import tiny
from .blending import World
from .core import run as run_core
from .edits import NODE, edit_of
from .windows import windowed

pytestmark = pytest.mark.usefixtures("as_the_host_runs")

FRAMES, SIDE, STEPS = 3, 16, 4
NAME = "Attention Map"


def sigmas_of(model, steps=STEPS):
    return comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "ddim_uniform", steps)


def run(model, positive, *, latent=None, cfg=3.0, sampler=None, words="", level="full", span=(0.0, 1.0), **more):
    """As the host calls it: a clone of the class, whose hidden inputs the preview reads."""
    hidden = {"prompt": None, "extra_pnginfo": None, "unique_id": "1"}
    cls = AttentionMap.PREPARE_CLASS_CLONE({**hidden, "hidden_inputs": hidden})
    latent = latent or {"samples": tiny.noise_of(FRAMES, (SIDE, SIDE))}
    negative = more.pop("negative", None) or tiny.conditioning(99, family="sdxl")
    sampler = sampler or comfy.samplers.ksampler("euler")
    sigmas, pixel = more.pop("sigmas", None), more.pop("pixel", (-1, -1, -1))
    sigmas = sigmas_of(model) if sigmas is None else sigmas
    return cls.execute(model, positive, negative, cfg, sampler, sigmas, latent, words, level, *span, *pixel, **more)


def plainly(model, positive, latent=None, cfg=3.0, sampler=None):
    """The samples of SamplerCustom, and what else its LATENT holds."""
    latent = latent or {"samples": tiny.noise_of(FRAMES, (SIDE, SIDE))}
    negative = tiny.conditioning(99, family="sdxl")
    sampler = sampler or comfy.samplers.ksampler("euler")
    return run_core(core.SamplerCustom, model, False, 0, cfg, positive, negative, sampler, sigmas_of(model), latent)[0]


@pytest.fixture(scope="module")
def edited():
    """(model, positive) of an edit with two regions, full space-time attention."""
    edit = edit_of(FRAMES)
    model = patch_edit(tiny.tiny_model(), edit, node=NODE)
    return model, tag(tiny.conditioning(1), edit)


# --- the same sampler -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cfg", [1.0, 3.0])
@pytest.mark.parametrize("sampler", ["euler", "dpmpp_2m", "euler_ancestral"])
def test_the_latent_is_that_of_sampler_custom_bit_for_bit(edited, sampler, cfg):
    sampler = comfy.samplers.ksampler(sampler)
    latent = {"samples": tiny.noise_of(FRAMES, (SIDE, SIDE)), "batch_index": [4, 5, 6], "kept": "as it is"}
    looked = run(*edited, latent=latent, cfg=cfg, sampler=sampler).args[0]
    plain = plainly(*edited, latent=latent, cfg=cfg, sampler=sampler)
    assert torch.equal(looked["samples"], plain["samples"])
    assert looked["batch_index"] == [4, 5, 6]
    assert looked["kept"] == "as it is"


def test_a_noise_mask_is_kept(edited):
    mask = torch.zeros(FRAMES, 1, SIDE * 8, SIDE * 8)
    mask[..., :64] = 1
    latent = {"samples": tiny.noise_of(FRAMES, (SIDE, SIDE)), "noise_mask": mask}
    assert torch.equal(run(*edited, latent=latent).args[0]["samples"], plainly(*edited, latent=latent)["samples"])


def test_the_model_stays_as_it_is_and_the_second_run_equals_the_first(edited):
    before = plainly(*edited)["samples"]
    first, second = run(*edited), run(*edited)
    assert torch.equal(first.args[1], second.args[1])
    assert first.args[3] == second.args[3]
    assert torch.equal(plainly(*edited)["samples"], before)
    replaced = edited[0].model_options["transformer_options"]["patches_replace"]
    assert all(not one.observers for slot in replaced.values() for one in slot.values())


def test_interrupting_it_interrupts(edited, monkeypatch):
    """By way of the progress bar, as the host's main.py does it; a run after that is whole."""
    steps = []

    def hook(value, total, preview, **where):
        steps.append(value)
        if value == 2:
            comfy.model_management.interrupt_current_processing()
        comfy.model_management.throw_exception_if_processing_interrupted()

    monkeypatch.setattr(comfy.utils, "PROGRESS_BAR_HOOK", hook)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        run(*edited)
    assert steps == [1, 2]
    monkeypatch.undo()
    assert torch.equal(run(*edited).args[0]["samples"], plainly(*edited)["samples"])


# --- what it shows ----------------------------------------------------------------------------------------------------


def test_pictures_and_table_of_the_regions(edited, tmp_path):
    out = run(*edited, pixel=(1, 30, 60))
    _, maps, sheet, table = out.args
    assert maps.shape[0] == FRAMES
    assert sheet.shape[0] == 1
    for images in (maps, sheet):
        assert images.shape[3] == 3
        assert images.dtype == torch.float32
        assert 0 <= images.min() <= images.max() <= 1
        assert images.shape[1] % 2 == images.shape[2] % 2 == 0
    assert "1 phrase 1" in table
    assert "2 phrase 2" in table
    shown = out.ui["images"]
    assert sorted(os.listdir(tmp_path)) == sorted(item["filename"] for item in shown)
    assert out.ui["text"] == (table,)


def test_own_shares_rise(edited):
    rows = [line for line in run(*edited).args[3].splitlines() if "phrase " in line][1:]
    gains = [float(line.split("x ")[1].split()[0]) for line in rows]
    assert len(gains) == 2
    assert min(gains) > 1.5


def test_only_what_is_modulated_differs(edited, caplog):
    """Looked at after the modulation has ended, before and after are one."""
    edit = edit_of(FRAMES, self_strength=0.9, end=0.3)
    model, positive = patch_edit(tiny.tiny_model(), edit, node=NODE), tag(tiny.conditioning(1), edit)
    with caplog.at_level(logging.WARNING):
        table = run(model, positive, span=(0.3, 1.0)).args[3]
    assert "nothing was modulated in the steps that were looked at" in caplog.text
    assert " > " not in table
    assert " x " not in table


@pytest.mark.parametrize("mode", ["full", "sparse_causal", "key_frames", "per_frame"])
def test_a_pixel_without_regions_in_every_mode(mode):
    model = patch_space_time(tiny.tiny_model(), mode, node=NODE)
    out = run(model, tiny.conditioning(1), pixel=(1, 0, 127))
    assert torch.equal(out.args[0]["samples"], plainly(model, tiny.conditioning(1))["samples"])


def test_an_unpatched_model(edited):
    model, positive = tiny.tiny_model("sd2"), tiny.conditioning(1)
    out = run(model, positive, pixel=(0, 5, 5))
    assert torch.equal(out.args[0]["samples"], plainly(model, positive)["samples"])


def test_the_frames_may_be_of_any_size_and_give_the_pixels_place(edited):
    images = torch.rand(FRAMES, 40, 60, 4)
    assert run(*edited, images=images, pixel=(2, 59, 39)).args[1].shape[0] == FRAMES
    with pytest.raises(ValueError, match=rf"^{NAME}: the pixel \(60, 0\) lies outside the frame of 60 x 40 pixels"):
        run(*edited, images=images, pixel=(2, 60, 0))


# --- with others ------------------------------------------------------------------------------------------------------


def test_the_sampler_of_latent_blend(edited):
    world = World()
    edit = edit_of(FRAMES)
    model, positive = patch_edit(world.model, edit, node=NODE), tag(world.prompt, edit)
    sampler, latent = world.sampler(), world.noise
    more = {"latent": latent, "sampler": sampler, "sigmas": world.sigmas}
    looked = run(model, positive, **more).args[0]["samples"]
    world.prompt, world.negative = positive, tiny.conditioning(99, family="sdxl")
    assert torch.equal(looked, world.custom(sampler, model, cfg=3.0))
    world.check(looked)


def test_of_several_edits_the_last_ones_prompt_is_shown_in_one_call_or_many(edited, monkeypatch):
    first, last = (edit_of(FRAMES, self_strength=0.9) for _ in range(2))
    last = replace(last, regions=tuple(replace(r, phrase=f"last {r.phrase}") for r in last.regions))
    model = patch_edit(patch_edit(tiny.tiny_model(), first, node=NODE), last, node=NODE)
    positive = tag(tiny.conditioning(1), first) + tag(tiny.conditioning(2), last)
    together = run(model, positive).args
    assert torch.equal(together[0]["samples"], plainly(model, positive)["samples"])
    assert "1 last phrase 1" in together[3]
    other_way_round = run(model, positive[::-1]).args
    assert other_way_round[3] == together[3]
    monkeypatch.setattr(type(model.model), "memory_required", lambda *args, **kwargs: 2**60)  # one prompt at a time
    apart = run(model, positive).args
    assert apart[3] == together[3]
    only = patch_edit(tiny.tiny_model(), last, node=NODE)
    alone = run(only, positive[1:]).args
    assert "1 last phrase 1" in alone[3]


def test_context_windows(edited):
    """Every frame is seen; in 0.3.64 windows over frames need as many frames as sigmas."""
    frames = STEPS + 1
    edit = edit_of(frames)
    model, positive = patch_edit(tiny.tiny_model(), edit, node=NODE), tag(tiny.conditioning(1), edit)
    model = windowed(model, "standard_static", length=3)
    latent = {"samples": tiny.noise_of(frames, (SIDE, SIDE))}
    out = run(model, positive, latent=latent, pixel=(2, 60, 60))
    assert torch.equal(out.args[0]["samples"], plainly(model, positive, latent)["samples"])
    assert out.args[1].shape[0] == frames


@pytest.fixture(scope="module")
def world():
    """The embedded model's edit as a user builds it: (model, positive, clip, prompt, latent, images)."""
    with torch.inference_mode():
        model, clip, vae = embedded_model()
        task = make_task(1, 2, 128)
        regions = tuple(Region(text, mask) for text, mask in zip(task.phrases, task.masks))
        settings = (0.3, 1.0, 0.0, 0.3, "both", "cond", "per_frame", 2, "neutral", "error", True, 5.0)
        model, positive = STLayoutAttnPatch.execute(model, clip, task.prompt, *settings, regions=regions).args[:2]
        images = torch.from_numpy(task.clip.frames).float() / 255
        return model, positive, clip, task.prompt, {"samples": vae.encode(images)}, images


def encoded(clip, text):
    return clip.encode_from_tokens_scheduled(clip.tokenize(text))


def test_words_of_ones_own(world):
    model, positive, clip, prompt, latent, images = world
    assert prompt == "a red square and a yellow circle on sand"
    words = "sand, yellow, A red  square, a"
    more = {"span": (0.0, 0.3), "clip": clip, "prompt": prompt, "images": images, "negative": encoded(clip, "")}
    out = run(model, positive, latent=latent, words=words, **more)
    rows = out.args[3].splitlines()[1:-1]
    assert [row.split("  ")[0] for row in rows] == ["sand", "2 yellow", "1 a red square", "a"]
    # "a" stands in both regions' prompts, so it is nobody's.
    assert [row.count("-") for row in rows] == [2, 0, 0, 2]


def test_words_that_are_not_there_or_a_prompt_that_is_not_sampled(world):
    model, positive, clip, prompt, latent, _ = world
    for said, given in (
        (r"words: 'meadow' does not occur in the prompt 'a red square", {"words": "meadow", "prompt": prompt}),
        (
            r"prompt: 'a red square' does not stand where region 1 has it",
            {"words": "sand", "prompt": "a yellow circle and a red square on sand"},
        ),
        (r"words: 'sand' is no region's prompt .*Connect clip and write the whole", {"words": "sand", "prompt": " "}),
    ):
        with pytest.raises(ValueError, match=rf"^{NAME}: {said}"):
            run(model, positive, latent=latent, clip=clip, **given)


def test_own_words_without_regions(world):
    model, clip, _ = embedded_model()
    prompt = "a red square on sand"
    more = {"words": "red square, sand", "clip": clip, "prompt": prompt, "negative": encoded(clip, "")}
    table = run(model, encoded(clip, prompt), latent=world[4], span=(0.0, 0.3), **more).args[3]
    assert "nothing was modulated" in table
    assert [row.split("  ")[0] for row in table.splitlines()[1:3]] == ["red square", "sand"]


def test_of_two_positives_the_first_is_looked_at(edited, monkeypatch):
    """Its words are the ones that are named, whatever the host makes of the batch."""
    model, clip, _ = embedded_model()
    prompt, latent = "a red square on sand", {"samples": tiny.noise_of(FRAMES, (SIDE, SIDE))}
    more = {"words": "sand", "clip": clip, "prompt": prompt, "negative": encoded(clip, ""), "latent": latent}
    more = {**more, "sigmas": sigmas_of(model)[:2], "span": (0.0, 0.3)}  # one step, which begins alike
    alone = run(model, encoded(clip, prompt), **more).args[3]
    both = encoded(clip, prompt) + encoded(clip, "a blue circle")
    assert run(model, both, **more).args[3] == alone != run(model, both[::-1], **more).args[3]
    monkeypatch.setattr(type(model.model), "memory_required", lambda *args, **kwargs: 2**60)  # one prompt at a time
    assert run(model, both, **more).args[3] == alone


def test_where_nothing_could_be_seen_the_latent_is_kept(edited, monkeypatch, caplog, tmp_path):
    """Another node hides the layers, which nobody knows before."""
    monkeypatch.setattr(AttentionSlot, "_show", lambda *_: None)
    out = run(*edited, pixel=(1, 30, 60))
    latent, maps, sheet, table = out.args
    assert torch.equal(latent["samples"], plainly(*edited)["samples"])
    assert f"{NAME}: no cross-attention was seen" in caplog.text
    assert table.startswith("Nothing is shown: no cross-attention was seen at full the latent's side for any frame")
    assert maps.shape == (FRAMES, *sheet.shape[1:])
    assert out.ui["text"] == (table,)
    assert len(os.listdir(tmp_path)) == 1


def test_an_edit_of_strength_0_is_shown_with_its_regions(edited, caplog):
    edit = edit_of(FRAMES, self_strength=0.0, cross_strength=0.0)
    model, positive = patch_edit(tiny.tiny_model(), edit, node=NODE), tag(tiny.conditioning(1), edit)
    table = run(model, positive).args[3]
    assert "1 phrase 1" in table
    assert "nothing was modulated" in table


# --- mistakes ---------------------------------------------------------------------------------------------------------


def test_mistakes_are_named_before_anything_is_sampled(edited):
    calls = []
    sampler = comfy.samplers.KSAMPLER(lambda *args, **kwargs: calls.append(1))
    model, positive = edited
    for said, given in (
        (r"images has 2 frames, the latent 3", {"images": torch.rand(2, 32, 32, 3)}),
        (r"words: 'sky' is no region's prompt \(the regions' prompts are 'phrase 1', 'phrase 2'\)", {"words": "sky"}),
        (r"none of the 4 steps lies between start_percent 0\.01 and end_percent 0\.02", {"span": (0.01, 0.02)}),
        (r"0 <= start <= end <= 1 .*got 0\.5 and 0\.2", {"span": (0.5, 0.2)}),
        (r"9 phrases do not fit one picture", {"words": ", ".join(["phrase 1"] * 9)}),
        (r"frames 0 to 2 .*got frame 7", {"pixel": (7, 0, 0)}),
    ):
        with pytest.raises(ValueError, match=rf"^{NAME}: .*{said}"):
            run(model, positive, sampler=sampler, **given)
    with pytest.raises(ValueError, match=rf"^{NAME}: nothing to look at: .* have no regions in common"):
        run(model, tiny.conditioning(1), sampler=sampler)
    sdxl = tiny.tiny_model("sdxl")
    with pytest.raises(ValueError, match=rf"^{NAME}: level: this model has no attention at full .*choose half or all"):
        run(sdxl, tiny.conditioning(1, family="sdxl"), pixel=(0, 0, 0), sampler=sampler)
    assert calls == []


def test_a_model_of_another_family():
    with pytest.raises(ValueError, match=rf"^{NAME}: input `model`: supports SD1\.x"):
        run(object(), tiny.conditioning(1), pixel=(0, 0, 0), sigmas=torch.tensor([1.0, 0.0]))


def test_a_region_twice_and_one_preserved(edited):
    masks = [region.mask for region in edit_of(FRAMES).regions]
    regions = (Region("a cat", masks[0]), Region("a cat", masks[1], preserve=True))
    edit = edit_of(FRAMES, regions=regions)
    model, positive = patch_edit(tiny.tiny_model(), edit, node=NODE), tag(tiny.conditioning(1), edit)
    table = run(model, positive, words="A  cat").args[3]
    assert "1 a cat " in table
    assert "2 a cat (preserved)" in table
