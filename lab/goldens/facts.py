"""The clip that goldens are made of, and what of a result is compared."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image
from safetensors import safe_open

PACK = Path(importlib.util.find_spec("videograin").origin).parent
UNSTABLE = re.compile(r"memory|versions|(.*_)?seconds(_.*)?")  # keys of reports that no two runs share
FRAMES, SIDE, STEPS = 4, 128, 6
SOURCE, PROMPT = "a red circle and a red circle on sand", "a blue square and a green cross on sand"


def draw() -> tuple[np.ndarray, np.ndarray, list]:
    """Two red circles on sand: frames uint8 [10, S, S, 3], masks bool [2, 10, S, S], boxes [2][10][x0, y0, x1, y1]."""
    y, x = np.mgrid[:SIDE, :SIDE]
    sand = np.where((np.sin(x / 5) * np.cos(y / 7) > 0)[..., None], (206, 176, 130), (180, 150, 108))
    centres = [[(34 + 2 * f, 40 + f) for f in range(10)], [(94 - f, 86 - 2 * f) for f in range(10)]]
    masks = np.array([[(x - a) ** 2 + (y - b) ** 2 < 17**2 for a, b in path] for path in centres])
    frames = np.where(masks.any(0)[..., None], (214, 38, 42), sand).astype(np.uint8)
    return frames, masks, [[[a - 24, b - 24, a + 24, b + 24] for a, b in path] for path in centres]


def film(path: Path, frames: np.ndarray) -> None:
    """uint8 [F, H, W, 3] or bool [F, H, W] as h264."""
    if frames.dtype == bool:
        frames = np.repeat(frames[..., None] * np.uint8(255), 3, -1)
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=8, options={"crf": "8", "threads": "1"})
        stream.width, stream.height, stream.pix_fmt = frames.shape[2], frames.shape[1], "yuv420p"
        for picture in frames:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), "rgb24")))
        file.mux(stream.encode())


def pictures(folder: Path, stack: np.ndarray) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, picture in enumerate(stack):
        Image.fromarray(picture).save(folder / f"{number:04}.png")


def digest(data: Any) -> str:
    return hashlib.sha256(np.ascontiguousarray(data).tobytes() if hasattr(data, "shape") else data).hexdigest()[:24]


def clean(value: Any, folder: Path) -> Any:
    """Without times, versions and places."""
    if isinstance(value, dict):
        return {key: clean(item, folder) for key, item in value.items() if not UNSTABLE.fullmatch(key)}
    if isinstance(value, list):
        return [clean(item, folder) for item in value]
    if isinstance(value, str):
        return value.replace(str(folder), "DIR").replace(str(PACK), "PACK")
    return value


def facts(path: Path, folder: Path) -> Any:
    """What of a file is compared."""
    kind = path.suffix.lower()
    if kind in (".mp4", ".mkv"):
        with av.open(str(path)) as file:
            stream = file.streams.video[0]
            found = {"fps": str(stream.average_rate), "size": f"{stream.width} x {stream.height}"}
            return found | {"frames": [digest(frame.to_ndarray(format="rgb24")) for frame in file.decode(stream)]}
    if kind in (".png", ".jpg"):
        return digest(np.asarray(Image.open(path).convert("RGBA")))
    if kind == ".safetensors":
        with safe_open(str(path), "np") as file:
            tensors = {key: file.get_tensor(key) for key in sorted(file.keys())}
            found = {key: f"{t.dtype} {list(t.shape)} {digest(t)}" for key, t in tensors.items()}
            return found | {"metadata": dict(sorted(file.metadata().items()))}
    if kind == ".json":
        return clean(json.loads(path.read_text()), folder)
    if kind == ".jsonl":
        return clean(sorted(map(json.loads, path.read_text().splitlines()), key=str), folder)
    if kind in (".yaml", ".csv", ".md", ".txt"):
        return clean(path.read_text().splitlines(), folder)
    return digest(path.read_bytes())


def all_facts(place: Path, folder: Path) -> dict[str, Any]:
    files = sorted(p for p in place.rglob("*") if p.is_file()) if place.is_dir() else [place]
    return {str(p.relative_to(place.parent)): facts(p, folder) for p in files}
