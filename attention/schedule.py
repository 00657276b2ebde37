"""When, and how strongly, attention is modulated: functions of the noise level (method.md 5).

t in [0, 1] is timestep / 1000: 1 = pure noise, 0 = clean. The fraction of the run that is done is 1 - t, as in
ComfyUI's percent_to_sigma. Nothing here counts steps, so any sampler, step count or sigma list gives the same curve.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

MAX_XI = 0.999
"""xi is clamped to this: at c = 1 a row would forget its logits altogether. Reached only where t > 0.9998."""

_EDGE = 1e-6  # rounding of t = t(sigma(t)) must not move a step across the edge of the active range


@dataclass(frozen=True)
class Schedule:
    """xi(t) = strength * t ** power while start <= 1 - t < end, else 0 (paper 4: xi_self = 0.3 t^5, xi_cross = t^5).

    Attributes:
        strength: in [0, 1]. The paper: 0.3 for self-, 1.0 for cross-attention.
        power: >= 0. The paper: 5. 0 gives a constant.
        start, end: the active part of the run, 0 <= start <= end <= 1. The paper: 15 of 50 steps, 0 to 0.3.
            Half open, so that 50 DDIM steps (t = .981, .961, ...) have exactly 15 active ones and adjacent ranges
            share no step; end = 1 includes t = 0.

    Raises:
        ValueError: values outside these ranges.
    """

    strength: float
    power: float = 5.0
    start: float = 0.0
    end: float = 0.3

    def __post_init__(self):
        if not 0 <= self.strength <= 1:
            raise ValueError(f"Schedule: strength must lie in [0, 1]; got {self.strength}.")
        if not (self.power >= 0 and math.isfinite(self.power)):
            raise ValueError(f"Schedule: power must be finite and >= 0; got {self.power}. The paper uses 5.")
        if not 0 <= self.start <= self.end <= 1:
            raise ValueError(
                f"Schedule: expected 0 <= start <= end <= 1 (fractions of the run); got start {self.start}, "
                f"end {self.end}."
            )

    def active(self, t: float) -> bool:
        """Whether the noise level t in [0, 1] lies in the active part of the run."""
        if not -_EDGE <= t <= 1 + _EDGE:
            raise ValueError(
                f"Schedule: t must lie in [0, 1] (timestep / 1000); got {t}. Convert with NoiseLevels.t(sigma)."
            )
        done = 1 - t
        return self.start - _EDGE <= done and (done < self.end - _EDGE or self.end == 1)

    def xi(self, t: float) -> float:
        """The modulation strength at noise level t in [0, 1]; in [0, MAX_XI]."""
        if not self.active(t):
            return 0.0
        return min(self.strength * min(max(t, 0.0), 1.0) ** self.power, MAX_XI)


SELF = Schedule(0.3)
"""The paper's schedule of self-attention."""
CROSS = Schedule(1.0)
"""The paper's schedule of cross-attention."""
