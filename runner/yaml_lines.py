"""YAML files read by classes of settings, with the line of every key, so that each mistake can be pointed at."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError

from ..editing.fields import Place, fields_of, limits, mistakes, name_of

T = TypeVar("T")
LONGEST = 4 * 2**20  # bytes of a file; boxes for 10,000 frames and 10 regions are 3 MB
MOST = 1_000_000  # values of a file, those that aliases repeat counted again
DEEPEST = 32  # groups and lists in each other
NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
DATE = "tag:yaml.org,2002:timestamp"
DIGITS = 40  # of a number; more is text, which no number is


class EditFileError(ValueError):
    """An edit file has mistakes. ``problems``: (line, text) pairs, line 0 = the file as a whole; the error's text lists
    all of them, one a line, as ``edit.yaml:LINE: what is wrong; what was expected; remedy``."""

    def __init__(self, path: Path, problems: list[tuple[int, str]]) -> None:
        self.path, self.problems = path, sorted(problems)
        places = [f"{path.name}:{line}" if line else path.name for line, _ in self.problems]
        super().__init__("\n".join(f"{place}: {text}" for place, (_, text) in zip(places, self.problems)))


@dataclass(frozen=True)
class Lines:
    """Where the keys of a YAML file stand, so that whoever finds a mistake later can point at it.

    path: the file; numbers: the line, counted from 1, of every key and entry by its full name (``prompt``,
    ``regions[2]``, ``regions[2].masks.folder``).
    """

    path: Path
    numbers: Mapping[str, int]

    def __contains__(self, key: str) -> bool:
        return key in self.numbers

    def line_of(self, *keys: str) -> int:
        """The line of the first of ``keys`` that the file has, else of the innermost group round the last, else 1."""
        found = next((self.numbers[key] for key in keys if key in self.numbers), None)
        above = keys[-1].rpartition(".")[0]
        return found or (self.line_of(above) if above else 1)

    def error(self, *problems: tuple[str, str]) -> EditFileError:
        """The error with a text for each (key, text), at the line of the key."""
        return EditFileError(self.path, [(self.line_of(key), text) for key, text in problems])

    @contextmanager
    def at_line(self, key: str, *others: str) -> Iterator[None]:
        """Turn ValueErrors of the block into an EditFileError ``edit.yaml:LINE: key: text``.

        The line is that of ``key``, or of the first of ``others`` where the file leaves ``key`` out.
        """
        try:
            yield
        except EditFileError:
            raise
        except ValueError as error:
            text = " ".join(str(error).split())
            raise EditFileError(self.path, [(self.line_of(key, *others), f"{key}: {text}")]) from error


class Problems:
    """The mistakes found so far in one file. Texts say what is wrong; what was expected; the remedy."""

    def __init__(self, lines: Lines) -> None:
        self.lines, self.found = lines, []
        self._kinds: set[type[EditFileError]] = set()

    def add(self, text: object, key: str, *others: str) -> None:
        """Note a mistake, at the line of the first of the keys that is there."""
        self.found.append((self.lines.line_of(key, *others), " ".join(str(text).split())))
        self._kinds.add(EditFileError)

    @contextmanager
    def gathered(self) -> Iterator[list[tuple[int, str]]]:
        """Note the mistakes of the block in place of raising them; yields a list, where they stand after it."""
        noted: list[tuple[int, str]] = []
        try:
            yield noted
        except EditFileError as error:
            noted += error.problems
            self.found += error.problems
            self._kinds.add(type(error))

    @contextmanager
    def ending(self) -> Iterator[None]:
        """Raise the mistakes of the block together with all that was noted before."""
        with self.gathered():
            yield
            return
        self.stop()

    def stop(self) -> None:
        """Raise what was noted, if anything was: an error of the kind that all of it is, else EditFileError."""
        if self.found:
            kind = self._kinds.pop() if len(self._kinds) == 1 else EditFileError
            raise kind(self.lines.path, list(dict.fromkeys(self.found)))


def read_yaml(path: Path) -> tuple[dict[str, Any], Problems]:
    """A file's keys as plain data (text, number, bool, None, list, dict), and its mistakes so far: keys given twice.
    EditFileError where it is no YAML or no group of keys, or larger than any file that a person writes."""
    try:
        size = path.stat()
        if not stat.S_ISREG(size.st_mode):
            raise OSError("not a file")
        if size.st_size > LONGEST:
            raise OSError(f"{size.st_size} bytes, of at most {LONGEST}")
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        if isinstance(error, UnicodeDecodeError):
            text = "is not UTF-8 text; expected an edit file in YAML; save it as UTF-8"
            raise EditFileError(path, [(0, text)]) from None
        why = getattr(error, "strerror", None) or error
        raise EditFileError(path, [(0, f"cannot be read ({why}); expected an edit file; correct the path")]) from None
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        _check_bounds(node, path)
    except RecursionError:
        raise _too_deep(path, 1) from None
    except yaml.YAMLError as error:
        raise EditFileError(path, [_syntax(error, text)]) from None
    if not isinstance(node, yaml.MappingNode):
        raise EditFileError(path, [(1, "holds no keys; expected lines such as `video: clip.mp4`; see the README")])
    numbers: dict[str, int] = {}
    problems = Problems(Lines(path, numbers))
    return _plain(node, "", numbers, problems, {}), problems


SYNTAX = (
    ("quoted scalar: found unexpected end of stream", True, "close the quote that this line opens"),
    ("unknown escape character", False, "put single quotes round text with a backslash"),
    ("while parsing a flow", True, "close the bracket that this line opens, and put a comma between entries"),
    ("could not find expected ':'", True, "put a colon and a space behind the key"),
    ("mapping values are not allowed", False, "put quotes round text with a colon, or check the indentation"),
    ("found '<scalar>'", False, "put quotes round the whole text, and close those of the lines above"),
    ("found character '\\t'", False, "indent with spaces"),
    ("cannot start any token", False, "put quotes round text that begins with it"),
    ("while scanning an a", False, "put quotes round text that begins with * or &"),
    ("found undefined alias", False, "put quotes round text that begins with *"),
    ("found another document", False, "keep one group of keys, and remove the line of --- or ..."),
    ("", False, "check the indentation"),
)
"""In the parser's message; whether the line is that of what it was reading, not of where it stopped; the remedy."""


