"""How the attention is modulated for the regions of an edit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from ..attention import LabelMap, Modulation, Schedule
from .model import Model
from .settings import AttentionSettings


def build_modulation(
    masks: Sequence[Tensor],
    text_labels: Tensor,
    attention: AttentionSettings,
    strengths: Sequence[float],
    *,
    kind: type[Modulation] = Modulation,
    label_map: Callable[[Sequence[Tensor]], LabelMap] = LabelMap,
    **more: Any,
) -> Modulation:
    """The Modulation of these settings. masks: one [F, H, W] per region; text_labels: int64 [tokens].

    kind: its class; label_map: masks -> labels; more: replaces or adds fields.
    """
    span = {"power": attention.power, "start": attention.start, "end": attention.end}
    given: dict[str, Any] = {
        "self_schedule": Schedule(attention.self_strength, **span),
        "cross_schedule": Schedule(attention.cross_strength, **span),
        "self_halves": attention.self_halves,
        "cross_halves": attention.cross_halves,
        "background": attention.background,
        "region_strength": tuple(strengths),
        "range_steps": attention.steps_of_a_range,
        "kernel": attention.kernel,
    }
    return kind(label_map=label_map(masks), text_labels=text_labels, **{**given, **more})


def is_computed(halves: str, guidance: float) -> bool:
    """Whether the half of the batch that ``halves`` names is computed: guidance 1 runs the prompt alone ("cond")."""
    return guidance != 1 or halves != "uncond"


def modulated_steps(model: Model, modulation: Modulation | None, sigmas: Tensor, guidance: float) -> int:
    """In how many steps of a schedule [S + 1] self- or cross-attention is modulated in a half that is computed."""
    if modulation is None:
        return 0
    kinds = (
        (modulation.self_schedule, modulation.self_halves),
        (modulation.cross_schedule, modulation.cross_halves),
    )
    schedules = [schedule for schedule, halves in kinds if is_computed(halves, guidance)]
    levels = [model.levels.t(float(sigma)) for sigma in sigmas[:-1]]
    return sum(any(schedule.xi(t) > 0 for schedule in schedules) for t in levels)
