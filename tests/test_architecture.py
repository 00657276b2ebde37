"""Every citation of a document leads somewhere, and every folder of code says what lives there."""

import ast
import re

import pytest

from videograin.lab.paths import ROOT

ROOMS = sorted(path.parent.name for path in ROOT.glob("*/__init__.py"))


def cited():
    """(file, document, section) of every `method.md 4` and `hosts.md B2` in the sources and documents."""
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]
    for path in [*pages, *(path for room in (*ROOMS, "tests") for path in sorted((ROOT / room).rglob("*.py")))]:
        text = re.sub(r"\n\s*#?\s*", " ", path.read_text(encoding="utf-8"))
        for document, section in re.findall(r"\b([\w-]+)\.md,? ([A-Z]?\d+)\b", text):
            if document not in ("README", "CHANGELOG"):  # whose numbers are lines of version 0.3 (tests/test_moved.py)
                yield str(path.relative_to(ROOT)), document, section


def test_every_citation_has_its_section():
    headings = {}
    for path in (ROOT / "docs").glob("*.md"):
        headings[path.stem] = set(re.findall(r"^#+ ([A-Z]?\d+)\b", path.read_text(encoding="utf-8"), re.MULTILINE))
    wrong = [found for found in cited() if found[2] not in headings.get(found[1], ())]
    assert wrong == []
    assert sum(1 for _ in cited()) > 40


FOLDERS = sorted(str(path.parent.relative_to(ROOT)) for room in ROOMS for path in (ROOT / room).rglob("__init__.py"))


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_says_what_lives_there(folder):
    told = ast.get_docstring(ast.parse((ROOT / folder / "__init__.py").read_text(encoding="utf-8")))
    assert told is not None
    assert len(told) > (60 if folder in ROOMS else 30)


def test_no_folder_of_modules_lacks_its_docstring():
    """A folder without __init__.py would pass the test above, and still import as a namespace."""
    without = {path.parent for room in ROOMS for path in (ROOT / room).rglob("*.py")}
    assert sorted(str(path.relative_to(ROOT)) for path in without) == FOLDERS
