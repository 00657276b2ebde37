"""A layout.json from somebody else, or a damaged one, leads nowhere: only what `videograin` made is ever removed.

Every name leads to a place below tmp_path, so that a fault here removes nothing that matters.
"""

import hashlib
import json
import os
import re
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from videograin.editing.layout.clip_layout import Thing
from videograin.editing.result_set import whole_set
from videograin.runner.layout_files import MADE, changed_masks, made_by_layout, made_mask, mask_folder

PLAIN = ["1_red_circle_1", "2_thing", "3_film.mp4", "12_a"]
HOSTILE = [
    "", ".", "..", "../mine", "../..", "../../near", "../../out/mine", "./1_red_circle_1", "1_red_circle_1/",
    "1_red_circle_1/..", "1_red_circle_1/0000.png", "1_red_circle_1/../../mine", "..\\mine", "1_link", "2_link",
    "1_link/0000.png", ".hidden", "mine", "C:", "C:\\near", "C:1_red_circle_1", "\\\\server\\share", "CON", "con.mp4",
    "1_a:stream", "1_CON ", "1_red_circle_1.", "1_red_circle_1\n", "1_red_circle_1\0", "\0", "1_" + "a" * 300,
    "\u0661_red", "1_r\u00e9d", "\ud800", "NEAR", "FAR",
]  # fmt: skip
parts = st.sampled_from(["..", ".", "", "near", "mine", "out", "masks", "1_red_circle_1", "1_link", "2_link", "\0"])
names = st.one_of(
    st.sampled_from(HOSTILE + PLAIN),
    st.builds("/".join, st.lists(parts, max_size=6)),
    st.builds("\\".join, st.lists(parts, max_size=6)),
    st.text(max_size=12),
    st.from_regex(MADE, fullmatch=True),
)
values = st.one_of(st.just("right"), st.sampled_from(["", None, 1, [], {}]))


def digest(path: Path) -> str:
    """As layout.json has it: sha256 of the contents, each behind its name and a zero byte."""
    found = hashlib.sha256()
    for file in sorted(path.iterdir()) if path.is_dir() else [path]:
        found.update(file.name.encode() + b"\0" + (file.read_bytes() if file.is_file() else b""))
    return found.hexdigest()


def make(root: Path) -> Path:
    """A results folder with masks, links out of it and things of somebody else in and around it."""
    out = root / "out"
    for folder in (root / "near", root / "far", out / "mine", out / "masks/mine", out / "masks/1_red_circle_1"):
        folder.mkdir(parents=True)
        (folder / "0000.png").write_bytes(b"picture")
    for file in (root / "file.mp4", out / "masks/3_film.mp4", out / "masks/2_thing", out / "masks/.hidden"):
        file.write_bytes(b"film")
    (out / "masks/12_a/deep").mkdir(parents=True)
    (out / "masks/12_a/deep/precious.txt").write_text("keep")
    return out


def link(place: Path, target: Path) -> None:
    try:
        place.symlink_to(target, target_is_directory=target.is_dir())
    except OSError:  # Windows without the right to
        pytest.skip("no links here")


def tree(root: Path) -> set[Path]:
    return set(root.rglob("*"))


def remove_masks(out: Path) -> None:
    """As a new layout without things does."""
    with whole_set(out, "layout.json", lambda: made_by_layout(out)) as new:
        (new / "layout.json").write_text("{}")


def note(out: Path, masks: object) -> None:
    (out / "layout.json").write_text(json.dumps({"masks": masks}))


@pytest.mark.slow
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(names, values, max_size=8))
@example(dict.fromkeys(HOSTILE, "right"))
@example(dict.fromkeys(PLAIN, "right"))
def test_nothing_but_made_masks_is_removed(tmp_path, listed):
    root = Path(tempfile.mkdtemp(dir=tmp_path)).resolve() / "home"
    out = make(root)
    if os.name == "posix":
        link(out / "masks/1_link", root / "near")
        link(out / "masks/2_link", root / "file.mp4")
    noted = {}
    for name, value in listed.items():
        name = {"NEAR": str(root / "near"), "FAR": str(root / "far")}.get(name, name)
        place = Path(os.path.abspath(os.path.join(out / "masks", name)))
        assume(place == root or root in place.parents)
        try:
            right = digest(place)  # whoever writes the file may know what lies there
        except (OSError, ValueError):
            right = "0" * 64
        noted[name] = right if value == "right" else value
    note(out, noted)
    before = tree(root)
    made = {name for name in PLAIN[:3] if listed.get(name) == "right"}
    changed = {"mine", "12_a", *PLAIN[:3], *(("1_link", "2_link") if os.name == "posix" else ())} - made
    assert {path.name for path in changed_masks(out)} == changed
    remove_masks(out)
    gone = {path.relative_to(out / "masks").parts[0] for path in before - tree(root)}
    assert gone == made
    shutil.rmtree(root)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_no_path(tmp_path, name):
    out = make(tmp_path.resolve())
    for target in (out / "masks/1_red_circle_1", tmp_path / "file.mp4"):
        assert made_mask(out, name, digest(target)) is None


def test_a_link_in_place_of_the_masks_is_not_followed(tmp_path):
    out, other = make(tmp_path / "a"), make(tmp_path / "b")
    shutil.rmtree(out / "masks")
    link(out / "masks", other / "masks")
    note(out, {name: digest(other / "masks" / name) for name in PLAIN[:3]})
    before = tree(tmp_path)
    remove_masks(out)
    assert tree(tmp_path) == before
    assert {path.name for path in changed_masks(out)} == {"mine", *PLAIN}


def test_a_results_folder_behind_a_link_is_as_any(tmp_path):
    out = make(tmp_path / "a")
    note(out, {name: digest(out / "masks" / name) for name in PLAIN[:3]})
    link(tmp_path / "found", out)
    assert {path.name for path in changed_masks(tmp_path / "found")} == {"mine", "12_a"}
    remove_masks(tmp_path / "found")
    assert {path.name for path in (out / "masks").iterdir()} == {"mine", "12_a", ".hidden"}


def test_a_link_among_the_pictures_of_a_mask_is_a_change(tmp_path):
    out = make(tmp_path)
    picture = out / "masks/1_red_circle_1/0000.png"
    note(out, {"1_red_circle_1": digest(picture.parent)})
    picture.unlink()
    link(picture, tmp_path / "near/0000.png")
    assert picture.parent in changed_masks(out)
    remove_masks(out)
    assert picture.is_symlink()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"masks": ["../mine"]}', '{"masks": "../mine"}', "[" * 100_000])
def test_a_damaged_file_lists_nothing(tmp_path, text):
    out = make(tmp_path)
    (out / "layout.json").write_text(text)
    before = tree(tmp_path)
    remove_masks(out)
    assert tree(tmp_path) == before


@given(st.integers(1, 10**6), st.text(max_size=30))
def test_every_name_of_a_mask_is_one_that_is_taken_back(number, name):
    folder = mask_folder(Path("out"), Thing(number, name, name, 1.0, False, None, None))
    assert MADE.fullmatch(folder.name)
    assert MADE.fullmatch(folder.with_suffix(".mp4").name)
    assert not re.search(r"[^0-9A-Za-z_]", folder.name)
