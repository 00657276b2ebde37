"""The ``regions`` of an edit file: one phrase and one source of masks each."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import yaml

from .masks import Boxes, FoundMask, LabelVideo, MaskFolder, MaskSource, MaskVideo
from .settings import SettingError, flag, number, show, text
from .yamlnodes import Section, kind_of, line_of, value_of


@dataclass(frozen=True)
class RegionSpec:
    """One entry of ``regions``. line, masks_line: where its phrase and its masks stand, for messages."""

    phrase: str
    masks: MaskSource
    preserve: bool = False
    strength: float = 1.0
    line: int = 0
    masks_line: int = 0


def read_regions(top: Section, file: Callable, whole: bool) -> tuple[RegionSpec, ...]:
    """The list under ``regions``; mistakes are noted. file: the rule for paths; whole: regions must be there."""
    entries = top.items("regions", "regions")
    if whole and not top.has("regions"):
        top.problems.add(top.line, "regions is missing; expected a list of regions with phrase and masks; add it")
    elif whole and not entries and isinstance(top.nodes["regions"], yaml.SequenceNode):
        top.problems.add(
            top.lines["regions"],
            "regions is empty; expected at least one; to edit everything, give one a box of the whole picture",
        )
    regions = []
    for index, node in enumerate(entries):
        name = f"regions[{index + 1}]"
        if not isinstance(node, yaml.MappingNode):
            top.problems.add(
                line_of(node),
                f"{name} is {kind_of(node)}; expected phrase and masks; write `- phrase: ...` and `masks:`",
            )
            continue
        section = Section(node, name, top.problems)
        phrase = section.take("phrase", text, "", needed="words of the prompt")
        preserve = section.take("preserve", flag, False)
        strength = section.take("strength", number(0, 1, example=1), 1.0)
        masks = _masks(section, file)
        section.finish()
        lines = section.line_at("phrase"), section.line_at("masks")
        regions.append(RegionSpec(phrase, masks, preserve, strength, *lines))  # masks None: a problem was noted
    return tuple(regions)


def _masks(section: Section, file: Callable) -> MaskSource | None:
    """The one mask source of a region; None (and a problem) where there is none or more than one."""
    kinds = "one of {folder: DIR}, {video: FILE}, {labels: FILE, id: N}, {boxes: [[x0, y0, x1, y1]]}, {layout: NAME}"
    if not section.has("masks"):
        section.known.append("masks")
        section.problems.add(section.line, f"{section.path('masks')} is missing; expected {kinds}; add it")
        return None
    masks = section.section("masks")
    before = len(masks.problems.found)
    given = [key for key in ("folder", "video", "labels", "boxes", "layout") if masks.has(key)]
    folder, video, labels = (masks.take(key, file) for key in ("folder", "video", "labels"))
    identity = masks.take("id", number(0, 65535, whole=True, example=1))
    colour = masks.take("colour", _colour)
    boxes = _boxes(masks)
    found = masks.take("layout", _picked)
    masks.finish()
    if len(masks.problems.found) > before:
        return None
    if len(given) != 1:
        what = f"{masks.name} has {' and '.join(given)}" if given else f"{masks.name} names no source"
        masks.problems.add(section.line_at("masks"), f"{what}; expected {kinds}; keep exactly one")
        return None
    if given != ["labels"] and (identity is not None or colour is not None):
        extra = "id" if identity is not None else "colour"
        masks.problems.add(
            masks.line_at(extra), f"{masks.path(extra)} is given without labels; expected it only there; remove it"
        )
        return None
    if labels is not None:
        if (identity is None) == (colour is None):
            masks.problems.add(
                masks.line_at("labels"),
                f"{masks.name} needs to know which label; expected id: N or colour: \"#rrggbb\", one of them; add it",
            )
            return None
        return LabelVideo(labels, identity, colour)
    if folder is not None:
        return MaskFolder(folder)
    if found is not None:
        return FoundMask(found)
    return MaskVideo(video) if video is not None else Boxes(boxes)


def _boxes(masks: Section) -> tuple:
    boxes = []
    nodes = masks.items("boxes", "boxes [x0, y0, x1, y1]")
    if masks.has("boxes") and isinstance(masks.nodes["boxes"], yaml.SequenceNode) and not nodes:
        masks.problems.add(masks.lines["boxes"], f"{masks.path('boxes')} is empty; expected at least one box; add it")
    for index, node in enumerate(nodes):
        value = value_of(node)
        if value is None:
            boxes.append(None)
            continue
        good = isinstance(value, list) and len(value) == 4
        good = good and all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in value)
        if not good or not (value[0] < value[2] and value[1] < value[3]):
            masks.problems.add(
                line_of(node),
                f"{masks.path('boxes')}[{index + 1}] is {show(value)}; expected [x0, y0, x1, y1] in pixels of the "
                "source with x0 < x1 and y0 < y1, or null where the object is not in the frame; correct it",
            )
            continue
        boxes.append(tuple(float(v) for v in value))
    return tuple(boxes)


def _picked(value: Any) -> str:
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
