"""The pack in a started ComfyUI, over HTTP."""

import json
import re
import time
from pathlib import Path

import comfyui_version
import numpy as np
import pytest
from PIL import Image

from videograin.lab.templates import definitions
from videograin.runner.media.video import read_clip

ROOT = Path(__file__).resolve().parents[2]
NODES = sorted(n for n in definitions.load() if n.startswith(definitions.PREFIX))
LANGUAGES = ("en", "zh", "ja")
SNAPSHOT = json.loads(definitions.PATH.read_text(encoding="utf-8"))["comfyui"]


@pytest.fixture(scope="module")
def object_info(server):
    return server.get("/object_info")


def prompt_of(name):
    return json.loads((ROOT / "tests" / "workflows" / f"{name}.json").read_text(encoding="utf-8"))


def small_quickstart(**changes):
    """The quickstart with 3 frames of 64 pixels and 6 steps; changes: {class_type: {input: value}}.

    What CreateVideo gets is also saved as PNG: on processors with AVX-512, x264 does not always make the same file of
    the same frames (docs/hosts.md), and SaveVideo leaves its options to the encoder."""
    prompt = prompt_of("quickstart")
    small = {"VideoGrainDemoClip": {"frames": 3, "size": 64}, "VideoGrainDDIMVideoInversion": {"steps": 6}}
    for wanted in (small, changes):
        for node in prompt.values():
            node["inputs"].update(wanted.get(node["class_type"], {}))
    (video,) = [node for node in prompt.values() if node["class_type"] == "CreateVideo"]
    links = {"images": video["inputs"]["images"], "filename_prefix": "frames"}
    prompt["frames"] = {"class_type": "SaveImage", "inputs": links}
    return prompt


def result(server, run):
    """The edited frames, uint8 [F, H, W, 3], of a run that saved them as a video too."""
    files = [f for node in run.outputs for f in server.saved(run, node) if f.suffix == ".mp4"]
    assert len(files) == 1, run.outputs
    frames = np.stack([np.asarray(Image.open(file)) for file in server.saved(run, "frames")])
    assert read_clip(files[0]).frames.shape == frames.shape
    return frames


def test_the_pack_loads_and_nothing_fails(server):
    log = server.log_text()
    assert "IMPORT FAILED" not in log
    assert "Cannot import" not in log
    assert "Error while calling comfy_entrypoint" not in log


def test_importing_the_pack_is_quick(server):
    found = re.search(r"([0-9.]+) seconds: .*custom_nodes/videograin", server.log_text())
    assert float(found[1]) < 10  # sklearn, cv2 and the weights are for later


def test_a_search_for_flicker_finds_what_helps(object_info):
    """Where the host's search knows more words than a node's name."""
    steady, motion = (object_info[f"VideoGrain{name}"] for name in ("Steady", "ClipMotion"))
    if "search_aliases" in object_info["KSampler"]:
        assert {"flicker", "steady", "jitter", "track"} <= set(steady["search_aliases"]) & set(motion["search_aliases"])
    else:
        assert "search_aliases" not in steady


def test_every_node_is_there_under_one_category(object_info):
    here = {name: info for name, info in object_info.items() if name.startswith("VideoGrain")}
    assert sorted(here) == NODES
    assert {info["category"] for info in here.values()} == {"VideoGrain"}
    assert {info["python_module"] for info in here.values()} == {"custom_nodes.videograin"}


@pytest.mark.parametrize("name", NODES)
def test_definitions_are_frozen(object_info, name):
    """Ids, inputs in order, types, defaults, ranges, options, outputs: saved workflows depend on them."""
    assert definitions.compact(name, object_info[name]) == definitions.load()[name]


@pytest.mark.skipif(comfyui_version.__version__ != SNAPSHOT, reason=f"the snapshot is of ComfyUI {SNAPSHOT}")
def test_core_definitions_are_what_the_workflows_were_checked_against(object_info):
    for name, known in definitions.load().items():
        if known["pack"] == "comfy-core":
            assert definitions.compact(name, object_info[name]) == known, name


@pytest.mark.parametrize("name", NODES)
def test_help_pages_are_served(server, name):
    page = server.fetch(f"/extensions/videograin/docs/{name}.md").decode("utf-8")
    assert page.startswith("#")
    assert len(page) > 200


def test_translations_are_served(server):
    words = server.get("/i18n")
    for language in LANGUAGES:
        known = words[language]["nodeDefs"]
        assert set(NODES) <= set(known), language
        assert all(known[name]["display_name"] for name in NODES)


def test_templates_are_listed_and_served(server):
    names = server.get("/workflow_templates")["videograin"]
    assert sorted(names) == sorted(p.stem for p in (ROOT / "workflows").glob("*.json"))
    for name in names:
        served = server.get(f"/api/workflow_templates/videograin/{name}.json")
        assert served == json.loads((ROOT / "workflows" / f"{name}.json").read_text(encoding="utf-8"))
        assert server.fetch(f"/api/workflow_templates/videograin/{name}.jpg")[:2] == b"\xff\xd8"


def test_quickstart_twice_gives_the_same_pixels(server):
    first = server.run(small_quickstart())
    frames = result(server, first)
    assert frames.shape == (3, 64, 64, 3)
    server.forget()
    again = server.run(small_quickstart())
    assert again.cached == ()
    np.testing.assert_array_equal(result(server, again), frames)


def test_a_run_on_cached_nodes_gives_the_same_pixels(server):
    """Another seed, which the sampler does not use: it runs again on the patched model that the last run made."""
    first = server.run(small_quickstart())
    second = server.run(small_quickstart(SamplerCustom={"noise_seed": 7}))
    ran = {n["class_type"] for k, n in small_quickstart().items() if k not in second.cached}
    assert "SamplerCustom" in ran
    assert not ran & {"VideoGrainSTLayoutAttnPatch", "VideoGrainDDIMVideoInversion"}
    np.testing.assert_array_equal(result(server, second), result(server, first))


