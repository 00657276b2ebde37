"""Attention as heat on the frames: source, before and after modulation beside each other, as a video and as one sheet.

Before and after of one word share one colour scale, with its numbers on a bar: else they could not be compared. Pillow
and OpenCV, imported when used.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..attention_probe import AttentionMaps
from ..attention_shares import ShareTable
from .painting import GAP, INK, MUTED, PAPER, font, wrap
from .sheets import pick_columns

# Black, purple, orange, light yellow: lightness rises all the way, so that the order is seen without seeing the hues
# (anchors of matplotlib's inferno, made for that).
ANCHORS = (
    (0, 0, 4), (40, 11, 84), (101, 21, 110), (159, 42, 99), (212, 72, 66), (245, 125, 21), (250, 193, 39),
    (252, 255, 164),
)  # fmt: skip
THIN, DENSE = 0.45, 0.9  # opacity of no heat and of the most: the picture shines through where there is little
PANEL = 208  # pixels: width of one picture of the video
CELL, COLUMNS = 152, 4  # of the sheet
BAR = 132  # pixels: width of a colour bar
TOP = 99.5  # the percentile that a scale ends at: one hot token shall not darken all others
MARK = (0, 255, 255)
MEANING = {
    "%": "%: the share of a place's attention that goes to these words",
    "x": "1 x: as if the pixel looked at all places of the clip alike",
}


@dataclass(frozen=True, eq=False)
class Heat:
    """One row of pictures.

    title: the word, or the pixel. before, after: float32 [F, h, w], >= 0; after is None where nothing was modulated.
    unit: "%" (of shares in [0, 1]) or "x". outline: bool [F, H, W], drawn round the word's region, or None. mark:
    (frame, x, y), x and y in [0, 1): the pixel, or None. note: a line below.
    """

    title: str
    before: np.ndarray
    after: np.ndarray | None
    unit: str = "%"
    outline: np.ndarray | None = None
    mark: tuple[int, float, float] | None = None
    note: str = ""

    @property
    def top(self) -> float:
        """Where the scale ends, for before and after: two digits of nearly the highest value."""
        both = self.before if self.after is None else np.stack([self.before, self.after])
        high = float(np.percentile(both, TOP))
        if not (high > 0 and math.isfinite(high)):
            return 1.0
        unit = 10.0 ** (math.floor(math.log10(high)) - 1)
        return math.ceil(high / unit - 1e-6) * unit

    def number(self, value: float) -> str:
        """A value with its unit, as it stands at the bar."""
        return f"{100 * value:.3g} %" if self.unit == "%" else f"{value:.3g} x"


def heats(maps: AttentionMaps, masks: Sequence[np.ndarray] = (), table: ShareTable | None = None) -> list[Heat]:
    """The rows of some maps: one for each word, one for the pixel.

    masks: of region 1, 2, ..., float or bool [F, H, W]; outlined in their own word's row. table: its shares become the
    rows' notes where there are regions.
    """
    changed = maps.modulated > 0
    rows = []
    for n, phrase in enumerate(maps.phrases):
        outline = np.asarray(masks[phrase.region - 1]) > 0.5 if phrase.region and len(masks) else None
        number = f"{phrase.region}  " if phrase.region else ""
        after = maps.after[n].numpy() if changed else None
        note = table.rows[n].summary(changed) if table is not None and len(masks) else ""
        rows.append(Heat(f"{number}{phrase.text}", maps.before[n].numpy(), after, "%", outline, None, note))
    if maps.place is not None:
        place = maps.place
        rows.append(
            Heat(
                f"the ringed pixel (frame {place.frame})",
                maps.look_before.numpy(),
                maps.look_after.numpy() if changed else None,
                "x",
                mark=(place.frame, place.x, place.y),
            )
        )
    return rows


def colours(values: np.ndarray) -> np.ndarray:
    """Values in [0, 1] (cut off outside) as colours: float32 [..., 3] in 0 to 255."""
    at = np.linspace(0, 1, len(ANCHORS))
    return np.stack([np.interp(values, at, [a[c] for a in ANCHORS]) for c in range(3)], -1).astype(np.float32)


def overlay(picture: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Heat on a grey picture, uint8 [H, W, 3]. picture: uint8 [H, W, 3]; values: [h, w], 1 = the end of the scale."""
    import cv2

    large = cv2.resize(values.astype(np.float32), picture.shape[1::-1], interpolation=cv2.INTER_LINEAR).clip(0, 1)
    grey = picture.mean(axis=2, keepdims=True, dtype=np.float32)
    opacity = (THIN + (DENSE - THIN) * large)[..., None]
    return np.clip((1 - opacity) * grey + opacity * colours(large), 0, 255).astype(np.uint8)


