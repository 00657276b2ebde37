"""Checks of workflows against the definitions snapshot, without a host, in UI format and in API format.

Every function returns a list of mistakes as text; an empty list means that all is well.
"""

from __future__ import annotations

from typing import Any

from .definitions import NOTES

Definitions = dict[str, dict[str, Any]]
#: Modes of a node on the canvas that keep it out of the prompt.
MUTED, BYPASSED = 2, 4


def sockets_first(definition: dict[str, Any]) -> list[dict[str, Any]]:
    """The inputs in the order in which the frontend lists them: sockets, then widgets."""
    return [i for i in definition["inputs"] if not i["widget"]] + widgets(definition)


def widgets(definition: dict[str, Any]) -> list[dict[str, Any]]:
    return [i for i in definition["inputs"] if i["widget"]]


def widget_slots(definition: dict[str, Any]) -> list[tuple[dict[str, Any], str]]:
    """What stands at each position of widgets_values: (input, "value", "control" or "upload")."""
    slots = []
    for entry in widgets(definition):
        slots.append((entry, "value"))
        if entry.get("control"):
            slots.append((entry, "control"))
    # The upload button comes after all others: the frontend appends it as one more input.
    return slots + [(entry, "upload") for entry in widgets(definition) if entry.get("upload")]


def fits(output: str, wanted: str) -> bool:
    """Whether a link may join the two types ("*" takes all; "A,B" is either)."""
    if "*" in (output, wanted):
        return True
    return bool({t.strip() for t in output.split(",")} & {t.strip() for t in wanted.split(",")})


def value_mistake(entry: dict[str, Any], value: Any) -> str | None:
    """What is wrong with a widget's value, or None."""
    kind = entry["type"]
    whole, real = isinstance(value, int), isinstance(value, (int, float))
    good = {
        "INT": whole and not isinstance(value, bool),
        "FLOAT": real and not isinstance(value, bool),
        "STRING": isinstance(value, str),
        "BOOLEAN": isinstance(value, bool),
        "COMBO": isinstance(value, str),
    }[kind]
    if not good:
        return f"{entry['name']}: {value!r} is no {kind}"
    if kind == "COMBO" and entry["options"] != "files" and value not in entry["options"]:
        return f"{entry['name']}: {value!r} is none of {entry['options']}"
    if kind in ("INT", "FLOAT") and not entry.get("min", value) <= value <= entry.get("max", value):
        return f"{entry['name']}: {value} is outside {entry.get('min')} ... {entry.get('max')}"
    return None


def check_api(prompt: dict[str, Any], definitions: Definitions) -> list[str]:
    """A prompt in API format: ids, names, values, links, required inputs, at least one output node, nothing idle."""
    said = []
    for key, node in prompt.items():
        name, place = node["class_type"], f"node {key} ({node['class_type']})"
        if name not in definitions:
            said.append(f"{place}: unknown node")
            continue
        entries = {e["name"]: e for e in definitions[name]["inputs"]}
        for given, value in node["inputs"].items():
            if given not in entries:
                said.append(f"{place}: no input {given!r}")
            elif isinstance(value, list):
                said += [f"{place}: {m}" for m in _link_mistakes(entries[given], value, prompt, definitions)]
            elif not entries[given]["widget"]:
                said.append(f"{place}: {given} takes a link, not {value!r}")
            elif mistake := value_mistake(entries[given], value):
                said.append(f"{place}: {mistake}")
        said += [
            f"{place}: required input {e['name']} is missing"
            for e in entries.values()
            if not e["optional"] and e["name"] not in node["inputs"]
        ]
    outputs = [k for k, n in prompt.items() if definitions.get(n["class_type"], {}).get("output_node")]
    if not outputs:
        said.append("no output node")
    used = _ancestors(prompt, outputs)
    said += [f"node {k} ({n['class_type']}): leads to no output node" for k, n in prompt.items() if k not in used]
    return said


def _link_mistakes(
    entry: dict[str, Any], value: list[Any], prompt: dict[str, Any], definitions: Definitions
) -> list[str]:
    origin, slot = value
    if origin not in prompt:
        return [f"{entry['name']} comes from node {origin}, which does not exist"]
    source = definitions.get(prompt[origin]["class_type"])
    if source is None:
        return []
    if not 0 <= slot < len(source["outputs"]):
        return [f"{entry['name']} comes from output {slot} of node {origin}, which has {len(source['outputs'])}"]
    came = source["outputs"][slot]["type"]
    return [] if fits(came, entry["type"]) else [f"{entry['name']} is {entry['type']}, its link brings {came}"]


def _ancestors(prompt: dict[str, Any], ends: list[str]) -> set[str]:
    seen: set[str] = set()
    todo = list(ends)
    while todo:
        key = todo.pop()
        if key not in seen and key in prompt:
            seen.add(key)
            todo += [v[0] for v in prompt[key]["inputs"].values() if isinstance(v, list)]
    return seen


def check_ui(workflow: dict[str, Any], definitions: Definitions) -> list[str]:
    """A workflow in UI format: nodes, slots, widget values by position, links at both ends, groups, no overlaps; then
    the prompt it makes, by `check_api`."""
    said: list[str] = []
    nodes = {n["id"]: n for n in workflow["nodes"]}
    links = {link[0]: link for link in workflow["links"]}
    if len(nodes) != len(workflow["nodes"]) or len(links) != len(workflow["links"]):
        said.append("ids of nodes or links are not unique")
    if workflow["last_node_id"] < max(nodes, default=0) or workflow["last_link_id"] < max(links, default=0):
        said.append("last_node_id or last_link_id is below an id in use")
    for node in nodes.values():
        said += [f"node {node['id']} ({node['type']}): {m}" for m in _node_mistakes(node, links, definitions)]
    for link in links.values():
        said += [f"link {link[0]}: {m}" for m in _ends(link, nodes)]
    said += overlaps(workflow)
    return said or check_api(to_api(workflow, definitions), definitions)


