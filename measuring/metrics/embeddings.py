"""What embeddings say of a clip: frames like each other, frames like words, regions like their own prompt.

numpy only; the encoders give the embeddings. Three groups of figures: CLIP-F and DINO consistency of the frames; CLIP-T
and what is made of it; and region by region, whether each shows its own prompt and not its neighbour's.

A region is judged by what is visible of it: its mask (> 0.5) without the regions that lie on top (later ones). It is
cut out by its bounding box, everything in the box that is not the region is filled, and the shorter side is padded with
the same fill to a square. Fill, because the neighbour in the box would be read as part of the region: two regions that
touch would each look like both, which is exactly what is to be told apart. The fill is the colour that the network's
normalisation maps to 0, its mean picture, which says least; black or white would be colours that prompts speak of.
Square, because CLIP reads the middle square of a picture and would cut the ends off a tall region.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def unit(embeddings: np.ndarray) -> np.ndarray:
    """Embeddings [..., D] at length 1, float64. ValueError where one is zero or not finite: a broken encoder."""
    embeddings = np.asarray(embeddings, np.float64)
    length = np.linalg.norm(embeddings, axis=-1, keepdims=True)
    if not (np.isfinite(length) & (length > 0)).all():
        raise ValueError("an embedding is zero or not finite; expected a direction; check the encoder's weights")
    return embeddings / length


def adjacent(embeddings: np.ndarray) -> float:
    """Mean cosine between every frame and the next one, for embeddings [F, D]; nan for a single frame.

    With CLIP this is what most papers call CLIP-F, frame consistency or Tem-Con."""
    e = unit(embeddings)
    return float((e[1:] * e[:-1]).sum(axis=-1).mean()) if len(e) > 1 else float("nan")


def all_pairs(embeddings: np.ndarray) -> float:
    """Mean cosine between all pairs of different frames, for embeddings [F, D]; nan for a single frame.

    It falls where a clip drifts slowly, which the neighbours alone do not show. Some papers call this one CLIP-F."""
    e = unit(embeddings)
    if len(e) < 2:
        return float("nan")
    upper = np.triu_indices(len(e), 1)
    return float((e @ e.T)[upper].mean())


def text_alignment(frames: np.ndarray, text: np.ndarray) -> float:
    """CLIP-T: mean cosine between every frame's embedding [F, D] and the prompt's [D] of the same CLIP; in [-1, 1].
    ValueError where the widths differ, as those of different models do."""
    frames, text = np.asarray(frames), np.asarray(text)
    if text.shape != frames.shape[-1:]:
        raise ValueError(
            f"the prompt's embedding is {list(text.shape)}, a frame's {list(frames.shape[-1:])}; expected one width; "
            "take both from one CLIP"
        )
    return float((unit(frames) @ unit(text)).mean())


def q_edit(clip_t: float, warp_error: float) -> float:
    """Q-edit = CLIP-T / Warp-Err (FLATTEN's S_edit, the VideoGrain paper's Q-edit), both at one scale, so that the
    scale cancels. inf for a warp error of 0: a clip that stands still has no meaningful quotient."""
    return clip_t / warp_error if warp_error else float("inf")


LEAST = 64  # visible pixels: fewer are not judged, no network recognises anything in them


def seen_regions(masks: Sequence[np.ndarray]) -> list[np.ndarray]:
    """What can be seen of every region: bool [F, H, W] each, for float or bool masks [F, H, W] in layering order."""
    seen, covered = [], None
    for mask in reversed(list(masks)):
        inside = np.asarray(mask) > 0.5
        seen.append(inside if covered is None else inside & ~covered)
        covered = inside if covered is None else covered | inside
    return seen[::-1]


def cut_out(frame: np.ndarray, inside: np.ndarray, fill: tuple[int, int, int], least: int = LEAST) -> np.ndarray | None:
    """The region alone (module docstring): uint8 [S, S, 3]. frame: uint8 [H, W, 3]; inside: bool [H, W]. None where
    fewer than ``least`` pixels are inside."""
    if inside.sum() < max(1, least):
        return None
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    height, width = bottom - top, right - left
    side = max(height, width)
    square = np.empty((side, side, 3), np.uint8)
    square[:] = fill
    y, x = (side - height) // 2, (side - width) // 2
    part, kept = frame[top:bottom, left:right], inside[top:bottom, left:right]
    square[y : y + height, x : x + width][kept] = part[kept]
    return square


def cut_outs(
    frames: np.ndarray, masks: Sequence[np.ndarray], fill: tuple[int, int, int], least: int = LEAST
) -> tuple[list[np.ndarray], np.ndarray]:
    """All regions of all frames that can be judged: their pictures, and int [N, 2] with (frame, region) of each."""
    pictures, places = [], []
    seen = seen_regions(masks)
    for index, frame in enumerate(frames):
        for region, inside in enumerate(seen):
            picture = cut_out(frame, inside[index], fill, least)
            if picture is not None:
                pictures.append(picture)
                places.append((index, region))
    return pictures, np.array(places, int).reshape(-1, 2)


def similarities(pictures: np.ndarray, prompts: np.ndarray) -> np.ndarray:
    """Cosines float64 [N, R] of the cut-outs' embeddings [N, D] and those of all region prompts [R, D]."""
    return unit(pictures) @ unit(prompts).T


