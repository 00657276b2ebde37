"""Names of version 0.3 that are called otherwise now: the old ones work on, with a DeprecationWarning. No torch.

`forward` is for what lies in a module, `renamed` for the arguments of a function and the attributes of a class.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from functools import wraps
from importlib import import_module
from operator import attrgetter
from typing import Any, TypeVar

from .options import RANGES, SAMPLED

Named = TypeVar("Named", bound=Callable[..., Any])


def forward(old: str, homes: Mapping[str, str], stacklevel: int = 2) -> Callable[[str], Any]:
    """A module's ``__getattr__``. old: the module's ``__name__``; homes: name -> module, relative to the package of the
    old one, where it lives now; ``module:name`` where it is called otherwise there. stacklevel: how many calls up the
    one who asks is, 2 = the one who calls what is returned."""

    def find(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {old!r} has no attribute {name!r}")
        place, _, new = homes[name].partition(":")
        module, new = import_module(place, old.rpartition(".")[0]), new or name
        _warn(f"{old}.{name} has moved to {module.__name__}.{new}; import it from there", stacklevel)
        return getattr(module, new)

    return find


def RangeRule(mode: str = "exact", steps: int = 3, every: int = 8) -> int:  # a class in version 0.3
    """What it said of the logit range, as ``Modulation(range_steps=)`` has it. "sampled" (from every so many-th key) is
    gone, and exact.

    Raises:
        ValueError: an unknown mode, steps or every < 1.
    """
    if mode not in (*RANGES, SAMPLED) or min(steps, every) < 1:
        raise ValueError(
            f"RangeRule: expected a mode of {(*RANGES, SAMPLED)}, steps and every >= 1; got {mode!r}, {steps} and "
            f"{every}. Write Modulation(range_steps=) in its place."
        )
    count = steps if mode == "reuse" else 1
    _warn(f"RangeRule has become a number: write Modulation(range_steps={count})", 2)
    return count


def renamed(**new_names: str) -> Callable[[Named], Named]:
    """Decorator of a function or a dataclass: ``@renamed(old="new")`` takes the keyword argument ``old`` for ``new``;
    the instances of a class have the attribute or method by both names (the new one may be an attribute's, as
    "range.holds")."""

    def under_both_names(of: Named) -> Named:
        whose: Any = of
        if not isinstance(whose, type):
            return _taking_both(of, of.__name__, new_names)
        whose.__init__ = _taking_both(whose.__init__, of.__name__, new_names)
        for old, new in new_names.items():
            setattr(whose, old, property(_also(f"{of.__name__}.{old}", new)))
        return of

    return under_both_names


def _taking_both(function: Any, called: str, new_names: Mapping[str, str]) -> Any:
    @wraps(function)
    def take(*args: Any, **given: Any) -> Any:
        for old in new_names.keys() & given.keys():
            new = new_names[old]
            if new in given:
                raise TypeError(f"{called}: {old} and {new} are one argument; got both. Leave {old} out.")
            _warn(f"{called}: the argument {old} is called {new} now; write {new}=", 2)
            given[new] = given.pop(old)
        return function(*args, **given)

    return take


def _also(called: str, new: str) -> Callable[[Any], Any]:
    def get(of: Any) -> Any:
        _warn(f"{called} is called {new} now; write .{new}", 2)
        return attrgetter(new)(of)

    return get


def _warn(text: str, stacklevel: int) -> None:
    """stacklevel: of the one to blame, counted from the function that calls this as 1."""
    warnings.warn(text, DeprecationWarning, stacklevel=stacklevel + 1)
