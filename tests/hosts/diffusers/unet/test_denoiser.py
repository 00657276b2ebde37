"""The UNet as a denoiser: equal to stock diffusers where nothing is edited, and never changed between calls."""

import pytest
import torch

from videograin.attention import LabelMap, Modulation, Schedule, SpaceTime
from videograin.editing.samplers import sample_euler

F, H, W = 3, 6, 10  # odd enough: neither square nor a power of two
PROMPT, NEGATIVE = "a red star and a blue circle on the sand", "a photo of a square"
PHRASES = ["red star", "blue circle"]


@pytest.fixture
def x():
    return torch.randn(F, 4, H, W, generator=torch.Generator().manual_seed(1))


def layout(frames=F):
    left = torch.zeros(frames, 48, 80)
    left[:, 8:40, 4:30] = 1
    return LabelMap([left, left.flip(-1)])


def modulation(labels, strength, frames=F, **options):
    full = {"power": 0.0, "end": 1.0}
    return Modulation(
        layout(frames),
        labels,
        self_schedule=Schedule(strength, **full),
        cross_schedule=Schedule(strength, **full),
        **options,
    )


def stock(model, x, sigma, prompt):
    """x0 from diffusers' UNet as it is, its own processors, integer timestep."""
    timestep = int((model.levels.sigmas - sigma).abs().argmin())
    context = prompt.embedding.expand(len(x), -1, -1)
    added = None
    if model.family == "sdxl":
        sizes = torch.tensor([8.0 * x.shape[2], 8.0 * x.shape[3], 0, 0, 8.0 * x.shape[2], 8.0 * x.shape[3]])
        added = {"text_embeds": prompt.pooled.expand(len(x), -1), "time_ids": sizes.expand(len(x), -1)}
    z = x / (sigma**2 + 1) ** 0.5
    with torch.no_grad():
        out = model.unet(z, timestep, encoder_hidden_states=context, added_cond_kwargs=added).sample
    if model.prediction == "epsilon":
        return x - sigma * out
    alpha = 1 / (sigma**2 + 1)
    return alpha**0.5 * z - (1 - alpha) ** 0.5 * out


@pytest.mark.parametrize("timestep", [1, 481, 981])
def test_per_frame_without_regions_is_stock_diffusers(model, x, timestep):
    sigma = model.levels.sigmas[timestep]
    prompt = model.encode_prompt(PROMPT)
    with model.denoiser(prompt, frames=F, spacetime="per_frame") as denoise:
        got = denoise(x, sigma.expand(F))
    assert got.dtype == torch.float32
    assert torch.allclose(got, stock(model, x, sigma, prompt), atol=2e-5)


@pytest.mark.parametrize("mode", ["full", "sparse_causal", "key_frames"])
def test_one_frame_is_stock_diffusers_in_every_mode(model, x, mode):
    sigma = model.levels.sigmas[700]
    prompt = model.encode_prompt(PROMPT)
    with model.denoiser(prompt, frames=1, spacetime=mode) as denoise:
        assert torch.allclose(denoise(x[:1], sigma), stock(model, x[:1], sigma, prompt), atol=1e-4)


def test_full_attention_lets_frames_see_each_other(model, x):
    sigma = model.levels.sigmas[300]
    prompt = model.encode_prompt(PROMPT)
    other = torch.cat([x[:2], x[2:] + 1])
    for mode, same in (("per_frame", True), ("full", False)):
        with model.denoiser(prompt, frames=F, spacetime=mode) as denoise:
            assert torch.allclose(denoise(x, sigma)[0], denoise(other, sigma)[0], atol=1e-6) is same


@pytest.mark.parametrize("guidance", [1.0, 4.0])
def test_strength_zero_is_bit_identical_to_no_modulation(model, x, guidance):
    prompt, _, labels, _ = model.encode_regions(PROMPT, PHRASES)
    settings = {"frames": F, "negative": model.encode_prompt(NEGATIVE), "guidance": guidance}
    sigma = model.levels.sigmas[901]
    with model.denoiser(prompt, **settings) as plain:
        expected = plain(x, sigma)
    with model.denoiser(prompt, modulation=modulation(labels, 0.0), **settings) as off:
        assert torch.equal(off(x, sigma), expected)
    with model.denoiser(prompt, modulation=modulation(labels, 0.8), **settings) as on:
        assert not torch.allclose(on(x, sigma), expected, atol=1e-4)


