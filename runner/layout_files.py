"""Regions without masks: the layout of a clip from its inversion (method.md 9), and its files.

A found mask is used in 8 bits, as its PNG holds it, so that an edit with the written masks and an edit that finds the
layout itself give the same frames.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..editing.layout.clip_layout import ClipLayout
from ..editing.layout.of_clip import eight_bits
from ..editing.named_paths import path_within
from ..editing.settings import LayoutSettings
from ..editing.trajectory import Trajectory
from ..editing.whole_file import LAYOUT, read_json, save_png, whole_file, write_errors
from ..measuring.pictures import layout_pictures as layouts
from ..measuring.pictures import sheets
from .media.encode import write_video
from .yaml_lines import Lines

if TYPE_CHECKING:
    from ..editing.model import Progress

MASKS, LABELS = "masks", "labels"  # folders
MADE = re.compile(r"[0-9]+_[0-9A-Za-z_]+(\.mp4)?")  # every name that `mask_folder` gives, and its video's


def thing_facts(layout: ClipLayout) -> list[dict[str, Any]]:
    """Every thing for the report; area: its mask's share of the picture in each frame."""
    return [
        {
            "number": thing.number,
            "name": thing.name,
            "phrase": thing.phrase,
            "score": None if np.isnan(thing.score) else round(thing.score, 4),
            "background": thing.background,
            "area": [round(float(value), 5) for value in thing.mask.mean((1, 2))],
        }
        for thing in layout.things
    ]


def thing_lines(layout: ClipLayout) -> str:
    """The things for the console, one a line: number, name, score (how many times more than by chance its words are
    attended there), share of the picture, in how many frames."""
    width = max(len(name) for name in layout.names)
    lines = []
    for thing in layout.things:
        score = "no name" if np.isnan(thing.score) else f"{thing.score:5.1f} x"
        area = thing.mask.mean((1, 2))
        seen = f"{int((area > 0).sum())} of {len(area)} frames"
        lines.append(f"{thing.number:>3}  {thing.name:<{width}}  {score}  {float(area.mean()):6.1%}  in {seen}")
    return "\n".join(lines)


def check_masks(folder: Path, lines: Lines) -> None:
    """EditFileError where masks or label pictures in ``folder`` would be replaced that are not as the last run left
    them."""
    changed = changed_masks(folder)
    masks = folder / MASKS
    if os.path.lexists(masks) and (masks.is_symlink() or not masks.is_dir()):
        changed.append(masks)
    if os.path.lexists(folder / LABELS) and Path(LABELS) not in made_by_layout(folder):
        changed.append(folder / LABELS)
    if changed:
        names = ", ".join(str(path) for path in changed[:3]) + (", ..." if len(changed) > 3 else "")
        raise lines.error(
            (
                "output",
                f"output: {names} would be replaced, but was changed since it was written (or never came from a "
                "layout); expected pictures as the last run left them; move them away, or choose another folder",
            )
        )


def changed_masks(folder: Path) -> list[Path]:
    """Masks under ``folder`` that are not as `videograin` left them there: they were edited, or are somebody else's."""
    listed = _noted(folder, MASKS)
    there = sorted((folder / MASKS).iterdir()) if (folder / MASKS).is_dir() else []
    visible = (path for path in there if not path.name.startswith("."))
    return [path for path in visible if made_mask(folder, path.name, listed.get(path.name)) is None]


def made_mask(folder: Path, name: str, digest: Any) -> Path | None:
    """Where the mask ``name`` lies that `videograin` wrote to ``folder`` and that nobody changed since; None for
    anything else.

    name, digest: as ``layout.json`` has them. That file may be damaged or come from somebody else: the name must have
    the form of a mask's name, and what lies there, directly in ``masks`` and reached through no link, must be a file or
    a folder of files with this digest.
    """
    if not MADE.fullmatch(name):
        return None
    try:
        return _as_made(path_within(folder.resolve() / MASKS, name, LAYOUT["layout"]), digest)
    except ValueError:
        return None


def _as_made(place: Path, digest: Any) -> Path | None:
    try:
        if place.resolve() != place:  # a link (on Windows a junction too), here or above
            return None
        files = list(place.iterdir()) if place.is_dir() else [place]
        plain = all(stat.S_ISREG(file.lstat().st_mode) for file in files)
        return place if plain and _digest(place) == digest else None
    except (OSError, RuntimeError):  # gone or unreadable; links in a circle
        return None


def made_by_layout(folder: Path, within: str = "") -> list[Path]:
    """What a new layout may take away from ``folder / within``: the masks and label pictures of the run before, as it
    left them, and nothing else. Relative to ``folder``."""
    place = folder / within
    made = [Path(MASKS, name) for name, digest in _noted(place, MASKS).items() if made_mask(place, name, digest)]
    labels = _noted(place, LABELS)
    if LABELS in labels and _as_made(place.resolve() / LABELS, labels[LABELS]):
        made.append(Path(LABELS))
    return [Path(within) / path for path in made]


