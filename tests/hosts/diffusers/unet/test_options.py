"""In diffusers' UNet: ranges that are reused, the finest level, frames of a window, scarce memory, torch.compile."""

from dataclasses import replace

import pytest
import torch

from videograin.attention import LabelMap, Modulation, Schedule, logit_range
from videograin.attention import modulation as modulator
from videograin.editing.samplers import sample_euler
from videograin.hosts.diffusers.unet import attention as diffusers_attention

from ...conftest import make_unet

FRAMES, SIZE = 3, (4, 6)
PROMPT, PHRASES = "a red star and a blue circle on the sand", ["red star", "blue circle"]
LAYERS = 4  # self-attention layers of the tiny model


class Watcher:
    """Notes the self-attention layers."""

    def __init__(self):
        self.seen = []

    def wants(self, attention_type, grid, size, t):
        return attention_type == "self"

    def add(self, seen):
        self.seen.append(seen)


@pytest.fixture
def x():
    return torch.randn(FRAMES, 4, *SIZE, generator=torch.Generator().manual_seed(0))


def modulation(labels, **options):
    left = torch.zeros(FRAMES, 32, 48)
    left[:, 8:24, 4:20] = 1
    always = Schedule(0.6, 0.0, 0.0, 1.0)
    return Modulation(LabelMap([left, left.flip(-1)]), labels, always, always, **options)


def settings(model, **options):
    prompt, _, labels, _ = model.encode_regions(PROMPT, PHRASES)
    negative = model.encode_prompt("a square")
    return prompt, {
        "frames": FRAMES,
        "negative": negative,
        "guidance": 3.0,
        "modulation": modulation(labels, **options),
    }


@pytest.fixture
def measured(monkeypatch):
    """The (rows, keys) of every measurement of a range that is kept."""
    calls = []

    def measure(q, k):
        calls.append((q.shape[2], k.shape[2]))
        return logit_range(q, k)

    monkeypatch.setattr("videograin.attention.range_memory.logit_range", measure)
    return calls


@pytest.mark.parametrize("batched", [True, False])
def test_a_run_measures_every_layer_and_half_once_for_so_many_levels(sd1, x, measured, batched):
    prompt, options = settings(sd1, range_steps=2)
    results = []
    for _ in range(2):
        with sd1.denoiser(prompt, batched=batched, **options) as denoise:
            results.append(sample_euler(denoise, x * 10, sd1.sigmas(5)))
        # Three of five levels; the halves of a batch that is split are measured by themselves.
        assert len(measured) == 3 * LAYERS * (1 if batched else 2)
        measured.clear()
    assert torch.equal(*results)  # nothing is left of the first run


def test_reuse_stays_near_the_exact_edit(sd1, x):
    def run(steps, modulated=True):
        prompt, options = settings(sd1, range_steps=steps)
        with sd1.denoiser(prompt, **options | ({} if modulated else {"modulation": None})) as denoise:
            return sample_euler(denoise, x * 10, sd1.sigmas(5))

    exact, off = run(1), run(1, modulated=False)
    assert 0 < (run(2) - exact).norm() < 0.5 * (off - exact).norm()


@pytest.mark.parametrize("mode", ["full", "full_coarse", "key_frames"])
def test_full_coarse_is_key_frames_at_the_finest_level_alone(model, x, mode):
    watcher = Watcher()
    with model.denoiser(model.encode_prompt(PROMPT), frames=FRAMES, spacetime=mode, observer=watcher) as denoise:
        denoise(x, 2.0)
    by_grid = {seen.grid: seen.spacetime.mode for seen in watcher.seen}
    finest, coarse = {"full_coarse": ("key_frames", "full")}.get(mode, (mode, mode))
    assert by_grid == {SIZE: finest, (2, 3): coarse}
    assert {seen.spacetime.key_frames for seen in watcher.seen} == {2}


def test_the_finest_level_is_the_finest_that_has_attention(sd1, x, monkeypatch):
    unet = make_unet(
        16,
        block_out_channels=(32, 32, 64),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    )
    monkeypatch.setattr(sd1, "unet", unet)
    assert sd1.attention_halvings == {1, 2}
    watcher = Watcher()
    with sd1.denoiser(sd1.encode_prompt(PROMPT), frames=FRAMES, spacetime="full_coarse", observer=watcher) as denoise:
        denoise(x, 2.0)
    assert {seen.grid: seen.spacetime.mode for seen in watcher.seen} == {(2, 3): "key_frames", (1, 2): "full"}