def test_outside_its_range_the_modulation_is_bit_identical_to_none(sd1, x):
    prompt, _, labels, _ = sd1.encode_regions(PROMPT, PHRASES)
    edit = Modulation(layout(), labels)
    with sd1.denoiser(prompt, frames=F) as plain, sd1.denoiser(prompt, frames=F, modulation=edit) as edited:
        for timestep, active in ((981, True), (701, True), (681, False), (21, False)):
            sigma = sd1.levels.sigmas[timestep]
            assert torch.equal(plain(x, sigma), edited(x, sigma)) is not active


def test_fused_and_reference_modulation_agree(model, x):
    prompt, _, labels, _ = model.encode_regions(PROMPT, PHRASES)
    sigma = model.levels.sigmas[950]
    results = []
    for method in ("fused", "reference"):
        with model.denoiser(prompt, frames=F, modulation=modulation(labels, 0.7, method=method)) as denoise:
            results.append(denoise(x, sigma))
    assert torch.allclose(*results, atol=1e-3 * float(results[0].abs().max()))


@pytest.mark.parametrize("halves", ["both", "cond", "uncond"])
def test_a_cfg_batch_equals_separate_calls(model, x, halves):
    prompt, _, labels, _ = model.encode_regions(PROMPT, PHRASES)
    edit = modulation(labels, 0.7, self_halves=halves)
    settings = {"frames": F, "negative": model.encode_prompt(NEGATIVE), "guidance": 5.0, "modulation": edit}
    sigma = model.levels.sigmas[981]
    with model.denoiser(prompt, **settings) as one, model.denoiser(prompt, batched=False, **settings) as two:
        assert torch.allclose(one(x, sigma), two(x, sigma), rtol=1e-4, atol=1e-3)


def test_guidance_mixes_the_two_halves(model, x):
    prompt, negative = model.encode_prompt(PROMPT), model.encode_prompt(NEGATIVE)
    sigma = model.levels.sigmas[500]
    cond, uncond = (stock(model, x, sigma, p) for p in (prompt, negative))
    with model.denoiser(prompt, frames=F, negative=negative, guidance=3.0, spacetime="per_frame") as denoise:
        assert torch.allclose(denoise(x, sigma), uncond + 3 * (cond - uncond), atol=1e-4)


@pytest.mark.parametrize(("words", "negative_words"), [(100, 5), (5, 100)])
def test_prompts_of_unequal_length_are_guided_exactly(sd1, x, words, negative_words):
    prompt, negative = (sd1.encode_prompt("red star " * n) for n in (words, negative_words))
    assert len(prompt.ids) != len(negative.ids)
    sigma = sd1.levels.sigmas[500]
    cond, uncond = (stock(sd1, x, sigma, p) for p in (prompt, negative))
    with sd1.denoiser(prompt, frames=F, negative=negative, guidance=3.0, spacetime="per_frame") as denoise:
        assert torch.allclose(denoise(x, sigma), uncond + 3 * (cond - uncond), atol=1e-4)


