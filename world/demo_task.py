"""What the demos edit: a clip of the rendered world and what its objects are to become. The same in every host."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import torch

from .clips import WorldClip, pair_clip
from .vocabulary import COLOURS, SHAPES, caption, phrase

#: Frames a second of every demo clip.
FPS = Fraction(8)


@dataclass(frozen=True)
class DemoTask:
    """What a demo edits. objects: the wanted (colour, shape) of each; masks: [K, F, H, W], a box round each."""

    clip: WorldClip
    objects: tuple[tuple[int, int], ...]
    masks: torch.Tensor

    @property
    def phrases(self) -> list[str]:
        return [phrase(*wanted) for wanted in self.objects]

    @property
    def prompt(self) -> str:
        return caption(self.phrases, int(self.clip.scenes.background[0]))


def make_task(seed: int, frames: int, size: int, motion: str = "apart", span: float = 1.0) -> DemoTask:
    """A clip of two objects of one class and colour, and two other objects to turn them into.

    span: how long the clip lasts (pair_clip); more for one of many frames.
    """
    clip = pair_clip(seed, frames, size, motion=motion, span=span)
    return DemoTask(clip, two_others(clip, seed + 1), clip.box_masks())


def two_others(clip: WorldClip, seed: int) -> tuple[tuple[int, int], ...]:
    """Two (colour, shape) that differ in both from each other and from the clip's first object."""
    old = (int(clip.scenes.colour[0, 0]), int(clip.scenes.shape[0, 0]))
    generator = torch.Generator().manual_seed(seed)
    colours = [c for c in torch.randperm(len(COLOURS), generator=generator).tolist() if c != old[0]]
    shapes = [s for s in torch.randperm(len(SHAPES), generator=generator).tolist() if s != old[1]]
    return tuple(zip(colours[:2], shapes[:2]))
