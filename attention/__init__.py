"""The method's mathematics: torch only, no host, no model. See each module's first lines for its part.

`kernels/` has the ways to compute it fast. The names below are loaded when they are first asked for, so that
importing the package does not load torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from .old_names import RangeRule as RangeRule
from .old_names import forward

_HOME = {
    "active_range": ("ActiveRange", "RangeError"),
    "kernels.logit_range": ("logit_range",),
    "label_map": ("LabelMap", "normalise_mask"),
    "layer": ("Layer", "TokenGrid", "wanting"),
    "memory": ("within_memory",),
    "fused": ("modulated_attention", "plain_attention"),
    "modulation": ("Modulation", "space_time_attention"),
    "noise_levels": ("DiffusionLevels", "FlowLevels", "Levels"),
    "observer": ("Observer", "LayerCall"),
    "options": ("KERNELS", "MODES", "RANGES"),
    "phrase_tokens": ("PhraseNotFound", "find_phrases", "phrase_occurrences", "splice", "text_labels"),
    "range_memory": ("RangeMemory",),
    "reference": ("reference_attention",),
    "schedule": ("CROSS", "MAX_XI", "SELF", "Schedule"),
    "spacetime": ("SpaceTime",),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}

__all__ = sorted(_MODULE_OF)


_of_version_0_3 = forward(
    __name__,
    {
        "Layout": ".attention.label_map:LabelMap",
        "NoiseLevels": ".attention.noise_levels:DiffusionLevels",
        "Seen": ".attention.observer:LayerCall",
        "row_range": ".attention.kernels.logit_range:logit_range",
    },
    stacklevel=3,
)


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        return _of_version_0_3(name)
    return getattr(import_module(f".{_MODULE_OF[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
