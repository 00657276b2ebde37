"""The cases of the nodes: committed workflows on the embedded model, small, and inversions saved and loaded."""

from __future__ import annotations

import json
import re
import urllib.parse
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from ..comfyui_server import Client, Failed
from .facts import FRAMES, PACK, SIDE, clean, draw, facts, film

# What the workflows say, in words that the embedded model knows; and what stands in for their videos.
WORDS = {
    " are playing badminton in a sports hall": " on sand",
    " is walking through a park": " on sand",
    " are lying on a sofa": " on sand",
    "two men": "a red circle and a red circle",
    "a cat and a dog": "a red circle and a red circle",
    " with black sunglasses": " and a green cross",
    "blurry, low quality, distorted": "",
} | dict.fromkeys(("a Spiderman", "a Superman", "a fox", "a robot of polished steel"), "a blue square")
WORDS |= {"a polar bear": "a green cross", "black sunglasses": "a green cross", "a wooden puppet": "a white triangle"}
WORDS |= {"a dog": "a red circle", "an astronaut": "a green square", "a man": "a red circle"}
FILMS = {
    "clip": ("two_men.mp4", "cat_and_dog.mp4", "man.mp4"),
    "left": ("mask_left.mp4", "mask_cat.mp4", "mask_man.mp4"),
    "right": ("mask_right.mp4", "mask_dog.mp4", "mask_eyes.mp4"),
}
ALONE = ("quickstart", "attention_map", "long_clip", "measure_edits")  # these need no file and no download
FED = ("instance_edit", "edit_one_keep_rest", "part_level_edit", "no_masks", "one_inversion_three_edits")


def workflow(name: str, **changes: Any) -> dict[str, Any]:
    """A committed workflow on the embedded model, small; changes: widget values, wherever there is one of that name."""
    text = (PACK / f"tests/workflows/{name}.json").read_text(encoding="utf-8")
    for old, new in WORDS.items() if name in FED else ():
        text = text.replace(old, new)
    prompt = json.loads(text)
    frames = 10 if name == "long_clip" else FRAMES
    small = {"steps": 8, "width": SIDE, "height": SIDE, "length": frames}
    for key, node in prompt.items():
        if node["class_type"] == "CheckpointLoaderSimple":
            prompt[key] = {"class_type": "VideoGrainEmbeddedModel", "inputs": {}}
        if node["class_type"] in ("VideoGrainDemoClip", "VideoGrainLongClipWindows"):
            node["inputs"]["frames"] = frames if "Clip" in node["class_type"][-4:] else 5
        if "overlap" in node["inputs"]:
            node["inputs"] |= {"overlap": 2, "anchors": 1}
        node["inputs"] |= {name: value for name, value in (small | changes).items() if name in node["inputs"]}
    return prompt


def carried_out(prompt: dict[str, Any], comfy: Client, folder: Path) -> dict[str, Any]:
    """Run a prompt in API format; what its output nodes show, files in the place of their names."""
    for key in [k for k, n in prompt.items() if n["class_type"] == "CreateVideo"]:  # the same without loss
        prompt[f"{key}0"] = {"class_type": "PreviewImage", "inputs": {"images": prompt[key]["inputs"]["images"]}}

    def shown(value: Any) -> Any:
        if isinstance(value, str):  # file names count up with what the server has written before
            return re.sub(r"\S*/(\w+?)_\d{5}_", r"\1", value).splitlines()
        if not (isinstance(value, dict) and "filename" in value):
            return value
        path = folder / re.sub(r"_temp_\w{5}|_\d{5}_", "", value["filename"])
        path.write_bytes(view(comfy, **value))
        return facts(path, folder)

    try:
        outputs = comfy.run(prompt, timeout=3600).outputs
    except Failed as error:
        return {"error": error.message, "node": error.node_type}
    return {
        f"{node} {prompt[node]['class_type']}": {key: [shown(one) for one in values] for key, values in found.items()}
        for node, found in sorted(outputs.items(), key=lambda item: item[0].zfill(9))
    }


def view(comfy: Client, **of: str) -> bytes:
    """A file of the server's, also of one whose base folder is elsewhere."""
    return comfy.fetch("/view?" + urllib.parse.urlencode(of, quote_via=urllib.parse.quote))


def with_defaults(comfy: Client, kind: str, **inputs: Any) -> dict[str, Any]:
    """A node whose other widgets have their default values."""
    wanted = comfy.get(f"/object_info/{kind}")[kind]["input"]
    values = {}
    for name, (options, *more) in {**wanted.get("required", {}), **wanted.get("optional", {})}.items():
        choices = options if isinstance(options, list) else more[0].get("options") if more else None
        if more and "default" in more[0]:
            values[name] = more[0]["default"]
        elif choices:
            values[name] = choices[0]
    return {"class_type": kind, "inputs": values | inputs}


