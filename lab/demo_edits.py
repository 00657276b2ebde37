"""What all studies of the demo's clips (world/demo_task.py) do alike: regions, the judge, several observers at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..attention import LayerCall
from ..attention.observer import Observer
from ..editing.regions import Region
from ..world.demo_task import DemoTask
from ..world.score import Score, pooled, score


def regions_of(task: DemoTask) -> list[Region]:
    """The task's objects in their boxes."""
    return [Region(text, mask) for text, mask in zip(task.phrases, task.masks)]


def read(task: DemoTask, frames: np.ndarray) -> Score:
    """What the world's reader says of all regions of an edit, uint8 [F, H, W, 3]."""
    return pooled(score(frames, (task.masks > 0.5).numpy(), task.objects))


class Several:
    """An observer that shows everything to several others."""

    def __init__(self, observers: Sequence[Observer]):
        self.observers = observers

    def wants(self, *layer) -> bool:
        return any(observer.wants(*layer) for observer in self.observers)

    def add(self, seen: LayerCall) -> None:
        for observer in self.observers:
            if observer.wants(seen.attention_type, seen.grid, seen.size, seen.t):
                observer.add(seen)

    def __deepcopy__(self, memo) -> Several:
        return self
