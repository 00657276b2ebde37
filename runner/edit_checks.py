"""Checks of an edit file against the world: files, counts, words. Everything is looked at; all problems are noted."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from ..editing.prompt_text import append_phrases, unplaced
from ..editing.whole_file import ATTENTION, LAYOUT, RESULTS
from .edit_file import EditFile, read_keys
from .media.geometry import Geometry, GeometryError
from .media.mask_files import Boxes, FoundMask, LabelVideo, MaskError, MaskFolder, MaskFrames, MaskVideo
from .media.video import VideoError, VideoInfo, available, probe, too_few
from .yaml_lines import Problems

log = logging.getLogger(__name__)

if TYPE_CHECKING:
    from .edit_file import EditFile, RegionEntry


def check_edit(spec: EditFile, problems: Problems, *, purpose: str = "edit", regions: bool = True) -> None:
    """Note everything about ``spec`` that would fail later. purpose: as in ``load_edit``; regions: also prompt, phrases
    and masks."""
    info = _video(spec, problems)
    _model(spec, problems)
    _inversion(spec, problems, purpose)
    if purpose != "invert":
        _output(spec, problems)
        _overwrites(spec, problems, purpose)
    if spec.layout is not None and spec.load is None:  # a loaded inversion has its own prompt
        _words(spec, problems, "layout.names", spec.layout.names, "source_prompt", spec.source_prompt)
    if spec.attention_maps is not None:
        _words(spec, problems, "attention_maps.words", spec.attention_maps.words, "prompt", _whole_prompt(spec))
    if regions:
        if spec.prompt:
            _phrases(spec, problems)
        if spec.regions and all(region.preserve for region in spec.regions):
            problems.add(
                spec.lines.line_of("regions"),
                "every region is preserved, so nothing would change; expected at least one that is edited; "
                "remove one `preserve: true`",
            )
    frames = None if info is None else _frames(spec, info)
    if frames is not None:
        for number, region in enumerate(spec.regions, 1):
            if region.masks is not None and not isinstance(region.masks, FoundMask):  # None: noted already
                _masks(region, number, spec.lines.line_of(f"regions[{number}].masks"), frames, info, problems)
        if spec.attention_maps is not None and spec.attention_maps.pixel is not None:
            _pixel(spec, frames, info, problems)
    if spec.controlnet is not None:
        _control(spec, frames, problems)


def _video(spec: EditFile, problems: Problems) -> VideoInfo | None:
    """The video's facts, or None where it cannot be used."""
    if spec.video == Path():  # missing key: noted already
        return None
    line = spec.lines.line_of("video")
    try:
        info = probe(spec.video)
    except VideoError as error:
        problems.add(line, f"video: {error}")
        return None
    have = available(info.frames, spec.start, spec.stride)
    if have < (spec.count or 1):
        problems.add(
            spec.lines.line_of("frames", "video"),
            too_few(spec.video, spec.count or 1, spec.start, spec.stride, info.frames),
        )
        return None
    try:
        Geometry.plan((info.width, info.height), spec.size, spec.fit)
    except GeometryError as error:
        problems.add(spec.lines.line_of("size", "video"), error)
    return info


def _frames(spec: EditFile, info: VideoInfo) -> MaskFrames:
    count = spec.count or available(info.frames, spec.start, spec.stride)
    return MaskFrames(spec.start, count, spec.stride, info.frames)


def _model(spec: EditFile, problems: Problems) -> None:
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
        problems.add(spec.lines.line_of(key), f"{key}: {path} {wrong}; expected {expected}; {remedy}")


def _inversion(spec: EditFile, problems: Problems, purpose: str) -> None:
    if purpose != "invert" and spec.load is not None and not spec.load.is_file():
        keep = " (with a `layout:` section in the file, so that it keeps the features)" if purpose == "layout" else ""
        problems.add(
            spec.lines.line_of("inversion.load"),
            f"inversion.load: {spec.load} does not exist; expected a saved inversion; make it with "
            f"`videograin invert {spec.path}`{keep}, or remove the key",
        )
    if purpose != "invert" and spec.load is not None and spec.save is not None:
        problems.add(
            spec.lines.line_of("inversion.save"),
            "inversion.save is given beside inversion.load; expected one of them, since a loaded inversion is saved "
            "already; remove one",
        )
    if spec.save is not None and spec.save.suffix != ".safetensors":
        problems.add(
            spec.lines.line_of("inversion.save"),
            f"inversion.save: {spec.save.name} has another ending; expected a .safetensors file; rename it",
        )


