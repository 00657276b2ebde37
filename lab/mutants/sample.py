"""Mutants: small changes of the code, found by cosmic-ray and drawn by a seed.

A place of the code is drawn first, then one of the changes that its operators know there: drawn among all changes,
every second one would be an arithmetic operator. Changes of annotations alone are none.
"""

from __future__ import annotations

import ast
import random
from collections import defaultdict
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
    draw, seen = random.Random(seed), set()
    found = {file: _places((ROOT / file).read_text(encoding="utf-8")) for file in files}
    places = [(file, place) for file, there in found.items() for place in sorted(there)]
    draw.shuffle(places)
    for file, place in places:
        if len(seen) == count:
            return
        operator, occurrence = draw.choice(found[file][place])
        mutant = _mutant(file, operator, occurrence)
        if mutant is not None and mutant.key not in seen:
            seen.add(mutant.key)
            yield mutant


def _places(source: str) -> Mapping[tuple, list[tuple[str, int]]]:
    """(start, end) of all places -> the operators' names there, each with the number of the change among its own."""
    from cosmic_ray.ast import ast_nodes, get_ast
    from cosmic_ray.plugins import get_operator, operator_names

    nodes, found = list(ast_nodes(get_ast(source))), defaultdict(list)
    for name in operator_names():
        operator = get_operator(name)
        if not operator.arguments():
            spans = (span for node in nodes for span in operator().mutation_positions(node))
            for number, span in enumerate(spans):
                found[span].append((name, number))
    return found


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
