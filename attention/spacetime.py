"""Which frames a query may look at: attention over a clip as over one larger picture (method.md 3).

A batch is laid out [chunk, frame]: chunk = conditional or unconditional half, frame = frame of the clip.
The arrangement only moves frames about; it works on features, labels or anything else [chunk * F, T, ...],
and frames of different chunks never meet.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from einops import rearrange
from torch import Tensor

from .old_names import renamed
from .options import MODES


@renamed(anchors="key_frames")
@dataclass(frozen=True)
class SpaceTime:
    """Which frames every frame sees.

    Attributes:
        mode: "full" (every frame sees all frames; the paper's), "sparse_causal" (the first and the previous frame),
            "key_frames" (its own frame and `key_frames` evenly spaced others), "per_frame" (its own frame: the
            unchanged image model) or "full_coarse" ("key_frames" at the finest level of the model that has attention,
            where "full" costs most, and "full" at the others: no arrangement itself, `at` gives a level's).
        frames: F >= 1, frames of the clip in one chunk.
        key_frames: k >= 1, for "key_frames" and "full_coarse" only; k >= F - 1 sees every frame.

    Raises:
        ValueError: an unknown mode, frames < 1 or key_frames < 1; asking a "full_coarse" for an arrangement.
    """

    mode: str
    frames: int
    key_frames: int = 2

    def __post_init__(self):
        if self.mode not in MODES:
            raise ValueError(f"SpaceTime: mode must be one of {MODES}; got {self.mode!r}.")
        if self.frames < 1:
            raise ValueError(f"SpaceTime: frames must be >= 1; got {self.frames}.")
        if self.key_frames < 1:
            raise ValueError(
                f"SpaceTime: key_frames must be >= 1; got {self.key_frames}. For none use mode 'per_frame'."
            )

    def at(self, finest: bool) -> SpaceTime:
        """The arrangement of one level. finest: whether no other level of the model with attention has more tokens."""
        if self.mode != "full_coarse":
            return self
        return SpaceTime("key_frames" if finest else "full", self.frames, self.key_frames)

    @cached_property
    def seen(self) -> Tensor:
        """int64 [F, K]: the frames whose keys the queries of frame f see.

        Distinct in every row, but for the first two rows of "sparse_causal": there frame 0 stands twice, which
        softmax does not notice.
        """
        self._check_resolved()
        own = torch.arange(self.frames)
        if self.mode == "full":
            return own.repeat(self.frames, 1)
        if self.mode == "per_frame":
            return own[:, None]
        if self.mode == "sparse_causal":
            return torch.stack([torch.zeros_like(own), (own - 1).clamp(min=0)], dim=1)
        return torch.tensor([self._own_and_others(f) for f in range(self.frames)])

    def _own_and_others(self, frame: int) -> list[int]:
        count = min(self.key_frames, self.frames - 1)
        # The middles of `count` equal parts of the clip.
        others = [(2 * n + 1) * self.frames // (2 * count) for n in range(count)]
        row = [frame] + [f for f in others if f != frame]
        if frame in others:  # its own frame is not counted twice: the nearest other one stands in
            left = [f for f in range(self.frames) if f not in row]
            row.append(min(left, key=lambda f: (abs(f - frame), f)))
        return row

    def queries(self, x: Tensor) -> Tensor:
        """[chunk * F, T, ...] -> [chunk, F * T, ...] ("full") or unchanged (the other modes: one row per frame)."""
        self._check_rows(x)
        return rearrange(x, "(c f) t ... -> c (f t) ...", f=self.frames) if self.mode == "full" else x

    def keys(self, x: Tensor) -> Tensor:
        """[chunk * F, T, ...] -> [chunk, F * T, ...] ("full") or [chunk * F, K * T, ...], rows matching `queries`."""
        if self.mode == "full":
            return self.queries(x)
        self._check_rows(x)
        if self.mode == "per_frame":
            return x
        clips = rearrange(x, "(c f) t ... -> c f t ...", f=self.frames)
        return rearrange(clips[:, self.seen.to(x.device)], "c f k t ... -> (c f) (k t) ...")

    def restore(self, x: Tensor) -> Tensor:
        """The inverse of `queries`: back to [chunk * F, T, ...]."""
        self._check_resolved()
        if self.mode != "full":
            self._check_rows(x)
            return x
        if x.dim() < 2 or x.shape[1] % self.frames:
            raise ValueError(
                f"SpaceTime: expected [chunk, frames * tokens, ...] with {self.frames} frames; got {tuple(x.shape)}. "
                f"Pass what `queries` returned."
            )
        return rearrange(x, "c (f t) ... -> (c f) t ...", f=self.frames)

    def _check_resolved(self) -> None:
        if self.mode == "full_coarse":
            raise ValueError(
                "SpaceTime: 'full_coarse' is 'full' at some levels and 'key_frames' at the finest, no arrangement of "
                "its own; expected the one of a level. Call at(finest) first."
            )

    def _check_rows(self, x: Tensor) -> None:
        self._check_resolved()
        if x.dim() < 2 or x.shape[0] % self.frames:
            raise ValueError(
                f"SpaceTime: expected [chunk * frames, tokens, ...] with {self.frames} frames per chunk; "
                f"got {tuple(x.shape)}, whose first size is no multiple of {self.frames}. "
                f"Say how many frames this call really has (context windows bring fewer)."
            )
