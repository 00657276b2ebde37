"""What `invert_clip` and `edit_clip` refuse, and that they do so before the work that takes long."""

import inspect
from dataclasses import replace

import numpy as np
import pytest
import torch

from videograin.editing import pipeline
from videograin.editing.checks import LatentError, NumberError
from videograin.editing.pipeline import PipelineError, decode_clip, edit_clip, encode_clip, invert_clip
from videograin.editing.prompt_text import PromptError
from videograin.editing.regions import Region
from videograin.editing.settings import AttentionSettings, SamplingSettings, SteadySettings, WindowSettings
from videograin.editing.trajectory import TrajectoryError
from videograin.editing.windows import Windows

SOURCE, PROMPT = "a red square on sand", "a green circle on sand"
FEW = SamplingSettings(steps=2, guidance=2)
CUT = Windows(frames=3, overlap=1, anchors=1)


@pytest.fixture(scope="module")
def frames():
    clip = np.random.default_rng(0).integers(0, 255, (4, 4, 6, 3), np.uint8)
    return clip.repeat(8, axis=1).repeat(8, axis=2)


@pytest.fixture(scope="module")
def latents(random_model, frames):
    return encode_clip(random_model, frames)


@pytest.fixture(scope="module")
def trajectory(random_model, frames, latents):
    return invert_clip(random_model, frames, SOURCE, steps=2, latents=latents)


@pytest.mark.parametrize(
    ("inverted", "edited", "message"),
    [
        ({}, {"mode": "per_frame"}, "attention full, the edit uses attention per_frame; .* set attention.mode"),
        ({"anchors": 3}, {"mode": "key_frames"}, "attention full, the edit uses attention key_frames, anchors 2"),
        ({"mode": "key_frames"}, {"mode": "key_frames", "anchors": 1}, "anchors 2, the edit uses .* anchors 1"),
        ({}, {"windows": CUT}, r"all frames at once, the edit uses windows \(frames 3, overlap 1, anchors 1\)"),
        ({"windows": CUT}, {}, r"windows \(frames 3, overlap 1, anchors 1\), the edit uses all frames at once"),
        ({"windows": CUT}, {"mode": "per_frame"}, "attention full, windows .*, the edit uses attention per_frame, all"),
    ],
)
def test_an_edit_with_another_attention_than_its_inversion_is_refused(random_model, frames, inverted, edited, message):
    def how(windows=None, **attention):
        return {"attention": AttentionSettings(**attention), "windows": windows}

    made = invert_clip(random_model, frames, SOURCE, steps=2, **how(**inverted))
    with pytest.raises(TrajectoryError, match=message):
        edit_clip(random_model, frames, made, PROMPT, sampling=FEW, **how(**edited))


def test_what_makes_no_difference_or_is_not_recorded_is_not_compared(random_model, frames, trajectory):
    done = edit_clip(random_model, frames, trajectory, PROMPT, sampling=FEW)
    wide = edit_clip(random_model, frames, trajectory, PROMPT, sampling=FEW, windows=Windows(frames=4, overlap=1))
    assert torch.equal(wide.latents, done.latents)
    unknown = replace(trajectory, extra={})
    attention = AttentionSettings(mode="per_frame")
    assert edit_clip(random_model, frames, unknown, PROMPT, sampling=FEW, attention=attention).latents.isfinite().all()


@pytest.mark.parametrize(
    ("part", "came"),
    [
        (lambda x: x[:3], r"\[3, 4, 4, 6\]"),
        (lambda x: x[:, :3], r"\[4, 3, 4, 6\]"),
        (lambda x: x[:, :, :, :5], r"\[4, 4, 4, 5\]"),
        (lambda x: x[None], r"\[1, 4, 4, 4, 6\]"),
        (lambda x: x.numpy(), "ndarray"),
    ],
)
def test_latents_of_another_clip_are_refused(random_model, frames, latents, part, came):
    expected = (
        rf"the latents are {came}; expected \[4, 4, 4, 6\], .* for 4 frames of 48 x 32 pixels; pass what encode_clip"
    )
    with pytest.raises(PipelineError, match=expected):
        invert_clip(random_model, frames, SOURCE, steps=2, latents=part(latents))


