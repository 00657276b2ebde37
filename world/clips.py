"""Rendered clips: moving objects over a panning background, with everything about them known exactly."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from .exact_flow import backward_flow, forward_flow
from .render import Scenes, render
from .scenes import RADIUS
from .vocabulary import BACKGROUNDS, COLOURS, MOTIONS, SHAPES, caption, phrase

#: Radii from the centre to the sides of an object's box: the farthest corner of any shape (a triangle's) is at 1.44.
REACH = 1.45

#: Objects that are apart have their centres this many sums of their radii apart, and CLEARANCE sides of the frame more.
CLEAR, CLEARANCE = 1.2, 0.06
DRAWN = 256  # candidates for the paths of a scene at a time

#: How two objects may move.


@dataclass(frozen=True)
class WorldClip:
    """frames uint8 [F, H, W, 3]; masks float32 [K, F, H, W], visible coverage in [0, 1]; scenes: the F scenes that were
    drawn (so any re-rendering is one call away); part: object 1 is a part on object 0."""

    frames: np.ndarray
    masks: Tensor
    scenes: Scenes
    part: bool = False

    @property
    def phrases(self) -> list[str]:
        """One phrase an object, in the order of the masks."""
        return [phrase(c, s) for c, s in zip(self.scenes.colour[0].tolist(), self.scenes.shape[0].tolist())]

    @property
    def caption(self) -> str:
        whole = self.phrases
        if self.part:
            colours, shapes = self.scenes.colour[0].tolist(), self.scenes.shape[0].tolist()
            whole = [phrase(colours[0], shapes[0], (colours[1], shapes[1]))]
        return caption(whole, int(self.scenes.background[0]))

    def boxes(self, reach: float = REACH) -> Tensor:
        """The square around every object, float32 [K, F, 4] as (x0, y0, x1, y1) in pixels, `reach` radii to each side.
        Not the object's own outline: another shape must fit in."""
        side = min(self.frames.shape[1:3])
        centre = self.scenes.centre.transpose(0, 1) * side
        half = (self.scenes.radius.transpose(0, 1) * side * reach)[..., None]
        return torch.cat([centre - half, centre + half], -1)

    def box_masks(self, reach: float = REACH) -> Tensor:
        """The same squares as masks, float32 [K, F, H, W], 1 where the middle of a pixel is inside."""
        height, width = self.frames.shape[1:3]
        x0, y0, x1, y1 = self.boxes(reach)[..., None, None].unbind(2)
        x = torch.arange(width)[None, None, None, :] + 0.5
        y = torch.arange(height)[None, None, :, None] + 0.5
        return ((x >= x0) & (x < x1) & (y >= y0) & (y < y1)).float()

    def forward_flow(self) -> tuple[Tensor, Tensor]:
        """Motion from each frame to the next in pixels, float32 [F-1, H, W, 2] as (dx, dy), and occlusion, bool
        [F-1, H, W]: True where the point is hidden or outside in the next frame."""
        return self._motion(forward_flow)

    def backward_flow(self) -> tuple[Tensor, Tensor]:
        """The same from each frame (the second to the last) to the one before."""
        return self._motion(backward_flow)

    def _motion(self, flow) -> tuple[Tensor, Tensor]:
        exact = flow(self.scenes, self.frames.shape[1:3])
        return exact.vectors, ~exact.seen

    def edited(self, objects: Sequence[tuple[int, int]]) -> WorldClip:
        """The ideal edit: the same clip with other (colour, shape) per object."""
        colour = torch.tensor([[c for c, _ in objects]]).expand_as(self.scenes.colour)
        shape = torch.tensor([[s for _, s in objects]]).expand_as(self.scenes.shape)
        return draw(replace(self.scenes, colour=colour, shape=shape), self.frames.shape[1:3], part=self.part)


def draw(scenes: Scenes, size: int | tuple[int, int], part: bool = False) -> WorldClip:
    """Render a clip of F scenes that differ only in time."""
    frames, masks = render(scenes, size)
    return WorldClip(frames.numpy(), masks.transpose(0, 1).contiguous(), scenes, part)


