"""One attention layer of one network call, and the order of what happens in it, for every host and model family:

    observe -> arrange in space and time -> bias -> attend -> restore

Observers are shown q and k as the model makes them (`show`), before anything is arranged. The rest is `attend_self` and
`attend_cross`. A host makes one Layer for each call of a layer and hands it q, k and v; it computes nothing itself but
its own plain attention.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor

from .label_map import Grid
from .modulation import Modulation, Plain, plain_of_torch, space_time_attention
from .observer import LayerCall, Observer
from .range_memory import RangeMemory
from .spacetime import SpaceTime


@dataclass(frozen=True)
class TokenGrid:
    """Where the tokens of one chunk lie: `frames` grids of height * width tokens, row by row, frame after frame.

    A UNet has a batch row for each frame, q [chunk * F, h * w, C], and neither prefix nor suffix. A video transformer
    has one for each chunk, q [chunk, prefix + F * h * w + suffix, C]; the tokens of no frame (references, registers)
    stand before and behind.

    Raises:
        ValueError: frames, height or width below 1, prefix or suffix below 0.
    """

    frames: int
    height: int
    width: int
    prefix: int = 0
    suffix: int = 0

    def __post_init__(self):
        if min(self.frames, self.height, self.width) < 1 or min(self.prefix, self.suffix) < 0:
            raise ValueError(f"TokenGrid: frames and sides must be >= 1, prefix and suffix >= 0; got {self}.")

    @property
    def grid(self) -> Grid:
        """(h, w)."""
        return self.height, self.width

    @property
    def others(self) -> int:
        """How many tokens of no frame there are."""
        return self.prefix + self.suffix

    @property
    def length(self) -> int:
        """Tokens of one chunk, those of no frame included."""
        return self.frames * self.height * self.width + self.others

    def frames_of(self, x: Tensor) -> Tensor:
        """[chunk, length, C] -> [chunk * F, h * w, C] without the tokens of no frame."""
        own = x[:, self.prefix : self.length - self.suffix]
        return rearrange(own, "c (f t) d -> (c f) t d", f=self.frames)


@dataclass(frozen=True, eq=False)
class Layer:
    """One self- or cross-attention layer of one network call.

    Attributes:
        attention_type: "self" or "cross".
        tokens: the layer's grid, as the host knows it (never guessed from a number of tokens); of the chunks at hand.
        size: (h, w) of the latent.
        t: noise level in [0, 1] (`Levels.t`).
        roles: one "cond" or "uncond" per chunk, in the batch's order.
        spacetime: which frames see which in self-attention, of this layer (`SpaceTime.at`); None = each its own, and
            in the one row of a video transformer all, which is also the only one that is possible there.
        modulation: for exactly these frames; None = plain attention.
        plain: the host's own attention; None = torch's.
        frames: which frames of the clip these are (a context window), in their order; None = all of them.
        text_labels: int64 [L] of this call's text keys where they are not the modulation's.
        ranges, place: as in `Modulation.self_attention`; place = what a range measured here belongs to.
    """

    attention_type: str
    tokens: TokenGrid
    size: Grid
    t: float
    roles: tuple[str, ...]
    spacetime: SpaceTime | None = None
    modulation: Modulation | None = None
    plain: Plain | None = None
    frames: tuple[int, ...] | None = None
    text_labels: Tensor | None = None
    ranges: RangeMemory | None = None
    place: Hashable = None

    def attend_self(self, q: Tensor, k: Tensor, v: Tensor, heads: int, part: int | None = None) -> Tensor:
        """Self-attention of all chunks.

        Args:
            q, k, v: [chunk * F, h * w, heads * d], or of a video transformer [chunk, length, heads * d].
            heads: number of heads.
            part: which half of the heads this is, where the memory does not suffice for all (`within_memory`).

        Returns:
            As q; where nothing is modulated exactly what the host's attention gives.

        Raises:
            ValueError: modulated tokens beside tokens of no frame: these keys would have to stay as they are. One row
                of all frames, and another `spacetime` than "full" or None.
        """
        one_row, steered = self._one_row(q), self._steers_self()
        spacetime = self._spacetime(one_row)
        if one_row and not steered:
            return (self.plain or plain_of_torch)(q, k, v, heads)
        if one_row and self.tokens.others:
            raise ValueError(
                f"self-attention over {self.tokens.others} tokens that belong to no frame cannot be modulated: set "
                "the strength of self-attention to 0; cross-attention needs no such thing."
            )
        if one_row:
            q, k, v = (self.tokens.frames_of(x) for x in (q, k, v))
            return self._merged(self._self(q, k, v, heads, part, spacetime))
        return self._self(q, k, v, heads, part, spacetime)

    def attend_cross(self, q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
        """Cross-attention of all chunks; k, v: [chunk * F, L, heads * d] or [chunk, L, heads * d], else as above."""
        plain = self.plain or plain_of_torch
        if self.modulation is None:
            return plain(q, k, v, heads)
        if not self._one_row(q):
            return self._cross(q, k, v, heads)
        if self.modulation.cross_schedule.xi(self.t) == 0:
            return plain(q, k, v, heads)
        own = self._cross(self.tokens.frames_of(q), self._each_frame(k), self._each_frame(v), heads)
        own = self._merged(own)
        if not self.tokens.others:
            return own
        first, last = self.tokens.prefix, self.tokens.length - self.tokens.suffix
        rest = plain(torch.cat([q[:, :first], q[:, last:]], dim=1), k, v, heads)
        return torch.cat([rest[:, :first], own, rest[:, first:]], dim=1)

    def show(self, q: Tensor, k: Tensor, heads: int, observers: Iterable[Observer]) -> None:
        """Show q and k of the conditional chunk (shapes as above); nothing where there is none.

        observers: those that want this layer (`wanting`). ValueError for a `spacetime` as in `attend_self`.
        """
        observers = tuple(observers)
        if not observers or "cond" not in self.roles:
            return
        chunk, is_self = self.roles.index("cond"), self.attention_type == "self"
        one_row, bias = self._one_row(q), None
        spacetime = self._spacetime(one_row) if is_self else None
        if one_row:
            q = self.tokens.frames_of(q[chunk : chunk + 1])
            k = self.tokens.frames_of(k[chunk : chunk + 1]) if is_self else self._each_frame(k[chunk : chunk + 1])
        else:
            rows = slice(chunk * self.tokens.frames, (chunk + 1) * self.tokens.frames)
            q, k = q[rows], k[rows]
        where = {"grid": self.tokens.grid, "t": self.t}
        if self.modulation is not None and spacetime is not None:
            bias = self.modulation.self_bias(("cond",), **where, spacetime=spacetime)
        elif self.modulation is not None:
            bias = self.modulation.cross_bias(("cond",), **where, text_labels=self.text_labels)
        labels, strength = bias or (None, None)
        if spacetime is not None and strength is not None:
            strength = spacetime.restore(strength)
        shown = LayerCall(
            self.attention_type,
            q,
            k,
            heads,
            self.tokens.grid,
            self.size,
            self.t,
            self.frames,
            spacetime,
            labels,
            strength,
        )
        for observer in observers:
            observer.add(shown)

    def _self(self, q, k, v, heads: int, part: int | None, spacetime: SpaceTime) -> Tensor:
        if self.modulation is None:
            return space_time_attention(q, k, v, heads=heads, spacetime=spacetime, plain=self.plain)
        return self.modulation.self_attention(
            q,
            k,
            v,
            heads=heads,
            grid=self.tokens.grid,
            roles=self.roles,
            t=self.t,
            spacetime=spacetime,
            plain=self.plain,
            ranges=self.ranges,
            place=None if self.place is None else (self.place, part),
        )

    def _cross(self, q, k, v, heads: int) -> Tensor:
        assert self.modulation is not None  # `attend_cross` asks
        return self.modulation.cross_attention(
            q,
            k,
            v,
            heads=heads,
            grid=self.tokens.grid,
            roles=self.roles,
            t=self.t,
            frames=self.tokens.frames,
            plain=self.plain,
            text_labels=self.text_labels,
        )

    def _one_row(self, q: Tensor) -> bool:
        """Whether a chunk is one row of the batch, as in a video transformer; for one frame alone it is both."""
        joined = self.tokens.frames > 1 or self.tokens.others > 0
        return joined and q.shape[:2] == (len(self.roles), self.tokens.length)

    def _steers_self(self) -> bool:
        return self.modulation is not None and self.modulation.self_schedule.xi(self.t) > 0

    def _spacetime(self, one_row: bool) -> SpaceTime:
        if one_row:
            if self.spacetime is not None and self.spacetime.mode != "full":
                raise ValueError(
                    f"space-time attention {self.spacetime.mode!r} in a layer whose batch has one row for all "
                    f"{self.tokens.frames} frames, where every frame sees all; expected 'full'; set attention.mode "
                    "(of the node: spacetime) to full."
                )
            return SpaceTime("full", self.tokens.frames)
        return self.spacetime or SpaceTime("per_frame", self.tokens.frames)

    def _each_frame(self, x: Tensor) -> Tensor:
        """[chunk, L, C] -> [chunk * F, L, C]."""
        return x.repeat_interleave(self.tokens.frames, dim=0)

    def _merged(self, x: Tensor) -> Tensor:
        """[chunk * F, h * w, C] -> [chunk, F * h * w, C]."""
        return rearrange(x, "(c f) t d -> c (f t) d", f=self.tokens.frames)


def wanting(
    observers: Iterable[Observer], attention_type: str, grid: Grid, size: Grid, t: float
) -> tuple[Observer, ...]:
    """Those of the observers that want a layer, each asked once."""
    return tuple(one for one in observers if one.wants(attention_type, grid, size, t))
