"""A layout found without masks, as pictures: its things, its label images, its clusters, the features behind it.

Pillow and OpenCV, imported when used.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ...editing.layout.clusters import enlarge
from .painting import (
    GAP,
    HIGHEST,
    INK,
    LEGIBLE,
    MUTED,
    OPACITY,
    PAPER,
    font,
    legend_strip,
    paint_regions,
    region_colour,
    wrap,
)

if TYPE_CHECKING:
    from ...editing.attention_features import Features
    from ...editing.layout.clip_layout import ClipLayout

SHEET = 2 * LEGIBLE  # pixels: width of the sheet, which a node shows at half its size
TEXT = 28  # pixels: of the sheet's text and numbers; 14 at half the size
SHOWN = 3  # frames on the sheet
COLUMN = 4  # lines of a legend that stand below each other
COMPONENTS = 3  # of the PCA: as many as a picture has channels
ROUNDS = 8  # of the subspace iteration; the pictures of 8 and 50 cannot be told apart
LEAST = 0.1  # of the widest direction's spread: a narrower one is mostly noise and not stretched to full colour


def legend_lines(layout: ClipLayout) -> list[str]:
    """What a legend says of every thing: "1  red circle 1 (2.4 x)"; without a score where it has none."""
    scores = ["" if math.isnan(thing.score) else f" ({thing.score:.1f} x)" for thing in layout.things]
    return [f"{thing.number}  {thing.name}{score}" for thing, score in zip(layout.things, scores)]


def label_pictures(layout: ClipLayout) -> np.ndarray:
    """Label images in flat colours: thing k in `painting.region_colour(k)`, the background black; uint8 [F, H, W, 3].

    Regions from Masks and `mask_images.masks_from_colours` read them back, thing 1 first. A pixel belongs to the thing
    whose mask is largest there; where several are equal, to the first.
    """
    strongest = layout.things[0].mask
    best = torch.zeros(strongest.shape, dtype=torch.int64)
    for place, thing in enumerate(layout.things[1:], 1):  # one by one: masks of a long clip are large
        better = thing.mask > strongest
        best[better] = place
        strongest = torch.where(better, thing.mask, strongest)
    colours = [(0, 0, 0) if thing.background else region_colour(thing.number) for thing in layout.things]
    return np.array(colours, np.uint8)[best.numpy()]


def layout_preview(frames: np.ndarray, layout: ClipLayout) -> np.ndarray:
    """Every frame with its things in their colours and numbered, and below it a legend of numbers, names and scores.

    frames: uint8 [F, H, W, 3] of the layout's size; small ones are enlarged by a whole factor. uint8 [F, H', W', 3].
    """
    height, width = frames.shape[1:3]
    scale = max(1, min(-(-LEGIBLE // width), HIGHEST // height))
    strip = _strip(layout, width * scale)
    painted = [
        np.concatenate([_painted(frame, layout, index, (height * scale, width * scale)), strip])
        for index, frame in enumerate(frames)
    ]
    return np.stack(painted)


def layout_sheet(frames: np.ndarray, layout: ClipLayout) -> np.ndarray:
    """The first, the middle and the last frame beside each other over one legend and the layout's notes: what fits on a
    node.

    frames: as in `layout_preview`. Returns uint8 [H', 768, 3]; text and numbers are legible at half that size.
    """
    from PIL import Image, ImageDraw

    shown = sorted({0, len(frames) // 2, len(frames) - 1})
    height, width = frames.shape[1:3]
    across = (SHEET - GAP * (SHOWN + 1)) // SHOWN
    down = max(1, min(round(height * across / width), SHEET))
    text = font(TEXT)
    head = round(1.4 * TEXT)
    page = Image.new("RGB", (SHEET, head + down + GAP), PAPER)
    ink = ImageDraw.Draw(page)
    for place, index in enumerate(shown):
        x = GAP + place * (across + GAP)
        page.paste(Image.fromarray(_painted(frames[index], layout, index, (down, across), TEXT)), (x, head))
        ink.text((x + across // 2, head // 2), f"frame {index}", MUTED, text, anchor="mm")
    return np.concatenate([np.asarray(page), _strip(layout, SHEET, TEXT), *_notes(layout)])


def _painted(frame: np.ndarray, layout: ClipLayout, index: int, size: tuple[int, int], number: int = 0) -> np.ndarray:
    """One frame of `size` (h, w) with the things that are not background. number: pixels of the numbers."""
    import cv2

    shrinks = size[0] * size[1] < frame.shape[0] * frame.shape[1]
    frame = cv2.resize(frame, size[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    inside = [
        cv2.resize(thing.mask[index].numpy(), size[::-1], interpolation=how)[None] > 0.5
        for thing in layout.things
        if not thing.background
    ]
    return paint_regions(frame[None], inside, OPACITY, size=number)[0]


def _strip(layout: ClipLayout, width: int, size: int = 0) -> np.ndarray:
    """The legend, in two columns where it is long. The background's patch is hollow: its pixels are not coloured."""
    lines = legend_lines(layout)
    hollow = [place for place, thing in enumerate(layout.things, 1) if thing.background]
    if len(lines) <= COLUMN:
        return legend_strip(lines, width, hollow=hollow, size=size)
    half, size = -(-len(lines) // 2), size or width // 32
    left, right = (
        legend_strip(part, across, hollow=hollow, size=size, first=first)
        for part, across, first in ((lines[:half], width // 2, 1), (lines[half:], width - width // 2, half + 1))
    )
    height = max(len(left), len(right))
    columns = [np.pad(part, ((0, height - len(part)), (0, 0), (0, 0)), constant_values=255) for part in (left, right)]
    return np.concatenate(columns, axis=1)


def _notes(layout: ClipLayout) -> list[np.ndarray]:
    """What the layout itself has to say, wrapped to the sheet's width; each uint8 [H, 768, 3]."""
    from PIL import Image, ImageDraw

    text, step, pages = font(TEXT), round(1.4 * TEXT), []
    for note in layout.notes:
        rows = wrap(note, text, SHEET - 2 * GAP, most=9)
        page = Image.new("RGB", (SHEET, len(rows) * step + GAP), PAPER)
        for row, line in enumerate(rows):
            ImageDraw.Draw(page).text((GAP, row * step + step // 2), line, INK, text, anchor="lm")
        pages.append(np.asarray(page))
    return pages


def cluster_preview(labels: Tensor, frames: np.ndarray) -> np.ndarray:
    """Frames with every K-means cluster in its colour and numbered, uint8 [F, H', W', 3].

    labels: int64 [F, h, w], from `editing.layout.clusters.cluster`. frames: uint8 [F, H, W, 3]; smaller ones than 256
    pixels are enlarged by a whole factor, so that the numbers can be read.
    """
    times = -(-256 // min(frames.shape[1:3]))
    frames = frames.repeat(times, axis=1).repeat(times, axis=2)
    large = enlarge(labels, frames.shape[1:3]).numpy()
    return paint_regions(frames, [large == number for number in range(1, int(labels.max()) + 1)])


def pca_picture(features: Features, size: tuple[int, int] | None = None) -> np.ndarray:
    """The features' three main directions as colours (the paper's Fig. 3): places that attend alike look alike.

    See `principal_parts`. The first direction is lightness, the second blue to yellow, the third green to red: the
    first two remain where red-green vision is lost. size: (H, W) of the picture; None = the features' grid. Returns
    uint8 [F, H, W, 3], the cells' colours interpolated linearly.
    """
    import cv2

    parts = principal_parts(features.values).numpy()
    low, high = np.quantile(parts, [0.02, 0.98], axis=(0, 1))
    spread = np.maximum(high - low, max(LEAST * float((high - low).max()), 1e-6))
    parts = np.clip((2 * parts - low - high) / spread, -1, 1)
    lab = np.stack([55 + 34 * parts[..., 0], 35 * parts[..., 2], 42 * parts[..., 1]], -1).astype(np.float32)
    pictures = []
    for frame in lab.reshape(len(lab), *features.grid, 3):
        large = frame if size is None else cv2.resize(frame, tuple(size)[::-1], interpolation=cv2.INTER_LINEAR)
        pictures.append((cv2.cvtColor(large, cv2.COLOR_Lab2RGB).clip(0, 1) * 255).round().astype(np.uint8))
    return np.stack(pictures)


def principal_parts(values: Tensor, count: int = COMPONENTS) -> Tensor:
    """Each frame's rows along their main directions, float32 [F, n, count]; where there are fewer, the rest is 0.

    values: floating [F, n, n], rows of probabilities. Their square roots are taken, because a probability spreads the
    more the larger it is. A PCA of each frame by itself: a row is in places, so the rows of a thing that moves cannot
    be compared over frames. Each frame's coordinates are then turned to lie closest to those of the frame before
    (orthogonal Procrustes), so that colours stay. By subspace iteration, always from the same start. Signs in the
    first frame: the longer tail is positive.
    """
    tokens = values.shape[-1]
    basis = torch.randn(tokens, min(2 * count + 2, tokens), generator=torch.Generator().manual_seed(0))
    done: list[Tensor] = []
    for frame in values:
        rows = frame.float().clamp(min=0).sqrt()
        rows = rows - rows.mean(0)
        for _ in range(ROUNDS):
            basis = torch.linalg.qr(rows.T @ (rows @ basis)).Q
        parts = rows @ basis
        _, turn = torch.linalg.eigh(parts.T @ parts)  # ascending
        parts = parts @ turn.flip(1)[:, :count]
        parts = torch.nn.functional.pad(parts, (0, count - parts.shape[1]))
        if done:
            left, _, right = torch.linalg.svd(parts.T @ done[-1])
            parts = parts @ (left @ right)
        else:
            parts = parts * torch.where((parts**3).mean(0) < 0, -1.0, 1.0)
        done.append(parts)
    return torch.stack(done)


def features_picture(features: Features, labels: Tensor, frames: np.ndarray) -> np.ndarray:
    """PCA and K-means of the features beside each other, with titles; uint8 [F, H', W', 3].

    labels, frames: as in `cluster_preview`.
    """
    from PIL import Image, ImageDraw

    clusters = cluster_preview(labels, frames)
    height, width = clusters.shape[1:3]
    parts = pca_picture(features, (height, width))
    text = font(max(14, width // 16))
    head = round(1.6 * text.size)
    page = Image.new("RGB", (2 * width + GAP, head), PAPER)
    ink = ImageDraw.Draw(page)
    for place, title in enumerate(("PCA", f"K-means, k = {int(labels.max())}")):
        ink.text((place * (width + GAP) + width // 2, head // 2), title, INK, text, anchor="mm")
    between = np.full((len(clusters), height, GAP, 3), 255, np.uint8)
    titles = np.repeat(np.asarray(page)[None], len(clusters), axis=0)
    return np.concatenate([titles, np.concatenate([parts, between, clusters], axis=2)], axis=1)