def heat_video(rows: Sequence[Heat], frames: np.ndarray) -> np.ndarray:
    """Per frame: for each row its title, its scale, and the pictures source | before | after.

    Args:
        rows: of F frames.
        frames: uint8 [F, H, W, 3].

    Returns:
        uint8 [F, H', W', 3], sides even as video codecs want them.
    """
    names = ["source", *_names(rows)]
    size = (PANEL, _height(frames, PANEL))
    width = len(names) * (PANEL + GAP) + GAP
    text = font(width // 28)
    films = []
    for f, frame in enumerate(frames):
        parts = []
        for row in rows:
            panels = [_source(frame, size, row, f), *(_panel(frame, v[f], row, f, size) for v in _values(row))]
            parts += [_heading(row, width, text), _strip(panels, names, text, width)]
        parts.append(_line(f"frame {f}", width, text, INK))
        parts += _legend(rows, width, text)
        films.append(_even(np.concatenate(parts)))
    return np.stack(films)


def heat_sheet(rows: Sequence[Heat], frames: np.ndarray, note: str = "") -> np.ndarray:
    """One picture, uint8 [H', W', 3], of up to four frames: the source, each row before and after, and the note.
    There may be no rows."""
    picked = _columns(rows, len(frames))
    size = (CELL, _height(frames, CELL))
    text = font((COLUMNS * (CELL + GAP) + 90) // 28)
    left = max(round(text.getlength(name)) for name in ["source", *_names(rows)]) + 2 * GAP
    width = left + COLUMNS * (CELL + GAP) + GAP  # also with fewer frames: titles need the room
    names = [f"frame {f}" for f in picked]
    parts = [_strip([_sized(frames[f], size) for f in picked], names, text, width, "source", left)]
    for row in rows:
        parts.append(_heading(row, width, text))
        for name, values in zip(_names(rows), _values(row)):
            panels = [_panel(frames[f], values[f], row, f, size) for f in picked]
            parts.append(_strip(panels, [], text, width, name, left))
        if row.note:
            parts += [_line(line, width, text) for line in wrap(row.note, text, width - 2 * GAP)]
    said = [_line(line, width, text, INK) for line in wrap(note, text, width - 2 * GAP, 20)] if note else []
    return _even(np.concatenate([*parts, *_legend(rows, width, text), *said]))


def _columns(rows: Sequence[Heat], frames: int) -> list[int]:
    """Frames spread over the clip, with the ringed pixel's own in place of the nearest."""
    picked = pick_columns(frames, COLUMNS)
    for row in rows:
        if row.mark is not None and row.mark[0] not in picked:
            picked[min(range(len(picked)), key=lambda n: abs(picked[n] - row.mark[0]))] = row.mark[0]
    return picked


def _legend(rows: Sequence[Heat], width: int, text: Any) -> list[np.ndarray]:
    """What the numbers at the bars mean."""
    units = dict.fromkeys(row.unit for row in rows)
    return [_line(line, width, text) for unit in units for line in wrap(MEANING[unit], text, width - 2 * GAP)]


def _names(rows: Sequence[Heat]) -> list[str]:
    return ["attention"] if all(row.after is None for row in rows) else ["before", "after"]


def _values(row: Heat) -> list[np.ndarray]:
    return [row.before] if row.after is None else [row.before, row.after]


def _height(frames: np.ndarray, width: int) -> int:
    return max(1, round(frames.shape[1] * width / frames.shape[2]))


def _sized(frame: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    import cv2

    how = cv2.INTER_AREA if frame.shape[1] > size[0] else cv2.INTER_CUBIC
    return cv2.resize(frame, size, interpolation=how)


def _source(frame: np.ndarray, size: tuple[int, int], row: Heat, f: int) -> np.ndarray:
    return _marked(_sized(frame, size), row, f)


def _panel(frame: np.ndarray, values: np.ndarray, row: Heat, f: int, size: tuple[int, int]) -> np.ndarray:
    import cv2

    picture = overlay(_sized(frame, size), values / row.top)
    if row.outline is not None:
        inside = cv2.resize(row.outline[f].astype(np.float32), size, interpolation=cv2.INTER_LINEAR) > 0.5
        borders, _ = cv2.findContours(inside.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        picture = np.ascontiguousarray(picture)
        cv2.drawContours(picture, borders, -1, (0, 0, 0), 3)
        cv2.drawContours(picture, borders, -1, PAPER, 1)
    return _marked(picture, row, f)


def _marked(picture: np.ndarray, row: Heat, f: int) -> np.ndarray:
    """A ring round the pixel, in its own frame."""
    import cv2

    if row.mark is None or row.mark[0] != f:
        return picture
    picture = np.ascontiguousarray(picture)
    height, width = picture.shape[:2]
    at = int(row.mark[1] * width), int(row.mark[2] * height)
    for colour, thick in ((INK, 5), (MARK, 2)):
        cv2.circle(picture, at, 8, colour, thick, cv2.LINE_AA)
    return picture


def _page(width: int, height: int) -> Any:
    from PIL import Image, ImageDraw

    page = Image.new("RGB", (width, height), PAPER)
    return page, ImageDraw.Draw(page)


def _heading(row: Heat, width: int, text: Any) -> np.ndarray:
    """The title on the left, the colour bar with its numbers on the right."""
    low, high = row.number(0), row.number(row.top)
    right = width - GAP - round(text.getlength(high))
    bar = right - GAP - BAR
    room = bar - GAP - round(text.getlength(low)) - 3 * GAP
    lines = wrap(row.title, text, room, 2)
    step = round(1.3 * text.size)
    page, draw = _page(width, step * len(lines) + 2 * GAP)
    for n, line in enumerate(lines):
        draw.text((GAP, GAP + step * n + step // 2), line, INK, text, anchor="lm")
    middle, half = page.height - GAP - step // 2, text.size // 2
    draw.text((bar - GAP, middle), low, INK, text, anchor="rm")
    draw.text((right, middle), high, INK, text, anchor="lm")
    out = np.asarray(page).copy()
    ramp = np.linspace(0, 1, BAR)[None].repeat(2 * half, 0)
    out[middle - half : middle + half, bar : bar + BAR] = overlay(np.full((2 * half, BAR, 3), 128, np.uint8), ramp)
    return out


def _strip(
    panels: Sequence[np.ndarray], names: Sequence[str], text: Any, width: int, label: str = "", left: int = GAP
) -> np.ndarray:
    """Pictures side by side with their names above, and a label before them."""
    from PIL import Image

    top = round(1.3 * text.size) if names else 0
    height, across = panels[0].shape[:2]
    page, draw = _page(width, top + height + GAP)
    for n, panel in enumerate(panels):
        x = left + n * (across + GAP)
        page.paste(Image.fromarray(panel), (x, top))
        if names:
            draw.text((x + across // 2, top - 4), names[n], MUTED, text, anchor="mb")
    if label:
        draw.text((GAP, top + height // 2), label, MUTED, text, anchor="lm")
    return np.asarray(page)


def _line(words: str, width: int, text: Any, ink: tuple[int, int, int] = MUTED) -> np.ndarray:
    step = round(1.3 * text.size)
    page, draw = _page(width, step)
    draw.text((GAP, step // 2), words, ink, text, anchor="lm")
    return np.asarray(page)


def _even(picture: np.ndarray) -> np.ndarray:
    """One more white row or column where a side is odd."""
    height, width = picture.shape[:2]
    return np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), constant_values=PAPER[0])
