"""What the edit asks of a host and of whoever watches it, so that nothing here knows which host it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from torch import Tensor


class EncodedRegions(NamedTuple):
    """A global prompt with the places of its regions' phrases: what a host's ``encode_regions`` returns.

    prompt: the host's own encoding (diffusers: `Prompt`, ComfyUI: a conditioning). spans: the token positions of each
    phrase, in region order. labels: int64 [L], region k -> k, start tokens 0, others -1. text: what was encoded.
    """

    prompt: Any
    spans: list[tuple[int, ...]]
    labels: Tensor
    text: str


@dataclass(frozen=True)
class LatentGeometry:
    """How the pictures of a clip lie in a model's latents.

    cell: pixels of the side of a latent cell. channels: C of a latent. group: frames that one latent frame holds, but
    the first, which holds one (1: every frame has a latent of its own).
    """

    cell: int
    channels: int
    group: int = 1

    def pixels(self, size: tuple[int, int]) -> tuple[int, int]:
        """(h, w) in latent cells -> (H, W) in pixels."""
        return size[0] * self.cell, size[1] * self.cell

    def cells(self, size: tuple[int, int]) -> tuple[int, int]:
        """(H, W) in pixels, multiples of `cell` -> (h, w)."""
        return size[0] // self.cell, size[1] // self.cell

    def latent_frames(self, frames: int) -> int:
        """How many latent frames hold so many frames of a clip."""
        return -(-(frames - 1) // self.group) + 1


class Denoiser(Protocol):
    """What ``model.denoiser(...)`` returns: the network for one clip, to be used in a ``with`` block."""

    def __enter__(self) -> Denoiser: ...

    def __exit__(self, *exception: Any) -> None: ...

    def __call__(self, x: Tensor, sigma: Tensor | float, **extra: Any) -> Tensor:
        """Noisy latents [F, C, h, w] at the noise level ``sigma`` (a number or F equal values) -> x0, the same shape.
        ``extra`` is what samplers may pass on; a host may ignore it."""
        ...


class Progress(Protocol):
    """Shows stages of a run."""

    def stage(self, name: str, total: int | None = None) -> AbstractContextManager[Callable[..., None]]:
        """A block of work. It yields ``tick(info=None)``, to be called after each of the ``total`` steps (None: not
        known); a tick is also a k-diffusion callback."""
        ...


@contextmanager
def stage(progress: Progress | None, name: str, total: int | None = None) -> Iterator[Callable[..., None]]:
    """One stage of ``progress``; yields its tick. None = nobody watches."""
    if progress is None:
        yield lambda info=None: None
    else:
        with progress.stage(name, total) as tick:
            yield tick
