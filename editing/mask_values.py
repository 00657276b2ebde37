"""What the stored values of mask pictures mean: the one place that decides which pixels of them are inside.

Files say nothing about it. So all pictures of one source (a folder, a video, the pages of a file) are looked at
together (``MaskSurvey``) before they are read (``MaskReading.mask``):

1. alpha is the mask where it varies;
2. else palette indices where the palette's colours are not grey: a tracker numbers its objects so, 0 is outside;
3. else the brightness, black outside and white inside.

A source that has two values alone is outside where it has the lower and inside where it has the higher one, whatever
they are: 0 and 1, 0 and 127, 0 and 255 of 65535. Small whole numbers are numbers of objects. All else is a soft mask.
Whatever is not the plain case, black and white or grey from 0 to the largest value, gives a note.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

MOST_IDS = 32
"""Whole numbers up to this are numbers of objects, not dark greys."""
# Lossy files are never quite black: video rounding leaves 1 of 255 levels in flat areas, JPEG and WebP up to 2
# (measured down to quality 50). Any value above 0 counts as touched, so without this margin of 5 levels, at black and
# at white, whole pictures would.
COMPRESSION_NOISE = 0.02
OPAQUE = 250  # of 255: alpha that nowhere falls below it says nothing
REACH = 2  # pixels: a hard edge is no wider after compression, to either side; what lies further off is a trace
_FLAT = 6  # of 255: a lossy picture is flat where its neighbours differ by no more

Note = Callable[[str], object]


@dataclass(frozen=True)
class StoredMask:
    """One picture as its file stores it.

    grey: the brightness, [H, W], bool, unsigned, int32 or float32. full: its value for white; None = a float file says
    nothing. alpha: uint8 [H, W] or None. indices, palette: uint8 [H, W] and [N, 3], or None. coloured: whether some
    pixel is not grey. lossy: compressed so that values are not exact.
    """

    grey: np.ndarray
    full: int | None = 255
    alpha: np.ndarray | None = None
    indices: np.ndarray | None = None
    palette: np.ndarray | None = None
    coloured: bool = False
    lossy: bool = False


@dataclass(frozen=True)
class MaskReading:
    """How the pictures of one source are read. channel: ``grey``, ``alpha`` or ``indices``. cut: inside is what lies
    above it, None = the mask is soft. white: the value for wholly inside, None = the channel's own largest."""

    channel: str = "grey"
    cut: float | None = None
    white: float | None = None

    def mask(self, picture: StoredMask) -> np.ndarray:
        """float32 [H, W] in [0, 1]."""
        stored = getattr(picture, self.channel)
        if stored is None:  # some pictures of a source have alpha, this one has none: wholly opaque
            return np.ones(picture.grey.shape, np.float32)
        values = stored.astype(np.float32)
        if self.cut is not None:
            return (values > self.cut).astype(np.float32)
        full = (picture.full if self.channel == "grey" else 255) or 1
        if not picture.lossy:
            return np.clip(values / (self.white or full), 0, 1)
        grey = without_noise(values / full)
        return without_traces(np.clip(grey / (self.white / full), 0, 1) if self.white else grey)


PLAIN = MaskReading()


@dataclass
class _Levels:
    """The values that one channel has over all pictures: the whole set while it is small, else None."""

    found: set[float] | None = field(default_factory=set)
    low: float = np.inf
    high: float = -np.inf

    def add(self, values: np.ndarray) -> None:
        self.low, self.high = min(self.low, float(values.min())), max(self.high, float(values.max()))
        if self.found is None:
            return
        few = levels_of(values)
        every = None if few is None else self.found | few
        self.found = None if every is None or len(every) > MOST_IDS + 1 else every


def levels_of(values: np.ndarray) -> set[float] | None:
    """The distinct values of a picture, or None where they are more than MOST_IDS and 0."""
    if values.dtype in (np.dtype(np.uint8), np.dtype(np.uint16)):
        found = np.flatnonzero(np.bincount(values.ravel()))
        return {float(value) for value in found} if len(found) <= MOST_IDS + 1 else None
    found, rest = set(), values.ravel()
    while len(rest):
        if len(found) > MOST_IDS:
            return None
        found.add(float(rest[0]))
        rest = rest[rest != rest[0]]
    return found


