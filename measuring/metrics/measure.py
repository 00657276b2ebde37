"""All figures of an edit of a real clip, from frames, masks, prompts and whatever networks there are.

`prepare` does once what every edit of a source shares (its flow, the masks at its size, the prompts' embeddings),
`measure` gives the figures of one clip. A figure whose network or input is missing says so: it is never 0.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ...editing.motion.optical_flow import ClipFlow, Estimator, backward_flow, clip_flow
from ...editing.prompt_text import PromptError, clean_prompt
from ...editing.regions import Region, edited_area
from . import embeddings
from .encoders import Encoder
from .metric import Metric, figure
from .pixels import MARGIN, end_point_error, outside, psnr, ssim, warp_error
from .shown_things import Things
from .steadiness_figures import steadiness_figures

Nothing = Callable[[], object]


@dataclass(frozen=True)
class Instruments:
    """What there is to measure with. clip, dino, pick: encoders, or why there is none."""

    flow: Estimator
    clip: Encoder | str = "no CLIP was given"
    dino: Encoder | str = "no DINO was given"
    pick: Encoder | str = "no PickScore model was given"


@dataclass(frozen=True)
class Ground:
    """What the edits of one source are measured against. source: uint8 [F, H, W, 3]; prompt: of the edit, "" = unknown;
    phrases, masks: one for each region, masks float32 [F, H, W]; edited: float32 [F, H, W], where the edit may change
    the source, None without regions; flow: the source's, or why there is none; things: what edits are held against for
    their steadiness, or why nothing is. prompt and phrases are bare words, without weights."""

    source: np.ndarray
    prompt: str
    phrases: tuple[str, ...]
    masks: tuple[np.ndarray, ...]
    edited: np.ndarray | None
    flow: ClipFlow | str
    things: Things | str
    instruments: Instruments


def prepare(
    source: np.ndarray,
    prompt: str,
    chosen: Sequence[Region],
    instruments: Instruments,
    tick: Nothing = lambda: None,
) -> Ground:
    """source: uint8 [F, H, W, 3]; prompt: what the edits were to show ("" = unknown); chosen: the regions, masks of any
    size and of 1 or F frames, in layering order; may be empty. tick: called once for each pair of frames. Weights such
    as "(red:1.2)" are taken off prompts: they steer an edit, and are no words to judge it by.

    Raises FlowError for frames that are too small for flow, ValueError for masks of a wrong number of frames.
    """
    count, size = len(source), tuple(source.shape[1:3])
    area = edited_area(chosen, size, count).numpy() if chosen else None  # first: its errors number the regions
    # Of one region alone the edited area is its mask, brought to the frames' size and number.
    masks = tuple(edited_area([Region(one.phrase, one.mask)], size, count).numpy() for one in chosen)
    flow = clip_flow(source, instruments.flow, tick) if count > 1 else "a single frame has no motion"
    phrases = tuple(_bare(one.phrase) for one in chosen)
    tools = dataclasses.replace(instruments, clip=_once(instruments.clip), pick=_once(instruments.pick))
    things: Things | str = "no regions were given"
    if isinstance(flow, str):
        things = flow
    elif area is not None:
        things = Things.of(source, chosen, flow) if area.any() else "no region is edited"
    return Ground(source, _bare(prompt), phrases, masks, area, flow, things, tools)


def measure(ground: Ground, frames: np.ndarray, tick: Nothing = lambda: None) -> tuple[Metric, ...]:
    """All figures of one clip, uint8 [F, H, W, 3] like the source: the same figures in the same order for every clip.

    tick: called once for each pair of frames. ValueError where the clip has another shape than the source.
    """
    if frames.shape != ground.source.shape or frames.dtype != np.uint8:
        raise ValueError(
            f"an edit is {frames.dtype} {list(frames.shape)}, its source uint8 {list(ground.source.shape)}; expected "
            "the same frames at the same size; cut or resize one of them"
        )
    return (
        *_whole_frames(ground, frames),
        *_by_region(ground, frames),
        *_outside(ground, frames),
        *_dino(ground, frames),
        _pick(ground, frames),
        _motion(ground, frames, tick),
        *steadiness_figures(ground.things, frames),
    )


def _whole_frames(ground: Ground, frames: np.ndarray) -> list[Metric]:
    clip, flow = ground.instruments.clip, ground.flow
    name, embedded, single = _name(clip), None, "a single frame has no neighbour"
    if isinstance(clip, str):
        fit = near = pairs = clip
    else:
        embedded = clip.pictures(frames)
        near, pairs = embeddings.adjacent(embedded), embeddings.all_pairs(embedded)
        near, pairs = (single if math.isnan(value) else value for value in (near, pairs))
        fit = _why_no_words(clip, ground.prompt) or embeddings.text_alignment(embedded, clip.texts([ground.prompt])[0])
    error = flow if isinstance(flow, str) else _mean(warp_error(frames, flow.backward, flow.valid))
    if isinstance(fit, str) or isinstance(error, str):
        quotient = next(value for value in (fit, error) if isinstance(value, str))
    elif math.isnan(error):
        quotient = "no pixel of the source is seen in two frames"
    else:
        quotient = embeddings.q_edit(fit, error) if error else "Warp-Err is 0"
    flow_name = "" if isinstance(flow, str) else flow.name
    both = ", ".join(filter(None, (name, flow_name)))
    return [
        figure(
            "clip_t",
            "CLIP-T",
            "mean cosine between the CLIP embeddings of every frame (its middle square) and of the whole prompt",
            fit,
            scale=100,
            model=name,
        ),
        figure(
            "clip_f_adjacent",
            "CLIP-F, neighbours",
            "mean cosine between the CLIP embeddings of every frame and the next",
            near,
            scale=100,
            model=name,
        ),
        figure(
            "clip_f_all_pairs",
            "CLIP-F, all pairs",
            "mean cosine between the CLIP embeddings of all pairs of different frames",
            pairs,
            scale=100,
            model=name,
        ),
        figure(
            "warp_error",
            "Warp-Err",
            "mean squared difference (values 0 to 1) between every frame and the one before, warped by the backward "
            "flow of the SOURCE, where the source's forward and backward flow agree; mean over the pairs",
            error,
            "lower",
            scale=100,
            model=flow_name,
        ),
        figure("q_edit", "Q-edit", "CLIP-T / Warp-Err, both x 100", quotient, model=both),
    ]


def _by_region(ground: Ground, frames: np.ndarray) -> list[Metric]:
    clip, count = ground.instruments.clip, len(ground.phrases)
    kinds = embeddings.different_prompts(ground.phrases)
    alone = "" if kinds > 1 else "it needs two regions with different prompts"
    if isinstance(clip, str):
        found = (clip,) * 3
    elif not count:
        found = ("no regions were given",) * 3
    elif why := _why_no_words(clip, min(ground.phrases, key=len)):  # the shortest is empty where one is
        found = (why,) * 3
    else:
        found = _region_values(ground, frames, clip, alone)
    cut = "the regions, each cut out by its mask with the rest of its square filled with the network's mean colour"
    return [
        figure(
            "region_clip_t",
            "Region CLIP-T",
            f"mean cosine between the CLIP embeddings of {cut}, and of their own prompts",
            found[0],
            scale=100,
            model=_name(clip),
        ),
        figure(
            "instance_accuracy",
            "Instance accuracy",
            f"share of {cut}, that fit their own prompt better than that of every other region"
            + (f"; chance is {100 / kinds:.0f} %" if kinds > 1 else ""),
            found[1],
            scale=100,
            unit="%",
            model=_name(clip),
        ),
        figure(
            "leakage",
            "Leakage",
            "mean probability by CLIP's softmax over the different region prompts that a region cut out as above shows "
            "another region's prompt",
            found[2],
            "lower",
            scale=100,
            unit="%",
            model=_name(clip),
        ),
    ]


def _region_values(ground: Ground, frames: np.ndarray, clip: Encoder, alone: str) -> tuple[float | str, ...]:
    pictures, places = embeddings.cut_outs(frames, ground.masks, clip.fill)
    if not pictures:
        return (f"no region has {embeddings.LEAST} visible pixels in any frame",) * 3
    owner = places[:, 1]
    cosines = embeddings.similarities(clip.pictures(pictures), clip.texts(ground.phrases))
    return (
        embeddings.region_alignment(cosines, owner),
        alone or embeddings.instance_accuracy(cosines, owner, ground.phrases),
        alone or embeddings.leakage(cosines, owner, ground.phrases, clip.scale),
    )


def _outside(ground: Ground, frames: np.ndarray) -> list[Metric]:
    found = []
    near = f"more than {MARGIN} px from"
    for dilate, key, name, where in (
        (0, "_outside", "outside the masks", "outside"),
        (MARGIN, f"_outside_{MARGIN}px", f"{MARGIN} px from the masks", near),
    ):
        values: tuple[float | str, float | str] = ("no regions were given",) * 2
        if ground.edited is not None:
            rest = outside(ground.edited, dilate)
            values = psnr(frames, ground.source, rest), ssim(frames, ground.source, rest)
            values = tuple("the masks leave nothing" if math.isnan(value) else value for value in values)
        told = f"edit against source over all pixels {where} the edited regions' masks"
        found.append(figure(f"psnr{key}", f"PSNR {name}", f"10 log10(255^2 / MSE) of {told}", values[0], unit="dB"))
        found.append(
            figure(
                f"ssim{key}",
                f"SSIM {name}",
                f"structural similarity of the luma (Gaussian window, sigma 1.5) of {told}",
                values[1],
            )
        )
    return found


def _dino(ground: Ground, frames: np.ndarray) -> list[Metric]:
    dino, single = ground.instruments.dino, "a single frame has no neighbour"
    if isinstance(dino, str):
        values: tuple[float | str, ...] = (dino, dino)
    else:
        embedded = dino.pictures(frames)
        values = embeddings.adjacent(embedded), embeddings.all_pairs(embedded)
        values = tuple(single if math.isnan(value) else value for value in values)
    told = (
        ("dino_adjacent", "DINO consistency, neighbours", "every frame and the next"),
        ("dino_all_pairs", "DINO consistency, all pairs", "all pairs of different frames"),
    )
    return [
        figure(
            key,
            name,
            f"mean cosine between the class tokens of {what}",
            value,
            scale=100,
            model=_name(dino),
        )
        for (key, name, what), value in zip(told, values)
    ]


def _pick(ground: Ground, frames: np.ndarray) -> Metric:
    pick = ground.instruments.pick
    if isinstance(pick, str):
        value: float | str = pick
    else:
        value = _why_no_words(pick, ground.prompt) or pick.scale * embeddings.text_alignment(
            pick.pictures(frames), pick.texts([ground.prompt])[0]
        )
    told = "mean over frames of the model's logit scale times the cosine of frame and prompt"
    return figure("pick_score", "PickScore", told, value, model=_name(pick))


def _motion(ground: Ground, frames: np.ndarray, tick: Nothing) -> Metric:
    flow = ground.flow
    if isinstance(flow, str):
        value: float | str = flow
    else:
        moved = flow.backward if frames is ground.source else backward_flow(frames, ground.instruments.flow, tick)
        value = end_point_error(moved, flow.backward, flow.valid)
    return figure(
        "motion_error",
        "Motion error",
        "mean distance between the backward flow of the edit and that of the source (end-point error), where the "
        "source's forward and backward flow agree; benchmarks that call it motion alignment show its negative",
        value,
        "lower",
        unit="px",
        model="" if isinstance(flow, str) else flow.name,
    )


def _once(encoder: Encoder | str) -> Encoder | str:
    """The encoder, which embeds the same words only once."""
    if isinstance(encoder, str) or encoder.texts is None:
        return encoder
    known = functools.cache(lambda words: encoder.texts(list(words)))
    return dataclasses.replace(encoder, texts=lambda words: known(tuple(words)))


def _bare(words: str) -> str:
    """Words without weights, at single spaces; as they are where their parentheses are not weights."""
    with contextlib.suppress(PromptError):
        words = clean_prompt(words)
    return " ".join(words.split())


def _name(encoder: Encoder | str) -> str:
    return "" if isinstance(encoder, str) else encoder.name


def _why_no_words(encoder: Encoder, words: str) -> str:
    """Why the words have no embedding; "" where they have."""
    if encoder.texts is None:
        return encoder.no_text or f"{encoder.name} reads no text"
    return "" if words.strip() else "no prompt was given"


def _mean(values: np.ndarray) -> float:
    """Mean of the pairs of which anything could be counted; nan where there is none."""
    counted = values[~np.isnan(values)]
    return float(counted.mean()) if len(counted) else math.nan
