"""The settings of an edit: frozen values that check themselves (fields.py). Importing this imports no torch.

Each is declared here alone, with type, range, default and a sentence: scripts write ``AttentionSettings(end=0.5)``,
edit files are read by these classes, and nodes take their widgets from them (nodes/inputs.py). The names of choices are
those of attention/options.py.
"""

from __future__ import annotations

import warnings
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from ..attention.options import (
    AVERAGES,
    BACKGROUNDS,
    HALVES,
    INVERSION_METHODS,
    KERNELS,
    LEVELS,
    MAP_LEVELS,
    MISSING,
    MODES,
    MOTION_SOURCES,
    RANGES,
    SAMPLED,
    SAMPLER_NAMES,
    SCOPES,
)
from .fields import Flag, Number, OneOf, Phrases, SettingError, Whole, settings, wrong

__all__ = [
    "AttentionSettings",
    "BlendSettings",
    "CompositeSettings",
    "EditSettings",
    "InversionSettings",
    "LayoutSettings",
    "MapSettings",
    "MotionSettings",
    "Pixel",
    "SamplingSettings",
    "SettingError",
    "SteadySettings",
    "WindowSettings",
]


class Span:
    """Base of settings with the fields ``start`` and ``end``, fractions of the run."""

    def __post_init__(self: Any) -> None:
        if self.start >= self.end:
            raise wrong(
                f"start {self.start:g} is not before end {self.end:g}, so it would never be active; expected "
                "0 <= start < end <= 1; correct one of them",
                "start",
                "end",
            )


@settings
class SamplingSettings:
    """The denoising pass. The paper: 50 steps of DDIM at guidance 7.5.

    The samplers draw no noise and the pass starts at the inverted latent, so ``seed`` matters only where ``variation``
    is above 0.
    """

    steps: Whole = Field(default=50, ge=1, le=1000, description="denoising steps")
    guidance: Number = Field(default=7.5, ge=1, le=100, description="classifier-free guidance; 1 = the prompt alone")
    seed: Whole = Field(default=0, ge=0, le=2**63 - 1, description="seed of the noise that `variation` draws")
    sampler: Annotated[str, OneOf(SAMPLER_NAMES)] = Field(
        default="euler", description="the sampler; `ddim` and `euler` name the same one"
    )
    variation: Number = Field(
        default=0.0,
        ge=0,
        le=1,
        description="how much of the starting noise inside the edited regions is drawn afresh, the same in every "
        "frame; 0 = the inverted noise, which carries the motion",
    )


WITHOUT_SAMPLED = "sampled is not there any more, the exact range is found; write exact, or reuse to save time"


def _without_sampled(value: Any) -> Any:
    if value != SAMPLED:
        return value
    warnings.warn(f"range: {WITHOUT_SAMPLED}", FutureWarning, stacklevel=4)  # of whoever wrote it
    return "exact"


@settings
class AttentionSettings(Span):
    """Space-time attention and its modulation (method.md 3, 5)."""

    mode: Annotated[str, OneOf(MODES)] = Field(
        default="full",
        description="which frames a query sees; `full_coarse` is `full` but for the finest level, where it is "
        "`key_frames`",
    )
    anchors: Whole = Field(default=2, ge=1, le=64, description="number of key frames of `key_frames` and `full_coarse`")
    self_strength: Number = Field(default=0.3, ge=0, le=1, description="xi of self-attention at t = 1")
    cross_strength: Number = Field(default=1.0, ge=0, le=1, description="xi of cross-attention at t = 1")
    power: Number = Field(default=5.0, ge=0, le=20, description="strengths fall with t to this power; 0 = constant")
    start: Number = Field(
        default=0.0, ge=0, le=1, description="where in the run the modulation begins; 0 = at pure noise"
    )
    end: Number = Field(default=0.3, ge=0, le=1, description="where in the run it ends; 1 = at the end")
    self_halves: Annotated[str, OneOf(HALVES)] = Field(
        default="both", description="which half of a guided batch is modulated in self-attention"
    )
    cross_halves: Annotated[str, OneOf(HALVES)] = Field(default="cond", description="the same in cross-attention")
    background: Annotated[str, OneOf(BACKGROUNDS)] = Field(
        default="neutral",
        description="what queries of no region match in cross-attention: the start token, which says nothing "
        "(`neutral`), no token (`paper`), or they are left alone (`free`)",
    )
    splice: Flag = Field(
        default=True,
        description="write phrases that were encoded on their own into the prompt's embedding (method.md 7)",
    )
    range: Annotated[str, OneOf(RANGES), BeforeValidator(_without_sampled)] = Field(
        default="exact",
        description="how the range of a query's logits is found in self-attention: in every call (`exact`), or once "
        "for `range_steps` noise levels (`reuse`)",
    )
    range_steps: Whole = Field(
        default=3, ge=1, le=1000, description="noise levels in a row that `reuse` measures once for"
    )
    range_every: Whole = Field(default=8, ge=1, le=1024, description="not used any more; older files have it")
    kernel: Annotated[str, OneOf(KERNELS)] = Field(
        default="auto", description="what computes modulated attention; `auto` = torch's own"
    )

    @property
    def steps_of_a_range(self) -> int:
        """How many noise levels in a row share a logit range (`Modulation.range_steps`)."""
        return self.range_steps if self.range == "reuse" else 1


