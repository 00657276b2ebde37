"""Inversions in the host's folders, with a folder_paths of our own in the place of ComfyUI's."""

import os
import socket
import sys
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from videograin.editing import trajectory_file
from videograin.editing.trajectory import Trajectory
from videograin.hosts.comfyui import files
from videograin.hosts.comfyui.files import (
    fingerprint,
    is_inversion,
    list_inversions,
    load_inversion,
    locate,
    save_inversion,
)


def trajectory(seed=0):
    latents = torch.randn(3, 2, 4, 4, 6, generator=torch.Generator().manual_seed(seed))
    return Trajectory(latents, torch.tensor([5.0, 1.0, 0.0]), prompt="a cat", family="sd1", method="warm")


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """(input, output) of a host whose counter always begins at 1."""
    for name in ("input", "output", "secret"):
        (tmp_path / name).mkdir()

    def get_save_image_path(prefix, root):
        folder, name = os.path.split(os.path.join(root, prefix))
        os.makedirs(folder, exist_ok=True)
        return folder, name, 1, os.path.dirname(prefix), prefix

    fake = SimpleNamespace(
        get_input_directory=lambda: str(tmp_path / "input"),
        get_output_directory=lambda: str(tmp_path / "output"),
        get_save_image_path=get_save_image_path,
    )
    monkeypatch.setitem(sys.modules, "folder_paths", fake)
    return tmp_path / "input", tmp_path / "output"


def same(a, b):
    return torch.equal(a.latents, b.latents) and torch.equal(a.sigmas, b.sigmas) and a.prompt == b.prompt


def test_saved_listed_and_loaded(folders):
    path = save_inversion(trajectory(), "videograin/inversion")
    assert path == folders[1] / "videograin" / "inversion_00001_.safetensors"
    assert list_inversions() == ["videograin/inversion_00001_.safetensors [output]"]
    assert same(load_inversion(list_inversions()[0]), trajectory())
    assert [p.name for p in path.parent.iterdir()] == [path.name]  # nothing half-written beside it


def test_no_file_is_written_over(folders):
    paths = [save_inversion(trajectory(seed), "a") for seed in (0, 1, 2)]
    assert [p.name for p in paths] == [f"a_0000{n}_.safetensors" for n in (1, 2, 3)]
    assert all(same(load_inversion(f"{p.name} [output]"), trajectory(seed)) for seed, p in enumerate(paths))


ESCAPES = ["../secret/x", "a/../../secret/x", "/etc/x", "..", ".", "a/..", "../output2/x", "x\0y"]


@pytest.mark.parametrize("prefix", ESCAPES)
def test_saving_outside_is_refused_and_writes_nothing(folders, prefix):
    before = sorted(folders[0].parent.rglob("*"))
    with pytest.raises(ValueError, match=r"filename_prefix: .* leads out of the folder"):
        save_inversion(trajectory(), prefix)
    assert sorted(folders[0].parent.rglob("*")) == before


@pytest.mark.parametrize("prefix", ["", "  ", "sub/"])
def test_a_prefix_without_a_name(folders, prefix):
    with pytest.raises(ValueError, match="expected a name such as videograin/inversion"):
        save_inversion(trajectory(), prefix)


def test_a_file_in_the_place_of_a_folder(folders):
    (folders[1] / "taken").write_text("x")
    with pytest.raises(ValueError, match="cannot write 'taken/x' below"):
        save_inversion(trajectory(), "taken/x")


@pytest.mark.parametrize("mark", ["", " [output]", " [input]"])
@pytest.mark.parametrize("name", [*ESCAPES, "../secret/x.safetensors", "sub/../../secret/x.safetensors"])
def test_loading_from_outside_is_refused(folders, name, mark):
    trajectory_file.save(trajectory(), folders[0].parent / "secret" / "x.safetensors")
    with pytest.raises(ValueError, match=r"leads out of the folder|there is no inversion"):
        load_inversion(name + mark)
    absolute = str(folders[0].parent / "secret" / "x.safetensors")
    with pytest.raises(ValueError, match="leads out of the folder"):
        load_inversion(absolute + mark)


def test_the_marks_say_which_folder(folders):
    trajectory_file.save(trajectory(1), folders[0] / "x.safetensors")
    trajectory_file.save(trajectory(2), folders[1] / "x.safetensors")
    assert list_inversions() == ["x.safetensors", "x.safetensors [output]"]
    assert same(load_inversion("x.safetensors"), trajectory(1))
    assert same(load_inversion("x.safetensors [input]"), trajectory(1))
    assert same(load_inversion("x.safetensors [output]"), trajectory(2))


def test_only_our_own_files_are_listed(folders):
    save_file({"weight": torch.zeros(2)}, str(folders[0] / "lora.safetensors"))
    save_file({"weight": torch.zeros(2)}, str(folders[0] / "other.safetensors"), {"format": "pt"})
    (folders[0] / "short.safetensors").write_bytes(b"\x05")
    (folders[0] / "long.safetensors").write_bytes((2**62).to_bytes(8, "little"))
    (folders[0] / "deep.safetensors").write_bytes((2**19).to_bytes(8, "little") + b"[" * 2**19)
    (folders[0] / "list.safetensors").write_bytes((2).to_bytes(8, "little") + b"[]")
    (folders[0] / "text.safetensors").write_text("no safetensors file at all, but long enough for a header")
    (folders[0] / ".hidden").mkdir()
    trajectory_file.save(trajectory(), folders[0] / ".hidden" / "x.safetensors")
    assert list_inversions() == []
    (folders[0] / "sub" / "deeper").mkdir(parents=True)
    trajectory_file.save(trajectory(), folders[0] / "sub" / "deeper" / "ours.safetensors")
    assert list_inversions() == ["sub/deeper/ours.safetensors"]
    with pytest.raises(ValueError, match="not an inversion of this project"):
        load_inversion("lora.safetensors")


