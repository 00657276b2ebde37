"""Clips longer than a model can hold at once: windows of frames that overlap and share anchor frames.

A model sees one window at a time, so its memory does not grow with the clip. Two things hold the windows together: in
the overlap two predictions are mixed, with weights that rise and fall along the window; and the anchors, a few frames
spread over the clip, are seen by every window (space-time attention lets all frames look at them) and counted only in
the windows that they lie in. Windows are the same at every noise level, so an inversion finds its way back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .fields import settings
from .settings import WindowSettings

ALL_AT_ONCE = "all frames at once"
"""Stands for the note where there are no windows."""


@dataclass(frozen=True)
class Window:
    """The frames of one call of the model.

    indices: rising, of the clip. weights: one a frame, >= 0; over all windows of a clip those of a frame sum to 1. An
    anchor that lies outside the window itself has weight 0.
    """

    indices: tuple[int, ...]
    weights: tuple[float, ...]

    @property
    def own(self) -> tuple[int, ...]:
        """The frames that the window predicts."""
        return tuple(index for index, weight in zip(self.indices, self.weights) if weight > 0)


@settings
class Windows(WindowSettings):
    """How a clip is cut: the settings with what follows from them."""

    def split(self, total: int) -> tuple[Window, ...]:
        """The windows of a clip of `total` frames, in the order of time; one of all frames where they fit one call.
        ValueError for fewer than 1."""
        if total < 1:
            raise ValueError(f"windows: expected a clip of at least 1 frame; got {total}.")
        if total <= self.frames:
            return (Window(tuple(range(total)), (1.0,) * total),)
        length = self.frames - self.anchors
        starts = self._starts(total, length)
        # The middles of equal parts of the clip, as SpaceTime's.
        anchors = {(2 * n + 1) * total // (2 * self.anchors) for n in range(self.anchors)}
        rises = [{start + place: _rise(place, length) for place in range(length)} for start in starts]
        sums = [sum(rise.get(frame, 0) for rise in rises) for frame in range(total)]
        windows = []
        for rise in rises:
            indices = tuple(sorted(rise.keys() | anchors))
            windows.append(Window(indices, tuple(rise.get(frame, 0) / sums[frame] for frame in indices)))
        return tuple(windows)

    def _starts(self, total: int, length: int) -> list[int]:
        """As few windows as the overlap allows, spread evenly from the first to the last frame."""
        steps = -(-(total - length) // (length - self.overlap))
        return [round(step * (total - length) / steps) for step in range(steps + 1)]

    def note(self) -> str:
        """What a trajectory records: an edit must use the windows of its inversion."""
        return f"frames {self.frames}, overlap {self.overlap}, anchors {self.anchors}"


def _rise(place: int, length: int) -> int:
    """The weight of a frame before it is shared out: 1 at the window's ends, most in its middle."""
    return min(place + 1, length - place)


def windows_note(windows: Windows | None, total: int) -> str:
    """The note of a clip of `total` frames: ALL_AT_ONCE where they fit one window."""
    return ALL_AT_ONCE if windows is None or total <= windows.frames else windows.note()


def windowed(parts: Sequence[tuple[Window, Callable[..., Tensor]]]) -> Callable[..., Tensor]:
    """One denoiser for a clip, of one denoiser per window.

    Args:
        parts: (window, `model(x, sigma, **extra) -> x0` for its frames). Every frame of the clip lies in some window.

    Returns:
        The same for the whole clip: x [F, C, h, w], sigma a number or F equal values -> x0 [F, C, h, w], the windows'
        predictions mixed by their weights. ValueError for latents of another number of frames.

    Raises:
        ValueError: no window.
    """
    if not parts:
        raise ValueError("windowed: expected at least one window; got none.")
    total = 1 + max(max(window.indices) for window, _ in parts)

    def denoise(x: Tensor, sigma: Tensor | float, **extra: Any) -> Tensor:
        if len(x) != total:
            raise ValueError(
                f"windowed: expected the latents of all {total} frames, [{total}, C, h, w]; got {list(x.shape)}. Cut "
                "the windows for the clip that is denoised."
            )
        out = torch.zeros_like(x)
        for window, model in parts:
            index = torch.tensor(window.indices, device=x.device)
            levels = sigma[index.to(sigma.device)] if isinstance(sigma, Tensor) and sigma.dim() else sigma
            seen = model(x[index], levels, **extra)
            weights = torch.tensor(window.weights, dtype=seen.dtype, device=seen.device)
            out.index_add_(0, index, (seen * weights.view(-1, *[1] * (seen.dim() - 1))).to(out.dtype))
        return out

    return denoise
