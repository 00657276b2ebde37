"""How every region of a clip moves, as one value: built once, then asked from frame to frame.

A frame hangs on an earlier one by a step, its neighbour as a rule, the last frame before a gap otherwise. Frames that
hang together make a piece; between pieces nothing is known, and nothing is carried. A step is a transform of places
(places.py), and where a region bends, displacements on a grid besides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from .places import Size, centres, inside, moved, sample, size_of

BACKGROUND = -1  # the index of what belongs to no region
CUT = 0.3  # a step of a larger loss is not trusted: exact motion has 0.01 to 0.12, 4 px beside it 0.24


class MotionError(ValueError):
    """Motion that cannot be built, read or asked as it was. The text says what came and what to do."""


@dataclass(frozen=True, eq=False)
class RegionMotion:
    """One region's motion over F frames.

    before: int64 [F], the earlier frame that a frame hangs on; -1 where a piece begins and where the region is absent.
    steps: float64 [F, 3, 3], the transform of places in frame before[f] to those in frame f; the identity at -1.
    losses: float64 [F], how badly a step fits (registration.py), 0 = perfectly; nan at -1 except for a step that was
    cut: then its loss. present: bool [F], whether the region is seen in the frame. form: "similarity", "parts" (several
    things in one region, parts.py), "dense" or "off" (nothing is carried). bends: None, or float32 [2, F, h, w, 2]:
    what is added to steps, in pixels, at places of frame before[f] (0) and to the inverse steps, at places of frame f
    (1), read bilinearly.
    """

    before: np.ndarray
    steps: np.ndarray
    losses: np.ndarray
    present: np.ndarray
    form: str = "similarity"
    bends: np.ndarray | None = None
    _roots: np.ndarray = field(init=False, repr=False, compare=False)
    _from_root: np.ndarray = field(init=False, repr=False, compare=False)

    def __post_init__(self):
        count = len(self.before)
        shapes = {"before": (count,), "steps": (count, 3, 3), "losses": (count,), "present": (count,)}
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                raise MotionError(
                    f"motion: {name} is {list(getattr(self, name).shape)}; expected {list(shape)} for {count} frames."
                )
        if self.bends is not None and (self.bends.ndim != 5 or self.bends.shape[:2] != (2, count)):
            raise MotionError(f"motion: bends are {list(self.bends.shape)}; expected [2, {count}, h, w, 2].")
        if ((self.before >= np.arange(count)) | (self.before < -1)).any():
            raise MotionError(f"motion: before is {self.before.tolist()}; expected earlier frames, or -1.")
        if not np.isfinite(self.steps).all() or (np.abs(np.linalg.det(self.steps)) < 1e-6).any():
            raise MotionError("motion: a step cannot be undone, or is not finite; expected invertible 3 x 3 matrices.")
        roots, whole = np.arange(count), np.empty((count, 3, 3))
        for f, before in enumerate(self.before):
            roots[f] = f if before < 0 else roots[before]
            whole[f] = np.eye(3) if before < 0 else self.steps[f] @ whole[before]
        object.__setattr__(self, "_roots", np.where(self.present, roots, -1))
        object.__setattr__(self, "_from_root", whole)

    @property
    def pieces(self) -> list[list[int]]:
        """The frames that hang together, each list rising."""
        return [np.flatnonzero(self._roots == root).tolist() for root in np.unique(self._roots[self._roots >= 0])]

    def linked(self, i: int, j: int) -> bool:
        """Whether what the region shows in frame i is known to be at some place of frame j."""
        return i == j or bool(self.form != "off" and self._roots[i] == self._roots[j] >= 0)

    def matrix(self, i: int, j: int) -> np.ndarray:
        """The transform of places in frame i to frame j, float64 [3, 3], without bends. MotionError if not linked."""
        if not self.linked(i, j):
            raise MotionError(f"motion: frames {i} and {j} are of different pieces: {self.pieces}; ask `linked` first.")
        return np.eye(3) if i == j else self._from_root[j] @ np.linalg.inv(self._from_root[i])

    def in_units(self, units: np.ndarray) -> RegionMotion:
        """The same in places that are ``units`` (a diagonal float64 [3, 3]) times these."""
        bends = None if self.bends is None else (self.bends * units.diagonal()[:2]).astype(self.bends.dtype)
        return replace(self, steps=units @ self.steps @ np.linalg.inv(units), bends=bends)

    def way(self, i: int, j: int) -> tuple[list[int], list[int]]:
        """The frames whose steps lead from i to j: those to undo, in order, then those to take, in order."""
        undo, take = [], []
        while i != j:
            if i > j:
                undo.append(i)
                i = int(self.before[i])
            else:
                take.append(j)
                j = int(self.before[j])
        return undo, take[::-1]


@dataclass(frozen=True, eq=False)
class Motion:
    """A clip's motion. size: (height, width) of its frames; regions: in the order of the masks, later ones on top;
    background: what belongs to none; source: how it was found."""

    size: Size
    regions: tuple[RegionMotion, ...]
    background: RegionMotion
    source: str

    def __post_init__(self):
        counts = {len(one.before) for one in (*self.regions, self.background)}
        if len(counts) != 1:
            raise MotionError(f"motion: regions of {sorted(counts)} frames; expected one number; cut them alike.")

    @property
    def frames(self) -> int:
        return len(self.background.before)

    def of(self, region: int) -> RegionMotion:
        """region: its index, or BACKGROUND."""
        return self.background if region == BACKGROUND else self.regions[region]

    def resized(self, size: Size) -> Motion:
        """The same for frames of another (height, width)."""
        units = np.diag([size[1] / self.size[1], size[0] / self.size[0], 1.0])

        regions = (one.in_units(units) for one in self.regions)
        return Motion(size, tuple(regions), self.background.in_units(units), self.source)

    def places(self, region: int, i: int, j: int, size: Size, device: torch.device | str = "cpu") -> Tensor:
        """Where in frame j the centres of the cells of frame i lie: float32 [h, w, 2], (x, y) in pixels of the frame.

        region: an index, or BACKGROUND. size: (h, w) of the grid, a latent's or the frame's own. device: of the
        result. MotionError where i and j are not linked.
        """
        one, places = self.of(region), centres(size, self.size, device)
        if one.bends is None or i == j:
            return moved(places, one.matrix(i, j))
        one.matrix(i, j)  # raises
        undo, take = one.way(i, j)
        for f in undo:
            places = moved(places, np.linalg.inv(one.steps[f])) + self._bend(one.bends[1, f], places)
        for f in take:
            places = moved(places, one.steps[f]) + self._bend(one.bends[0, f], places)
        return places

    def _bend(self, bends: np.ndarray, places: Tensor) -> Tensor:
        values = torch.from_numpy(bends).to(places.device).permute(2, 0, 1)
        return sample(values, places, self.size, "bilinear").permute(1, 2, 0)

    def carry(
        self, values: Tensor, region: int, i: int, j: int, mode: str = "bicubic", device: torch.device | None = None
    ) -> tuple[Tensor, Tensor]:
        """Frame j's values as they would lie in frame i, [C, h, w], and where frame j's picture has them, bool [h, w].

        values: frame j's, floating [C, h, w], a latent's or a picture's. region: as in `places`; mode: "bicubic",
        "bilinear" or "nearest"; device: where the places are computed, None = that of the values. The frame's own
        values come back untouched. MotionError where i and j are not linked.
        """
        if i == j:
            return values, torch.ones(values.shape[-2:], dtype=torch.bool, device=values.device)
        places = self.places(region, i, j, size_of(values), device or values.device)
        return sample(values, places, self.size, mode), inside(places, self.size)

    def notes(self, names: Sequence[str] = ()) -> list[str]:
        """One line for every place where the motion is not known, in words. names: the regions', if they have any."""
        lines = []
        for number, one in enumerate(self.regions):
            name = names[number] if number < len(names) else f"region {number + 1}"
            if one.form == "off":
                least = (
                    f" (least loss {np.nanmin(one.losses):.2f}, above {CUT})" if np.isfinite(one.losses).any() else ""
                )
                lines.append(f"{name}: its motion could not be found{least}; its frames are edited one by one")
                continue
            absent = np.flatnonzero(~one.present)
            if len(absent):
                lines.append(f"{name}: not seen in {frame_list(absent.tolist())}")
            cuts = np.flatnonzero((one.before < 0) & np.isfinite(one.losses))
            for f in cuts:
                lines.append(
                    f"{name}: no motion found that leads to frame {f} (loss {one.losses[f]:.2f}, above {CUT}); the "
                    "frames before and after it are edited apart"
                )
        return lines

    def bending(self, names: Sequence[str] = ()) -> list[str]:
        """One line for every region whose motion is dense, in words. names: as in `notes`."""
        lines = []
        for number, one in enumerate(self.regions):
            if one.form == "dense" and one.bends is not None:
                name = names[number] if number < len(names) else f"region {number + 1}"
                steps = np.flatnonzero(one.bends.any((0, 2, 3, 4)))
                lines.append(f"{name}: bends; its motion to {frame_list(steps.tolist())} is dense")
        return lines


def frame_list(frames: Sequence[int]) -> str:
    """ "frame 3", "frames 3, 5-7"."""
    runs: list[list[int]] = []
    for f in map(int, frames):
        if runs and runs[-1][1] == f - 1:
            runs[-1][1] = f
        else:
            runs.append([f, f])
    text = ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)
    return f"frame{'s' if len(frames) != 1 else ''} {text}"


def from_transforms(transforms: np.ndarray, present: np.ndarray | None = None) -> RegionMotion:
    """The motion whose transforms from frame 0 are known: float64 [F, 3, 3]. present: bool [F], all of them if None."""
    count = len(transforms)
    present = np.ones(count, bool) if present is None else np.asarray(present, bool)
    before, steps = np.full(count, -1), np.repeat(np.eye(3)[None], count, 0)
    last = -1
    for f in np.flatnonzero(present):
        before[f] = last
        if last >= 0:
            steps[f] = transforms[f] @ np.linalg.inv(transforms[last])
        last = f
    return RegionMotion(before, steps, np.where(before < 0, np.nan, 0.0), present)
