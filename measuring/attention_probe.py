"""Where words and pixels look: averages over layers and steps, kept while a model runs (the paper's Fig. 7).

    probe = AttentionProbe(frames, [Phrase("a polar bear", (5, 6, 7), region=1)])
    ...            # hand it to a host as its observer and sample
    maps = probe.result()

For a word: which share of its attention each place of each frame gives to it, before and after modulation. "Before" is
what the same queries and keys of the same call give without it, so the two differ by the modulation alone. For a pixel:
how much of its attention goes to each place of all frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ..attention.active_range import ActiveRange
from ..attention.observer import LayerCall
from ..attention.options import MAP_LEVELS
from .attention_weights import cross_tiles, self_row

Grid = tuple[int, int]


class InspectionError(ValueError):
    """What was asked for cannot be shown. The text says what is missing, and what to do."""


@dataclass(frozen=True)
class Phrase:
    """Words whose attention is looked at.

    text: as it is shown. positions: of its tokens in the encoded prompt, of all its occurrences together. region: the
    region 1..R whose prompt it is; 0 = none.
    """

    text: str
    positions: tuple[int, ...]
    region: int = 0


@dataclass(frozen=True)
class Place:
    """A pixel of a clip: frame, and x and y in [0, 1) of the frame's width and height."""

    frame: int
    x: float
    y: float

    def token(self, grid: Grid) -> int:
        """Its token at a level, rows of the grid one after the other."""
        return int(self.y * grid[0]) * grid[1] + int(self.x * grid[1])


@dataclass(frozen=True, eq=False)
class AttentionMaps:
    """What an `AttentionProbe` has seen, at the finest of its grids.

    Attributes:
        phrases: P of them.
        before, after: float32 CPU [P, F, h, w] in [0, 1]: the share of a place's attention that goes to the phrase's
            words, all of them together.
        place: the pixel, or None.
        look_before, look_after: float32 CPU [F, h, w], how much of the pixel's attention a place gets, in multiples of
            what it would get if all places of the clip got the same (their mean is 1); None without a pixel.
        modulated: how many of the layers seen, all calls together, were modulated. 0 = after is before.
    """

    phrases: tuple[Phrase, ...]
    before: Tensor
    after: Tensor
    place: Place | None = None
    look_before: Tensor | None = None
    look_after: Tensor | None = None
    modulated: int = 0

    @property
    def frames(self) -> int:
        """F."""
        return self.before.shape[1]

    @property
    def grid(self) -> Grid:
        """(h, w)."""
        return self.before.shape[2], self.before.shape[3]


@dataclass
class _Sums:
    """Running sums at one grid: before and after, float32 [2, F, T, channels], and how often a frame was added."""

    values: Tensor
    calls: Tensor


