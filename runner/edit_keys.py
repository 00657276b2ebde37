"""What may stand in an edit file and in a metrics file: every key with its values, its default and a sentence.

edit_file.py makes values of them for the program; the tables of runner/README.md are written from these classes.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, ValidationInfo

from ..editing.fields import Flag, Number, OneOf, SettingError, Text, Told, Whole, settings, show, wrong
from ..editing.presets import PRESETS
from ..editing.settings import (
    AttentionSettings,
    BlendSettings,
    CompositeSettings,
    InversionSettings,
    LayoutSettings,
    MapSettings,
    MotionSettings,
    SamplingSettings,
    Span,
    SteadySettings,
    WindowSettings,
)
from .media.geometry import UNIT
from .media.mask_files import Boxes, FoundMask, LabelVideo, MaskFolder, MaskSource, MaskVideo

LARGEST = 16384  # pixels of a side
LONGEST_PATH = 4096


def path_of(value: Any, info: ValidationInfo) -> Path:
    """A path, relative to the folder ``base`` of the validation's context."""
    if not isinstance(value, str) or not value.strip():
        raise SettingError(f"{show(value)} is not allowed; expected text; put it in quotes")
    return Path((info.context or {}).get("base", "")) / user_path(value)


def user_path(value: str) -> Path:
    """A path as a person wrote it, ``~`` included; SettingError for what no system has."""
    wrong = ""
    if not value.strip():
        wrong = "is empty"
    elif not value.isprintable():
        wrong = "has a sign that no name has"
    elif len(value) > LONGEST_PATH or any(len(os.fsencode(part)) > 255 for part in Path(value).parts):
        wrong = "is longer than any path"
    if wrong:
        raise SettingError(f"{show(value)} {wrong}; expected a path; correct it")
    try:
        return Path(value).expanduser()
    except RuntimeError:
        raise SettingError(
            f"{show(value)}: there is no home folder of this user; expected a path; write it out without ~"
        ) from None


def sides_of(value: Any) -> tuple[int, int]:
    """(width, height) of one side or [width, height], multiples of 8."""
    sides = value if isinstance(value, list) else [value, value]
    good = len(sides) == 2 and all(isinstance(side, int) and not isinstance(side, bool) for side in sides)
    if good and max(sides) > LARGEST:
        raise SettingError(f"{show(value)} is not allowed; expected sides of at most {LARGEST} pixels; write less")
    if not good or not all(side >= UNIT and side % UNIT == 0 for side in sides):
        if good and all(side > 0 for side in sides):
            near = [max(UNIT, round(side / UNIT) * UNIT) for side in sides]
            remedy = f"the nearest is {near[0] if near[0] == near[1] and not isinstance(value, list) else near}"
        else:
            remedy = "write e.g. 512 or [768, 512]"
        raise SettingError(
            f"{show(value)} is not allowed; expected one side or [width, height], multiples of {UNIT}; {remedy}"
        )
    return sides[0], sides[1]


def device_of(value: Any) -> str:
    """The name of a device, or auto."""
    if not isinstance(value, str) or not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?|xpu(:\d+)?", value):
        raise SettingError(f"{show(value)} is not allowed; expected {DEVICES}; choose one")
    return value


def _thing(value: Any) -> str:
    """The name or number of a thing of the layout: 2, "red circle 1", "1 + 2"."""
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return str(value)
    if not isinstance(value, str) or not value.strip():
        raise SettingError(f'{show(value)} is not allowed; expected a name or number; write e.g. "red circle 1" or 2')
    return value.strip()


def _colour(value: Any) -> tuple[int, int, int]:
    if not isinstance(value, str) or not re.fullmatch(r"#[0-9a-fA-F]{6}", value):
        raise SettingError(
            f'{show(value)} is not allowed; expected "#rrggbb"; keep the quotes, since # begins a comment in YAML'
        )
    return int(value[1:3], 16), int(value[3:5], 16), int(value[5:7], 16)


def _boxes(value: Any) -> tuple[tuple[float, ...] | None, ...]:
    if not isinstance(value, list):
        raise wrong(f"{show(value)} is not allowed; expected a list of boxes [x0, y0, x1, y1]; begin each with '- '")
    if not value:
        raise wrong("boxes is empty; expected at least one box; add it")
    for index, box in enumerate(value):
        good = isinstance(box, list) and len(box) == 4
        good = good and all(isinstance(v, (int, float)) and not isinstance(v, bool) and abs(v) < 1e6 for v in box)
        if box is not None and (not good or not (box[0] < box[2] and box[1] < box[3])):
            raise wrong(
                f"{show(box)} is not allowed; expected [x0, y0, x1, y1] in pixels of the source with x0 < x1 and "
                "y0 < y1, or null where the object is not in the frame; correct it",
                index,
            )
    return tuple(None if box is None else tuple(float(side) for side in box) for box in value)


