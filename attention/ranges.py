"""How the row range (max - min of the logits) is come by: exactly, from one noise level for several, or from some keys.

The range is the one part of modulated attention that plain attention does not have (method.md 6). It changes slowly
along the run, and it is a range over thousands of keys of which neighbours are alike, so both may be used to save it:

- "exact": over all keys, in every call.
- "reuse": over all keys, once for several noise levels in a row; a `RangeMemory` holds it in between.
- "sampled": over every n-th key, in every call; never more than the exact one.

For self-attention only: cross-attention has so few keys that its range is always exact.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import torch
from torch import Tensor

from .kernels.logit_range import row_range
from .options import RANGES


@dataclass(frozen=True)
class RangeRule:
    """What may be saved of the row range.

    Attributes:
        mode: "exact", "reuse" or "sampled".
        steps: for "reuse": so many noise levels in a row share a measurement, >= 1; 1 measures in every call.
        every: for "sampled": one of so many keys is looked at, >= 1; 1 looks at all.

    Raises:
        ValueError: an unknown mode, steps or every < 1.
    """

    mode: str = "exact"
    steps: int = 3
    every: int = 8

    def __post_init__(self):
        if self.mode not in RANGES:
            raise ValueError(f"RangeRule: mode must be one of {RANGES}; got {self.mode!r}.")
        for name, value in (("steps", self.steps), ("every", self.every)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"RangeRule: {name} must be a whole number >= 1; got {value!r}.")

    @property
    def exact(self) -> bool:
        """Whether every call measures the range of all its keys."""
        return {"exact": True, "reuse": self.steps == 1, "sampled": self.every == 1}[self.mode]

    def measure(self, q: Tensor, k: Tensor) -> Tensor:
        """The range of q [B, heads, N, d] over k [B, heads, M, d], or over the sampled ones: float32 [B, heads, N]."""
        if self.mode == "sampled" and self.every > 1:
            k = k.index_select(2, sampled_keys(k.shape[2], self.every, k.device))
        return row_range(q, k)


EXACT = RangeRule()

_GOLDEN = 2654435769  # 2^32 times the golden ratio's fraction, as a whole number: any device has those


def sampled_keys(keys: int, every: int, device: torch.device | str = "cpu") -> Tensor:
    """Which keys stand for all: int64 [ceil(keys / every)], rising, one of every `every` neighbours.

    Keys are the rows of pictures, one after the other. Always the same one of its neighbours would be, in a picture
    whose width is a multiple of `every`, always the same columns; and a simple alternation falls into step with some
    widths as well. Multiples of the golden ratio fall into step with none: every column is seen within two square
    pictures (found by trying all widths up to 512 and every <= 32).
    """
    number = torch.arange(-(-keys // every), device=device)
    place = (number * _GOLDEN % 2**32) * every >> 32  # floor of every * (fraction of number * golden ratio)
    return (number * every + place).clamp(max=keys - 1)


class RangeMemory:
    """The ranges that "reuse" keeps during ONE sampling run: a host makes one per run and passes it into every call.

    It counts the distinct noise levels that it has seen, not calls: a sampler that evaluates a level twice, and halves
    of a batch that come in calls of their own, are of one level. What a later level cannot use any more is dropped, so
    that it does not grow where the places change from level to level (context windows that shift); windows that stay
    keep their ranges all along, 4 bytes for every head and token of each layer. A noise level above the last one begins
    anew, so that a host which runs twice with one memory gets nothing of its first run.
    """

    def __init__(self):
        self._t, self._level = None, 0  # the noise level of the last call, and its number
        # place -> (number of the level it was measured at, levels it serves, what it was measured of, range)
        self._known: dict[Hashable, tuple[int, int, tuple, Tensor]] = {}

    def __deepcopy__(self, memo) -> RangeMemory:
        return self  # of a run, not of a model; hosts deep-copy their options on every clone

    def __len__(self) -> int:
        """How many ranges are kept."""
        return len(self._known)

    def find(self, rule: RangeRule, place: Hashable, t: float, q: Tensor, k: Tensor) -> Tensor:
        """The range of these queries, measured now or at one of the last `rule.steps` noise levels.

        Args:
            rule: as it says; only "reuse" is remembered.
            place: names the layer, the chunks of the batch and the frames of the clip, and what else makes calls of
                one noise level different (an edit of several, a part of the heads).
            t: noise level, timestep / 1000.
            q, k: [B, heads, N, d] and [B, heads, M, d]. Another B, heads, N, M or device at the same place is measured.

        Returns:
            float32 [B, heads, N] (float64 for float64 inputs), on q's device. Not to be changed.
        """
        if rule.mode != "reuse" or rule.exact:
            return rule.measure(q, k)
        level, of = self._number(t), (*q.shape[:3], k.shape[2], q.device)
        if place in self._known:
            measured, _, known, spread = self._known[place]
            if known == of and level - measured < rule.steps:
                return spread
        spread = rule.measure(q, k)
        self._known[place] = (level, rule.steps, of, spread)
        return spread

    def _number(self, t: float) -> int:
        """The number of a noise level in the order in which a run comes to them."""
        if self._t is not None and t > self._t:  # a run only ever goes down: this is another one
            self._known.clear()
        if t != self._t:
            self._t, self._level = t, self._level + 1
            for place, (measured, steps, *_) in list(self._known.items()):
                if self._level - measured >= steps:
                    self._known.pop(place, None)
        return self._level