@dataclass(eq=False)
class AttentionProbe:
    """An observer that averages, while a model runs, how words and one pixel are attended.

    Memory on the CPU: 8 bytes x frames x tokens of a frame for each phrase, and as much for the pixel, at every grid
    looked at, whatever the number of layers and steps: with 16 frames of 512 x 512 and level half 128 KB for each
    phrase. One probe serves one run.

    Args:
        frames: F >= 1 of the whole clip, also where calls bring only some of them (context windows).
        phrases: whose maps to make; may be empty where there is a pixel.
        length: L, tokens of the encoded prompt. Where a host repeats the embedding, its words count in every copy.
        level: "half" or "full" the latent's side, or "all": every layer, brought to the finest grid seen.
        start, end: the part of the run that is looked at (attention/active_range.py): 0 to 0.3 are the steps that the
            paper modulates.
        place: the pixel whose self-attention is looked at, or None.

    Raises:
        InspectionError: nothing to look at, a position or place outside, an unknown level.
        RangeError: an empty range.
    """

    frames: int
    phrases: Sequence[Phrase] = ()
    length: int = 77
    level: str = "half"
    start: float = 0.0
    end: float = 0.3
    place: Place | None = None
    _words: dict[Grid, _Sums] = field(default_factory=dict, init=False, repr=False)
    _looks: dict[Grid, _Sums] = field(default_factory=dict, init=False, repr=False)
    _modulated: int = field(default=0, init=False, repr=False)
    _odd_keys: int = field(default=0, init=False, repr=False)

    def __post_init__(self):
        self.phrases = tuple(self.phrases)
        self.range = ActiveRange(self.start, self.end).not_empty()
        if self.frames < 1:
            raise InspectionError(f"expected at least 1 frame; got {self.frames}.")
        if not self.phrases and self.place is None:
            raise InspectionError("nothing to look at: name some words, or choose a pixel.")
        if self.level not in MAP_LEVELS:
            raise InspectionError(f"level must be one of {', '.join(MAP_LEVELS)}; got {self.level!r}.")
        for phrase in self.phrases:
            if not phrase.positions or any(not 0 <= p < self.length for p in phrase.positions):
                raise InspectionError(
                    f"{phrase.text!r}: expected token positions from 0 to {self.length - 1}; got "
                    f"{list(phrase.positions)}. The phrase must stand in the prompt that is sampled."
                )
        place = self.place
        if place and not (0 <= place.frame < self.frames and 0 <= place.x < 1 and 0 <= place.y < 1):
            raise InspectionError(
                f"the pixel must lie in frames 0 to {self.frames - 1} and inside the picture; got frame "
                f"{place.frame} at {place.x:.3g}, {place.y:.3g} of its width and height."
            )

    def __deepcopy__(self, memo) -> AttentionProbe:
        return self  # it is filled by the call that made it; hosts deep-copy their options on every clone

    def wants(self, attention_type: str, grid: Grid, size: Grid, t: float) -> bool:
        """Whether a layer is looked at. grid: its (h, w). size: (h, w) of the latent. t: the noise level."""
        if not (self.phrases if attention_type == "cross" else self.place):
            return False
        part = MAP_LEVELS[self.level]
        if part and tuple(grid) != tuple(-(-side // part) for side in size):
            return False
        return self.range.holds(t)

    @torch.no_grad()
    def add(self, seen: LayerCall) -> None:
        """Add one layer of one call.

        Raises:
            InspectionError: frames that the clip does not have, or shapes that do not fit the grid.
        """
        index = list(range(self.frames)) if seen.frames is None else [int(f) for f in seen.frames]
        tokens = seen.grid[0] * seen.grid[1]
        if tuple(seen.q.shape[:2]) != (len(index), tokens) or any(not 0 <= f < self.frames for f in index):
            raise InspectionError(
                f"expected queries of {len(index)} of the {self.frames} frames with {seen.grid[0]} * {seen.grid[1]} "
                f"tokens each; got {list(seen.q.shape)} for frames {index}."
            )
        if seen.attention_type == "cross":
            self._add_words(seen, index)
        elif self.place.frame in index:
            self._add_look(seen, index, tokens)

    def _add_words(self, seen: LayerCall, index: list[int]) -> None:
        keys = seen.k.shape[1]
        if keys % self.length:
            self._odd_keys = keys  # another pack has put its own words there: nobody knows which is which
            return
        member = torch.zeros(keys, len(self.phrases))
        for column, phrase in enumerate(self.phrases):
            for position in phrase.positions:
                member[position :: self.length, column] = 1
        member = member.to(seen.q.device)
        sums = self._sums(self._words, seen.grid, len(self.phrases))
        for tile in cross_tiles(seen):
            for n, p in enumerate((tile.before, tile.after)):
                sums.values[n, index[tile.place], tile.rows] += (p.mean(0) @ member).cpu()
        for frame in index:
            sums.calls[frame] += 1
        self._modulated += seen.matched is not None

    def _add_look(self, seen: LayerCall, index: list[int], tokens: int) -> None:
        sums = self._sums(self._looks, seen.grid, 1)
        rows = self_row(seen, index.index(self.place.frame), self.place.token(seen.grid))
        even = 1 / (self.frames * tokens)
        for n, row in enumerate(rows):
            sums.values[n, :, :, 0].index_add_(0, torch.tensor(index), row / even)
        sums.calls += 1
        self._modulated += seen.matched is not None

    def _sums(self, kept: dict[Grid, _Sums], grid: Grid, channels: int) -> _Sums:
        """The running sums at one grid; zeros before the first layer."""
        grid = tuple(grid)
        if grid not in kept:
            kept[grid] = _Sums(torch.zeros(2, self.frames, grid[0] * grid[1], channels), torch.zeros(self.frames))
        return kept[grid]

    def result(self) -> AttentionMaps:
        """The averages so far.

        Raises:
            InspectionError: some frame was never seen.
        """
        before, after = self._averages(self._words, "cross-attention") if self.phrases else (None, None)
        look_before = look_after = None
        if self.place is not None:
            look_before, look_after = self._averages(self._looks, "self-attention")
            look_before, look_after = look_before[0], look_after[0]
        if before is None:
            before = after = torch.zeros(0, *look_before.shape)
        return AttentionMaps(self.phrases, before, after, self.place, look_before, look_after, self._modulated)

    def _averages(self, kept: dict[Grid, _Sums], kind: str) -> tuple[Tensor, Tensor]:
        """(before, after) as [channels, F, h, w] at the finest grid."""
        calls = sum((sums.calls for sums in kept.values()), torch.zeros(self.frames))
        if (calls == 0).any():
            raise InspectionError(self._unseen(kind, (calls == 0).nonzero().flatten().tolist()))
        finest = max(kept, key=lambda grid: grid[0] * grid[1])
        whole = 0
        for grid, sums in kept.items():
            maps = sums.values.permute(0, 3, 1, 2).unflatten(3, grid)  # [2, channels, F, h, w]
            if grid != finest:
                maps = interpolate(maps.flatten(0, 1), finest, mode="bilinear").unflatten(0, maps.shape[:2])
            whole = whole + maps
        before, after = whole / calls[:, None, None]
        return before, after

    def _unseen(self, kind: str, frames: list[int]) -> str:
        if self._odd_keys:
            return (
                f"cross-attention came with {self._odd_keys} text keys, no multiple of the prompt's {self.length} "
                "tokens: another node has put its own words there, and nobody knows which is which. Look without it."
            )
        which = "any frame" if len(frames) == self.frames else f"frames {', '.join(map(str, frames))}"
        where = "at any level" if self.level == "all" else f"at {self.level} the latent's side"
        return (
            f"no {kind} was seen {where} for {which}: no step of the run lies between {self.start:g} and {self.end:g} "
            "of it, or the model has no attention there (SDXL has none at full side). Widen the range, or choose "
            "another level."
        )
