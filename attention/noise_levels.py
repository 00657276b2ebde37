"""Noise levels of a model as a time t in [0, 1]: what schedules and ranges are measured in.

One interface, `Levels`, for two kinds of models: diffusion (eps- and v-prediction) and flow matching.
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor


class Levels(Protocol):
    """What every part of an edit asks of a model's noise levels.

    sigma, wherever it is an argument, is a number, or a tensor whose elements are all equal (`one_level`).
    """

    def t(self, sigma: Tensor | float) -> float:
        """t in [0, 1] of a noise level: 1 = pure noise, 0 = clean; rises with sigma. 1 - t is the part of a run that
        is done (`ActiveRange`), as in ComfyUI's percent_to_sigma."""
        ...

    def sigma(self, t: float) -> float:
        """The noise level of t, the inverse of `t`; ValueError for a t outside [0, 1]."""
        ...

    def timestep(self, sigma: Tensor | float) -> float:
        """What the network is told of a noise level."""
        ...

    def scales(self, sigma: Tensor | float) -> tuple[float, float]:
        """(a, b) of x = a x0 + b noise, the noisy latent as samplers hold it."""
        ...


class DiffusionLevels:
    """The noise levels of eps- and v-prediction; converts between sigma = sqrt((1 - a) / a) and t = timestep / T.

    Args:
        alphas_cumprod: [T], T >= 2, strictly falling, each in (0, 1). Tensor or sequence of floats.

    Raises:
        ValueError: anything else, a terminal value of 0 (zero terminal SNR: sigma would be infinite) included.
    """

    def __init__(self, alphas_cumprod):
        alphas = torch.as_tensor(alphas_cumprod).detach().to("cpu", torch.float64).clone()
        if alphas.dim() != 1 or len(alphas) < 2:
            raise ValueError(
                f"DiffusionLevels: alphas_cumprod must be [T] with T >= 2; got shape {tuple(alphas.shape)}."
            )
        if not bool(((alphas > 0) & (alphas < 1)).all()):
            raise ValueError(
                f"DiffusionLevels: alphas_cumprod must lie in (0, 1); got {alphas.min():g} to {alphas.max():g}. "
                f"For a zero-terminal-SNR model replace the last value by a small one (4.9e-8 is customary)."
            )
        if not bool((alphas.diff() < 0).all()):
            raise ValueError(
                "DiffusionLevels: alphas_cumprod must fall strictly with the timestep; got values that rise or repeat. "
                "Pass it in timestep order."
            )
        self._sigmas = ((1 - alphas) / alphas).sqrt()
        self._log_sigmas = self._sigmas.log()

    def __len__(self) -> int:
        return len(self._sigmas)

    @property
    def sigmas(self) -> Tensor:
        """sigma of every timestep, float32 [T], rising."""
        return self._sigmas.float()

    def timestep(self, sigma) -> float:
        """The (fractional) timestep in [0, T - 1] of a noise level; linear in log sigma, clamped at both ends.

        Args:
            sigma: >= 0; a number, or a tensor whose elements are all equal (one noise level per call).
        """
        sigma = one_level(sigma)
        if sigma <= float(self._sigmas[0]):
            return 0.0
        log_sigma = torch.tensor(math.log(sigma), dtype=torch.float64)
        high = int(torch.searchsorted(self._log_sigmas, log_sigma))
        if high >= len(self):
            return float(len(self) - 1)
        below, above = self._log_sigmas[high - 1], self._log_sigmas[high]
        return high - 1 + float((log_sigma - below) / (above - below))

    def t(self, sigma) -> float:
        """t in [0, 1) = timestep / T of a noise level (`sigma` as in `timestep`)."""
        return self.timestep(sigma) / len(self)

    def sigma(self, t: float) -> float:
        """The noise level of t in [0, 1], the inverse of `t`; above the last timestep it is the largest sigma."""
        _check_t(t)
        position = min(t * len(self), len(self) - 1)
        low = min(int(position), len(self) - 2)
        log_sigma = torch.lerp(self._log_sigmas[low], self._log_sigmas[low + 1], position - low)
        return float(log_sigma.exp())

    @staticmethod
    def scales(sigma: Tensor | float) -> tuple[float, float]:
        """(1, sigma): x = x0 + sigma noise, which is z / sqrt(a)."""
        return 1.0, one_level(sigma)

    def leading(self, steps: int, offset: int = 1) -> Tensor:
        """Stable Diffusion's DDIM schedule: float32 [steps + 1], descending, last 0.

        "Leading" spacing: timesteps offset, offset + T // steps, ...; of 1000 levels 50 steps take 981, 961, ..., 1.
        Where `steps` divides T and offset is 1 this is ComfyUI's ddim_uniform.

        Raises:
            ValueError: steps < 1, or so many that the first timestep would lie above T - 1.
        """
        ratio = len(self) // steps if steps >= 1 else 0
        if not ratio or (steps - 1) * ratio + offset >= len(self):
            raise ValueError(f"steps must lie between 1 and {len(self) - max(1, offset)}; got {steps}.")
        timesteps = torch.arange(steps - 1, -1, -1) * ratio + offset
        return torch.cat([self.sigmas[timesteps], torch.zeros(1)])


