"""YAML read key by key, with the line of every key, so that each mistake can be pointed at. Collects all problems."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError

from ..editing.fields import SettingError, fields_of, mistakes, show

T = TypeVar("T")
Rule = Callable[[Any], Any]

EXAMPLES = {
    "frames": "{start: 0, count: 16}",
    "masks": "{folder: masks/left}",
    "inversion": "{method: warm}",
    "attention": "{mode: full}",
    "windows": "{frames: 16}",
    "blend": "{enabled: true}",
    "composite": "{enabled: true}",
    "controlnet": "{model: FOLDER, video: FILE}",
    "layout": "{level: half}",
    "attention_maps": "{level: half}",
    "pixel": "{frame: 0, x: 120, y: 80}",
}
"""What a group of keys looks like, by the key that it stands under."""


class EditFileError(ValueError):
    """An edit file has mistakes. ``problems``: (line, text) pairs; the error's text lists all of them, one a line, as
    ``edit.yaml:LINE: what is wrong; what was expected; remedy``."""

    def __init__(self, path: Path, problems: list[tuple[int, str]]) -> None:
        self.path, self.problems = path, sorted(problems)
        super().__init__("\n".join(f"{path.name}:{line}: {text}" for line, text in self.problems))


@dataclass(frozen=True)
class Lines:
    """Where the keys of a YAML file stand, so that whoever finds a mistake later can point at it.

    path: the file; numbers: the line, counted from 1, of every key by its full name (``prompt``, ``inversion.load``,
    ``regions[2].masks.folder``).
    """

    path: Path
    numbers: Mapping[str, int]

    @classmethod
    def of(cls, path: Path, node: yaml.Node) -> Lines:
        """The lines of a file's keys, inner ones too. A node that aliases repeat is entered once: aliases may multiply
        without bound, and may form a circle."""
        numbers: dict[str, int] = {}
        entered: set[int] = set()
        waiting = [("", node)]
        while waiting:
            name, here = waiting.pop(0)
            inner = here.value if id(here) not in entered and isinstance(here, yaml.CollectionNode) else ()
            entered.add(id(here))
            for index, entry in enumerate(inner, 1):
                if isinstance(here, yaml.SequenceNode):
                    waiting.append((f"{name}[{index}]", entry))
                    continue
                key = f"{name}.{value_of(entry[0])}" if name else str(value_of(entry[0]))
                numbers[key] = line_of(entry[0])
                waiting.append((key, entry[1]))
        return cls(path, numbers)

    def __contains__(self, key: str) -> bool:
        return key in self.numbers

    def line_of(self, *keys: str) -> int:
        """The line of the first of ``keys`` that the file has, else 1."""
        return next((self.numbers[key] for key in keys if key in self.numbers), 1)

    def error(self, *problems: tuple[str, str]) -> EditFileError:
        """The error with a text for each (key, text), at the line of the key."""
        return EditFileError(self.path, [(self.line_of(key), text) for key, text in problems])

    @contextmanager
    def at_line(self, key: str, *others: str, errors: tuple[type[Exception], ...] = (ValueError,)) -> Iterator[None]:
        """Turn ``errors`` of the block into an EditFileError ``edit.yaml:LINE: key: text``.

        The line is that of ``key``, or of the first of ``others`` where the file leaves ``key`` out.
        """
        try:
            yield
        except EditFileError:
            raise
        except errors as error:
            text = " ".join(str(error).split())
            raise EditFileError(self.path, [(self.line_of(key, *others), f"{key}: {text}")]) from error


def number(low: float, high: float = math.inf, *, whole: bool = False, example: float | None = None) -> Rule:
    """Rule: a finite number with low <= value <= high (a whole one if ``whole``); bool is not a number here."""
    kind = "a whole number" if whole else "a number"
    span = f"{kind} of {low:g} or more" if high == math.inf else f"{kind} from {low:g} to {high:g}"

    def rule(value: Any) -> float | int:
        good = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        if good and whole:
            good = value == int(value)
        if not good or not low <= value <= high:
            hint = low if example is None else example
            raise SettingError(f"{show(value)} is not allowed; expected {span}; write e.g. {hint:g}")
        return int(value) if whole else float(value)

    return rule


def choice(*names: str) -> Rule:
    """Rule: one of ``names``."""

    def rule(value: Any) -> str:
        if not isinstance(value, str) or value not in names:
            raise SettingError(f"{show(value)} is not allowed; expected one of {', '.join(names)}; choose one of them")
        return value

    return rule


def flag(value: Any) -> bool:
    """Rule: true or false."""
    if not isinstance(value, bool):
        raise SettingError(f"{show(value)} is not allowed; expected true or false; write true or false without quotes")
    return value


def text(value: Any) -> str:
    """Rule: text that is not empty."""
    if not isinstance(value, str) or not value.strip():
        raise SettingError(f"{show(value)} is not allowed; expected text; put it in quotes")
    return value


def maybe(rule: Rule) -> Rule:
    """Rule: None (= left out) or what ``rule`` allows."""
    return lambda value: None if value is None else rule(value)


class Problems:
    """The mistakes found so far in one file."""

    def __init__(self, path: Path) -> None:
        self.path, self.found = path, []

    def add(self, line: int, text: object) -> None:
        """Note a mistake; ``text`` says what is wrong; what was expected; the remedy."""
        self.found.append((line, " ".join(str(text).split())))

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """Note the mistakes of the block in place of raising them."""
        try:
            yield
        except EditFileError as error:
            self.found += error.problems

    def stop(self) -> None:
        """Raise EditFileError if anything was noted."""
        if self.found:
            raise EditFileError(self.path, self.found)


def kind_of(node: yaml.Node) -> str:
    """What a node is, in a user's words."""
    if isinstance(node, yaml.MappingNode):
        return "a group of keys"
    if isinstance(node, yaml.SequenceNode):
        return "a list"
    return show(value_of(node))


