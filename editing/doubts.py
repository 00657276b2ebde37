"""What is allowed in an edit but hardly meant. Hosts decide where it is shown; the edit runs all the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..attention.coverage import is_present
from .mask_shapes import CELL
from .prompt_text import words
from .region_modulation import is_computed
from .regions import Region, sized_masks
from .settings import AttentionSettings

_CELLS = 128  # masks no larger than this in latent cells are masks at the latent's size

# Of a still mask over a moving thing; measured on rendered clips: things that left their masks 0.93 to 1.17.
_MOVED = 0.75


@dataclass(frozen=True)
class Doubt:
    """code: names the kind (`empty`, `hidden`, `everything`, `tiny`, `region_off`, `repeated`, `all_kept`, `half`,
    `off`, `range`). region: its number from 1, or None where no single region is meant. text: one sentence, without a
    full stop."""

    code: str
    region: int | None
    text: str

    def __str__(self) -> str:
        return self.text


def doubts(
    regions: Sequence[Region],
    size: tuple[int, int],
    frames: int,
    attention: AttentionSettings,
    *,
    guidance: float | None = None,
    active: int | None = None,
    steps: int = 0,
) -> list[Doubt]:
    """The doubts about an edit of these regions, none without regions.

    Args:
        size, frames: as in `areas`; so are the errors.
        guidance: None = not known yet, as the sampler comes later.
        active: how many of `steps` steps are modulated (`modulated_steps`); None = not known yet.
    """
    if not regions:
        return []
    found = list(region_doubts(regions, sized_masks(regions, size, frames)))
    if all(region.preserve for region in regions):
        found.append(Doubt("all_kept", None, "every region is preserved: nothing is edited"))
    kinds = {
        "self": (attention.self_strength, attention.self_halves),
        "cross": (attention.cross_strength, attention.cross_halves),
    }
    off = [kind for kind, (strength, _) in kinds.items() if strength == 0]
    idle = [
        kind
        for kind, (_, halves) in kinds.items()
        if kind not in off and guidance is not None and not is_computed(halves, guidance)
    ]
    found += [
        Doubt(
            "half",
            None,
            f"attention.{kind}_halves is uncond, but guidance 1 computes no unconditional half: {kind}-attention is "
            f"not modulated; set {kind}_halves to cond or both, or guidance above 1",
        )
        for kind in idle
    ]
    if len(off) == 2:
        text = "self_strength and cross_strength are both 0: attention is not modulated at all"
        found.append(Doubt("off", None, text))
        return found
    found += [Doubt("off", None, f"{kind}_strength is 0: {kind}-attention is not modulated") for kind in off]
    if active == 0 and len(off) + len(idle) < 2:
        text = (
            f"none of the {steps} steps lies between attention.start {attention.start:g} and attention.end "
            f"{attention.end:g}: attention is not modulated at all; take more steps or a wider range"
        )
        found.append(Doubt("range", None, text))
    return found


def region_doubts(regions: Sequence[Region], masks: Sequence[Tensor], first: int = 1) -> Iterator[Doubt]:
    """What each region's mask, strength and phrase give cause for.

    masks: float32 [F, H, W] each, of one size. first: number of the first region.
    """
    phrases: dict[tuple[str, ...], int] = {}
    names = [f"region {number} ({region.phrase!r})" for number, region in enumerate(regions, first)]
    for number, (region, mask) in enumerate(zip(regions, masks), first):
        name, later = names[number - first], masks[number - first + 1 :]
        empty = [frame for frame, one in enumerate(mask) if not is_present(one)]
        if empty:
            some = f"{len(empty)} of {len(mask)} frames, first {empty[0]}"
            which = "every frame" if len(empty) == len(mask) else some
            yield Doubt("empty", number, f"{name} has an empty mask in {which}: nothing is edited there")
        hidden = _hidden(mask, later)
        if hidden:
            above = [name for name, other in zip(names[number - first + 1 :], later) if _covers(other, mask, hidden)]
            when = "" if len(hidden) + len(empty) == len(mask) else f" in {frame_ranges(hidden)}"
            text = f"{name} is wholly hidden{when} by the regions after it, which lie on top: put it after them"
            yield Doubt("hidden", number, f"{text} ({', '.join(above)})")
        if len(empty) < len(mask):
            yield from _extent(name, number, mask)
        if region.strength == 0:
            yield Doubt("region_off", number, f"{name} has strength 0: its attention is not modulated")
        earlier = phrases.setdefault(tuple(words(region.phrase)), number)
        if earlier != number:
            text = f"{name} has the same prompt as region {earlier}; each takes an occurrence of its own"
            yield Doubt("repeated", number, text)


def frozen_doubt(mask: Tensor, pictures: Tensor) -> str | None:
    """About a mask [F, h, w] that stays while the clip moves in it. pictures: [F, C, h, w], latents or frames.

    Once other things than in the first frame stand in it, their difference is that of any two places of the clip: the
    deviation of the pictures times the square root of 2. Frames that have nothing in common with their neighbours
    either tell nothing.
    """
    inside = mask[0] > 0.5
    if len(mask) < 2 or not inside.any() or inside.all() or not bool((mask == mask[:1]).all()):
        return None
    pictures = pictures.float() / (2**0.5 * pictures.float().std()).clamp(min=1e-6)
    seen = pictures[:, :, inside]
    change = (seen - seen[:1]).pow(2).mean((1, 2)).sqrt()
    steps = (pictures[1:] - pictures[:-1]).pow(2).mean((1, 2, 3)).sqrt()
    if float(change.max()) < _MOVED or float(steps.median()) > _MOVED:
        return None
    return (
        f"the mask is the same in all {len(mask)} frames, but from frame {int((change >= _MOVED).nonzero()[0])} on the "
        "clip shows something else there: what moves leaves its mask; give a mask for every frame, as trackers do"
    )


def _extent(name: str, number: int, mask: Tensor) -> Iterator[Doubt]:
    """Doubts about a mask [F, H, W] that selects everything, or next to nothing, wherever it is not empty."""
    inside = (mask > 0.5).flatten(1).sum(1)
    inside, pixels = inside[inside > 0], mask.shape[-2] * mask.shape[-1]
    if not len(inside):
        return
    if bool((inside == pixels).all()):
        text = f"{name} covers the whole picture (100 %): nothing is left outside of it; check its mask"
        yield Doubt("everything", number, text)
        return
    most = int(inside.max())
    token = CELL**2 if max(mask.shape[-2:]) > _CELLS else 1
    if most <= token and pixels > 4 * token:
        text = f"covers {most} of {pixels} pixels ({most / pixels:.2%}) at most, one token of the attention or less"
        yield Doubt("tiny", number, f"{name} {text}: next to nothing is edited; check its mask")


def _hidden(mask: Tensor, later: Sequence[Tensor]) -> list[int]:
    """The frames in which a mask is not empty but nothing of it is seen; above a half a mask on top counts as whole, as
    in the areas."""
    covered = torch.zeros_like(mask, dtype=torch.bool)
    for above in later:
        covered |= above > 0.5
    seen = mask.masked_fill(covered, 0)
    return [frame for frame, (one, left) in enumerate(zip(mask, seen)) if is_present(one) and not is_present(left)]


def _covers(above: Tensor, mask: Tensor, frames: list[int]) -> bool:
    """Whether a mask lies on another in some of these frames."""
    return bool(((above[frames] > 0.5) & (mask[frames] > 0)).any())


def frame_ranges(frames: Sequence[int]) -> str:
    """Ascending frame numbers for messages: "frame 3", "frames 0 to 2, 5"."""
    runs: list[list[int]] = []
    for frame in frames:
        if runs and frame == runs[-1][-1] + 1:
            runs[-1].append(frame)
        else:
            runs.append([frame])
    parts = [str(run[0]) if len(run) == 1 else f"{run[0]} to {run[-1]}" for run in runs]
    return f"frame{'s' * (len(frames) > 1)} {', '.join(parts)}"
