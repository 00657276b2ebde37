"""Regions as pictures: every region in its colour on the greyed frames, numbered, with a legend of the prompts.

Pillow and OpenCV, imported when used.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import torch

from ...attention import normalise_mask
from ...editing.mask_images import COLOURS
from ...editing.mask_shapes import check_shape
from ...editing.regions import Region

INK, MUTED, PAPER = (20, 20, 20), (90, 90, 90), (255, 255, 255)
OPACITY = 0.55
STRIPE = 6  # pixels: width of the stripes over preserved regions
LEGIBLE = 384  # pixels: previews are made so wide; 14-pixel text then has some 50 letters a line
HIGHEST = 1536  # pixels: of a narrow frame that is enlarged
GAP = 6
LINES = 3  # of the legend, for one region


def region_colour(number: int) -> tuple[int, int, int]:
    """Colour of region ``number`` (1, 2, ...): the first 16 have one each."""
    return COLOURS[(number - 1) % len(COLOURS)]


def font(size: int) -> Any:
    """Pillow's built-in font at ``size`` pixels (14 at least; smaller is hard to read)."""
    from PIL import ImageFont

    return ImageFont.load_default(max(14, size))


def paint_regions(
    frames: np.ndarray,
    masks: Sequence[np.ndarray],
    opacity: float = OPACITY,
    preserved: Collection[int] = (),
    size: int = 0,
) -> np.ndarray:
    """Source frames in grey with every region in its colour, outlined and numbered.

    frames: uint8 [F, H, W, 3]; masks: per region float or bool [F, H, W], > 0.5 = inside; later ones on top.
    preserved: numbers of the regions that are kept as they are; striped instead of filled. size: of the numbers in
    pixels; 0 = what suits the frames' height.
    """
    painted = [
        _paint(frame, [np.asarray(mask[index] > 0.5) for mask in masks], opacity, preserved, size)
        for index, frame in enumerate(frames)
    ]
    return np.stack(painted)


