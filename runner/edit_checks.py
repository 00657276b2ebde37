"""Checks of an edit file against the world: files, counts, words. Everything is looked at; all problems are noted."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ..editing.prompt_text import append_phrases, unplaced
from ..editing.settings import Pixel
from ..editing.whole_file import ATTENTION, LAYOUT, RESULTS
from .edit_file import EditFile, read_keys
from .edit_keys import ControlKeys, EditKeys
from .media.geometry import Geometry, GeometryError
from .media.mask_files import Boxes, FoundMask, LabelVideo, MaskError, MaskFolder, MaskFrames, MaskSource, MaskVideo
from .media.video import VideoError, VideoInfo, available, probe, too_few
from .yaml_lines import Problems

log = logging.getLogger(__name__)
Note = Callable[..., None]  # Problems.add


def check_edit(edit_file: EditFile, problems: Problems, *, purpose: str = "edit", regions: bool = True) -> None:
    """Note everything about an edit that would fail later. purpose: as in ``load_edit``; regions: also prompt, phrases
    and masks."""
    keys, note, inversion = edit_file.keys, problems.add, edit_file.keys.inversion
    maps, entries = keys.attention_maps, keys.regions
    info = _video(keys, note)
    _model("model", keys.model, note)
    _model("model_config", keys.model_config, note)
    if inversion.save is not None and inversion.save.suffix != ".safetensors":
        text = f"inversion.save: {inversion.save.name} has another ending; expected a .safetensors file; rename it"
        note(text, "inversion.save")
    if purpose != "invert":
        if inversion.load is not None:
            _loaded(inversion.load, inversion.save, edit_file.path, purpose, note)
        if edit_file.output is not None:
            found = any(isinstance(entry.masks, FoundMask) for entry in entries)
            remade = edit_file.output / "layout" if found else None
            results = LAYOUT.values() if purpose == "layout" else (*RESULTS.values(), *ATTENTION.values())
            _output(edit_file.output, list(results), remade, _inputs(edit_file), note)
        if inversion.save is not None and keys.model is not None and _same(inversion.save, keys.model):
            text = f"{inversion.save} is the model; expected a file that replaces no input; choose another name"
            note(f"inversion.save: {text}", "inversion.save")
    prompt, phrases = keys.prompt, [entry.phrase for entry in entries]
    if keys.append_phrases:
        prompt = append_phrases(prompt, phrases)[0]
    if edit_file.layout is not None and inversion.load is None:  # a loaded inversion has its own prompt
        _words("layout.names", edit_file.layout.names, "source_prompt", keys.source_prompt, note)
    if maps is not None:
        _words("attention_maps.words", maps.words, "prompt", prompt, note)
    if regions:
        if keys.prompt:
            _phrases(phrases, prompt, keys.prompt, "" if keys.append_phrases else ", or set append_phrases: true", note)
        if entries and all(entry.preserve for entry in entries):
            text = "every region is preserved, so nothing would change; expected at least one that is edited; "
            note(f"{text}remove one `preserve: true`", "regions")
    frames = None
    if info is not None:
        count = keys.frames.count or available(info.frames, keys.frames.start, keys.frames.stride)
        frames = MaskFrames(keys.frames.start, count, keys.frames.stride, info.frames)
        for number, entry in enumerate(entries, 1):
            if entry.masks is not None and not isinstance(entry.masks, FoundMask):  # None: noted already
                _masks(entry.masks, number, frames, info, note)
        if maps is not None and maps.pixel is not None:
            with suppress(GeometryError):  # noted already
                box = Geometry.plan((info.width, info.height), keys.size, keys.fit).box
                _pixel(maps.pixel, count, box, info, note)
    if keys.controlnet is not None:
        _control(keys.controlnet, frames, note)


def _video(keys: EditKeys, note: Note) -> VideoInfo | None:
    """The video's facts, or None where it cannot be used."""
    if keys.video is None:  # missing key: noted already
        return None
    try:
        info = probe(keys.video)
    except VideoError as error:
        note(f"video: {error}", "video")
        return None
    count = keys.frames.count or 1
    if available(info.frames, keys.frames.start, keys.frames.stride) < count:
        note(too_few(keys.video, count, keys.frames.start, keys.frames.stride, info.frames), "frames", "video")
        return None
    try:
        Geometry.plan((info.width, info.height), keys.size, keys.fit)
    except GeometryError as error:
        note(error, "size", "video")
    return info


