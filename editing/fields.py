"""What settings are made of: the types of their fields, their limits, and pydantic's errors in the pack's words.

A setting is declared once (settings.py): type, range, default and a sentence about it. From there come the checks of
scripts, edit files and nodes, the nodes' widgets and the tables of the documents. Imports no torch.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Annotated, Any, TypeVar, cast, get_args, get_origin

from pydantic import (
    AllowInfNan,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    Strict,
    ValidationError,
)
from pydantic.dataclasses import dataclass as checked_dataclass
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, PydanticCustomError, core_schema
from typing_extensions import dataclass_transform

T = TypeVar("T")
Place = tuple[str | int, ...]
"""Names of fields and indices from 0, from the outermost."""


class SettingError(ValueError):
    """A setting has a value outside what is allowed. The text says what came, what was expected and the remedy."""


@dataclass(frozen=True)
class Told:
    """What a field with a check of its own may be, in words, for the documents."""

    span: str


class OneOf:
    """One of a few names, for ``Annotated[str, OneOf(NAMES)]``."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = tuple(names)

    def __get_pydantic_core_schema__(self, _source: Any, _handler: Any) -> CoreSchema:
        return core_schema.literal_schema(list(self.names))


def _whole(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise PydanticCustomError("int_type", "a whole number")
    return value


def _phrases(value: Any) -> tuple[str, ...]:
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, (list, tuple)) or not items or not all(isinstance(i, str) and i.strip() for i in items):
        raise SettingError(f"{show(value)} is not allowed; expected a list of phrases; write e.g. [a man, sky]")
    return tuple(item.strip() for item in items)


Whole = Annotated[int, BeforeValidator(_whole)]
"""A whole number; 4.0 counts, true and "4" do not."""
Number = Annotated[float, Strict(), AllowInfNan(False)]
Flag = Annotated[bool, Strict()]
Text = Annotated[str, Strict(), Field(pattern=r"\S")]
"""Text that is not empty."""
Phrases = Annotated[tuple[str, ...], PlainValidator(_phrases), Told("a list of phrases")]
"""One or more phrases; one text counts as a list of it."""


def wrong(text: str, *keys: str | int) -> PydanticCustomError:
    """A mistake inside of what a check looks at. text: what came; what was expected; the remedy. keys: of a group, the
    fields that it lies in, of which the first that was given is pointed at; of a list, the index."""
    return PydanticCustomError("setting", cast(Any, text), {"keys": keys})


@dataclass_transform(field_specifiers=(Field,), frozen_default=True)
def settings(cls: type[T]) -> type[T]:
    """Class decorator: a frozen dataclass whose fields pydantic checks, and which takes no others. What is not allowed
    is a SettingError."""
    made: Any = checked_dataclass(frozen=True, config=ConfigDict(extra="forbid"))(cls)
    check, names = made.__init__, list(fields_of(made))

    @wraps(check)
    def __init__(self: Any, *args: Any, **values: Any) -> None:
        try:  # by name, so that mistakes come with the names
            check(self, *args[len(names) :], **dict(zip(names, args)), **values)
        except ValidationError as error:
            found = mistakes(error, made, made.__name__)
            raise SettingError("\n".join(text for _, text in found)) from None

    made.__init__ = __init__
    return made


KINDS = {
    bool: ("true or false", "write true or false without quotes"),
    str: ("text", "put it in quotes"),
}
"""Type of a field -> what is expected, and the remedy."""


@dataclass(frozen=True)
class Limits:
    """What a field may be. kind: bool, int, float, str or another type; low, high: of numbers, infinite where there is
    no bound; names: of a choice, else empty; told: where the field says so itself; example: a value that is allowed."""

    kind: Any
    low: float
    high: float
    names: tuple[str, ...]
    told: str
    example: Any

    @property
    def span(self) -> str:
        """In words, such as "a whole number from 1 to 64"."""
        if self.told or self.names:
            return self.told or f"one of {', '.join(self.names)}"
        if self.kind not in (int, float):
            return KINDS.get(self.kind, ("", ""))[0]
        kind = "a whole number" if self.kind is int else "a number"
        some = f"of {self.low} or more" if self.high == math.inf else f"from {self.low} to {self.high}"
        return f"{kind} {some}"

    @property
    def remedy(self) -> str:
        """What to do about a value that is not allowed."""
        if self.names:
            return "choose one of them"
        return KINDS[self.kind][1] if self.kind in KINDS else f"write e.g. {self.example:g}"

    @property
    def simple(self) -> bool:
        """Whether span and remedy say all."""
        return bool(self.names) or self.kind in (int, float, *KINDS)


def fields_of(kind: Any) -> dict[str, FieldInfo]:
    """Name -> pydantic's FieldInfo (default, description, ...) of a class of settings; nothing for other types."""
    return getattr(kind, "__pydantic_fields__", {})


def limits(field: FieldInfo) -> Limits:
    """What a field may be, read off its annotation."""
    kind, marks = field.annotation, list(field.metadata)
    while get_origin(kind) is Annotated or type(None) in get_args(kind):
        kind, *more = get_args(kind)
        marks += more
    low, high = (
        next((found for mark in marks if (found := getattr(mark, name, None)) is not None), bound)
        for name, bound in (("ge", -math.inf), ("le", math.inf))
    )
    names = next((mark.names for mark in marks if isinstance(mark, OneOf)), ())
    told = next((mark.span for mark in marks if isinstance(mark, Told)), "")
    example = field.examples[0] if field.examples else field.default
    return Limits(get_origin(kind) or kind, low, high, names, told, low if example is None else example)


