"""The tables of keys in runner/README.md are those of the classes that read the files."""

from videograin.editing.fields import fields_of
from videograin.lab.reference import MARKS, PAGE, written
from videograin.runner.edit_keys import ControlKeys, EditKeys, MaskKeys


def test_the_committed_tables_are_what_would_be_written():
    page = PAGE.read_text(encoding="utf-8")
    assert [mark[1] for mark in MARKS.findall(page)] == ["edit", "metrics"]
    assert written(page) == page, "run python -m videograin.lab.reference"


def test_every_key_stands_in_a_table():
    page = PAGE.read_text(encoding="utf-8")
    for kind in (EditKeys, MaskKeys, ControlKeys):
        assert [name for name in fields_of(kind) if f"| `{name}` |" not in page] == []