def part_clip(seed: int, frames: int = 8, size: int | tuple[int, int] = 128, *, pan: float = 0.15) -> WorldClip:
    """One moving object with a smaller one of another colour fixed on its middle: a part on a whole.

    masks[0] is the whole with the part cut out, masks[1] the part. The shipped model has not seen parts.
    """
    generator = torch.Generator().manual_seed(seed)
    colours = torch.randperm(len(COLOURS), generator=generator)[:2]
    shapes = torch.randint(len(SHAPES), (2,), generator=generator)
    place = int(torch.randint(len(BACKGROUNDS), (1,), generator=generator))
    radius, x, y, phase = torch.rand(4, generator=generator).tolist()
    whole = 0.24 + 0.05 * radius
    time = torch.linspace(0, 1, frames)
    path = torch.stack(
        [0.4 + 0.2 * x + 0.08 * torch.sin(6.3 * phase + 2.5 * time), 0.45 + 0.1 * y + 0.08 * torch.cos(6 * time)], -1
    )
    scenes = Scenes(
        background=torch.full((frames,), place),
        pan=torch.rand(2, generator=generator) * 4 + pan * time[:, None] * torch.tensor([0.8, 0.6]),
        shape=shapes.expand(frames, 2),
        colour=colours.expand(frames, 2),
        centre=path[:, None].expand(frames, 2, 2),
        radius=torch.tensor([whole, 0.4 * whole]).expand(frames, 2),
    )
    return draw(scenes, size, part=True)


def pair_clip(
    seed: int,
    frames: int = 8,
    size: int | tuple[int, int] = 128,
    *,
    colour: int | None = None,
    shape: int | None = None,
    background: int | None = None,
    motion: str = "apart",
    pan: float = 0.15,
    span: float = 1.0,
) -> WorldClip:
    """Two objects of one class and colour, the first on the left; all else random by `seed`.

    motion: "apart" (each moves in its own half), "touching" (they nearly touch all the time) or "crossing" (they swap
    sides at different heights, the second passing in front). pan: how far the background moves in a clip of span 1,
    in sides of the frame. span: > 0, how long the clip lasts: with span 8 and 8 times the frames everything moves on
    at its speed, and objects turn back where a clip of span 1 ends.
    """
    if motion not in MOTIONS:
        raise ValueError(f"pair_clip: motion must be apart, touching or crossing; got {motion!r}")
    if not (math.isfinite(span) and span > 0):
        raise ValueError(f"pair_clip: span must be a number above 0; got {span!r}")
    generator = torch.Generator().manual_seed(seed)

    def draw_one(count: int) -> int:
        return int(torch.randint(count, (1,), generator=generator))

    def between(low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand(1, generator=generator))

    random_colour, random_shape, random_background = draw_one(6), draw_one(4), draw_one(4)
    radius = torch.tensor([between(0.16, 0.19), between(0.16, 0.19)])
    time = torch.linspace(0, span, frames)
    way = _to_and_fro(time)
    if motion == "apart":
        starts = [(between(0.22, 0.25), between(0.3, 0.7)), (between(0.75, 0.78), between(0.3, 0.7))]
        paths = []
        for x, y in starts:
            drift, phase, swing = between(-0.02, 0.02), between(0, 2 * math.pi), between(0.12, 0.2)
            level = 0.5 + (y - 0.5) * 0.4
            paths.append(torch.stack([x + drift * way, level + swing * torch.sin(phase + 2.5 * time)], -1))
    elif motion == "touching":
        middle, phase = between(0.44, 0.56), between(0, 2 * math.pi)
        gap = float(radius.sum()) * 1.12
        y = 0.5 + 0.12 * torch.sin(phase + 3 * time)
        tilt = between(-0.06, 0.06)
        paths = [
            torch.stack([middle + side * gap / 2 + 0.05 * torch.cos(phase + 3 * time), y + side * tilt], -1)
            for side in (-1, 1)
        ]
    else:
        top = between(0.45, 0.48)
        paths = [
            torch.stack([0.25 + 0.5 * way, torch.full_like(time, top)], -1),
            torch.stack([0.75 - 0.5 * way, torch.full_like(time, 1 - top)], -1),
        ]
    direction = between(0, 2 * math.pi)
    start = torch.tensor([between(0, 4), between(0, 4)])
    heading = torch.tensor([math.cos(direction), math.sin(direction)])
    scenes = Scenes(
        background=torch.full((frames,), random_background if background is None else background),
        pan=start + pan * time[:, None] * heading,
        shape=torch.full((frames, 2), random_shape if shape is None else shape),
        colour=torch.full((frames, 2), random_colour if colour is None else colour),
        centre=torch.stack(paths, 1),
        radius=radius.expand(frames, 2),
    )
    return draw(scenes, size)


def _to_and_fro(time: Tensor) -> Tensor:
    """From 0 to 1 and back again and again; the time itself up to 1."""
    return torch.where(time <= 1, time, 1 - (1 - time % 2).abs())


