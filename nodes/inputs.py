"""Inputs of nodes: numbers and choices with their limits, most of them those of the settings (editing/settings.py).

Each function takes what a node says otherwise than the settings (a narrower ``max``, a ``step``, ``optional``) as
arguments of ComfyUI's inputs.
"""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass
from typing import Any

from comfy_api.latest import io

from ..editing.fields import fields_of, limits

WIDGETS = {bool: io.Boolean, str: io.Combo, int: io.Int, float: io.Float}


@dataclass(frozen=True)
class Limits:
    """What a widget can be set to, for a value that comes over a link instead.

    name: of the input. kind: int, float, or str for a choice. low, high: of a number, both allowed. step: of a whole
    number, counted from low. options: of a choice.
    """

    name: str
    kind: type
    low: float = -math.inf
    high: float = math.inf
    step: int = 1
    options: tuple[str, ...] = ()

    def mistake(self, value: Any) -> str | None:
        """What was expected and what came, or None for a value that is allowed."""
        if self.kind is str:
            good, expected = isinstance(value, str) and value in self.options, f"one of {', '.join(self.options)}"
        else:
            number = numbers.Integral if self.kind is int else numbers.Real
            good = isinstance(value, number) and not isinstance(value, bool) and self.low <= value <= self.high
            good = good and (self.kind is float or (value - self.low) % self.step == 0)
            steps = f" in steps of {self.step}" if self.step != 1 else ""
            noun = "a whole number" if self.kind is int else "a number"
            expected = f"{noun} from {self.low:g} to {self.high:g}{steps}"
        return None if good else f"expected {expected}, got {value!r:.80}"


def limited(kind: type, name: str, **given: Any) -> io.Input:
    """The widget of a number (int, float) or a choice (str) with its `Limits`; given: the arguments of ComfyUI's
    input."""
    widget = WIDGETS[kind].Input(name, **given)
    if kind is str:
        widget.limits = Limits(name, str, options=tuple(given["options"]))
    else:
        widget.limits = Limits(name, kind, given["min"], given["max"], given.get("step", 1) if kind is int else 1)
    return widget


def setting(
    kind: type, field: str, tooltip: str, *, name: str = "", number: type | None = None, **more: Any
) -> io.Input:
    """The widget of a field of settings. name: of the input, where it is not the field's; number: float for a whole
    number that the node takes with fractions."""
    allowed = limits(fields_of(kind)[field])
    values: dict[str, Any] = {"default": fields_of(kind)[field].default, "tooltip": tooltip}
    number = number or allowed.kind
    if allowed.names:  # the default first
        values["options"] = sorted(allowed.names, key=lambda option: option != values["default"])
    elif number in (int, float):
        values |= {"min": number(allowed.low), "default": number(values["default"])}
        values |= {} if "max" in more else {"max": number(allowed.high)}
        values |= {"step": 0.01} if number is float else {}
    if number in (int, float) or allowed.names:
        return limited(str if allowed.names else number, name or field, **values | more)
    return WIDGETS[number].Input(name or field, **values | more)


def strength(whose: str) -> io.Input:
    """Of regions, as a share of the edit's; whose: "this region's attention is"."""
    return limited(
        float,
        "strength",
        default=1.0,
        min=0.0,
        max=1.0,
        step=0.01,
        tooltip=f"How strongly {whose} modulated, as a share of the strengths of ST-Layout Attn Patch.",
    )


def advanced(widget: io.Input) -> io.Input:
    """The same input, marked as one that frontends may fold away (that of ComfyUI 0.3.64 shows it like any other).

    As an argument of the inputs `advanced` is newer than the oldest ComfyUI that we run in.
    """
    widget.extra_dict = {**widget.extra_dict, "advanced": True}
    return widget
