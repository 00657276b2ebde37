"""Stage 2: the denoiser and its text encoder, together, on latents of rendered scenes."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from ...editing.samplers import sample_euler
from ...editing.whole_file import whole_file
from ...world.render import render
from ...world.scenes import captions, random_scenes
from ...world.vae import WorldVAE
from ..budget import Budget
from .budgeted_run import TrainingRun, plot
from .tokenizer import CONTEXT, build_vocabulary
from .train_vae import to_frames, to_unit

BATCH = 32
SCENES = 30_000
CAPTION_DROPOUT = 0.1
MIN_SNR = 5.0  # loss weights min(snr, 5) / snr (Hang et al. 2023)

#: Stable Diffusion's noise schedule.
SCHEDULE = {
    "num_train_timesteps": 1000,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
    "prediction_type": "epsilon",
    "timestep_spacing": "leading",
}

#: diffusers' UNet2DConditionModel, as small as the world allows: cross-attention at 16, 8 and in the middle.
UNET = {
    "sample_size": 16,
    "in_channels": 4,
    "out_channels": 4,
    "layers_per_block": 1,
    "block_out_channels": (64, 128, 128),
    "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    "cross_attention_dim": 128,
    "attention_head_dim": 4,  # the number of heads, as in SD 1.x's own config
}


def alphas_cumprod() -> Tensor:
    start, end, count = SCHEDULE["beta_start"], SCHEDULE["beta_end"], SCHEDULE["num_train_timesteps"]
    return torch.cumprod(1 - torch.linspace(start**0.5, end**0.5, count, dtype=torch.float64) ** 2, 0).float()


def dataset(folder: Path, vae: WorldVAE, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Latents float32 [count, 4, 16, 16] and token ids [count + 1, 77], the last row being the empty prompt.
    Computed once, kept in the folder."""
    from .pipeline_folder import tokenize

    cache = folder / "latents.pt"
    if not cache.exists():
        folder.mkdir(parents=True, exist_ok=True)
        generator = torch.Generator().manual_seed(seed)
        latents, texts = [], []
        for start in range(0, count, 250):
            scenes = random_scenes(min(250, count - start), generator)
            with torch.no_grad():
                latents.append(vae.encode(to_unit(render(scenes)[0])))
            texts += captions(scenes)
            if start % 5000 == 0:
                print(f"scenes {start} of {count}", flush=True)
        ids = tokenize([*texts, ""], folder / "tokenizer", CONTEXT)
        with whole_file(cache) as part:
            torch.save({"latents": torch.cat(latents), "ids": ids}, part)
    data = torch.load(cache, weights_only=True)
    if len(data["latents"]) != count:
        raise ValueError(f"{cache} holds {len(data['latents'])} scenes, {count} are asked for: delete it to redo them")
    return data["latents"], data["ids"]


def train(
    folder: Path,
    vae: WorldVAE,
    minutes: float,
    lr: float = 1e-3,
    seed: int = 1,
    scenes: int = SCENES,
    batch: int = BATCH,
    device: str = "cpu",
    call: Budget | None = None,
) -> dict[str, nn.Module]:
    """Train (or resume); returns the averaged {"unet", "text"}; Unfinished where `call` is spent first.

    Every ten minutes `samples.png` shows what it draws.
    """
    from .pipeline_folder import new_modules, quick_to_train

    torch.manual_seed(seed)
    latents, ids = dataset(folder, vae, scenes, seed)
    modules = {k: m.to(device) for k, m in new_modules(UNET, len(build_vocabulary()[0])).items()}
    quick_to_train(modules["unet"], device)
    run = TrainingRun(folder, modules, minutes, lr, ema=0.9995, call=call)
    torch.manual_seed(seed + run.step)
    latents, ids, alphas = latents.to(device), ids.to(device), alphas_cumprod().to(device)
    snr = alphas / (1 - alphas)
    weights = snr.clamp(max=MIN_SNR) / snr
    while run.going:
        rows = torch.randint(len(latents), (batch,), device=device)
        dropped = torch.rand(batch, device=device) < CAPTION_DROPOUT
        tokens = ids[torch.where(dropped, len(ids) - 1, rows)]
        t = torch.randint(len(alphas), (batch,), device=device)
        noise = torch.randn(batch, *latents.shape[1:], device=device)
        a = alphas[t][:, None, None, None]
        # float32 on the CPU: without matrix units for bfloat16 autocast is the slower of the two.
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=device != "cpu"):
            text = modules["text"](tokens).last_hidden_state
            noised = a.sqrt() * latents[rows] + (1 - a).sqrt() * noise
            predicted = modules["unet"](noised, t, encoder_hidden_states=text, return_dict=False)[0]
        run.update(((predicted.float() - noise).pow(2).mean((1, 2, 3)) * weights[t]).mean(), batch)
        if run.due(600):
            save_samples(run.average, vae, ids[:16], ids[-1:], folder / "samples.png")
            plot({"denoiser": folder / "log.jsonl"}, folder / "loss.png")
    run.finish(batch)
    save_samples(run.average, vae, ids[:16], ids[-1:], folder / "samples.png")
    return run.average


@torch.no_grad()
def save_samples(
    modules: dict[str, nn.Module], vae: WorldVAE, ids: Tensor, empty: Tensor, path: Path, guidance: float = 5.0
) -> None:
    """Draw one picture per row of token ids (25 DDIM steps, fixed noise) into one PNG, eight a row."""
    from PIL import Image

    alphas = alphas_cumprod().to(ids.device)
    sigmas = ((1 - alphas) / alphas).sqrt()[torch.arange(24, -1, -1, device=ids.device) * 40 + 1]
    text = modules["text"](torch.cat([empty.expand_as(ids), ids])).last_hidden_state

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        z = (x / (1 + sigma[:, None, None, None] ** 2).sqrt()).repeat(2, 1, 1, 1)
        t = (alphas - 1 / (1 + sigma[0] ** 2)).abs().argmin()
        eps = modules["unet"](z, t, encoder_hidden_states=text, return_dict=False)[0]
        without, with_ = eps.chunk(2)
        return x - sigma[:, None, None, None] * (without + guidance * (with_ - without))

    noise = torch.randn(len(ids), 4, 16, 16, generator=torch.Generator().manual_seed(0)).to(ids.device)
    x = sample_euler(denoise, noise * (1 + sigmas[0] ** 2).sqrt(), torch.cat([sigmas, sigmas.new_zeros(1)]))
    frames = to_frames(vae.decode(x.cpu()))
    rows = [torch.cat(list(row), 1) for row in frames.split(8)]
    Image.fromarray(torch.cat(rows, 0).numpy()).save(path)