class FlowLevels:
    """The noise levels of flow matching: x = (1 - sigma) x0 + sigma noise, sigma in [0, 1].

    sigma = shift t / (1 + (shift - 1) t): the larger the latent a model is made for, the longer its run stays among the
    noisy levels (Esser et al. 2024, "Scaling Rectified Flow Transformers", section 5.3.2). With shift 1 t is sigma.

    Args:
        shift: > 0, finite.
        timesteps: what the network calls sigma = 1.

    Raises:
        ValueError: other numbers.
    """

    def __init__(self, shift: float = 1.0, timesteps: float = 1000.0):
        if not (0 < shift < math.inf and 0 < timesteps < math.inf):
            raise ValueError(f"FlowLevels: shift and timesteps must be finite and > 0; got {shift} and {timesteps}.")
        self.shift, self.timesteps = float(shift), float(timesteps)

    def t(self, sigma: Tensor | float) -> float:
        """t in [0, 1] of a noise level in [0, 1]."""
        sigma = self._level(sigma)
        return sigma / (sigma + self.shift * (1 - sigma))  # written so that no rounding leads out of [0, 1]

    def sigma(self, t: float) -> float:
        """The noise level of t in [0, 1], the inverse of `t`."""
        _check_t(t)
        return self.shift * t / (self.shift * t + (1 - t))

    def timestep(self, sigma: Tensor | float) -> float:
        """sigma * timesteps, in [0, timesteps]: the network is told the noise level itself, shifted or not."""
        return self._level(sigma) * self.timesteps

    @staticmethod
    def scales(sigma: Tensor | float) -> tuple[float, float]:
        """(1 - sigma, sigma)."""
        sigma = FlowLevels._level(sigma)
        return 1 - sigma, sigma

    @staticmethod
    def _level(sigma: Tensor | float) -> float:
        sigma = one_level(sigma)
        if sigma > 1 + 1e-6:  # float32 may round 1 up
            raise ValueError(
                f"sigma of a flow model must lie in [0, 1]; got {sigma:g}. Take the schedule from this model."
            )
        return min(sigma, 1.0)


def _check_t(t: float) -> None:
    if not 0 <= t <= 1:
        raise ValueError(f"noise levels: t must lie in [0, 1]; got {t}.")


def one_level(sigma: Tensor | float) -> float:
    """The one noise level of a call: sigma is a number, or a tensor (any shape and dtype) of equal values.

    Raises:
        ValueError: several levels, none, or one that is negative or not finite.
    """
    if isinstance(sigma, Tensor):
        levels = sigma.detach().flatten().double().cpu()
        if len(levels) == 0 or bool((levels != levels[0]).any()):
            raise ValueError(
                f"expected one noise level for the whole batch; got {levels.tolist()[:8]}. Call once per level, or use "
                "a sampler that denoises the frames together."
            )
        sigma = levels[0]
    sigma = float(sigma)
    if not (sigma >= 0 and math.isfinite(sigma)):
        raise ValueError(f"sigma must be finite and >= 0; got {sigma}.")
    return sigma
