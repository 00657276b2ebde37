"""For modules that have moved: the old one hands out the new one's names, with a DeprecationWarning."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def forward(old: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """A module's ``__getattr__``. old: the module's ``__name__``; homes: name -> module, relative to the package of the
    old one, where it lives now; ``module:name`` where it is called otherwise there."""

    def find(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {old!r} has no attribute {name!r}")
        place, _, new = homes[name].partition(":")
        module, new = import_module(place, old.rpartition(".")[0]), new or name
        warnings.warn(
            f"{old}.{name} has moved to {module.__name__}.{new}; import it from there",
            DeprecationWarning,
            stacklevel=2,
        )
        return getattr(module, new)

    return find
