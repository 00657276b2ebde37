"""A number that says what it is: its definition, its scale, the network behind it, or why there is none."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Metric:
    """One figure of a clip.

    key: its name in files (``clip_t``); name: for people (``CLIP-T``). value: as the definition gives it, inf allowed;
    None = not measured, and ``why`` says why. scale: what papers and tables multiply the value by (100 for CLIP-T).
    unit: of the shown value, "" without one. better: ``higher`` or ``lower``. definition: one or two sentences. model:
    the network's name, "" where none is used; values of different networks do not compare.
    """

    key: str
    name: str
    value: float | None
    definition: str
    better: str
    scale: float = 1.0
    unit: str = ""
    model: str = ""
    why: str = ""

    @property
    def shown(self) -> float | None:
        """The value at its scale; None where it was not measured."""
        return None if self.value is None else self.value * self.scale

    @property
    def title(self) -> str:
        """The name with scale and unit: ``CLIP-T x 100``, ``PSNR outside the masks (dB)``."""
        scaled = self.name if self.scale == 1 or self.unit == "%" else f"{self.name} x {self.scale:g}"
        return f"{scaled} ({self.unit})" if self.unit else scaled

    @property
    def text(self) -> str:
        """The shown value for a cell of a table: ``identical`` for an infinite PSNR, or ``not measured``."""
        if self.shown is None:
            return "not measured"
        if math.isinf(self.shown):
            return "identical" if self.unit == "dB" else "inf"
        if self.shown == 0:
            return "0"
        size = abs(self.shown)
        return f"{self.shown:.2f}" if size >= 1 else f"{self.shown:.4f}" if size >= 1e-3 else f"{self.shown:.1e}"

    def facts(self) -> dict[str, Any]:
        """For JSON: value and reason, and everything that defines them."""
        return {
            "value": self.value,
            "shown": self.shown,
            "scale": self.scale,
            "unit": self.unit,
            "better": self.better,
            "model": self.model,
            "definition": self.definition,
            **({"not_measured": self.why} if self.value is None else {}),
        }


def figure(key: str, name: str, definition: str, value: float | str, better: str = "higher", **more) -> Metric:
    """A Metric; a text for a value is why there is none, and nan means that nothing could be counted."""
    if isinstance(value, float) and math.isnan(value):
        value = "there is nothing to count"
    if isinstance(value, str):
        return Metric(key, name, None, definition, better, why=value, **more)
    return Metric(key, name, float(value), definition, better, **more)
