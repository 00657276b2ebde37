"""Workflows that were saved with 0.2.0 and 0.3.0 open and mean the same: told from node definitions alone, no host.

tests/nodes/released.json holds what those versions' nodes had. The frontend finds sockets by name and outputs and
widget values by position; a prompt in API format names its inputs and may leave optional ones out."""

import itertools
import json
import math

import pytest

from videograin.lab.paths import ROOT
from videograin.lab.templates import checker, definitions

KNOWN = definitions.load()
RELEASED = json.loads((ROOT / "tests" / "nodes" / "released.json").read_text(encoding="utf-8"))
NODES = [(version, name) for version, nodes in RELEASED.items() for name in nodes]
SAVED = sorted((ROOT / "tests" / "in_comfyui" / "saved").glob("*.json"))
DEFAULTS = {  # of new nodes, changed with 0.3.0 (see the changelog)
    ("0.2.0", "VideoGrainSelfAttnLayoutCluster", "clusters"),
    ("0.2.0", "VideoGrainSTLayoutAttnPatch", "background"),
}


def pairs(version, name):
    """(input then, input now)."""
    now = {entry["name"]: entry for entry in KNOWN[name]["inputs"]}
    return [(entry, now[entry["name"]]) for entry in RELEASED[version][name]["inputs"]]


@pytest.mark.parametrize(("version", "name"), NODES)
def test_links_of_a_saved_workflow_find_their_sockets(version, name):
    then, now = RELEASED[version][name], KNOWN[name]
    outputs = [{key: output[key] for key in ("name", "type", "list")} for output in now["outputs"]]
    assert outputs[: len(then["outputs"])] == then["outputs"]
    assert now["output_node"] == then["output_node"]
    names = [entry["name"] for entry in then["inputs"]]
    assert [entry["name"] for entry in now["inputs"] if entry["name"] in names] == names
    for old, new in pairs(version, name):
        assert (new["type"], new["widget"]) == (old["type"], old["widget"]), old["name"]


@pytest.mark.parametrize(("version", "name"), NODES)
def test_saved_widget_values_stand_at_their_widgets(version, name):
    then, now = (
        [(entry["name"], kind) for entry, kind in checker.widget_slots(node)]
        for node in (RELEASED[version][name], KNOWN[name])
    )
    assert now[: len(then)] == then


@pytest.mark.parametrize(("version", "name"), NODES)
def test_saved_values_are_still_allowed(version, name):
    for old, new in pairs(version, name):
        if isinstance(old.get("options"), list):
            assert set(old["options"]) <= set(new["options"]), old["name"]
        else:
            assert new.get("options") == old.get("options"), old["name"]
        assert new.get("min", -math.inf) <= old.get("min", -math.inf), old["name"]
        assert new.get("max", math.inf) >= old.get("max", math.inf), old["name"]


@pytest.mark.parametrize(("version", "name"), NODES)
def test_what_a_prompt_left_out_may_still_be_left_out(version, name):
    then = {entry["name"]: entry for entry in RELEASED[version][name]["inputs"]}
    for entry in KNOWN[name]["inputs"]:
        assert entry["optional"] or not then.get(entry["name"], {"optional": True})["optional"], entry["name"]
    for old, new in pairs(version, name):
        if (version, name, old["name"]) not in DEFAULTS:
            assert new.get("default") == old.get("default"), old["name"]


@pytest.mark.parametrize("path", SAVED, ids=lambda path: path.stem)
def test_a_saved_workflow_makes_the_prompt_of_its_version(path):
    """What is new since then stands in it at its default, or not at all."""
    saved = json.loads(path.read_text(encoding="utf-8"))
    version = path.stem.rsplit("_", 1)[1]
    then = checker.to_api(saved, KNOWN | RELEASED[version])
    now = checker.to_api(saved, KNOWN)
    assert now == then
    assert checker.check_api(now, KNOWN) == []
    assert any(node["class_type"] in RELEASED[version] for node in now.values())


def test_every_version_kept_the_nodes_of_the_one_before():
    for before, after in itertools.pairwise([*RELEASED.values(), KNOWN]):
        assert before.keys() <= after.keys()
