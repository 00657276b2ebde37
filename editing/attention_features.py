"""Features of a clip that its own model makes: what the layout without masks is cut from and named by (method.md 9).

The feature of a spatial token is its row of self-attention probabilities over the tokens of its own frame, averaged
over heads, layers of one level, and network calls. Tokens of one thing look at the same places, so their rows are
alike. Its row of cross-attention over the source prompt's tokens, averaged likewise, says which words it is about.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..attention import LayerCall
from ..attention.active_range import ActiveRange
from ..attention.label_map import Grid
from ..attention.observer import ATTENTION_TYPES
from ..attention.options import LEVELS

log = logging.getLogger(__name__)


# Probabilities held at once (all heads): 16 MB in float32 on a CPU, 128 MB on an accelerator.
_TILE_CPU = 2**22
_TILE_ACCELERATOR = 2**25
_MOST = 2**33  # bytes of the sums of one clip
_SUM = 1e-3  # a rounding to float16 is off by at most half of this (and numbers below 6e-5 by 3e-8)


class FeaturesError(ValueError):
    """Features that are missing, damaged, or do not fit. The text says which, and what to do."""


@dataclass(frozen=True, eq=False)
class Features:
    """Averaged attention of the tokens of each frame, at one level of the UNet.

    grid: (h, w) of the level. values: float16 CPU [F, n, n], n = h * w; values[f, i, j] >= 0 is how much token i of
    frame f looks at token j of the same frame; rows sum to 1. calls: attention calls averaged (of the frame with the
    fewest), >= 1. cross: float16 CPU [F, n, L] or None where it was not collected; cross[f, i, l] >= 0 is how much
    token i of frame f looks at token l of the source prompt as it was encoded (start, end and padding included); rows
    sum to 1. level: "half", "full", or "" where an old file does not say.

    float32 values and cross are taken too, and rounded. Raises FeaturesError where any of this does not hold.
    """

    grid: Grid
    values: Tensor
    calls: int = 1
    cross: Tensor | None = None
    level: str = ""

    def __post_init__(self):
        if len(self.grid) != 2 or min(self.grid) < 1:
            raise FeaturesError(f"features: expected a grid (h, w) of sides >= 1, got {self.grid}.")
        if isinstance(self.calls, bool) or not isinstance(self.calls, int) or self.calls < 1:
            raise FeaturesError(f"features: calls must be an integer >= 1, got {self.calls!r}.")
        if self.level not in ("", *LEVELS):
            raise FeaturesError(f"features: level must be one of {', '.join(LEVELS)}; got {self.level!r}.")
        tokens = self.grid[0] * self.grid[1]
        object.__setattr__(self, "values", self._checked("", self.values, (None, tokens, tokens)))
        if self.cross is not None:
            object.__setattr__(self, "cross", self._checked("cross ", self.cross, (self.frames, tokens, None)))

    def _checked(self, name: str, rows: Tensor, shape: tuple[int | None, ...]) -> Tensor:
        """The rows as float16; FeaturesError if they are no probabilities of this shape (None = 1 or more)."""
        fits = (
            isinstance(rows, Tensor)
            and rows.dim() == 3
            and all(have == want or (want is None and have > 0) for have, want in zip(rows.shape, shape))
        )
        if not fits:
            got = list(rows.shape) if isinstance(rows, Tensor) else type(rows).__name__
            want = ", ".join(side if size is None else str(size) for size, side in zip(shape, ("F", "n", "L")))
            raise FeaturesError(f"{name}features: expected [{want}] for a grid of {self.grid}, got {got}.")
        if rows.dtype not in (torch.float16, torch.float32) or rows.device.type != "cpu":
            raise FeaturesError(
                f"{name}features: expected float16 or float32 on the CPU, got {rows.dtype} on {rows.device}."
            )
        wrong = 0
        for frame in rows:  # one at a time: float16 is widened for its sum
            odd = ((frame.sum(-1, dtype=torch.float32) - 1).abs() > _SUM) | (frame.amin(-1) < 0)
            wrong += int((odd | ~torch.isfinite(frame).all(-1)).sum())
        if wrong:
            raise FeaturesError(
                f"{name}features: {wrong} of {rows.shape[0] * rows.shape[1]} rows are no probabilities (NaN, below 0, "
                "or a sum that is not 1); invert again in float32 or bfloat16."
            )
        return rows.half()

    @property
    def frames(self) -> int:
        return len(self.values)


class FeatureCollector:
    """An Observer (attention/observer.py) that averages self- and cross-attention while a model runs.

    Memory: two float32 sums on the CPU, [F, n, n] and [F, n, L] for F frames, n tokens of the level and L text tokens,
    whatever the number of steps and layers: 64 + 5 MB for 16 frames of 512 x 512 with SD 1.5 at half the latent's side,
    1024 + 19 MB at its full side. Sums beyond 8 GB are refused when the first layer comes. `result` holds half as much
    once more. On an accelerator a tile of 128 MB of probabilities and one of their logits at a time (32 MB in all on a
    CPU). One collector serves one inversion.

    Where the number of text keys changes on the way (a host repeats prompts of unlike lengths only while they share a
    call), nobody can say which key is which word: cross is dropped then, with a warning, and self goes on.
    """

    def __init__(self, frames: int, level: str = "half", start: float = 0.0, end: float = 1.0):
        """frames: F >= 1 of the whole clip, also where calls bring only some of them. level: "half" the latent's side
        (method.md 9), halves rounded up, or "full": finer, at 16 times the memory; SDXL has no attention there.
        start, end: the part of the noise range whose calls count (attention/active_range.py); RangeError if none."""
        if frames < 1:
            raise FeaturesError(f"FeatureCollector: frames must be >= 1, got {frames}.")
        if level not in LEVELS:
            raise FeaturesError(f"FeatureCollector: level must be one of {', '.join(LEVELS)}; got {level!r}.")
        self.frames, self.level = frames, level
        self.range = ActiveRange(start, end, ("feature_start", "feature_end")).not_empty()
        self._grid: Grid | None = None
        self._sums: dict[str, Tensor] = {}
        self._calls = {of: torch.zeros(frames, dtype=torch.int64) for of in ATTENTION_TYPES}
        self._skipped = False  # a layer of the level came, at a noise level outside start..end
        self._nameless = False  # cross was dropped

    def __deepcopy__(self, memo) -> FeatureCollector:
        return self  # it is filled by the call that made it; hosts deep-copy their options on every clone

    def wants(self, attention_type: str, grid: Grid, size: Grid, t: float) -> bool:
        """Whether a layer is of the collected level and noise range (`Observer`)."""
        if tuple(grid) != tuple(-(-side // LEVELS[self.level]) for side in size):
            return False
        if attention_type == "cross" and self._nameless:
            return False
        inside = self.range.holds(t)
        self._skipped |= not inside
        return inside

    @torch.no_grad()
    def add(self, seen: LayerCall) -> None:
        """Add one layer of one call (`Observer`), in float32, a tile at a time.

        Raises:
            FeaturesError: shapes that do not fit, frames that do not exist, another grid than before, or sums that
                would need more than 8 GB.
        """
        index = list(range(self.frames)) if seen.frames is None else [int(f) for f in seen.frames]
        q, k, heads, tokens = seen.q, seen.k, seen.heads, seen.grid[0] * seen.grid[1]
        keys = tokens if seen.attention_type == "self" else k.shape[1]
        if (
            q.dim() != 3
            or q.shape[:2] != (len(index), tokens)
            or k.shape != (len(index), keys, q.shape[2])
            or q.shape[2] % heads
        ):
            raise FeaturesError(
                f"FeatureCollector: expected q and k [{len(index)} frames, {seen.grid[0]} * {seen.grid[1]} tokens, "
                f"{heads} heads * d]; got {list(q.shape)} and {list(k.shape)}. For a part of the {self.frames} frames "
                "say which."
            )
        if any(not 0 <= f < self.frames for f in index):
            raise FeaturesError(f"FeatureCollector: expected frames from 0 to {self.frames - 1}, got {index}.")
        if seen.attention_type == "cross" and self._without_names(keys):
            return
        total = self._sum(seen.attention_type, seen.grid, keys)
        tile = _TILE_CPU if q.device.type == "cpu" else _TILE_ACCELERATOR
        rows = max(1, tile // (heads * keys))
        for place, frame in enumerate(index):
            queries, others = (x[place].unflatten(1, (heads, -1)).transpose(0, 1).float() for x in (q, k))
            others = others.transpose(1, 2) * others.shape[2] ** -0.5
            for row in range(0, tokens, rows):
                seen_by = torch.softmax(queries[:, row : row + rows] @ others, -1).mean(0)
                total[frame, row : row + rows] += seen_by.cpu()
            self._calls[seen.attention_type][frame] += 1

    def _without_names(self, keys: int) -> bool:
        """Whether cross is dropped, as it is with the first layer of another number of text keys."""
        before = self._sums.get("cross")
        if not self._nameless and before is not None and before.shape[2] != keys:
            self._nameless = True
            del self._sums["cross"]
            log.warning(
                "features: the prompt came with %d and then with %d text keys in one inversion, so that words "
                "cannot be told apart: things will be found, but not named. Invert with one prompt alone.",
                before.shape[2],
                keys,
            )
        return self._nameless

    def _sum(self, attention_type: str, grid: Grid, keys: int) -> Tensor:
        """The running sum of self- or cross-attention, made when its first layer comes."""
        if self._grid not in (None, tuple(grid)):
            raise FeaturesError(
                f"FeatureCollector: a layer of grid {tuple(grid)} after layers of {self._grid}; one collector takes "
                "one level of one latent size."
            )
        total = self._sums.get(attention_type)
        if total is None:
            shape = (self.frames, grid[0] * grid[1], keys)
            need = 4 * (shape[0] * shape[1] * shape[2] + sum(x.numel() for x in self._sums.values()))
            if need > _MOST:
                smaller = "smaller frames, fewer of them" + (", or feature_level half" if self.level == "full" else "")
                raise FeaturesError(
                    f"the features of {self.frames} frames at {grid[0]} x {grid[1]} tokens need "
                    f"{need / 2**30:.1f} GB; expected at most {_MOST / 2**30:g} GB. Take {smaller}."
                )
            self._grid = (int(grid[0]), int(grid[1]))
            total = self._sums[attention_type] = torch.zeros(shape)
        return total

    def result(self) -> Features:
        """The average so far; without cross where some frame got none, or it was dropped.

        Raises:
            FeaturesError: nothing was added for some frame (the model has no such level, was never called, or at no
                noise level between start and end).
        """
        calls = self._calls["self"]
        missing = (calls == 0).nonzero().flatten().tolist()
        if missing:
            what = "any frame" if len(missing) == self.frames else f"frames {', '.join(map(str, missing))}"
            why = (
                f"the model has none at {self.level} the latent's side, or was not run on them. Use an SD1.x, SD2.x or "
                "SDXL model, or switch collect_features off."
            )
            if self._skipped:
                why = (
                    f"no step lies between feature_start {self.range.start:g} and feature_end {self.range.end:g} of "
                    "the noise range. Widen them."
                )
            raise FeaturesError(f"no self-attention was collected for {what}: {why}")
        averages = {of: _average(total, self._calls[of]) for of, total in self._sums.items()}
        cross = averages.get("cross") if (self._calls["cross"] > 0).all() else None
        return Features(self._grid, averages["self"], int(calls.min()), cross, self.level)


def _average(total: Tensor, calls: Tensor) -> Tensor:
    """float32 [F, n, m] sums of `calls` [F] terms -> float16; a frame at a time."""
    average = torch.empty_like(total, dtype=torch.float16)
    for frame, count in enumerate(calls.tolist()):
        average[frame] = total[frame] / max(count, 1)
    return average


def reference_features(calls: Sequence[tuple[Tensor, Tensor, int]]) -> Tensor:
    """The definition, literally, for calls (q, k, heads) of all frames: float64 [F, n, m], of either type."""
    maps = []
    for q, k, heads in calls:
        pairs = zip(q.double().chunk(heads, 2), k.double().chunk(heads, 2))
        maps.append(torch.stack([torch.softmax(a @ b.mT / a.shape[2] ** 0.5, -1) for a, b in pairs]).mean(0))
    return torch.stack(maps).mean(0)
