"""What the help pictures are made of: one clip on the embedded model, its inversion and edit, and sheets of pictures.

Everything is seeded and computed once.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch

from ...attention import LabelMap
from ...editing.mask_images import PALETTE
from ...editing.pipeline import edit_clip, invert_clip
from ...editing.presets import embedded_attention
from ...editing.regions import Region
from ...editing.settings import BlendSettings, CompositeSettings, InversionSettings, SamplingSettings
from ...measuring.pictures.painting import font
from ...world.demo_task import make_task
from ..paths import ROOT

IMAGES = ROOT / "web" / "docs" / "images"
FRAMES, SIZE, STEPS, SEED = 8, 128, 50, 1
CELL = 128
WHITE, INK = (255, 255, 255), (20, 20, 20)
ATTENTION = embedded_attention()
SAMPLING = SamplingSettings(steps=STEPS, guidance=5.0)
Grid = Sequence[Sequence[np.ndarray]]


def sheet(rows: Grid, columns: Sequence[str] = (), names: Sequence[str] = (), cell: int = CELL) -> np.ndarray:
    """Pictures uint8 [h, w, 3] in a grid, with a title over each column and a name before each row."""
    from PIL import Image, ImageDraw

    text = font(14)
    left = max([round(text.getlength(name)) for name in names] + [0]) + (12 if names else 0)
    top = 24 if columns else 0
    widths = [round(picture.shape[1] * cell / picture.shape[0]) for picture in rows[0]]
    starts = [left + sum(widths[:n]) + 6 * n for n in range(len(widths))]
    page = Image.new("RGB", (starts[-1] + widths[-1], top + len(rows) * (cell + 6) - 6), WHITE)
    draw = ImageDraw.Draw(page)
    for n, title in enumerate(columns):
        draw.text((starts[n] + widths[n] // 2, 10), title, INK, text, anchor="mm")
    for r, row in enumerate(rows):
        y = top + r * (cell + 6)
        if names:
            draw.text((2, y + cell // 2), names[r], INK, text, anchor="lm")
        for n, picture in enumerate(row):
            how = Image.Resampling.NEAREST if picture.shape[0] < cell else Image.Resampling.BICUBIC
            page.paste(Image.fromarray(picture).resize((widths[n], cell), how), (starts[n], y))
    return np.asarray(page)


def grey(values: Any) -> np.ndarray:
    """[h, w] in [0, 1] as a grey picture uint8 [h, w, 3]."""
    return (np.asarray(values, np.float32)[..., None].repeat(3, 2) * 255).round().astype(np.uint8)


def difference(a: np.ndarray, b: np.ndarray, factor: int) -> np.ndarray:
    """|a - b| times factor, uint8; black = equal."""
    return np.clip(np.abs(a.astype(int) - b) * factor, 0, 255).astype(np.uint8)


@cache
def model() -> Any:
    """The embedded model."""
    from ...hosts.diffusers import load_model

    return load_model()


@cache
def task() -> Any:
    """The demo's clip and what it is edited to."""
    return make_task(SEED, FRAMES, SIZE)


@cache
def inversion(method: str = "warm") -> Any:
    """The demo clip's trajectory."""
    clip = task().clip
    settings = InversionSettings(method=method)
    return invert_clip(model(), clip.frames, clip.caption, steps=STEPS, inversion=settings, attention=ATTENTION)


def regions(phrases: Sequence[str] | None = None) -> list[Region]:
    """The demo's two regions."""
    return [Region(text, mask) for text, mask in zip(phrases or task().phrases, task().masks)]


@cache
def edit(regional: bool = True, blend: BlendSettings = BlendSettings(), prompt: str = "") -> Any:  # noqa: B008 (frozen)
    """The demo's edit, without the pixel composite."""
    where = regions() if regional else ()
    off = CompositeSettings(enabled=False)
    settings = {"sampling": SAMPLING, "attention": ATTENTION, "blend": blend, "composite": off}
    return edit_clip(model(), task().clip.frames, inversion(), prompt or task().prompt, where, **settings)


def labels(masks: Sequence[np.ndarray], frame: int) -> np.ndarray:
    """The labels the attention sees, as colours, uint8 [h, w, 3]; grey = background."""
    layout = LabelMap([torch.from_numpy(np.ascontiguousarray(mask)) for mask in masks])
    side = masks[0].shape[1:]
    colours = np.array([(128, 128, 128), *PALETTE], np.uint8)
    return colours[layout.labels(side)[frame].reshape(side).numpy()]


def stack(pages: Sequence[np.ndarray], gap: int = 14) -> np.ndarray:
    """Pictures under each other, on white."""
    width = max(page.shape[1] for page in pages)
    out = []
    for page in pages:
        out.append(np.pad(page, ((0, gap), (0, width - page.shape[1]), (0, 0)), constant_values=255))
    return np.concatenate(out)[:-gap]
