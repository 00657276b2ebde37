"""Results that belong together: all of them are new, or all are as they were, whatever happens on the way."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from videograin.editing import result_set
from videograin.editing.result_set import clear_leftovers, whole_set
from videograin.editing.whole_file import WriteError, save_tensors, whole_file

RENAMES = 8  # that a set of the old and new files below takes, and more


def write(folder: Path, text: str, gone=tuple) -> None:
    with whole_set(folder, "report.json", gone) as new:
        for name in ("edit.mp4", "report.json"):
            (new / name).write_text(text)
        (new / "masks/one").mkdir(parents=True)
        (new / "masks/one/0.png").write_text(text)


def content(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def full(text: str) -> dict[str, str]:
    return dict.fromkeys(("edit.mp4", "report.json", "masks/one/0.png"), text)


def masks() -> list[Path]:
    return [Path("masks/one")]


def test_new_results_take_the_place_of_old_ones_and_other_files_stay(tmp_path):
    write(tmp_path, "old")
    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / "masks/mine.txt").write_text("mine")
    write(tmp_path, "new", masks)
    assert content(tmp_path) == full("new") | {"mine.txt": "mine", "masks/mine.txt": "mine"}


def test_what_is_gone_goes_with_the_old_results(tmp_path):
    write(tmp_path, "old")
    with whole_set(tmp_path, "report.json", masks) as new:
        (new / "report.json").write_text("new")
    assert content(tmp_path) == {"edit.mp4": "old", "report.json": "new"}


def test_a_folder_of_somebody_else_is_not_replaced(tmp_path):
    write(tmp_path, "old")
    with pytest.raises(WriteError, match=r"masks.one cannot be written"):
        write(tmp_path, "new")
    assert content(tmp_path) == full("old")


@pytest.mark.parametrize("stop", [ValueError, KeyboardInterrupt])
def test_a_stop_before_the_end_changes_nothing(tmp_path, stop):
    write(tmp_path / "there", "old")

    def half(folder: Path) -> None:
        with whole_set(folder, "report.json") as new:
            (new / "report.json").write_text("half")
            raise stop

    for folder in (tmp_path / "there", tmp_path / "deep/new"):
        with pytest.raises(stop):
            half(folder)
    assert content(tmp_path / "there") == full("old")
    assert os.listdir(tmp_path) == ["there"]


@pytest.mark.parametrize("number", range(1, RENAMES + 1))
@pytest.mark.parametrize("stop", [OSError(errno.EACCES, "no"), KeyboardInterrupt()])
def test_an_error_at_any_renaming_takes_all_of_them_back(tmp_path, monkeypatch, number, stop):
    write(tmp_path, "old")
    real, calls = os.replace, []

    def replace(*places):
        calls.append(places)
        if len(calls) == number:
            raise stop
        real(*places)

    monkeypatch.setattr(result_set.os, "replace", replace)
    with pytest.raises((WriteError, KeyboardInterrupt)):
        write(tmp_path, "new", masks)
    assert content(tmp_path) == full("old")


KILLED = """
import os, signal, sys
from pathlib import Path
from videograin.editing.result_set import whole_set
real, left = os.replace, int(sys.argv[2])
def replace(*places):
    global left
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
    real(*places)
os.replace = replace
with whole_set(sys.argv[1], "report.json", lambda: [Path("masks/one")]) as new:
    for name in ("edit.mp4", "report.json"):
        (new / name).write_text("new")
    (new / "masks/one").mkdir(parents=True)
    (new / "masks/one/0.png").write_text("new")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
@pytest.mark.parametrize("number", range(1, RENAMES + 1))
def test_a_kill_at_any_renaming_leaves_no_report_beside_another_video(tmp_path, number):
    write(tmp_path, "old")
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), str(number)], env=os.environ, timeout=60)
    assert done.returncode == -9
    found = content(tmp_path)
    assert "report.json" not in found or found["report.json"] == found["edit.mp4"]
    clear_leftovers(tmp_path, [])
    assert content(tmp_path) in (full("old"), full("new"))
    assert sorted(os.listdir(tmp_path)) == ["edit.mp4", "masks", "report.json"]


def test_leftovers_of_processes_that_are_gone_are_removed(tmp_path, ended):
    write(tmp_path, "old")
    dead = [f".edit.{ended}.part.mp4", f".edit.{ended}-0a1b2c3d.part.mp4", f".edit.mp4.{ended}-0a1b2c3d.part"]
    kept = [f".edit.{os.getppid()}.part.mp4", f".edit.{os.getpid()}.part.mp4", f".other.{ended}.part.mp4", ".edit.part"]
    for name in (*dead, *kept):
        (tmp_path / name).write_text("half")
    (tmp_path / f".videograin.{ended}-0a1b2c3d.part/new").mkdir(parents=True)
    clear_leftovers(tmp_path, ["edit.mp4"])
    assert sorted(os.listdir(tmp_path)) == sorted([*kept, "edit.mp4", "masks", "report.json"])


def test_leftovers_do_not_lead_out_of_the_folder(tmp_path, ended):
    out, other = tmp_path / "out", tmp_path / "other"
    write(out, "old")
    other.mkdir()
    (other / "precious.txt").write_text("keep")
    own = out / f".videograin.{ended}-0a1b2c3d.part"
    for name in ("ready", "last"):
        (own / name).mkdir(parents=True)
    try:
        (own / "ready/deep").symlink_to(other, target_is_directory=True)
        (out / f".videograin.{ended}-11111111.part").symlink_to(other, target_is_directory=True)
    except OSError:
        pytest.skip("no links here")
    clear_leftovers(out, [])
    assert content(other) == {"precious.txt": "keep"}
    assert (out / "deep").is_symlink()


def test_a_folder_or_a_link_in_the_way_is_named_and_stays(tmp_path):
    (tmp_path / "edit.mp4/inside").mkdir(parents=True)
    with pytest.raises(WriteError, match=r"edit\.mp4 cannot be written .*move away what is there"):
        write(tmp_path, "new")
    assert os.listdir(tmp_path) == ["edit.mp4"]
    shutil.rmtree(tmp_path / "edit.mp4")
    (tmp_path / "other").mkdir()
    try:
        (tmp_path / "masks").symlink_to(tmp_path / "other", target_is_directory=True)
    except OSError:
        pytest.skip("no links here")
    with pytest.raises(WriteError, match="cannot be written"):
        write(tmp_path, "new")
    assert os.listdir(tmp_path / "other") == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_named_with_the_files_final_place(tmp_path, number):
    def edit() -> None:
        with whole_set(tmp_path, "report.json") as new, whole_file(new / "edit.mp4") as temporary:
            temporary.write_text("half")
            raise OSError(number, os.strerror(number))

    with pytest.raises(WriteError, match=r"edit\.mp4 cannot be written \(.+\); .*free some room") as caught:
        edit()
    assert caught.value.path == tmp_path / "edit.mp4"
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(sys.platform == "win32", reason="needs limits of files")
def test_tensors_that_do_not_fit_leave_nothing(tmp_path):
    import resource

    import torch

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(WriteError, match=r"a\.safetensors cannot be written \(File too large\)"):
            save_tensors(tmp_path / "a.safetensors", {"x": torch.zeros(100_000)}, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert os.listdir(tmp_path) == []
