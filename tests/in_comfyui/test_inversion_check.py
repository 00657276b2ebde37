"""Inversion Check on the embedded model: what comes back, what it is compared with, what it says."""

import logging
import os
from dataclasses import replace

import comfy.samplers
import numpy as np
import pytest
import torch
from comfy_extras import nodes_custom_sampler as core

from videograin.editing.settings import AttentionSettings
from videograin.hosts.comfyui.embedded_model import embedded_model
from videograin.hosts.comfyui.inversion import noise_latent
from videograin.hosts.comfyui.round_trip import clean_samples, sample_back
from videograin.hosts.comfyui.unet.patch import patch_space_time
from videograin.hosts.diffusers import load_model
from videograin.measuring.round_trip import measure_round_trip
from videograin.nodes.ddim_video_inversion import DDIMVideoInversion
from videograin.nodes.inversion_check import InversionCheck
from videograin.world.clips import pair_clip

from .core import run as run_core
from .tiny import conditioning, tiny_model

NODE = "Inversion Check"
FRAMES = 3


pytestmark = pytest.mark.usefixtures("as_the_host_runs")


@pytest.fixture(scope="module")
def world():
    """(model, CLIP, VAE, clip)."""
    with torch.inference_mode():
        return *embedded_model(), pair_clip(3, FRAMES, 64)


@pytest.fixture(scope="module")
def known(world):
    """The same with a clip of the size that the embedded model was trained at."""
    return *world[:3], pair_clip(1, FRAMES, 128)


def text(world, prompt=None):
    return world[1].encode_from_tokens_scheduled(world[1].tokenize(world[3].caption if prompt is None else prompt))


def invert(world, steps=20, method="warm", spacetime="full", anchors=2):
    latent = {"samples": world[2].encode(torch.from_numpy(world[3].frames).float() / 255)}
    out = DDIMVideoInversion.execute(world[0], text(world), latent, steps, method, 3, spacetime, anchors, False)
    return out.args[1]


def check(world, inversion, positive=None):
    hidden = {"prompt": None, "extra_pnginfo": None, "unique_id": "1"}
    cls = InversionCheck.PREPARE_CLASS_CLONE({**hidden, "hidden_inputs": hidden})
    return cls.execute(world[0], positive or text(world), inversion, world[2])


def figures(report):
    """PSNR of each frame as the report says them."""
    return [float(line.split(": ")[1].split()[0]) for line in report.splitlines() if line.startswith("frame ")]


def test_it_measures_what_the_runner_measures(world):
    """The other host's own round trip of the same trajectory: independent sampling, decoding and PSNR."""
    inversion = invert(world, steps=10)
    trip = measure_round_trip(load_model(), replace(inversion, prompt=world[3].caption), attention=AttentionSettings())
    mean_square = np.mean([10 ** (-db / 10) for db in figures(check(world, inversion).args[1])])
    assert -10 * np.log10(mean_square) == pytest.approx(trip.psnr, abs=0.3)


@pytest.mark.parametrize(("mode", "anchors"), [("sparse_causal", 2), ("key_frames", 1)])
def test_the_way_back_uses_the_attention_of_the_way_up(world, mode, anchors):
    """Equal to SamplerCustom at cfg 1 on a model with that space-time attention; other modes come back elsewhere."""
    inversion = invert(world, 6, spacetime=mode, anchors=anchors)
    found = sample_back(world[0], text(world), inversion, node=NODE)

    def by_hand(mode, anchors):
        model = patch_space_time(world[0], mode, anchors, node="test")
        euler = comfy.samplers.sampler_object("euler")
        prompts, start = (text(world), text(world, "")), noise_latent(inversion)
        out = run_core(core.SamplerCustom, model, False, 7, 1.0, *prompts, euler, inversion.sigmas, start)
        return out[0]["samples"]

    torch.testing.assert_close(found, by_hand(mode, anchors))
    assert (found - by_hand("per_frame", 2)).abs().max() > 1e-3


def test_a_good_inversion_is_called_good(known, caplog, tmp_path):
    with caplog.at_level(logging.WARNING):
        out = check(known, invert(known, 50, spacetime="per_frame"))
    images, report = out.args
    assert report.startswith("round trip good")
    assert min(figures(report)) > 35
    assert len(figures(report)) == FRAMES
    assert NODE not in caplog.text
    assert images.shape[0] == FRAMES
    assert images.shape[2] >= 384
    assert 0 <= images.min() < images.max() <= 1
    shown = out.ui.as_dict()["images"]
    assert [item["filename"] for item in shown] == os.listdir(tmp_path)
    assert len(shown) == 1


def test_another_prompt_comes_back_worse_and_the_log_says_what_to_try(known, caplog):
    inversion = invert(known, spacetime="per_frame")
    good = figures(check(known, inversion).args[1])
    with caplog.at_level(logging.WARNING):
        report = check(known, inversion, text(known, "a purple triangle and a white square on brick")).args[1]
    assert max(figures(report)) < min(good) - 5
    assert report.startswith("round trip poor")
    advice = report.splitlines()[1]
    assert "source prompt" in advice
    assert f"{NODE}: round trip poor" in caplog.text
    assert advice in caplog.text


def test_the_pictures_are_the_two_decoded_clips(world):
    inversion = invert(world, 4, "ddim")
    page = check(world, inversion).args[0].numpy()
    for samples, x in ((clean_samples(inversion), 0), (sample_back(world[0], text(world), inversion, node=NODE), 198)):
        frames = world[2].decode(samples).clamp(0, 1).numpy()
        # 64 pixels enlarged by 3, below a line of titles whose height does not matter here.
        shifts = [np.abs(page[:, y : y + 192, x : x + 192][:, ::3, ::3] - frames).max() for y in range(10, 40)]
        assert min(shifts) < 1 / 255


def test_the_model_stays_as_it_was(world):
    before = str(world[0].model_options)
    check(world, invert(world, 4))
    assert str(world[0].model_options) == before


def test_another_checkpoint_is_said_without_a_word_of_masks_and_edits(world, caplog):
    with caplog.at_level(logging.WARNING):
        sample_back(world[0], text(world), replace(invert(world, 2), model="0" * 12), node=NODE)
    assert f"{NODE}: the inversion was made with another checkpoint (weights {'0' * 12}, now" in caplog.text
    assert "cannot lead back to its frames" in caplog.text
    assert "mask" not in caplog.text
    assert "edit" not in caplog.text


def test_mistakes_name_the_node_and_the_remedy(world):
    inversion = invert(world, 2)
    with pytest.raises(ValueError, match=r"^Inversion Check: the conditioning is empty; connect CLIP Text Encode"):
        InversionCheck.execute(world[0], [], inversion, world[2])
    with pytest.raises(ValueError, match=r"^Inversion Check: .*made with a model of family sd1, this one is sdxl"):
        InversionCheck.execute(tiny_model("sdxl"), conditioning(1, family="sdxl"), inversion, world[2])
