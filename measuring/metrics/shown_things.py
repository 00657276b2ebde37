"""What an edit of a real clip shows of its regions, told from the source's own background; and how steady that is.

Nobody knows how the new thing should look. But the source tells what its background looks like, also behind its things
where another frame shows it, and what differs from that near a region is what the edit shows there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from ...editing.fusion import FAINT, KEY, RIM, background, contrast, own_contrast, widened
from ...editing.motion.clip_motion import clip_motion
from ...editing.motion.optical_flow import ClipFlow
from ...editing.motion.value import Motion
from ...editing.regions import Region, sized_masks
from ...editing.steady import signed, unsigned
from .embeddings import seen_regions
from .pixels import MARGIN, dilated
from .steadiness import GONE, HIDDEN, absences, centre, colour_flicker, jitter, own_warp_error, pieces

SIDE = 256  # pixels of the shorter side at which this is looked at: larger frames are shrunk
UNSURE = 0.5  # of a piece's border beside what is unknown of the background: from there on its size says nothing
SAME_COLOUR, SAME_FORM = 32, 0.7  # levels of 255 at most, intersection over union at least: the same thing as before


@dataclass(frozen=True)
class Steadiness:
    """own: `own_warp_error`; centre: in pixels; size: a share; flicker: in levels of 255; identity: share of the times
    that a thing was away and came back as it was. nan = nothing to count."""

    own: float
    centre: float
    size: float
    flicker: float
    identity: float


@dataclass(frozen=True, eq=False)
class Things:
    """A source's side of it, made once for all its edits (`of`).

    All is at SIDE where the source is larger. scale: the source's side over that.
    motion: of all regions; flow: the source's, valid only where no region is; behind: uint8 [F, H, W, 3], the source
    without its things; known: bool [F, H, W], where some frame shows that, and it is not painted in from around; seen,
    reach: bool [K, F, H, W], what is visible of the regions, and where what they show may lie; whole: int [K, F],
    pixels of their masks; edited: indices.
    """

    scale: float
    motion: Motion
    flow: ClipFlow
    behind: np.ndarray
    known: np.ndarray
    seen: np.ndarray
    reach: np.ndarray
    whole: np.ndarray
    edited: tuple[int, ...]

    @classmethod
    def of(cls, source: np.ndarray, regions: Sequence[Region], flow: ClipFlow, motion: Motion | None = None) -> Things:
        """source: uint8 [F, H, W, 3], F >= 2; regions: one or more, later ones on top; flow: the source's; motion: of
        source and regions, None = it is found here (`clip_motion`)."""
        height, width = source.shape[1:3]
        scale = max(1.0, min(height, width) / SIDE)
        size = (round(height / scale), round(width / scale))
        masks = torch.stack(sized_masks(regions, size, len(source)))
        if scale > 1:
            source, motion = _sized(source, size), motion and motion.resized(size)
            seen = (_sized(flow.valid, size) > 0.999).astype(np.float32)
            flow = ClipFlow(_sized(flow.backward, size) / np.float32(scale), seen, flow.name)
        motion = motion or clip_motion(source, list(masks))
        covered = dilated(masks.amax(0).numpy() > 0, RIM)
        behind, known = background(signed(source), motion, torch.from_numpy(covered)[None].float(), wide=False)
        return cls(
            scale,
            motion,
            replace(flow, valid=flow.valid * ~covered[1:]),
            _completed(unsigned(behind), ~known.numpy()),
            known.numpy(),
            np.stack(seen_regions(list(masks.numpy()))),
            widened(masks, MARGIN / scale).numpy() > 0,
            (masks > 0.5).sum((2, 3)).numpy(),
            tuple(k for k, region in enumerate(regions) if not region.preserve),
        )

    def shown(self, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What a clip shows of the regions, bool [K, F, H, W] (`pieces`), and in which frames its size and place can be
        told, bool [K, F]: not where it is hidden, nor where its border lies beside unknown background."""
        frames = _sized(frames, self.seen.shape[2:])
        apart = np.stack([_apart(frame, behind) for frame, behind in zip(frames, self.behind)])
        alike = np.zeros_like(self.seen)
        for k, reach in enumerate(self.reach):
            whole = own_contrast(torch.from_numpy(apart[reach & self.known]))
            if whole is not None:
                alike[k] = reach & (apart > max(FAINT, float(whole) * sum(KEY) / 2))
        shown = pieces(alike, self.seen)
        told = self.seen.sum((2, 3)) >= (1 - HIDDEN) * np.maximum(self.whole, 1)
        for k, f in np.argwhere(told & shown.any((2, 3))):
            border = shown[k, f] & dilated(~shown[k, f][None], 1)[0]
            beside = border & dilated(~self.known[f][None], 1)[0]
            told[k, f] = beside.sum() <= UNSURE * border.sum()
        return shown, told

    def steadiness(self, frames: np.ndarray) -> Steadiness:
        """The figures of a clip, uint8 [F, H, W, 3] like the source, over the edited regions."""
        frames = _sized(frames, self.seen.shape[2:])
        shown, told = self.shown(frames)
        mine = list(self.edited)
        outlines = np.where(shown.any((2, 3), keepdims=True), shown, self.seen)
        own = own_warp_error(frames, self.motion, outlines, self.flow)
        moved, resized = jitter(shown[mine], self.seen[mine], told[mine])
        return Steadiness(
            own,
            moved * self.scale,
            resized,
            colour_flicker(frames, self.seen[mine]),
            self._identity(frames, shown, told),
        )

    def _identity(self, frames: np.ndarray, shown: np.ndarray, told: np.ndarray) -> float:
        area = self.seen.sum((2, 3))
        usual = np.array([np.median(one[one > 0]) if one.any() else 0 for one in area])
        mine = np.isin(np.arange(len(area)), self.edited)[:, None]
        away = area < (1 - GONE) * usual[:, None]
        found = absences(away, told & shown.any((2, 3)) & mine)
        same = [_alike(frames, shown[k], before, after) for k, before, after in found]
        return float(np.mean(same)) if same else math.nan