def _model(key: str, path: Path | None, note: Note) -> None:
    """Note a folder or file of weights that is none. key: ``model`` or ``model_config``."""
    if path is None:
        return
    if not path.exists():
        wrong = "does not exist"
    elif path.is_dir() and not (path / "model_index.json").is_file():
        wrong = "has no model_index.json"
    elif path.is_file() and (key == "model_config" or path.suffix != ".safetensors"):
        wrong = "is a file of another kind"
    else:
        return
    expected = "a diffusers folder" + (" or a .safetensors file" if key == "model" else "")
    remedy = "correct the path" + (", or leave model out for the embedded one" if key == "model" else "")
    note(f"{key}: {path} {wrong}; expected {expected}; {remedy}", key)


def _loaded(load: Path, save: Path | None, edit_file: Path, purpose: str, note: Note) -> None:
    """Note an inversion that is not there, or is to be loaded and saved."""
    if not load.is_file():
        keep = " (with a `layout:` section in the file, so that it keeps the features)" if purpose == "layout" else ""
        wrong = "is no file" if load.exists() else "does not exist"
        note(
            f"inversion.load: {load} {wrong}; expected a saved inversion; make it with "
            f"`videograin invert {edit_file}`{keep}, or remove the key",
            "inversion.load",
        )
    if save is not None:
        note(
            "inversion.save is given beside inversion.load; expected one of them, since a loaded inversion is saved "
            "already; remove one",
            "inversion.save",
        )


def _inputs(edit_file: EditFile) -> list[tuple[str, Path]]:
    """(key, path) of every file or folder that the edit reads, but for the models' folders."""
    keys = edit_file.keys
    inputs = [("the edit file", edit_file.path), ("video", keys.video or Path())]
    for number, region in enumerate(keys.regions, 1):
        if isinstance(region.masks, MaskFolder):
            inputs.append((f"regions[{number}].masks.folder", region.masks.folder))
        elif isinstance(region.masks, (MaskVideo, LabelVideo)):
            inputs.append((f"regions[{number}].masks", region.masks.file))
    if keys.controlnet is not None:
        inputs.append(("controlnet.video", keys.controlnet.video))
    return inputs if keys.inversion.load is None else [*inputs, ("inversion.load", keys.inversion.load)]


def _output(output: Path, results: list[str], remade: Path | None, inputs: list[tuple[str, Path]], note: Note) -> None:
    """Note an output that is no folder, and every result that would replace an input, or would lie among a folder's
    masks and count as one. results: the files that will be written there; remade: a folder that is written anew."""
    if output.exists() and not output.is_dir():
        note(f"output: {output} is a file; expected a folder for the results; choose another name", "output")
    picture = next(name for name in results if name.endswith(".png"))
    for name, path in inputs:
        if path == Path():  # missing key: noted already
            continue
        text = ""
        replaced = [file for file in results if _same(output / file, path)]
        if replaced:
            text = f"{output / replaced[0]} would replace {name}; expected results that replace no input"
        elif path.is_dir() and _same(output, path):
            text = f"{output} is {name}: {picture} would count as a mask; expected another"
        elif remade is not None and remade.resolve() in path.resolve().parents:
            text = f"{name} lies in {remade}, and {remade} is written anew by this edit; expected another place"
        if text:
            note(f"output: {text}; choose another folder", "output")


def _same(a: Path, b: Path) -> bool:
    return a.exists() and b.exists() and a.samefile(b)