@settings
class BlendSettings(Span):
    """The latent blend with the inversion trajectory (method.md 10)."""

    enabled: Flag = Field(default=True, description="hold the latents outside the regions to those of the inversion")
    start: Number = Field(default=0.0, ge=0, le=1, description="where in the run the blend begins")
    end: Number = Field(default=1.0, ge=0, le=1, description="where in the run it ends")
    feather: Number = Field(
        default=1.0, ge=0, le=64, description="width of the soft border outside the regions, latent pixels"
    )


@settings
class CompositeSettings:
    """The pixel composite after decoding: outside the regions grown by ``dilate`` and softened over another
    ``feather`` pixels, the source's pixels are put back bit for bit."""

    enabled: Flag = Field(default=True, description="put the source's pixels back outside the regions")
    dilate: Whole = Field(default=8, ge=0, le=512, description="pixels around the regions that are the edit's in full")
    feather: Whole = Field(default=8, ge=0, le=512, description="width of the soft border beyond that, pixels")


@settings
class SteadySettings(Span):
    """Edits that hold in time: what the frames show of a region, brought together along its motion (method.md 11)."""

    enabled: Flag = Field(default=True, description="hold what is drawn steady over time")
    strength: Number = Field(
        default=1.0, ge=0, le=1, description="how far each frame is drawn to what all agree on; 1 = wholly"
    )
    average: Annotated[str, OneOf(AVERAGES)] = Field(
        default="mean",
        description="what the frames agree on at every step; of the decoded pixels it is always the median",
    )
    start: Number = Field(default=0.0, ge=0, le=1, description="where in the run the latents' fusion begins")
    end: Number = Field(default=1.0, ge=0, le=1, description="where in the run it ends")
    pixels: Flag = Field(default=True, description="fuse the decoded pixels too, once")
    key: Flag = Field(
        default=True, description="put the source's own background back where a region shows nothing but that"
    )


@settings
class MotionSettings:
    """How the regions of a clip move (method.md 11), and what that says of masks with holes or without a frame."""

    source: Annotated[str, OneOf(MOTION_SOURCES)] = Field(
        default="auto",
        description="what it is found from: colours and outlines (`auto`), the masks' centres and areas (`moments`), "
        "or optical flow (`flow`)",
    )
    missing: Annotated[str, OneOf(MISSING)] = Field(
        default="fill",
        description="a frame without a mask: the region is there, and its mask is filled where the frame agrees "
        "(`fill`), or it is not seen (`absent`); holes in masks are filled either way",
    )


@settings
class InversionSettings:
    """How the clip is inverted (method.md 8)."""

    method: Annotated[str, OneOf(INVERSION_METHODS)] = Field(
        default="warm", description="how a clip is inverted; `ddim` is the paper's"
    )
    calls: Whole = Field(default=3, ge=1, le=20, description="extra network calls per step of `fixed_point`")
    steps: Whole | None = Field(
        default=None,
        ge=1,
        le=1000,
        examples=[50],
        description="steps of the inversion; left out: as many as the edit has",
    )
    check: Flag = Field(
        default=True,
        description="measure the round trip afterwards (as many network calls again as there are steps), so that the "
        "report can say how good the inversion is",
    )