def comfyui(folder: Path, comfy: Client) -> Iterator[tuple[str, Any]]:
    """As `runner`, for the nodes."""
    frames, masks, _ = draw()
    for stem, stack in (("clip", frames), ("left", masks[0]), ("right", masks[1])):
        film(folder / f"{stem}.mp4", stack)
        for name in FILMS[stem]:
            comfy.upload(folder / f"{stem}.mp4", name)

    def definitions() -> dict[str, Any]:
        nodes = {k: v for k, v in comfy.get("/object_info").items() if k.startswith("VideoGrain")}
        nodes.get("VideoGrainLoadInversion", {}).get("input", {}).get("required", {}).pop("file", None)  # of this disk
        return {name: {key: clean(value, folder) for key, value in node.items()} for name, node in nodes.items()}

    def run(name: str, prompt: dict[str, Any]) -> dict[str, Any]:
        (folder / name).mkdir(exist_ok=True)
        return carried_out(prompt, comfy, folder / name)

    node = partial(with_defaults, comfy)

    def saved(name: str, collect: bool) -> dict[str, Any]:
        """An inversion through Save and Load Inversion, checked; with features also its layout, as regions."""
        prompt = workflow("no_masks", spacetime="per_frame", collect_features=collect, feature_level="full")
        prompt = {key: node for key, node in prompt.items() if int(key) <= 10}
        prompt["11"] = {
            "class_type": "VideoGrainSaveInversion",
            "inputs": {"filename_prefix": name, "inversion": ["10", 1]},
        }
        run(name, prompt)
        files = comfy.get("/object_info/VideoGrainLoadInversion")["VideoGrainLoadInversion"]["input"]["required"][
            "file"
        ]
        listed = files[0] if isinstance(files[0], list) else files[1]["options"]
        last = max(file for file in listed if file.startswith(f"{name}_0"))
        data = view(comfy, filename=last.removesuffix(" [output]"), type="output")
        (folder / name / "inversion.safetensors").write_bytes(data)
        del prompt["10"], prompt["11"]
        prompt["20"] = {"class_type": "VideoGrainLoadInversion", "inputs": {"file": last}}
        linked = {"model": ["2", 0], "positive": ["9", 0], "inversion": ["20", 0], "vae": ["2", 2]}
        prompt["21"] = node("VideoGrainInversionCheck", **linked)
        prompt["22"] = {"class_type": "PreviewImage", "inputs": {"images": ["21", 0]}}
        if collect:
            of_clip = {"inversion": ["20", 0], "images": ["6", 0], "clip": ["2", 1], "source_prompt": ["7", 0]}
            prompt["23"] = node("VideoGrainSelfAttnLayoutCluster", **of_clip)
            prompt["24"] = node("VideoGrainRegionsFromMasks", masks=["23", 0], prompts="a blue square\na green cross")
            prompt["25"] = node("VideoGrainRegionPreview", images=["6", 0], regions=["24", 0])
            for key, output in (("26", 1), ("27", 3), ("28", 4)):
                prompt[key] = {"class_type": "PreviewImage", "inputs": {"images": ["23", output]}}
        return run(name, prompt) | {"file": facts(folder / name / "inversion.safetensors", folder)}

    other = {"method": "fixed_point", "spacetime": "full_coarse", "key_frames": 1, "sampler_name": "dpmpp_2m"}
    other |= {"background": "paper", "self_halves": "cond", "splice": False, "mode": "preserve", "strength": 0.5}
    quick = {"feather": 2, "dilate": 3, "motion": "crossing", "end_percent": 0.7}
    reuse = {
        "spacetime": "sparse_causal",
        "row_range": "reuse",
        "range_steps": 2,
        "method": "ddim",
        "sampler_name": "heun",
    }
    yield "nodes", definitions
    for name in ALONE + FED:
        yield name, lambda name=name: run(name, workflow(name))
    yield "other_options", lambda: run("other_options", workflow("quickstart", **(quick | other | {"mode": "edit"})))
    yield "kept", lambda: run("kept", workflow("instance_edit", **other))
    yield "reuse", lambda: run("reuse", workflow("quickstart", **reuse))
    yield "sampled", lambda: run("sampled", workflow("quickstart", row_range="sampled", spacetime="key_frames"))
    yield "saved", lambda: saved("saved", False)
    yield "saved_features", lambda: saved("saved_features", True)