def link(place, target, **options):
    try:
        place.symlink_to(target, **options)
    except OSError:
        pytest.skip("this system makes no links")


def test_links_are_not_followed_by_the_list(folders):
    secret = folders[0].parent / "secret"
    trajectory_file.save(trajectory(), secret / "x.safetensors")
    trajectory_file.save(trajectory(), folders[0] / "x.safetensors")
    link(folders[0] / "again", folders[0], target_is_directory=True)
    link(folders[0] / "out", secret, target_is_directory=True)
    link(folders[0] / "out.safetensors", secret / "x.safetensors")
    link(folders[0] / "itself.safetensors", folders[0] / "itself.safetensors")
    assert list_inversions() == ["x.safetensors"]


@pytest.mark.parametrize("name", ["out/x.safetensors", "out.safetensors", "itself.safetensors"])
def test_a_link_out_of_the_folder_is_not_loaded(folders, name):
    secret = folders[0].parent / "secret"
    trajectory_file.save(trajectory(), secret / "x.safetensors")
    link(folders[0] / "out", secret, target_is_directory=True)
    link(folders[0] / "out.safetensors", secret / "x.safetensors")
    link(folders[0] / "itself.safetensors", folders[0] / "itself.safetensors")
    with pytest.raises(ValueError, match="leads out of the folder"):
        load_inversion(name)


def test_nothing_is_saved_through_a_link_out_of_the_folder(folders):
    secret = folders[0].parent / "secret"
    link(folders[1] / "out", secret, target_is_directory=True)
    with pytest.raises(ValueError, match="filename_prefix: 'out/x' leads out of the folder"):
        save_inversion(trajectory(), "out/x")
    assert list(secret.iterdir()) == []


def test_the_folder_itself_may_be_a_link(folders, tmp_path):
    folders[1].rename(tmp_path / "disk")
    link(folders[1], tmp_path / "disk", target_is_directory=True)
    save_inversion(trajectory(), "a/b")
    assert list_inversions() == ["a/b_00001_.safetensors [output]"]
    assert same(load_inversion("a/b_00001_.safetensors [output]"), trajectory())


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_pipes_and_sockets_are_never_opened(folders, monkeypatch):
    monkeypatch.chdir(folders[0])  # a socket's path must be short
    os.mkfifo(folders[0] / "pipe.safetensors")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket.safetensors")
        trajectory_file.save(trajectory(), folders[0] / "x.safetensors")
        assert list_inversions() == ["x.safetensors"]
    assert not is_inversion(folders[0] / "pipe.safetensors")
    with pytest.raises(ValueError, match="there is no inversion"):
        load_inversion("pipe.safetensors")


def test_a_folder_that_cannot_be_read_hides_nothing_else(folders, monkeypatch):
    for name in ("a", "b"):
        (folders[0] / name).mkdir()
        trajectory_file.save(trajectory(), folders[0] / name / "x.safetensors")
    scandir = os.scandir

    def refusing(folder):
        if str(folder).endswith("a"):
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refusing)
    assert list_inversions() == ["b/x.safetensors"]


def test_how_much_is_looked_at_has_an_end(folders, monkeypatch, caplog):
    deep = folders[0].joinpath(*"abcdefghi")
    deep.mkdir(parents=True)
    trajectory_file.save(trajectory(), deep / "x.safetensors")
    trajectory_file.save(trajectory(), deep.parent / "x.safetensors")
    trajectory_file.save(trajectory(), folders[0] / "x.safetensors")
    assert list_inversions() == ["a/b/c/d/e/f/g/h/x.safetensors", "x.safetensors"]
    monkeypatch.setattr(files, "MOST_ENTRIES", 4)
    assert list_inversions() == ["x.safetensors"]
    assert f"{folders[0]} has more than 4 entries" in caplog.text


@pytest.mark.parametrize("name", ["gone.safetensors", "gone.safetensors [output]", "x.latent", "folder.safetensors"])
def test_what_is_not_there(folders, name):
    (folders[0] / "x.latent").write_text("x")
    (folders[0] / "folder.safetensors").mkdir()
    with pytest.raises(ValueError, match="there is no inversion"):
        locate(name)


def test_the_fingerprint_follows_the_file(folders):
    path = trajectory_file.save(trajectory(), folders[0] / "x.safetensors")
    first = fingerprint("x.safetensors")
    assert first == fingerprint("x.safetensors")
    os.utime(path, ns=(1, 1))
    second = fingerprint("x.safetensors")
    assert second != first
    path.write_bytes(path.read_bytes() + b" ")
    os.utime(path, ns=(1, 1))
    assert fingerprint("x.safetensors") != second
