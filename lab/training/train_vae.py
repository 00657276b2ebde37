"""Stage 1: the autoencoder, on random 64-pixel crops of rendered scenes."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean

import torch
from torch import Tensor
from torch.nn import functional as F

from ...measuring.round_trip import frame_psnr
from ...world.render import render
from ...world.scenes import random_scenes
from ...world.vae import WorldVAE
from ..budget import Budget
from .budgeted_run import TrainingRun

POOL = 3000  # pictures held at a time; one in eight is replaced every so often
CROP = 64
BATCH = 32
COUNTS = (0.1, 0.3, 0.6)


def _pictures(count: int, generator: torch.Generator) -> Tensor:
    return torch.cat([render(random_scenes(n, generator, COUNTS))[0] for n in _split(count, 250)])


def _split(count: int, size: int) -> list[int]:
    return [size] * (count // size) + ([count % size] if count % size else [])


def to_unit(frames: Tensor) -> Tensor:
    """uint8 [B, H, W, 3] -> float32 [B, 3, H, W] in [-1, 1]."""
    return frames.permute(0, 3, 1, 2).float() / 127.5 - 1


def to_frames(x: Tensor) -> Tensor:
    """float [B, 3, H, W] in [-1, 1] (clamped) -> uint8 [B, H, W, 3]."""
    return ((x.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def psnr(vae: WorldVAE, frames: Tensor) -> float:
    """Mean PSNR in dB of encode -> decode -> 8 bits, over uint8 [B, H, W, 3]."""
    with torch.no_grad():
        device = next(vae.parameters()).device
        back = to_frames(vae.decode(vae.encode(to_unit(frames).to(device)))).cpu()
    return fmean(frame_psnr(back.numpy(), frames.numpy()))


def train(
    folder: Path,
    minutes: float,
    lr: float = 1.5e-3,
    seed: int = 0,
    pool_size: int = POOL,
    device: str = "cpu",
    call: Budget | None = None,
) -> WorldVAE:
    """Train (or resume) and return the averaged model, its latents scaled to unit variance; Unfinished where `call` is
    spent first."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    vae = WorldVAE().to(device)
    run = TrainingRun(folder, {"vae": vae}, minutes, lr, ema=0.999, betas=(0.9, 0.99), call=call)
    generator.manual_seed(seed + run.step)
    pool = _pictures(pool_size, generator)
    held_out = _pictures(64, torch.Generator().manual_seed(10_000))
    while run.going:
        if run.step % 400 == 399:
            rows = torch.randperm(pool_size, generator=generator)[: pool_size // 8]
            pool[rows] = _pictures(len(rows), generator)
        if run.step % 1000 == 999:
            run.log(psnr=psnr(run.average["vae"], held_out))
        rows = torch.randint(pool_size, (BATCH,), generator=generator).tolist()
        corner = (torch.randint(0, (128 - CROP) // 4 + 1, (BATCH, 2), generator=generator) * 4).tolist()
        x = to_unit(torch.stack([pool[r, y : y + CROP, x : x + CROP] for r, (y, x) in zip(rows, corner)])).to(device)
        with torch.autocast(torch.device(device).type, torch.bfloat16):
            mean, logvar = vae.moments(x)
            mean, logvar = mean.float(), logvar.float()
            z = mean + torch.randn_like(mean) * (0.5 * logvar).exp()
            back = vae.decoder(z).float()
        kl = 0.5 * (mean.pow(2) + logvar.exp() - 1 - logvar).mean()
        run.update(F.l1_loss(back, x) + F.mse_loss(back, x) + 1e-3 * kl, BATCH)
    run.finish(BATCH)
    best = run.average["vae"].cpu()
    with torch.no_grad():
        std = torch.cat([best.moments(to_unit(p))[0] for p in held_out.split(16)]).std().item()
    best.config["scaling_factor"] = round(1 / std, 4)
    run.log(psnr=psnr(best, held_out), scaling_factor=best.config["scaling_factor"])
    return best