def _output(spec: EditFile, problems: Problems) -> None:
    if spec.output is not None and spec.output.exists() and not spec.output.is_dir():
        problems.add(
            spec.lines.line_of("output"),
            f"output: {spec.output} is a file; expected a folder for the results; choose another name",
        )


def _inputs(spec: EditFile) -> list[tuple[str, Path]]:
    """(key, path) of every file or folder that the edit reads, but for the models' folders."""
    inputs = [("the edit file", spec.path), ("video", spec.video)]
    for number, region in enumerate(spec.regions, 1):
        if isinstance(region.masks, MaskFolder):
            inputs.append((f"regions[{number}].masks.folder", region.masks.folder))
        elif isinstance(region.masks, (MaskVideo, LabelVideo)):
            inputs.append((f"regions[{number}].masks", region.masks.file))
    if spec.controlnet is not None:
        inputs.append(("controlnet.video", spec.controlnet.video))
    return inputs if spec.load is None else [*inputs, ("inversion.load", spec.load)]


def _results(spec: EditFile, purpose: str) -> list[str]:
    """The files that will be written to the output folder; those of the layout of an edit lie in a folder of theirs."""
    if purpose == "layout":
        return list(LAYOUT.values())
    return [*RESULTS.values(), *(ATTENTION.values() if spec.attention_maps is not None else ())]


def _overwrites(spec: EditFile, problems: Problems, purpose: str) -> None:
    """Note every result that would replace an input, or would lie among a folder's masks and count as one."""
    results, remade = _results(spec, purpose), None
    if spec.output is not None and any(isinstance(region.masks, FoundMask) for region in spec.regions):
        remade = spec.output / "layout"
    picture = next(name for name in results if name.endswith(".png"))
    for name, path in _inputs(spec):
        if path == Path():  # missing key: noted already
            continue
        text = ""
        if spec.output is not None:
            replaced = [file for file in results if _same(spec.output / file, path)]
            if replaced:
                text = f"{spec.output / replaced[0]} would replace {name}; expected results that replace no input"
            elif path.is_dir() and _same(spec.output, path):
                text = f"{spec.output} is {name}: {picture} would count as a mask; expected another"
            elif remade is not None and remade.resolve() in path.resolve().parents:
                text = f"{name} lies in {remade}, and {remade} is written anew by this edit; expected another place"
        if text:
            problems.add(spec.lines.line_of("output"), f"output: {text}; choose another folder")
    if spec.save is not None and spec.model is not None and _same(spec.save, spec.model):
        problems.add(
            spec.lines.line_of("inversion.save"),
            f"inversion.save: {spec.save} is the model; expected a file that replaces no input; choose another name",
        )


def _same(a: Path, b: Path) -> bool:
    return a.exists() and b.exists() and a.samefile(b)


def _masks(
    region: RegionEntry, number: int, line: int, frames: MaskFrames, info: VideoInfo, problems: Problems
) -> None:
    try:
        frames.indices(region.masks.count(), f"the mask source of region {number}")
    except (MaskError, VideoError) as error:
        problems.add(line, f"regions[{number}].masks: {error}")
        return
    if isinstance(region.masks, Boxes):
        for index, box in enumerate(region.masks.boxes, 1):
            if box is not None and not (box[0] < info.width and box[1] < info.height and box[2] > 0 and box[3] > 0):
                problems.add(
                    line,
                    f"regions[{number}].masks.boxes[{index}] {list(box)} lies outside the picture; expected pixels of "
                    f"the source, {info.width} x {info.height}; correct it, or write null for no object",
                )


