"""The committed workflows against the snapshot of node definitions; and the checker itself, on broken ones."""

import copy
import json
import re

import pytest

from videograin.lab.paths import ROOT
from videograin.lab.templates import checker, definitions
from videograin.lab.templates import write as workflows

NAMES = sorted(p.stem for p in (ROOT / "workflows").glob("*.json"))
KNOWN = definitions.load()


def load(name, folder="workflows"):
    return json.loads((ROOT / folder / f"{name}.json").read_text(encoding="utf-8"))


def test_the_twelve_are_there_each_with_its_twin_and_its_picture():
    assert set(NAMES) == set(workflows.BUILDERS)
    assert len(NAMES) == 12
    assert sorted(p.stem for p in (ROOT / "tests" / "workflows").glob("*.json")) == NAMES
    for name in NAMES:
        picture = ROOT / "workflows" / f"{name}.jpg"
        assert picture.read_bytes()[:2] == b"\xff\xd8", picture
        assert picture.stat().st_size < 300_000, picture


@pytest.mark.parametrize("name", NAMES)
def test_it_is_what_its_description_makes(name):
    """Whoever edits a workflow edits lab/templates/, and runs `python -m videograin.lab.templates.write`."""
    ui, api = workflows.build(name, KNOWN)
    assert load(name) == ui
    assert load(name, "tests/workflows") == api


@pytest.mark.parametrize("name", NAMES)
def test_it_fits_the_definitions(name):
    assert checker.check_ui(load(name), KNOWN) == []
    assert checker.check_api(load(name, "tests/workflows"), KNOWN) == []


@pytest.mark.parametrize("name", NAMES)
def test_its_twin_is_the_prompt_it_makes(name):
    assert checker.to_api(load(name), KNOWN) == load(name, "tests/workflows")


SAVED = sorted((ROOT / "tests" / "in_comfyui" / "saved").glob("*.json"))


@pytest.mark.parametrize("path", SAVED, ids=lambda path: path.stem)
def test_a_workflow_of_an_earlier_version_is_a_prompt_still(path):
    """Its nodes, inputs and values by position are there as they were; what has come since is optional."""
    prompt = checker.to_api(json.loads(path.read_text(encoding="utf-8")), KNOWN)
    assert checker.check_api(prompt, KNOWN) == []


@pytest.mark.parametrize("name", NAMES)
def test_a_note_explains_it_and_phrases_occur_in_the_prompt(name):
    nodes = load(name)["nodes"]
    notes = [n["widgets_values"][0] for n in nodes if n["type"] in definitions.NOTES]
    assert notes
    assert all(len(text) > 60 for text in notes)
    prompt = load(name, "tests/workflows").values()
    whole = " / ".join(str(n["inputs"]["prompt"]) for n in prompt if n["class_type"] == "VideoGrainSTLayoutAttnPatch")
    phrases = [n["inputs"]["prompt"] for n in prompt if n["class_type"] == "VideoGrainRegionPrompt"]
    for node in prompt:
        if node["class_type"] == "VideoGrainRegionsFromMasks":
            phrases += node["inputs"]["prompts"].split("\n")
    assert phrases
    assert all(p in whole for p in phrases if isinstance(p, str)), (phrases, whole)


@pytest.mark.parametrize("name", NAMES)
def test_files_that_it_needs_can_be_downloaded(name):
    """Loaders of models say where the very file they name is to be had."""
    for node in load(name)["nodes"]:
        if node["type"] in ("CheckpointLoaderSimple", "ControlNetLoader"):
            (model,) = node["properties"]["models"]
            assert model["name"] == node["widgets_values"][0]
            assert re.fullmatch(r"https://huggingface\.co/[\w./-]+", model["url"])
            assert model["url"].endswith("/" + model["name"])
            assert model["directory"] in ("checkpoints", "controlnet")


def test_only_the_sam_workflow_needs_another_pack():
    packs = {name: {KNOWN[n["class_type"]]["pack"] for n in load(name, "tests/workflows").values()} for name in NAMES}
    sam = packs.pop("instance_edit_sam")
    assert sam == {"comfy-core", "videograin", "comfyui-segment-anything-2"}
    assert all(p == {"comfy-core", "videograin"} for p in packs.values()), packs


@pytest.mark.parametrize("name", ["start_here", "quickstart", "attention_map", "long_clip", "measure_edits"])
def test_what_runs_on_the_embedded_model_needs_no_file(name):
    for node in load(name, "tests/workflows").values():
        assert not any(e.get("options") == "files" for e in KNOWN[node["class_type"]]["inputs"])


