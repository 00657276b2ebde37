"""Logit ranges (max - min of a row's logits) that serve several noise levels in a row.

The range is the one part of modulated attention that plain attention does not have (method.md 6), and it changes slowly
along the run. For self-attention only: cross-attention has so few keys that its range is measured in every call.
"""

from __future__ import annotations

from collections.abc import Hashable

from torch import Tensor

from .kernels.logit_range import logit_range


class RangeMemory:
    """The ranges that are kept during ONE sampling run: a host makes one per run and passes it into every call.

    It counts the distinct noise levels that it has seen, not calls: a sampler that evaluates a level twice, and halves
    of a batch that come in calls of their own, are of one level. What a later level cannot use any more is dropped, so
    that it does not grow where the places change from level to level (context windows that shift); windows that stay
    keep their ranges all along, 4 bytes for every head and token of each layer. A noise level above the last one begins
    anew, so that a host which runs twice with one memory gets nothing of its first run.
    """

    def __init__(self):
        # The distinct noise levels so far. It is replaced, never changed: halves in two threads that come to a level at
        # once write the same.
        self._levels: tuple[float, ...] = ()
        # place -> (index of the level it was measured at, levels it serves, what it was measured of, range)
        self._known: dict[Hashable, tuple[int, int, tuple, Tensor]] = {}

    def __deepcopy__(self, memo) -> RangeMemory:
        return self  # of a run, not of a model; hosts deep-copy their options on every clone

    def __len__(self) -> int:
        """How many ranges are kept."""
        return len(self._known)

    def find(self, steps: int, place: Hashable, t: float, q: Tensor, k: Tensor) -> Tensor:
        """The range of these queries, measured now or at one of the last `steps` noise levels.

        Args:
            steps: so many noise levels in a row share a measurement, >= 1.
            place: names the layer, the chunks of the batch and the frames of the clip, and what else makes calls of
                one noise level different (an edit of several, a part of the heads).
            t: noise level, timestep / 1000.
            q, k: [B, heads, N, d] and [B, heads, M, d]. Another B, heads, N, M or device at the same place is measured.

        Returns:
            float32 [B, heads, N] (float64 for float64 inputs), on q's device. Not to be changed.
        """
        level, of = self._number(t), (*q.shape[:3], k.shape[2], q.device)
        if place in self._known:
            measured, _, known, found = self._known[place]
            if known == of and level - measured < steps:
                return found
        found = logit_range(q, k)
        self._known[place] = (level, steps, of, found)
        return found

    def _number(self, t: float) -> int:
        """The index of a noise level in the order in which a run comes to them."""
        levels = self._levels
        if levels and t > levels[-1]:  # a run only ever goes down: this is another one
            self._known.clear()
            levels = ()
        if t in levels:
            return levels.index(t)
        self._levels = (*levels, t)
        for place, (measured, steps, *_) in list(self._known.items()):
            if len(levels) - measured >= steps:
                self._known.pop(place, None)
        return len(levels)