DEVICES = "auto, cpu, cuda, cuda:N, mps or xpu"
File = Annotated[Path | None, PlainValidator(path_of), Told("a path")]
Size = Annotated[tuple[int, int], PlainValidator(sides_of), Told(f"a side or [width, height], multiples of {UNIT}")]
Device = Annotated[str, PlainValidator(device_of), Told(DEVICES)]
AnyText = Annotated[str, BeforeValidator(lambda value: "" if value is None else value)]


@settings
class FrameKeys:
    """Which frames of the video."""

    start: Whole = Field(default=0, ge=0, description="the first frame, counted from 0")
    count: Whole | None = Field(
        default=None, ge=1, examples=[16], description="how many; left out: to the end of the video"
    )
    stride: Whole = Field(default=1, ge=1, description="every so many-th frame")


SOURCES = "{folder: DIR}, {video: FILE}, {labels: FILE, id: N}, {boxes: [[x0, y0, x1, y1]]}, {layout: NAME}"


@settings
class MaskKeys:
    """Where a region is: one of folder, video, labels, boxes and layout."""

    folder: File = Field(default=None, description="images, one per frame (or a single one), bright inside")
    video: File = Field(default=None, description="a video, white inside and black outside")
    labels: File = Field(default=None, description="a picture, folder or video with a flat colour or value per object")
    id: Whole | None = Field(default=None, ge=0, le=65535, examples=[1], description="the object's value in `labels`")
    colour: Annotated[tuple[int, int, int] | None, PlainValidator(_colour), Told('"#rrggbb"')] = Field(
        default=None, description="the object's colour in `labels`"
    )
    boxes: Annotated[tuple | None, PlainValidator(_boxes), Told("a list of [x0, y0, x1, y1] or null")] = Field(
        default=None, description="pixels of the source, one box per frame (or a single one)"
    )
    layout: Annotated[str | None, PlainValidator(_thing), Told("a name or number")] = Field(
        default=None, description="a thing that the edit finds itself"
    )

    def __post_init__(self) -> None:
        given = [key for key in ("folder", "video", "labels", "boxes", "layout") if getattr(self, key) is not None]
        if len(given) != 1:
            raise wrong(f"has {' and '.join(given) or 'no source'}; expected one of {SOURCES}; keep exactly one")
        for extra in ("id", "colour"):
            if self.labels is None and getattr(self, extra) is not None:
                raise wrong(f"{extra} is given without labels; expected it only there; remove it", extra, "labels")
        if self.labels is not None and (self.id is None) == (self.colour is None):
            raise wrong(
                'needs to know which label; expected id: N or colour: "#rrggbb", one of them; add it',
                "labels",
                "id",
                "colour",
            )


def _source(keys: Any) -> MaskSource:
    """The same for the program."""
    if not isinstance(keys, MaskKeys):  # older versions of pydantic ask twice
        return keys
    if keys.labels is not None:
        return LabelVideo(keys.labels, keys.id, keys.colour)
    if keys.folder is not None:
        return MaskFolder(keys.folder)
    if keys.layout is not None:
        return FoundMask(keys.layout)
    return MaskVideo(keys.video) if keys.video is not None else Boxes(keys.boxes or ())


@settings
class RegionEntry:
    """A list; later entries lie on top.

    masks: read as a MaskSource; None only where a mistake was noted.
    """

    phrase: Text = Field(default="", description="words of the prompt")
    masks: Annotated[MaskKeys, AfterValidator(_source)] = Field(
        default=None, examples=["{folder: masks/left}"], description=f"one of {SOURCES}"
    )
    preserve: Flag = Field(default=False, description="keep the source's pixels, bit for bit, also on an edited region")
    strength: Number = Field(default=1.0, ge=0, le=1, description="how strongly the region is modulated, as a share")


@settings
class ControlKeys(Span):
    """A ControlNet and its control video."""

    model: File = Field(description="a diffusers ControlNet folder")
    video: File = Field(description="the control video, matched to the frames as mask videos are")
    scale: Number = Field(default=1.0, ge=0, le=10, description="how strongly it steers")
    start: Number = Field(default=0.0, ge=0, le=1, description="where in the run it begins")
    end: Number = Field(default=1.0, ge=0, le=1, description="where in the run it ends")


@settings
class InversionKeys(InversionSettings):
    """How the clip is inverted, and where the inversion is kept."""

    load: File | None = Field(default=None, description="a saved inversion to start from")
    save: File | None = Field(default=None, description="a .safetensors file to keep the inversion in")


