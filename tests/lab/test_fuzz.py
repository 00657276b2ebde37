"""The files of `make fuzz`: valid ones are read, the others follow from their numbers, and what goes wrong is seen."""

import os
import signal
import time

import pytest

from videograin.lab import fuzz

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")


@pytest.mark.parametrize("kind", fuzz.SHARES)
def test_files_that_nobody_damaged_are_read(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(fuzz, "_damaged", lambda held, draw: held)
    monkeypatch.setattr(fuzz, "_hostile_text", lambda text, draw: bytearray(text.encode()))
    monkeypatch.setattr(fuzz, "_hostile_header", lambda held, draw: held)
    found = fuzz.fuzzed(kind, 13, 0)
    assert found.wrong == []
    assert found.read >= 8  # a mask read as a label has no label 1 in some


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
    assert fuzz.fuzzed(kind, 1000, int(time.time())).wrong == []