class MaskSurvey:
    """Looks at all pictures of a source (``add``), then says how they are read (``reading``)."""

    def __init__(self) -> None:
        self._grey: dict[int | None, _Levels] = {}  # by the value for white
        self._alpha = _Levels()
        self._colours: dict[int, tuple[int, ...]] = {}  # of the palettes' indices
        self._pictures = self._palettes = self._opaque = self._traces = 0
        self._lossy = self._coloured = self._mixed = False
        self._plateau, self._hard = 0.0, True

    def add(self, picture: StoredMask) -> None:
        """Look at one more picture. ValueError where it holds no numbers."""
        if picture.grey.dtype.kind == "f" and not np.isfinite(picture.grey).all():
            raise ValueError("holds values that are no numbers (NaN or infinite); expected 0 to 1; export it again")
        self._pictures += 1
        levels = self._grey.setdefault(picture.full, _Levels())
        levels.add(picture.grey.astype(np.uint8) if picture.grey.dtype == bool else picture.grey)
        self._coloured |= picture.coloured
        self._lossy |= picture.lossy
        if picture.alpha is None:
            self._opaque += 1
        else:
            self._alpha.add(picture.alpha)
        if picture.indices is not None and picture.palette is not None:
            self._palettes += 1
            for index in np.flatnonzero(np.bincount(picture.indices.ravel())).tolist():
                colour = tuple(picture.palette[index].tolist()) if index < len(picture.palette) else (0, 0, 0)
                self._mixed |= self._colours.setdefault(index, colour) != colour
        if picture.lossy and picture.full:
            grey = without_noise(picture.grey.astype(np.float32) / picture.full)
            self._traces += int((grey != without_traces(grey)).sum())
            plateau = _plateau(grey)
            self._plateau = max(self._plateau, plateau)
            self._hard &= plateau == 0 or _is_hard(np.clip(grey / plateau, 0, 1))

    def reading(self, note: Note) -> MaskReading:
        """How these pictures are read; ``note`` is told what is out of the ordinary.

        Raises:
            ValueError: pictures that cannot be read alike: palettes in which one index has several colours, numbers of
                objects in pictures of several bit depths.
        """
        solid, noise = [255.0] * bool(self._opaque), 2 * COMPRESSION_NOISE * 255 if self._lossy else 0
        spread = max(self._alpha.high, *solid, -1) - min(self._alpha.low, *solid, 256)
        if self._opaque < self._pictures and spread > noise and self._alpha.low < OPAQUE:
            if any(levels.low < levels.high for levels in self._grey.values()):
                note("the alpha channel is the mask (opaque = inside); the colours are not looked at")
            if solid:
                note(f"{self._opaque} of {self._pictures} pictures have no alpha channel: they are wholly inside")
                return MaskReading("alpha")
            return _two_valued("alpha", self._alpha, 255, note) or MaskReading("alpha")
        if self._palettes == self._pictures and self._is_numbered():
            if self._mixed:
                raise ValueError(
                    "the palettes differ from picture to picture, so their indices mean nothing; expected one palette; "
                    "save grey pictures with 255 inside"
                )
            used = sorted(index for index in self._colours if index)
            note(f"the palette's indices are the mask: 0 is outside, {_listed(used)} inside{_one_of(used)}")
            return MaskReading("indices", cut=0.5)
        readings = {full: self._brightness(full, note) for full in self._grey}
        if len(readings) > 1 and any(reading != PLAIN for reading in readings.values()):
            raise ValueError(
                f"has pictures of several depths (white is {' and '.join(map(str, readings))}), which are not black "
                "and white; expected one depth; save them all alike, with 255 inside"
            )
        return next(iter(readings.values()), PLAIN)

    def _is_numbered(self) -> bool:
        """Whether indices, not brightness, tell the pixels apart: a colour that is not grey, or one colour twice."""
        grey = {colour for colour in self._colours.values() if max(colour) - min(colour) == 0}
        return len(grey) < len(self._colours)

    def _brightness(self, full: int | None, note: Note) -> MaskReading:
        """The reading of the pictures in which white is ``full``."""
        levels, high = self._grey[full], self._grey[full].high
        two = _two_valued("grey", levels, full, note)
        if two is not None:
            return two
        if high > levels.low > 2 * COMPRESSION_NOISE * (full or 1):
            note(f"has no value below {levels.low:.4g} of {full or 1}, so nothing is outside; expected black there")
        if self._lossy:
            return self._compressed(full, note)
        if self._coloured:
            few = "" if levels.found is None else f", {len(levels.found)} flat ones"
            what = "what is not black is inside" if few else "its brightness is the mask"
            note(f"is in colour{few}: {what}; give it as `labels` with `colour` for one object alone")
            return MaskReading(cut=0.5) if few else PLAIN
        if levels.found and levels.low >= 0 and high <= MOST_IDS and all(value == int(value) for value in levels.found):
            used = sorted(int(value) for value in levels.found if value)
            note(f"holds the numbers {_listed(used)}: all of them are inside{_one_of(used)}")
            return MaskReading(cut=0.5)
        if full is None:
            if levels.low < 0:
                note(f"has values down to {levels.low:.3g}: below 0 is outside")
            if high <= 1:
                return PLAIN
            note(f"has values up to {high:.6g}: this counts as wholly inside")
            return MaskReading(white=high)
        if full > 255 and 0 < high <= 255:
            note(f"holds 8-bit values in 16 bits: 255, not {full}, counts as wholly inside")
            return MaskReading(white=255.0)
        small = sorted(value for value in levels.found or () if 0 < value <= MOST_IDS)
        if small and high == full and not any(MOST_IDS < value < full for value in levels.found or ()):
            note(
                f"holds {_listed([int(value) for value in small])} besides black and white, which count as next to "
                "nothing; give them as `labels` with `id` where they number objects"
            )
        if 0 < high < full / 2:
            note(f"is dark: its brightest value is {high:g} of {full}, so nothing is wholly inside; expected {full}")
        return PLAIN

    def _compressed(self, full: int | None, note: Note) -> MaskReading:
        if self._coloured:
            note("is in colour: its brightness is the mask; expected black and white")
        if self._traces:
            note(
                "is compressed with loss, which left traces around its edges: those further off than "
                f"{REACH} pixels are taken out; lossless files (PNG, ffv1) are exact"
            )
        if full and self._hard and 0 < self._plateau < 0.75:
            white = self._plateau * full
            note(f"is dark: its flat parts reach {white:.0f} of {full}, which counts as wholly inside")
            return MaskReading(white=white)
        return PLAIN