def _node_mistakes(node: dict[str, Any], links: dict[int, list[Any]], definitions: Definitions) -> list[str]:
    if node["type"] in NOTES:
        return [] if node["widgets_values"][0].strip() else ["an empty note"]
    definition = definitions.get(node["type"])
    if definition is None:
        return ["unknown node"]
    said = []
    entries = sockets_first(definition)
    here = [(i["name"], i["type"], i.get("widget", {}).get("name")) for i in node["inputs"]]
    wanted = [(e["name"], e["type"], e["name"] if e["widget"] else None) for e in entries]
    uploads = [("upload", "IMAGEUPLOAD", "upload")] if any(e.get("upload") for e in entries) else []
    if here != wanted + uploads:
        said.append(f"its inputs are {here}, expected {wanted + uploads}")
    outputs = [(o["name"], o["type"]) for o in node["outputs"]]
    if outputs != [(o["name"], o["type"]) for o in definition["outputs"]]:
        said.append(f"its outputs are {outputs}")
    slots, values = widget_slots(definition), node.get("widgets_values", [])
    if len(values) != len(slots):
        said.append(f"{len(values)} widget values, expected {len(slots)}")
    for (entry, kind), value in zip(slots, values):
        if kind == "value" and (mistake := value_mistake(entry, value)):
            said.append(mistake)
        if kind == "control" and value not in ("fixed", "increment", "decrement", "randomize"):
            said.append(f"{entry['name']}: {value!r} is no way to go on after a run")
    linked = [i["link"] for i in node["inputs"]] + [n for o in node["outputs"] for n in o["links"]]
    said += [f"link {n} does not exist" for n in linked if n is not None and n not in links]
    properties = node["properties"]
    if properties.get("Node name for S&R") != node["type"] or properties.get("cnr_id") != definition["pack"]:
        said.append(f"its properties do not name node and pack: {properties}")
    return said


def _ends(link: list[Any], nodes: dict[int, dict[str, Any]]) -> list[str]:
    number, origin, out, target, into, kind = link
    if origin not in nodes or target not in nodes:
        return [f"joins node {origin} and node {target}, not both exist"]
    outputs, inputs = nodes[origin]["outputs"], nodes[target]["inputs"]
    if out >= len(outputs) or into >= len(inputs):
        return ["a slot does not exist"]
    said = []
    if number not in outputs[out]["links"] or inputs[into]["link"] != number:
        said.append("its nodes do not know it")
    if kind != outputs[out]["type"] or not fits(kind, inputs[into]["type"]):
        said.append(f"{outputs[out]['type']} -> {inputs[into]['type']} as {kind}")
    return said


TITLE = 30  # height of a node's title bar, which lies above its position


def overlaps(workflow: dict[str, Any]) -> list[str]:
    """Nodes that lie on each other, and groups that cut through a node or another group."""
    boxes = {
        f"node {n['id']} ({n['type']})": (n["pos"][0], n["pos"][1] - TITLE, n["size"][0], n["size"][1] + TITLE)
        for n in workflow["nodes"]
    }
    groups = {f"group {g['title']!r}": tuple(g["bounding"]) for g in workflow["groups"]}
    said = [f"{a} and {b} overlap" for a, b in _pairs(boxes) if _apart(boxes[a], boxes[b]) is False]
    said += [f"{a} and {b} overlap" for a, b in _pairs(groups) if _apart(groups[a], groups[b]) is False]
    for group, outer in groups.items():
        for name, box in boxes.items():
            if not _apart(outer, box) and not _inside(outer, box):
                said.append(f"{group} cuts through {name}")
    return said


def _pairs(boxes: dict[str, Any]) -> list[tuple[str, str]]:
    names = list(boxes)
    return [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]


def _apart(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a[0] + a[2] <= b[0] or b[0] + b[2] <= a[0] or a[1] + a[3] <= b[1] or b[1] + b[3] <= a[1]


def _inside(outer: tuple[float, ...], box: tuple[float, ...]) -> bool:
    x, y, w, h = box
    return outer[0] <= x and outer[1] <= y and x + w <= outer[0] + outer[2] and y + h <= outer[1] + outer[3]


def to_api(workflow: dict[str, Any], definitions: Definitions) -> dict[str, Any]:
    """The prompt that the frontend makes of a workflow in UI format (no subgraphs, no reroutes, nothing bypassed)."""
    links = {link[0]: link for link in workflow["links"]}
    prompt = {}
    for node in workflow["nodes"]:
        if node["type"] in NOTES or node.get("mode", 0) in (MUTED, BYPASSED):
            continue
        slots = widget_slots(definitions[node["type"]])
        inputs = {e["name"]: v for (e, kind), v in zip(slots, node.get("widgets_values", [])) if kind == "value"}
        for slot in node["inputs"]:
            if slot["link"] is not None:
                inputs[slot["name"]] = [str(links[slot["link"]][1]), links[slot["link"]][2]]
        prompt[str(node["id"])] = {"class_type": node["type"], "inputs": inputs}
    return prompt
