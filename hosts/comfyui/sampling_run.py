"""What one sampling run adds to an edit: frames, noise levels, roles of its prompts, and the modulation for them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from ...attention import Levels, Modulation, RangeMemory
from ...editing.mask_shapes import check_shape
from .edit import KEY, Edit, RegionTag, log
from .errors import naming

CUT = "cut"


@dataclass(frozen=True, eq=False)
class SamplingRun:
    """One sampling run, as the attention slots must know it. Made anew for every run, dropped at its end.

    Attributes:
        frames: F, frames of the run's latent.
        size: (h, w) of the run's latent.
        levels: the noise levels of the model as it is sampled in this run.
        roles: for every conditioning of the run, by its uuid, "cond" or "uncond".
        tags: for those that belong to an edit, by uuid, their tags at the conditioning's own length.
        inputs: by Edit.id, the guider's inputs ("positive", ...) its conditionings came to, CUT for shortened ones.
        modulations: by Edit.id, for F frames.
        ranges: the logit ranges that are kept, for all edits; goes with the run.
    """

    frames: int
    size: tuple[int, int]
    levels: Levels
    roles: Mapping[Any, str] = field(default_factory=dict)
    tags: Mapping[Any, RegionTag] = field(default_factory=dict)
    inputs: Mapping[str, frozenset[str]] = field(default_factory=dict)
    modulations: Mapping[str, Modulation] = field(default_factory=dict)
    ranges: RangeMemory = field(default_factory=RangeMemory)
    # What follows from the fields and is asked for in every layer; and what was said. Threads may both
    # write: equal values, in one assignment each.
    _kept: dict[Any, Any] = field(init=False, default_factory=dict, repr=False)
    # The edits of windows, with the noise level at which they were used last.
    _windows: dict[tuple, tuple[float | None, Modulation]] = field(init=False, default_factory=dict, repr=False)

    def __deepcopy__(self, memo) -> SamplingRun:
        return self

    @classmethod
    def begin(cls, conds: Mapping[str, Iterable[Mapping]], latent_shape: Sequence[int], levels: Levels) -> SamplingRun:
        """Args:
        conds: the guider's conditionings, name -> entries with "uuid", "cross_attn" and perhaps our tag.
        latent_shape: of the run's latent, [F, C, h, w].
        """
        roles, tags = {}, {}
        inputs: dict[str, frozenset[str]] = {}
        for name, entries in conds.items():
            for entry in entries:
                key, made, words = entry["uuid"], entry.get(KEY), entry.get("cross_attn")
                tag = made.padded(words.shape[1]) if isinstance(made, RegionTag) and words is not None else None
                if isinstance(made, RegionTag):
                    inputs[made.edit] = inputs.get(made.edit, frozenset()) | {CUT if tag is None else name}
                if tag is not None:
                    tags[key] = tag
                # The guiders of ComfyUI call every other one (negative, middle, empty_negative_prompt) negative.
                roles[key] = "cond" if tag is not None or name == "positive" else "uncond"
        size = (int(latent_shape[-2]), int(latent_shape[-1]))
        return cls(int(latent_shape[0]), size, levels, roles, tags, inputs)

    def with_edit(self, edit: Edit, node: str) -> SamplingRun:
        """The same run, with one more edit laid out for its frames.

        Raises:
            ValueError: its masks do not fit the run's frames.
        """
        if self.frames < 2 and edit.attention.mode != "per_frame":
            log.warning(
                "%s: the latent has 1 frame, so that space-time attention has no other frame to look at. Feed the "
                "frames of a clip as one batch.",
                node,
            )
        modulation = edit.modulation(self.frames, node)
        if modulation is None:
            return self
        with naming(node):
            for number, region in enumerate(edit.regions, 1):
                check_shape(region.mask, self.size, f"region {number} ({region.phrase})", cells=True)
        if doubt := self._positive_doubt(edit):
            log.warning("%s: %s. Connect it to the sampler's positive input.", node, doubt)
        return replace(self, modulations={**self.modulations, edit.id: modulation})

    def _positive_doubt(self, edit: Edit) -> str | None:
        """About the way that the edit's conditioning took into this run."""
        inputs = self.inputs.get(edit.id, frozenset())
        lost = "the regions have none of their words" + (
            ": cross-attention is not modulated" if edit.attention.cross_strength > 0 else ""
        )
        if not inputs:
            return f"no conditioning of this run comes from the node's output `positive`, so that {lost}"
        if inputs == {CUT}:
            return f"another node has shortened the conditioning of the output `positive`, so that {lost}"
        if not inputs - {CUT, "negative"}:
            return "the output `positive` came to the sampler's negative input alone, which pushes its words away"
        return None

    def t(self, sigmas: Tensor) -> float:
        """t in [0, 1) of a call's noise level; sigmas: [F], all equal."""
        seen, t = self._kept.get("t", (None, 0.0))
        if seen is not sigmas:  # one tensor for all layers of a call: read from the device once
            t = self.levels.t(sigmas)
            self._kept["t"] = (sigmas, t)
            before = self._kept.get("levels", ())
            if t not in before[-1:]:
                self._kept["levels"] = (*before[-1:], t)
        return t

    def modulation(self, edit: Edit, indices: tuple[int, ...] | None) -> Modulation | None:
        """The edit for the frames of a call (None = all of them); None if it does not modulate."""
        whole = self.modulations.get(edit.id)
        if whole is None or indices is None:
            return whole
        key = (edit.id, indices)
        levels = self._kept.get("levels", ())
        _, made = self._windows.get(key, (None, None))
        if made is None:
            made = whole.select(indices)
            # Windows that come back at every level are made once; those that shift from step to step make way.
            for old, (used, _) in list(self._windows.items()):
                if used not in levels:
                    self._windows.pop(old, None)
        self._windows[key] = (levels[-1] if levels else None, made)
        return made

    def shown(self, edits: Sequence[Edit]) -> Any:
        """uuid of the one prompt that observers see: the first of the last of these edits that has prompts; where none
        has, the first positive; None if there is none."""
        for edit in reversed(edits):
            for key, tag in self.tags.items():
                if tag.edit == edit.id:
                    return key
        return next((key for key, role in self.roles.items() if role == "cond"), None)

    def say_once(self, what: str, node: str, message: str, level: int = logging.WARNING) -> None:
        """Log a message of a node the first time in this run."""
        if what not in self._kept:
            self._kept[what] = True
            log.log(level, "%s: %s", node, message)
