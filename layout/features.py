"""Self-attention features of a clip: what the layout without masks is cut from (method.md 9).

The feature of a spatial token is its row of self-attention probabilities over the tokens of its own frame, averaged
over heads, layers of one level, and network calls. Tokens of one thing look at the same places, so their rows are
alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Grid = tuple[int, int]
LEVELS = {"half": 2, "full": 1}  # sides of the latent: sides of the level

# Probabilities held at once (all heads): 16 MB in float32 on a CPU, 256 MB on an accelerator.
_TILE_CPU = 2**22
_TILE_ACCELERATOR = 2**26
_SUM = 1e-3  # averages of float32 softmax rows: their sums are off 1 by rounding alone


class FeaturesError(ValueError):
    """Features that are missing, damaged, or do not fit. The text says which, and what to do."""


@dataclass(frozen=True, eq=False)
class Features:
    """Averaged self-attention within each frame, at one level of the UNet.

    grid: (h, w) of the level. values: float32 CPU [F, n, n], n = h * w; values[f, i, j] >= 0 is how much token i of
    frame f looks at token j of the same frame; rows sum to 1. calls: attention calls averaged (of the frame with the
    fewest), >= 1. Raises FeaturesError where any of this does not hold.
    """

    grid: Grid
    values: Tensor
    calls: int = 1

    def __post_init__(self):
        if len(self.grid) != 2 or min(self.grid) < 1:
            raise FeaturesError(f"features: expected a grid (h, w) of sides >= 1, got {self.grid}.")
        values, tokens = self.values, self.grid[0] * self.grid[1]
        if not isinstance(values, Tensor) or values.shape[1:] != (tokens, tokens) or len(values) == 0:
            got = list(values.shape) if isinstance(values, Tensor) else type(values).__name__
            raise FeaturesError(f"features: expected [F, {tokens}, {tokens}] for a grid of {self.grid}, got {got}.")
        if values.dtype != torch.float32 or values.device.type != "cpu":
            raise FeaturesError(f"features: expected float32 on the CPU, got {values.dtype} on {values.device}.")
        wrong = ((values.sum(-1) - 1).abs() > _SUM) | (values.amin(-1) < 0) | ~torch.isfinite(values).all(-1)
        if wrong.any():
            raise FeaturesError(
                f"features: {int(wrong.sum())} of {wrong.numel()} rows are no probabilities (NaN, below 0, or a sum "
                "that is not 1); invert again in float32 or bfloat16."
            )
        if isinstance(self.calls, bool) or not isinstance(self.calls, int) or self.calls < 1:
            raise FeaturesError(f"features: calls must be an integer >= 1, got {self.calls!r}.")

    @property
    def frames(self) -> int:
        return len(self.values)


class FeatureCollector:
    """Averages self-attention while a model runs: a host asks `wants` in every self-attention layer, and `add`s.

    Keeps one float32 buffer [frames, n, n] on the CPU (n = tokens of the level: 64 MB for 16 frames of 512 x 512 with
    SD 1.5) whatever the number of steps and layers. One collector serves one inversion.
    """

    def __init__(self, frames: int, level: str = "half"):
        """frames: F >= 1 of the whole clip, also where calls bring only some of them. level: "half" the latent's side
        (method.md 9), halves rounded up, or "full": finer, at 16 times the memory; SDXL has no attention there."""
        if frames < 1:
            raise FeaturesError(f"FeatureCollector: frames must be >= 1, got {frames}.")
        if level not in LEVELS:
            raise FeaturesError(f"FeatureCollector: level must be one of {', '.join(LEVELS)}; got {level!r}.")
        self.frames, self.level = frames, level
        self._grid: Grid | None = None
        self._sum = torch.empty(0)
        self._calls = torch.zeros(frames, dtype=torch.int64)

    def __deepcopy__(self, memo) -> FeatureCollector:
        return self  # it is filled by the call that made it; hosts deep-copy their options on every clone

    def wants(self, grid: Grid, size: Grid) -> bool:
        """Whether a self-attention layer is of the collected level. grid: its (h, w). size: (h, w) of the latent."""
        return tuple(grid) == tuple(-(-side // LEVELS[self.level]) for side in size)

    @torch.no_grad()
    def add(self, q: Tensor, k: Tensor, heads: int, grid: Grid, frames: Sequence[int] | None = None) -> None:
        """Add one layer of one call.

        Args:
            q, k: queries and keys of the conditional chunk as they leave to_q and to_k, [F, h * w, heads * d], any
                float dtype and device. Computed in float32, a tile at a time.
            heads: number of heads.
            grid: (h, w) of the layer.
            frames: which frames of the clip the rows are (a context window), in the batch's order; None = all.

        Raises:
            FeaturesError: shapes that do not fit, frames that do not exist, or another grid than before.
        """
        index = list(range(self.frames)) if frames is None else [int(f) for f in frames]
        tokens = grid[0] * grid[1]
        if q.dim() != 3 or k.shape != q.shape or q.shape[:2] != (len(index), tokens) or q.shape[2] % heads:
            raise FeaturesError(
                f"FeatureCollector: expected q and k [{len(index)} frames, {grid[0]} * {grid[1]} tokens, {heads} heads "
                f"* d]; got {list(q.shape)} and {list(k.shape)}. For a part of the {self.frames} frames say which."
            )
        if any(not 0 <= f < self.frames for f in index):
            raise FeaturesError(f"FeatureCollector: expected frames from 0 to {self.frames - 1}, got {index}.")
        if self._grid is None:
            self._grid = (int(grid[0]), int(grid[1]))
            self._sum = torch.zeros(self.frames, tokens, tokens)
        elif tuple(grid) != self._grid:
            raise FeaturesError(
                f"FeatureCollector: a layer of grid {tuple(grid)} after layers of {self._grid}; one collector takes "
                "one level of one latent size."
            )
        tile = _TILE_CPU if q.device.type == "cpu" else _TILE_ACCELERATOR
        rows = max(1, tile // (heads * tokens))
        for place, frame in enumerate(index):
            queries, keys = (x[place].unflatten(1, (heads, -1)).transpose(0, 1).float() for x in (q, k))
            keys = keys.transpose(1, 2) * keys.shape[2] ** -0.5
            for row in range(0, tokens, rows):
                seen = torch.softmax(queries[:, row : row + rows] @ keys, -1).mean(0)
                self._sum[frame, row : row + rows] += seen.cpu()
            self._calls[frame] += 1

    def result(self) -> Features:
        """The average so far.

        Raises:
            FeaturesError: nothing was added for some frame (the model has no such level, or was never called).
        """
        missing = (self._calls == 0).nonzero().flatten().tolist()
        if missing:
            what = "any frame" if len(missing) == self.frames else f"frames {', '.join(map(str, missing))}"
            raise FeaturesError(
                f"no self-attention was collected for {what}: the model has none at {self.level} the latent's side, or "
                "was not run on them. Use an SD1.x, SD2.x or SDXL model, or switch collect_features off."
            )
        return Features(self._grid, self._sum / self._calls[:, None, None], int(self._calls.min()))


def reference_features(calls: Sequence[tuple[Tensor, Tensor, int]]) -> Tensor:
    """The definition, literally, for calls (q, k, heads) of all frames: float64 [F, n, n]."""
    maps = []
    for q, k, heads in calls:
        pairs = zip(q.double().chunk(heads, 2), k.double().chunk(heads, 2))
        maps.append(torch.stack([torch.softmax(a @ b.mT / a.shape[2] ** 0.5, -1) for a, b in pairs]).mean(0))
    return torch.stack(maps).mean(0)