@settings
class SourceKeys:
    """The source of an edit and what is to be seen in it: of edit files and of metrics files."""

    video: File = Field(default=None, description="a video, or a folder of pictures")
    frames: FrameKeys = Field(
        default_factory=FrameKeys, examples=["{start: 0, count: 16}"], description="which frames of the video"
    )
    size: Size | None = Field(default=None, description="frames are scaled to it; left out: the video's own")
    fit: Annotated[str, OneOf(("crop", "stretch"))] = Field(
        default="crop", description="what happens to another shape: cut off, or distorted"
    )
    prompt: Text = Field(default="", description="a description of the edited video")
    regions: tuple[RegionEntry, ...] = Field(default=(), description="a list of regions with phrase and masks")
    device: Device = Field(default="auto", description="where the networks run")
    output: File = Field(default=None, description="a folder for results")


@settings
class EditKeys(SourceKeys, SamplingSettings):
    """The top level of an edit file."""

    source_prompt: Text = Field(default="", description="a description of the source video")
    negative_prompt: AnyText = Field(default="", description="what the guidance leads away from")
    append_phrases: Flag = Field(
        default=False, description="add a phrase that the prompt has no place for to its end, instead of refusing it"
    )
    model: File | None = Field(
        default=None, description="a diffusers folder or a .safetensors file; left out: the embedded model"
    )
    model_config: File | None = Field(
        default=None, description="for a single file: a diffusers folder with its configs"
    )
    dtype: Annotated[str, OneOf(("float32", "float16", "bfloat16"))] = Field(
        default="float32", description="what the networks compute in; float16 on a GPU"
    )
    inversion: InversionKeys = Field(
        default_factory=InversionKeys, examples=["{method: warm}"], description="how the clip is inverted"
    )
    attention: AttentionSettings = Field(
        default_factory=AttentionSettings, examples=["{mode: full}"], description="space-time attention and modulation"
    )
    blend: BlendSettings = Field(
        default_factory=BlendSettings, examples=["{enabled: true}"], description="latents outside the regions"
    )
    composite: CompositeSettings = Field(
        default_factory=CompositeSettings, examples=["{enabled: true}"], description="pixels outside the regions"
    )
    steady: SteadySettings = Field(
        default_factory=SteadySettings, examples=["{enabled: true}"], description="edits that hold in time"
    )
    motion: MotionSettings | None = Field(
        default=None,
        examples=["{source: auto}"],
        description="how the regions' motion is found, and masks filled by it; left out: as `steady` needs it",
    )
    windows: WindowSettings | None = Field(
        default=None, examples=["{frames: 16}"], description="how a long clip is cut; left out: all frames at once"
    )
    layout: LayoutSettings | None = Field(
        default=None, examples=["{level: half}"], description="how things are found without masks"
    )
    attention_maps: MapSettings | None = Field(
        default=None, examples=["{level: half}"], description="which attention is shown; left out: none"
    )
    controlnet: ControlKeys | None = Field(
        default=None, examples=["{model: FOLDER, video: FILE}"], description="a ControlNet; left out: none"
    )
    preset: Annotated[str, OneOf(PRESETS)] | None = Field(
        default=None, description="settings by purpose (`videograin presets`); what the file says itself wins"
    )


def _edit(value: Any) -> Any:
    return {"path": value} if isinstance(value, str) and value.strip() else value


@settings
class MeasuredKeys:
    """A list of paths, or of"""

    path: File = Field(default=None, description="a video or an edit's output folder")
    name: Text | None = Field(
        default=None, description="the heading of its column; left out: the file's or folder's name"
    )


@settings
class MetricsKeys(SourceKeys):
    """The top level of a metrics file."""

    edits: tuple[Annotated[MeasuredKeys, BeforeValidator(_edit)], ...] = Field(
        default=(), examples=["{name: NAME, path: PATH}"], description="edits: paths, or {name: NAME, path: PATH}"
    )
    edit_file: File | None = Field(default=None, description="takes source, frames, prompt and regions from it")
    clip: File | None = Field(default=None, description="a CLIP of transformers: CLIP-T, CLIP-F, Q-edit, regions")
    dino: File | None = Field(default=None, description="a DINO of transformers: DINO consistency")
    pickscore: File | None = Field(default=None, description="PickScore's folder: PickScore")
    raft: File | None = Field(default=None, description="RAFT-Large weights (default: torch hub's, else OpenCV's DIS)")


MODELS = {"clip": "DIR", "dino": "DIR", "pickscore": "DIR", "raft": "FILE"}
"""The networks that measure: their keys in a metrics file, which are flags too, and what each is given."""
REQUIRED = {
    EditKeys: ("video", "source_prompt", "prompt", "regions", "output"),
    RegionEntry: ("phrase", "masks"),
    MeasuredKeys: ("path",),
}
"""What a file must say although a class has a default for it, with which the rest of a file can still be checked. Of an
edit file: for an edit; what less an inversion and a layout need, edit_file.py knows."""
