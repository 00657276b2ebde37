"""Other rules than the product's for the label of a token that a region's border crosses (method.md 4)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ....attention import LabelMap
from ....attention.coverage import area_average, visible_parts
from ..settings import LABELS

RULES = LABELS
TOUCHED = 1 / 512  # coverage from which "any" counts a token as touched: half a step of an 8-bit mask


class RuledLabelMap:
    """Stands where a LabelMap does for the modulation of a whole clip; its tokens are labelled by another rule.

    "centre": what is seen at the token's centre, in the pixel that it lies in (the one to the lower right where it lies
    on a corner of pixels). "any": the topmost region of which any part is seen in the token. A region may be left
    without a token ("centre") or without the tokens that a region above it touches ("any"): nothing is put right.
    """

    def __init__(self, masks: Sequence[Tensor], rule: str):
        """masks: one float32 [F, H, W] in [0, 1] a region, of one size, later ones on top; rule: of RULES, not the
        product's."""
        if rule not in RULES[1:]:
            raise ValueError(f"RuledLabelMap: rule {rule!r}; expected one of {', '.join(RULES[1:])}; use LabelMap")
        self._seen = torch.stack([visible_parts(torch.stack(one)) for one in zip(*masks)])  # [F, R + 1, H, W]
        self._rule = rule
        self._labels: dict[tuple[int, int], Tensor] = {}

    @property
    def frames(self) -> int:
        return self._seen.shape[0]

    @property
    def regions(self) -> int:
        return self._seen.shape[1] - 1

    def labels(self, grid: tuple[int, int]) -> Tensor:
        """As LabelMap.labels: int64 [F, h * w], 0..R."""
        grid = (int(grid[0]), int(grid[1]))
        if grid not in self._labels:
            shown = self._at_centres(grid) if self._rule == "centre" else self._touched(grid)
            order = torch.arange(self.regions + 1)[:, None, None]
            self._labels[grid] = torch.where(shown, order, 0).amax(1).flatten(1)
        return self._labels[grid]

    def shares(self, grid: tuple[int, int], within: str = "frame") -> Tensor:
        """As LabelMap.shares: float32 [F, R + 1]."""
        shares = torch.nn.functional.one_hot(self.labels(grid), self.regions + 1).float().mean(1)
        return shares.mean(0, keepdim=True).expand_as(shares).clone() if within == "clip" else shares

    def _at_centres(self, grid: tuple[int, int]) -> Tensor:
        """Whether each label has the largest share there: bool [F, R + 1, h, w]."""
        rows, columns = ((2 * torch.arange(n) + 1) * side // (2 * n) for n, side in zip(grid, self._seen.shape[2:]))
        seen = self._seen[:, :, rows][..., columns]
        return seen == seen.amax(1, keepdim=True)

    def _touched(self, grid: tuple[int, int]) -> Tensor:
        return area_average(self._seen, grid) > TOUCHED


def label_map_of(masks: Sequence[Tensor], rule: str) -> LabelMap | RuledLabelMap:
    """The label map of these masks, float32 [F, H, W] each, under a rule of RULES."""
    return LabelMap(masks) if rule == "coverage" else RuledLabelMap(masks, rule)
