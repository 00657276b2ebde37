"""`make mutants`: change the code in one small place, run the tests that run this place, and see whether one fails.

A seeded sample over attention/, editing/ and the readers of runner/media. The tests run in a process forked from this
one, which has the libraries loaded already, on a copy of the repository. What was found goes to OUT/mutants.jsonl; the
same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import logging
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..json_lines import add_line, resume
from ..paths import ROOT
from .covering import Covering, covering
from .page import write
from .sample import Mutant, drawn, files_of

log = logging.getLogger(__name__)
PATIENCE = 5  # times the limit that a mutant may take by the clock
MEMORY, FILE = 24 * 2**30, 2**30  # bytes that a changed program may ask for, of address space and of one file


@dataclass
class Running:
    """A process that tests a mutant in a copy of the repository."""

    mutant: Mutant
    tests: list[str]
    copy: Path
    begun: float
    limit: float  # seconds of processor time, so that a busy machine kills no mutant


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("out/mutants"))
    parser.add_argument("--longest", type=float, default=60, help="seconds of tests for one mutant, the quickest first")
    parser.add_argument("--page", action="store_true", help="write docs/benchmarks/mutants.md of these mutants")
    parser.add_argument("--again", action="store_true", help="survivors too, with the test files named as their module")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    file = args.out / "mutants.jsonl"
    known = {line["key"]: line for line in resume(file)}  # a later line of the same mutant counts
    found = covering(args.out, args.processes)
    sample = list(drawn(args.count, args.seed, files_of()))
    left = []
    for mutant in sample:
        before = known.get(mutant.key)
        if before is None or (args.again and before["outcome"] == "survived"):
            left.append(mutant)
    print(f"{len(known)} mutants known, {len(left)} to test", flush=True)
    for mutant, tests, outcome, seconds in tested(left, found, args.processes, args.longest, args.again):
        line: dict[str, Any] = {"key": mutant.key, "file": mutant.file, "line": mutant.line}
        line |= {"operator": mutant.operator, "before": mutant.before, "after": mutant.after, "outcome": outcome}
        known[mutant.key] = {**line, "tests": len(tests), "seconds": round(seconds, 1)}
        add_line(file, known[mutant.key])
        if outcome == "survived":
            print(f"survived {mutant.file}:{mutant.line} {mutant.before} -> {mutant.after}", flush=True)
    lines = [known[mutant.key] for mutant in sample]
    killed = sum(line["outcome"] != "survived" for line in lines)
    print(f"{killed} of {len(lines)} killed ({killed / max(len(lines), 1):.1%})")
    if args.page:
        words = f"--count {args.count} --seed {args.seed} --longest {args.longest:g}{' --again' * args.again}"
        print(write(f"python -m videograin.lab.mutants {words}", lines))


def tested(
    left: list[Mutant], found: Covering, processes: int, longest: float, named: bool
) -> Iterator[tuple[Mutant, list[str], str, float]]:
    """Yield (mutant, tests, ``killed``, ``timeout`` or ``survived``, seconds) as they end."""
    # What takes long to load, loaded once: the forked processes have it.
    import av
    import cv2
    import diffusers
    import hypothesis
    import pytest
    import scipy.ndimage
    import sklearn.cluster
    import torch
    import transformers

    log.info("%s", [part.__name__ for part in (av, cv2, diffusers, hypothesis, pytest, scipy, sklearn, transformers)])
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        free = [_copy(Path(folder) / str(number)) for number in range(processes)]
        chosen = {one.key: _tests(one, found, longest, named) for one in left}
        every = sorted({test for tests in chosen.values() for test in tests})
        _check_names(every, free[0])  # a name that is none would count as a test that fails
        waiting, running = left[::-1], {}
        while waiting or running:
            while waiting and free:
                mutant = waiting.pop()
                tests = chosen[mutant.key]
                if not tests:
                    yield mutant, tests, "survived", 0.0
                    continue
                copy, usual = free.pop(), sum(found.seconds.get(test, 0) for test in tests)
                limit = 90 + 8 * usual
                running[_start(mutant, tests, copy, limit)] = Running(mutant, tests, copy, time.monotonic(), limit)
            child, status = os.waitpid(-1, os.WNOHANG) if running else (0, 0)
            for late, one in list(running.items()):
                if time.monotonic() - one.begun > PATIENCE * one.limit and late != child:
                    os.killpg(late, signal.SIGKILL)
            if child in running:
                one = running.pop(child)
                (one.copy / one.mutant.file).write_bytes((ROOT / one.mutant.file).read_bytes())
                free.append(one.copy)
                seconds = time.monotonic() - one.begun
                spent = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU
                slow = spent or seconds > PATIENCE * one.limit
                outcome = "survived" if status == 0 else "timeout" if slow else "killed"
                yield one.mutant, one.tests, outcome, seconds
            elif not child:
                time.sleep(0.05)


def _tests(mutant: Mutant, found: Covering, longest: float, named: bool) -> list[str]:
    """named: the test files that are named as the module come first."""
    place = ROOT / "tests" / Path(mutant.file).parent
    files = sorted(place.glob(f"test_{Path(mutant.file).stem}*.py")) if named else []
    more = [file.relative_to(ROOT).as_posix() for file in files]
    return list(dict.fromkeys([*more, *found.tests_of(mutant.file, mutant.line, longest)]))


def _copy(place: Path) -> Path:
    """The repository without what git ignores, under its package's name."""
    listed = ["git", "-C", str(ROOT), "ls-files", "-co", "--exclude-standard"]
    for name in subprocess.check_output(listed, text=True).splitlines():
        if (ROOT / name).is_file():
            target = place / "videograin" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, target)
    return place / "videograin"


def _check_names(tests: list[str], copy: Path) -> None:
    where = {**os.environ, "PYTHONPATH": str(copy.parent)}
    command = [sys.executable, "-m", "pytest", "--collect-only", "-p", "no:cacheprovider", *tests]
    done = subprocess.run(command, cwd=copy, env=where, capture_output=True, text=True)
    if tests and done.returncode:
        raise RuntimeError(f"the tests cannot be found:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


def _start(mutant: Mutant, tests: list[str], copy: Path, limit: float) -> int:
    """Run the tests on the changed copy, in a forked process; its number. It ends with 0 where all pass."""
    (copy / mutant.file).write_text(mutant.code, encoding="utf-8")
    child = os.fork()
    if child:
        return child
    status = 99
    try:
        os.setsid()
        nothing = os.open(os.devnull, os.O_RDWR)
        for number in range(3):
            os.dup2(nothing, number)
        os.chdir(copy)
        for name in [name for name in sys.modules if name.split(".")[0] == "videograin"]:
            del sys.modules[name]
        sys.path.insert(0, str(copy.parent))
        sys.dont_write_bytecode = True  # which would be found by the file's time and size alone
        os.environ |= {"PYTHONPATH": str(copy.parent), "PYTHONDONTWRITEBYTECODE": "1"}
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_FSIZE, (FILE, FILE))
        resource.setrlimit(resource.RLIMIT_CPU, (int(limit) + 1, resource.RLIM_INFINITY))
        import pytest

        status = int(pytest.main(["-x", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:cov", *tests]))
    finally:
        os._exit(status)


if __name__ == "__main__":
    main()
