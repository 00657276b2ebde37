"""Checks of an edit file against the world: files, counts, words. Everything is looked at; all problems are noted."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .geometry import Geometry, GeometryError
from .masks import Boxes, MaskError, MaskFrames
from .video import VideoError, VideoInfo, available, probe, too_few
from .yamlnodes import Problems

if TYPE_CHECKING:
    from .editfile import EditSpec, RegionSpec


def check_edit(spec: EditSpec, problems: Problems, *, regions: bool = True) -> None:
    """Note everything about ``spec`` that would fail later. regions: also prompt, phrases and masks."""
    info = _video(spec, problems)
    _model(spec, problems)
    _inversion(spec, problems)
    _output(spec, problems)
    if regions:
        if spec.prompt:
            _phrases(spec, problems)
        if spec.regions and all(region.preserve for region in spec.regions):
            problems.add(
                spec.lines.get("regions", 1),
                "every region is preserved, so nothing would change; expected at least one that is edited; "
                "remove one `preserve: true`",
            )
    frames = None if info is None else _frames(spec, info)
    if frames is not None:
        for number, region in enumerate(spec.regions, 1):
            if region.masks is not None:  # None: noted already
                _masks(region, number, frames, info, problems)
    if spec.controlnet is not None:
        _control(spec, frames, problems)


def _video(spec: EditSpec, problems: Problems) -> VideoInfo | None:
    """The video's facts, or None where it cannot be used."""
    if spec.video == Path():  # missing key: noted already
        return None
    line = spec.lines.get("video", 1)
    try:
        info = probe(spec.video)
    except VideoError as error:
        problems.add(line, f"video: {error}")
        return None
    have = available(info.frames, spec.start, spec.stride)
    if have < (spec.count or 1):
        problems.add(
            spec.lines.get("frames", line), too_few(spec.video, spec.count or 1, spec.start, spec.stride, info.frames)
        )
        return None
    try:
        Geometry.plan((info.width, info.height), spec.size, spec.fit)
    except GeometryError as error:
        problems.add(spec.lines.get("size", line), error)
    return info


def _frames(spec: EditSpec, info: VideoInfo) -> MaskFrames:
    count = spec.count or available(info.frames, spec.start, spec.stride)
    return MaskFrames(spec.start, count, spec.stride, info.frames)


def _model(spec: EditSpec, problems: Problems) -> None:
    for key, path in (("model", spec.model), ("model_config", spec.model_config)):
        if path is None:
            continue
        if not path.exists():
            wrong = "does not exist"
        elif path.is_dir() and not (path / "model_index.json").is_file():
            wrong = "has no model_index.json"
        elif path.is_file() and (key == "model_config" or path.suffix != ".safetensors"):
            wrong = "is a file of another kind"
        else:
            continue
        expected = "a diffusers folder" + (" or a .safetensors file" if key == "model" else "")
        remedy = "correct the path" + (", or leave model out for the embedded one" if key == "model" else "")
        problems.add(spec.lines[key], f"{key}: {path} {wrong}; expected {expected}; {remedy}")


def _inversion(spec: EditSpec, problems: Problems) -> None:
    if spec.load is not None and not spec.load.is_file():
        problems.add(
            spec.lines["inversion.load"],
            f"inversion.load: {spec.load} does not exist; expected a saved inversion; make it with "
            f"`videograin invert {spec.path.name} --output {spec.load.name}`, or remove the key",
        )
    if spec.load is not None and spec.save is not None:
        problems.add(
            spec.lines["inversion.save"],
            "inversion.save is given beside inversion.load; expected one of them, since a loaded inversion is saved "
            "already; remove one",
        )
    if spec.save is not None and spec.save.suffix != ".safetensors":
        problems.add(
            spec.lines["inversion.save"],
            f"inversion.save: {spec.save.name} has another ending; expected a .safetensors file; rename it",
        )


def _output(spec: EditSpec, problems: Problems) -> None:
    if spec.output is not None and spec.output.exists() and not spec.output.is_dir():
        problems.add(
            spec.lines.get("output", 1),
            f"output: {spec.output} is a file; expected a folder for the results; choose another name",
        )


def _masks(region: RegionSpec, number: int, frames: MaskFrames, info: VideoInfo, problems: Problems) -> None:
    try:
        frames.indices(region.masks.count(), f"the mask source of region {number}")
    except (MaskError, VideoError) as error:
        problems.add(region.masks_line, f"regions[{number}].masks: {error}")
        return
    if isinstance(region.masks, Boxes):
        for index, box in enumerate(region.masks.boxes, 1):
            if box is not None and not (box[0] < info.width and box[1] < info.height and box[2] > 0 and box[3] > 0):
                problems.add(
                    region.masks_line,
                    f"regions[{number}].masks.boxes[{index}] {list(box)} lies outside the picture; expected pixels of "
                    f"the source, {info.width} x {info.height}; correct it, or write null for no object",
                )


def _control(spec: EditSpec, frames: MaskFrames | None, problems: Problems) -> None:
    control = spec.controlnet
    if control.model != Path() and not (control.model / "config.json").is_file():
        problems.add(
            control.line,
            f"controlnet.model: {control.model} has no config.json; expected a local diffusers ControlNet folder; "
            "correct the path",
        )
    if control.video == Path():
        return
    try:
        count = probe(control.video).frames
        if frames is not None:
            frames.indices(count, f"the control video {control.video}")
    except (MaskError, VideoError) as error:
        problems.add(control.line, f"controlnet.video: {error}")


def words(prompt: str) -> list[str]:
    """A prompt's words and punctuation in lower case, without weights: "(a Red  car:1.2)," -> a, red, car, ','."""
    prompt = re.sub(r":\s*[-+]?\d*\.?\d+\s*(?=(?<!\\)\))", "", prompt)
    prompt = re.sub(r"(?<!\\)[()]", " ", prompt).replace("\\(", "(").replace("\\)", ")")
    return re.findall(r"\w+|[^\w\s]", prompt.lower())


def unplaced(prompt: str, phrases: Sequence[str]) -> dict[int, bool]:
    """Phrases without a free place in the prompt: index -> whether it does occur, but only where another one stands.

    The rule of attention.find_phrases, on words instead of tokens: longer phrases choose first, each takes the next
    free occurrence, and no word serves twice.
    """
    text, taken, missing = words(prompt), set(), {}
    split = [words(phrase) for phrase in phrases]
    for index in sorted(range(len(phrases)), key=lambda n: -len(split[n])):
        phrase = split[index]
        starts = [n for n in range(len(text) - len(phrase) + 1) if phrase and text[n : n + len(phrase)] == phrase]
        free = [n for n in starts if taken.isdisjoint(range(n, n + len(phrase)))]
        if free:
            taken.update(range(free[0], free[0] + len(phrase)))
        else:
            missing[index] = bool(starts)
    return missing


def _phrases(spec: EditSpec, problems: Problems) -> None:
    for index, elsewhere in unplaced(spec.prompt, [region.phrase for region in spec.regions]).items():
        region = spec.regions[index]
        if not region.phrase:  # noted already
            continue
        why = "occurs only where another region's phrase stands" if elsewhere else "does not occur"
        problems.add(
            region.line,
            f"regions[{index + 1}].phrase: {region.phrase!r} {why} in the prompt {spec.prompt!r}; expected its words "
            "there once for every region that uses them (case and spaces do not matter); write them into the prompt",
        )
