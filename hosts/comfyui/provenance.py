"""How an inversion was made beside how a run of the host works: what differs is said."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from ...editing.provenance import Provenance, differences
from ...editing.trajectory import Trajectory
from .family import Family
from .inversion import HOST, weights_fingerprint
from .windows import NODE, windows_of

logger = logging.getLogger(__name__)

REMEDIES = {
    "attention": "give ST-Layout Attn Patch the spacetime and key_frames of the inversion, or invert again with these",
    "windows": f"give both the model of one {NODE} node, or invert again with the windows of the edit",
}


def of_model(family: Family, model: Any) -> Provenance:
    """What a MODEL is: its name and its weights. family: its."""
    return Provenance(family=family.name_of(model), model=weights_fingerprint(model) or None, host=HOST)


def of_run(family: Family, options: Mapping[str, Any], frames: int) -> Provenance:
    """How a run of a model of this family sees a clip of `frames` frames. options: its model_options."""
    mode, key_frames = family.patch.space_time_of(options)
    return Provenance(attention=mode, key_frames=key_frames, windows=windows_of(options, frames))


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
