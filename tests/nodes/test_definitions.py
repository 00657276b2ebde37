"""What the snapshot says of this pack's nodes: the promises that a user and a saved workflow rely on. The host tests
compare the snapshot with a live server."""

import pytest

from videograin.editing.fields import fields_of
from videograin.editing.settings import AttentionSettings
from videograin.lab.templates import definitions
from videograin.lab.templates.checker import value_mistake, widgets

KNOWN = definitions.load()
OWN = {name: node for name, node in KNOWN.items() if name.startswith(definitions.PREFIX)}
TABLE = {
    "RegionEdit": "Region Edit",
    "DDIMVideoInversion": "DDIM Video Inversion",
    "SaveInversion": "Save Inversion",
    "LoadInversion": "Load Inversion",
    "InversionCheck": "Inversion Check",
    "SelfAttnLayoutCluster": "Self-Attn Layout Cluster",
    "PickLayoutMask": "Pick Layout Mask",
    "RegionPrompt": "Region Prompt",
    "RegionsFromMasks": "Regions from Masks",
    "ClipMotion": "Clip Motion",
    "LongClipWindows": "Long Clip Windows",
    "STLayoutAttnPatch": "ST-Layout Attn Patch",
    "AttentionMap": "Attention Map",
    "Steady": "Steady",
    "LatentBlend": "Latent Blend",
    "LatentBlendModel": "Latent Blend (Model Patch)",
    "PixelComposite": "Pixel Composite",
    "RegionPreview": "Region Preview",
    "EditMetrics": "Edit Metrics",
    "EmbeddedModel": "Embedded Model",
    "DemoClip": "Demo Clip",
}
# Fields of AttentionSettings that ST-Layout Attn Patch calls otherwise, and those that it does not have.
RENAMED = {
    "mode": "spacetime",
    "anchors": "key_frames",
    "range": "row_range",
    "start": "start_percent",
    "end": "end_percent",
}
NO_INPUTS: set[str] = set()
MODEL_NODES = [name for name, node in OWN.items() if any(i["type"] == "MODEL" for i in node["inputs"])]


def test_ids_and_names():
    assert {name: node["display_name"] for name, node in OWN.items()} == {
        definitions.PREFIX + name: shown for name, shown in TABLE.items()
    }


@pytest.mark.parametrize("name", sorted(OWN))
def test_everything_is_explained(name):
    node = OWN[name]
    assert node["category"] == "VideoGrain"
    assert node["description"]
    assert [i["name"] for i in node["inputs"] if not i["tooltip"]] == []
    assert [o["name"] for o in node["outputs"] if not o["tooltip"]] == []


@pytest.mark.parametrize("name", sorted(OWN))
def test_defaults_are_allowed_values(name):
    """Every number and switch of ours has a default, and every default lies in its range."""
    for entry in widgets(OWN[name]):
        assert entry["type"] in ("STRING", "COMBO") or "default" in entry, entry
        if "default" in entry:
            assert value_mistake(entry, entry["default"]) is None


@pytest.mark.parametrize("name", sorted(OWN))
def test_names_are_unique_within_a_node(name):
    for kind in ("inputs", "outputs"):
        names = [x["name"] for x in OWN[name][kind]]
        assert len(set(names)) == len(names)


@pytest.mark.parametrize("name", MODEL_NODES)
def test_model_comes_first_and_goes_out_first(name):
    node = OWN[name]
    assert node["inputs"][0] == {**node["inputs"][0], "name": "model", "type": "MODEL", "optional": False}
    out = [o["type"] for o in node["outputs"]]
    assert "MODEL" not in out[1:]


def test_both_space_time_nodes_offer_the_same():
    def entry(node, name):
        return next(i for i in OWN[definitions.PREFIX + node]["inputs"] if i["name"] == name)

    for name in ("spacetime", "key_frames"):
        one, two = entry("DDIMVideoInversion", name), entry("STLayoutAttnPatch", name)
        assert one == two


def test_every_setting_of_attention_is_an_input_or_listed_as_none():
    inputs = {entry["name"] for entry in OWN[definitions.PREFIX + "STLayoutAttnPatch"]["inputs"]}
    named = {field: RENAMED.get(field, field) for field in fields_of(AttentionSettings)}
    assert {field for field, name in named.items() if name not in inputs} == NO_INPUTS


def test_compact_reads_both_forms_of_a_combo_and_knows_uploads():
    info = {
        "input": {
            "required": {
                "old": [["a", "b"], {"default": "b"}],
                "new": ["COMBO", {"options": ["a", "b"], "tooltip": "x"}],
                "file": [["one.png"], {"image_upload": True}],
                "seed": ["INT", {"default": 0}],
                "text": ["STRING", {"forceInput": True}],
            },
            "optional": {"mask": ["MASK"], "knob": ["INT", {"default": 1, "advanced": True}]},
        },
        "input_order": {"required": ["new", "old", "file", "seed", "text"], "optional": ["mask", "knob"]},
        "output": ["IMAGE"],
        "output_is_list": [False],
        "python_module": "custom_nodes.some-pack.nodes",
        "category": "c",
        "output_node": False,
    }
    found = definitions.compact("X", info)
    assert [i["name"] for i in found["inputs"]] == ["new", "old", "file", "seed", "text", "mask", "knob"]
    new, old, file, seed, text, mask, knob = found["inputs"]
    assert (new["type"], new["options"], new["tooltip"]) == ("COMBO", ["a", "b"], True)
    assert (old["type"], old["options"], old["default"], old["tooltip"]) == ("COMBO", ["a", "b"], "b", False)
    assert (file["options"], file["upload"]) == ("files", True)
    assert seed["control"] is True
    assert knob["advanced"] is True
    assert "advanced" not in seed
    assert (text["widget"], mask["widget"], mask["optional"]) == (False, False, True)
    assert found["pack"] == "some-pack"


def listed(pack: str, **more) -> dict:
    """A node without inputs, as /object_info shows it."""
    node = {"input": {}, "output": [], "output_is_list": [], "category": "c", "output_node": False}
    return node | {"python_module": f"custom_nodes.{pack}" if pack else "nodes"} | more


def test_a_snapshot_keeps_the_nodes_of_packs_that_the_server_lacks():
    before = {"Core": listed(""), "Theirs": listed("sam"), "VideoGrainOurs": listed("videograin")}
    known = definitions.snapshot(before, ["Core", "Theirs"], "1")["nodes"]
    now = {"Core": listed("", category="d"), "VideoGrainNew": listed("videograin")}
    found = definitions.snapshot(now, ["Core", "Theirs"], "2", known)
    assert list(found["nodes"]) == ["Core", "Theirs", "VideoGrainNew"]
    assert found["nodes"]["Theirs"] == known["Theirs"]
    assert found["nodes"]["Core"]["category"] == "d"
    with pytest.raises(KeyError, match="no node Never;"):
        definitions.snapshot(now, ["Never"], "2", known)
    with pytest.raises(KeyError, match="no node Core;"):
        definitions.snapshot({}, ["Core", "Theirs"], "2", known)
