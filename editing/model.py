"""What the edit asks of a host and of whoever watches it, so that nothing here knows which host it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from ..attention import Levels
from .windows import Windows


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


class Model(Protocol):
    """A loaded model as editing/pipeline.py, measuring/ and runner/ use it: what a model family gives to scripts.

    Frames are uint8 [F, H, W, 3]; latents float32 [F, C, h, w] on the CPU, at the scale the network works at.
    Attributes:
        family: what inversions call it ("sd1"). fingerprint: of its weights: other weights, another text.
        dtype: of the network, where a saved inversion of the same weights in another one is another model.
        latent_scale: a LATENT of ComfyUI times this is a latent of the model; None where it takes more than one factor.
        attention_halvings: how often the latent's side is halved where the network has attention (0 = the full side).
    """

    @property
    def family(self) -> str: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def device(self) -> torch.device: ...
    @property
    def dtype(self) -> torch.dtype: ...
    @property
    def latent_scale(self) -> float | None: ...
    @property
    def levels(self) -> Levels: ...
    @property
    def geometry(self) -> LatentGeometry: ...
    @property
    def attention_halvings(self) -> frozenset[int]: ...

    def sigmas(self, steps: int) -> Tensor:
        """The noise levels of a run: float32 [steps + 1], descending, the last 0. ValueError for too many steps."""
        ...

    def encode_frames(self, frames: np.ndarray) -> Tensor:
        """Frames, sides multiples of ``geometry.cell`` -> latents; the same frames always give the same."""
        ...

    def decode_latents(self, latents: Tensor) -> np.ndarray:
        """Latents -> frames."""
        ...

    def encode_prompt(self, text: str) -> Any:
        """What `denoiser` takes as a prompt. PromptError for a text that cannot be used."""
        ...

    def encode_regions(self, global_prompt: str, phrases: Sequence[str], splice: bool = True) -> EncodedRegions:
        """The prompt with its regions' phrases. PromptError for a phrase that does not occur. splice: write each
        phrase's own encoding over its place (method.md 7)."""
        ...

    def word_positions(self, prompt: str, phrases: Sequence[str]) -> tuple[list[list[tuple[int, ...]]], int]:
        """(the token positions of all occurrences of each phrase in a prompt, the prompt's length in tokens)."""
        ...

    def load_control(self, folder: str | Path, frames: np.ndarray, *, scale: float, start: float, end: float) -> Any:
        """What `denoiser` takes as ``controlnet``: a local folder with its control video. ValueError where the family
        has none."""
        ...

    def denoiser(self, prompt: Any, *, frames: int, windows: Windows | None = None, **options: Any) -> Denoiser:
        """The network for a clip of so many frames. options: spacetime (a mode of SpaceTime) and key_frames, observer
        (attention/observer.py); for an edit also negative (a prompt, None at guidance 1), guidance, modulation,
        controlnet (what ``load_control`` returned). ValueError for what does not fit together."""
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
