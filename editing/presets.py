"""Settings by purpose (`PRESETS`), and those that suit the embedded model. Importing this imports no torch.

The embedded model learnt from single pictures, so attention stays within a frame; guidance 5 is where it draws best
(its model card). Its attention has no strong sink, so steering may last longer and fade slower than the paper's, which
was tuned on Stable Diffusion: chosen on clips of their own (docs/benchmarks/defaults/, `videograin bench --split
tuning`). Beside these everything keeps its default.

A preset names every setting that decides what an edit looks like (`SETS`), so that whoever chose one can be told what
was set. It differs from its model's settings only where a measurement supports it (docs/benchmarks/presets.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from .settings import AttentionSettings, EditSettings, SamplingSettings

GUIDANCE = 5.0
MODE, POWER, END = "per_frame", 1.0, 0.6


def embedded_attention(mode: str = MODE) -> AttentionSettings:
    """Attention for the embedded model; mode: which frames a query sees."""
    return AttentionSettings(mode=mode, power=POWER, end=END)


def model_settings(embedded: bool) -> EditSettings:
    """What suits a model: the embedded one, or any other, for which it is the defaults."""
    if not embedded:
        return EditSettings()
    return EditSettings(sampling=SamplingSettings(guidance=GUIDANCE), attention=embedded_attention())


SETS: Mapping[str, tuple[str, ...]] = {
    "sampling": ("steps", "guidance"),
    "attention": ("mode", "self_strength", "cross_strength", "power", "start", "end", "background"),
    "blend": ("enabled", "start", "end", "feather"),
    "inversion": ("method", "check"),
    "steady": ("enabled", "strength"),
}
"""What a preset sets: section of `EditSettings` -> fields."""


@dataclass(frozen=True)
class Preset:
    """title: as nodes and lists show it. purpose: what it is for. why: what was measured for it. changes: where it
    differs from its model's settings, section -> field -> value; on_embedded, on_others: the same on the embedded model
    alone, and on all but it."""

    title: str
    purpose: str
    why: str
    changes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    on_embedded: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    on_others: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def settings(self, embedded: bool) -> EditSettings:
        """All settings of an edit by this preset. embedded: whether on the embedded model."""
        found = model_settings(embedded)
        for changes in (self.changes, self.on_embedded if embedded else self.on_others):
            for section, values in changes.items():
                found = replace(found, **{section: replace(getattr(found, section), **values)})
        return found

    def keys(self, embedded: bool) -> dict[str, Any]:
        """What it sets, as `keys_of`."""
        return keys_of(self.settings(embedded))

    def differences(self, embedded: bool) -> dict[str, Any]:
        """What of it is not its model's own setting, by the full names of the keys."""
        usual = flat(Preset("", "", "").keys(embedded))
        return {name: value for name, value in flat(self.keys(embedded)).items() if value != usual[name]}


def keys_of(settings: EditSettings) -> dict[str, Any]:
    """Those of the settings that presets set (`SETS`), as the keys of an edit file: those of ``sampling`` at the top,
    the others by section."""
    found: dict[str, Any] = {}
    for section, names in SETS.items():
        values = {name: getattr(getattr(settings, section), name) for name in names}
        found |= values if section == "sampling" else {section: values}
    return found


def flat(keys: Mapping[str, Any]) -> dict[str, Any]:
    """Keys of an edit file by their full names: {"blend": {"end": 1.0}} -> {"blend.end": 1.0}."""
    found: dict[str, Any] = {}
    for name, value in keys.items():
        if isinstance(value, Mapping):
            found |= {f"{name}.{inner}": one for inner, one in value.items()}
        else:
            found[name] = value
    return found


def told(keys: Mapping[str, Any]) -> str:
    """Keys by their full names and their values, in words: "steps 50, guidance 7.5, attention.mode full"."""
    return ", ".join(f"{name} {_shown(value)}" for name, value in keys.items())


def _shown(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)


PRESETS: Mapping[str, Preset] = {
    "recolour": Preset(
        "recolour",
        "things keep their shape and take another colour or material",
        "the model's own settings recoloured every thing of 8 clips in all frames; nothing that was tried came closer "
        "to the true result",
    ),
    "reshape": Preset(
        "change into another thing",
        "things become others, of another shape too",
        "of 8 clips whose things became others no other value of any setting got clearly more frames right "
        "(docs/benchmarks/defaults)",
    ),
    "part": Preset(
        "only a part",
        "a part of a thing changes, the thing is kept",
        "of 6 clips with parts 17 % of the frames came out right with whatever was tried: the embedded model has not "
        "learnt parts; nothing was measured on others",
    ),
    "background": Preset(
        "background",
        "what is behind changes, the things are kept",
        "the model's own settings changed the background of 8 clips in all frames and kept the things; nothing that "
        "was tried came closer to the true result",
    ),
    "structure": Preset(
        "keep structure",
        "places, outlines and motion stay as they are",
        "measured by no clips of its own: when 8 clips were recoloured the model's own settings kept every shape in "
        "all frames",
    ),
    "draft": Preset(
        "fast draft",
        "a first look in a fraction of the time",
        "10 steps got as many frames of 4 clips right as 20 (docs/benchmarks/round_trips.md), and full_coarse takes "
        "0.7 of the time of full at 16 frames, 0.4 at 32 (docs/benchmarks/whole_edit.md)",
        {"sampling": {"steps": 12}, "inversion": {"check": False}},
        on_others={"attention": {"mode": "full_coarse"}},
    ),
}
"""By the names that edit files use."""