def scene_clip(
    seed: int,
    frames: int = 8,
    size: int | tuple[int, int] = 128,
    *,
    objects: int = 2,
    same: bool = False,
    motion: str = "apart",
    pan: float = 0.15,
) -> WorldClip:
    """One to three objects on random smooth paths; colours, shapes, sizes and background random by `seed`.

    same: all of one class and colour; else no two of one colour. motion: as in `pair_clip` between objects 0 and 1, in
    any direction ("crossing": object 1 passes in front of object 0 and may hide it nearly wholly); a third object
    stays clear of both. pan: as in `pair_clip`. Raises ValueError for other numbers or motions, and for one object
    that is to touch or cross.
    """
    if not 1 <= objects <= 3 or motion not in MOTIONS or (objects == 1 and motion != "apart"):
        raise ValueError(
            f"scene_clip: expected 1 to 3 objects that move {', '.join(MOTIONS)} (a single one: apart); got {objects} "
            f"and {motion!r}"
        )
    generator = torch.Generator().manual_seed(seed)

    def between(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(*shape, generator=generator)

    colour = torch.randperm(len(COLOURS), generator=generator)[:objects]
    shape = torch.randint(len(SHAPES), (objects,), generator=generator)
    if same:
        colour, shape = colour[:1].expand(objects), shape[:1].expand(objects)
    place = int(torch.randint(len(BACKGROUNDS), (1,), generator=generator))
    time = torch.linspace(0, 1, frames)[:, None, None]
    found = torch.zeros(0)
    while not len(found):  # drawn, many at once, until paths stay inside the frame and as far apart as they should
        radii = between(*RADIUS, DRAWN, 1, objects) * (1 if objects < 3 else 0.8)
        paths = _wander(between, time, objects)
        if motion != "apart":
            paths[:, :, :2] = _meet(between, time, radii[..., :2].sum(-1)[..., None, None], motion == "crossing")
        margin = 1.25 * radii[..., None]
        good = ((paths >= margin) & (paths <= 1 - margin)).flatten(1).all(1)
        clear = torch.cdist(paths, paths) >= (radii[..., None] + radii[..., None, :]) * CLEAR + CLEARANCE
        clear |= torch.eye(objects, dtype=torch.bool)
        if motion != "apart":
            clear[..., :2, :2] = True
        found = (good & clear.flatten(1).all(1)).nonzero()[:, 0]
    path, radius = paths[found[0]], radii[found[0], 0]
    angle = between(0, 2 * math.pi, 1)
    scenes = Scenes(
        background=torch.full((frames,), place),
        pan=between(0, 4, 2) + pan * time[:, 0] * torch.cat([angle.cos(), angle.sin()]),
        shape=shape.expand(frames, objects),
        colour=colour.expand(frames, objects),
        centre=path,
        radius=radius.expand(frames, objects),
    )
    return draw(scenes, size)


def _wander(between, time: Tensor, objects: int) -> Tensor:
    """Random curved paths of up to a third of the frame, [DRAWN, F, objects, 2]."""
    start, heading = between(0.15, 0.85, DRAWN, 1, objects, 2), between(-0.25, 0.25, DRAWN, 1, objects, 2)
    swing, phase = between(-0.1, 0.1, DRAWN, 1, objects, 2), between(0, 2 * math.pi, DRAWN, 1, objects, 1)
    return start + heading * (time - 0.5) + swing * torch.sin(phase + 3 * time)


def _meet(between, time: Tensor, reach: Tensor, cross: bool) -> Tensor:
    """Paths of two objects that cross, or that stay a few pixels beside each other: [DRAWN, F, 2, 2].

    reach: the sum of their radii, [DRAWN, 1, 1, 1].
    """

    def number(low: float, high: float, last: int = 1) -> Tensor:
        return between(low, high, DRAWN, 1, 1, last)

    side = torch.tensor([-1.0, 1.0])[:, None]
    angle, middle = number(0, 2 * math.pi), number(0.4, 0.6, 2)
    if cross:
        along = torch.cat([angle.cos(), angle.sin()], -1)
        across = torch.cat([-angle.sin(), angle.cos()], -1)
        return middle + side * (along * number(0.24, 0.3) * (1 - 2 * time) + across * number(0.0, 0.06))
    angle = angle + number(-0.8, 0.8) * time
    along = torch.cat([angle.cos(), angle.sin()], -1)
    swing = number(-0.08, 0.08, 2) * torch.sin(number(0, 2 * math.pi) + 3 * time)
    return middle + swing + side * along * reach * 1.12 / 2