@settings
class WindowSettings:
    """How a clip is cut that is longer than the memory holds at once (windows.py)."""

    frames: Whole = Field(default=16, ge=2, description="most frames of one call, the anchors among them")
    overlap: Whole = Field(default=4, ge=0, description="frames that neighbouring windows share at least")
    anchors: Whole = Field(default=2, ge=0, description="frames, evenly spread over the clip, that all windows see")

    def __post_init__(self) -> None:
        if self.overlap + self.anchors >= self.frames:
            raise wrong(
                f"overlap {self.overlap} and anchors {self.anchors} leave none of {self.frames} frames; expected "
                "overlap + anchors < frames; raise frames, or lower one of the others",
                "overlap",
                "anchors",
                "frames",
            )


def _clusters(value: int) -> int:
    if value == 1:
        raise wrong("1 is not allowed; expected 0 (chosen for you) or 2 to 64; write e.g. 3")
    return value


@settings
class LayoutSettings(Span):
    """How regions are found without masks, from the attention seen during the inversion (method.md 9)."""

    level: Annotated[str, OneOf(LEVELS)] = Field(
        default="half",
        description="of the latent's side that attention is taken from; `full` is finer: for small frames, with "
        "`start: 0.5`",
    )
    start: Number = Field(
        default=0.0, ge=0, le=1, description="the part of the noise range that is averaged begins here"
    )
    end: Number = Field(default=1.0, ge=0, le=1, description="and ends here; 0 = pure noise, 1 = clean")
    clusters: Annotated[Whole, AfterValidator(_clusters)] = Field(
        default=0,
        ge=0,
        le=64,
        examples=[3],
        description="k of K-means, 2 or more; 0 = the largest up to `max_clusters` with 0.7 of the best silhouette",
    )
    max_clusters: Whole = Field(
        default=8, ge=2, le=64, description="the most clusters that are tried where `clusters` is 0"
    )
    scope: Annotated[str, OneOf(SCOPES)] = Field(
        default="joint", description="what K-means sorts at a time: all frames, or each by itself as in the paper"
    )
    seed: Whole = Field(default=0, ge=0, le=2**32 - 1, description="seed of K-means")
    # As in the node: label pictures have 16 colours.
    max_things: Whole = Field(default=8, ge=1, le=15, description="at most so many things are found, the largest ones")
    min_area: Number = Field(
        default=0.01, ge=0, le=1, description="share of the picture below which a piece is a speck"
    )
    gap: Whole = Field(default=2, ge=0, le=1000, description="frames that a thing may be hidden for")
    smooth: Flag = Field(default=True, description="soft borders that follow the frames")
    names: Phrases | None = Field(
        default=None, description="phrases of the source prompt that things are named by; left out: its nouns"
    )
    grow: Whole = Field(
        default=0,
        ge=-512,
        le=512,
        examples=[8],
        description="pixels that masks reach further, to make room for another shape; negative: less far",
    )
    videos: Flag = Field(default=False, description="also one mp4 a mask")


@settings
class Pixel:
    """A pixel of the source video in a frame of the edit."""

    frame: Whole = Field(ge=0, examples=[8], description="a frame of the edit, counted from 0")
    x: Whole = Field(ge=0, examples=[64], description="a column of the source, in pixels from 0 at the left")
    y: Whole = Field(ge=0, examples=[64], description="a row of the source, in pixels from 0 at the top")


@settings
class MapSettings(Span):
    """Which attention of an edit is shown, as pictures and as shares."""

    words: Phrases | None = Field(default=None, description="phrases of the prompt; left out: the regions' own")
    pixel: Pixel | None = Field(
        default=None,
        examples=["{frame: 0, x: 120, y: 80}"],
        description="whose self-attention over all frames is shown too; left out: no pixel's",
    )
    level: Annotated[str, OneOf(MAP_LEVELS)] = Field(
        default="half", description="which layers are averaged: of half the latent's side, of its full side, or all"
    )
    start: Number = Field(default=0.0, ge=0, le=1, description="the part of the edit that is averaged begins here")
    end: Number = Field(default=0.3, ge=0, le=1, description="and ends here; 0 = pure noise, 1 = clean")


@settings
class EditSettings:
    """What an edit is made with, but for its clip and its regions."""

    sampling: SamplingSettings = Field(default_factory=SamplingSettings)
    attention: AttentionSettings = Field(default_factory=AttentionSettings)
    blend: BlendSettings = Field(default_factory=BlendSettings)
    composite: CompositeSettings = Field(default_factory=CompositeSettings)
    inversion: InversionSettings = Field(default_factory=InversionSettings)
    steady: SteadySettings = Field(default_factory=SteadySettings)
