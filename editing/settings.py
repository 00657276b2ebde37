"""The settings of an edit, as frozen values that check themselves. Pure Python: importing this costs nothing.

One rule per field serves both users: a script that writes ``Attention(end=0.5)`` and the edit file, whose reader
(editfile.py) applies the same rules key by key in order to name the line of each mistake.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from ..attention.options import (
    BACKGROUNDS,
    HALVES,
    INVERSION_METHODS,
    KERNELS,
    LEVELS,
    MAP_LEVELS,
    MODES,
    RANGES,
    SAMPLER_NAMES,
    SCOPES,
)

if TYPE_CHECKING:
    from .windows import Windows

Rule = Callable[[Any], Any]


class SettingError(ValueError):
    """A setting has a value outside what is allowed. The text says what came, what was expected and the remedy."""


def show(value: Any) -> str:
    """A value as it is shown in messages: short, and with quotes round text."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def number(low: float, high: float = math.inf, *, whole: bool = False, example: float | None = None) -> Rule:
    """Rule: a finite number with low <= value <= high (a whole one if ``whole``); bool is not a number here."""
    kind = "a whole number" if whole else "a number"
    span = f"{kind} of {low:g} or more" if high == math.inf else f"{kind} from {low:g} to {high:g}"

    def rule(value: Any) -> float | int:
        good = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        if good and whole:
            good = value == int(value)
        if not good or not low <= value <= high:
            hint = low if example is None else example
            raise SettingError(f"{show(value)} is not allowed; expected {span}; write e.g. {hint:g}")
        return int(value) if whole else float(value)

    return rule


def choice(*names: str) -> Rule:
    """Rule: one of ``names``."""

    def rule(value: Any) -> str:
        if not isinstance(value, str) or value not in names:
            raise SettingError(f"{show(value)} is not allowed; expected one of {', '.join(names)}; choose one of them")
        return value

    return rule


def flag(value: Any) -> bool:
    """Rule: true or false."""
    if not isinstance(value, bool):
        raise SettingError(f"{show(value)} is not allowed; expected true or false; write true or false without quotes")
    return value


def text(value: Any) -> str:
    """Rule: text that is not empty."""
    if not isinstance(value, str) or not value.strip():
        raise SettingError(f"{show(value)} is not allowed; expected text; put it in quotes")
    return value


def maybe(rule: Rule) -> Rule:
    """Rule: None (= left out) or what ``rule`` allows."""
    return lambda value: None if value is None else rule(value)


def phrases(value: Any) -> tuple[str, ...] | None:
    """Rule: None (= left out) or a list of texts that are not empty; one text counts as a list of it."""
    if value is None:
        return None
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, (list, tuple)) or not items or not all(isinstance(i, str) and i.strip() for i in items):
        raise SettingError(f"{show(value)} is not allowed; expected a list of phrases; write e.g. [a man, sky]")
    return tuple(item.strip() for item in items)


def setting(default: Any, rule: Rule) -> Any:
    """A dataclass field with a default and the rule that its values obey."""
    return field(default=default, metadata={"rule": rule})


class Settings:
    """Base of the frozen dataclasses below: applies every field's rule when one is made."""

    def __post_init__(self) -> None:
        for item in fields(self):  # type: ignore[arg-type]
            try:
                value = item.metadata["rule"](getattr(self, item.name))
            except SettingError as error:
                raise SettingError(f"{type(self).__name__}.{item.name}: {error}") from None
            object.__setattr__(self, item.name, value)


@dataclass(frozen=True)
class Inversion(Settings):
    """How the clip is inverted (method.md 8).

    method: ``warm`` (default), ``ddim`` (the paper's) or ``fixed_point``; calls: extra network calls per step of
    ``fixed_point``, ignored by the others; steps: None = as many as the edit has; check: measure the round trip
    afterwards (as many network calls again as there are steps), so that the report can say how good it is.
    """

    method: str = setting("warm", choice(*INVERSION_METHODS))
    calls: int = setting(3, number(1, 20, whole=True, example=3))
    steps: int | None = setting(None, maybe(number(1, 1000, whole=True, example=50)))
    check: bool = setting(True, flag)


