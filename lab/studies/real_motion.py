"""How well frames and masks of real footage are carried along by our motion, by OpenCV's flow alone, and by nothing.

    python -m videograin.lab.studies.real_motion cups=CLIP.mp4 fish=CLIP.mp4 --out docs/benchmarks/real_motion

No true motion of footage is known. What is measured is what motion is for: the frame some steps on, carried back along
it, beside the frame itself, inside the things. The clips are not part of this repository; how things are found in each
is written in CLIPS. OUT.json and OUT.md; with --pictures, sheets of what was carried as PNG in that folder.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...editing.motion.clip_motion import clip_motion
from ...editing.motion.optical_flow import dis
from ...editing.motion.places import centres, inside, sample
from ...editing.motion.value import Motion
from ..pages import cells, header, render, write_page
from .clock import facts

SPANS = (1, 4)  # steps from one frame to the other
WAYS = ("ours", "flow", "still")
COMMAND = "python -m videograin.lab.studies.real_motion cups=CLIP fish=CLIP --out docs/benchmarks/real_motion"


def cups(frames: np.ndarray) -> np.ndarray:
    """Three red cups, held by hands: bool [F, H, W]."""
    red, green, blue = frames.astype(int).transpose(3, 0, 1, 2)
    return (red > 120) & (red - green > 95) & (blue - green > -8)


def fish(frames: np.ndarray) -> np.ndarray:
    """Dark fish over a still, light ground, which is what most frames show: bool [F, H, W]."""
    grey = frames.mean(-1)
    return np.median(grey, 0) - grey > 15


@dataclass(frozen=True)
class Footage:
    """first, read: which frames are looked at; count: of these so many are measured; shrink: by how much, by area;
    mask, things: what tells how many things."""

    what: str
    first: int
    read: int
    count: int
    shrink: int
    mask: Callable[[np.ndarray], np.ndarray]
    things: int


CLIPS = {
    "cups": Footage("three red cups, pushed and partly covered by hands, 320 x 180", 118, 25, 25, 4, cups, 3),
    "fish": Footage("eight fish seen from above, some 30 x 7 pixels each, 696 x 562", 0, 64, 12, 1, fish, 8),
}


def followed(told: np.ndarray, count: int) -> np.ndarray:
    """The ``count`` largest pieces of masks [F, H, W], opened by 3 x 3, each at one index in all frames by overlap, and
    by the nearest centre where there is none. ValueError where a frame has fewer."""
    import cv2
    from scipy.optimize import linear_sum_assignment

    out = np.zeros((count, *told.shape), bool)
    for f, mask in enumerate(told):
        opened = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
        number, labels, stats, _ = cv2.connectedComponentsWithStats(opened)
        if number <= count:
            raise ValueError(f"frame {f}: {number - 1} things; expected {count}; choose other frames")
        largest = np.argsort(-stats[1:, cv2.CC_STAT_AREA])[:count] + 1
        pieces = np.stack([labels == k for k in largest])
        if f:
            shared = np.array([[(a & b).sum() for b in pieces] for a in out[:, f - 1]], float)
            middles = [[np.argwhere(one).mean(0) for one in many] for many in (out[:, f - 1], pieces)]
            away = np.linalg.norm(np.array(middles[0])[:, None] - np.array(middles[1])[None], axis=-1)
            pieces = pieces[linear_sum_assignment(away - shared)[1]]
        out[:, f] = pieces
    return out


def read(path: Path, clip: Footage) -> np.ndarray:
    """uint8 [F, H, W, 3]. ValueError for a file with fewer frames."""
    import cv2

    reader, out = cv2.VideoCapture(str(path)), []
    for number in range(clip.first + clip.read):
        whole, frame = reader.read()
        if not whole:
            raise ValueError(f"{path}: {number} frames; expected {clip.first + clip.read} or more")
        if number >= clip.first:
            size = frame.shape[1] // clip.shrink, frame.shape[0] // clip.shrink
            out.append(cv2.resize(frame, size, interpolation=cv2.INTER_AREA)[..., ::-1])
    return np.stack(out)


def places_in(frames: np.ndarray, motion: Motion, way: str, k: int, i: int, j: int) -> Tensor:
    """Where in frame j the pixels of frame i lie, float32 [H, W, 2]."""
    if way == "ours":
        return motion.places(k, i, j, motion.size)
    still = centres(motion.size, motion.size)
    return still if way == "still" else still + torch.from_numpy(dis().flow(frames[i], frames[j]))


def compare(frames: np.ndarray, masks: np.ndarray, motion: Motion, span: int) -> list[dict]:
    """For every thing and two frames ``span`` apart that our motion links, a line: {way: [error, overlap]}.

    error: mean absolute difference of colours, levels of 255, between a frame and the later one carried back, inside
    the thing; overlap: intersection over union of the thing's mask and the later one carried back.
    """
    size, lines = motion.size, []
    pixels = torch.from_numpy(frames).permute(0, 3, 1, 2).float()
    for i in range(len(frames) - span):
        flowed = places_in(frames, motion, "flow", 0, i, i + span)
        for k, mask in enumerate(masks):
            if not motion.of(k).linked(i, i + span):
                continue
            values = torch.cat([pixels[i + span], torch.from_numpy(mask[i + span])[None].float()])
            line: dict = {"thing": k, "frame": i}
            for way in WAYS:
                there = flowed if way == "flow" else places_in(frames, motion, way, k, i, i + span)
                found = sample(values, there, size, "bilinear")
                here = torch.from_numpy(mask[i])
                counted = here & inside(there, size)
                error = (found[:3] - pixels[i]).abs().mean(0)[counted].mean()
                carried = found[3] > 0.5
                line[way] = [float(error), float((carried & here).sum() / (carried | here).sum())]
            lines.append(line)
    return lines


def measure(name: str, path: Path, pictures: Path | None = None) -> dict:
    """The figures of one clip."""
    clip = CLIPS[name]
    frames = read(path, clip)
    masks = followed(clip.mask(frames)[: clip.count], clip.things)
    frames = frames[: clip.count]
    motion = clip_motion(frames, [torch.from_numpy(one).float() for one in masks])
    rows = []
    for span in SPANS:
        lines = compare(frames, masks, motion, span)
        pairs = len(masks) * (len(frames) - span)
        row = {"span": span, "pairs": pairs, "cut": pairs - len(lines)}
        for way in WAYS:
            error, overlap = np.array([line[way] for line in lines]).T if lines else (np.full(1, np.nan),) * 2
            row[way] = {
                "error": round(float(error.mean()), 2),
                "p95": round(float(np.quantile(error, 0.95)), 2),
                "overlap": round(float(overlap.mean()), 3),
            }
        rows.append(row)
    if pictures is not None:
        draw(pictures / f"{name}.png", frames, masks, motion)
    size = f"{frames.shape[2]} x {frames.shape[1]}"
    span_of = f"{clip.first} to {clip.first + clip.count - 1}"
    forms = [one.form for one in motion.regions]
    return {"clip": name, "what": clip.what, "size": size, "frames": span_of, "forms": forms, "rows": rows}


def draw(path: Path, frames: np.ndarray, masks: np.ndarray, motion: Motion, span: int = 4) -> None:
    """Rows: a frame, and inside the things the one ``span`` later carried back in each of WAYS; for three frames."""
    from PIL import Image

    size, rows = motion.size, []
    for i in np.linspace(0, len(frames) - 1 - span, 3).round().astype(int).tolist():
        row = [frames[i]]
        later = torch.from_numpy(frames[i + span]).permute(2, 0, 1).float()
        for way in WAYS:
            picture = (frames[i] * 0.3).astype(np.uint8)
            for k, mask in enumerate(masks):
                if motion.of(k).linked(i, i + span):
                    there = places_in(frames, motion, way, k, i, i + span)
                    found = sample(later, there, size, "bilinear").clamp(0, 255).byte().permute(1, 2, 0).numpy()
                    picture[mask[i]] = found[mask[i]]
            row.append(picture)
        rows.append(np.concatenate(row, 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate(rows)).save(path)


def page(result: dict) -> str:
    table = [header("clip", "steps on", "pairs", "cut", *(f"{way}: error, 95 %, overlap" for way in WAYS))]
    for clip in result["clips"]:
        for row in clip["rows"]:
            figures = [f"{row[w]['error']:.1f}, {row[w]['p95']:.1f}, {row[w]['overlap']:.2f}" for w in WAYS]
            table.append(cells(clip["clip"], row["span"], row["pairs"], row["cut"], *figures))
    return render("real_motion", found=result["made"], table="\n".join(table), clips=result["clips"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="+", metavar="NAME=FILE", help=f"NAME: {', '.join(CLIPS)}")
    parser.add_argument("--out", type=Path, default=Path("real_motion"))
    parser.add_argument("--pictures", type=Path, help="folder of sheets as PNG")
    args = parser.parse_args()
    files = dict(one.split("=", 1) for one in args.clips if "=" in one)
    if len(files) != len(args.clips) or not set(files) <= set(CLIPS):
        parser.error(f"clips: expected NAME=FILE with NAME of {', '.join(CLIPS)}; got {' '.join(args.clips)}")
    torch.set_num_threads(1)
    found = [measure(name, Path(file), args.pictures) for name, file in files.items()]
    result = {"made": {**facts("cpu"), "command": COMMAND, "flow": dis().name}, "clips": found}
    write_page(args.out, result, page(result))


if __name__ == "__main__":
    main()