def write_layout(
    new: Path,
    folder: Path,
    layout: ClipLayout,
    frames: np.ndarray,
    fps: Fraction,
    trajectory: Trajectory,
    settings: LayoutSettings,
    *,
    edit_file: Path,
    progress: Progress,
) -> tuple[dict[str, Path], dict[str, str]]:
    """Write all but ``layout.json`` to the folder ``new``, from where it comes into ``folder``; returns where the files
    (folders too) will be by name, and what ``layout.json`` must keep about the pictures (``made_by_layout``).
    frames: uint8 [F, H, W, 3] of the layout; edit_file: relative to which ``regions.yaml`` names the masks.
    """
    files, features, size = LAYOUT, trajectory.features, frames.shape[1:3]
    with progress.stage("write layout", 3) as tick:
        write_video(new / files["preview"], layouts.layout_preview(frames, layout), fps)
        save_png(new / files["preview_sheet"], layouts.layout_sheet(frames, layout))
        tick()
        labels = layouts.label_pictures(layout)
        write_video(new / files["label_video"], labels, fps)
        _write_pictures(new / LABELS, labels)
        clusters = layouts.cluster_preview(layout.clusters, frames)
        rows = [("source", frames), (f"K-means, k = {layout.k}", clusters)]
        save_png(new / files["clusters"], sheets.contact_sheet(rows))
        rows = [("source", frames), ("PCA", layouts.pca_picture(features, size))]
        save_png(new / files["pca"], sheets.contact_sheet(rows))
        tick()
        masks = _write_masks(new, layout, fps, settings)
        for changed in changed_masks(folder):  # `check_masks` looked before the work
            raise FileExistsError(f"{changed} was changed while the layout was made; move it away and run again")
        _write_regions(new / files["regions"], layout, folder, edit_file)
        tick()
    places = {name: folder / file for name, file in (*files.items(), ("labels", LABELS), ("masks", MASKS))}
    return places, {MASKS: masks, LABELS: {LABELS: _digest(new / LABELS)}}


def _write_masks(folder: Path, layout: ClipLayout, fps: Fraction, settings: LayoutSettings) -> dict[str, str]:
    """The masks of all things; name -> digest of everything written."""
    written = {}
    for thing in layout.things:
        pictures = eight_bits(thing.mask, 0 if thing.background else settings.grow)
        target = mask_folder(folder, thing)
        _write_pictures(target, pictures)
        written[target.name] = _digest(target)
        if settings.videos:
            video = target.with_suffix(".mp4")
            write_video(video, np.repeat(pictures[..., None], 3, axis=3), fps)
            written[video.name] = _digest(video)
    return written


def mask_folder(folder: Path, thing: Any) -> Path:
    """Where the masks of a thing lie: ``masks/1_red_circle_1``."""
    return folder / MASKS / f"{thing.number}_{re.sub(r'[^0-9A-Za-z]+', '_', thing.name).strip('_') or 'thing'}"


def _write_pictures(folder: Path, pictures: np.ndarray) -> None:
    """A new folder of the PNGs 0000.png, 0001.png ..."""
    from PIL import Image

    with write_errors(folder):
        folder.mkdir(parents=True)
        for index, picture in enumerate(pictures):
            Image.fromarray(picture).save(folder / f"{index:04d}.png", optimize=True)


def _noted(folder: Path, kind: str) -> dict[str, str]:
    """What the last run noted about the ``kind`` of pictures it wrote."""
    noted = read_json(folder / LAYOUT["layout"]).get(kind)
    return noted if isinstance(noted, dict) else {}


def _digest(path: Path) -> str:
    """sha256 of a file, or of the names and contents of a folder's files."""
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.name.encode() + b"\0")
        digest.update(file.read_bytes() if file.is_file() else b"")
    return digest.hexdigest()


def _write_regions(path: Path, layout: ClipLayout, folder: Path, edit_file: Path) -> None:
    """Regions for an edit file, ready to paste: every thing with its masks."""
    lines = [
        f"# Regions for {edit_file.name} (the paths are relative to it), found by `videograin layout`. Say in `phrase`",
        "# what each is to become, with the same words in the file's `prompt`; leave out what stays as it is.",
        "regions:",
    ]
    for thing in layout.things:
        score = "" if np.isnan(thing.score) else f" ({thing.score:.1f} x)"
        comment = f"  # {thing.number} {thing.name}{score}, {float(thing.mask.mean()):.1%} of the picture"
        entry = [
            f"  - phrase: {_quoted(thing.phrase or thing.name)}",
            f"    masks: {{folder: {_quoted(_relative(mask_folder(folder, thing), edit_file.parent))}}}",
        ]
        lines += [comment, *(f"  # {line[2:]}" if thing.background else line for line in entry)]
    with whole_file(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _relative(path: Path, base: Path) -> str:
    try:
        return Path(os.path.relpath(path, base)).as_posix()
    except ValueError:  # another drive of Windows
        return path.absolute().as_posix()


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)  # YAML reads JSON's texts
