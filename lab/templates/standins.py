"""The committed workflows on the embedded model: loaders swapped, videos rendered, words of its world, small sizes.

The graph stays as it is committed: the same nodes joined the same way, but for what stands in for a download.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from ...runner.media.encode import write_video
from ...world.clips import WorldClip, draw, part_clip
from ...world.demo_task import make_task
from ...world.vocabulary import caption
from .write import PROMPTS

FPS = Fraction(8)
SEED = 1


@dataclass(frozen=True)
class StandIn:
    """prompt: in API format; films: {file name: uint8 [F, H, W, 3]}; source: the clip; edited, kept: bool [F, H, W],
    where an edit may and where it must not change the picture."""

    prompt: dict[str, Any]
    films: dict[str, np.ndarray]
    source: np.ndarray
    edited: np.ndarray
    kept: np.ndarray

    def write(self, folder: Path) -> None:
        for name, frames in self.films.items():
            write_video(folder / name, frames, FPS)


def stand_in(name: str, *, frames: int = 4, size: int = 64, steps: int = 8, swap: bool = True) -> StandIn:
    """The workflow `name`, ready to run in a server whose input folder gets `films`. steps: divides 1000; swap: put the
    embedded model and its words in (or leave loader, prompts and space-time attention as they are committed)."""
    prompt = json.loads((PROMPTS / f"{name}.json").read_text(encoding="utf-8"))
    world = _world(name, frames, size)
    _shrink(prompt, frames, size, steps)
    if swap:
        _swap_loaders(prompt)
        _swap_sam(prompt, frames, size)
        if name != "long_clip":  # it is made for the embedded model, and shows what frames of a window see
            _suit(prompt)
        _speak(prompt, world.words)
    return StandIn(prompt, world.films, world.source, world.edited, world.kept)


@dataclass(frozen=True)
class _World:
    """words: {what the committed workflow says: what the embedded model understands}."""

    words: dict[str, str]
    films: dict[str, np.ndarray]
    source: np.ndarray
    edited: np.ndarray
    kept: np.ndarray


def _world(name: str, frames: int, size: int) -> _World:
    task = make_task(SEED, frames, size)
    clip, phrases, place = task.clip, task.phrases, int(task.clip.scenes.background[0])
    first, second = (task.masks > 0.5).numpy()
    said = clip.caption
    words: dict[str, str] = {"blurry, low quality, distorted": "", "": ""}
    nothing = np.zeros_like(first)
    edited, kept = first | second, nothing
    if name in ("start_here", "quickstart", "attention_map", "long_clip", "measure_edits"):
        films = {}
    elif name in ("instance_edit", "instance_edit_sam", "controlnet_depth"):
        films = {"two_men.mp4": clip.frames, "mask_left.mp4": _grey(first), "mask_right.mp4": _grey(second)}
        films["depth.mp4"] = _grey(0.3 + 0.6 * edited)
        scene = " are playing badminton in a sports hall"
        words |= {"two men" + scene: said, "a Spiderman and a polar bear" + scene: task.prompt}
        words |= {"a Spiderman": phrases[0], "a polar bear": phrases[1]}
    elif name == "edit_one_keep_rest":
        # Unlike a cat and a dog, the clip's two objects are alike: the second one becomes another kind beforehand.
        scenes = clip.scenes
        clip = clip.edited([(int(scenes.colour[0, 0]), int(scenes.shape[0, 0])), task.objects[1]])
        films = {"cat_and_dog.mp4": clip.frames, "mask_cat.mp4": _grey(first), "mask_dog.mp4": _grey(second)}
        words |= {"a cat and a dog are lying on a sofa": clip.caption, "a fox": phrases[0], "a dog": phrases[1]}
        words["a fox and a dog are lying on a sofa"] = task.prompt
        edited, kept = first, second
    elif name == "part_level_edit":
        clip = part_clip(SEED, frames, size)
        place = int(clip.scenes.background[0])
        whole, part = clip.masks.sum(0).numpy() > 0.5, clip.masks[1].numpy() > 0.5
        films = {"man.mp4": clip.frames, "mask_man.mp4": _grey(whole), "mask_eyes.mp4": _grey(part)}
        # The model has learnt neither "with" nor parts: two objects, then.
        words |= {"a man is walking through a park": caption(clip.phrases, place)}
        words |= {"a Superman": phrases[0], "black sunglasses": phrases[1]}
        words["a Superman with black sunglasses is walking through a park"] = caption(phrases, place)
        edited = whole
    else:  # no_masks, one_inversion_three_edits: one man
        clip = _alone(clip)
        films = {"man.mp4": clip.frames, "mask_man.mp4": _grey(first)}
        words["a man is walking through a park"] = caption(clip.phrases[:1], place)
        news = ("an astronaut", "a robot of polished steel", "a wooden puppet")
        for old, new in zip(news, (*phrases, "a white triangle")):
            words |= {old: new, f"{old} is walking through a park": caption([new], place)}
        edited = first
    return _World(words, films, clip.frames, edited, kept)


def _alone(clip: WorldClip) -> WorldClip:
    """The clip without its second object."""
    colour = clip.scenes.colour.clone()
    colour[:, 1] = -1
    return draw(replace(clip.scenes, colour=colour), clip.frames.shape[1:3])


def _grey(mask: np.ndarray) -> np.ndarray:
    """[F, H, W] in [0, 1] -> uint8 [F, H, W, 3]."""
    return np.repeat(np.round(255 * np.asarray(mask, dtype=np.float64)).astype(np.uint8)[..., None], 3, -1)


def _of(prompt: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [node for node in prompt.values() if node["class_type"] == kind]


def _swap_loaders(prompt: dict[str, Any]) -> None:
    for key, node in prompt.items():
        if node["class_type"] == "CheckpointLoaderSimple":  # MODEL, CLIP, VAE: the same outputs in the same order
            prompt[key] = {"class_type": "VideoGrainEmbeddedModel", "inputs": {}}
    model = next(k for k, n in prompt.items() if n["class_type"] == "VideoGrainEmbeddedModel")
    for key, node in prompt.items():
        if node["class_type"] == "ControlNetLoader":
            prompt[key] = {"class_type": "ProbeControlNet", "inputs": {"model": [model, 0]}}


def _swap_sam(prompt: dict[str, Any], frames: int, size: int) -> None:
    """Each tracker's mask becomes the demo clip's mask of that object."""
    trackers = [k for k, n in prompt.items() if n["class_type"] == "Sam2Segmentation"]
    if not trackers:
        return
    clip = {"frames": frames, "seed": SEED, "size": size, "motion": "apart"}
    prompt["clip"] = {"class_type": "VideoGrainDemoClip", "inputs": clip}
    swapped = {key: ["clip", 1 + place] for place, key in enumerate(trackers)}
    gone = ("Sam2Segmentation", "DownloadAndLoadSAM2Model", "PrimitiveStringMultiline")
    for key in [k for k, n in prompt.items() if n["class_type"] in gone]:
        del prompt[key]
    for node in prompt.values():
        for name, value in node["inputs"].items():
            if isinstance(value, list) and value[0] in swapped:
                node["inputs"][name] = swapped[value[0]]


def _shrink(prompt: dict[str, Any], frames: int, size: int, steps: int) -> None:
    changes: dict[str, dict[str, Any]] = {
        "VideoGrainDemoClip": {"frames": frames, "size": size, "seed": SEED},
        "ImageFromBatch": {"length": frames},
        "ImageScale": {"width": size, "height": size},
        "VideoGrainDDIMVideoInversion": {"steps": steps},
        "VideoGrainRegionEdit": {"steps": steps},
        "VideoGrainLongClipWindows": {
            "frames": max(3, frames // 2),
            "overlap": max(1, frames // 6),
            "anchors": 1 if frames < 8 else 2,
        },
        "KSampler": {"steps": steps},
    }
    _change(prompt, changes)


def _suit(prompt: dict[str, Any]) -> None:
    """Settings for the embedded model, which learnt from single pictures."""
    changes = {
        # Half the side of so small a latent is too coarse for masks.
        "VideoGrainDDIMVideoInversion": {"spacetime": "per_frame", "feature_level": "full"},
        # A cross is to become a circle.
        "VideoGrainPickLayoutMask": {"grow": 12},
        "VideoGrainSTLayoutAttnPatch": {"spacetime": "per_frame"},
        "KSampler": {"cfg": 5.0},
        "SamplerCustom": {"cfg": 5.0},
    }
    _change(prompt, changes)


def _change(prompt: dict[str, Any], changes: dict[str, dict[str, Any]]) -> None:
    for kind, values in changes.items():
        for node in _of(prompt, kind):
            node["inputs"].update(values)


def _speak(prompt: dict[str, Any], words: dict[str, str]) -> None:
    """Every text in the prompt, in the world's words. KeyError for one that nobody has translated."""
    for kind, name in (
        ("CLIPTextEncode", "text"),
        ("VideoGrainRegionPrompt", "prompt"),
        ("VideoGrainSTLayoutAttnPatch", "prompt"),
        ("VideoGrainRegionsFromMasks", "prompts"),
        ("PrimitiveStringMultiline", "value"),
    ):
        for node in _of(prompt, kind):
            if isinstance(node["inputs"][name], str):
                node["inputs"][name] = words[node["inputs"][name]]