def _alike(frames: np.ndarray, shown: np.ndarray, before: int, after: int) -> bool:
    """Whether a piece, bool [F, H, W], has the same mean colour and outline in two frames."""
    first, second = (frames[f][shown[f]].mean(0) for f in (before, after))
    if math.sqrt(((first - second) ** 2).mean()) > SAME_COLOUR:
        return False
    one, other = (shown[f] for f in (before, after))
    across, down = np.round(centre(one) - centre(other)).astype(int)
    rows, columns = np.nonzero(other)
    rows, columns = rows + down, columns + across
    inside = (rows >= 0) & (rows < one.shape[0]) & (columns >= 0) & (columns < one.shape[1])
    both = one[rows[inside], columns[inside]].sum()
    return bool(both >= SAME_FORM * (one.sum() + other.sum() - both))


def _sized(values: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """[F, H, W, ...] shrunk to (h, w) by area; as it is where it has that size."""
    import cv2

    if values.shape[1:3] == tuple(size):
        return values
    return np.stack([cv2.resize(one, tuple(size)[::-1], interpolation=cv2.INTER_AREA) for one in values])


def _completed(frames: np.ndarray, holes: np.ndarray) -> np.ndarray:
    """Frames uint8 [F, H, W, 3] whose holes, bool [F, H, W], are painted in from around (Telea 2004)."""
    import cv2

    return np.stack(
        [cv2.inpaint(frame, hole.astype(np.uint8), 3, cv2.INPAINT_TELEA) for frame, hole in zip(frames, holes)]
    )


def _apart(frame: np.ndarray, behind: np.ndarray) -> np.ndarray:
    return contrast(signed(frame[None]), signed(behind[None]))[0, 0].numpy()
