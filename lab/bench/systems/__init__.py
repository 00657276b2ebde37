"""The systems of the benchmark: this package's method, its parts, and other ways to the same end.

All take (model, frames, trajectory, task, settings) and give decoded frames, uint8 [F, H, W, 3], from the same
inversion. Other people's methods are re-implemented here from their descriptions, small, for comparison; none is the
authors' code.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from . import ceiling, composition, global_prompt, hard_masks, modulated, released_code, sequential

__all__ = ["SYSTEMS", "System", "pick_systems"]


@dataclass(frozen=True)
class System:
    """name: as on the command line and in records; title: as in tables; run: see above; composites: whether the pixel
    composite belongs to it (where the settings have one); edits: False for the ceiling."""

    name: str
    title: str
    run: Callable[..., np.ndarray]
    composites: bool = True
    edits: bool = True


_ALL = (
    System("ceiling", "ideal result through the VAE", ceiling.edit, composites=False, edits=False),
    System("global", "B0 global prompt alone", global_prompt.anywhere, composites=False),
    System("global_blend", "B0 + blend with the masks", global_prompt.inside_the_masks),
    System("cross", "+ cross-attention", modulated.cross_alone),
    System("ours", "+ cross- and self-attention (ours)", modulated.cross_and_self),
    System("released", "B1 as the paper's released code", released_code.edit, composites=False),
    System("released_scheduled", "B1 with our schedule", released_code.edit_scheduled, composites=False),
    System("hard", "B3 hard cross-attention masks", hard_masks.edit),
    System("composed", "B4 composed latents", composition.edit),
    System("sequential", "B5 one region after the other", sequential.edit),
    System("sequential_modulated", "B5 with modulation in every pass", sequential.edit_modulated),
)
SYSTEMS = {system.name: system for system in _ALL}


def pick_systems(names: list[str] | None) -> list[System]:
    """The systems of these names in the order of SYSTEMS, all for None. ValueError for one that does not exist."""
    for name in names or ():
        if name not in SYSTEMS:
            raise ValueError(
                f"systems: {name!r} does not exist; expected some of {', '.join(SYSTEMS)}; correct the name"
            )
    return [system for system in _ALL if names is None or system.name in names]
