"""Masks in, one label per token out, at any level of the UNet (method.md 4).

Label 0 is the background, 1..R are the regions in their order; a later region lies on top of an earlier one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from .coverage import area_average, assign_labels, is_present, visible_parts

Grid = tuple[int, int]

_OVERSHOOT = 1e-3  # what resizing may leave outside [0, 1]


def normalise_mask(mask, frames: int, name: str) -> Tensor:
    """Bring a mask of any customary form to float32 [F, H, W] in [0, 1].

    Args:
        mask: tensor or array [H, W], [1, H, W], [F, H, W] or [F, 1, H, W]; bool, floating in [0, 1], or uint8 with
            0..255. One frame stands for all frames.
        frames: F, frames of the clip.
        name: what the mask is called in error messages ("region 2 (polar bear)").

    Raises:
        ValueError: another shape, frame count, type or range. Nothing is cut, repeated or rescaled by guess.
    """
    mask = torch.as_tensor(mask)
    shape = tuple(mask.shape)
    if mask.dim() == 4 and mask.shape[1] == 1:
        mask = mask[:, 0]
    elif mask.dim() == 2:
        mask = mask[None]
    if mask.dim() != 3 or 0 in mask.shape:
        raise ValueError(
            f"mask of {name}: expected [H, W], [1, H, W], [F, H, W] or [F, 1, H, W] with F = {frames}; got {shape}. "
            f"Of a colour image take one channel."
        )
    if mask.shape[0] not in (1, frames):
        raise ValueError(
            f"mask of {name}: expected 1 frame or {frames} (the clip's frames); got {mask.shape[0]}. "
            f"Cut or extend the mask to the frames that are edited."
        )
    return _to_unit_floats(mask, name).expand(frames, -1, -1)


def _to_unit_floats(mask: Tensor, name: str) -> Tensor:
    if mask.dtype == torch.bool:
        return mask.float()
    if mask.dtype == torch.uint8:
        if mask.max() == 1:
            raise ValueError(
                f"mask of {name}: expected uint8 values 0..255; got a maximum of 1, which may mean 1/255 or all. "
                f"Pass mask > 0 (bool) or a floating mask."
            )
        return mask.float() / 255
    if not mask.is_floating_point():
        raise ValueError(
            f"mask of {name}: expected bool, floating or uint8; got {mask.dtype}. "
            f"Pass mask == id for an image of ids, mask > 0 for zeros and ones."
        )
    mask = mask.float()
    low, high = mask.min().item(), mask.max().item()
    if not (low >= -_OVERSHOOT and high <= 1 + _OVERSHOOT):  # NaN fails as well
        raise ValueError(
            f"mask of {name}: expected values in [0, 1]; got {low:g} to {high:g}. Divide a mask of 0..255 by 255."
        )
    return mask.clamp(0, 1)


class LabelMap:
    """The regions of a clip: an immutable value that answers "which region is this token?" at any grid.

    Args:
        masks: R >= 1 masks [F, H, W], bool or floating in [0, 1] (see `normalise_mask`), in region order: region k
            is masks[k - 1], and a later region hides an earlier one where it covers it. Sizes may differ.

    Raises:
        ValueError: no masks, other shapes or types, unequal frame counts.
    """

    __slots__ = ("_cache", "_index", "_masks")

    def __init__(self, masks: Sequence[Tensor]):
        masks = list(masks)
        if not masks:
            raise ValueError("LabelMap: expected at least one mask; got none. Without regions call plain attention.")
        for region, mask in enumerate(masks, start=1):
            if not isinstance(mask, Tensor) or mask.dim() != 3 or 0 in mask.shape:
                got = tuple(mask.shape) if isinstance(mask, Tensor) else type(mask).__name__
                raise ValueError(
                    f"LabelMap: mask of region {region} must be a tensor [F, H, W]; got {got}. See normalise_mask."
                )
            if mask.shape[0] != masks[0].shape[0]:
                raise ValueError(
                    f"LabelMap: mask of region {region} has {mask.shape[0]} frames, that of region 1 has "
                    f"{masks[0].shape[0]}; expected equal numbers. See normalise_mask."
                )
        self._masks = tuple(
            _own_copy(_to_unit_floats(mask.detach().cpu(), f"region {n}")) for n, mask in enumerate(masks, start=1)
        )
        self._index: Tensor = torch.arange(masks[0].shape[0])
        # grid -> (labels, shares) of ALL frames; shared by every selection of this map. Two threads may both
        # fill an entry; they write equal values, and one dict assignment is atomic.
        self._cache: dict[Grid, tuple[Tensor, Tensor]] = {}

    def __deepcopy__(self, memo) -> LabelMap:
        return self  # immutable; hosts deep-copy their options on every clone

    def __repr__(self) -> str:
        return f"LabelMap(regions={self.regions}, frames={self.frames})"

    @property
    def frames(self) -> int:
        """F."""
        return len(self._index)

    @property
    def regions(self) -> int:
        """R; the labels are 0..R."""
        return len(self._masks)

    def select(self, frame_indices: Iterable[int]) -> LabelMap:
        """The map of some frames in the given order (context windows); indices may repeat. Shares the cache.

        Raises:
            ValueError: no index, or one outside 0..frames - 1.
        """
        indices = [int(i) for i in frame_indices]
        if not indices or min(indices) < 0 or max(indices) >= self.frames:
            raise ValueError(
                f"LabelMap.select: expected frame indices in 0 to {self.frames - 1}; got {indices}. "
                f"The masks must cover every frame of the clip."
            )
        view = object.__new__(LabelMap)
        view._masks, view._cache = self._masks, self._cache
        view._index = self._index[indices]
        return view

    def labels(self, grid: Grid) -> Tensor:
        """The label of every token, int64 [F, h * w] on the CPU, 0..R, rows of the grid (h, w) one after the other.

        The visible part of each region is averaged by exact area onto the grid; a token takes the label with the
        largest share of it, a tie goes to the later region. A region whose mask is not empty in a frame keeps at
        least one token in it, if the grid has one that is no other region's last.
        """
        return self._measure(grid)[0][self._index]

    def shares(self, grid: Grid, within: str = "frame") -> Tensor:
        """S of Eq. 2: the part of the area that each label has, float32 [F, R + 1]; rows sum to 1.

        Args:
            grid: (h, w).
            within: "frame" (cross-attention) or "clip" (self-attention: all rows equal).
        """
        if within not in ("frame", "clip"):
            raise ValueError(f"LabelMap.shares: within must be 'frame' or 'clip'; got {within!r}.")
        shares = self._measure(grid)[1][self._index]
        return shares.mean(0, keepdim=True).expand_as(shares).clone() if within == "clip" else shares

    def union(self, which: Sequence[int] | None = None, size: Grid | None = None, *, visible: bool = False) -> Tensor:
        """Where any of some regions is: the largest of their masks, float32 [F, H, W] in [0, 1].

        Args:
            which: region numbers 1..R; None = all.
            size: (H, W) to average to by area; None = the largest mask's.
            visible: leave out what a later region covers that is not in `which` (a preserved part on an edited whole).
        """
        which = range(1, self.regions + 1) if which is None else list(which)
        if not which or any(not 1 <= region <= self.regions for region in which):
            raise ValueError(f"LabelMap.union: regions must be numbers in 1 to {self.regions}; got {list(which)}.")
        common = self._common_size()
        frames = []
        for frame in self._index.tolist():
            masks = self._frame(frame, common)
            if visible:
                area = visible_parts(masks)[list(which)].sum(0).clamp(max=1)
            else:
                area = masks[[region - 1 for region in which]].amax(0)
            frames.append(area if size is None else area_average(area, size).clamp(0, 1))
        return torch.stack(frames)

    def _common_size(self) -> Grid:
        return max(mask.shape[1] for mask in self._masks), max(mask.shape[2] for mask in self._masks)

    def _frame(self, frame: int, size: Grid) -> Tensor:
        """All masks of one frame at one size, float32 [R, H, W]."""
        return torch.stack([area_average(mask[frame].float(), size) for mask in self._masks])

    def _measure(self, grid: Grid) -> tuple[Tensor, Tensor]:
        grid = (int(grid[0]), int(grid[1]))
        if min(grid) < 1:
            raise ValueError(f"LabelMap: grid must be (h, w) with both >= 1; got {grid}.")
        if grid not in self._cache:
            # Frame by frame: masks may be many and large, their composition is several times larger.
            common = self._common_size()
            labels = []
            for frame in range(self._masks[0].shape[0]):
                masks = self._frame(frame, common)
                visible = area_average(visible_parts(masks), grid)
                present = [k for k, mask in enumerate(self._masks, start=1) if is_present(mask[frame])]
                labels.append(assign_labels(visible, area_average(masks, grid), present))
            labels = torch.stack(labels).flatten(1)
            shares = torch.nn.functional.one_hot(labels, self.regions + 1).float().mean(1)
            self._cache[grid] = labels, shares
        return self._cache[grid]


def _own_copy(mask: Tensor) -> Tensor:
    """A copy the caller cannot change; a quarter of the memory where the mask is all zeros and ones."""
    return mask.bool() if bool(((mask == 0) | (mask == 1)).all()) else mask.clone()
