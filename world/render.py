"""The renderer: scenes to anti-aliased pixels and exact masks, vectorised over the batch.

Everything is a closed formula of position: an object's coverage comes from its signed distance, a background is a
smooth function of the (panned) pixel position. So masks, motion and occlusion are known exactly, at any size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .bends import at_rest, shade
from .vocabulary import BACKGROUNDS, COLOURS, SHAPES

#: Backgrounds are drawn in units of a 128-pixel frame, whatever the size of the picture.
REFERENCE_SIDE = 128.0

#: Half extents that give all shapes about the area of a circle of radius 1.
_SQUARE_HALF = 0.89
_TRIANGLE_INRADIUS = 0.72  # equilateral; its corners reach 1.44
_CROSS_LENGTH, _CROSS_WIDTH = 1.19, 0.42  # half length and half width of the arms


@dataclass(frozen=True)
class Scenes:
    """A batch of pictures. Objects later in the list lie on top.

    background: int64 [B]; pan: float32 [B, 2] shift (x, y) of the background in sides of the frame; shape, colour:
    int64 [B, K], colour -1 = no object; centre: float32 [B, K, 2] as (x, y) in sides of the frame; radius: float32
    [B, K] in sides of the frame; bend: None, or float32 [B, K, 8], how every object is bent (bends.py).
    """

    background: Tensor
    pan: Tensor
    shape: Tensor
    colour: Tensor
    centre: Tensor
    radius: Tensor
    bend: Tensor | None = None

    def __len__(self) -> int:
        return self.background.shape[0]

    def __getitem__(self, index) -> Scenes:
        if isinstance(index, int):
            index = slice(index, index + 1)
        parts = (getattr(self, f) for f in self.__dataclass_fields__)
        return Scenes(*(part if part is None else part[index] for part in parts))


def signed_distance(shape: int, x: Tensor, y: Tensor) -> Tensor:
    """Signed distance (negative inside, exact near straight edges) of the unit shape at (x, y), y pointing down."""
    name = SHAPES[shape]
    if name == "circle":
        return torch.hypot(x, y) - 1.0
    if name == "square":
        return torch.maximum(x.abs(), y.abs()) - _SQUARE_HALF
    if name == "triangle":  # centroid at the origin, one corner up
        slanted = x.abs() * math.cos(math.pi / 6) - y * math.sin(math.pi / 6)
        return torch.maximum(slanted, y) - _TRIANGLE_INRADIUS
    ax, ay = x.abs(), y.abs()
    long_, short = torch.maximum(ax, ay), torch.minimum(ax, ay)
    return torch.maximum(long_ - _CROSS_LENGTH, short - _CROSS_WIDTH)


def at_rest_of(
    x: Tensor, y: Tensor, centre: Tensor, radius: Tensor, bend: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The points (u, v) of N unit shapes at rest that are drawn at the places x, y, [N or 1, h, w] in sides of the
    frame. centre [N, 2], radius [N], bend [N, 8]."""
    r = radius[:, None, None]
    u, v = (x - centre[:, 0, None, None]) / r, (y - centre[:, 1, None, None]) / r
    return (u, v) if bend is None else at_rest(bend, u, v)


def pixel_distance(
    shape: int, x: Tensor, y: Tensor, centre: Tensor, radius: Tensor, side: int, bend: Tensor | None = None
) -> Tensor:
    """`signed_distance` of N objects of one shape in pixels, [N, h, w]; arguments as of `at_rest_of`. Of bent ones to
    the first order: right at the outline, which is what is drawn."""
    if bend is None:
        return signed_distance(shape, *at_rest_of(x, y, centre, radius)) * radius[:, None, None] * side

    def at(right: float, down: float) -> Tensor:
        return signed_distance(shape, *at_rest_of(x + right / side, y + down / side, centre, radius, bend))

    slope = torch.hypot(at(0.5, 0) - at(-0.5, 0), at(0, 0.5) - at(0, -0.5))
    return at(0, 0) / slope.clamp(min=1e-3)


