"""A clip that is longer than the model holds at once, denoised in windows (editing/windows.py)."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..editing.windows import Windows, windowed
from .diffusers_denoiser import Denoiser


class WindowedDenoiser:
    """`denoise(x, sigma, **extra) -> x0` of a whole clip: a Denoiser a window, one after the other.

    x, sigma, extra and what is returned: as Denoiser. What grows with the clip are labels of the tokens (some 40 bytes
    each, on the CPU) and, where ranges are reused, those of every window (attention/ranges.py); prompts, masks and
    control video are shared by the windows, and the UNet sees one of them at a time. Leaving a `with` block releases
    all of them.
    """

    def __init__(self, whole: Denoiser, windows: Windows):
        """whole: the denoiser of all frames, which is never called itself."""
        whole.check_control()
        self.windows = windows.split(whole.frames)
        self.frames, self.guidance = whole.frames, whole.guidance
        self._parts = [(window, whole.select(window.indices)) for window in self.windows]
        self._all = [whole, *(part for _, part in self._parts)]
        self._denoise = windowed(self._parts)

    def __enter__(self) -> WindowedDenoiser:
        return self

    def __exit__(self, *exception) -> None:
        for denoiser in self._all:
            denoiser.__exit__(*exception)

    def __call__(self, x: Tensor, sigma: Tensor | float, **extra: Any) -> Tensor:
        return self._denoise(x, sigma, **extra)
