"""The files of `make fuzz`: valid ones are read, the others follow from their numbers, and what goes wrong is seen."""

import os
import signal
import subprocess
import sys
import time

import pytest

from videograin.lab import fuzz

from ..conftest import SAME

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")


@pytest.mark.parametrize("kind", fuzz.SHARES)
def test_files_that_nobody_damaged_are_read(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(fuzz, "_damaged", lambda held, draw: held)
    monkeypatch.setattr(fuzz, "_hostile_text", lambda text, draw: bytearray(text.encode()))
    monkeypatch.setattr(fuzz, "_hostile_header", lambda held, draw: held)
    fuzz.companions(kind, tmp_path)
    outcomes = [fuzz.outcome(kind, number, 0, tmp_path) for number in range(13)]
    assert set(outcomes) <= {"read", "refused"}
    assert outcomes.count("read") >= 8  # a mask read as a label has no label 1 in some


@pytest.mark.parametrize("kind", fuzz.SHARES)
def test_a_file_follows_from_its_number(tmp_path, kind):
    first = [fuzz.file_of(kind, number, 0, tmp_path).read_bytes() for number in range(12)]
    assert [fuzz.file_of(kind, number, 0, tmp_path).read_bytes() for number in range(12)] == first
    assert [fuzz.file_of(kind, number, 1, tmp_path).read_bytes() for number in range(12)] != first


def test_what_goes_wrong_is_counted_by_its_number(monkeypatch):
    def reader(path, number):
        if number == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        if number == 4:
            raise KeyError("a")
        if number == 5:
            time.sleep(60)
        if number == 6:
            raise fuzz.MaskError("something else, expected nothing")

    monkeypatch.setattr(fuzz, "_readers", lambda: {"inversions": reader})
    monkeypatch.setattr(fuzz, "LONGEST", 1)
    found = fuzz.fuzzed("inversions", 8, 0)
    assert [number for number, _ in found.wrong] == [2, 4, 5, 6]
    assert [what for _, what in found.wrong[:3]] == ["the process ended by signal 9", "KeyError: 'a'", "too slow"]
    assert (found.read, found.refused) == (4, 0)


@pytest.mark.slow
@pytest.mark.parametrize("kind", fuzz.SHARES)
def test_damaged_and_hostile_files_are_read_or_refused(kind):
    same = os.environ.get("HYPOTHESIS_PROFILE", SAME) == SAME
    seed = "0" if same else str(int(time.time()))
    # In a process of its own: it forks, and where other tests' libraries left threads in this process, forked ones hang
    # or crash.
    command = [sys.executable, "-m", "videograin.lab.fuzz", "--count", "1000", "--seed", seed]
    ran = subprocess.run([*command, "--kind", kind], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
