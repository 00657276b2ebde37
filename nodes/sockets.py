"""The pack's own link types, and where its nodes are found.

Any pack may produce or read the values of the types: they are plain, immutable and documented.

VIDEOGRAIN_REGIONS: tuple of `editing.regions.Region`, in layering order (later = on top).
VIDEOGRAIN_INVERSION: `editing.trajectory.Trajectory`, one inverted clip.
VIDEOGRAIN_LAYOUT: `editing.layout.clip_layout.ClipLayout`, the things of a clip with their numbers, names and masks.
VIDEOGRAIN_MOTION: `editing.motion.value.Motion`, how the regions of a clip and its background move.
"""

from __future__ import annotations

import inspect

from comfy_api.latest import io

CATEGORY = "VideoGrain"

Regions = io.Custom("VIDEOGRAIN_REGIONS")
Inversion = io.Custom("VIDEOGRAIN_INVERSION")
ClipLayout = io.Custom("VIDEOGRAIN_LAYOUT")
Motion = io.Custom("VIDEOGRAIN_MOTION")


def found_by(*words: str) -> dict[str, list[str]]:
    """More words by which a search on the canvas finds a node, for its `io.Schema`; nothing where the host's has no
    such field (0.3.64's has none)."""
    return {"search_aliases": list(words)} if "search_aliases" in inspect.signature(io.Schema).parameters else {}