def test_a_long_negative_prompt_leaves_the_modulated_half_as_it_was(sd1, x):
    prompt, _, labels, _ = sd1.encode_regions(PROMPT, PHRASES)
    sigma = sd1.levels.sigmas[950]
    edit = modulation(labels, 0.7)
    negatives = [sd1.encode_prompt(NEGATIVE), sd1.encode_prompt("square " * 100)]
    alone, *halves = (
        sd1.denoiser(prompt, frames=F, modulation=edit, negative=negative, guidance=guidance)
        for negative, guidance in ((None, 1.0), (negatives[0], 0.0), (negatives[1], 0.0), (negatives[1], 2.0))
    )
    # cond = (uncond(guidance 2) + uncond(guidance 0)) / 2 for one negative prompt
    cond = (halves[2](x, sigma) + halves[1](x, sigma)) / 2
    assert torch.allclose(cond, alone(x, sigma), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("guidance", [1.0, 5.0])
def test_euler_equals_the_stock_ddim_pipeline(model, folders, guidance):
    """The whole chain of text, noise schedule, UNet and guidance against diffusers' own pipeline (eta 0)."""
    import diffusers

    pipe = diffusers.DiffusionPipeline.from_pretrained(getattr(folders, model.family))
    pipe.set_progress_bar_config(disable=True)
    z = torch.randn(1, 4, H, W, generator=torch.Generator().manual_seed(3))
    expected = pipe(
        PROMPT,
        negative_prompt=NEGATIVE,
        guidance_scale=guidance,
        num_inference_steps=10,
        height=8 * H,
        width=8 * W,
        latents=z.clone(),
        output_type="latent",
    ).images
    sigmas = model.sigmas(10)
    prompt, negative = model.encode_prompt(PROMPT), model.encode_prompt(NEGATIVE)
    with model.denoiser(prompt, frames=1, negative=negative, guidance=guidance) as denoise:
        got = sample_euler(denoise, z * (sigmas[0] ** 2 + 1) ** 0.5, sigmas)
    scale = float(expected.abs().max())
    assert torch.allclose(got / scale, expected / scale, atol=1e-4)


def test_the_unet_is_as_before_after_every_way_out(sd1, x):
    unet = sd1.unet
    before = dict(unet.attn_processors)
    hooks = [len(module._forward_pre_hooks) for module in unet.modules()]
    prompt = sd1.encode_prompt(PROMPT)
    sigma = sd1.levels.sigmas[500]

    def unchanged():
        same = all(unet.attn_processors[name] is processor for name, processor in before.items())
        return same and [len(module._forward_pre_hooks) for module in unet.modules()] == hooks

    seen = []
    handle = unet.mid_block.register_forward_hook(lambda *_: seen.extend(map(type, unet.attn_processors.values())))
    with sd1.denoiser(prompt, frames=F) as denoise:
        denoise(x, sigma)
        assert unchanged()
    handle.remove()
    assert {kind.__name__ for kind in seen} == {"RegionProcessor"}
    for problem in (RuntimeError, KeyboardInterrupt):

        def interrupt(*_, problem=problem):
            raise problem

        handle = unet.conv_norm_out.register_forward_hook(interrupt)
        with pytest.raises(problem), sd1.denoiser(prompt, frames=F) as denoise:
            denoise(x, sigma)
        handle.remove()
        assert unchanged()


def test_nested_and_repeated_denoisers_do_not_disturb_each_other(sd1, x):
    prompt, _, labels, _ = sd1.encode_regions(PROMPT, PHRASES)
    sigma = sd1.levels.sigmas[950]
    edit = modulation(labels, 0.8)
    with sd1.denoiser(prompt, frames=F) as plain:
        first = plain(x, sigma)
        with sd1.denoiser(prompt, frames=F, modulation=edit) as edited:
            second = edited(x, sigma)
            assert torch.equal(plain(x, sigma), first)
            assert torch.equal(edited(x, sigma), second)
        assert torch.equal(plain(x, sigma), first)
    with pytest.raises(RuntimeError, match="`with` block has ended"):
        plain(x, sigma)


def test_lora_layers_in_the_projections_take_part(sd1, x):
    prompt, sigma = sd1.encode_prompt(PROMPT), sd1.levels.sigmas[500]
    attn = sd1.unet.down_blocks[0].attentions[0].transformer_blocks[0].attn1
    base, name = attn.to_q, sd1.fingerprint

    class Lora(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.base_layer, self.extra = base, torch.nn.Linear(32, 32)

        def forward(self, hidden):
            return self.base_layer(hidden) + 5 * self.extra(hidden)

    with sd1.denoiser(prompt, frames=F) as denoise:
        without = denoise(x, sigma)
        attn.to_q = Lora()
        try:
            assert not torch.allclose(denoise(x, sigma), without, atol=1e-5)
            assert sd1.fingerprint != name
        finally:
            attn.to_q = base
        assert torch.equal(denoise(x, sigma), without)


def test_half_precision_stays_close(folders, x):
    from videograin.hosts.diffusers import load_model

    results = []
    for dtype in (torch.float32, torch.bfloat16):
        model = load_model(folders.sd1, dtype=dtype)
        prompt, _, labels, _ = model.encode_regions(PROMPT, PHRASES)
        with model.denoiser(prompt, frames=F, modulation=modulation(labels, 0.5)) as denoise:
            results.append(denoise(x, model.levels.sigmas[900]))
    assert results[1].dtype == torch.float32
    assert (results[0] - results[1]).abs().max() < 0.05 * results[0].abs().max()


def test_timesteps_between_the_stored_ones_are_interpolated(sd1, x):
    prompt = sd1.encode_prompt(PROMPT)
    times = []
    handle = sd1.unet.register_forward_pre_hook(lambda _, args: times.append(float(args[1])))
    below, above = sd1.levels.sigmas[[500, 501]]
    with sd1.denoiser(prompt, frames=F) as denoise:
        for sigma in (below, (below * above) ** 0.5, above):
            denoise(x, sigma)
    handle.remove()
    assert times[::2] == [500.0, 501.0]
    assert times[1] == pytest.approx(500.5, abs=1e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"guidance": 5.0}, "guidance 5.0 needs a negative prompt"),
        ({"guidance": float("nan")}, "guidance must be a finite number"),
        ({"spacetime": "everything"}, "mode must be one of"),
        ({"spacetime": SpaceTime("full", 4)}, "spacetime is for 4 frames, the denoiser for 3"),
        ({"modulation": 4}, "masks for 4 frames, the video 3"),
        ({"modulation": "labels"}, "text labels are for 154 tokens, the prompt has 77"),
    ],
)
def test_what_does_not_fit_together_is_refused(sd1, options, message):
    prompt, _, labels, _ = sd1.encode_regions(PROMPT, PHRASES)
    if options.get("modulation") == 4:
        options = {"modulation": modulation(labels, 0.5, frames=4)}
    elif options.get("modulation") == "labels":
        options = {"modulation": modulation(labels.repeat(2), 0.5)}
    with pytest.raises(ValueError, match=message):
        sd1.denoiser(prompt, frames=F, **options)


