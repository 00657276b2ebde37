"""A round trip for people: what came back beside what could have, with its PSNR. OpenCV and Pillow, when used."""

from __future__ import annotations

import numpy as np

from ..round_trip import Verdict, decibels
from .painting import GAP, HIGHEST, INK, LEGIBLE, PAPER, font, text_row, wrap

SHEET = 2 * LEGIBLE  # pixels: width of the sheet, which a node shows at half its size
TEXT = 26  # pixels: of the sheet's text, 13 at half the size
SHOWN = 3  # frames on the sheet
ROWS = 9  # of text below the sheet, at most


def round_trip_frames(vae: np.ndarray, back: np.ndarray, verdict: Verdict) -> np.ndarray:
    """Every frame through the VAE alone and after the round trip beside each other, the PSNR below.

    vae, back: uint8 [F, H, W, 3]. verdict: of the same frames. Small frames are enlarged by a whole factor.
    Returns uint8 [F, H', W', 3].
    """
    import cv2

    height, width = vae.shape[1:3]
    scale = max(1, min(-(-LEGIBLE // (2 * width)), HIGHEST // height))
    size = width * scale, height * scale
    pictures = []
    for index, pair in enumerate(zip(vae, back)):
        one, other = (cv2.resize(frame, size, interpolation=cv2.INTER_NEAREST) for frame in pair)
        between = np.full((size[1], GAP, 3), 255, np.uint8)
        both = np.concatenate([one, between, other], axis=1)
        text = max(14, both.shape[1] // 28)
        above = text_row([("VAE alone", 0.25), ("round trip", 0.75)], both.shape[1], text)
        below = text_row([(f"frame {index}: {decibels(verdict.psnr[index])}", 0.5)], both.shape[1], text)
        pictures.append(np.concatenate([above, both, below]))
    return np.stack(pictures)


def round_trip_sheet(vae: np.ndarray, back: np.ndarray, verdict: Verdict) -> np.ndarray:
    """The first, the worst and the last frame, both ways, over the verdict: what fits on a node.

    Arguments as in `round_trip_frames`. Returns uint8 [H', 768, 3]; the text is legible at half that size.
    """
    import cv2
    from PIL import Image, ImageDraw

    shown = sorted({0, verdict.worst, len(vae) - 1})
    height, width = vae.shape[1:3]
    text, step = font(TEXT), round(1.4 * TEXT)
    left = round(max(text.getlength(word) for word in ("VAE", "round trip"))) + 2 * GAP
    across = (SHEET - left - SHOWN * GAP) // SHOWN
    down = max(1, min(round(height * across / width), SHEET))
    lines = [row for line in verdict.text.split("\n") for row in wrap(line, text, SHEET - 2 * GAP, ROWS)]
    page = Image.new("RGB", (SHEET, 2 * (down + GAP) + step * (1 + len(lines)) + 3 * GAP), PAPER)
    ink = ImageDraw.Draw(page)
    for row, (name, frames) in enumerate((("VAE", vae), ("round trip", back))):
        top = GAP + row * (down + GAP)
        ink.text((GAP, top + down // 2), name, INK, text, anchor="lm")
        for place, index in enumerate(shown):
            how = cv2.INTER_AREA if across < width else cv2.INTER_NEAREST
            picture = cv2.resize(frames[index], (across, down), interpolation=how)
            page.paste(Image.fromarray(picture), (left + place * (across + GAP), top))
    top = GAP + 2 * (down + GAP) + step // 2
    ink.text((GAP, top), "PSNR", INK, text, anchor="lm")
    for place, index in enumerate(shown):
        middle = left + place * (across + GAP) + across // 2
        ink.text((middle, top), f"frame {index}: {decibels(verdict.psnr[index])}", INK, text, anchor="mm")
    for row, line in enumerate(lines):
        ink.text((GAP, top + GAP + (row + 1) * step), line, INK, text, anchor="lm")
    return np.asarray(page).copy()
