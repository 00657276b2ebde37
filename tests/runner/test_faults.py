"""Whatever ends an edit, the results folder holds one whole result: the last good one or the new one.

Every fault comes in a process of its own, forked from this one, which has loaded everything already.
"""

import os
import signal
import sys
from pathlib import Path

import cv2
import pytest
import torch

from videograin.editing.whole_file import RESULTS
from videograin.runner import cli
from videograin.runner.progress import ConsoleProgress

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")]
LIMITS = [0, 1, 100, *(int(400 * 1.45**n) for n in range(17))]  # bytes of a file, up to 150 kB
STAGES = ["read video", "read masks", "load model", "invert", "save inversion", "edit", "decode", "write"]


def forked(argv: list[str], log: Path, before) -> int:
    """The exit status of the command in a process of its own, negative where a signal ended it; its text in ``log``."""
    reader, writer = os.pipe()  # which no limit of files counts for
    child = os.fork()
    if child == 0:
        status = 99
        try:
            os.close(reader)
            os.dup2(writer, 1)
            os.dup2(writer, 2)
            os.close(writer)
            sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
            before()
            status = cli.main(argv)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        log.write_text(pipe.read())
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def edited(edit_file, tmp_path):
    """An edit file, and its last good results."""
    path = edit_file(inversion={"check": False, "save": "men.safetensors"}, steps=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        assert cli.main(["edit", str(path), "--quiet"]) == 0
    (tmp_path / "men.safetensors").unlink()
    edit_file(inversion={"check": False, "save": "men.safetensors"}, steps=1, seed=7, variation=0.5)
    return path, tmp_path / "out", content(tmp_path / "out")


def check_invariants(path: Path, out: Path, before: dict[str, bytes], status: int, log: Path) -> None:
    text = log.read_text()
    assert "Traceback" not in text
    after = content(out)
    if status == 0:
        assert set(after) == set(RESULTS.values())
        assert after["edit.mp4"] != before["edit.mp4"]
    elif status > 0:
        assert after == before
        assert len([line for line in text.splitlines() if line.startswith("videograin: ")]) == 1
        assert not list(path.parent.glob(".*.part*"))
    else:
        assert {name: data for name, data in after.items() if not name.startswith(".")} == before
    saved = path.parent / "men.safetensors"
    if saved.exists():
        from videograin.editing import trajectory_file

        assert trajectory_file.load(saved).steps == 1


@pytest.mark.parametrize("size", LIMITS)
def test_a_disk_that_is_full_at_any_byte(edited, tmp_path, size):
    import resource

    path, out, before = edited
    log = tmp_path / "log.txt"
    status = forked(
        ["edit", str(path), "--quiet"], log, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    )
    assert status in ((1,) if size == LIMITS[0] else (0,) if size == LIMITS[-1] else (0, 1))
    check_invariants(path, out, before, status, log)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("where", ["begin", "end"])
@pytest.mark.parametrize("stage", STAGES)
def test_a_signal_in_any_stage(edited, tmp_path, number, where, stage):
    path, out, before = edited
    real, log = ConsoleProgress.stage, tmp_path / "log.txt"

    def send_in_stage() -> None:
        from contextlib import contextmanager

        @contextmanager
        def stage_with_signal(self, name, total=None):
            if name.startswith(stage) and where == "begin":
                os.kill(os.getpid(), number)
            with real(self, name, total) as tick:
                yield tick
            if name.startswith(stage) and where == "end":
                os.kill(os.getpid(), number)

        signal.signal(signal.SIGINT, signal.default_int_handler)
        ConsoleProgress.stage = stage_with_signal

    status = forked(["edit", str(path), "--quiet"], log, send_in_stage)
    assert status == {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}[number]
    check_invariants(path, out, before, status, log)
    if status < 0:  # the next run removes what was left, and finishes
        assert forked(["edit", str(path), "--quiet"], log, lambda: None) == 0
        assert set(os.listdir(out)) == set(RESULTS.values())
        assert not list(path.parent.glob(".*.part*"))


LACKS = [
    MemoryError(),
    torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"),
    cv2.error("OpenCV(5.0.0) alloc.cpp:73: error: (-4:Insufficient memory) Failed to allocate 6220800 bytes"),
]


@pytest.mark.parametrize(("lack", "stage"), list(zip(LACKS, STAGES[::2])), ids=[type(lack).__name__ for lack in LACKS])
def test_the_lack_of_memory_by_any_name(edited, tmp_path, stage, lack):
    path, out, before = edited
    real, log = ConsoleProgress.stage, tmp_path / "log.txt"

    def raise_in_stage() -> None:
        from contextlib import contextmanager

        @contextmanager
        def stage_that_lacks(self, name, total=None):
            with real(self, name, total) as tick:
                yield tick
            if name.startswith(stage):
                raise lack

        ConsoleProgress.stage = stage_that_lacks

    status = forked(["edit", str(path), "--quiet"], log, raise_in_stage)
    assert status == 2
    assert "videograin: not enough memory" in log.read_text()
    check_invariants(path, out, before, status, log)


@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="nothing is read-only for root")
def test_a_folder_that_cannot_be_written(edited, tmp_path):
    path, out, before = edited
    out.chmod(0o500)
    try:
        status = forked(["edit", str(path), "--quiet"], tmp_path / "log.txt", lambda: None)
    finally:
        out.chmod(0o700)
    assert status == 1
    check_invariants(path, out, before, status, tmp_path / "log.txt")


def exhausted(left: int) -> list[bytearray]:
    """Take all the memory that this process may have but for ``left`` bytes, and let it have no more. It is taken until
    what is returned is gone."""
    import resource

    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held, held))
    taken = []
    for size in (2**20, 2**16, 2**12):
        try:
            while True:
                taken.append(bytearray(size))
        except MemoryError:
            pass
    while left > 0 and taken:
        left -= len(taken.pop(0))
    return taken


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="asks Linux how much memory it holds")
@pytest.mark.parametrize("left", [0, 2**20, 2**22])
@pytest.mark.parametrize("stage", STAGES)
def test_memory_that_ends_in_any_stage(edited, tmp_path, stage, left):
    path, out, before = edited
    real, log = ConsoleProgress.stage, tmp_path / "log.txt"

    def end_in_stage() -> None:
        from contextlib import contextmanager

        @contextmanager
        def stage_without_memory(self, name, total=None):
            taken = exhausted(left) if name.startswith(stage) else None
            with real(self, name, total) as tick:
                yield tick
            del taken

        ConsoleProgress.stage = stage_without_memory

    status = forked(["edit", str(path), "--quiet"], log, end_in_stage)
    assert status in (0, 2), log.read_text()
    if status:
        assert "videograin: not enough memory" in log.read_text()
    check_invariants(path, out, before, status, log)
