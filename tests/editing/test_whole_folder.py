"""A folder appears whole, in place of the old one, or not at all."""

import os

import pytest

from videograin.editing.whole_file import whole_folder


def fill(folder, text):
    with whole_folder(folder) as part:
        (part / "a.txt").write_text(text)


def content(root):
    return {str(path.relative_to(root)): path.read_text() for path in root.rglob("*") if path.is_file()}


def test_new_folders_and_folders_in_place_of_old_ones(tmp_path):
    folder = tmp_path / "above" / "folder"
    fill(folder, "old")
    (folder / "b.txt").write_text("old")
    fill(folder, "new")
    assert content(tmp_path) == {os.path.join("above", "folder", "a.txt"): "new"}
    assert os.listdir(folder.parent) == ["folder"]


@pytest.mark.parametrize("stop", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("there", [True, False])
def test_a_stop_in_the_block_changes_nothing(tmp_path, stop, there):
    folder = tmp_path / "folder"
    if there:
        fill(folder, "old")

    def half():
        with whole_folder(folder) as part:
            (part / "a.txt").write_text("half")
            raise stop

    with pytest.raises(stop):
        half()
    assert content(tmp_path) == ({os.path.join("folder", "a.txt"): "old"} if there else {})
    assert os.listdir(tmp_path) == (["folder"] if there else [])


@pytest.mark.parametrize("stop", [OSError, KeyboardInterrupt])
@pytest.mark.parametrize("failing", [1, 2])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_stop_between_the_renames_brings_the_old_folder_back(tmp_path, monkeypatch, stop, failing, when):
    """Or the new one is in place already; never none."""
    folder, calls, replace = tmp_path / "folder", [], os.replace
    fill(folder, "old")

    def interrupt(*args):
        calls.append(args)
        if len(calls) != failing or when == "after":
            replace(*args)
        if len(calls) == failing:
            raise stop

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(stop):
        fill(folder, "new")
    assert (folder / "a.txt").read_text() == ("new" if (failing, when) == (2, "after") else "old")
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".part")]


def test_what_a_killed_process_left_is_not_in_the_way(tmp_path):
    for what in ("part", "previous"):
        left = tmp_path / f".folder.{os.getpid()}.{what}"
        left.mkdir()
        (left / "b.txt").write_text("left")
    fill(tmp_path / "folder", "old")
    fill(tmp_path / "folder", "new")
    assert content(tmp_path) == {os.path.join("folder", "a.txt"): "new"}
    assert os.listdir(tmp_path) == ["folder"]


def test_files_and_links_are_not_replaced(tmp_path):
    (tmp_path / "file").write_text("keep")
    with pytest.raises(NotADirectoryError, match="in the way of a new folder"):
        fill(tmp_path / "file", "new")
    fill(tmp_path / "folder", "keep")
    try:
        (tmp_path / "link").symlink_to(tmp_path / "folder", target_is_directory=True)
    except OSError:
        pytest.skip("no links here")
    with pytest.raises(NotADirectoryError, match="in the way of a new folder"):
        fill(tmp_path / "link", "new")
    assert (tmp_path / "file").read_text() == (tmp_path / "folder" / "a.txt").read_text() == "keep"
    assert sorted(os.listdir(tmp_path)) == ["file", "folder", "link"]