def coverage(
    shape: Tensor, centre: Tensor, radius: Tensor, height: int, width: int, bend: Tensor | None = None
) -> Tensor:
    """Anti-aliased coverage in [0, 1], float32 [N, height, width], of N objects (ignoring occlusion)."""
    x, y = _pixels(height, width)
    out = torch.zeros(len(shape), height, width)
    for kind in range(len(SHAPES)):
        rows = (shape == kind).nonzero()[:, 0]
        if len(rows):
            bends = None if bend is None else bend[rows]
            distance = pixel_distance(kind, x, y, centre[rows], radius[rows], min(height, width), bends)
            out[rows] = (0.5 - distance).clamp_(0, 1)
    return out


def _pixels(height: int, width: int) -> tuple[Tensor, Tensor]:
    """The centres of all pixels in sides of the frame, [1, 1, width] and [1, height, 1]."""
    side = min(height, width)
    return ((torch.arange(width) + 0.5) / side)[None, None, :], ((torch.arange(height) + 0.5) / side)[None, :, None]


def _texture(kind: str, x: Tensor, y: Tensor) -> Tensor:
    """A calm pattern in [0, 1] at pixel positions of the 128-pixel reference frame. Periods of 32 and more: finer ones
    are what a 4-channel latent at an eighth of the side cannot carry."""
    tau = 2 * math.pi
    if kind == "sand":
        return 0.5 + 0.5 * torch.sin(tau * (y / 32 + 0.12 * torch.sin(tau * x / 64)))
    if kind == "brick":  # bricks of 32 x 16, every other row shifted by half a brick, soft mortar lines
        row = torch.floor(y / 16)
        to_row = (y - 16 * row - 8).abs() - 8
        along = torch.remainder(x + 16 * torch.remainder(row, 2), 32)
        to_end = (along - 16).abs() - 16
        return (torch.maximum(to_row, to_end) / 2.5 + 1).clamp(0, 1)
    if kind == "meadow":
        return 0.5 + 0.25 * (torch.sin(tau * (x / 40 + y / 64)) + torch.sin(tau * (x / 64 - y / 36) + 1.0))
    return 0.5 + 0.5 * torch.sin(tau * x / 128) * torch.sin(tau * y / 64)


def backgrounds(background: Tensor, pan: Tensor, height: int, width: int) -> Tensor:
    """float32 [B, height, width, 3] in 0..255."""
    unit = REFERENCE_SIDE / min(height, width)
    out = torch.empty(len(background), height, width, 3)
    for index, (name, (first, second)) in enumerate(BACKGROUNDS.items()):
        rows = (background == index).nonzero()[:, 0]
        if len(rows):
            x = (torch.arange(width) + 0.5)[None, None, :] * unit + pan[rows, 0, None, None] * REFERENCE_SIDE
            y = (torch.arange(height) + 0.5)[None, :, None] * unit + pan[rows, 1, None, None] * REFERENCE_SIDE
            mix = _texture(name, x, y)[..., None]
            out[rows] = torch.tensor(first, dtype=torch.float32) * (1 - mix) + torch.tensor(second) * mix
    return out


def render(scenes: Scenes, size: int | tuple[int, int] = 128) -> tuple[Tensor, Tensor]:
    """Draw a batch.

    `size` is the side of a square, or (height, width). Returns frames uint8 [B, H, W, 3] (RGB) and the visible
    coverage of every object, float32 [B, K, H, W] in [0, 1] (exact masks: what lies under another object is cut out).
    """
    height, width = (size, size) if isinstance(size, int) else size
    batch, objects = scenes.colour.shape
    image = backgrounds(scenes.background, scenes.pan, height, width)
    present = scenes.colour >= 0
    masks = torch.zeros(batch, objects, height, width)
    palette = torch.tensor(list(COLOURS.values()), dtype=torch.float32)
    for k in range(objects):
        rows = present[:, k].nonzero()[:, 0]
        if not len(rows):
            continue
        bend = None if scenes.bend is None else scenes.bend[rows, k]
        centre, radius = scenes.centre[rows, k], scenes.radius[rows, k]
        alpha = coverage(scenes.shape[rows, k], centre, radius, height, width, bend)
        paint = palette[scenes.colour[rows, k]][:, None, None, :]
        if bend is not None:
            paint = paint * shade(bend, *at_rest_of(*_pixels(height, width), centre, radius, bend))[..., None]
        image[rows] += alpha[..., None] * (paint - image[rows])
        masks[rows, :k] *= (1 - alpha)[:, None]
        masks[rows, k] = alpha
    return image.round_().clamp_(0, 255).to(torch.uint8), masks
