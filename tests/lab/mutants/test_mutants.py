"""What counts as a mutant, which tests are run for it, and that one is found out or survives."""

import os
import subprocess
import sys

import pytest

from videograin.lab.mutants.covering import Covering, _around
from videograin.lab.mutants.sample import LEFT_OUT, _meaning, _places, drawn, files_of
from videograin.lab.paths import ROOT

SCHEDULE = "attention/schedule.py"


def test_a_sample_is_the_same_every_time_and_begins_a_larger_one():
    pytest.importorskip("cosmic_ray")
    files = [SCHEDULE, "editing/mask_shapes.py"]
    ten = list(drawn(10, 3, files))
    assert [one.key for one in drawn(4, 3, files)] == [one.key for one in ten[:4]]
    assert len({one.key for one in ten}) == 10
    assert [one.key for one in drawn(10, 4, files)] != [one.key for one in ten]
    for one in ten:
        source = (ROOT / one.file).read_text(encoding="utf-8")
        assert one.code != source
        assert source.splitlines()[one.line - 1] != one.code.splitlines()[one.line - 1]


def test_lines_that_change_leave_the_other_places_of_a_sample_as_they_are():
    pytest.importorskip("cosmic_ray")
    before = set(_places("a = b + 1\nif a:\n    c = a > 2\n    c = a > 2\n"))
    after = set(_places("import x\n\nif x and a:\n    while x:\n        c = a > 2\n        c = a > 2\na = b - 1\n"))
    assert {place[0] for place in before & after} == {"c = a > 2"}
    assert {place for place in before if place[0] == "c = a > 2"} <= after


def test_annotations_alone_are_no_change():
    assert _meaning("def f(a: int | None) -> int: return a") == _meaning("def f(a: int + None) -> str: return a")
    assert _meaning("class A:\n    b: int | None = 1") == _meaning("class A:\n    b: int - None = 1")
    assert _meaning("def f(a=1): return a") != _meaning("def f(a=2): return a")


def test_the_files_are_those_of_the_named_rooms_but_for_what_a_gpu_runs():
    files = files_of()
    assert {"attention/modulation.py", "editing/pipeline.py", "runner/media/mask_pictures.py"} <= set(files)
    assert not set(LEFT_OUT) & set(files)
    assert all((ROOT / name).is_file() for name in (*files, *LEFT_OUT))


def test_the_quickest_tests_of_a_line_come_first_and_have_an_end():
    lines = {SCHEDULE: {10: ["t.py::slow", "t.py::quick", "t.py::odd[a\\b]"]}}
    seconds = {"t.py::slow": 60.0, "t.py::quick": 1.0, "t.py::odd[a\\b]": 2.0}
    assert Covering(lines, seconds).tests_of(SCHEDULE, 10, 60) == ["t.py::quick", "t.py::odd"]
    assert Covering(lines, {}).tests_of("attention/layer.py", 10, 60) == []


def test_a_line_that_runs_at_import_has_the_tests_of_what_it_is_part_of():
    source = "A = 1\n\n@decorated\ndef f(\n    a=1,\n):\n    return a\n\ndef g(): pass\n"
    assert _around(source, 5) == (3, 7)
    assert _around(source, 3) == (3, 7)
    assert _around(source, 1) == (0, -1)


IN_A_PROCESS_OF_ITS_OWN = """
from dataclasses import replace

from videograin.lab.mutants import __main__ as mutants
from videograin.lab.mutants.covering import Covering
from videograin.lab.mutants.sample import Mutant
from videograin.lab.paths import ROOT

file, test = "attention/schedule.py", "tests/attention/test_schedule.py"
source = (ROOT / file).read_text(encoding="utf-8")
wrong = Mutant(file, 1, "by hand", "", "", source + "\\nraise RuntimeError\\n")
found = Covering({file: {1: [test]}}, {test: 1.0})
outcomes = mutants.tested([wrong, replace(wrong, code=source)], found, 1, 60, False)
print("outcomes:", *(outcome for _, _, outcome, _ in outcomes))
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_change_that_a_test_notices_is_killed_and_another_survives():
    before = (ROOT / SCHEDULE).read_text(encoding="utf-8")
    # Forked from this process, whose modules are loaded, a change would not be seen.
    ended = subprocess.run([sys.executable, "-c", IN_A_PROCESS_OF_ITS_OWN], capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines()[-1] == "outcomes: killed survived"
    assert (ROOT / SCHEDULE).read_text(encoding="utf-8") == before