def _paint(
    frame: np.ndarray, masks: Sequence[np.ndarray], opacity: float, preserved: Collection[int], size: int = 0
) -> np.ndarray:
    """One frame of `paint_regions`; masks: bool [H, W]."""
    import cv2

    height, width = frame.shape[:2]
    grey = (128 + 0.6 * (frame.mean(axis=2, keepdims=True, dtype=np.float32) - 128)).repeat(3, axis=2)
    stripes = (np.arange(height)[:, None] + np.arange(width)[None]) // STRIPE % 2 == 0
    out = grey.copy()
    for number, inside in enumerate(masks, 1):
        colour = np.array(region_colour(number), np.float32)
        out[inside] = grey[inside]  # what lies below does not shine through: colours stay those of the legend
        filled = inside & stripes if number in preserved else inside
        out[filled] = (1 - opacity) * grey[filled] + opacity * colour
        out[inside & ~cv2.erode(inside.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)] = colour
    painted = np.clip(out, 0, 255).astype(np.uint8)
    covered = np.zeros((height, width), bool)
    for number in range(len(masks), 0, -1):
        inside = masks[number - 1]
        visible = inside & ~covered
        _number(painted, visible if visible.any() else inside, number, size or painted.shape[0] // 12)
        covered |= inside
    return painted


def _number(picture: np.ndarray, inside: np.ndarray, number: int, size: int) -> None:
    """Write the region's number at its most inner point, black with a white rim: legible on any colour."""
    import cv2
    from PIL import Image, ImageDraw

    if not inside.any():
        return
    depth = cv2.distanceTransform(np.pad(inside.astype(np.uint8), 1), cv2.DIST_L2, 3)[1:-1, 1:-1]
    y, x = np.unravel_index(int(depth.argmax()), depth.shape)
    image = Image.fromarray(picture)
    ImageDraw.Draw(image).text((x, y), str(number), INK, font(size), anchor="mm", stroke_width=2, stroke_fill=PAPER)
    picture[:] = np.asarray(image)


def legend_of(regions: Sequence[Any]) -> list[str]:
    """Legend lines of regions with ``phrase`` and ``preserve``: "1  a red cube", "2  a hand (preserved)"."""
    kept = {True: " (preserved)", False: ""}
    return [f"{number}  {region.phrase}{kept[region.preserve]}" for number, region in enumerate(regions, 1)]


def region_preview(frames: np.ndarray, regions: Sequence[Region]) -> np.ndarray:
    """Frames with their regions painted on, and below them a legend: number, prompt and what becomes of each region.

    Small frames are enlarged by a whole factor to a width of 384 or more (where they do not get very high by it), so
    that numbers and prompts are legible. Masks of another size, but of the frames' shape, are scaled to the frames.

    Args:
        frames: uint8 [F, H, W, 3].
        regions: in layering order; masks of 1 or F frames.

    Returns:
        uint8 [F, H', W', 3].

    Raises:
        ValueError: a mask of another number of frames, of another shape than theirs, or of no form that
            `normalise_mask` knows.
    """
    import cv2

    count, height, width = frames.shape[:3]
    scale = max(1, min(-(-LEGIBLE // width), HIGHEST // height))
    size = (height * scale, width * scale)
    masks = []
    for number, region in enumerate(regions, 1):
        name = f"region {number} ({region.phrase!r})"
        masks.append(normalise_mask(region.mask, count, name))
        check_shape(masks[-1], (height, width), name)
    preserved = {number for number, region in enumerate(regions, 1) if region.preserve}
    lines = [line + _notes(region, mask) for line, region, mask in zip(legend_of(regions), regions, masks)]
    strip = legend_strip(lines, size[1], striped=preserved)
    pictures = []
    for index, frame in enumerate(frames):  # one by one: long clips of large frames would not fit the memory at once
        large = cv2.resize(frame, size[::-1], interpolation=cv2.INTER_CUBIC)
        inside = [_stretched(mask[index], size) > 0.5 for mask in masks]
        pictures.append(np.concatenate([_paint(large, inside, OPACITY, preserved), strip]))
    return np.stack(pictures)


def _stretched(mask: torch.Tensor, size: tuple[int, int]) -> np.ndarray:
    return torch.nn.functional.interpolate(mask[None, None], size, mode="area")[0, 0].numpy()


def _notes(region: Region, mask: torch.Tensor) -> str:
    """What the legend adds to a region's line where something about it is out of the ordinary."""
    strength = "" if region.strength == 1 else f", strength {region.strength:g}"
    highest = mask.max().item()
    empty = "" if highest > 0.5 else ": its mask is nowhere above 0.5" if highest > 0 else ": its mask is empty"
    return strength + empty


def legend_strip(
    lines: Sequence[str],
    width: int,
    *,
    striped: Collection[int] = (),
    hollow: Collection[int] = (),
    size: int = 0,
    first: int = 1,
) -> np.ndarray:
    """The lines beside their regions' colours, wrapped to the width: uint8 [H, width, 3].

    striped, hollow: numbers of the regions whose colour is striped, or left away (an outline instead). size: of the
    text in pixels; 0 = what suits the width. first: number of the first line's region.
    """
    from PIL import Image, ImageDraw

    text = font(size or width // 32)
    step, side = round(text.size * 1.4), text.size
    room = max(side, width - side - 3 * GAP)  # beside the colours of a very narrow frame there is none: cut off there
    wrapped = [wrap(line, text, room) for line in lines]
    height = step * sum(len(rows) for rows in wrapped) + GAP * (len(wrapped) + 1)
    picture = np.asarray(Image.new("RGB", (width, height), PAPER)).copy()
    y = GAP
    for number, rows in enumerate(wrapped, first):
        patch = picture[y : y + side, GAP : GAP + side]
        patch[:] = (128, 128, 128) if number in hollow else region_colour(number)
        if number in striped:
            diagonal = (np.arange(side)[:, None] + np.arange(side)[None]) // (STRIPE // 2) % 2 == 1
            patch[diagonal[:, : patch.shape[1]]] = PAPER
        if number in hollow:
            patch[2:-2, 2:-2] = PAPER
        image = Image.fromarray(picture)
        for row in rows:
            ImageDraw.Draw(image).text((2 * GAP + side, y + side // 2), row, INK, text, anchor="lm")
            y += step
        picture = np.asarray(image).copy()
        y += GAP
    return picture


def wrap(line: str, text: Any, width: int, most: int = LINES) -> list[str]:
    """The line cut between words (inside one only where it is wider than the line), at most ``most`` rows.

    text: a font, from `font`. width: in pixels.
    """
    rows, row = [], ""
    for word in line.split(" "):
        while True:
            joined = f"{row} {word}" if row else word
            if text.getlength(joined) <= width:
                row = joined
                break
            if row:
                rows.append(row)
                row = ""
                continue
            fits = next(n for n in range(len(word), 0, -1) if n == 1 or text.getlength(word[:n]) <= width)
            rows.append(word[:fits])
            word = word[fits:]
    rows.append(row)
    if len(rows) > most:
        rows = rows[:most]
        while rows[-1] and text.getlength(rows[-1] + " ...") > width:
            rows[-1] = rows[-1][:-1]
        rows[-1] += " ..."
    return rows


def text_row(words: list[tuple[str, float]], width: int, size: int) -> np.ndarray:
    """A line of text, each (words, place of their middle as a share of the width): uint8 [H, width, 3]."""
    from PIL import Image, ImageDraw

    page = Image.new("RGB", (width, round(1.7 * size)), PAPER)
    ink = ImageDraw.Draw(page)
    for word, place in words:
        ink.text((round(place * width), page.height // 2), word, INK, font(size), anchor="mm")
    return np.asarray(page).copy()
