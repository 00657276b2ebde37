"""Self-Attn Layout Cluster on the embedded model: from an inversion to masks of what moves."""

import os
from dataclasses import replace

import pytest
import torch

from videograin.editing import trajectory_file
from videograin.editing.attention_features import FeatureCollector
from videograin.editing.pipeline import encode_clip
from videograin.hosts.diffusers import load_model
from videograin.nodes.ddim_video_inversion import DDIMVideoInversion
from videograin.nodes.self_attn_layout_cluster import SelfAttnLayoutCluster

STEPS = 4


pytestmark = pytest.mark.usefixtures("as_the_host_runs")


@pytest.fixture(scope="module")
def encoded(embedded_clip):
    return embedded_clip(5, 4)


@pytest.fixture(scope="module")
def clip(encoded):
    return encoded[2]


@pytest.fixture(scope="module")
def images(encoded):
    return encoded[3]


@pytest.fixture(scope="module")
def inversion(encoded):
    return invert(encoded, collect_features=True)


def invert(encoded, collect_features):
    model, _, _, _, positive, latent = encoded
    with torch.inference_mode():
        out = DDIMVideoInversion.execute(model, positive, latent, STEPS, "warm", 3, "full", 2, collect_features)
    return out.args[1]


def run(inversion, clusters=3, scope="joint", seed=0, pick="", images=None):
    """As the host calls it: a clone of the class, whose hidden inputs the preview reads."""
    hidden = {"prompt": None, "extra_pnginfo": None, "unique_id": "1"}
    # Newer hosts wrap it once more.
    cls = SelfAttnLayoutCluster.PREPARE_CLASS_CLONE({**hidden, "hidden_inputs": hidden})
    return cls.execute(inversion, clusters, scope, seed, pick, images)


def test_the_objects_are_one_cluster_whose_mask_follows_them(inversion, images, clip):
    masks, preview = run(inversion, clusters=2, images=images).args[:2]
    truth = clip.masks.amax(0) > 0.5
    for mask, whole in zip(masks[1], truth):  # 2 is the smaller cluster; 0.6 to 0.7 is what a grid of 8 x 8 can give
        assert float(((mask > 0.5) & whole).sum() / ((mask > 0.5) | whole).sum()) > 0.55
    assert [m.shape for m in masks] == [(4, 128, 128)] * 2
    assert [m.dtype for m in masks] == [torch.float32] * 2
    assert preview.shape == (4, 256, 256, 3)
    assert 0 <= preview.min() <= preview.max() <= 1


def test_pick(inversion, images):
    each = run(inversion, images=images).args[0]
    one, two = run(inversion, pick="3, 1+2", images=images).args[0]
    assert torch.equal(one, each[2])
    assert torch.equal(two, each[0] + each[1])


@pytest.mark.parametrize("scope", ["joint", "per_frame"])
def test_without_images_masks_are_of_the_latents_size(inversion, scope):
    masks, preview = run(inversion, scope=scope).args[:2]
    assert {tuple(m.shape) for m in masks} == {(4, 16, 16)}
    assert torch.equal(sum(masks), torch.ones(4, 16, 16))
    assert preview.shape == (4, 256, 256, 3)


def test_the_preview_is_shown_on_the_node(inversion, tmp_path):
    out = run(inversion)
    shown = out.ui.as_dict()["images"]
    assert len(shown) == 4
    assert sorted(os.listdir(tmp_path)) == sorted(item["filename"] for item in shown)


def test_it_can_be_run_alone():
    """The host runs only what leads to an output node, and clusters are picked before anything is connected."""
    assert SelfAttnLayoutCluster.GET_SCHEMA().is_output_node


def test_the_second_run_equals_the_first(inversion, images):
    first, second = run(inversion, images=images).args, run(inversion, images=images).args
    assert all(torch.equal(a, b) for a, b in zip(first[0], second[0]))
    assert torch.equal(first[1], second[1])


def test_features_are_those_of_the_other_host(inversion, clip):
    """The diffusers host collects the same from the same latents (its VAE and UNet are the same weights)."""
    model = load_model()
    collector = FeatureCollector(4)
    with model.denoiser(model.encode_prompt(clip.caption), frames=4, observer=collector) as denoise:
        for n in range(STEPS):
            denoise(inversion.latents[n], float(inversion.sigmas[n]))
    features = inversion.features
    assert (features.grid, features.frames) == ((8, 8), 4)
    # `warm` asks the network at x predicted from below, and once more at the start: close to, not at, the latents.
    torch.testing.assert_close(features.values, collector.result().values, rtol=0, atol=0.05)
    difference = (features.values - collector.result().values).norm() / features.values.norm()
    assert difference < 0.1
    assert features.calls == 3 * (STEPS + 1)  # three layers at this level
    torch.testing.assert_close(encode_clip(model, clip.frames), inversion.clean, rtol=0, atol=1e-4)


def test_collecting_changes_nothing_else(inversion, encoded):
    plain = invert(encoded, collect_features=False)
    assert plain.features is None
    assert torch.equal(plain.latents, inversion.latents)


def test_a_saved_inversion_gives_the_same_masks(inversion, tmp_path):
    loaded = trajectory_file.load(trajectory_file.save(inversion, tmp_path / "a.safetensors"))
    assert all(torch.equal(a, b) for a, b in zip(run(loaded).args[0], run(inversion).args[0]))


def test_mistakes_name_the_node_and_the_remedy(inversion, images):
    with pytest.raises(ValueError, match=r"^Self-Attn Layout Cluster: .*switch collect_features on in DDIM Video Inv"):
        run(replace(inversion, features=None))
    with pytest.raises(ValueError, match=r"^Self-Attn Layout Cluster: pick: .* from 1 to 3.*got '4'"):
        run(inversion, pick="4")
    with pytest.raises(ValueError, match=r"images has 3 frames, the inversion 4; connect the frames"):
        run(inversion, images=images[:3])
    with pytest.raises(ValueError, match=r"images are 128 x 64 pixels, the inverted latents 16 x 16 cells"):
        run(inversion, images=images[:, :64])


def test_an_alpha_channel_and_a_crop_by_the_vae_are_fine(inversion, images, caplog):
    rgba = torch.cat([images, torch.ones(4, 128, 128, 1)], -1)
    assert torch.equal(run(inversion, images=rgba).args[1], run(inversion, images=images).args[1])
    assert caplog.text.count("Self-Attn Layout Cluster: images has an alpha channel, which is dropped.") == 1
    cropped = torch.nn.functional.pad(images, (0, 0, 3, 3, 2, 2))
    assert run(inversion, images=cropped).args[0][0].shape == (4, 132, 134)
