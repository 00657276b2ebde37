"""What a layout is: things with a number, a name, and a mask per frame; and how things are picked."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

BACKGROUND = "background"


class LayoutError(ValueError):
    """A layout that cannot be found, or a thing that is not in it. The text says what came and what to do."""


@dataclass(frozen=True, eq=False)
class Thing:
    """One thing of a clip: an instance, or the background.

    number: 1 .. K, its place in the layout. name: unique in the layout ("red circle 2"). phrase: the words of the
    source prompt it is named after ("red circle"); "" where no word fits. score: how many times more than by chance the
    phrase's attention falls on the thing, >= 0; nan where there is no phrase. cells: bool CPU [F, h, w], at the grid of
    the features. mask: float32 CPU [F, H, W] in [0, 1], soft at its border; all 0 in frames where the thing is hidden.
    """

    number: int
    name: str
    phrase: str
    score: float
    background: bool
    cells: Tensor
    mask: Tensor


@dataclass(frozen=True, eq=False)
class ClipLayout:
    """What a clip is made of.

    things: instances by falling area in the clip, then the background, exactly one, last. Cells of different things
    never overlap and together fill every frame; masks add up to 1 (they are 0 or 1 away from borders). grid: (h, w) of
    the features. size: (H, W) of the masks. clusters: int64 CPU [F, h, w], the K-means clusters 1 .. k everything was
    made from. k: how many there were. notes: what a user should know about this layout, one sentence each.
    """

    things: tuple[Thing, ...]
    grid: tuple[int, int]
    size: tuple[int, int]
    clusters: Tensor
    k: int
    notes: tuple[str, ...] = ()

    @property
    def frames(self) -> int:
        return len(self.clusters)

    @property
    def names(self) -> list[str]:
        """The things' names, all different, in order."""
        return [thing.name for thing in self.things]

    @property
    def instances(self) -> tuple[Thing, ...]:
        """All things but the background."""
        return tuple(thing for thing in self.things if not thing.background)

    def pick(self, text: str = "") -> list[tuple[str, Tensor]]:
        """Things by number or name, as (name, mask float32 [F, H, W]).

        text: parts divided by commas, one mask each; within a part "+" joins things into one mask. "2" is thing 2, "red
        circle 2" the thing of that name, "red circle" all things named after that phrase together. Case and spaces do
        not matter; what is both a number and a name is the number. "" = every thing but the background, one mask each.

        Raises:
            LayoutError: a number or name that is not in the layout; it lists what is.
        """
        if not text.strip():
            return [(thing.name, thing.mask) for thing in self.instances]
        return [self._together(part.split("+"), text) for part in text.split(",")]

    def pick_together(self, text: str) -> tuple[str, Tensor]:
        """All that `pick` finds as one (name, mask): "," says the same as "+" here, and text must not be "".

        Masks add up rather than take the larger: where two things meet, each has a share of the border, and together
        they cover it.

        Raises:
            LayoutError: as `pick`.
        """
        return self._together(re.split("[,+]", text), text)

    def _together(self, items: Sequence[str], text: str) -> tuple[str, Tensor]:
        chosen = list(dict.fromkeys(thing for item in items for thing in self._find(item, text)))
        mask = torch.stack([thing.mask for thing in chosen]).sum(0).clamp(max=1)
        return " + ".join(thing.name for thing in chosen), mask

    def _find(self, item: str, text: str) -> list[Thing]:
        wanted, found = " ".join(item.lower().split()), []
        if wanted.isascii() and wanted.isdigit() and len(wanted) < 5:
            found = [thing for thing in self.things if thing.number == int(wanted)]
        found = found or [thing for thing in self.things if thing.name.lower() == wanted]  # may be a number: "2049"
        found = found or [thing for thing in self.things if wanted and thing.phrase.lower() == wanted]
        if not found:
            there = ", ".join(f"{thing.number} ({thing.name})" for thing in self.things)
            raise LayoutError(
                f"pick: there is no {item.strip()!r} (in {text!r}) in this layout; it has {there}. Write numbers or "
                "names, such as '1, 2 + 3' (two masks: thing 1, and things 2 and 3 together)."
            )
        return found


def unique_names(phrases: list[str]) -> list[str]:
    """A name for every instance, all different: its phrase, numbered where several share it; "thing 3" where the third
    has none."""
    taken = {BACKGROUND}
    names = []
    for place, phrase in enumerate(phrases):
        if not phrase:
            name = f"thing {place + 1}"
        elif phrases.count(phrase) > 1 or phrase.lower() in taken:
            name = f"{phrase} {phrases[: place + 1].count(phrase)}"
        else:
            name = phrase
        while name.lower() in taken:
            name += "'"
        taken.add(name.lower())
        names.append(name)
    return names