def _two_valued(channel: str, levels: _Levels, full: int | None, note: Note) -> MaskReading | None:
    """The reading of a channel with one or two values alone; None for all others."""
    if levels.found is None or len(levels.found) > 2:
        return None
    low, high, white = levels.low, levels.high, 1 if full is None else full
    if low == high:
        if high not in (0, white) and (channel != "grey" or high > MOST_IDS or full is None or high < 0):
            return None  # one grey all over, which says nothing
        low = 0.0
    elif low > 0 and high - low < white / 8:
        return None
    if low == 0 and high in (0, white):
        return PLAIN if channel == "grey" else MaskReading(channel)
    note(f"has the values {low:g} and {high:g} alone (white would be {white}): {high:g} is inside")
    return MaskReading(channel, cut=(low + high) / 2)


def without_noise(grey: np.ndarray) -> np.ndarray:
    """Values in [0, 1] from lossy files, stretched so that COMPRESSION_NOISE at either end becomes exactly 0 and 1."""
    return np.clip((grey - COMPRESSION_NOISE) / (1 - 2 * COMPRESSION_NOISE), 0, 1)


def without_traces(mask: np.ndarray) -> np.ndarray:
    """A lossy mask float32 [H, W] in [0, 1] with hard edges, without what compression left around them.

    A mask with soft edges comes back as it is: there a trace cannot be told from the border.
    """
    near, core = _borders(mask)
    if not _is_hard(mask):
        return mask
    return np.where(core, np.float32(1), np.where(near, mask, np.float32(0)))


def _borders(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """bool [H, W] each: what is inside or at most REACH pixels from it; what is inside and further from outside."""
    import cv2

    around = np.ones((2 * REACH + 1, 2 * REACH + 1), np.uint8)
    inside = (mask >= 0.5).astype(np.uint8)
    return cv2.dilate(inside, around) > 0, cv2.erode(inside, around) > 0


def _is_hard(mask: np.ndarray) -> bool:
    """Whether a mask in [0, 1] goes from a quarter to three quarters within REACH pixels nearly everywhere."""
    near, core = _borders(mask)
    between = ((mask >= 0.25) & ~near) | ((mask <= 0.75) & core)
    return int(between.sum()) <= 0.1 * int((near & ~core).sum())


def flat(picture: np.ndarray, tolerance: int = _FLAT) -> np.ndarray:
    """bool [H, W]: where a picture uint8 [H, W] or [H, W, 3] and its 8 neighbours differ by at most ``tolerance``."""
    import cv2

    around = np.ones((3, 3), np.uint8)
    spread = cv2.dilate(picture, around).astype(np.int16) - cv2.erode(picture, around)
    return (spread if spread.ndim == 2 else spread.max(axis=2)) <= tolerance


def _plateau(mask: np.ndarray) -> float:
    """The brightest value that a lossy mask has in flat parts, 0 where it has none."""
    levels = np.round(mask * 255).astype(np.uint8)
    bright = levels[flat(levels) & (levels > 0)]
    return float(np.percentile(bright, 99)) / 255 if bright.size else 0.0


def _listed(numbers: list[int]) -> str:
    shown = ", ".join(map(str, numbers[:6]))
    return f"{shown}, ... {numbers[-1]}" if len(numbers) > 6 else shown or "nothing"


def _one_of(numbers: list[Any]) -> str:
    return "; give them as `labels` with `id` for one object alone" if len(numbers) > 1 else ""
