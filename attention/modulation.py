"""What a host calls inside its attention layers: tensors as they leave to_q, to_k, to_v go in, and come out attended.

A host knows its model; this module knows the method. It takes the batch apart into chunks (conditional and
unconditional halves), arranges the frames, turns the label map and the schedule into labels and strengths, and calls
`modulated_attention` for the halves that are modulated and the host's own attention for the others.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field, replace

import torch
from einops import rearrange
from torch import Tensor

from .fused import METHODS, Matched, attend_matched, in_one_pass, match_labels, plain_attention
from .kernels.choice import check_kernel
from .label_map import Grid, LabelMap
from .old_names import renamed
from .options import BACKGROUNDS, HALVES, ROLES
from .range_memory import RangeMemory
from .schedule import CROSS, SELF, Schedule
from .spacetime import SpaceTime

Plain = Callable[[Tensor, Tensor, Tensor, int], Tensor]
"""A host's own attention: (q, k, v, heads) -> out, all [B, tokens, heads * d]."""


def space_time_attention(
    q: Tensor, k: Tensor, v: Tensor, *, heads: int, spacetime: SpaceTime, plain: Plain | None = None
) -> Tensor:
    """Unmodulated self-attention over the frames that `spacetime` lets each frame see (method.md 3; inversion).

    Args:
        q, k, v: [chunk * F, T, heads * d].
        heads: number of heads.
        spacetime: the arrangement; its `frames` is F.
        plain: the host's attention; None = torch's.

    Returns:
        [chunk * F, T, heads * d].
    """
    out = (plain or plain_of_torch)(spacetime.queries(q), spacetime.keys(k), spacetime.keys(v), heads)
    return spacetime.restore(out)


@dataclass(frozen=True)
class _Level:
    """What the calls of one level of the UNet share, for one chunk: everything but xi(t).

    Attributes:
        labels: of queries and keys, [rows, tokens] each.
        size_term: 1 - S_i of every query (1 or 0 for a neutral background), float32 [rows, tokens].
        factor: by which background and region_strength multiply c_i, float32 [rows, tokens].
        by_label: float32 [2, n]: size_term and factor of every label that has a token.
    """

    labels: Matched
    size_term: Tensor
    factor: Tensor
    by_label: Tensor

    def bias(self, xi: float) -> tuple[Matched, Tensor] | None:
        """The labels, and c_i = xi times size_term times the label's factor, float32 [rows, tokens]; None where it is 0
        everywhere.

        In [0, 1) because xi is (Schedule), and 1 - S and the factors lie in [0, 1]: nobody need check it per token.
        """
        if not bool((xi * self.by_label[0] * self.by_label[1] > 0).any()):
            return None
        return self.labels, xi * self.size_term * self.factor