def group_in(annotation: Any) -> Any:
    """The class of settings that an annotation names, also as one of several or in a list; else None."""
    if fields_of(annotation):
        return annotation
    return next((found for part in get_args(annotation) if (found := group_in(part)) is not None), None)


def show(value: Any) -> str:
    """A value as it is shown in messages: short, and with quotes round text."""
    if isinstance(value, dict):
        return "a group of keys"
    if isinstance(value, (list, tuple)) and any(isinstance(item, (dict, list, tuple)) for item in value):
        return "a list"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def name_of(where: Place, prefix: str = "") -> str:
    """A place in words: ("regions", 0, "masks") -> "regions[1].masks"."""
    for step in where:
        dot = "." if prefix else ""
        prefix += f"[{step + 1}]" if isinstance(step, int) else f"{dot}{step}"
    return prefix


TEXTS = {
    "missing": "{name} is missing; expected {about}; add it",
    "unexpected_keyword_argument": "unknown key {name}; expected one of {known}; {near}",
    "dataclass_type": "{name} is {came}; expected a group of keys such as {example}; write it so, or indent its keys "
    "below it",
    "tuple_type": "{name} is {came}; expected {about}; begin each with '- '",
    "setting": "{name}: {said}",
    "value_error": "{name}: {said}",
    "": "{name}: {came} is not allowed; expected {span}; {remedy}",
}
"""pydantic's type of error ("" = any other) -> what is said."""


def mistakes(error: ValidationError, kind: Any, prefix: str = "") -> list[tuple[Place, str]]:
    """(where, text) of everything that pydantic found wrong in values for a class of settings.

    where: from that class on; for a mistake between several fields the one that is pointed at. prefix: stands before
    the names in the texts.
    """
    found = []
    for item in cast(Any, error.errors(include_url=False)):
        where, point = tuple(item["loc"]), ()
        if item["type"] == "setting":
            given = getattr(item["input"], "kwargs", item["input"])
            keys = [
                key for key in item["ctx"]["keys"] if isinstance(key, int) or (isinstance(given, dict) and key in given)
            ]
            point = tuple(keys[:1])
        said = str(item["ctx"]["error"]) if item["type"] == "value_error" else item["msg"]
        named = where + tuple(key for key in point if isinstance(key, int))
        found.append((where + point, _text(item["type"], named, kind, item["input"], said, prefix)))
    return found


def missing(kind: Any, data: Mapping[str, Any], names: Sequence[str], entries: str = "") -> list[tuple[Place, str]]:
    """(where, text) of those of ``names`` that data for a class of settings leaves out, or that the groups in its list
    ``entries`` do. Not of those that it has misspelt: the message about the unknown key names them."""
    parts: Any = [((), data)]
    if entries:
        found = data.get(entries)
        parts = [((entries, index), part) for index, part in enumerate(found if isinstance(found, list) else ())]
    return [
        (where, _text("missing", (*where, name), kind, None, "", ""))
        for where, part in parts
        for name in names
        if isinstance(part, Mapping) and name not in part and name not in _misspelt(part, kind, entries)
    ]


def _misspelt(data: Mapping[Any, Any], kind: Any, entries: str) -> set[str]:
    """Fields that unknown keys of data for a class (of entries of its list ``entries``, if it is given) may mean."""
    known = fields_of(group_in(fields_of(kind)[entries].annotation) if entries else kind)
    return {near for key in data if key not in known for near in _nearest(key, known)}


def _nearest(key: Any, known: Iterable[str]) -> list[str]:
    """The name that an unknown key may mean, if one is like it."""
    return difflib.get_close_matches(str(key), [*known], n=1, cutoff=0.55)


def _example(step: str | int, allowed: Limits, field: FieldInfo | None) -> str:
    """A group of keys as it may stand at a step of a place: that of a name, or that of an entry in a list."""
    if isinstance(step, int) and field is not None:
        return f"{{{', '.join(f'{name}: ...' for name in [*fields_of(group_in(field.annotation))][:2])}}}"
    return f"{step}: {allowed.example}"


def _text(error: str, where: Place, kind: Any, came: Any, said: str, prefix: str) -> str:
    """The text of TEXTS for an error at a place in the class ``kind``."""
    field = None
    for step in where:
        if isinstance(step, str):
            kind = kind if field is None else group_in(field.annotation)
            field = fields_of(kind).get(step)
    near = _nearest(where[-1] if where else "", known := [*fields_of(kind)])
    allowed = None if field is None else limits(field)
    span, remedy = (allowed.span, allowed.remedy) if allowed is not None and allowed.simple else (said, "correct it")
    text = TEXTS.get(error, TEXTS[""]).format(
        name=name_of(where, prefix),
        came="a list" if error == "dataclass_type" and isinstance(came, (list, tuple)) else show(came),
        about=(field and field.description) or "a value",
        known=", ".join(known),
        near=f"did you mean {near[0]}?" if near else "remove it",
        example=allowed and _example(where[-1], allowed, field),
        said=said,
        span=span,
        remedy=remedy,
    )
    return " ".join(text.split())
