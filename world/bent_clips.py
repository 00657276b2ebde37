"""Clips of things that bend: those of clips.py, path for path, with turns, waves and the like, and spots to see it."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from .bends import PARTS
from .clips import WorldClip, draw, scene_clip

BENDS = ("turn", "squash", "wave", "hinge", "perspective")
SPOTTED = 0.3  # of their light that spots lack
#: The most that a part changes in 8 frames, and where it may begin.
TURN, SQUASH, WAVE, TRAVEL, HINGE, TILT = 0.9, 0.22, 0.16, 2.5, 0.35, 0.22


def bent_clip(
    seed: int,
    frames: int = 8,
    size: int | tuple[int, int] = 128,
    *,
    bends: tuple[str, ...] = BENDS,
    each: int = 2,
    pattern: float = SPOTTED,
    objects: int = 2,
    same: bool = False,
    motion: str = "apart",
    pan: float = 0.15,
) -> WorldClip:
    """`scene_clip` of the same seed with every object bent over time in `each` of the ways of `bends`, drawn by `seed`.

    pattern: how dark an object's spots are, in [0, 1]; 0: flat, and a disc does not show that it turns. Bending goes on
    at its speed in clips of any number of frames; the other arguments are scene_clip's. ValueError for another bend,
    and for more a thing than there are.
    """
    if not set(bends) <= set(BENDS) or not 1 <= each <= len(bends):
        raise ValueError(f"bent_clip: expected {each} or more of {', '.join(BENDS)}; got {', '.join(bends) or 'none'}")
    clip = scene_clip(seed, frames, size, objects=objects, same=same, motion=motion, pan=pan)
    generator = torch.Generator().manual_seed(seed)

    def between(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand((), generator=generator)

    def signed(low: float, high: float) -> Tensor:
        return between(low, high) * (1 if torch.rand((), generator=generator) < 0.5 else -1)

    time = torch.arange(frames) / 7
    out = torch.zeros(frames, objects, len(PARTS))
    for k in range(objects):
        chosen = [bends[n] for n in torch.randperm(len(bends), generator=generator)[:each].tolist()]
        swing = torch.sin(between(0, 6.28) + between(2, 4) * time)
        ways = {
            "turn": {"turn": between(0, 6.28) + signed(0.5 * TURN, TURN) * time},
            "squash": {"squash": signed(0.5 * SQUASH, SQUASH) * swing},
            "wave": {"wave": between(0.6 * WAVE, WAVE).expand(frames), "phase": signed(0.6 * TRAVEL, TRAVEL) * time},
            "hinge": {"hinge": signed(0.5 * HINGE, HINGE) * swing},
            "perspective": {"tilt_x": signed(0, TILT) * swing, "tilt_y": signed(0.5 * TILT, TILT) * time},
        }
        for way in chosen:
            for part, values in ways[way].items():
                out[:, k, PARTS.index(part)] = values
        out[:, k, PARTS.index("pattern")] = pattern
    return draw(replace(clip.scenes, bend=out), clip.frames.shape[1:3])
