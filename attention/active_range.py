"""Which part of a run something is active in: the one rule, for modulation, blend, features, maps and control.

t in [0, 1] is `Levels.t`: 1 = pure noise, 0 = clean. The fraction of the run that is done is 1 - t, as in
ComfyUI's percent_to_sigma. Nothing here counts steps, so any sampler, step count or sigma list gives the same part.
No torch: settings use it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

EDGE = 1e-4
"""A tenth of a training timestep: t computed from a float32 sigma must not fall off the edge of its range."""


class RangeError(ValueError):
    """A part of the run that is none, or has no step in it. The text says which, and what to do."""


@dataclass(frozen=True)
class ActiveRange:
    """The noise levels with start <= 1 - t < end; end = 1 includes t = 0. An empty one (start = end < 1) holds nothing.

    Half open, so that 50 DDIM steps (t = .981, .961, ...) have exactly 15 active ones in the paper's 0 to 0.3, and
    adjacent ranges share no step and leave none out.

    Attributes:
        start, end: fractions of the run, 0 <= start <= end <= 1.
        names: what the two are called where the user wrote them, for the messages.

    Raises:
        RangeError: other values.
    """

    start: float = 0.0
    end: float = 1.0
    names: tuple[str, str] = field(default=("start", "end"), compare=False)

    def __post_init__(self) -> None:
        if not 0 <= self.start <= self.end <= 1:
            raise RangeError(
                f"expected 0 <= {self.names[0]} <= {self.names[1]} <= 1 (fractions of the run, 0 = pure noise, 1 = "
                f"clean); got {self.start:g} and {self.end:g}. Correct one of them."
            )

    @property
    def whole(self) -> bool:
        """Whether every noise level lies inside."""
        return self.start == 0 and self.end == 1

    def not_empty(self) -> ActiveRange:
        """This range; RangeError if start = end."""
        if self.start == self.end:
            raise RangeError(
                f"expected {self.names[0]} < {self.names[1]} (fractions of the run, 0 = pure noise, 1 = clean); got "
                f"{self.start:g} twice, which would never be active. Correct one of them."
            )
        return self

    def holds(self, t: float) -> bool:
        """Whether the noise level t in [0, 1] lies inside; RangeError for a t that is no noise level."""
        if not -EDGE <= t <= 1 + EDGE:
            raise RangeError(f"t must lie in [0, 1] (timestep / 1000); got {t}. Convert with Levels.t(sigma).")
        done = 1 - t
        return self.start - EDGE <= done and (done < self.end - EDGE or self.end == 1)

    def check_steps(self, levels: Iterable[float]) -> None:
        """RangeError if none of a run's noise levels t lies inside: to be asked before the run, not after it."""
        levels = list(levels)
        if any(self.holds(t) for t in levels):
            return
        told = ", ".join(f"{1 - t:.3f}" for t in levels[:4]) + (", ..." if len(levels) > 4 else "")
        raise RangeError(
            f"none of the {len(levels)} steps lies between {self.names[0]} {self.start:g} and {self.names[1]} "
            f"{self.end:g} of the noise range, so nothing would be seen (the steps begin at {told}); expected a range "
            "with a step in it; widen it, or take more steps."
        )
