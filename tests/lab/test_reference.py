"""The tables of keys in runner/README.md are those of the classes that read the files."""

import re

import pytest

from videograin.editing.fields import fields_of
from videograin.lab.reference import MARKS, PAGE, written
from videograin.runner.edit_checks import load_edit
from videograin.runner.edit_file import EditFileError
from videograin.runner.edit_keys import ControlKeys, EditKeys, MaskKeys


def test_the_committed_tables_are_what_would_be_written():
    page = PAGE.read_text(encoding="utf-8")
    assert [mark[1] for mark in MARKS.findall(page)] == ["edit", "metrics"]
    assert written(page) == page, "run python -m videograin.lab.reference"


def test_the_keys_without_which_a_file_is_refused_are_marked(tmp_path):
    page = PAGE.read_text(encoding="utf-8").partition("## Every key")[2]
    (tmp_path / "edit.yaml").write_text("regions:\n- {}\ncontrolnet: {}\nattention_maps: {pixel: {}}\n")
    with pytest.raises(EditFileError) as caught:
        load_edit(tmp_path / "edit.yaml")
    asked = {match[1] for _, text in caught.value.problems if (match := re.match(r"(\S+) is missing", text))}
    asked |= {"regions"}  # it is there, with an empty entry
    marked = re.findall(r"^\| `(\w+)` \|[^|]*\| \*\*required\*\* \|", page.partition("A metrics file")[0], re.MULTILINE)
    assert sorted(marked) == sorted(name.rpartition(".")[2] for name in asked)


def test_every_key_stands_in_a_table():
    page = PAGE.read_text(encoding="utf-8")
    for kind in (EditKeys, MaskKeys, ControlKeys):
        assert [name for name in fields_of(kind) if f"| `{name}` |" not in page] == []
