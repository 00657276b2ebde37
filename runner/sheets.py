"""Pictures of an edit for people: the contact sheet and the side-by-side frames. Pillow, imported when used."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .files import whole_file

# Okabe and Ito's colours, chosen to differ for every common kind of colour blindness; numbers on the regions say the
# same a second time, since nine or more regions reuse them.
PALETTE = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
    (160, 160, 160),
)
COLUMNS = 8
GAP = 6
INK, PAPER, MUTED = (20, 20, 20), (255, 255, 255), (90, 90, 90)
Row = tuple[str, np.ndarray]


def region_colour(number: int) -> tuple[int, int, int]:
    """Colour of region ``number`` (1, 2, ...)."""
    return PALETTE[(number - 1) % len(PALETTE)]


def pick_columns(frames: int, columns: int = COLUMNS) -> list[int]:
    """Up to ``columns`` frame indices, evenly spread from the first frame to the last."""
    if frames <= columns:
        return list(range(frames))
    return [round(index * (frames - 1) / (columns - 1)) for index in range(columns)]


def font(size: int) -> Any:
    """Pillow's built-in font at ``size`` pixels (14 at least; smaller is hard to read)."""
    from PIL import ImageFont

    return ImageFont.load_default(max(14, size))


def paint_regions(frames: np.ndarray, masks: Sequence[np.ndarray], opacity: float = 0.55) -> np.ndarray:
    """Source frames in grey with every region in its colour, outlined and numbered.

    frames: uint8 [F, H, W, 3]; masks: per region float or bool [F, H, W], > 0.5 = inside; later ones on top.
    """
    import cv2

    grey = frames.mean(axis=3, keepdims=True).repeat(3, axis=3)
    out = (128 + 0.6 * (grey - 128)).astype(np.float32)
    for number, mask in enumerate(masks, 1):
        colour = np.array(region_colour(number), np.float32)
        for index in range(len(frames)):
            inside = np.asarray(mask[index] > 0.5)
            out[index][inside] = (1 - opacity) * out[index][inside] + opacity * colour
            edge = inside & ~cv2.erode(inside.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
            out[index][edge] = colour
    painted = np.clip(out, 0, 255).astype(np.uint8)
    for number, mask in enumerate(masks, 1):
        for index in range(len(frames)):
            _number(painted[index], np.asarray(mask[index] > 0.5), number)
    return painted


def _number(picture: np.ndarray, inside: np.ndarray, number: int) -> None:
    """Write the region's number at its most inner point, black with a white rim: legible on any colour."""
    import cv2
    from PIL import Image, ImageDraw

    if not inside.any():
        return
    depth = cv2.distanceTransform(np.pad(inside.astype(np.uint8), 1), cv2.DIST_L2, 3)[1:-1, 1:-1]
    y, x = np.unravel_index(int(depth.argmax()), depth.shape)
    image = Image.fromarray(picture)
    size = max(14, picture.shape[0] // 12)
    ImageDraw.Draw(image).text((x, y), str(number), INK, font(size), anchor="mm", stroke_width=2, stroke_fill=PAPER)
    picture[:] = np.asarray(image)


def contact_sheet(
    rows: Sequence[Row], legend: Sequence[str] = (), *, title: str = "", columns: int = COLUMNS, cell: int = 0
) -> np.ndarray:
    """A labelled grid as uint8 [H, W, 3]: one row per (name, frames uint8 [F, H, W, 3]), up to ``columns`` frames.

    legend: text of region 1, 2, ..., each beside its colour. cell: width of one picture in pixels; 0 = the frames' own,
    enlarged by a whole factor to 128 or shrunk to 256. All rows have equally many frames.
    """
    from PIL import Image, ImageDraw

    counts = {len(frames) for _, frames in rows}
    if len(counts) != 1:
        raise ValueError(f"the rows of a sheet have {sorted(counts)} frames; expected one number; cut them alike")
    picked = pick_columns(counts.pop(), columns)
    height, width = rows[0][1].shape[1:3]
    across = cell or (min(width, 256) if width >= 128 else width * -(-128 // width))
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


def legend_of(regions: Sequence[Any]) -> list[str]:
    """Legend lines of regions with ``phrase`` and ``preserve``: "1  a red cube", "2  a hand (preserved)"."""
    kept = {True: " (preserved)", False: ""}
    return [f"{number}  {region.phrase}{kept[region.preserve]}" for number, region in enumerate(regions, 1)]


def side_by_side(*clips: np.ndarray, gap: int = 4) -> np.ndarray:
    """Clips uint8 [F, H, W, 3] of one shape beside each other, with a white gap (an even number of pixels)."""
    shapes = {clip.shape for clip in clips}
    if len(shapes) != 1:
        came = " and ".join(str(list(clip.shape)) for clip in clips)
        raise ValueError(f"clips of {came}; expected one shape; resize them")
    between = np.full((*clips[0].shape[:2], gap, 3), 255, np.uint8)
    parts = [part for clip in clips for part in (between, clip)]
    return np.concatenate(parts[1:], axis=2)


def save_png(path: str | Path, picture: np.ndarray) -> None:
    """Write uint8 [H, W, 3] as PNG, atomically."""
    from PIL import Image

    with whole_file(path) as temporary:
        Image.fromarray(picture).save(temporary, format="PNG", optimize=True)
