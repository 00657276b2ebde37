"""The pictures beside the workflows (workflows/<name>.jpg), each from a real run of that workflow.

    python -m videograin.lab.templates.workflow_pictures <url of a running ComfyUI> <its base folder> [name ...]

The server needs this pack and tests/in_comfyui/probe_pack as custom nodes. No Stable Diffusion is at hand here: what
runs is each graph as committed, on the embedded model (lab/templates/standins.py), and the picture says so.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from ...measuring.pictures.sheets import font
from ...runner.media.video import read_clip
from ..comfyui_server import Client
from .definitions import WORKFLOWS
from .long_clip import FRAMES, STEPS
from .standins import stand_in
from .write import BUILDERS

TITLES = {
    "start_here": "Start here: the whole edit in one node",
    "quickstart": "Quickstart: two objects, two prompts",
    "attention_map": "Attention map: where the words look",
    "long_clip": "A long clip, in windows",
    "measure_edits": "Two edits, measured side by side",
    "instance_edit": "Instance edit: masks from files",
    "instance_edit_sam": "Instance edit: masks by SAM 2",
    "part_level_edit": "Part-level edit: a part on a whole",
    "edit_one_keep_rest": "Edit one, preserve the other",
    "no_masks": "No masks: things found in the model's own attention",
    "controlnet_depth": "Instance edit with ControlNet depth",
    "one_inversion_three_edits": "One inversion, three edits",
}
#: What stood in for what, where it is more than the model.
REPLACED = {
    "instance_edit_sam": "rendered masks instead of SAM 2's",
    "controlnet_depth": "a ControlNet of random weights",
}
#: Workflows whose edits are beyond the embedded model: their pictures stop at the regions, and say why.
BEYOND = {"part_level_edit": "The embedded model has not learnt parts, so this shows source and regions, and no edit."}
OWN = ("start_here", "quickstart", "attention_map", "long_clip", "measure_edits")  # made for the embedded model
#: What is run at other numbers than 8 frames and 50 steps.
AS_COMMITTED = {"long_clip": {"frames": FRAMES, "steps": STEPS}}
MAPS = "_attention"  # how the name of a video of maps ends, which stands as a sheet in the picture
OTHER = "_other_edit"  # how the name of an edit ends that another is compared with
SIDE, GAP, TITLE, FOOT, LABEL = 232, 6, 44, 30, 92
SHOWN = (0, 3, 7)  # which of 8 frames; of more, those at the same places
BACK, INK, FAINT = (32, 32, 36), (235, 235, 235), (160, 160, 166)


def run(client: Client, name: str) -> list[tuple[str, np.ndarray]]:
    """Run one workflow; returns the rows of its picture: (label, uint8 [F, H, W, 3])."""
    made = stand_in(name, **{"frames": 8, "size": 128, "steps": 50, **AS_COMMITTED.get(name, {})})
    made.write(client.base / "input")
    done = client.run(made.prompt, timeout=3600)
    rows = [("source", made.source)]
    shown = (
        ("VideoGrainSelfAttnLayoutCluster", "layout"),
        ("VideoGrainRegionPreview", "regions"),
        ("SaveVideo", "edited"),
        ("VideoGrainAttentionMap", "attention"),
        ("VideoGrainEditMetrics", "figures"),
    )
    for kind, label in shown:
        for key in sorted(done.outputs.keys() & made.prompt.keys(), key=lambda k: (len(k), k)):
            node = made.prompt[key]
            prefix = node["inputs"].get("filename_prefix", "")
            if node["class_type"] == kind and not prefix.endswith(MAPS):
                told = "other" if prefix.endswith(OTHER) else label
                frames = _frames(client.saved(done, key))
                if kind == "SaveVideo":  # of before and after side by side the latter
                    frames = frames[:, :, -made.source.shape[2] :]
                rows.append((told, frames))
    return [row for row in rows if name not in BEYOND or row[0] != "edited"]


def _frames(files: list[Path]) -> np.ndarray:
    if files[0].suffix == ".mp4":
        return read_clip(files[0]).frames
    return np.stack([np.asarray(Image.open(file).convert("RGB")) for file in files])


def picture(name: str, rows: list[tuple[str, np.ndarray]]) -> Image.Image:
    """Three frames of every row (a single picture as it is), a title, and what the picture was made with."""
    across = len(SHOWN) * (SIDE + GAP) - GAP
    heights = [SIDE if len(f) > 1 else round(across * f.shape[1] / f.shape[2]) for _, f in rows]
    sheet = Image.new("RGB", (LABEL + across + GAP, TITLE + sum(heights) + len(rows) * GAP + FOOT), BACK)
    ink = ImageDraw.Draw(sheet)
    ink.text((14, TITLE // 2), TITLES[name], INK, font(22), anchor="lm")
    for row, (label, frames) in enumerate(rows):
        y = TITLE + sum(heights[:row]) + row * GAP
        ink.text((14, y + min(SIDE, heights[row]) // 2), label, INK, font(17), anchor="lm")
        if len(frames) == 1:
            whole = Image.fromarray(frames[0]).resize((across, heights[row]), Image.Resampling.LANCZOS)
            sheet.paste(whole, (LABEL, y))
            continue
        for column, frame in enumerate(frames[round(i * (len(frames) - 1) / SHOWN[-1])] for i in SHOWN):
            # A preview carries its legend below a square picture.
            square = Image.fromarray(frame[: frame.shape[1]])
            sheet.paste(square.resize((SIDE, SIDE), Image.Resampling.LANCZOS), (LABEL + column * (SIDE + GAP), y))
    said = "Run on the embedded model" + ("." if name in OWN else ", in place of Stable Diffusion 1.5")
    if name in REPLACED:
        said += f", with {REPLACED[name]}"
    said = BEYOND.get(name, said.rstrip(".") + ".")
    ink.text((14, sheet.height - FOOT // 2), said, FAINT, font(14), anchor="lm")
    return sheet


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Make the pictures beside the workflows from real runs.")
    parser.add_argument("url")
    parser.add_argument("base", type=Path, help="the server's base folder (with input, output and temp)")
    parser.add_argument("names", nargs="*", default=list(BUILDERS))
    parser.add_argument("--out", type=Path, default=WORKFLOWS)
    args = parser.parse_args(argv)
    client = Client(args.url, args.base)
    for name in args.names:
        rows = run(client, name)
        path = args.out / f"{name}.jpg"
        picture(name, rows).save(path, quality=88, optimize=True)
        sys.stdout.write(f"{path}: {path.stat().st_size // 1024} KB\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