def region_alignment(cosines: np.ndarray, regions: np.ndarray) -> float:
    """Region CLIP-T: mean cosine of every cut-out with its own region's prompt. cosines: [N, R]; regions: int [N].
    nan without a cut-out."""
    return float(cosines[np.arange(len(regions)), regions].mean()) if len(regions) else float("nan")


def instance_accuracy(cosines: np.ndarray, regions: np.ndarray, phrases: Sequence[str]) -> float:
    """Share of the cut-outs whose own prompt fits better than that of every region with other words (a tie is no
    success). nan without a cut-out, or where all regions share one phrase. For R different phrases chance is 1 / R."""
    different = _different(phrases)
    if not len(regions) or not different.any():
        return float("nan")
    own = cosines[np.arange(len(regions)), regions]
    rivals = np.where(different[regions], cosines, -np.inf).max(axis=1)
    return float((own > rivals).mean())


def leakage(cosines: np.ndarray, regions: np.ndarray, phrases: Sequence[str], scale: float) -> float:
    """Mean probability that a cut-out is given to ANOTHER region's prompt, by the network's own softmax over the
    DIFFERENT region prompts: softmax(scale * cosine), every prompt once, however many regions share it. In [0, 1]; nan
    without a cut-out, or where all regions share one phrase.

    phrases: bare words, one for each region (weights taken off, as `measure.prepare` does). scale: the network's logit
    scale (CLIP: about 100). It is softer than 1 - instance accuracy: a region that is barely told apart counts half.
    """
    words = [phrase.casefold() for phrase in phrases]
    once = list(dict.fromkeys(words))
    if not len(regions) or len(once) < 2:
        return float("nan")
    logits = scale * cosines[:, [words.index(one) for one in once]]
    chances = np.exp(logits - logits.max(axis=1, keepdims=True))
    chances /= chances.sum(axis=1, keepdims=True)
    own = np.array([once.index(one) for one in words])[regions]
    return float(1 - chances[np.arange(len(regions)), own].mean())


def different_prompts(phrases: Sequence[str]) -> int:
    """How many different prompts there are; case is no difference, for CLIP reads none."""
    return len({phrase.casefold() for phrase in phrases})


def _different(phrases: Sequence[str]) -> np.ndarray:
    """bool [R, R]: whether two regions have different words."""
    phrases = [phrase.casefold() for phrase in phrases]
    return np.array([[a != b for b in phrases] for a in phrases], bool).reshape(len(phrases), len(phrases))