def test_wrong_latents_and_sigmas_are_refused(sd1, x):
    with sd1.denoiser(sd1.encode_prompt(PROMPT), frames=F) as denoise:
        with pytest.raises(ValueError, match=r"shape \(2, 4, 6, 10\); expected \[3, 4, h, w\]"):
            denoise(x[:2], 1.0)
        with pytest.raises(ValueError, match="one noise level for the whole batch"):
            denoise(x, torch.tensor([1.0, 2.0, 1.0]))
        with pytest.raises(ValueError, match="sigma must be > 0"):
            denoise(x, 0.0)


def test_attention_masks_are_refused(sd1, x):
    from videograin.hosts.diffusers.unet.attention import RegionProcessor, UNetCall

    attn = sd1.unet.down_blocks[0].attentions[0].transformer_blocks[0].attn1
    processor = RegionProcessor(UNetCall(0.5, ("cond",), SpaceTime("full", 1), None))
    with pytest.raises(ValueError, match=r"attention mask of shape \(1, 5\) .* Call the UNet without masks"):
        processor(attn, torch.zeros(1, 5, 32), attention_mask=torch.zeros(1, 5))


def test_foreign_processors_are_refused_by_name(folders):
    from videograin.hosts.diffusers import load_model

    class IPAdapterAttnProcessor:
        pass

    model = load_model(folders.sd1)
    model.unet.mid_block.attentions[0].transformer_blocks[0].attn2.processor = IPAdapterAttnProcessor()
    with pytest.raises(ValueError, match="processors of type IPAdapterAttnProcessor"):
        model.denoiser(model.encode_prompt(PROMPT), frames=F)


def test_out_of_memory_halves_the_batch_and_then_says_what_to_do(sd1, x):
    prompt, negative = sd1.encode_prompt(PROMPT), sd1.encode_prompt(NEGATIVE)
    sigma = sd1.levels.sigmas[500]
    settings = {"frames": F, "negative": negative, "guidance": 2.0}
    expected = sd1.denoiser(prompt, **settings)(x, sigma)
    limit = F

    def small_memory(_, args):
        if len(args[0]) > limit:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")

    handle = sd1.unet.register_forward_pre_hook(small_memory)
    try:
        assert torch.allclose(sd1.denoiser(prompt, **settings)(x, sigma), expected, rtol=1e-4, atol=1e-3)
        limit = 0
        with pytest.raises(MemoryError, match=r"out of memory with 3 frames of 80x48 .*or lower `size`"):
            sd1.denoiser(prompt, **settings)(x, sigma)
    finally:
        handle.remove()