def _syntax(error: yaml.YAMLError, whole: str) -> tuple[int, str]:
    """The line of a ``whole`` file that is no YAML, and what is wrong with it."""
    stopped, began = (getattr(error, name, None) for name in ("problem_mark", "context_mark"))
    what = " ".join((getattr(error, "problem", None) or str(error)).split())
    told = f"{getattr(error, 'context', None)}: {what}"
    at_start, remedy = next((start, remedy) for part, start, remedy in SYNTAX if part in told)
    mark = began if at_start and began else stopped
    text = f"not valid YAML ({what}); expected `key: value` lines; {remedy}"
    if mark is None and isinstance(error, yaml.reader.ReaderError):  # a character, which has a place but no mark
        return whole.count("\n", 0, error.position) + 1, text
    return mark.line + 1 if mark else 0, text


def _check_bounds(node: yaml.Node | None, path: Path) -> None:
    """EditFileError where a file nests too deeply, or unfolds to too many values; aliases may multiply both."""
    counts: dict[int, int | None] = {}  # None: still inside of it

    def count(node: yaml.Node, depth: int) -> int:
        if isinstance(node, yaml.ScalarNode):
            return 1
        if depth > DEEPEST:
            raise _too_deep(path, _line(node))
        if id(node) not in counts:
            counts[id(node)] = None
            parts = (part for value in node.value for part in (value if isinstance(value, tuple) else (value,)))
            counts[id(node)] = 1 + sum(count(part, depth + 1) for part in parts)
        found = counts[id(node)]
        if found is None:
            raise EditFileError(
                path, [(_line(node), "contains itself by an alias; expected values; write them out instead")]
            )
        if found > MOST:
            text = f"unfolds to more than {MOST} values; expected at most so many; write out what the aliases stand for"
            raise EditFileError(path, [(_line(node), text)])
        return found

    if node is not None:
        count(node, 0)


def _too_deep(path: Path, line: int) -> EditFileError:
    return EditFileError(
        path, [(line, f"nests more than {DEEPEST} groups or lists; expected keys as in the README; check the brackets")]
    )


