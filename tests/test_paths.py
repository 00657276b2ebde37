"""Every file and module of the repository that a text names, and every link's end, is there."""

import importlib
import re
import subprocess
from os.path import normpath
from pathlib import PurePosixPath

from videograin.lab.paths import ROOT

ROOMS = ("attention", "editing", "hosts", "lab", "measuring", "nodes", "runner", "world")
FILE = re.compile(r"(?<![\w./:<>{}*-])((?:\.\./)*(?:[\w-]+/)+[\w-][\w.-]*\.(?:py|md))(?![\w/])")
FOLDER = re.compile(rf"(?<![\w./:<>{{}}*-])((?:{'|'.join(ROOMS)}|docs|tests|web)(?:/[a-z_]+)+)/(?![\w*<{{$.-])")
RUN = re.compile(r"python[\d.]* -m (videograin(?:\.\w+)*)(?![\w.]*[<{])")
TEXTS = (".py", ".md", ".json", ".j2", ".yaml", ".yml", ".toml", ".sh", "Makefile", ".ci/run")
LINK = re.compile(r"\]\(<?([^()<>\s]+)>?(?:\s[^)]*)?\)|\b(?:src|href)=\"([^\"]+)\"")
CODE = re.compile(r"```.*?```|~~~.*?~~~|`[^`\n]*`", re.DOTALL)
MODULE = re.compile(rf"`((?:{'|'.join(ROOMS)})(?:\.\w+)+)")
# Patterns (page_templates/TEMPLATE.md), and ComfyUI's own files.
ELSEWHERE = re.compile(r"/[A-Z]+\.\w+$|^comfy/")


def listed() -> list[str]:
    return subprocess.check_output(["git", "-C", ROOT, "ls-files", "-co", "--exclude-standard"], text=True).splitlines()


def texts(*endings: str):
    """(file, its text) of every source and document but the changelog, which tells of files as they were called."""
    for name in listed():
        if name.endswith(endings) and name != "CHANGELOG.md" and (ROOT / name).is_file():
            yield name, (ROOT / name).read_text(encoding="utf-8")


def test_a_file_or_folder_that_a_text_names_is_there():
    files = set(listed())
    there = files | {str(folder) for name in files for folder in PurePosixPath(name).parents}
    seen, lost = 0, []
    for name, text in texts(".py", ".md"):
        for path in [*FILE.findall(text), *FOLDER.findall(text)]:
            if not ELSEWHERE.search(path):
                seen += 1
                if not {normpath(path), normpath(PurePosixPath(name).parent / path)} & there:
                    lost.append((name, path))
    assert lost == []
    assert seen > 100


def anchors(page: str) -> set[str]:
    """The places of a page, as GitHub and the site name them after their headings."""
    heads = re.findall(r"^#+ +(.+)$", re.sub(r"```.*?```", "", page, flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def dead(name: str, text: str) -> list[str]:
    """The links of a page that lead to no file of the repository, or to no heading of it."""
    there, found = set(listed()), []
    for link in {first or second for first, second in LINK.findall(CODE.sub("", text))}:
        file, _, place = link.partition("#")
        target = normpath(PurePosixPath(name).parent / file) if file else name
        if re.match(r"[a-z]+:", link):
            continue
        known = any(path == target or path.startswith(f"{target}/") for path in there)
        if known and place:
            known = place in anchors(text if target == name else (ROOT / target).read_text(encoding="utf-8"))
        if not known:
            found.append(link)
    return sorted(found)


def test_a_link_in_a_document_leads_somewhere():
    pages = [name for name in listed() if name.endswith(".md") and (ROOT / name).is_file()]
    wrong = {name: dead(name, (ROOT / name).read_text(encoding="utf-8")) for name in pages}
    assert {name: links for name, links in wrong.items() if links} == {}
    assert {"README.md", "CHANGELOG.md", "docs/index.md"} <= set(pages)


def test_the_benchmarks_that_the_changelog_names_are_there():
    named = set(re.findall(r"\bdocs/benchmarks/[\w./-]+\.md\b", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")))
    assert sorted(named - set(listed())) == []
    assert named


def test_a_dead_link_is_seen():
    text = (
        '# A head, and `more`\n[a](method.md) [b](gone.md) [c](../tests) <img src="no.png">\n'
        "[d](#a-head-and-more) [e](#no-head) [f](method.md#no-head) [g](https://example.org) `[h](code.md)`\n"
    )
    assert dead("docs/index.md", text) == ["#no-head", "gone.md", "method.md#no-head", "no.png"]


def can_be_run(module: str) -> bool:
    """Whether ``python -m module`` finds something to run."""
    path = ROOT.joinpath(*module.split(".")[1:])
    if path.is_dir():
        return (path / "__main__.py").is_file()
    path = path.with_suffix(".py")
    return path.is_file() and '__name__ == "__main__"' in path.read_text(encoding="utf-8")


def test_a_module_that_a_text_says_to_run_is_there():
    named = {(name, module) for name, text in texts(*TEXTS) for module in RUN.findall(text)}
    assert [(name, module) for name, module in sorted(named) if not can_be_run(module)] == []
    for place in ("README.md", "CONTRIBUTING.md", "Makefile", "docs/", "lab/"):
        assert any(name.startswith(place) for name, _ in named), place
    assert RUN.findall("`python -m videograin.lab.<folder>`, or python3 -m videograin.lab.reference.") == [
        "videograin.lab.reference"
    ]
    assert can_be_run("videograin")
    assert not can_be_run("videograin.lab.benchmarks")
    assert not can_be_run("videograin.lab")
    assert not can_be_run("videograin.lab.pages")


def resolves(dotted: str) -> bool:
    """Whether it is a module of the package, or something in one."""
    parts = dotted.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(["videograin", *parts[:length]]))
        except ModuleNotFoundError as error:
            if not (error.name or "").startswith("videograin"):
                return True  # a node, whose host is not installed here
            continue
        for part in parts[length:]:
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return True
    return False


def test_a_module_that_a_docstring_names_is_there():
    named = {(name, dotted) for name, text in texts(".py") for dotted in MODULE.findall(text)}
    named = {(name, dotted) for name, dotted in named if not dotted.endswith((".json", ".md", ".mp4", ".png"))}
    assert [found for found in sorted(named) if not resolves(found[1])] == []
    assert len(named) > 5
    assert not resolves("editing.layouts.find")
    assert not resolves("editing.windows.Widnows")
