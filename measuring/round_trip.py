"""How good an inversion is: the round trip (invert, then denoise unguided with the same prompt) and the noise it found.

Two figures belong together (method.md 8). The PSNR of every frame against the VAE's own says whether the way back
leads to the clip; the standard deviation of z_T says whether the way up ended in proper noise, 1. An inversion of few
explicit steps can come back well and yet end in far too little of it.

The borders lie between what was measured on the embedded model: docs/benchmarks/round_trips.md, `python
lab/studies/round_trips.py`, 4 clips of 8 frames. Real footage has more detail and comes back worse for the same
settings.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from ..editing.model import Model, Progress, stage
from ..editing.pipeline import decode_clip
from ..editing.samplers import sample_euler
from ..editing.settings import AttentionSettings
from ..editing.trajectory import Trajectory
from ..editing.windows import Windows
from .metrics.pixels import psnr

GOOD_DB = 35.0  # the lowest frame: method warm with the right prompt lies above, with 5 steps as well
POOR_DB = 25.0  # the lowest frame: back with another prompt lies below
CALM, WILD = 0.35, 1.3  # std of the noise: from 0.38 to 1.0 edits came out alike; nothing beyond was tried
USUAL = (0.9, 1.1)  # std of the noise: outside, it is worth a remark


@dataclass(frozen=True)
class Verdict:
    """What `judge` says of a round trip.

    ok: it is good enough. psnr: dB of every frame against the VAE's own, inf where equal. lowest, mean: of these
    (the mean of finite ones; inf where all are equal). worst: the frame of the lowest. std: of z_T, ideally 1. advice:
    what to try, one sentence or two, and where it is ok a remark; "" where all is well.
    """

    ok: bool
    psnr: tuple[float, ...]
    lowest: float
    mean: float
    worst: int
    std: float
    advice: str

    @property
    def text(self) -> str:
        """The whole verdict in one or two lines, for a console or a node."""
        said = "good" if self.ok else "poor"
        return (
            f"round trip {said}: {decibels(self.mean)} on average, lowest {decibels(self.lowest)} in frame "
            f"{self.worst}; std of the noise {self.std:.3f} (ideally 1)." + (f"\n{self.advice}" if self.advice else "")
        )


def judge(psnr_per_frame: Sequence[float], noise_std: float) -> Verdict:
    """Judge a round trip.

    Args:
        psnr_per_frame: dB of every frame between the round trip and the VAE's own, inf where they are equal; at least
            one.
        noise_std: standard deviation of z_T = x_T / sqrt(1 + sigma^2), over all frames.

    Raises:
        ValueError: no frame.
    """
    psnr = tuple(float(value) for value in psnr_per_frame)
    if not psnr:
        raise ValueError("judge: expected the PSNR of at least one frame; got none.")
    # NaN, a broken run, counts as the worst of all.
    ranked = [-math.inf if math.isnan(value) else value for value in psnr]
    worst = min(range(len(psnr)), key=ranked.__getitem__)
    finite = [value for value in psnr if math.isfinite(value)]
    mean = math.nan if any(map(math.isnan, psnr)) else sum(finite) / len(finite) if finite else math.inf
    advice = _advice(ranked[worst], worst, float(noise_std))
    remark = advice or _remark(float(noise_std))
    return Verdict(not advice, psnr, psnr[worst], mean, worst, float(noise_std), " ".join(remark))


def frame_psnr(one: np.ndarray, other: np.ndarray) -> list[float]:
    """PSNR in dB of every frame of two clips uint8 [F, H, W, 3], peak 255; inf where a frame's pixels are equal.

    Raises:
        ValueError: clips of different shapes.
    """
    if one.shape != other.shape:
        raise ValueError(f"frame_psnr: expected clips of one shape; got {list(one.shape)} and {list(other.shape)}.")
    return [psnr(a[None], b[None]) for a, b in zip(one, other)]


def decibels(value: float) -> str:
    """A PSNR for people."""
    return "identical" if value == math.inf else "no number" if math.isnan(value) else f"{value:.1f} dB"


def _advice(lowest: float, worst: int, std: float) -> list[str]:
    said = []
    if not math.isfinite(std) or lowest == -math.inf:
        return ["The run gave numbers that are none: invert again in float32 or bfloat16."]
    if lowest < POOR_DB:
        said.append(
            f"Frame {worst} does not come back at all: check that the source prompt, the model with its LoRAs, and the "
            "space-time attention are those of the inversion, and invert with method warm, because ddim can lose a "
            "frame."
        )
    elif lowest < GOOD_DB:
        said.append(
            f"Frame {worst} comes back with losses: invert with method warm or fixed_point, and with more steps (50); "
            "describe the clip more closely in the source prompt."
        )
    if std < CALM:
        said.append("The inversion ended in too little noise: take method warm or fixed_point, or more steps.")
    elif std > WILD:
        said.append(
            "The inversion ended in too much noise: take method warm, or more steps, and check the source prompt."
        )
    return said


def _remark(std: float) -> list[str]:
    if USUAL[0] <= std <= USUAL[1]:
        return []
    found, shown = ("calmer", "flat, or stays the source") if std < 1 else ("wilder", "harsh")
    return [
        f"The noise is {found} than a model is used to. If an edit comes out {shown}: invert with method warm, more "
        "steps, or a source prompt that fits better."
    ]


@dataclass(frozen=True)
class RoundTrip:
    """Inversion and back with the same prompt, unguided. frames: uint8 [F, H, W, 3]; vae: the clip through the VAE
    alone, uint8; psnr: dB between the two (inf when equal); noise_std: standard deviation of z_T, ideally 1."""

    frames: np.ndarray
    vae: np.ndarray
    psnr: float
    noise_std: float

    @property
    def psnr_per_frame(self) -> tuple[float, ...]:
        """dB of every frame by itself, inf when equal."""
        return tuple(frame_psnr(self.frames, self.vae))


@torch.no_grad()
def measure_round_trip(
    model: Model,
    trajectory: Trajectory,
    *,
    attention: AttentionSettings | None = None,
    windows: Windows | None = None,
    progress: Progress | None = None,
) -> RoundTrip:
    """Denoise the inverted latent with the source prompt, unguided, and compare with the VAE round trip.

    model: the one that inverted; trajectory: its inversion; attention, windows: those of the inversion (not checked
    here), None = the defaults and all frames at once.
    """
    attention = attention or AttentionSettings()
    denoiser = model.denoiser(
        model.encode_prompt(trajectory.prompt),
        frames=trajectory.frames,
        spacetime=attention.mode,
        key_frames=attention.anchors,
        windows=windows,
    )
    with stage(progress, "round trip", len(trajectory.sigmas) - 1) as tick, denoiser as denoise:
        latents = sample_euler(denoise, trajectory.noise, trajectory.sigmas, callback=tick)
    back = decode_clip(model, latents, name="decode round trip", progress=progress)
    vae = decode_clip(model, trajectory.clean, name="decode source", progress=progress)
    return RoundTrip(frames=back, vae=vae, psnr=psnr(back, vae), noise_std=trajectory.noise_std)


def with_round_trip(trajectory: Trajectory, trip: RoundTrip) -> Trajectory:
    """The trajectory with the figures of ``trip`` noted in it, so that a saved one still says how good it is."""
    notes = {
        "round_trip_psnr": f"{trip.psnr:.2f}",
        "round_trip_psnr_per_frame": " ".join(f"{value:.2f}" for value in trip.psnr_per_frame),
        "noise_std": f"{trip.noise_std:.4f}",
    }
    return replace(trajectory, extra={**trajectory.extra, **notes})