@renamed(layout="label_map", range_rule="range_steps", self_marks="self_bias", cross_marks="cross_bias")
@dataclass(frozen=True, eq=False)
class Modulation:
    """The edit, as the attention layers see it. Immutable; what it remembers between calls follows from its fields.

    Attributes:
        label_map: the regions of the frames of one chunk.
        text_labels: int64 [L], region k = 1..R of each text token, 0 = start token, -1 = none (`text_labels`).
        self_schedule, cross_schedule: xi(t) of self- and cross-attention.
        self_halves, cross_halves: which halves of a classifier-free-guidance batch are modulated: "both", "cond"
            or "uncond" (the paper does not say; method.md 5).
        background: what background queries match in cross-attention. "neutral": the start token, whose embedding says
            nothing of the prompt, with c = xi whatever the background's size (0 in a frame without regions), so that
            nothing of the phrases is drawn there ("paper" where no text label is 0); "paper": no token, all keys are
            negative; "free": they are left as they are.
        region_strength: a factor in [0, 1] on c for the queries of each region; None = all 1.
        method: "fused" or "reference" (see `modulated_attention`).
        range_steps: so many noise levels in a row share the logit range of self-attention (range_memory.py), >= 1;
            1 = it is measured in every call, which is exact; for "fused".
        kernel: which attention kernel computes the modulated calls (kernels/choice.py); for "fused".

    Raises:
        ValueError: text labels of regions that the label map does not have, an unknown option, or a kernel that needs a
            package which is not there.
    """

    label_map: LabelMap
    text_labels: Tensor
    self_schedule: Schedule = SELF
    cross_schedule: Schedule = CROSS
    self_halves: str = "both"
    cross_halves: str = "cond"
    background: str = "neutral"
    region_strength: tuple[float, ...] | None = None
    method: str = "fused"
    range_steps: int = 1
    kernel: str = "auto"
    # Levels by grid and keys. Two threads may both fill an entry; they write equal values, and one dict assignment is
    # atomic. `replace` and `select` start with an empty one.
    _levels: dict[tuple, _Level] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self):
        _check_text_labels(self.text_labels, self.label_map.regions)
        for name, value, legal in (
            ("self_halves", self.self_halves, HALVES),
            ("cross_halves", self.cross_halves, HALVES),
            ("background", self.background, BACKGROUNDS),
            ("method", self.method, METHODS),
        ):
            if value not in legal:
                raise ValueError(f"Modulation: {name} must be one of {legal}; got {value!r}.")
        try:
            check_kernel(self.kernel)
        except ValueError as error:
            raise ValueError(f"Modulation: {error}") from error
        factors = self.region_strength
        if factors is not None and (len(factors) != self.label_map.regions or not all(0 <= f <= 1 for f in factors)):
            raise ValueError(
                f"Modulation: region_strength must be {self.label_map.regions} factors in [0, 1], one per region; "
                f"got {list(factors)}."
            )
        if self.range_steps < 1:
            raise ValueError(f"Modulation: range_steps must be >= 1; got {self.range_steps}. 1 keeps nothing.")

    def __deepcopy__(self, memo) -> Modulation:
        return self  # immutable; hosts deep-copy their options on every clone

    def select(self, frame_indices: Iterable[int]) -> Modulation:
        """The same edit for some of the frames (context windows); indices in the order of the call's batch."""
        return replace(self, label_map=self.label_map.select(frame_indices))

    def self_attention(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        *,
        heads: int,
        grid: Grid,
        roles: tuple[str, ...],
        t: float,
        spacetime: SpaceTime,
        plain: Plain | None = None,
        ranges: RangeMemory | None = None,
        place: Hashable = None,
    ) -> Tensor:
        """Space-time self-attention; every token, the background's too, attends more to tokens of its own label.

        Args:
            q, k, v: [chunk * F, h * w, heads * d].
            heads: number of heads.
            grid: (h, w) of this level, as the host knows it (never guessed from the number of tokens).
            roles: one "cond" or "uncond" per chunk, in the batch's order.
            t: noise level, timestep / 1000.
            spacetime: which frames see which; its `frames` is F. Never "full_coarse" itself: its `at(finest)`.
            plain: the host's attention for what is not modulated; None = torch's.
            ranges, place: what is kept during a run where range_steps > 1, and where this call's range belongs in it
                (`RangeMemory.find`). Without them it is measured in every call.

        Returns:
            [chunk * F, h * w, heads * d]. Where nothing is modulated (t outside the schedule, strength 0, one label
            alone) exactly what `space_time_attention` returns.
        """
        self._check_batch("self_attention", q, heads, grid, roles, spacetime.frames)
        if k.shape != q.shape or v.shape != q.shape:
            raise ValueError(
                f"self_attention: q, k and v must have one shape; got {tuple(q.shape)}, {tuple(k.shape)}, "
                f"{tuple(v.shape)}. For text keys call cross_attention."
            )
        frames = spacetime.frames
        active = _chunks(roles, self.self_halves)
        labels, strength = self.self_bias(roles, grid=grid, t=t, spacetime=spacetime) or (None, None)

        def unmodulated(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            return space_time_attention(q, k, v, heads=heads, spacetime=spacetime, plain=plain)

        def modulated(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            assert labels is not None  # `_by_chunk` comes here only with both
            assert strength is not None
            q, k, v = (_split_heads(x, heads) for x in (spacetime.queries(q), spacetime.keys(k), spacetime.keys(v)))
            known = None  # measured in the call
            save = labels.count and self.range_steps > 1 and self.method == "fused"
            if save and ranges is not None and place is not None and not in_one_pass(q, self.kernel):
                known = ranges.find(self.range_steps, place, t, q, k)
            out = attend_matched(
                q,
                k,
                v,
                labels.repeat(len(active)),
                strength.repeat(len(active), 1),
                self.method,
                logit_range=known,
                kernel=self.kernel,
            )
            return spacetime.restore(_merge_heads(out))

        return _by_chunk(q, k, v, len(roles), frames, active, strength, modulated, unmodulated)

    def cross_attention(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        *,
        heads: int,
        grid: Grid,
        roles: tuple[str, ...],
        t: float,
        frames: int,
        plain: Plain | None = None,
        text_labels: Tensor | None = None,
    ) -> Tensor:
        """Cross-attention; tokens of region k attend more to the words of its phrase, and less to all others; those of
        the background as `background` says.

        Args:
            q: [chunk * F, h * w, heads * d]; k, v: [chunk * F, L, heads * d].
            heads, grid, roles, t, plain: as in `self_attention`.
            frames: F.
            text_labels: int64 [L] of this call's keys where they are not self.text_labels: a host that repeats or
                pads the text embedding repeats or pads (with -1) its labels likewise.

        Returns:
            [chunk * F, h * w, heads * d]. Where nothing is modulated exactly what `plain` returns.
        """
        self._check_batch("cross_attention", q, heads, grid, roles, frames)
        words = self.text_labels if text_labels is None else text_labels
        if text_labels is not None:
            _check_text_labels(words, self.label_map.regions)
        if k.shape != (q.shape[0], len(words), q.shape[2]) or v.shape != k.shape:
            raise ValueError(
                f"cross_attention: k and v must be [chunk * frames, text tokens, channels] = "
                f"{[q.shape[0], len(words), q.shape[2]]}; got {list(k.shape)} and {list(v.shape)}. "
                f"Where the host repeats or pads the text, pass text_labels repeated or padded likewise."
            )
        active = _chunks(roles, self.cross_halves)
        labels, strength = self.cross_bias(roles, grid=grid, t=t, text_labels=text_labels) or (None, None)

        def unmodulated(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            return (plain or plain_of_torch)(q, k, v, heads)

        def modulated(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            assert labels is not None  # `_by_chunk` comes here only with both
            assert strength is not None
            q, k, v = (_split_heads(x, heads) for x in (q, k, v))
            out = attend_matched(
                q,
                k,
                v,
                labels.repeat(len(active)),
                strength.repeat(len(active), 1),
                self.method,
                kernel=self.kernel,
            )
            return _merge_heads(out)

        return _by_chunk(q, k, v, len(roles), frames, active, strength, modulated, unmodulated)

    def self_bias(
        self, roles: tuple[str, ...], *, grid: Grid, t: float, spacetime: SpaceTime
    ) -> tuple[Matched, Tensor] | None:
        """Labels and strengths c_i of one chunk of self-attention; None where none of the roles is modulated at t.

        Rows in the order of `spacetime.queries`: float32 [1, F * h * w] ("full") or [F, h * w]. On the CPU.
        """
        xi = self.self_schedule.xi(t)
        if xi == 0 or not _chunks(roles, self.self_halves):
            return None
        return self._self_level(grid, spacetime).bias(xi)

    def cross_bias(
        self, roles: tuple[str, ...], *, grid: Grid, t: float, text_labels: Tensor | None = None
    ) -> tuple[Matched, Tensor] | None:
        """Labels and strengths c_i, float32 [F, h * w], of one chunk of cross-attention; None as in `self_bias`."""
        xi = self.cross_schedule.xi(t)
        if xi == 0 or not _chunks(roles, self.cross_halves):
            return None
        return self._cross_level(grid, text_labels).bias(xi)

    def _self_level(self, grid: Grid, spacetime: SpaceTime) -> _Level:
        key = (*grid, spacetime)
        if key not in self._levels:
            labels = self.label_map.labels(grid)
            matched = match_labels(spacetime.queries(labels), spacetime.keys(labels))
            size_term, factor, by_label = self._measure(grid, "clip", background=1.0)
            self._levels[key] = _Level(matched, spacetime.queries(size_term), spacetime.queries(factor), by_label)
        return self._levels[key]

    def _cross_level(self, grid: Grid, text_labels: Tensor | None) -> _Level:
        key = (*grid, None if text_labels is None else tuple(text_labels.tolist()))
        if key not in self._levels:
            words = (self.text_labels if text_labels is None else text_labels).cpu()
            neutral = self.background == "neutral" and bool((words == 0).any())
            if not neutral:
                words = torch.where(words == 0, -1, words)
            matched = match_labels(self.label_map.labels(grid), words.expand(self.label_map.frames, -1))
            # 1 - S leaves next to nothing of c where the background is large, just where objects must be kept out.
            factor = 0.0 if self.background == "free" else 1.0
            self._levels[key] = _Level(matched, *self._measure(grid, "frame", factor, sized_background=not neutral))
        return self._levels[key]

    def _measure(
        self, grid: Grid, within: str, background: float, sized_background: bool = True
    ) -> tuple[Tensor, Tensor, Tensor]:
        """`size_term`, `factor` (both [F, h * w]) and `by_label` of a `_Level`."""
        labels = self.label_map.labels(grid)
        size_term = (1 - self.label_map.shares(grid, within)).clamp(0, 1)
        if not sized_background:
            size_term[:, 0] = (size_term[:, 0] > 0).float()  # a frame without any region stays as it is
        factor = torch.tensor([background, *(self.region_strength or [1.0] * self.label_map.regions)]).expand_as(
            size_term
        )
        present = self.label_map.shares(grid, "frame") > 0
        return size_term.gather(1, labels), factor.gather(1, labels), torch.stack([size_term[present], factor[present]])

    def _check_batch(self, where: str, q: Tensor, heads: int, grid: Grid, roles: tuple[str, ...], frames: int) -> None:
        unknown = [role for role in roles if role not in ROLES]
        if not roles or unknown:
            raise ValueError(f"{where}: roles must be one of {ROLES} per chunk of the batch; got {tuple(roles)}.")
        if frames != self.label_map.frames:
            raise ValueError(
                f"{where}: the call has {frames} frames, the label map has {self.label_map.frames}; expected equal "
                "numbers. For a context window pass modulation.select(its frame indices); for masks of one frame "
                "normalise_mask(mask, frames, name) first."
            )
        tokens = grid[0] * grid[1]
        if q.dim() != 3 or q.shape[0] != len(roles) * frames or q.shape[1] != tokens or q.shape[2] % heads:
            raise ValueError(
                f"{where}: expected q [{len(roles)} chunks * {frames} frames, {grid[0]} * {grid[1]} tokens, "
                f"{heads} heads * d]; got {tuple(q.shape)}. Check roles, frames, grid and heads."
            )


def _by_chunk(q, k, v, chunks, frames, active, strength, modulated, unmodulated) -> Tensor:
    """Send the active chunks one way and the rest the other; each way is one call."""
    if strength is None:
        return unmodulated(q, k, v)
    if len(active) == chunks:
        return modulated(q, k, v)
    resting = [n for n in range(chunks) if n not in active]
    out = q.new_empty(chunks, frames, *q.shape[1:])
    for which, attend in ((active, modulated), (resting, unmodulated)):
        if which == list(range(which[0], which[-1] + 1)):
            which = slice(which[0], which[-1] + 1)  # neighbours: a view
        some = (x.unflatten(0, (chunks, frames))[which].flatten(0, 1) for x in (q, k, v))
        out[which] = attend(*some).unflatten(0, (-1, frames))
    return out.flatten(0, 1)


def _chunks(roles: tuple[str, ...], halves: str) -> list[int]:
    return [n for n, role in enumerate(roles) if halves in ("both", role)]


def _split_heads(x: Tensor, heads: int) -> Tensor:
    return rearrange(x, "b n (h d) -> b h n d", h=heads)


def _merge_heads(x: Tensor) -> Tensor:
    return rearrange(x, "b h n d -> b n (h d)")


def plain_of_torch(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """torch's attention in the form of a host's (`Plain`)."""
    return _merge_heads(plain_attention(*(_split_heads(x, heads) for x in (q, k, v))))


def _check_text_labels(labels: Tensor, regions: int) -> None:
    legal = labels.dtype == torch.int64 and labels.dim() == 1 and len(labels) > 0
    if not legal or int(labels.min()) < -1 or int(labels.max()) > regions:
        got = labels.unique().tolist() if legal else f"{labels.dtype} {list(labels.shape)}"
        raise ValueError(
            f"Modulation: text_labels must be int64 [text tokens] with values 1..{regions} (the label map's regions), "
            f"0 for start tokens or -1 for none; got {got}. Build them with text_labels()."
        )
