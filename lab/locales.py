"""The English locale, made from the nodes' own texts; zh and ja are translations of it, by hand.

    python -m videograin.lab.locales http://127.0.0.1:8188

reads a running ComfyUI's /object_info and writes locales/en/nodeDefs.json. So the schema is the one source of texts.
Change a tooltip there, run this, and translate what it then calls stale: locales/<language>/sources.txt keeps, for
every translated text, the mark of the English text it was made from (checked by tests/nodes/test_locales.py).

The frontend reads the files with vue-i18n, in whose messages { } @ | are syntax: `escape` makes them literal.
"""

from __future__ import annotations

import argparse
import json
import sys
import zlib
from collections.abc import Iterator
from typing import Any

from . import paths
from .comfyui_server import Client

ROOT = paths.ROOT / "locales"
LANGUAGES = ("en", "ja", "zh")
PREFIX = "VideoGrain"
SYNTAX = "{}@|"


def escape(text: str) -> str:
    """Text as a vue-i18n message that shows exactly this text."""
    return "".join(f"{{'{letter}'}}" if letter in SYNTAX else letter for letter in text)


def entry(info: dict[str, Any]) -> dict[str, Any]:
    """One node of /object_info in the form of nodeDefs.json: names and tooltips of the node, its inputs and outputs."""
    inputs = {}
    for kind in ("required", "optional"):
        for name, spec in info["input"].get(kind, {}).items():
            options = spec[1] if len(spec) > 1 else {}
            inputs[name.replace(".", "_")] = _texts(options.get("display_name") or name, options.get("tooltip"))
    names, tips = info["output_name"], info.get("output_tooltips") or []
    outputs = {str(n): _texts(name, tips[n] if n < len(tips) else None) for n, name in enumerate(names)}
    made = {"display_name": escape(info["display_name"]), "description": escape(info["description"])}
    return made | {key: value for key, value in (("inputs", inputs), ("outputs", outputs)) if value}


def _texts(name: str, tooltip: str | None) -> dict[str, str]:
    return {"name": escape(name)} | ({"tooltip": escape(tooltip)} if tooltip else {})


def node_defs(object_info: dict[str, Any]) -> dict[str, Any]:
    """nodeDefs.json of this pack's nodes."""
    return {name: entry(info) for name, info in sorted(object_info.items()) if name.startswith(PREFIX)}


def flat(tree: dict[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    """("VideoGrainX.inputs.model.tooltip", text) of every text of a locale file."""
    for key, value in tree.items():
        name = f"{path}.{key}" if path else key
        if isinstance(value, dict):
            yield from flat(value, name)
        else:
            yield name, value


def mark(text: str) -> str:
    """Short checksum of an English text: what a translation was made from."""
    return f"{zlib.crc32(text.encode()):08x}"


def read(language: str, file: str = "nodeDefs.json") -> dict[str, Any]:
    """A locale file."""
    return json.loads((ROOT / language / file).read_text(encoding="utf-8"))


def read_sources(language: str) -> dict[str, str]:
    """{path of a text: mark of the English text that it translates}."""
    lines = (ROOT / language / "sources.txt").read_text(encoding="utf-8").split("\n")
    return dict(line.split(" ")[::-1] for line in lines if line)


def stale(language: str) -> list[str]:
    """Paths whose English text has changed since they were translated."""
    made, english = read_sources(language), dict(flat(read("en")))
    return sorted(path for path, text in english.items() if made.get(path) != mark(text))


def accept(language: str) -> None:
    """Note that all translations of `language` fit the English texts of now. Call it after translating."""
    lines = [f"{mark(text)} {path}" for path, text in sorted(flat(read("en")))]
    (ROOT / language / "sources.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def write(language: str, tree: dict[str, Any], file: str = "nodeDefs.json") -> None:
    """A locale file, as the repository keeps it."""
    path = ROOT / language / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(tree, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def main(argv: list[str] | None = None) -> int:
    """Write locales/en/nodeDefs.json; with --accept note that the other languages have been brought up to date."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", nargs="?", help="the running server, e.g. http://127.0.0.1:8188")
    parser.add_argument("--accept", nargs="*", default=[], metavar="LANGUAGE", help="translations that are up to date")
    args = parser.parse_args(argv)
    if args.url:
        write("en", node_defs(Client(args.url).get("/object_info")))
    for language in args.accept:
        accept(language)
    for language in LANGUAGES[1:]:
        if (ROOT / language / "sources.txt").is_file():
            sys.stdout.write("\n".join([f"{language}: {len(stale(language))} stale", *stale(language), ""]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
