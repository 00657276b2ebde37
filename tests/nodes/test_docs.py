"""The help pages: one for each node, which say what the node says, with pictures that the panel can show."""

import ast
import re
from functools import cache
from itertools import pairwise

import pytest

from videograin.lab.paths import ROOT
from videograin.lab.templates import definitions

DOCS = ROOT / "web" / "docs"
IMAGES = DOCS / "images"
LIMIT = 120_000  # bytes of a picture
SECTIONS = ["When to use it", "Inputs", "Outputs", "Example", "When something goes wrong", "See also"]
PICTURE = re.compile(r"!\[([^\]]*)\]\(([^)]*)\)")
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)]*)\)")
MESSAGE = re.compile(r'\*"(.+?)"\*', re.DOTALL)
# What the nodes' messages come from.
SOURCES = ["attention", "editing", "hosts", "measuring", "nodes"]
# Other hosts', and what every host puts into its own words.
UNSEEN = re.compile(r"hosts/diffusers|attention/phrase_tokens\.py")
HOLE = "\0"  # in a source's text: a value that is put in when it runs
NODES = {name: node for name, node in definitions.load().items() if name.startswith("VideoGrain")}
ALL = pytest.mark.parametrize("name", sorted(NODES))


def page(name: str) -> str:
    return (DOCS / f"{name}.md").read_text(encoding="utf-8")


def section(name: str, title: str) -> str:
    """The text below a heading, up to the next one."""
    parts = re.split(r"^## (.+)$", page(name), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2]))[title]


def items(name: str, title: str) -> list[str]:
    """The items of the section's list, each as one line. Lists, because the help panel is too narrow for tables."""
    found = re.findall(r"^- (.+(?:\n  .+)*)", section(name, title), flags=re.MULTILINE)
    return [re.sub(r"\n +", " ", item) for item in found]


def facts(entry: dict) -> str:
    """What the brackets behind an input's name say: type, default, range."""
    kind = entry["type"] if isinstance(entry["type"], str) else "COMBO"
    told = [" or ".join(kind.split(",")) + (", optional" if entry["optional"] else "")]
    if "default" in entry:
        told.append(f"default {'(empty)' if entry['default'] == '' else entry['default']}")
    if entry.get("options") == "files":
        told.append("files")
    elif "options" in entry:
        told.append(", ".join(f"`{option}`" for option in entry["options"]))
    elif "min" in entry and "max" in entry:
        low, high = entry["min"], entry["max"]
        told.append(f"{low:g} and up" if high > 10**9 else f"{low:g} to {high:g}")
    return "; ".join(told)


def test_there_is_a_page_for_every_node_and_no_other():
    assert sorted(path.stem for path in DOCS.glob("*.md")) == sorted(NODES)


def test_the_readme_s_table_has_every_node_and_no_other():
    table = (
        (ROOT / "README.md").read_text(encoding="utf-8").partition("| node | what it does |")[2].partition("\n\n")[0]
    )
    named = [name for row in table.splitlines()[2:] for name in row.split("|")[1].strip().split(", ")]
    assert sorted(named) == sorted(node["display_name"] for node in NODES.values())


@ALL
def test_the_title_is_the_name_on_the_node(name):
    assert page(name).splitlines()[0] == f"# {NODES[name]['display_name']}"


@ALL
def test_a_page_has_its_sections_in_order(name):
    found = re.findall(r"^## (.+)$", page(name), flags=re.MULTILINE)
    assert [title for title in found if title in SECTIONS] == SECTIONS


@ALL
def test_the_inputs_are_those_of_the_node_in_its_order(name):
    entries = NODES[name]["inputs"]
    if not entries:
        assert section(name, "Inputs").strip() == "None."
        return
    heads = [f"`{entry['name']}` ({facts(entry)}): " for entry in entries]
    found = items(name, "Inputs")
    assert [item[: len(head)] for item, head in zip(found, heads)] == heads
    assert len(found) == len(heads)
    assert all(len(item) > len(head) + 20 for item, head in zip(found, heads))


@ALL
def test_the_outputs_are_those_of_the_node_in_its_order(name):
    heads = [f"`{e['name']}` ({e['type']}{' (list)' if e['list'] else ''}): " for e in NODES[name]["outputs"]]
    found = items(name, "Outputs")
    assert [item[: len(head)] for item, head in zip(found, heads)] == heads
    assert len(found) == len(heads)
    assert all(len(item) > len(head) + 5 for item, head in zip(found, heads))


