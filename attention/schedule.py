"""When, and how strongly, attention is modulated: functions of the noise level (method.md 5).

t in [0, 1] is `Levels.t`: 1 = pure noise, 0 = clean; which levels are active is active_range.py's rule.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

from .active_range import ActiveRange
from .old_names import renamed

MAX_XI = 0.999
"""xi is clamped to this: at c = 1 a row would forget its logits altogether. Reached only where t > 0.9998."""


@renamed(active="range.holds")
@dataclass(frozen=True)
class Schedule:
    """xi(t) = strength * t ** power in the active range, else 0 (paper 4: xi_self = 0.3 t^5, xi_cross = t^5).

    Attributes:
        strength: in [0, 1]. The paper: 0.3 for self-, 1.0 for cross-attention.
        power: >= 0. The paper: 5. 0 gives a constant.
        start, end: the active part of the run (`ActiveRange`). The paper: 15 of 50 steps, 0 to 0.3.

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
        _ = self.range

    @cached_property
    def range(self) -> ActiveRange:
        """The active part of the run."""
        return ActiveRange(self.start, self.end)

    def xi(self, t: float) -> float:
        """The modulation strength at noise level t in [0, 1]; in [0, MAX_XI]."""
        if not self.range.holds(t):
            return 0.0
        return min(self.strength * min(max(t, 0.0), 1.0) ** self.power, MAX_XI)


SELF = Schedule(0.3)
"""The paper's schedule of self-attention."""
CROSS = Schedule(1.0)
"""The paper's schedule of cross-attention."""
