"""How an inversion was made beside how a run of the host works: what differs is said."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from ...editing.provenance import Provenance, differences
from ...editing.trajectory import Trajectory
from .families import family_name
from .inversion import HOST, weights_fingerprint
from .unet.slots import SelfSlot
from .windows import NODE, windows_of

logger = logging.getLogger(__name__)

REMEDIES = {
    "attention": "give ST-Layout Attn Patch the spacetime and key_frames of the inversion, or invert again with these",
    "windows": f"give both the model of one {NODE} node, or invert again with the windows of the edit",
}


def of_model(model: Any, node: str) -> Provenance:
    """What a MODEL is: its family and its weights."""
    family = family_name(model, node)
    return Provenance(family=family, model=weights_fingerprint(model) or None, host=HOST)


def of_run(options: Mapping[str, Any], frames: int) -> Provenance:
    """How a run sees a clip of `frames` frames. options: its model_options.

    A model without our patch attends within each frame; where another pack has taken the slots over, nothing is known.
    """
    windows = windows_of(options, frames)
    slots = options.get("transformer_options", {}).get("patches_replace", {}).get("attn1", {}).values()
    edits = [slot.edits[-1] for slot in slots if isinstance(slot, SelfSlot)]
    if edits:
        return Provenance(attention=edits[0].attention.mode, key_frames=edits[0].attention.anchors, windows=windows)
    return Provenance(attention=None if slots else "per_frame", windows=windows)


def compare(trajectory: Trajectory, now: Provenance, node: str, apart: str = "") -> None:
    """ValueError for a model of another family than the inversion's, a warning for all else that differs.

    apart: what follows from another checkpoint, and what to do.
    """
    for fact, made, current in differences(trajectory.made, now):
        if fact == "family":
            raise ValueError(
                f"the inversion was made with a model of family {made}, this one is {current}; their latents are not "
                "the same thing. Use the model that was used for the inversion."
            )
        if fact == "model":
            said = f"the inversion was made with another checkpoint (weights {made}, now {current}); {apart}."
        else:
            said = f"the inversion was made with {made}, this run uses {current}; {REMEDIES[fact]}."
        logger.warning(f"{node}: {said}")
