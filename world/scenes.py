"""Random scenes and their captions: what the embedded model is trained on."""

from __future__ import annotations

import torch
from torch import Tensor

from .render import Scenes
from .vocabulary import BACKGROUNDS, COLOURS, SHAPES, caption, phrase

RADIUS = (0.15, 0.24)  # in sides of the frame
REACH = 1.2  # of the unit shapes: circle 1, square 1.26, cross 1.26, triangle 1.44 (its corners only)
GAP = 0.03  # clear space between two objects, in sides of the frame

#: Share of scenes with 0, 1, 2, 3 objects. Three objects of this size rarely fit: they are drawn smaller.
OBJECT_COUNTS = (0.04, 0.32, 0.64, 0.0)
SAME_PAIR = 0.15  # share of the many-object scenes whose objects are all alike (the sources of edits)


def random_scenes(
    count: int,
    generator: torch.Generator,
    counts: tuple[float, ...] = OBJECT_COUNTS,
    same: float = SAME_PAIR,
) -> Scenes:
    """`count` scenes of separate objects inside the frame."""

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator) * (high - low) + low

    slots = len(counts) - 1
    number = torch.multinomial(torch.tensor(counts), count, replacement=True, generator=generator)
    shape = torch.randint(len(SHAPES), (count, slots), generator=generator)
    colour = torch.randint(len(COLOURS), (count, slots), generator=generator)
    alike = torch.rand(count, generator=generator) < same
    shape[alike] = shape[alike, :1]
    colour[alike] = colour[alike, :1]
    centre, radius = _place(number, slots, uniform)
    absent = torch.arange(slots)[None] >= number[:, None]
    return Scenes(
        background=torch.randint(len(BACKGROUNDS), (count,), generator=generator),
        pan=uniform(0, 4, count, 2),
        shape=shape,
        colour=colour.masked_fill(absent, -1),
        centre=centre,
        radius=radius,
    )


def _place(number: Tensor, slots: int, uniform) -> tuple[Tensor, Tensor]:
    """Positions by rejection: draw for all scenes, redraw those in which two objects come too close."""
    count = len(number)
    centre, radius = torch.zeros(count, slots, 2), torch.zeros(count, slots)
    todo = torch.arange(count)
    index = torch.arange(slots)
    while len(todo):
        shrink = torch.where(number[todo] > 2, 0.8, 1.0)[:, None]
        r = uniform(*RADIUS, len(todo), slots) * shrink
        margin = (r * 1.25)[..., None]
        c = margin + (1 - 2 * margin) * uniform(0, 1, len(todo), slots, 2)
        radius[todo], centre[todo] = r, c
        distance = torch.cdist(c, c)
        needed = (r[:, :, None] + r[:, None, :]) * REACH + GAP
        both = (index[None, :, None] < number[todo, None, None]) & (index[None, None, :] < number[todo, None, None])
        clash = (distance < needed) & both & ~torch.eye(slots, dtype=torch.bool)
        todo = todo[clash.flatten(1).any(1)]
    return centre, radius


def captions(scenes: Scenes) -> list[str]:
    """One caption a scene, its objects in the order of the slots (which says nothing about their places)."""
    return [
        caption([phrase(c, s) for c, s in zip(colours, shapes) if c >= 0], background)
        for colours, shapes, background in zip(
            scenes.colour.tolist(), scenes.shape.tolist(), scenes.background.tolist()
        )
    ]