@pytest.mark.parametrize(
    ("part", "kind", "message"),
    [
        (lambda x: (x * 10).long(), LatentError, "latents: expected floating-point latents, got torch.int64"),
        (lambda x: x.index_fill(0, torch.tensor([2]), float("nan")), NumberError, r"latents: NaN or inf in frame 2;"),
        (lambda x: x / 0, NumberError, r"latents: NaN or inf in 4 frames \(0, 1, 2, 3\); .*float32"),
    ],
)
def test_latents_that_are_no_finite_numbers_are_refused_before_the_network_runs(
    random_model, frames, latents, part, kind, message, monkeypatch
):
    monkeypatch.setattr(pipeline, "invert", lambda *_, **__: pytest.fail("slow work began"))
    with pytest.raises(kind, match=message):
        invert_clip(random_model, frames, SOURCE, steps=2, latents=part(latents))


def test_latents_in_half_precision_are_taken(random_model, frames, latents):
    half = invert_clip(random_model, frames, SOURCE, steps=2, latents=latents.half())
    assert half.latents.dtype == torch.float32
    assert torch.equal(half.clean, latents.half().float())


def test_frames_are_checked_beside_their_latents_too(random_model, frames, latents):
    with pytest.raises(PipelineError, match="float64"):
        invert_clip(random_model, frames / 255.0, SOURCE, steps=2, latents=latents)


@pytest.mark.parametrize(
    ("windows", "came"), [(16, "16, a int"), ("16", "'16', a str"), (WindowSettings(), "Settings")]
)
def test_windows_of_another_kind_are_refused(random_model, frames, trajectory, windows, came):
    for call in (
        lambda: invert_clip(random_model, frames, SOURCE, steps=2, windows=windows),
        lambda: edit_clip(random_model, frames, trajectory, PROMPT, sampling=FEW, windows=windows),
    ):
        with pytest.raises(PipelineError, match=rf"windows is .*{came}; expected a Windows .* windows=Windows\("):
            call()


def test_mistakes_in_prompts_show_before_slow_work(random_model, frames, trajectory, monkeypatch):
    for slow in ("clip_motion", "invert", "encode_clip"):
        monkeypatch.setattr(pipeline, slow, lambda *_, **__: pytest.fail("slow work began"))
    with pytest.raises(PromptError, match="weight"):
        invert_clip(random_model, frames, "a (red:inf) square", steps=2)
    regions = [Region("a green circle", torch.ones(32, 48))]
    given = {"sampling": FEW, "steady": SteadySettings(enabled=True)}
    with pytest.raises(PromptError, match="weight"):
        edit_clip(random_model, frames, trajectory, PROMPT, regions, negative="a (red:inf) square", **given)
    with pytest.raises(PromptError, match="'a green circle' does not occur"):
        edit_clip(random_model, frames, trajectory, "sand", regions, **given)


def test_mask_counts_name_the_region(random_model, frames, trajectory):
    wrong = [Region("a green circle", torch.ones(3, 32, 48))]
    with pytest.raises(ValueError, match=r"region 1 \(a green circle\): expected 1 frame or 4 .* got 3"):
        edit_clip(random_model, frames, trajectory, PROMPT, wrong, sampling=FEW)


def test_phrases_that_do_not_occur_stop_before_the_first_call(random_model, frames, trajectory):
    wrong = [Region("a white triangle", torch.ones(32, 48))]
    with pytest.raises(ValueError, match="'a white triangle' does not occur in the global prompt"):
        edit_clip(random_model, frames, trajectory, PROMPT, wrong, sampling=FEW)


def test_a_vae_that_overflows_is_an_error_that_names_the_clips_frame(random_model, frames, monkeypatch):
    many = np.concatenate([frames] * 2)
    latents = encode_clip(random_model, many)
    latents[5, 0, 0, 0] = 1e6
    sound = random_model.vae.net.decode
    monkeypatch.setattr(random_model.vae.net, "decode", lambda z: sound(z.where(z < 1e5, float("inf"))))
    with pytest.raises(NumberError, match=r"^decode: .* NaN or inf in frame 5; .*float32"):
        decode_clip(random_model, latents)


def test_latents_that_are_no_numbers_never_reach_the_vae(random_model, frames, monkeypatch):
    latents = encode_clip(random_model, frames)
    latents[1, 0, 0, 0] = float("nan")
    monkeypatch.setattr(random_model.vae.net, "decode", lambda z: pytest.fail("the VAE ran"))
    with pytest.raises(NumberError, match=r"^decode: the denoised latents: NaN or inf in frame 1; .*float16"):
        decode_clip(random_model, latents)


def test_the_steps_of_an_inversion_are_those_of_an_edit_if_nothing_is_said():
    assert inspect.signature(invert_clip).parameters["steps"].default == SamplingSettings().steps == 50
