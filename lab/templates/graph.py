"""A workflow from a compact description: nodes by name, links by name, places from a layout of groups and columns.

    g = Graph("quickstart", definitions)
    clip = g.add("VideoGrainDemoClip", frames=8)
    text = g.add("CLIPTextEncode", text=clip["source_prompt"], clip=model["clip"])
    g.layout(Group("1  Clip", BLUE, [[clip], [text]]))
    g.ui(), g.api()

Inputs that are left out keep their defaults; unknown names are errors here and not on the user's canvas.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import Any

from ..pages import render
from .checker import Definitions, fits, sockets_first, to_api, widget_slots
from .definitions import NOTES

BLUE, GREEN, PURPLE, BROWN, RED, YELLOW = "#3f789e", "#8A8", "#88A", "#b06634", "#A88", "#b58b2a"
NOTE_COLOURS = {"color": "#432", "bgcolor": "#653"}

TITLE = 30  # a node's title bar lies above its position
SLOT, WIDGET, TEXT = 20, 24, 54  # heights of a socket row, a widget row, and the least of a text box
GAP, COLUMN_GAP, GROUP_GAP, MARGIN, GROUP_TITLE = 26, 40, 40, 20, 44
WIDTH = 300
LETTER = 10.5  # mean width of a letter in a group's title
#: Versions that have these nodes, as the workflows name them.
VERSIONS = {"comfy-core": "0.3.64", "videograin": "0.2.0"}


class GraphError(ValueError):
    """The description does not fit the definitions; the text names node and input."""


@dataclass(frozen=True)
class Output:
    node: Node
    slot: int

    @property
    def kind(self) -> str:
        return self.node.definition["outputs"][self.slot]["type"]


@dataclass(eq=False)
class Node:
    """One node; ``node["name"]`` is its output of that name, ``node[0]`` the first."""

    id: int
    kind: str
    definition: dict[str, Any]
    values: dict[str, Any]
    links: dict[str, Output]
    title: str | None = None
    width: int = WIDTH
    more: int = 0  # extra height: for pictures, videos and long texts
    models: tuple[dict[str, str], ...] = ()
    place: tuple[int, int] = (0, 0)

    def __getitem__(self, name: str | int) -> Output:
        names = [o["name"] for o in self.definition["outputs"]]
        if isinstance(name, int) and name < len(names):
            return Output(self, name)
        if name not in names or names.count(name) > 1:
            raise GraphError(f"{self.kind} has no single output {name!r}; it has {names}")
        return Output(self, names.index(name))

    @property
    def height(self) -> int:
        """What LiteGraph's computeSize gives, so that nothing grows when the workflow is opened."""
        if self.kind in NOTES:
            return self.more
        sockets = sum(not e["widget"] for e in self.definition["inputs"])
        rows = max(sockets, len(self.definition["outputs"]), 1)
        slots = widget_slots(self.definition)
        tall = sum(TEXT if e.get("multiline") and kind == "value" else WIDGET for e, kind in slots)
        return rows * SLOT + (tall + 14 if slots else 6) + self.more


@dataclass
class Group:
    """columns: lists of nodes from top to bottom, side by side."""

    title: str
    colour: str
    columns: list[list[Node]]


