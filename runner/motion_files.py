"""The motion of an edit's regions: found once a clip, kept beside its inversion, and used to mend masks."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ..editing.model import Progress
from ..editing.motion import motion_file
from ..editing.motion.clip_motion import clip_motion
from ..editing.motion.fill import fill_regions
from ..editing.motion.value import Motion, MotionError
from ..editing.regions import Region, sized_masks
from ..editing.settings import MotionSettings

log = logging.getLogger(__name__)
NAME = "motion.safetensors"


@dataclass(frozen=True)
class Moved:
    """regions: with mended masks; notes: what was filled; file: where the motion is kept, if it is."""

    motion: Motion
    regions: list[Region]
    notes: tuple[str, ...]
    file: Path | None


def motion_facts(moved: Moved) -> dict[str, Any]:
    """For the report: how the motion was found and where it is kept, and of every region its form and the frames that
    hang together."""
    regions = [
        {"phrase": region.phrase, "form": one.form, "pieces": one.pieces}
        for region, one in zip(moved.regions, moved.motion.regions)
    ]
    return {"source": moved.motion.source, "file": moved.file, "regions": regions}


def beside(inversion: Path | None) -> Path | None:
    """Where the motion is kept: beside the inversion. None where that is not kept."""
    return None if inversion is None else inversion.with_suffix(f".{NAME}")


def cached_motion(
    frames: np.ndarray,
    regions: Sequence[Region],
    settings: MotionSettings,
    path: Path | None,
    progress: Progress,
) -> Moved:
    """The motion of these regions, read from ``path`` where it was found from the same, else found and kept there;
    path None = nowhere.

    frames: uint8 [F, H, W, 3]. MotionError for a clip of one frame.
    """
    if len(frames) < 2:
        raise MotionError("motion: the clip has 1 frame; expected 2 or more; leave `motion` and `steady` out.")
    masks = sized_masks(regions, frames.shape[1:3], len(frames))
    with progress.stage("motion"):
        motion = _kept_or_found(frames, masks, settings.source, path)
        mended, _, fills = fill_regions(regions, masks, motion, frames, missing=settings.missing)
    notes = tuple(fill.text(repr(regions[fill.region].phrase)) for fill in fills)
    for note in notes:
        log.warning(note)
    return Moved(motion, mended, notes, path)


def _kept_or_found(frames: np.ndarray, masks: list[Tensor], source: str, path: Path | None) -> Motion:
    if path is None:
        return clip_motion(frames, masks, source=source)
    made = motion_file.made_of(frames, masks, source)
    try:
        return motion_file.load(path, made)
    except MotionError:  # not there yet, or of something else: it is a cache
        motion = clip_motion(frames, masks, source=source)
    try:
        motion_file.save(motion, path, made)
    except OSError as error:  # beside an inversion in a folder that is not ours
        log.warning("the motion is not kept: %s", error)
    return motion
