"""The node definitions that the workflows are checked against, as a committed snapshot.

    python -m videograin.lab.templates.definitions http://127.0.0.1:8188

reads a live server's /object_info and writes tests/nodes/definitions.json: all nodes of this pack, and the core's and
other packs' nodes that the committed workflows use. For this pack's nodes the file is also the freeze: ids, inputs in
order, types, defaults, ranges and outputs may only be added to (see tests/in_comfyui/test_server.py). Nodes of packs
that the server lacks stay as they are in the file.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ..comfyui_server import Client
from ..paths import ROOT

PATH = ROOT / "tests" / "nodes" / "definitions.json"
WORKFLOWS = ROOT / "workflows"
PREFIX = "VideoGrain"
CORE = "comfy-core"

#: Combos that list the files of one machine: {(node, input)}; uploads are found by their own flag.
FILE_COMBOS = {
    ("CheckpointLoaderSimple", "ckpt_name"),
    ("ControlNetLoader", "control_net_name"),
    ("VideoGrainLoadInversion", "file"),
}
#: Types that the frontend draws as a widget (unless the input says forceInput).
WIDGETS = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}
#: Nodes of the canvas alone: they hold text and are no part of a prompt.
NOTES = {"Note", "MarkdownNote"}


def compact(node_id: str, info: dict[str, Any]) -> dict[str, Any]:
    """One entry of /object_info in the snapshot's form."""
    inputs = []
    for kind in ("required", "optional"):
        entries = info["input"].get(kind, {})
        for name in info.get("input_order", {}).get(kind, list(entries)):
            inputs.append(_input(node_id, name, entries[name], kind == "optional"))
    tooltips = info.get("output_tooltips") or [None] * len(info["output"])
    names = info.get("output_name") or info["output"]
    outputs = [
        {"name": name, "type": kind, "list": bool(many), "tooltip": bool(tip)}
        for name, kind, many, tip in zip(names, info["output"], info["output_is_list"], tooltips)
    ]
    return {
        "display_name": info.get("display_name") or node_id,
        "category": info["category"],
        "description": bool(info.get("description")),
        "pack": pack_of(info["python_module"]),
        "output_node": bool(info["output_node"]),
        "inputs": inputs,
        "outputs": outputs,
    }


def _input(node_id: str, name: str, entry: list[Any], optional: bool) -> dict[str, Any]:
    kind, options = entry[0], entry[1] if len(entry) > 1 else {}
    choices = options.get("options")
    if isinstance(kind, list):  # the older form of a combo
        kind, choices = "COMBO", kind
    found: dict[str, Any] = {"name": name, "type": kind, "optional": optional}
    found["widget"] = kind in WIDGETS and not options.get("forceInput", False)
    upload = any(key.endswith("_upload") and value for key, value in options.items())
    if kind == "COMBO":
        found["options"] = "files" if upload or (node_id, name) in FILE_COMBOS else list(choices or ())
    for key in ("default", "min", "max", "step"):
        if options.get(key) is not None and found.get("options") != "files":
            found[key] = options[key]
    if options.get("multiline"):
        found["multiline"] = True
    if upload:
        found["upload"] = True
    # The frontend adds a second widget ("fixed", "randomize", ...) to these, by flag or by name.
    if kind == "INT" and options.get("control_after_generate", name in ("seed", "noise_seed")):
        found["control"] = True
    if options.get("advanced"):  # frontends may fold it away
        found["advanced"] = True
    found["tooltip"] = bool(options.get("tooltip"))
    return found


def pack_of(python_module: str) -> str:
    """The registry's name of the pack that a node comes from."""
    parts = python_module.split(".")
    return parts[1] if parts[0] == "custom_nodes" else CORE


def snapshot(
    object_info: dict[str, Any], ids: Iterable[str], version: str, known: Mapping[str, Any] = MappingProxyType({})
) -> dict[str, Any]:
    """Definitions of this pack's nodes and of `ids`, in the form of the file.

    known: {node id: definition} of an earlier one, from which nodes of other packs are taken where the server lacks
    them. Raises KeyError that names the nodes that neither has, or that the core no longer has.
    """
    own = [name for name in object_info if name.startswith(PREFIX)]
    wanted = sorted({*own, *ids} - NOTES)
    kept = {name: known[name] for name in wanted if name in known and known[name]["pack"] != CORE}
    found = kept | {name: compact(name, object_info[name]) for name in wanted if name in object_info}
    if missing := [name for name in wanted if name not in found]:
        raise KeyError(f"the server has no node {', '.join(missing)}; start it with the packs that bring them")
    return {"comfyui": version, "nodes": {name: found[name] for name in wanted}}


def used_by_workflows(folder: Path = WORKFLOWS) -> set[str]:
    """Ids of all nodes in the committed workflows."""
    return {n["type"] for path in folder.glob("*.json") for n in json.loads(path.read_text("utf-8"))["nodes"]}


def load(path: Path = PATH) -> dict[str, Any]:
    """{node id: definition}."""
    return json.loads(path.read_text(encoding="utf-8"))["nodes"]


def read_server(url: str) -> tuple[dict[str, Any], str]:
    """(/object_info, version) of a running ComfyUI."""
    client = Client(url)
    return client.get("/object_info"), client.get("/system_stats")["system"]["comfyui_version"]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Write the snapshot of node definitions from a running ComfyUI.")
    parser.add_argument("url", help="the running server, e.g. http://127.0.0.1:8188")
    parser.add_argument("--also", nargs="*", default=[], help="ids of further nodes that a new workflow is to use")
    parser.add_argument("--out", type=Path, default=PATH)
    args = parser.parse_args(argv)
    object_info, version = read_server(args.url)
    kept = load(args.out) if args.out.is_file() else {}
    foreign = {name for name in kept if not name.startswith(PREFIX)}
    found = snapshot(object_info, {*used_by_workflows(), *foreign, *args.also}, version, kept)
    args.out.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    sys.stdout.write(f"{args.out}: {len(found['nodes'])} nodes of ComfyUI {version}\n")
    if absent := [name for name in found["nodes"] if name not in object_info]:
        sys.stdout.write(f"not on this server, as they were: {', '.join(absent)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
