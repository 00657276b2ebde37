"""Mutants: small changes of the code, found by cosmic-ray and drawn by a seed.

A place of the code is drawn first, then one of the changes that its operators know there: drawn among all changes,
every second one would be an arithmetic operator. Changes of annotations alone are none. Places are drawn by a hash of
the line that they are in, so that a sample stays what it is where other lines change.
"""

from __future__ import annotations

import ast
import hashlib
import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ..paths import ROOT

ROOMS = ("attention", "editing", "runner/media")
# What a GPU runs, and old import paths; and lines that signal processes, where a change may hit somebody else's.
LEFT_OUT = ("attention/kernels/triton_attention.py", "attention/kernels/triton_range.py", "attention/old_names.py")
DANGEROUS = ("os.kill", "kernel32")


@dataclass(frozen=True)
class Mutant:
    """One change. file: relative to the repository; line: its first, from 1; before, after: the lines that differ,
    joined; code: of the whole file, with the change."""

    file: str
    line: int
    operator: str
    before: str
    after: str
    code: str

    @property
    def key(self) -> str:
        """The same as long as the changed lines are."""
        return f"{self.file}: {self.before} -> {self.after}"


def files_of(rooms: tuple[str, ...] = ROOMS) -> list[str]:
    """The product's files that are changed, sorted."""
    found = (path.relative_to(ROOT).as_posix() for room in rooms for path in (ROOT / room).rglob("*.py"))
    return sorted(name for name in found if name not in LEFT_OUT)


def drawn(count: int, seed: int, files: list[str]) -> Iterator[Mutant]:
    """``count`` different mutants of these files, in the order in which they were drawn; a larger count begins with the
    same ones."""
    places = {}
    for file in files:
        for place, changes in _places((ROOT / file).read_text(encoding="utf-8")).items():
            places[hashlib.sha256(repr((seed, file, place)).encode()).hexdigest()] = (file, changes)
    seen = set()
    for order, (file, changes) in sorted(places.items()):
        if len(seen) == count:
            return
        operator, occurrence = random.Random(order).choice(changes)
        mutant = _mutant(file, operator, occurrence)
        if mutant is not None and mutant.key not in seen:
            seen.add(mutant.key)
            yield mutant


def _places(source: str) -> Mapping[tuple, list[tuple[str, int]]]:
    """(line, from, to, number of it) of all places -> the operators' names there, each with the number of the change
    among its own. line: as it stands, without indentation; from, to: (row, column) from its begin on."""
    from cosmic_ray.ast import ast_nodes, get_ast
    from cosmic_ray.plugins import get_operator, operator_names

    nodes, spans = list(ast_nodes(get_ast(source))), defaultdict(list)
    for name in operator_names():
        operator = get_operator(name)
        if not operator.arguments():
            found = (span for node in nodes for span in operator().mutation_positions(node))
            for number, span in enumerate(found):
                spans[span].append((name, number))
    lines, places, same = source.splitlines(), {}, Counter()
    for (first, last), changes in sorted(spans.items()):
        line = lines[first[0] - 1]
        indent = len(line) - len(line.lstrip())
        place = (line.strip(), first[1] - indent, (last[0] - first[0], last[1] - indent))
        same[place] += 1
        places[(*place, same[place])] = changes
    return places


def _mutant(file: str, operator: str, occurrence: int) -> Mutant | None:
    """None where the change is none, or is no Python."""
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator

    source = (ROOT / file).read_text(encoding="utf-8")
    try:
        code = mutate_code(source, get_operator(operator)(), occurrence)
        if code is None or _meaning(code) == _meaning(source):
            return None
    except (SyntaxError, AttributeError):  # the latter is its own: it knows no exceptions with a dot in the name
        return None
    old, new = source.splitlines(), code.splitlines()
    first = next(index for index, (a, b) in enumerate(zip([*old, None], [*new, None])) if a != b)
    last = next(index for index, (a, b) in enumerate(zip([*old[::-1], None], [*new[::-1], None])) if a != b)
    before = " ".join(line.strip() for line in old[first : max(len(old) - last, first + 1)])
    after = " ".join(line.strip() for line in new[first : max(len(new) - last, first + 1)])
    if any(word in before for word in DANGEROUS):
        return None
    return Mutant(file, first + 1, operator.removeprefix("core/"), before, after, code)


def _meaning(source: str) -> str:
    """The code without its annotations, which nothing evaluates (fields of classes keep theirs)."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.arg):
            node.annotation = None
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            node.returns = None
        elif isinstance(node, ast.AnnAssign) and not isinstance(node.annotation, ast.Constant):
            node.annotation = ast.Constant(None)
    return ast.dump(tree)