@dataclass(frozen=True)
class Sampling(Settings):
    """The denoising pass. The paper: 50 steps of DDIM at guidance 7.5; ``ddim`` and ``euler`` name one sampler.

    The samplers draw no noise and the pass starts at the inverted latent, so ``seed`` matters only where
    ``variation`` is above 0: that part of the starting noise inside the edited regions is drawn afresh from the
    seed (0 = the inverted noise, which carries the motion; 1 = fresh noise, the same in every frame).
    """

    steps: int = setting(50, number(1, 1000, whole=True, example=50))
    guidance: float = setting(7.5, number(1, 100, example=7.5))
    seed: int = setting(0, number(0, 2**63 - 1, whole=True, example=0))
    sampler: str = setting("euler", choice(*SAMPLER_NAMES))
    variation: float = setting(0.0, number(0, 1))


@dataclass(frozen=True)
class Attention(Settings):
    """Space-time attention and its modulation (method.md 3, 5).

    mode: which frames a query sees; anchors: number of key frames of ``key_frames`` and of ``full_coarse``, which is
    ``full`` but for the finest level, where it is ``key_frames``. self_strength, cross_strength: xi at t = 1 (paper .3
    and 1), falling with t ** power, active from ``start`` to ``end`` (fractions of the run). self_halves, cross_halves:
    which half of a guided batch is modulated. background: what its queries match in cross-attention: the start token,
    which says nothing (``neutral``); no token (``paper``); or they are left alone (``free``). splice: write separately
    encoded phrases into the global embedding (method.md 7). range: how the row range of self-attention is come by,
    ``exact``, ``reuse`` (measured once for ``range_steps`` noise levels) or ``sampled`` (from every ``range_every``-th
    key). kernel: what computes modulated attention (attention/kernels/choice.py).
    """

    mode: str = setting("full", choice(*MODES))
    anchors: int = setting(2, number(1, 64, whole=True, example=2))
    self_strength: float = setting(0.3, number(0, 1, example=0.3))
    cross_strength: float = setting(1.0, number(0, 1, example=1))
    power: float = setting(5.0, number(0, 20, example=5))
    start: float = setting(0.0, number(0, 1))
    end: float = setting(0.3, number(0, 1, example=0.3))
    self_halves: str = setting("both", choice(*HALVES))
    cross_halves: str = setting("cond", choice(*HALVES))
    background: str = setting("neutral", choice(*BACKGROUNDS))
    splice: bool = setting(True, flag)
    range: str = setting("exact", choice(*RANGES))
    range_steps: int = setting(3, number(1, 1000, whole=True, example=3))
    range_every: int = setting(8, number(1, 1024, whole=True, example=8))
    kernel: str = setting("auto", choice(*KERNELS))

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self)


@dataclass(frozen=True)
class WindowSettings(Settings):
    """How a clip is cut that is longer than the memory holds at once (editing/windows.py): frames: most frames of one
    call; overlap: frames that neighbours share at least; anchors: frames, evenly spread, that all windows see."""

    frames: int = setting(16, number(2, whole=True, example=16))
    overlap: int = setting(4, number(0, whole=True, example=4))
    anchors: int = setting(2, number(0, whole=True, example=2))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.overlap + self.anchors >= self.frames:
            raise SettingError(
                f"overlap {self.overlap} and anchors {self.anchors} leave none of {self.frames} frames; expected "
                "overlap + anchors < frames; raise frames, or lower one of the others"
            )

    def cut(self) -> Windows:
        """The same for the pipeline."""
        from .windows import Windows

        return Windows(self.frames, self.overlap, self.anchors)


@dataclass(frozen=True)
class Blend(Settings):
    """The latent blend with the inversion trajectory (method.md 10): start, end as fractions of the run;
    feather: width of the soft border in latent pixels, outside the regions."""

    enabled: bool = setting(True, flag)
    start: float = setting(0.0, number(0, 1))
    end: float = setting(1.0, number(0, 1, example=1))
    feather: float = setting(1.0, number(0, 64, example=1))

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self)