def _masks(masks: MaskSource, number: int, frames: MaskFrames, info: VideoInfo, note: Note) -> None:
    """Note masks of another number than the frames, and boxes outside the picture."""
    key = f"regions[{number}].masks"
    try:
        frames.indices(masks.count(), f"the mask source of region {number} ({masks.place})")
        if isinstance(masks, Boxes):
            masks.in_pixels(info.width, info.height, lambda _: None)  # remarks are made when they are read
    except (MaskError, VideoError) as error:
        note(f"{key}: {error}", key)


def _pixel(pixel: Pixel, count: int, box: tuple[int, int, int, int], info: VideoInfo, note: Note) -> None:
    """Note a pixel that the edit does not see. count: of the edit's frames; box: what it takes of the source."""
    if pixel.frame >= count:
        note(
            f"attention_maps.pixel.frame: {pixel.frame} does not exist; expected a frame of the edit, 0 to "
            f"{count - 1}; correct it",
            "attention_maps.pixel",
        )
    x0, y0, x1, y1 = box
    if not (x0 <= pixel.x < x1 and y0 <= pixel.y < y1):
        cut = "" if box == (0, 0, info.width, info.height) else " (the rest is cut off to fit size)"
        note(
            f"attention_maps.pixel: x {pixel.x}, y {pixel.y} lies outside; expected a pixel of the source with x "
            f"from {x0} to {x1 - 1} and y from {y0} to {y1 - 1}{cut}; correct it",
            "attention_maps.pixel",
        )


def _words(key: str, words: tuple[str, ...] | None, prompt_key: str, prompt: str, note: Note) -> None:
    """Note every one of ``words`` (under ``key``) that does not occur in the prompt."""
    if not prompt:  # missing: noted already
        return
    for phrase in words or ():
        if unplaced(prompt, [phrase]):
            note(
                f"{key}: {phrase!r} does not occur in the {prompt_key} {prompt!r}; expected words that stand in it "
                f"(case and spaces do not matter); correct it, or write it into the {prompt_key}",
                key,
            )


def _control(control: ControlKeys, frames: MaskFrames | None, note: Note) -> None:
    if not (control.model / "config.json").is_file():
        note(
            f"controlnet.model: {control.model} has no config.json; expected a local diffusers ControlNet folder; "
            "correct the path",
            "controlnet.model",
        )
    try:
        count = probe(control.video).frames
        if frames is not None:
            frames.indices(count, f"the control video {control.video}")
    except (MaskError, VideoError) as error:
        note(f"controlnet.video: {error}", "controlnet.video")


def _phrases(phrases: list[str], whole: str, prompt: str, option: str, note: Note) -> None:
    """Note every phrase that has no place of its own in the ``whole`` prompt, which may hold more than ``prompt``, what
    the file says. option: another remedy."""
    for index, elsewhere in unplaced(whole, phrases).items():
        if not phrases[index]:  # noted already
            continue
        key, why = f"regions[{index + 1}].phrase", "does not occur"
        if elsewhere:
            why = "occurs only where another region's phrase stands"
        note(
            f"{key}: {phrases[index]!r} {why} in the prompt {prompt!r}; expected its words there once for every region "
            f"that uses them (case and spaces do not matter); write them into the prompt{option}",
            key,
        )


def load_edit(path: str | Path, *, purpose: str = "edit", output: str | Path | None = None) -> EditFile:
    """Read and check an edit file. purpose: ``edit``; ``invert`` (which needs no prompt, regions or output, always a
    source_prompt, and makes the file that inversion.load names, so that it need not be there); or ``layout`` (which
    needs no prompt, and leaves the regions unread: their masks may be what it is to make).
    output: takes the place of the file's ``output`` (relative to the current folder).

    Raises EditFileError listing every mistake, among them missing files, mask counts and phrases not in the prompt.
    """
    spec, problems = read_keys(Path(path), purpose, None if output is None else Path(output))
    regions = purpose == "edit" or (purpose == "invert" and "regions" in spec.lines)
    check_edit(spec, problems, purpose=purpose, regions=regions)
    problems.stop()
    for note in spec.notes:
        log.warning(note)
    return spec
