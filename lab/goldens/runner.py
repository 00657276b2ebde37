"""The cases of the command and of the documented Python."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from ..comfyui_server import QUIET
from .facts import FRAMES, PROMPT, SOURCE, STEPS, all_facts, clean, draw, film, pictures

ENVIRONMENT = os.environ | QUIET | {"COLUMNS": "100"}


def command(folder: Path, *words: str) -> dict[str, Any]:
    """Run `videograin WORDS` in the folder: exit status and what it says."""
    done = subprocess.run(
        [sys.executable, "-m", "videograin", *words], cwd=folder, env=ENVIRONMENT, capture_output=True, text=True
    )
    said = [line for line in done.stdout.splitlines() if not line.startswith("seconds")]
    errors = done.stderr.splitlines() if done.returncode else []
    return clean({"status": done.returncode, "stdout": said, "stderr": errors}, folder)


def edit_files(boxes: list) -> dict[str, dict[str, Any]]:
    """{name: edit file}. Those that load an inversion come after the one that saves it."""
    left, right = {"phrase": "a blue square"}, {"phrase": "a green cross"}
    circles = [left | {"masks": {"folder": "input/left"}}, right | {"masks": {"boxes": boxes[1][:FRAMES]}}]
    things = [left | {"masks": {"layout": 1}}, right | {"masks": {"layout": 2}}]
    film_masks = {"video": "input/left.mp4"}
    by_colour = [{"labels": "input/labels.mp4", "colour": colour} for colour in ("#ff0000", "#0000ff")]
    top = {"phrase": "a white triangle", "masks": {"boxes": [[54, 8, 80, 34]]}, "strength": 0.7}
    start = {"mode": "full", "power": 1, "end": 0.6}
    layout = {"level": "full", "start": 0.5, "max_things": 4, "min_area": 0.005, "videos": True}
    edits: dict[str, dict[str, Any]] = {
        "masks": {"regions": circles, "attention": start, "inversion": {"save": "masks.safetensors"}},
        "labels": {
            "regions": [
                left | {"masks": by_colour[0], "strength": 0.5},
                {"phrase": "a red circle", "masks": by_colour[1], "preserve": True},
            ],
            "prompt": "a blue square and a red circle on sand",
            "attention": start
            | {"mode": "key_frames", "anchors": 1, "background": "paper", "self_halves": "cond", "kernel": "sdpa"},
            "inversion": {"method": "ddim"},
            "sampler": "dpmpp_2m",
            "composite": {"enabled": False},
        },
        "windows": {
            "frames": {"count": 10},
            "regions": [left | {"masks": film_masks}, right | {"masks": {"boxes": boxes[1]}}],
            "windows": {"frames": 5, "overlap": 2, "anchors": 1},
            "attention": start | {"mode": "full_coarse", "cross_halves": "both", "self_strength": 0.5},
            "inversion": {"method": "fixed_point", "calls": 2, "save": "windows.safetensors"},
            "sampler": "heun",
            "blend": {"start": 0.1, "end": 0.8, "feather": 2},
            "composite": {"dilate": 4, "feather": 2},
        },
        "layout": {
            "regions": things,
            "layout": layout | {"grow": 4},
            "negative_prompt": "a red circle",
            "attention": start | {"mode": "per_frame", "background": "free", "splice": False},
            "inversion": {"save": "layout.safetensors"},
        },
        "loaded": {
            "regions": [*circles, top],
            "append_phrases": True,
            "attention": start | {"start": 0.1},
            "attention_maps": {"pixel": {"frame": 1, "x": 36, "y": 41}, "level": "all", "end": 0.6},
            "variation": 0.3,
            "seed": 7,
            "inversion": {"load": "masks.safetensors", "check": False},
        },
        "loaded_layout": {
            "regions": [left | {"masks": {"layout": "circle"}}],
            "prompt": "a blue square and a blue square on sand",
            "layout": layout | {"clusters": 4, "smooth": False, "names": ["circle", "sand"], "scope": "per_frame"},
            "attention": start | {"mode": "per_frame"},
            "sampler": "ddim",
            "inversion": {"load": "layout.safetensors"},
        },
        "sparse": {
            "frames": {"start": 1, "count": 4, "stride": 2},
            "size": [112, 96],
            "fit": "stretch",
            "regions": [left | {"masks": film_masks}, right | {"masks": {"labels": "input/ids", "id": 2}}],
            "attention": {"mode": "sparse_causal", "end": 0.5},
            "blend": {"enabled": False},
        },
        "reuse": {"regions": circles, "attention": start | {"range": "reuse", "range_steps": 2}},
        "sampled": {"regions": circles, "attention": start | {"range": "sampled", "range_every": 4}},
        "mistakes": {
            "regions": [left, {"phrase": "a bear", "masks": {"boxes": [[9, 9, 3, 3]]}}],
            "attention": {"mode": "fully", "start": 0.7, "end": 0.2},
            "stepps": 3,
            "guidance": "strong",
        },
    }
    for name, file in edits.items():
        shared = {"video": "input/clip.mp4", "source_prompt": SOURCE, "prompt": PROMPT, "steps": STEPS, "guidance": 5}
        edits[name] = shared | {"frames": {"count": FRAMES}, "output": name} | file
    return edits


PYTHON = f"""
import hashlib, json, numpy as np, torch
from videograin.attention import LabelMap, Modulation, modulated_attention
from videograin.hosts.diffusers import load_model
from videograin.runner.layout import clip_layout, picked_mask
from videograin.runner.pipeline import Region, edit_clip, invert_clip
from videograin.runner.settings import Attention, LayoutSettings
def sha(x): return hashlib.sha256(np.ascontiguousarray(x).tobytes()).hexdigest()[:24]
torch.manual_seed(0)
q, k, v = torch.randn(3, 2, 3, 12, 8).unbind(0)
labels, weight = torch.randint(-1, 3, (2, 12)), torch.rand(2, 12) * 0.9
found = {{m: sha(modulated_attention(q, k, v, labels, labels, weight, m)) for m in ("fused", "reference")}}
with np.load("input/clip.npz") as clip: frames, masks = clip["frames"][:{FRAMES}], torch.tensor(clip["masks"][:, :{FRAMES}]).float()
Modulation(LabelMap(list(masks)), torch.tensor([0, 1, -1, 2]))
model, attention = load_model(), Attention(mode="per_frame", end=0.6, power=1)
trajectory = invert_clip(model, frames, "{SOURCE}", attention=attention, features="full")
result = edit_clip(model, frames, trajectory, "{PROMPT}", [Region("a blue square", masks[0]), Region("a green cross", masks[1])], attention=attention)
layout = clip_layout(model, frames, trajectory, LayoutSettings(max_things=4, level="full"))
found |= {{n: sha(getattr(result, n)) for n in ("frames", "decoded", "latents", "area", "blend_mask", "keep")}}
found |= {{"names": list(layout.names), "picked": sha(picked_mask(layout, "1", grow=4)), "latents of the inversion": sha(trajectory.latents)}}
print(json.dumps(found | {{"notes": list(result.notes)}}))
"""  # noqa: E501


def runner(folder: Path) -> Iterator[tuple[str, Any]]:
    """(name, function that gives what is compared) of every case of the command."""
    (folder / "input").mkdir(parents=True, exist_ok=True)
    frames, masks, boxes = draw()
    film(folder / "input/clip.mp4", frames)
    film(folder / "input/left.mp4", masks[0])
    film(folder / "input/labels.mp4", np.stack([masks[0], masks[0] & False, masks[1]], -1) * np.uint8(255))
    pictures(folder / "input/left", masks[0][:FRAMES])
    pictures(folder / "input/ids", (masks[0] + 2 * masks[1]).astype(np.uint8))
    np.savez(folder / "input/clip.npz", frames=frames, masks=masks)

    def help_texts() -> dict[str, Any]:
        whole = command(folder, "--help")
        names = re.findall(r"^ {4}(\w+) ", "\n".join(whole["stdout"]), re.MULTILINE)
        return {"": whole} | {name: command(folder, name, "--help") for name in names}

    def case(output: str, *words: str, also: tuple[str, ...] = ()) -> dict[str, Any]:
        for name in (output, *also):
            shutil.rmtree(folder / name, ignore_errors=True)
            (folder / name).unlink(missing_ok=True)
        said = command(folder, *words, "--quiet")
        written = [all_facts(folder / name, folder) for name in (output, *also) if (folder / name).exists()]
        return {"said": said} | {name: found for part in written for name, found in part.items()}

    def bench() -> dict[str, Any]:
        short = ("--frames", "2", "--steps", "4", "--clips", "1", "--seeds", "1")
        found = case("bench", "bench", "--out", "bench", *short)
        judged = {name: value for name, value in found.items() if name.endswith(".jsonl")}  # tables have seconds
        return judged | {"status": found["said"]["status"], "files": sorted(found)}

    def python() -> dict[str, Any]:
        done = subprocess.run(
            [sys.executable, "-c", PYTHON], cwd=folder, env=ENVIRONMENT, capture_output=True, text=True
        )
        return json.loads(done.stdout) if done.returncode == 0 else {"error": done.stderr.splitlines()[-1]}

    yield "help", help_texts
    for name, file in edit_files(boxes).items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(file, sort_keys=False))
        saved = file.get("inversion", {}).get("save")
        yield name, lambda name=name, saved=saved: case(name, "edit", f"{name}.yaml", also=(saved,) if saved else ())
    beside = ("inverted.report.json",)
    yield (
        "invert",
        lambda: case("inverted.safetensors", "invert", "windows.yaml", "--output", "inverted.safetensors", also=beside),
    )
    yield "things", lambda: case("things", "layout", "loaded_layout.yaml", "--output", "things")
    edits = ("--edit", "masks", "--edit", "other=loaded/edit.mp4")
    yield "metrics", lambda: case("metrics", "metrics", *edits, "--output", "metrics")
    yield "demo", lambda: case("demo", "demo", "--out", "demo", "--steps", "10", "--frames", "4")
    yield "bench", bench
    yield "python", python
