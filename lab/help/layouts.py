"""The help pictures of the nodes that look at attention: the layout, what is picked from it, the inversion check."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from ...editing.layout.find import find_layout
from ...editing.layout.grow import grow_mask
from ...editing.layout.names import Words, noun_phrases, place_phrases
from ...editing.pipeline import invert_clip
from ...editing.settings import InversionSettings
from ...measuring.pictures.layout_pictures import cluster_preview, layout_preview, layout_sheet, pca_picture
from ...measuring.pictures.round_trip_pictures import round_trip_sheet
from ...measuring.round_trip import frame_psnr, judge, measure_round_trip
from .common import ATTENTION, SIZE, STEPS, grey, inversion, model, sheet, stack, task

SHOWN = (0, 3, 7)  # frames


@cache
def featured() -> Any:
    """The demo clip's trajectory with features at the latent's full side, as is best for small frames."""
    clip, looked = task().clip, {"features": "full", "feature_range": (0.5, 1.0)}
    settings = {"steps": STEPS, "inversion": InversionSettings(), "attention": ATTENTION}
    return invert_clip(model(), clip.frames, clip.caption, **settings, **looked)


@cache
def layout() -> Any:
    """The demo clip's things, named by its source prompt."""
    clip = task().clip
    phrases = noun_phrases(clip.caption)
    spans, _ = model().word_positions(clip.caption, phrases)
    words = Words(tuple(phrases), tuple(map(tuple, spans)), tuple(place_phrases(clip.caption)))
    # Three clusters are enough to see that both things are in one.
    return find_layout(featured().features, clip.frames, clusters=3, words=words)


def self_attn_layout_cluster() -> np.ndarray:
    from PIL import Image

    clip, found = task().clip, layout()
    features = featured().features
    parts = pca_picture(features, (SIZE, SIZE))
    clusters = cluster_preview(found.clusters, clip.frames)
    rows = [[pictures[f] for f in SHOWN] for pictures in (clip.frames, parts, clusters)]
    top = sheet(rows, [f"frame {f}" for f in SHOWN], ["frames", "pca", f"{found.k} clusters"], 128)
    page = Image.fromarray(layout_sheet(clip.frames, found))
    page = np.asarray(page.resize((540, round(540 * page.height / page.width)), Image.Resampling.LANCZOS))
    return _beside(top, page)


def _beside(left: np.ndarray, right: np.ndarray, gap: int = 24) -> np.ndarray:
    """Two pages beside each other, on white."""
    height = max(len(left), len(right))
    return np.concatenate([_fill(left, height), np.full((height, gap, 3), 255, np.uint8), _fill(right, height)], 1)


def _fill(page: np.ndarray, height: int) -> np.ndarray:
    """The page on white of at least that height, from the top."""
    return np.pad(page, ((0, max(0, height - len(page))), (0, 0), (0, 0)), constant_values=255)


def pick_layout_mask() -> np.ndarray:
    clip, found, frame = task().clip, layout(), 3
    picks = [("1", 0), (found.names[1], 0), ("1 + 2", 0), ("2", 8)]
    masks = [grow_mask(found.pick(pick)[0][1], grow) for pick, grow in picks]
    titles = [f"pick: {pick}" + (f", grow: {grow}" if grow else "") for pick, grow in picks]
    preview = layout_preview(clip.frames, found)[frame]
    side = sheet([[grey(masks[0][frame]), grey(masks[1][frame])]], titles[:2], cell=180)
    below = sheet([[grey(masks[2][frame]), grey(masks[3][frame])]], titles[2:], cell=180)
    return _beside(preview, stack([side, below], 6))


def inversion_check() -> np.ndarray:
    pages = []
    for method in ("warm", "ddim"):
        trajectory = inversion(method)
        trip = measure_round_trip(model(), trajectory, attention=ATTENTION)
        verdict = judge(frame_psnr(trip.vae, trip.frames), trajectory.noise_std)
        pages.append(round_trip_sheet(trip.vae, trip.frames, verdict))
    return _beside(*pages)