def line_of(node: yaml.Node) -> int:
    """Line of a node, counted from 1."""
    return node.start_mark.line + 1


def value_of(node: yaml.Node) -> Any:
    """A node as plain Python data (text, number, bool, None, list, dict)."""
    try:
        return yaml.SafeLoader("").construct_object(node, deep=True)
    except (yaml.YAMLError, ValueError):  # e.g. 2024-99-99, which looks like a date, or an unknown !tag
        return node.value if isinstance(node, yaml.ScalarNode) else str(node.tag)


class Section:
    """A group of keys. Keys are taken one by one; ``finish`` complains about those that nobody took."""

    def __init__(self, node: yaml.MappingNode, name: str, problems: Problems) -> None:
        self.name, self.problems, self.line, self.node = name, problems, line_of(node), node
        self.nodes: dict[str, yaml.Node] = {}
        self.lines: dict[str, int] = {}
        self.known: list[str] = []
        for key_node, node_of_key in node.value:
            key = str(value_of(key_node))
            if key in self.nodes:
                problems.add(
                    line_of(key_node),
                    f"{self.path(key)} is given twice (first in line {self.lines[key]}); expected once; remove one",
                )
            self.nodes[key], self.lines[key] = node_of_key, line_of(key_node)

    def path(self, key: str) -> str:
        """Full name of a key, such as ``attention.mode``."""
        return f"{self.name}.{key}" if self.name else key

    def line_at(self, *keys: str) -> int:
        """Line of the first of ``keys`` that is there, else of the section."""
        return next((self.lines[key] for key in keys if key in self.lines), self.line)

    def has(self, key: str) -> bool:
        """Whether the key is there (with any value)."""
        return key in self.nodes

    def take(self, key: str, rule: Rule, default: Any = None, *, needed: str = "") -> Any:
        """The value of ``key`` if ``rule`` accepts it, else (after noting the problem) the default. ``needed``: what is
        expected, where leaving the key out is a mistake."""
        self.known.append(key)
        if key not in self.nodes:
            if needed:
                self.problems.add(self.line, f"{self.path(key)} is missing; expected {needed}; add it")
            return default
        node = self.nodes[key]
        try:
            if isinstance(node, yaml.MappingNode):
                raise SettingError("a group of keys is not allowed here; expected a value; see the README's example")
            return rule(value_of(node))
        except SettingError as error:
            self.problems.add(self.lines[key], f"{self.path(key)}: {error}")
            return default

    def section(self, key: str) -> Section:
        """The group of keys under ``key``; an empty one where it is left out."""
        self.known.append(key)
        node = self.nodes.get(key)
        empty = yaml.MappingNode("tag:yaml.org,2002:map", [], _mark(self.line_at(key)))
        if node is None or _is_empty(node):
            return Section(empty, self.path(key), self.problems)
        if not isinstance(node, yaml.MappingNode):
            self.problems.add(
                self.lines[key],
                f"{self.path(key)} is {kind_of(node)}; expected a group of keys such as "
                f"{key}: {EXAMPLES[key]}; write it so, or indent its keys below it",
            )
            return Section(empty, self.path(key), self.problems)
        return Section(node, self.path(key), self.problems)

    def items(self, key: str, what: str) -> list[yaml.Node]:
        """The entries of the list under ``key``; ``what`` describes one for the message."""
        self.known.append(key)
        node = self.nodes.get(key)
        if node is None:
            return []
        if not isinstance(node, yaml.SequenceNode):
            self.problems.add(
                self.lines[key], f"{self.path(key)} is {kind_of(node)}; expected a list of {what}; begin each with '- '"
            )
            return []
        return list(node.value)

    def settings(self, kind: type[T], **ready: Any) -> T:
        """A settings dataclass (settings.py) from the keys of its fields' names. ready: fields that were read already,
        because they are groups of keys themselves."""
        values = dict(ready)
        for name in fields_of(kind):
            self.known.append(name)
            if name in self.nodes and name not in ready:
                values[name] = value_of(self.nodes[name])
        try:
            return TypeAdapter(kind).validate_python(values)
        except ValidationError as error:
            for where, text in mistakes(error, kind, self.name):
                self.problems.add(self.line_at(str(where[0])) if where else self.line, text)
            return kind()

    def finish(self) -> None:
        """Note every key that was not asked for, with the nearest known name."""
        for key in self.nodes:
            if key in self.known:
                continue
            near = difflib.get_close_matches(key, self.known, n=1, cutoff=0.55)
            remedy = f"did you mean {near[0]}?" if near else "remove it"
            self.problems.add(
                self.lines[key], f"unknown key {self.path(key)}; expected one of {', '.join(self.known)}; {remedy}"
            )


def read_yaml(path: Path, problems: Problems) -> Section:
    """The top level of a YAML file; raises EditFileError where it is no YAML or no group of keys."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise EditFileError(
            path, [(1, f"cannot be read ({error.strerror or error}); expected an edit file; correct the path")]
        ) from None
    except UnicodeDecodeError:
        raise EditFileError(path, [(1, "is not UTF-8 text; expected an edit file in YAML; save it as UTF-8")]) from None
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        what = getattr(error, "problem", None) or str(error)
        line = mark.line + 1 if mark else 1
        raise EditFileError(
            path, [(line, f"not valid YAML ({what}); expected `key: value` lines; check the indentation")]
        ) from None
    if not isinstance(node, yaml.MappingNode):
        raise EditFileError(path, [(1, "holds no keys; expected lines such as `video: clip.mp4`; see the README")])
    return Section(node, "", problems)


def _is_empty(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and value_of(node) is None


def _mark(line: int) -> yaml.Mark:
    return yaml.Mark("", 0, line - 1, 0, None, 0)
