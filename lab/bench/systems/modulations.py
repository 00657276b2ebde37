"""The modulation with single parts of it switched off, and as the authors' released code runs it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ....attention import MAX_XI, Modulation, SpaceTime
from ....attention.fused import Matched, match_labels

Bias = tuple[Matched, Tensor] | None


@dataclass(frozen=True, eq=False)
class PartialModulation(Modulation):
    """A Modulation that can leave things out; with the defaults here it does what Modulation does.

    size_term: whether c has the factor 1 - S (Eq. 2). levels: "all", "coarse" (not at `finest`) or "finest" (there
    alone). finest: (h, w) of the latent. background_matches: whether background tokens match each other in
    self-attention (Eq. 5); where not, they match nothing, as in the authors' released code.
    """

    size_term: bool = True
    levels: str = "all"
    finest: tuple[int, int] = (0, 0)
    background_matches: bool = True

    def self_bias(self, roles: tuple[str, ...], *, grid: tuple[int, int], t: float, spacetime: SpaceTime) -> Bias:
        """As Modulation.self_bias."""
        bias = super().self_bias(roles, grid=grid, t=t, spacetime=spacetime) if self._works_at(grid) else None
        if bias is None:
            return None
        labels, strength = self._sized(bias, grid, "clip", spacetime.queries)
        if not self.background_matches:
            regions = self.label_map.labels(grid)
            regions = torch.where(regions == 0, -1, regions)
            labels = match_labels(spacetime.queries(regions), spacetime.keys(regions))
        return labels, strength

    def cross_bias(
        self, roles: tuple[str, ...], *, grid: tuple[int, int], t: float, text_labels: Tensor | None = None
    ) -> Bias:
        """As Modulation.cross_bias."""
        bias = super().cross_bias(roles, grid=grid, t=t, text_labels=text_labels) if self._works_at(grid) else None
        return None if bias is None else self._sized(bias, grid, "frame", lambda x: x)

    def _works_at(self, grid: tuple[int, int]) -> bool:
        return self.levels == "all" or (tuple(grid) == tuple(self.finest)) == (self.levels == "finest")

    def _sized(self, bias: tuple[Matched, Tensor], grid, within: str, arrange: Callable[[Tensor], Tensor]) -> Bias:
        if self.size_term:
            return bias
        labels, strength = bias
        shares = self.label_map.shares(grid, within)
        if within == "frame" and self.background == "neutral" and bool((self.text_labels == 0).any()):
            shares[:, 0] = 0  # the factor is 1 or 0 there already
        rest = arrange((1 - shares).clamp(0, 1).gather(1, self.label_map.labels(grid)))
        # 0 / 0 where one label fills everything: there is nothing to tell apart
        return labels, torch.where(rest > 0, strength / rest.clamp(min=1e-9), 0.0).clamp(max=MAX_XI)
