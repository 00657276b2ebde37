"""How a thing of the rendered world is bent: turned, squashed, waved, hinged, seen in perspective. Exact both ways.

A thing at rest is a unit shape around the origin; a point (u, v) of it is drawn at (x, y), in radii from its centre:

    x = u + wave sin(3 v + phase) + hinge (sqrt(v^2 + 0.09) - 0.3),  y = v        its rows slide over each other
    x = x e^squash,  y = y e^-squash                                                it keeps its area
    (x, y) = (x, y) / (1 + tilt . (x, y))                                           perspective, the far side smaller
    (x, y) = turned by `turn` radians, clockwise as seen (y points down)

A wave's phase that grows makes it travel; a hinge lets the two halves of a thing swing against each other.
"""

from __future__ import annotations

import torch
from torch import Tensor

PARTS = ("turn", "squash", "wave", "phase", "hinge", "tilt_x", "tilt_y", "pattern")
"""The last axis of `Scenes.bend`; all 0: at rest. pattern: by how much of their light its dark spots are darker."""
WAVES, SOFT = 3.0, 0.3  # waves in radians a radius; radii over which a hinge is round
SPOTS = 5.0  # of the pattern, in radians a radius
NEAR = 0.3  # a perspective's divisor goes no lower; a thing's own points stay above 0.5


def _slide(bend: Tensor, v: Tensor) -> Tensor:
    _, _, wave, phase, hinge, *_ = _parts(bend)
    return wave * torch.sin(WAVES * v + phase) + hinge * (torch.sqrt(v**2 + SOFT**2) - SOFT)


def _parts(bend: Tensor) -> tuple[Tensor, ...]:
    return tuple(part[..., None, None] for part in bend.unbind(-1))


def bent(bend: Tensor, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Where points of things at rest are drawn: bend [B, 8]; u, v and the result [B, h, w], in radii."""
    turn, squash, _, _, _, tilt_x, tilt_y, _ = _parts(bend)
    x, y = (u + _slide(bend, v)) * squash.exp(), v * (-squash).exp()
    far = (1 + tilt_x * x + tilt_y * y).clamp(min=NEAR)
    x, y = x / far, y / far
    return x * turn.cos() - y * turn.sin(), x * turn.sin() + y * turn.cos()


def at_rest(bend: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The inverse of `bent`, for places around the thing."""
    turn, squash, _, _, _, tilt_x, tilt_y, _ = _parts(bend)
    x, y = x * turn.cos() + y * turn.sin(), y * turn.cos() - x * turn.sin()
    near = (1 - tilt_x * x - tilt_y * y).clamp(min=NEAR)
    x, y = x / near * (-squash).exp(), y / near * squash.exp()
    return x - _slide(bend, y), y


def shade(bend: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """The light of a thing's colour at its points at rest, [B, h, w] in [0, 1]."""
    return 1 - bend[:, -1, None, None] * (0.5 + 0.5 * torch.sin(SPOTS * u + 1) * torch.sin(SPOTS * v))