@dataclass(frozen=True)
class Composite(Settings):
    """The pixel composite after decoding: outside the regions grown by ``dilate`` and softened over another
    ``feather`` pixels, the source's pixels are put back bit for bit."""

    enabled: bool = setting(True, flag)
    dilate: int = setting(8, number(0, 512, whole=True, example=8))
    feather: int = setting(8, number(0, 512, whole=True, example=8))


def _clusters(value: Any) -> int:
    if value == 1 and not isinstance(value, bool):
        raise SettingError("1 is not allowed; expected 0 (chosen for you) or 2 to 64; write e.g. 3")
    return number(0, 64, whole=True, example=3)(value)


@dataclass(frozen=True)
class LayoutSettings(Settings):
    """How regions are found without masks, from the attention seen during the inversion (method.md 9).

    level: ``half`` the latent's side or ``full``; start, end: the part of the noise range that is averaged (0 = pure
    noise, 1 = clean); clusters: k of K-means, 0 = chosen between 2 and ``max_clusters`` by
    silhouette; scope, seed: of K-means; max_things: at most so many instances; min_area: of a thing, as a share of the
    picture; gap: for how many frames a thing may be hidden; smooth: borders guided by the frames; names: phrases of the
    source prompt that things are named by, None = its nouns; grow: pixels that masks reach further (negative: less
    far); videos: also one mp4 a mask.
    """

    level: str = setting("half", choice(*LEVELS))
    start: float = setting(0.0, number(0, 1))
    end: float = setting(1.0, number(0, 1, example=1))
    clusters: int = setting(0, _clusters)
    max_clusters: int = setting(8, number(2, 64, whole=True, example=8))
    scope: str = setting("joint", choice(*SCOPES))
    seed: int = setting(0, number(0, 2**32 - 1, whole=True, example=0))
    max_things: int = setting(8, number(1, 15, whole=True, example=8))  # as in the node: label pictures have 16 colours
    min_area: float = setting(0.01, number(0, 1, example=0.01))
    gap: int = setting(2, number(0, 1000, whole=True, example=2))
    smooth: bool = setting(True, flag)
    names: tuple[str, ...] | None = setting(None, phrases)
    grow: int = setting(0, number(-512, 512, whole=True, example=8))
    videos: bool = setting(False, flag)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self)


@dataclass(frozen=True)
class Pixel(Settings):
    """A pixel of the source video (x to the right, y down, both from 0) in a frame of the edit (counted from 0)."""

    frame: int = setting(0, number(0, whole=True, example=0))
    x: int = setting(0, number(0, whole=True, example=64))
    y: int = setting(0, number(0, whole=True, example=64))


def _pixel(value: Any) -> Pixel | None:
    if value is not None and not isinstance(value, Pixel):
        raise SettingError(f"{show(value)} is not allowed; expected a Pixel or None; write Pixel(frame=0, x=64, y=64)")
    return value


@dataclass(frozen=True)
class MapSettings(Settings):
    """Which attention of an edit is shown, as pictures and as shares.

    words: phrases of the prompt, None = the regions' phrases; pixel: whose self-attention over all frames is shown,
    None = no pixel's; level: of ``half`` or ``full`` the latent's side, or ``all`` layers; start, end: the part of the
    edit's steps that is averaged.
    """

    words: tuple[str, ...] | None = setting(None, phrases)
    pixel: Pixel | None = field(default=None, metadata={"rule": _pixel})
    level: str = setting("half", choice(*MAP_LEVELS))
    start: float = setting(0.0, number(0, 1))
    end: float = setting(0.3, number(0, 1, example=0.3))

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self)


def check_range(section: Any) -> None:
    """Raise SettingError unless section.start < section.end."""
    if section.start >= section.end:
        raise SettingError(
            f"start {section.start:g} is not before end {section.end:g}, so it would never be active; expected "
            "0 <= start < end <= 1; correct one of them"
        )