@ALL
def test_see_also_names_nodes_that_exist(name):
    titles = {node["display_name"] for node in NODES.values()} - {NODES[name]["display_name"]}
    named = section(name, "See also").strip().rstrip(".")
    named = re.sub(r"\((?!Model Patch)[^)]*\)", "", named)  # a remark in brackets
    assert {title.strip() for title in named.split(",")} <= titles


@ALL
def test_a_page_shows_pictures_that_are_there_small_and_described(name):
    pictures = PICTURE.findall(page(name))
    assert pictures
    for words, path in pictures:
        # The help panel puts /extensions/<the folder's name>/docs/ before relative paths alone.
        assert re.fullmatch(rf"images/{name}(_\w+)?\.(png|jpg)", path)
        assert (DOCS / path).is_file()
        assert (DOCS / path).stat().st_size < LIMIT
        assert words


def test_no_picture_lies_about_unused():
    used = {path for name in NODES for _, path in PICTURE.findall(page(name))}
    assert {f"images/{path.name}" for path in IMAGES.iterdir()} == used


@ALL
def test_links_lead_to_the_web_or_nowhere(name):
    """A relative link in the help panel would leave the app: other pages are called by their names."""
    assert [link for link in LINK.findall(page(name)) if not link.startswith("https://")] == []


@cache
def texts() -> tuple[str, ...]:
    """Every string of the sources, with HOLE for each value of an f-string or of the logger's %-form."""

    def text(node: ast.AST) -> str | None:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return re.sub(r"%(\.\d+)?[sdrgf]", HOLE, node.value)
        if isinstance(node, ast.JoinedStr):
            return "".join(part.value if isinstance(part, ast.Constant) else HOLE for part in node.values)
        return None

    files = [path for folder in SOURCES for path in sorted((ROOT / folder).rglob("*.py"))]
    files = [path for path in files if not UNSEEN.search(path.as_posix())]
    nodes = [node for path in files for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))]
    return tuple(filter(None, map(text, nodes)))


def said(piece: str, source: str) -> bool:
    """Whether the piece can be a part of what the source says, with values in its HOLEs that make up half at most."""
    ends = dict.fromkeys(range(len(source)), 0)  # place in the source -> letters that stand in HOLEs so far, at least
    for letter in piece:
        reached: dict[int, int] = {}
        for place, filled in ends.items():
            while source[place : place + 1] == HOLE:
                reached[place] = min(reached.get(place, filled + 1), filled + 1)
                place += 1
            if source[place : place + 1] == letter:
                reached[place + 1] = min(reached.get(place + 1, filled), filled)
        ends = reached
    return bool(ends) and min(ends.values()) <= len(piece) / 2


def unsaid(message: str, sources: tuple[str, ...]) -> list[str]:
    """The pieces of a quoted message, cut at "...", that no source says. Pieces below three words may be values."""
    pieces = [piece.split() for piece in message.split("...")]
    lost = []
    for words in pieces:
        pairs = [f"{a} {b}" for a, b in pairwise(words)]
        near = [source for source in sources if any(pair in source for pair in pairs)]
        if len(words) >= 3 and not any(said(" ".join(words), source) for source in near):
            lost.append(" ".join(words))
    return lost


@ALL
def test_quoted_messages_are_those_of_the_sources(name):
    """A user finds the entry by the message that stands on the screen."""
    messages = MESSAGE.findall(page(name))
    assert [(message, lost) for message in messages if (lost := unsaid(message, texts()))] == []


def test_messages_that_no_source_says_are_found():
    sources = (f"region {HOLE}: got {HOLE} and {HOLE} of prompts", f"phrase {HOLE} does not occur in the global prompt")
    for real in ["got 3 masks and 2 lines of prompts", "phrase '...' does not occur in the global prompt", "region 4"]:
        assert unsaid(real, sources) == []
    for wrong in ["its phrase ... does not occur in the prompt", "got 3 masks and 2 lines of words", "no such text"]:
        assert unsaid(wrong, sources) != []
    assert len(texts()) > 500
    assert sum(len(MESSAGE.findall(page(name))) for name in NODES) > 30
