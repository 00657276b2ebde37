"""Inputs of nodes whose names, ranges, options and defaults are those of the settings (editing/settings.py).

Each function takes what a node says otherwise than the settings (a narrower ``max``, a ``step``, ``optional``) as
arguments of ComfyUI's inputs.
"""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..editing.fields import fields_of, limits

WIDGETS = {bool: io.Boolean, str: io.Combo, int: io.Int, float: io.Float}


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
    return WIDGETS[number].Input(name or field, **values | more)


def strength(whose: str) -> io.Input:
    """Of regions, as a share of the edit's; whose: "this region's attention is"."""
    return io.Float.Input(
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