def test_key_frames_at_the_finest_level_changes_the_result_and_modulates(sd1, x):
    prompt, options = settings(sd1)
    results = {}
    for mode in ("full", "full_coarse", "key_frames"):
        for edit in (None, options["modulation"]):
            with sd1.denoiser(prompt, **{**options, "modulation": edit}, spacetime=mode, key_frames=1) as denoise:
                results[mode, edit is None] = denoise(x, 2.0)
    values = list(results.values())
    for n, one in enumerate(values):
        assert all(not torch.allclose(one, other, atol=1e-4) for other in values[:n])


def test_observers_are_told_which_frames_of_the_clip_they_see(sd1, x):
    for indices in (None, (7, 2, 5)):
        watcher = Watcher()
        prompt = sd1.encode_prompt(PROMPT)
        with sd1.denoiser(prompt, frames=FRAMES, observer=watcher, indices=indices) as denoise:
            denoise(x, 2.0)
        assert {seen.frames for seen in watcher.seen} == {indices}
    with pytest.raises(ValueError, match="indices name 2 frames of a clip, the denoiser is for 3"):
        sd1.denoiser(prompt, frames=FRAMES, indices=(0, 1))


def scarce(monkeypatch, limit):
    """Memory for so many heads of attention at a time; the numbers of heads that were tried."""
    tried = []
    plain, modulated = diffusers_attention.sdpa, modulator.attend_matched

    def check(heads):
        tried.append(heads)
        if heads > limit:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate.")

    def attend(q, k, v, heads):
        check(heads)
        return plain(q, k, v, heads)

    def attend_matched(q, *rest, **options):
        check(q.shape[1])
        return modulated(q, *rest, **options)

    monkeypatch.setattr(diffusers_attention, "sdpa", attend)
    monkeypatch.setattr(modulator, "attend_matched", attend_matched)
    return tried


@pytest.mark.parametrize("steps", [1, 3])
def test_scarce_memory_halves_the_heads_of_a_layer(sd1, x, monkeypatch, steps):
    prompt, guided = settings(sd1, range_steps=steps)
    inversion = {"frames": FRAMES}
    unguided = {"frames": FRAMES, "modulation": guided["modulation"]}
    for options in (inversion, unguided, guided):
        expected = sample_euler(sd1.denoiser(prompt, **options), x * 10, sd1.sigmas(3))
        with monkeypatch.context() as patch:
            tried = scarce(patch, 2)
            got = sample_euler(sd1.denoiser(prompt, **options), x * 10, sd1.sigmas(3))
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-3)
        assert set(tried) == {4, 2}


def test_what_does_not_fit_in_halves_is_an_error_that_names_frames_size_and_setting(sd1, x, monkeypatch):
    prompt = sd1.encode_prompt(PROMPT)
    tried, watcher = scarce(monkeypatch, 1), Watcher()
    says = r"out of memory with 3 frames of 48x32 \(CUDA.*also in halves.*windows: {frames: 16}.*or lower `size`\."
    with pytest.raises(MemoryError, match=says), sd1.denoiser(prompt, frames=FRAMES, observer=watcher) as denoise:
        denoise(x, 2.0)
    assert tried == [4, 2]
    assert len(watcher.seen) == 1


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # what torch.compile says about its own workings
def test_a_compiled_unet_gives_the_same_and_is_compiled_once(sd1, x, monkeypatch):
    """Backend "eager": traced as for any backend, but not turned into machine code. Graphs break at attention."""
    prompt, options = settings(sd1)
    levels = (9.0, 4.0, 2.0)

    def run(**changes):
        with sd1.denoiser(prompt, **{**options, **changes}) as denoise:
            return [denoise(x * sigma, sigma) for sigma in levels]

    edits = ({}, {"modulation": None}, {"modulation": replace(options["modulation"], self_halves="cond")})
    expected = [run(**changes) for changes in edits]
    torch._dynamo.reset()
    monkeypatch.setattr(sd1, "unet", torch.compile(sd1.unet, backend="eager"))
    try:
        first = run()
        graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
        got = [first] + [run(**changes) for changes in edits[1:]]
        assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == graphs > 0
    finally:
        torch._dynamo.reset()
    for ours, theirs in zip(got, expected):
        for one, other in zip(ours, theirs):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-3)