def _plain(node: yaml.Node, name: str, numbers: dict[str, int], problems: Problems, seen: dict[int, Any]) -> Any:
    """A node as plain data; its keys' lines go into ``numbers``. A node that aliases repeat is read once (``seen``):
    aliases may multiply."""
    if isinstance(node, yaml.ScalarNode):
        return _scalar(node)
    if id(node) in seen:
        return seen[id(node)]
    if isinstance(node, yaml.SequenceNode):
        entries = seen[id(node)] = []
        for index, entry in enumerate(node.value, 1):
            numbers[f"{name}[{index}]"] = _line(entry)
            entries.append(_plain(entry, f"{name}[{index}]", numbers, problems, seen))
        return entries
    group: dict[str, Any] = {}
    seen[id(node)], key, path = group, "", ""
    for key_node, value in node.value:
        number = _number_with_comma(node, key_node, value, group.get(key))
        if number is not None:
            problems.add(
                f"{path}: {number.replace('.', ',')} has a comma; expected a decimal point; write {number}", path
            )
            group[key] = float(number)
            continue
        key = str(_scalar(key_node))
        path = f"{name}.{key}" if name else key
        first, numbers[path] = numbers.get(path), _line(key_node)
        if key in group:
            problems.add(f"{path} is given twice (first in line {first}); expected once; remove one", path)
        group[key] = _plain(value, path, numbers, problems, seen)
    return group


def _number_with_comma(group: yaml.Node, key: yaml.Node, value: yaml.Node, before: Any) -> str | None:
    """The number that was meant where a decimal comma cut it in two: in braces, a key of digits without a value behind
    a whole number (``before``)."""
    if group.flow_style and type(before) is int and value.value == "" and str(key.value).isdecimal():
        return f"{before}.{key.value}"
    return None


def _line(node: yaml.Node) -> int:
    return node.start_mark.line + 1


def _scalar(node: yaml.Node) -> Any:
    if isinstance(node, yaml.ScalarNode):
        if node.tag == DATE or (node.tag in NUMBERS and (len(node.value) > DIGITS or ":" in node.value)):
            return node.value  # a folder may have a date as its name; 1:30 would be 90
        if node.tag in NUMBERS and re.fullmatch(r"[-+]?0[0-7_]+", node.value):
            return int(node.value)  # as written: what YAML 1.1 takes for octal, YAML 1.2 and people do not
    try:
        return yaml.SafeLoader("").construct_object(node, deep=True)
    except yaml.YAMLError:  # an unknown !tag, which a text may begin with
        return f"{node.tag} {node.value}".strip() if isinstance(node, yaml.ScalarNode) else str(node.tag)
    except ValueError:  # e.g. !!int abc
        return node.value


def checked(kind: type[T], data: dict[str, Any], problems: Problems) -> T:
    """A class of settings from a file's data. Mistakes are noted, and what they lie in is left out of ``data``; paths
    are relative to the file's folder."""
    for name, field in fields_of(kind).items():
        group = fields_of(limits(field).kind)
        if name in data and data[name] is None and group and not any(part.is_required() for part in group.values()):
            data[name] = {}  # a heading without keys
    adapter, gone = TypeAdapter(kind), set()
    while True:
        try:
            return adapter.validate_python(data, context={"base": problems.lines.path.parent})
        except ValidationError as error:
            items: Any = error.errors(include_url=False)
            for item, (where, text) in zip(items, mistakes(error, kind)):
                if not gone or _is_own(item, gone):
                    problems.add(text, name_of(where))
            for item in items:
                where = item["loc"][: -1 if item["type"] == "missing" else None]
                _leave_out(data, where)
                gone.add(where)


def _is_own(item: Any, gone: set[Place]) -> bool:
    """Whether a mistake that shows once others are left out (``gone``) was not brought about by that: it lies between
    fields that are all as the file has them."""
    keys = item["ctx"]["keys"] if item["type"] == "setting" else ()
    return bool(keys) and not any((*item["loc"], key) in gone for key in keys)


def _leave_out(data: Any, where: Place) -> None:
    """Take a place out of data; an entry of a list becomes an empty group, so that the others keep their numbers."""
    for step in where[:-1]:
        data = data[step] if isinstance(data, list) else data.get(step, {})
    if isinstance(data, list):
        data[where[-1]] = {}
    else:
        data.pop(where[-1], None)
