"""Layouts without masks against exact masks, and edits by them against edits by exact masks, on the embedded world.

    python -m videograin.lab.studies.found_layouts [--clips 12] [--edits 12] [--out FOLDER]
    python -m videograin.lab.studies.found_layouts --out FOLDER --page  # layout.json, .md, .png

Every clip is inverted once (8 frames of 128 x 128), with features at two settings, and laid out from each with the
defaults of find_layout; names come from the source prompt's nouns. Seeds from 5000 on: the algorithm was tuned on seeds
1000 to 1803. One JSON line a clip in FOLDER/clips.jsonl and FOLDER/edits.jsonl.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from ...editing.attention_features import FeatureCollector
from ...editing.inversion import invert
from ...editing.layout.clusters import cluster
from ...editing.layout.find import find_layout
from ...editing.layout.grow import grow_mask
from ...editing.layout.names import Words, noun_phrases, place_phrases
from ...editing.layout.soft_masks import pixel_masks
from ...editing.pipeline import edit_clip, invert_clip
from ...editing.presets import GUIDANCE
from ...editing.regions import Region
from ...editing.settings import AttentionSettings, SamplingSettings
from ...hosts.diffusers import load_model
from ...world.clips import scene_clip
from ...world.demo_task import two_others
from ...world.score import pooled, score
from ...world.vocabulary import caption, phrase
from ..demo_edits import Several
from ..json_lines import add_line, resume
from ..paths import BENCHMARKS
from .found_layouts_page import page_of
from .layout_scores import agree, cells_of, named_right, told_apart

FIRST_SEED = 5000
# name: (objects, all alike, motion)
KINDS = {
    "one": (1, False, "apart"),
    "two alike": (2, True, "apart"),
    "two different": (2, False, "apart"),
    "three alike": (3, True, "apart"),
    "three different": (3, False, "apart"),
    "touching alike": (2, True, "touching"),
    "touching different": (2, False, "touching"),
    "crossing alike": (2, True, "crossing"),
    "crossing different": (2, False, "crossing"),
}
# name: (level, start and end of the noise range, 0 = pure noise)
FEATURES = {"half": ("half", 0.0, 1.0), "full": ("full", 0.5, 1.0)}
GROW = 12  # pixels both kinds of masks grow by in an edit, so that another shape fits in


def clip_of(kind: str, number: int):
    objects, same, motion = KINDS[kind]
    seed = FIRST_SEED + 100 * list(KINDS).index(kind) + number
    return scene_clip(seed, 8, 128, objects=objects, same=same, motion=motion)


def words_of(model, prompt: str) -> Words:
    phrases = noun_phrases(prompt)
    spans, _ = model.word_positions(prompt, phrases)
    return Words(tuple(phrases), tuple(tuple(map(tuple, places)) for places in spans), tuple(place_phrases(prompt)))


@torch.no_grad()
def features_of(model, clip, steps: int, attention: str) -> dict:
    """Features at every setting of FEATURES from one inversion."""
    collectors = {name: FeatureCollector(len(clip.frames), *setting) for name, setting in FEATURES.items()}
    latents = model.encode_frames(clip.frames).cpu()
    prompt = model.encode_prompt(clip.caption)
    observer = Several(list(collectors.values()))
    with model.denoiser(prompt, frames=len(latents), spacetime=attention, observer=observer) as denoise:
        invert(denoise, latents, model.sigmas(steps))
    return {name: collector.result() for name, collector in collectors.items()}


def measure(model, kind: str, number: int, steps: int, attention: str) -> dict:
    """One clip: the figures of its layouts."""
    clip = clip_of(kind, number)
    words = words_of(model, clip.caption)
    out = {"kind": kind, "number": number, "caption": clip.caption, "layouts": {}}
    for name, features in features_of(model, clip, steps, attention).items():
        begun = time.process_time()
        layout = find_layout(features, clip.frames, words=words)
        seconds = time.process_time() - begun
        truth, exact = cells_of(clip.masks, layout.grid), cells_of(clip.masks, clip.frames.shape[1:3])
        found = np.stack([thing.cells.numpy() for thing in layout.things])[:-1]
        result = agree(found, truth, len(clip.masks))
        plain = pixel_masks(np.stack([thing.cells.numpy() for thing in layout.things]).astype(np.float32), layout.size)
        out["layouts"][name] = {
            "iou": result.iou,
            "kept": result.kept,
            "objects": len(clip.masks),
            "things": len(found),
            "k": layout.k,
            "named": named_right([thing.phrase for thing in layout.instances], result.match, clip.phrases),
            "names": [[thing.name, round(thing.score, 3)] for thing in layout.instances],
            "pixel_iou": agree(_hard([thing.mask for thing in layout.things]), exact, len(clip.masks)).iou,
            "pixel_iou_without_frames": agree(_hard(list(plain)), exact, len(clip.masks)).iou,
            "seconds": round(seconds, 2),
        }
        if len(clip.masks) > 1:
            bare = {scope: cluster(features, len(clip.masks) + 2, scope).numpy() for scope in ("per_frame", "joint")}
            out["layouts"][name] |= {f"told_apart_{scope}": told_apart(c, truth, (1, 2)) for scope, c in bare.items()}
            out["layouts"][name]["told_apart"] = told_apart(_numbered(found), truth, (1, 2))
    return out


def _hard(masks: list[torch.Tensor]) -> np.ndarray:
    """Masks [F, H, W] of all things, the background last -> instances bool [K, F, H, W]: each pixel to the largest."""
    owner = torch.stack(masks).argmax(0).numpy()
    return np.stack([owner == n for n in range(len(masks))])[:-1]


def _numbered(found: np.ndarray) -> np.ndarray:
    """bool [K, F, h, w] -> int [F, h, w], 0 = background."""
    out = np.zeros(found.shape[1:], int)
    for number, thing in enumerate(found, 1):
        out[thing] = number
    return out


def edits(model, kind: str, number: int, steps: int, attention: str) -> dict:
    """One clip of two alike objects that become two different ones: by exact masks, and by found ones.

    All masks grow by GROW pixels. Each found thing takes the object it overlaps most (a user would pick it from the
    preview); an object without a thing is not edited. All are judged in the exact masks, grown alike.
    """
    clip = clip_of(kind, number)
    attention, sampling = AttentionSettings(mode=attention), SamplingSettings(steps=steps, guidance=GUIDANCE)
    wanted = two_others(clip, number)
    phrases = [phrase(*one) for one in wanted]
    prompt = caption(phrases, int(clip.scenes.background[0]))
    exact = [grow_mask(mask, GROW) for mask in clip.masks]
    judged = torch.stack(exact).numpy() > 0.5
    out = {"kind": kind, "number": number, "source": clip.caption, "prompt": prompt, "scores": {}}
    for name, (level, start, end) in {"exact": FEATURES["half"], **FEATURES}.items():
        if name in ("exact", "full"):
            trajectory = invert_clip(
                model, clip.frames, clip.caption, steps=steps, attention=attention, features=level,
                feature_range=(start, end),
            )  # fmt: skip
        masks = exact
        if name != "exact":
            layout = find_layout(trajectory.features, clip.frames, words=words_of(model, clip.caption))
            pixels = cells_of(clip.masks, clip.frames.shape[1:3])
            match = agree(_hard([thing.mask for thing in layout.things]), pixels, 2).match
            masks = [None if j < 0 else grow_mask(layout.things[j].mask, GROW) for j in match]
        regions = [Region(text, mask) for text, mask in zip(phrases, masks) if mask is not None]
        edited = edit_clip(model, clip.frames, trajectory, prompt, regions, sampling=sampling, attention=attention)
        result = pooled(score(edited.frames, judged, wanted))
        out["scores"][name] = {"colour": result.colour, "object": result.object, "leak": result.leak}
    return out


def run(path: Path, kinds: list[str], count: int, one: Callable[[str, int], dict]) -> None:
    """Append a line for every clip that has none yet."""
    done = {(line["kind"], line["number"]) for line in resume(path)}
    for number in range(count):
        for kind in kinds:
            if (kind, number) not in done:
                add_line(path, one(kind, number))
                print(path.name, kind, number, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=12, help="of each of the nine kinds")
    parser.add_argument("--edits", type=int, default=12, help="pairs of alike objects, half of them touching")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--attention", default="per_frame")
    parser.add_argument("--out", type=Path, default=Path("layout_benchmark"))
    parser.add_argument("--page", action="store_true", help="write the page of docs/benchmarks/ from what is measured")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    if args.page:
        print(page_of(args.out, BENCHMARKS / "layout"))
        return
    torch.set_num_threads(1)
    model = load_model()
    common = (args.steps, args.attention)
    (args.out / "settings.json").write_text(json.dumps({"steps": args.steps, "attention": args.attention}))
    run(args.out / "clips.jsonl", list(KINDS), args.clips, lambda k, n: measure(model, k, n, *common))
    run(
        args.out / "edits.jsonl",
        ["two alike", "touching alike"],
        args.edits // 2,
        lambda k, n: edits(model, k, n, *common),
    )


if __name__ == "__main__":
    main()
