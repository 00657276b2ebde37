"""A clip denoised in windows: the same as by hand, as without windows where frames do not see each other, and small."""

import gc
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch

from videograin.attention import LabelMap, Modulation, Schedule
from videograin.editing.attention_features import FeatureCollector
from videograin.editing.inversion import invert
from videograin.editing.samplers import sample_euler
from videograin.editing.windows import Windows

F, H, W = 11, 6, 10
WINDOWS = Windows(5, 1, 1)
PROMPT, NEGATIVE = "a red star and a blue circle on the sand", "a photo of a square"
PHRASES = ["red star", "blue circle"]


@pytest.fixture
def x():
    return torch.randn(F, 4, H, W, generator=torch.Generator().manual_seed(1))


def moving_layout():
    masks = torch.zeros(2, F, 48, 80)
    for f in range(F):
        masks[0, f, 4:30, 4 + 4 * f : 24 + 4 * f] = 1
        masks[1, f, 30 : 40 + f // 2, 40:70] = f != 3  # hidden in one frame
    return LabelMap(list(masks))


def guided(model, **options):
    prompt, _, labels, _ = model.encode_regions(PROMPT, PHRASES)
    always = {"power": 0.0, "end": 1.0}
    edit = Modulation(moving_layout(), labels, Schedule(0.6, **always), Schedule(0.9, **always))
    return prompt, {"negative": model.encode_prompt(NEGATIVE), "guidance": 3.0, "modulation": edit, **options}


@pytest.mark.parametrize("mode", ["full", "key_frames"])
def test_windows_are_denoised_one_by_one_and_mixed_by_their_weights(model, x, mode):
    prompt, options = guided(model, spacetime=mode, key_frames=1)
    sigma = model.levels.sigmas[800]
    with model.denoiser(prompt, frames=F, windows=WINDOWS, **options) as denoise:
        got = denoise(x, sigma)
    expected = torch.zeros_like(x)
    edit = options.pop("modulation")
    for window in WINDOWS.split(F):
        some = list(window.indices)
        part = {**options, "modulation": edit.select(some)}
        with model.denoiser(prompt, frames=len(some), **part) as denoise:
            seen = denoise(x[some], sigma)
        for place, (index, weight) in enumerate(zip(some, window.weights)):
            expected[index] += weight * seen[place]
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)


def test_frames_that_do_not_see_each_other_are_not_changed_by_windows(model, x):
    prompt, options = guided(model, spacetime="per_frame")
    # Self-modulation knows the area of a region in the whole clip, and in a window only that of the window.
    options["modulation"] = replace(options["modulation"], self_schedule=Schedule(0.0))
    sigma = model.levels.sigmas[800]
    results = []
    for windows in (None, WINDOWS):
        with model.denoiser(prompt, frames=F, windows=windows, **options) as denoise:
            results.append(denoise(x, sigma.expand(F)))
    torch.testing.assert_close(*results, atol=1e-4, rtol=1e-4)


def test_full_attention_does_see_the_window(sd1, x):
    prompt = sd1.encode_prompt(PROMPT)
    sigma = sd1.levels.sigmas[300]
    split = WINDOWS.split(F)
    anchor = (set(split[0].indices) & set(split[-1].indices)).pop()
    with sd1.denoiser(prompt, frames=F, windows=WINDOWS) as denoise:
        before = denoise(x, sigma)
        for changed, moved in ((0, False), (anchor, True)):
            other = x.clone()
            other[changed] += 1
            same = torch.allclose(denoise(other, sigma)[-1], before[-1], atol=1e-6)
            assert same is not moved  # the last frame sees every anchor, and no other frame of the first window


@pytest.mark.parametrize("frames", [5, 2])
def test_a_clip_that_fits_one_window_is_denoised_as_without(sd1, x, frames):
    prompt, sigma = sd1.encode_prompt(PROMPT), 3.0
    with (
        sd1.denoiser(prompt, frames=frames, windows=WINDOWS) as some,
        sd1.denoiser(prompt, frames=frames) as whole,
    ):
        assert type(some) is type(whole)
        assert torch.equal(some(x[:frames], sigma), whole(x[:frames], sigma))


def test_an_inversion_in_windows_finds_its_way_back(sd1, x):
    """The windows are the same at every noise level, so that explicit steps are undone as well as without windows."""
    prompt, sigmas = sd1.encode_prompt(PROMPT), sd1.sigmas(12)
    errors = []
    for windows in (None, WINDOWS):
        with sd1.denoiser(prompt, frames=F, windows=windows) as denoise:
            trajectory = invert(denoise, x, sigmas, method="fixed_point", calls=4)
            back = sample_euler(denoise, trajectory.noise, sigmas)
        errors.append(float((back - x).abs().max()))
    assert errors[1] < max(2 * errors[0], 1e-3)


def test_observers_are_told_which_frames_they_are_shown(sd1, x):
    class Noting:
        def __init__(self):
            self.seen = []

        def wants(self, attention_type, grid, size, t):
            return attention_type == "self"

        def add(self, seen):
            self.seen.append((seen.frames, len(seen.q), seen.spacetime.frames))

    noting = Noting()
    with sd1.denoiser(sd1.encode_prompt(PROMPT), frames=F, windows=WINDOWS, observer=noting) as denoise:
        denoise(x, 2.0)
    told = list(dict.fromkeys(frames for frames, *_ in noting.seen))
    assert told == [window.indices for window in WINDOWS.split(F)]
    assert all(rows == spacetime == len(frames) for frames, rows, spacetime in noting.seen)


