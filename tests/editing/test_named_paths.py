"""No name that comes from a file leads out of the folder it is for."""

import ntpath
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from videograin.editing.named_paths import file_named, path_within

PARTS = [
    "..",
    ".",
    "",
    "a",
    "mask.png",
    "out",
    "near",
    "CON",
    "nul.txt",
    "com1",
    "C:",
    "d:x",
    "link",
    "deep",
    "\0",
    " ",
]
names = st.one_of(
    st.builds("/".join, st.lists(st.sampled_from(PARTS), max_size=6)),
    st.builds("\\".join, st.lists(st.sampled_from(PARTS), max_size=6)),
    st.text(max_size=12),
    st.builds(
        "{}{}".format, st.sampled_from(["/", "\\\\server\\share\\", "//server/share/", "C:\\", "z:/"]), st.text()
    ),
)


@pytest.fixture(scope="module")
def home():
    """A folder with a link out of it and one to a place inside."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder).resolve() / "out"
        (out / "deep" / "a").mkdir(parents=True)
        (out.parent / "near").mkdir()
        if os.name == "posix":
            (out / "link").symlink_to(out.parent / "near")
            (out / "circle").symlink_to(out / "circle")
            (out / "inner").symlink_to(out / "deep")
        yield out


@given(names)
@example("link/x")
@example("circle")
@example("a/../../near")
@example("a\\..\\..\\near")
def test_a_path_lies_in_its_folder_or_is_refused(home, name):
    try:
        path = path_within(home, name, "layout.json")
    except ValueError as refusal:
        text = str(refusal)
    else:
        text = ""
    if text:
        assert text.startswith("layout.json: ")
        assert "\n" not in text
        return
    assert home in path.resolve().parents
    assert ".." not in path.parts
    assert not ntpath.splitdrive(name)[0] or os.name == "nt"
    stems = {part.replace(":", ".").split(".")[0].strip().lower() for part in name.replace("\\", "/").split("/")}
    assert not stems & {"con", "nul", "com1"}


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../x", "/etc/passwd", "C:\\x", "C:x", "\\\\server\\share\\x", "..\\x", "a/../..", "x\0y", "\ud800",
     "CON", "con.png", "sub/NUL", "aux .png", "COM1:", "lpt9.tar.gz"],
)  # fmt: skip
def test_hostile_names_are_refused(tmp_path, name):
    with pytest.raises(ValueError, match=r"^masks: .* leads out of the folder"):
        path_within(tmp_path, name, "masks")


@pytest.mark.parametrize(
    "name", ["a.png", "1_red_circle_1/0000.png", "a/../b", "...", "contact.png", "nullify/x", "scene:1"]
)
def test_plain_names_are_paths(tmp_path, name):
    assert path_within(tmp_path, name, "masks") == Path(os.path.abspath(tmp_path / name))


@pytest.mark.skipif(os.name != "posix", reason="links")
def test_a_link_counts_by_where_it_leads(home):
    assert path_within(home, "inner/a", "x") == home / "inner" / "a"
    with pytest.raises(ValueError, match="leads out"):
        path_within(home, "link/file", "x")


def test_only_a_plain_file_of_this_machine_is_named(tmp_path):
    file = tmp_path / "edit.yaml"
    file.write_text("")
    assert file_named(str(file)) == file
    for name in (
        "",
        "\0",
        str(tmp_path),
        str(tmp_path / "gone"),
        "/dev/null",
        f"/{file}",
        "\\\\server\\share\\x",
        "\ud800",
    ):
        assert file_named(name) is None


def test_a_sibling_with_a_longer_name_is_outside(tmp_path):
    with pytest.raises(ValueError, match=r"x: '../out2/a' leads out"):
        path_within(tmp_path / "out", "../out2/a", "x")