def test_an_edit_leaves_the_model_unpatched_for_others(server):
    """A plain KSampler on the loaded model gives the same picture before and after an edit has used that model."""
    sampler = {"seed": 1, "steps": 4, "cfg": 3.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0}
    links = {"model": ["1", 0], "positive": ["2", 0], "negative": ["2", 0], "latent_image": ["3", 0]}
    plain = {
        "1": {"class_type": "VideoGrainEmbeddedModel", "inputs": {}},
        "2": {"class_type": "CLIPTextEncode", "inputs": {"text": "a red circle on sand", "clip": ["1", 1]}},
        "3": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 2}},
        "4": {"class_type": "KSampler", "inputs": {**sampler, **links}},
        "5": {"class_type": "VAEDecode", "inputs": {"samples": ["4", 0], "vae": ["1", 2]}},
        "6": {"class_type": "SaveImage", "inputs": {"images": ["5", 0], "filename_prefix": "plain"}},
    }

    def pictures(run):
        return np.stack([np.asarray(Image.open(file)) for file in server.saved(run, "6")])

    before = pictures(server.run(plain))
    server.run(small_quickstart())
    after = server.run(plain)
    assert "1" in after.cached
    assert "4" not in after.cached
    np.testing.assert_array_equal(pictures(after), before)


def test_the_quickstart_held_steady(server):
    """Clip Motion shows its preview on the node, and both nodes that take its motion change the result."""
    steady, latents, without = small_quickstart(), small_quickstart(), small_quickstart()
    ids = {node["class_type"]: number for number, node in steady.items()}
    for prompt in (latents, without):
        for name in ("motion", "regions"):
            del prompt[ids["VideoGrainPixelComposite"]]["inputs"][name]
    without[ids["SamplerCustom"]]["inputs"]["model"] = [ids["VideoGrainSTLayoutAttnPatch"], 0]
    runs = [server.run(prompt) for prompt in (without, latents, steady)]
    assert len(server.saved(runs[2], ids["VideoGrainClipMotion"])) == 3
    frames = [result(server, run) for run in runs]
    for one, other in ((0, 1), (1, 2)):
        assert np.abs(frames[one].astype(int) - frames[other]).max() > 20


def test_an_inversion_is_checked_with_one_picture_and_a_report(server):
    prompt = small_quickstart()
    inverter = next(k for k, n in prompt.items() if n["class_type"] == "VideoGrainDDIMVideoInversion")
    links = {name: prompt[inverter]["inputs"][name] for name in ("model", "positive")}
    links |= {"inversion": [inverter, 1], "vae": [links["model"][0], 2]}
    prompt["90"] = {"class_type": "VideoGrainInversionCheck", "inputs": links}
    prompt["91"] = {"class_type": "PreviewAny", "inputs": {"source": ["90", 1]}}
    run = server.run(prompt)
    assert len(server.saved(run, "90")) == 1
    (report,) = run.outputs["91"]["text"]
    assert re.match(r"round trip (good|poor): \d+\.\d dB on average", report)
    assert [line[:7] for line in report.splitlines()[-3:]] == ["frame 0", "frame 1", "frame 2"]
    assert ("Inversion Check: round trip poor" in server.log_text()) == report.startswith("round trip poor")


def test_a_value_out_of_range_is_refused_before_anything_runs(server):
    with pytest.raises(server.Refused, match="self_strength") as error:
        server.run(small_quickstart(VideoGrainSTLayoutAttnPatch={"self_strength": 2.0}))
    assert [e["class_type"] for e in error.value.node_errors.values()] == ["VideoGrainSTLayoutAttnPatch"]


def test_masks_of_another_length_are_named_with_both_numbers(server):
    prompt = small_quickstart()
    prompt["80"] = {
        "class_type": "VideoGrainDemoClip",
        "inputs": {"frames": 5, "seed": 1, "size": 64, "motion": "apart"},
    }
    first = next(n for n in prompt.values() if n["class_type"] == "VideoGrainRegionPrompt")
    first["inputs"]["mask"] = ["80", 1]
    with pytest.raises(server.Failed) as error:
        server.run(prompt)
    assert error.value.node_type.startswith("VideoGrain")
    assert "3" in error.value.message
    assert "5" in error.value.message


def test_a_phrase_that_is_not_in_the_prompt_is_named(server):
    prompt = small_quickstart(VideoGrainSTLayoutAttnPatch={"prompt": "a red circle and a blue circle on sand"})
    first = next(n for n in prompt.values() if n["class_type"] == "VideoGrainRegionPrompt")
    first["inputs"]["prompt"] = "a green cross"
    with pytest.raises(server.Failed, match="a green cross") as error:
        server.run(prompt)
    assert error.value.node_type == "VideoGrainSTLayoutAttnPatch"


def test_cancel_in_the_inversion_and_on_with_the_next_run(server):
    before = result(server, server.run(small_quickstart()))
    endless = small_quickstart(VideoGrainDDIMVideoInversion={"steps": 999, "method": "fixed_point", "calls": 20})
    prompt_id = server.queue(endless)
    while prompt_id not in server.running():
        time.sleep(0.1)
    time.sleep(4)
    server.interrupt()
    with pytest.raises(server.Interrupted) as error:
        server.result(prompt_id, timeout=60)
    assert error.value.node_type == "VideoGrainDDIMVideoInversion"
    server.forget()
    np.testing.assert_array_equal(result(server, server.run(small_quickstart())), before)