def test_features_of_a_long_clip_cover_every_frame(sd1, x):
    """Frames that do not see each other have the features they have without windows, however often they are shown."""
    results = []
    for windows in (None, WINDOWS):
        collector = FeatureCollector(F, "full")
        options = {"spacetime": "per_frame", "observer": collector, "windows": windows}
        with sd1.denoiser(sd1.encode_prompt(PROMPT), frames=F, **options) as denoise:
            denoise(x, 2.0)
        results.append(collector.result())
    torch.testing.assert_close(results[1].values.float(), results[0].values.float(), atol=2e-4, rtol=1e-3)
    torch.testing.assert_close(results[1].cross.float(), results[0].cross.float(), atol=2e-4, rtol=1e-3)


def test_what_is_large_is_shared_by_the_windows(sd1):
    prompt, options = guided(sd1)
    edit = options["modulation"]
    parts = [edit.select(window.indices) for window in WINDOWS.split(F)]
    masks = [mask.data_ptr() for mask in edit.label_map._masks]
    for part in parts:
        part.label_map.labels((H, W))
        assert [mask.data_ptr() for mask in part.label_map._masks] == masks
        assert part.label_map._cache is edit.label_map._cache
    with sd1.denoiser(prompt, frames=F, windows=WINDOWS, **options) as denoise:
        contexts = {id(part._context) for _, part in denoise._parts}
    assert len(contexts) == 1


def test_leaving_the_block_releases_every_window(sd1, x):
    prompt, options = guided(sd1)
    kept = weakref.ref(options["modulation"])
    with sd1.denoiser(prompt, frames=F, windows=WINDOWS, **options) as denoise:
        denoise(x, 2.0)
    del options
    gc.collect()
    assert kept() is None
    assert all(part._modulation is None and not part._context for _, part in denoise._parts)
    with pytest.raises(RuntimeError, match="`with` block has ended"):
        denoise(x, 2.0)


def test_wrong_numbers_of_frames_are_errors(sd1, x):
    with sd1.denoiser(sd1.encode_prompt(PROMPT), frames=F, windows=WINDOWS) as denoise:
        with pytest.raises(ValueError, match=r"expected the latents of all 11 frames"):
            denoise(x[:-1], 2.0)
        with pytest.raises(ValueError, match=r"expected \[5, 4, h, w\]"):
            denoise(x[:, :3], 2.0)


def test_a_control_video_is_cut_without_being_copied(sd1, x, tmp_path):
    from diffusers import ControlNetModel

    torch.manual_seed(0)
    net = ControlNetModel.from_unet(sd1.unet, conditioning_embedding_out_channels=(4, 4, 8, 8))
    for layer in [*net.controlnet_down_blocks, net.controlnet_mid_block, net.controlnet_cond_embedding.conv_out]:
        torch.nn.init.normal_(layer.weight, std=0.2)  # zero when made: it would do nothing
    net.save_pretrained(tmp_path)
    video = np.random.default_rng(0).integers(0, 256, (F, 8 * H, 8 * W, 3), dtype=np.uint8)
    control = sd1.load_control(tmp_path, video)
    some = control.select([3, 4, 9]).select([2, 0])
    assert (some.frames, some.indices) == (2, (9, 3))
    assert some.images is control.images
    with pytest.raises(ValueError, match=r"frame indices in 0 to 1; got \[2\]"):
        some.select([2])
    with pytest.raises(ValueError, match=f"the control video has {F - 1} frames; expected {F}, as the video"):
        sd1.denoiser(
            sd1.encode_prompt(PROMPT), frames=F, windows=WINDOWS, controlnet=sd1.load_control(tmp_path, video[1:])
        )
    options = {"frames": F, "spacetime": "per_frame", "controlnet": control}
    prompt = sd1.encode_prompt(PROMPT)
    results = []
    for windows in (None, WINDOWS):
        with sd1.denoiser(prompt, windows=windows, **options) as denoise:
            results.append(denoise(x, 2.0))
    torch.testing.assert_close(*results, atol=1e-4, rtol=1e-4)
    with sd1.denoiser(prompt, frames=F, spacetime="per_frame") as denoise:
        assert not torch.allclose(denoise(x, 2.0), results[0], atol=1e-3)


def test_what_one_window_finds_out_about_the_memory_the_others_know(sd1, x):
    options = {"frames": F, "negative": sd1.encode_prompt(""), "guidance": 2.0, "windows": WINDOWS}
    sizes = []

    def small_memory(_, args):
        sizes.append(len(args[0]))
        if sizes[-1] > WINDOWS.frames:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")

    handle = sd1.unet.register_forward_pre_hook(small_memory)
    try:
        with sd1.denoiser(sd1.encode_prompt(PROMPT), **options) as denoise:
            denoise(x, 2.0)
    finally:
        handle.remove()
    assert sum(size > WINDOWS.frames for size in sizes) == 1