@dataclass
class Graph:
    name: str
    definitions: Definitions
    nodes: list[Node] = field(default_factory=list)
    groups: list[tuple[Group, tuple[int, int, int, int]]] = field(default_factory=list)

    def add(
        self,
        kind: str,
        *,
        title: str | None = None,
        wide: int = WIDTH,
        tall: int = 0,
        models: tuple[dict[str, str], ...] = (),
        **inputs: Any,
    ) -> Node:
        """One more node. wide, tall: its width and extra height; inputs: values of widgets, or `Output`s of others."""
        if kind not in self.definitions:
            raise GraphError(f"{self.name}: no node {kind!r} in the definitions; refresh the snapshot")
        definition = self.definitions[kind]
        entries = {e["name"]: e for e in definition["inputs"]}
        values, links = {}, {}
        for name, value in inputs.items():
            if name not in entries:
                raise GraphError(f"{self.name}: {kind} has no input {name!r}; it has {list(entries)}")
            if isinstance(value, Output):
                if not fits(value.kind, entries[name]["type"]):
                    raise GraphError(f"{self.name}: {kind}.{name} is {entries[name]['type']}, not {value.kind}")
                links[name] = value
            else:
                values[name] = value
        missing = [n for n, e in entries.items() if not e["optional"] and not e["widget"] and n not in links]
        if missing:
            raise GraphError(f"{self.name}: {kind} needs {missing}")
        node = Node(len(self.nodes) + 1, kind, definition, values, links, title, wide, tall, models)
        self.nodes.append(node)
        return node

    def read_me(self, *, width: int, height: int) -> Node:
        """The note of the workflow's own name."""
        return self.note(self.name, width=width, height=height, title="Read me")

    def note(self, name: str, *, height: int, width: int = WIDTH, title: str = "Note") -> Node:
        """A note on the canvas, in Markdown: page_templates/notes/NAME.md.j2."""
        nothing: dict[str, Any] = {"inputs": [], "outputs": []}
        text = render(f"notes/{name}").strip()
        node = Node(len(self.nodes) + 1, "MarkdownNote", nothing, {"text": text}, {}, title, width, height)
        self.nodes.append(node)
        return node

    def layout(self, *places: Group | list[Group]) -> None:
        """Place groups from left to right, a list of groups below each other; every node must be in exactly one."""
        stacks = [place if isinstance(place, list) else [place] for place in places]
        placed = [n for stack in stacks for group in stack for column in group.columns for n in column]
        if sorted(n.id for n in placed) != [n.id for n in self.nodes]:
            odd = {n.kind for n in self.nodes} - {n.kind for n in placed}
            raise GraphError(f"{self.name}: every node belongs in one group; check {odd or 'what is listed twice'}")
        left = 0
        for stack in stacks:
            top, widest = 0, 0
            for group in stack:
                box = self._place(group, left, top)
                if len(group.title) * LETTER > box[2]:
                    raise GraphError(f"{self.name}: the title {group.title!r} is wider than its group; shorten it")
                top, widest = top + box[3] + GROUP_GAP, max(widest, box[2])
                self.groups.append((group, box))
            left += widest + GROUP_GAP

    @staticmethod
    def _place(group: Group, left: int, top: int) -> tuple[int, int, int, int]:
        x, lowest = left + MARGIN, 0
        for column in group.columns:
            y = top + GROUP_TITLE
            for node in column:
                node.place = (x, y + TITLE)
                y += TITLE + node.height + GAP
            x += max(n.width for n in column) + COLUMN_GAP
            lowest = max(lowest, y - GAP)
        return left, top, x - COLUMN_GAP + MARGIN - left, lowest + MARGIN - top

    # -- the two formats ----------------------------------------------------------------------------------------------
    def ui(self) -> dict[str, Any]:
        """The workflow as the browser saves it."""
        links, nodes = [], []
        fans: dict[tuple[int, int], list[int]] = {}
        for node in self.nodes:
            for slot, entry in enumerate(sockets_first(node.definition)):
                source = node.links.get(entry["name"])
                if source is not None:
                    links.append([len(links) + 1, source.node.id, source.slot, node.id, slot, source.kind])
                    fans.setdefault((source.node.id, source.slot), []).append(len(links))
        into = {(link[3], link[4]): link[0] for link in links}
        for order, node in enumerate(self._in_order()):
            nodes.append(_ui_node(node, order, into, fans))
        return {
            "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"videograin/{self.name}")),
            "revision": 0,
            "last_node_id": len(self.nodes),
            "last_link_id": len(links),
            "nodes": sorted(nodes, key=lambda n: n["id"]),
            "links": links,
            "groups": [
                {"id": n, "title": g.title, "bounding": list(b), "color": g.colour, "font_size": 24, "flags": {}}
                for n, (g, b) in enumerate(self.groups, 1)
            ],
            "config": {},
            "extra": {"ds": {"scale": 0.62, "offset": [90, 120]}},  # opens on the first steps, readable
            "version": 0.4,
        }

    def api(self) -> dict[str, Any]:
        """The same as a prompt for POST /prompt."""
        return to_api(self.ui(), self.definitions)

    def _in_order(self) -> list[Node]:
        """Sources before targets, as the canvas counts them."""
        done: list[Node] = []

        def visit(node: Node) -> None:
            if node not in done:
                for source in node.links.values():
                    visit(source.node)
                done.append(node)

        for node in self.nodes:
            visit(node)
        return done


def _ui_node(
    node: Node, order: int, into: dict[tuple[int, int], int], fans: dict[tuple[int, int], list[int]]
) -> dict[str, Any]:
    inputs = []
    for slot, entry in enumerate(sockets_first(node.definition)):
        found: dict[str, Any] = {"name": entry["name"], "type": entry["type"]}
        if entry["optional"] and not entry["widget"]:
            found["shape"] = 7  # LiteGraph's hollow circle
        if entry["widget"]:
            found["widget"] = {"name": entry["name"]}
        inputs.append({**found, "link": into.get((node.id, slot))})
    if any(e.get("upload") for e in node.definition["inputs"]):
        inputs.append({"name": "upload", "type": "IMAGEUPLOAD", "widget": {"name": "upload"}, "link": None})
    made: dict[str, Any] = {
        "id": node.id,
        "type": node.kind,
        "pos": list(node.place),
        "size": [node.width, node.height],
        "flags": {},
        "order": order,
        "mode": 0,
        "inputs": inputs,
        "outputs": [
            {"name": o["name"], "type": o["type"], "links": fans.get((node.id, slot), [])}
            for slot, o in enumerate(node.definition["outputs"])
        ],
    }
    if node.title:
        made["title"] = node.title
    if node.kind in NOTES:
        return {**made, "properties": {}, "widgets_values": [node.values["text"]], **NOTE_COLOURS}
    pack = node.definition["pack"]
    made["properties"] = {"cnr_id": pack, "Node name for S&R": node.kind}
    if pack in VERSIONS:
        made["properties"]["ver"] = VERSIONS[pack]
    if node.models:
        made["properties"]["models"] = [dict(m) for m in node.models]
    made["widgets_values"] = _values(node)
    return made


def _values(node: Node) -> list[Any]:
    values = []
    for entry, kind in widget_slots(node.definition):
        name = entry["name"]
        if kind == "control":
            values.append("fixed")  # the same queue gives the same result
        elif kind == "upload":
            values.append("image")  # the button's constant value
        elif name in node.values:
            values.append(node.values[name])
        elif "default" in entry:
            values.append(entry["default"])
        elif entry["type"] == "COMBO" and entry["options"] != "files":
            values.append(entry["options"][0])
        elif entry["type"] == "STRING":
            values.append("")
        else:
            raise GraphError(f"{node.kind}.{name} has no default; give it a value")
    return values