# -- the checker finds what is broken ---------------------------------------------------------------------------------
def node_of(workflow, kind):
    return next(n for n in workflow["nodes"] if n["type"] == kind)


def rename_node(w):
    node_of(w, "VideoGrainLatentBlend")["type"] = "VideoGrainNoSuchNode"


def drop_widget(w):
    node_of(w, "SamplerCustom")["widgets_values"].pop()


def forget_seed_control(w):
    node_of(w, "SamplerCustom")["widgets_values"].remove("fixed")


def swap_widgets(w):
    values = node_of(w, "VideoGrainDDIMVideoInversion")["widgets_values"]
    values[0], values[1] = values[1], values[0]


def out_of_range(w):
    node_of(w, "VideoGrainPixelComposite")["widgets_values"][0] = 9999.0


def unknown_option(w):
    node_of(w, "KSamplerSelect")["widgets_values"][0] = "no such sampler"


def cut_link(w):
    link = next(x for x in w["links"] if x[5] == "VIDEO")
    w["links"].remove(link)
    by_id = {n["id"]: n for n in w["nodes"]}
    by_id[link[1]]["outputs"][link[2]]["links"].remove(link[0])
    by_id[link[3]]["inputs"][link[4]]["link"] = None


def dangling_link(w):
    w["links"].append([9999, 9998, 0, 9997, 0, "MODEL"])


def wrong_type(w):
    """The sampler's latent_image from the model's output."""
    sampler, model = node_of(w, "SamplerCustom"), node_of(w, "VideoGrainEmbeddedModel")
    slot = [i["name"] for i in sampler["inputs"]].index("latent_image")
    link = next(x for x in w["links"] if x[0] == sampler["inputs"][slot]["link"])
    next(n for n in w["nodes"] if n["id"] == link[1])["outputs"][link[2]]["links"].remove(link[0])
    link[1], link[2], link[5] = model["id"], 0, "MODEL"
    model["outputs"][0]["links"].append(link[0])


def renamed_input(w):
    node_of(w, "VideoGrainRegionPrompt")["inputs"][0]["name"] = "masks"


def no_output(w):
    saved = node_of(w, "SaveVideo")
    w["nodes"].remove(saved)
    gone = [x for x in w["links"] if x[3] == saved["id"]]
    w["links"] = [x for x in w["links"] if x not in gone]
    for node in w["nodes"]:
        for out in node["outputs"]:
            out["links"] = [n for n in out["links"] if n not in [x[0] for x in gone]]


def overlap(w):
    w["nodes"][1]["pos"] = list(w["nodes"][2]["pos"])


def empty_note(w):
    node_of(w, "MarkdownNote")["widgets_values"] = [" "]


def unnamed_pack(w):
    del node_of(w, "VideoGrainLatentBlend")["properties"]["cnr_id"]


BREAKS = [
    (rename_node, "unknown node"),
    (drop_widget, "widget values"),
    (forget_seed_control, "widget values"),
    (swap_widgets, "is no INT"),
    (out_of_range, "outside"),
    (unknown_option, "none of"),
    (cut_link, "missing"),
    (dangling_link, "not both exist"),
    (wrong_type, "MODEL -> LATENT"),
    (renamed_input, "its inputs are"),
    (no_output, "leads to no output node"),
    (overlap, "overlap"),
    (empty_note, "empty note"),
    (unnamed_pack, "properties"),
]


@pytest.mark.parametrize(("spoil", "said"), BREAKS, ids=[b.__name__ for b, _ in BREAKS])
def test_the_checker_names_what_is_broken(spoil, said):
    broken = copy.deepcopy(load("quickstart"))
    spoil(broken)
    mistakes = checker.check_ui(broken, KNOWN)
    assert any(said in m for m in mistakes), mistakes


def test_the_api_checker_names_what_is_broken():
    good = load("quickstart", "tests/workflows")
    key = {n["class_type"]: k for k, n in good.items()}

    def said(**changes):
        prompt = copy.deepcopy(good)
        prompt[key["SamplerCustom"]]["inputs"].update(changes)
        return checker.check_api(prompt, KNOWN)

    assert any("no input 'steps'" in m for m in said(steps=3))
    assert any("does not exist" in m for m in said(model=["999", 0]))
    assert any("has 2" in m for m in said(latent_image=[key["SamplerCustom"], 5]))
    assert any("takes a link" in m for m in said(model="sd15"))
    assert any("is no BOOLEAN" in m for m in said(add_noise=0))
