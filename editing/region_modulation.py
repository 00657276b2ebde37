"""How the attention is modulated for the regions of an edit, and what the user probably did not mean."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ..attention import LabelMap, Modulation, Schedule
from .regions import Region
from .settings import AttentionSettings

log = logging.getLogger(__name__)


def build_modulation(
    masks: Sequence[Tensor], text_labels: Tensor, attention: AttentionSettings, strengths: Sequence[float]
) -> Modulation:
    """The Modulation of these settings. masks: one [F, H, W] per region; text_labels: int64 [tokens]."""
    span = {"power": attention.power, "start": attention.start, "end": attention.end}
    return Modulation(
        label_map=LabelMap(masks),
        text_labels=text_labels,
        self_schedule=Schedule(attention.self_strength, **span),
        cross_schedule=Schedule(attention.cross_strength, **span),
        self_halves=attention.self_halves,
        cross_halves=attention.cross_halves,
        background=attention.background,
        region_strength=tuple(strengths),
        range_steps=attention.steps_of_a_range,
        kernel=attention.kernel,
    )


def _runs(halves: str, guidance: float) -> bool:
    """Whether the half of the batch that ``halves`` names is computed: guidance 1 runs the prompt alone ("cond")."""
    return guidance != 1 or halves != "uncond"


def modulated_steps(model: Any, modulation: Modulation | None, sigmas: Tensor, guidance: float) -> int:
    """In how many steps of a schedule [S + 1] self- or cross-attention is modulated in a half that is computed."""
    if modulation is None:
        return 0
    kinds = (
        (modulation.self_schedule, modulation.self_halves),
        (modulation.cross_schedule, modulation.cross_halves),
    )
    schedules = [schedule for schedule, halves in kinds if _runs(halves, guidance)]
    levels = [model.levels.t(float(sigma)) for sigma in sigmas[:-1]]
    return sum(any(schedule.xi(t) > 0 for schedule in schedules) for t in levels)


def region_notes(
    regions: Sequence[Region],
    masks: Sequence[Tensor],
    attention: AttentionSettings,
    guidance: float,
    active: int,
    steps: int,
) -> list[str]:
    """Things that are allowed but that the user probably did not mean; logged and kept for the report.

    masks: the regions' [F, H, W]; active: how many of ``steps`` steps are modulated (``modulated_steps``)."""
    notes = []
    for number, (region, mask) in enumerate(zip(regions, masks), 1):
        empty = [frame for frame, one in enumerate(mask) if not bool(one.any())]
        if empty:
            some = f"{len(empty)} of {len(mask)} frames, first {empty[0]}"
            which = "every frame" if len(empty) == len(mask) else some
            notes.append(f"region {number} ({region.phrase!r}) has an empty mask in {which}: nothing is edited there")
        if region.strength == 0:
            notes.append(f"region {number} ({region.phrase!r}) has strength 0: its attention is not modulated")
    idle = _idle_halves(attention, guidance) if regions else []
    notes += [
        f"attention.{kind}_halves is uncond, but guidance 1 computes no unconditional half: {kind}-attention is not "
        f"modulated; set {kind}_halves to cond or both, or guidance above 1"
        for kind in idle
    ]
    strengths = {"self": attention.self_strength, "cross": attention.cross_strength}
    if regions and not any(strengths.values()):
        notes.append("self_strength and cross_strength are both 0: attention is not modulated at all")
    elif active == 0 and any(strength > 0 and kind not in idle for kind, strength in strengths.items()) and regions:
        notes.append(
            f"none of the {steps} steps lies between attention.start {attention.start:g} and attention.end "
            f"{attention.end:g}: attention is not modulated at all; take more steps or a wider range"
        )
    for note in notes:
        log.warning(note)
    return notes


def _idle_halves(attention: AttentionSettings, guidance: float) -> list[str]:
    """The kinds of attention that have a strength, but only in a half that is not computed."""
    kinds = (
        ("self", attention.self_strength, attention.self_halves),
        ("cross", attention.cross_strength, attention.cross_halves),
    )
    return [kind for kind, strength, halves in kinds if strength > 0 and not _runs(halves, guidance)]