def _pixel(spec: EditFile, frames: MaskFrames, info: VideoInfo, problems: Problems) -> None:
    """Note a pixel that the edit does not see."""
    pixel, line = spec.attention_maps.pixel, spec.lines.line_of("attention_maps.pixel")
    if pixel.frame >= frames.count:
        problems.add(
            line,
            f"attention_maps.pixel.frame: {pixel.frame} does not exist; expected a frame of the edit, 0 to "
            f"{frames.count - 1}; correct it",
        )
    try:
        x0, y0, x1, y1 = Geometry.plan((info.width, info.height), spec.size, spec.fit).box
    except GeometryError:  # noted already
        return
    if not (x0 <= pixel.x < x1 and y0 <= pixel.y < y1):
        cut = "" if (x0, y0, x1, y1) == (0, 0, info.width, info.height) else " (the rest is cut off to fit size)"
        problems.add(
            line,
            f"attention_maps.pixel: x {pixel.x}, y {pixel.y} lies outside; expected a pixel of the source with x "
            f"from {x0} to {x1 - 1} and y from {y0} to {y1 - 1}{cut}; correct it",
        )


def _words(
    spec: EditFile, problems: Problems, key: str, words: tuple[str, ...] | None, prompt_key: str, prompt: str
) -> None:
    """Note every one of ``words`` (under ``key``) that does not occur in the prompt."""
    if not prompt:  # missing: noted already
        return
    for phrase in words or ():
        if unplaced(prompt, [phrase]):
            problems.add(
                spec.lines.line_of(key),
                f"{key}: {phrase!r} does not occur in the {prompt_key} {prompt!r}; expected words that stand in it "
                f"(case and spaces do not matter); correct it, or write it into the {prompt_key}",
            )


def _control(spec: EditFile, frames: MaskFrames | None, problems: Problems) -> None:
    control = spec.controlnet
    if not (control.model / "config.json").is_file():
        problems.add(
            spec.lines.line_of("controlnet.model"),
            f"controlnet.model: {control.model} has no config.json; expected a local diffusers ControlNet folder; "
            "correct the path",
        )
    try:
        count = probe(control.video).frames
        if frames is not None:
            frames.indices(count, f"the control video {control.video}")
    except (MaskError, VideoError) as error:
        problems.add(spec.lines.line_of("controlnet.video"), f"controlnet.video: {error}")


def _whole_prompt(spec: EditFile) -> str:
    """The prompt, with the phrases that the edit will append to it."""
    if not spec.append_phrases:
        return spec.prompt
    return append_phrases(spec.prompt, [region.phrase for region in spec.regions])[0]


def _phrases(spec: EditFile, problems: Problems) -> None:
    phrases = [region.phrase for region in spec.regions]
    prompt = _whole_prompt(spec)
    option = "" if spec.append_phrases else ", or set append_phrases: true"
    for index, elsewhere in unplaced(prompt, phrases).items():
        region = spec.regions[index]
        if not region.phrase:  # noted already
            continue
        why = "occurs only where another region's phrase stands" if elsewhere else "does not occur"
        problems.add(
            spec.lines.line_of(f"regions[{index + 1}].phrase"),
            f"regions[{index + 1}].phrase: {region.phrase!r} {why} in the prompt {spec.prompt!r}; expected its words "
            "there once for every region that uses them (case and spaces do not matter); write them into the "
            f"prompt{option}",
        )


def load_edit(path: str | Path, *, purpose: str = "edit", output: str | Path | None = None) -> EditFile:
    """Read and check an edit file. purpose: ``edit``; ``invert`` (which needs no prompt, regions or output, always a
    source_prompt, and makes the file that inversion.load names, so that it need not be there); or ``layout`` (which
    needs no prompt, and leaves the regions unread: their masks may be what it is to make).
    output: takes the place of the file's ``output`` (relative to the current folder).

    Raises EditFileError listing every mistake, among them missing files, mask counts and phrases not in the prompt.
    """
    problems = Problems(Path(path))
    spec = read_keys(problems, purpose, None if output is None else Path(output))
    regions = purpose == "edit" or (purpose == "invert" and "regions" in spec.lines)
    check_edit(spec, problems, purpose=purpose, regions=regions)
    problems.stop()
    for note in spec.notes:
        log.warning(note)
    return spec
