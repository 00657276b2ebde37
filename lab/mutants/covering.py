"""Which tests run which line of the product: one run of the tests, watched by coverage."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..paths import ROOT

TESTS = ("tests/attention", "tests/editing", "tests/runner/media")
LEFT_OUT = ("tests/attention/kernels/test_triton.py", "tests/editing/layout/test_embedded.py")  # minutes
_PLAIN = re.compile(r"[\w./: ,=+\-]*(\[[\w./ ,=+\-]*\])?")  # a test's name that the command line takes as it is
_TIME = re.compile(r"^(\d+\.\d+)s (?:call|setup|teardown) +(\S.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Covering:
    """lines: file -> line -> tests that run it; seconds: of every test."""

    lines: Mapping[str, Mapping[int, list[str]]]
    seconds: Mapping[str, float]

    def tests_of(self, file: str, line: int, longest: float) -> list[str]:
        """The tests that run this line; of a line that runs at import alone, those of what it is part of, else of its
        file. The quickest first, as many as ``longest`` seconds allow."""
        there = self.lines.get(file, {})
        found = set(there.get(line, ()))
        if not found:
            first, last = _around((ROOT / file).read_text(encoding="utf-8"), line)
            found = {test for number in range(first, last + 1) for test in there.get(number, ())}
        found = found or {test for tests in there.values() for test in tests}
        chosen, spent = [], 0.0
        for test in sorted(found, key=lambda test: (self.seconds.get(test, 0), test)):
            spent += self.seconds.get(test, 0)
            if chosen and spent > longest:
                break
            chosen.append(test if _PLAIN.fullmatch(test) else test.partition("[")[0])
        return list(dict.fromkeys(chosen))


def covering(folder: Path, processes: int) -> Covering:
    """Run the tests once, which must all pass; what was found is kept in ``folder``."""
    kept = folder / "covering.json"
    if not kept.is_file():
        settings = folder / "coverage.ini"
        settings.write_text("[run]\nsource_pkgs = videograin\nomit =\n    lab/*\n    tests/*\nrelative_files = true\n")
        data = folder / "coverage.db"
        command = [sys.executable, "-m", "pytest", "-n", str(processes), "--dist", "loadfile", "-vv", "--durations=0"]
        command += ["--durations-min=0", "--cov", f"--cov-config={settings}", "--cov-context=test", "--cov-report="]
        command += [*TESTS, *(f"--ignore={name}" for name in LEFT_OUT)]
        where = {**os.environ, "COVERAGE_FILE": str(data), "PYTHONPATH": str(ROOT.parent)}
        done = subprocess.run(command, cwd=ROOT, env=where, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"the tests do not pass without any change:\n{done.stdout[-3000:]}{done.stderr[-1000:]}")
        read_data(data, done.stdout, kept)
    found = json.loads(kept.read_text(encoding="utf-8"))
    lines = {file: {int(line): tests for line, tests in there.items()} for file, there in found["lines"].items()}
    return Covering(lines, found["seconds"])


def read_data(data: Path, output: str, kept: Path) -> None:
    """Write what coverage and pytest found to ``kept``."""
    from coverage import CoverageData

    seconds: dict[str, float] = {}
    for text, test in _TIME.findall(output):
        seconds[test] = seconds.get(test, 0) + float(text)
    found, lines = CoverageData(str(data)), {}
    found.read()
    for file in found.measured_files():
        contexts = found.contexts_by_lineno(file)
        lines[file] = {
            line: sorted({name.rsplit("|", 1)[0] for name in names if name}) for line, names in contexts.items()
        }
    kept.write_text(json.dumps({"lines": lines, "seconds": seconds}), encoding="utf-8")


def _around(source: str, line: int) -> tuple[int, int]:
    """First and last line of the innermost function or class that this line is part of, its decorators included."""
    found = (0, -1)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            first = min([node.lineno, *(one.lineno for one in node.decorator_list)])
            if first <= line <= node.end_lineno and (found == (0, -1) or first > found[0]):
                found = (first, node.end_lineno)
    return found
