"""Layout features that DDIM Video Inversion collects inside ComfyUI on its way up."""

import pytest
import torch

from videograin.hosts.comfyui.embedded_model import embedded_model
from videograin.hosts.comfyui.unet.slots import AttentionSlot
from videograin.nodes.ddim_video_inversion import DDIMVideoInversion
from videograin.world.clips import pair_clip

from . import tiny
from .windows import windowed

pytestmark = pytest.mark.usefixtures("as_the_host_runs")

NODE = "DDIM Video Inversion"
FRAMES = 3
PLAIN = {"method": "warm", "calls": 3, "spacetime": "full", "key_frames": 2, "collect_features": True}


@pytest.fixture(scope="module")
def world():
    """(model, source conditioning, LATENT) of the embedded model and a clip it knows."""
    with torch.inference_mode():
        model, text, vae = embedded_model()
        clip = pair_clip(3, FRAMES, 64)
        positive = text.encode_from_tokens_scheduled(text.tokenize(clip.caption))
        return model, positive, {"samples": vae.encode(torch.from_numpy(clip.frames).float() / 255)}


def run(world, model=None, positive=None, latent=None, **changes):
    """The trajectory."""
    model, positive, latent = model or world[0], positive or world[1], latent or world[2]
    return DDIMVideoInversion.execute(model, positive, latent, **{**PLAIN, **changes}).args[1]


def test_layout_features_are_collected(world):
    inversion = run(world, steps=3)
    assert inversion.features.grid == (4, 4)
    assert inversion.features.frames == FRAMES
    plain = run(world, steps=3, collect_features=False)
    assert torch.equal(plain.latents, inversion.latents)


@pytest.mark.parametrize(("level", "side"), [("half", 4), ("full", 8)])  # of a latent of 8 x 8
def test_features_of_either_level(world, level, side):
    features = run(world, steps=2, feature_level=level).features
    assert (tuple(features.grid), features.level) == ((side, side), level)
    assert features.cross.shape == (FRAMES, side * side, 77)


def test_features_of_a_part_of_the_noise_range(world):
    how = {"steps": 3, "method": "ddim"}
    whole, part = (run(world, **how, **more).features for more in ({}, {"feature_end": 0.5}))
    assert 0 < part.calls < whole.calls
    assert not torch.equal(part.values, whole.values)
    with pytest.raises(
        ValueError, match=f"^{NODE}: expected 0 <= feature_start <= feature_end <= 1 .* got 0.6 and 0.4"
    ):
        run(world, **how, feature_start=0.6, feature_end=0.4)


def test_features_from_context_windows_are_of_every_frame(world):
    windows = windowed(world[0], "standard_static")
    one = run(world, model=windows, steps=FRAMES - 1, spacetime="per_frame").features
    all_at_once = run(world, steps=FRAMES - 1, spacetime="per_frame").features
    torch.testing.assert_close(one.values, all_at_once.values, rtol=1e-3, atol=1e-4)  # float16
    torch.testing.assert_close(one.cross, all_at_once.cross, rtol=1e-3, atol=1e-4)


def test_what_cannot_be_collected_is_said_before_the_first_step(world, monkeypatch):
    """The whole inversion would be lost with it."""
    sdxl = {"model": tiny.tiny_model("sdxl"), "positive": tiny.conditioning(1, family="sdxl"), "feature_level": "full"}
    monkeypatch.setattr("videograin.nodes.ddim_video_inversion.invert_latent", lambda *_, **__: pytest.fail("it ran"))
    with pytest.raises(ValueError, match=f"^{NODE}: none of the 3 steps lies between feature_start 0.5 and"):
        run(world, steps=3, feature_start=0.5, feature_end=0.505)
    with pytest.raises(ValueError, match=f"^{NODE}: feature_level: this model has no attention at full .* choose half"):
        run(world, steps=2, **sdxl)
    with pytest.raises(ValueError, match=f"^{NODE}: sigmas: expected a descending"):
        run(world, steps=2, sigmas=torch.tensor([0.0, 1.0, 2.0]))


def test_an_inversion_without_what_it_should_collect_is_kept(world, monkeypatch, caplog):
    """Where another node hides the layers, which shows only when it is done."""
    monkeypatch.setattr(AttentionSlot, "_show", lambda *_: None)
    inversion = run(world, steps=2)
    assert inversion.features is None
    assert torch.isfinite(inversion.noise).all()
    assert f"{NODE}: no self-attention was collected for any frame" in caplog.text
    assert "goes on without features" in caplog.text


@pytest.mark.parametrize("together", [True, False])
def test_of_two_prompts_of_unlike_lengths_the_first_is_collected(world, monkeypatch, caplog, together):
    """The host repeats prompts of 77 and 154 tokens to one length only while they share a call."""
    model, one, two = tiny.tiny_model(), tiny.conditioning(1), tiny.conditioning(2, tokens=154)
    latent = {"samples": tiny.noise_of(FRAMES, (8, 8))}
    alone = run(world, model, one, latent, steps=2, method="ddim").features
    needed = iter(range(10**6))
    amount = (lambda *_, **__: 0) if together else (lambda *_, **__: 2**60 * (next(needed) > 0))
    monkeypatch.setattr(type(model.model), "memory_required", amount)
    features = run(world, model, one + two, latent, steps=2, method="ddim").features
    assert features.calls == alone.calls
    assert features.cross.shape[2] == (154 if together else 77)


def test_prompts_in_ranges_of_timesteps(world):
    """Only the first is looked at, so the words stay those of one prompt."""
    model, first, second = tiny.tiny_model(), tiny.conditioning(1), tiny.conditioning(2, tokens=154)
    first[0][1].update(start_percent=0.5, end_percent=1.0)
    second[0][1].update(start_percent=0.0, end_percent=0.5)
    latent = {"samples": tiny.noise_of(FRAMES, (8, 8))}
    features = run(world, model, first + second, latent, steps=4, method="ddim").features
    alone = run(world, model, tiny.conditioning(1), latent, steps=4, method="ddim").features
    assert 0 < features.calls < alone.calls
    assert features.cross.shape[2] == 77
