"""Which mask belongs to which frame: by number, by order, and what the numbers in names of files say to that."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from .mask_pictures import MaskError

IMAGES = (".png", ".bmp", ".tif", ".tiff", ".webp", ".jpg", ".jpeg")  # endings of pictures


@dataclass(frozen=True)
class MaskFrames:
    """Which frames of the source video the masks are for: start, count, stride as in the edit; total: its frames."""

    start: int
    count: int
    stride: int
    total: int

    def indices(self, masks: int, name: str) -> list[int]:
        """The index of each frame's mask among ``masks`` of them, by the rules of mask_files.py. MaskError for another
        count. name: of the masks, for the message."""
        if masks == 1:
            return [0] * self.count
        if masks == self.count:
            return list(range(self.count))
        if masks == self.total:
            return [self.start + step * self.stride for step in range(self.count)]
        whole = f", or {self.total} (the whole source video)" if self.total != self.count else ""
        raise MaskError(
            f"{name} has {masks} masks for {self.count} frames; expected {self.count}{whole}, or 1 static mask; "
            "export one mask per frame or correct frames.start, frames.count, frames.stride"
        )


def in_order(files: Sequence[Path]) -> list[Path]:
    """Files in natural order of their names: 2 before 10."""
    return sorted(files, key=lambda file: (_natural(file.name), file.name))


def numbering(files: Sequence[Path], start: int, stride: int, total: int) -> Iterator[str]:
    """What the numbers of files in order say against their use one after the other: gaps, twins, another beginning.

    Says nothing of names that differ in more than one number. start, stride: the edit's frames; total: of the video.
    """
    numbers = _numbers(files)
    if numbers is None:
        return
    twins = [a for a, b in pairwise(numbers) if a == b]
    if twins:
        yield f"several masks have the number {twins[0]}; they are taken in order"
        return
    steps = {b - a for a, b in pairwise(numbers)}
    step = min(steps)
    if len(steps) > 1:
        a = next(a for a, b in pairwise(numbers) if b - a > step)
        yield (
            f"the numbering has gaps, the first after {a}: {len(numbers)} masks are numbered {numbers[0]} to "
            f"{numbers[-1]}; they are taken one after the other, without regard to their numbers"
        )
    elif numbers[0] not in {0, 1, step, start, start + 1} or (step not in (1, stride) and len(numbers) > 2):
        yield (
            f"the masks are numbered {numbers[0]} to {numbers[-1]}{f' in steps of {step}' if step > 1 else ''}, the "
            f"frames {start} to {start + (len(numbers) - 1) * stride}; they are taken one after the other"
        )


def _numbers(files: Sequence[Path]) -> list[int] | None:
    """The one number that differs among these names; None where nothing or more differs."""
    parts = [_parts(file.stem) for file in files]
    texts = {tuple(one[::2]) for one in parts}
    if len(texts) != 1:
        return None
    columns = [column for column in zip(*(one[1::2] for one in parts)) if len(set(column)) > 1]
    return [int(digits) for digits in columns[0]] if len(columns) == 1 else None


def _natural(name: str) -> list[int | str]:
    return [int(part) if place % 2 else part for place, part in enumerate(_parts(name))]


def _parts(name: str) -> list[str]:
    # re.split with a group keeps text at even and digits at odd places, so that keys of two names compare
    return re.split(r"(\d+)", name)
