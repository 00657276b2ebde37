"""The saved inversion that an edit file loads, held against its clip, attention, windows and layout."""

from __future__ import annotations

from pathlib import Path

from ..editing import trajectory_file
from ..editing.pipeline import check_attention
from ..editing.prompt_text import unplaced
from ..editing.settings import AttentionSettings, LayoutSettings
from ..editing.trajectory import Trajectory, TrajectoryError
from ..editing.windows import Windows
from .media.geometry import UNIT
from .media.video import Clip
from .yaml_lines import Lines, Problems

REPORT = ".report.json"  # of a saved inversion, in place of its suffix


def open_saved(
    path: Path,
    clip: Clip,
    source_prompt: str,
    attention: AttentionSettings,
    windows: Windows | None,
    layout: LayoutSettings | None,
    problems: Problems,
) -> tuple[Trajectory | None, tuple[str, ...]]:
    """The inversion in the file ``path`` and remarks about it; None where it cannot be read. That it is not one of
    these frames with this attention is noted (the model is compared later). layout: what is to be found in its
    features, None = nothing."""
    lines, trajectory, notes = problems.lines, None, []
    height, width = clip.frames.shape[1:3]
    with problems.gathered(), lines.at_line("inversion.load"):
        trajectory = trajectory_file.load(path)
    if trajectory is None:
        return None, ()
    with problems.gathered(), lines.at_line("inversion.load"):
        trajectory.require(frames=len(clip.frames), source=clip.digest, size=(height // UNIT, width // UNIT))
    with problems.gathered(), lines.at_line("inversion.load"):
        check_attention(trajectory, attention, windows)
    if source_prompt and source_prompt != trajectory.prompt:
        notes.append(f"source_prompt is not used: the inversion was made with {trajectory.prompt!r}")
    with problems.gathered(), lines.at_line("inversion.load"):
        if layout is not None:
            notes += _check_features(trajectory, path.name, layout.level, lines)
    with problems.gathered(), lines.at_line("layout.names"):
        names = () if layout is None else layout.names or ()
        missing = [name for name in names if unplaced(trajectory.prompt, [name])]
        if missing:
            raise TrajectoryError(
                f"{', '.join(map(repr, missing))} does not occur in the inversion's prompt {trajectory.prompt!r}; "
                "expected words that stand in it; correct them"
            )
    return trajectory, tuple(notes)


def _check_features(trajectory: Trajectory, name: str, level: str, lines: Lines) -> list[str]:
    """Remarks about the features of a loaded inversion, the file ``name``; TrajectoryError where it has none."""
    if trajectory.features is None:
        raise TrajectoryError(
            f"{name} was saved without features, in which the layout is found; expected an inversion of an edit file "
            "that has a `layout:` section or a region with `masks: {layout: ...}`; add `layout: {}` and run "
            f"`videograin invert {lines.path}` again, or remove inversion.load"
        )
    notes, made = [], trajectory.features.level
    if made and made != level and "layout" in lines:
        notes.append(f"layout.level {level} is not used: the inversion was saved with features of level {made}")
    unused = " and ".join(key for key in ("layout.start", "layout.end") if key in lines)
    if unused:
        notes.append(f"{unused} not used: the inversion was saved with features of the range it was made with")
    return notes
