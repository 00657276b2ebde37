"""Every page of docs/benchmarks/ that another page names is in the repository."""

import re
from pathlib import Path

import pytest

from videograin.lab.paths import BENCHMARKS, ROOT

PAGES = [ROOT / name for name in ("README.md", "CHANGELOG.md", "docs/benchmarks/README.md")]
PAGES += sorted((ROOT / "web" / "docs").glob("*.md"))


def named(page: Path) -> set[Path]:
    """The pages of docs/benchmarks/ that a page names: in full (docs/benchmarks/layout.md) or by a link beside it."""
    text = page.read_text(encoding="utf-8")
    found = {ROOT / name for name in re.findall(r"\bdocs/benchmarks/[\w./-]*?\w\.md\b", text)}
    links = (page.parent / link for link in re.findall(r"\]\(([^():#\s]+\.md)(?:#[^)]*)?\)", text))
    return found | {link.resolve() for link in links if BENCHMARKS in link.resolve().parents}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_named_pages_are_there(page):
    missing = sorted(str(name.relative_to(ROOT)) for name in named(page) if not name.is_file())
    assert missing == []


def test_pages_are_found_by_name_and_by_link():
    found = {str(name.relative_to(ROOT)) for name in named(BENCHMARKS / "README.md")}
    assert {"docs/benchmarks/vram.md", "docs/benchmarks/layout.md", "docs/benchmarks/sd15_flops.md"} <= found
    assert "docs/benchmarks/long_clips.md" in {str(name.relative_to(ROOT)) for name in named(ROOT / "README.md")}
