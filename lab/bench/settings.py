"""The benchmark's settings, and one-at-a-time variations of them by name (`--vary name=value,value`)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Annotated

from pydantic import Field

from ...editing.fields import Flag, OneOf, SettingError, settings
from ...editing.presets import GUIDANCE, embedded_attention
from ...editing.settings import AttentionSettings, EditSettings, SamplingSettings
from .mask_damage import CHANGES

LEVELS = ("all", "coarse", "finest")
LABELS = ("coverage", "centre", "any")


@settings
class Ablation:
    """What an edit's settings cannot say.

    size_term: the factor 1 - S of Eq. 2. levels: where attention is modulated: ``all`` levels of the UNet, the
    ``coarse`` ones (all but the latent's own size, as the authors' code), or the ``finest`` alone. masks: what is done
    to the exact masks (masks.CHANGES). labels: what decides the label of a token that a border crosses: ``coverage``,
    the largest share of its area (the product's); ``centre``, what is seen at its centre; ``any``, the topmost region
    that touches it (systems/labelling.py).
    """

    size_term: Flag = True
    levels: Annotated[str, OneOf(LEVELS)] = "all"
    masks: Annotated[str, OneOf(CHANGES)] = "exact"
    labels: Annotated[str, OneOf(LABELS)] = "coverage"


@settings
class BenchSettings(EditSettings):
    """Everything that all systems share: the settings of the embedded model, otherwise the defaults."""

    sampling: SamplingSettings = Field(default_factory=lambda: SamplingSettings(guidance=GUIDANCE))
    attention: AttentionSettings = Field(default_factory=embedded_attention)
    ablation: Ablation = Field(default_factory=Ablation)

    @property
    def inverted_with(self) -> str:
        """What an inversion depends on, as text: edits with equal text share one."""
        a, i = self.attention, self.inversion
        steps = self.sampling.steps if i.steps is None else i.steps
        anchors = f" {a.anchors}" if a.mode in ("key_frames", "full_coarse") else ""
        calls = f" {i.calls}" if i.method == "fixed_point" else ""
        return f"{i.method}{calls}, {steps} steps, {a.mode}{anchors}"


def places() -> dict[str, tuple[str, str]]:
    """Name, as in `--vary` -> (section, field): ``blend.end``, or the field alone where only one section has it
    (``power``, ``masks``; of attention and blend ``start`` and ``end`` are attention's)."""
    out = {}
    for section in fields(BenchSettings):
        for item in fields(getattr(BenchSettings(), section.name)):
            out[f"{section.name}.{item.name}"] = (section.name, item.name)
            out.setdefault(item.name, (section.name, item.name))
    out |= {"start": ("attention", "start"), "end": ("attention", "end"), "feather": ("blend", "feather")}
    out |= {section: (section, "enabled") for section in ("blend", "composite", "steady")}
    out["inversion"] = ("inversion", "method")
    for idle in ("enabled", "check", "inversion.check", "seed", "sampling.seed"):  # ambiguous, or the benchmark's own
        del out[idle]
    return out


def varied(settings: BenchSettings, name: str, value: str) -> BenchSettings:
    """The settings with one of them changed.

    name: of `places`. value: as text, e.g. 0.3, uncond, false. Raises SettingError for a name or value that is not
    allowed.
    """
    known = places()
    if name not in known:
        raise SettingError(
            f"--vary {name}: no such setting; expected one of {', '.join(sorted(known))}; correct the name"
        )
    section, item = known[name]
    try:
        parsed = json.loads(value)
    except json.JSONDecodeError:
        parsed = value
    return replace(settings, **{section: replace(getattr(settings, section), **{item: parsed})})


def variations(settings: BenchSettings, wishes: Sequence[str]) -> dict[str, BenchSettings]:
    """Label -> settings, first the unchanged ones under ``""``: every ``name=value,value`` of ``wishes`` changes one
    setting at a time, e.g. ["power=1,5", "blend=false"] -> "", "power=1", "power=5", "blend=false"; ``+`` changes
    another one with it: "power=5+end=0.3".

    Raises SettingError for a wish without values, or as `varied`.
    """
    out = {"": settings}
    for wish in wishes:
        name, equals, values = wish.partition("=")
        given = [value.strip() for value in values.split(",") if value.strip()]
        if not equals or not given:
            raise SettingError(f"--vary {wish}: expected name=value,value,...; write e.g. --vary power=0,1,5")
        for value in given:
            label = f"{name.strip()}={value}"
            changed = settings
            for one in label.split("+"):
                changed = varied(changed, *(part.strip() for part in one.partition("=")[::2]))
            out[label] = changed
    return out
