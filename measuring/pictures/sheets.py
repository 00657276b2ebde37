"""Pictures of an edit for people: the contact sheet and the side-by-side frames. Pillow, imported when used."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...editing.mask_images import PALETTE
from .painting import INK, MUTED, PAPER, font, legend_of, paint_regions, region_colour

__all__ = [
    "PALETTE",
    "contact_sheet",
    "font",
    "legend_of",
    "paint_regions",
    "pick_columns",
    "region_colour",
    "side_by_side",
]

COLUMNS = 8
GAP = 6
Row = tuple[str, np.ndarray]


def pick_columns(frames: int, columns: int = COLUMNS) -> list[int]:
    """Up to ``columns`` frame indices, evenly spread from the first frame to the last."""
    if frames <= columns:
        return list(range(frames))
    return [round(index * (frames - 1) / (columns - 1)) for index in range(columns)]


def contact_sheet(rows: Sequence[Row], legend: Sequence[str] = (), *, title: str = "") -> np.ndarray:
    """A labelled grid as uint8 [H, W, 3]: one row per (name, frames), up to COLUMNS frames of each, evenly spread.

    rows: frames uint8 [F, H, W, 3] or grey [F, H, W], of one F (ValueError otherwise, and for no row). All are drawn at
    one size, which the first row decides: narrower than 128 pixels, it is enlarged by the smallest whole factor that
    reaches 128; wider than 256, shrunk to 256; a row of another shape is stretched. legend: text of region 1, 2, ...,
    each beside its colour. title: a line above; "" = none.
    """
    from PIL import Image, ImageDraw

    counts = {len(frames) for _, frames in rows}
    if len(counts) != 1:
        raise ValueError(f"the rows of a sheet have {sorted(counts)} frames; expected one number; cut them alike")
    picked = pick_columns(counts.pop())
    height, width = rows[0][1].shape[1:3]
    across = min(width, 256) if width >= 128 else width * -(-128 // width)
    down = max(1, round(height * across / width))
    text = font(max(14, across // 11))
    line = round(text.size * 1.5)
    label = max([round(text.getlength(name)) for name, _ in rows]) + 2 * GAP
    grid = label + len(picked) * (across + GAP)
    full = max([grid, *(round(text.getlength(item)) + line + 3 * GAP for item in [*legend, title])])
    top = GAP + (line if title else 0) + line
    total = top + len(rows) * (down + GAP) + len(legend) * line + GAP

    sheet = Image.new("RGB", (full, total), PAPER)
    draw = ImageDraw.Draw(sheet)
    if title:
        draw.text((GAP, GAP), title, INK, text)
    for place, index in enumerate(picked):
        x = label + place * (across + GAP)
        draw.text((x + across // 2, top - GAP), f"frame {index}", MUTED, text, anchor="mb")
        for row, (_, frames) in enumerate(rows):
            picture = Image.fromarray(frames[index])
            how = Image.Resampling.NEAREST if across % width == 0 else Image.Resampling.LANCZOS
            sheet.paste(picture.resize((across, down), how), (x, top + row * (down + GAP)))
    for row, (name, _) in enumerate(rows):
        draw.text((GAP, top + row * (down + GAP) + down // 2), name, INK, text, anchor="lm")
    for number, item in enumerate(legend, 1):
        y = top + len(rows) * (down + GAP) + (number - 1) * line
        side = text.size
        draw.rectangle((GAP, y, GAP + side, y + side), fill=region_colour(number), outline=INK)
        draw.text((2 * GAP + side, y + side // 2), item, INK, text, anchor="lm")
    return np.asarray(sheet)


def side_by_side(*clips: np.ndarray) -> np.ndarray:
    """Clips uint8 [F, H, W, 3] of one shape beside each other, with a white gap of 4 pixels."""
    shapes = {clip.shape for clip in clips}
    if len(shapes) != 1:
        came = " and ".join(str(list(clip.shape)) for clip in clips)
        raise ValueError(f"clips of {came}; expected one shape; resize them")
    between = np.full((*clips[0].shape[:2], 4, 3), 255, np.uint8)
    parts = [part for clip in clips for part in (between, clip)]
    return np.concatenate(parts[1:], axis=2)
