"""How steady an edit of a real clip is, as figures with their definitions."""

from __future__ import annotations

import math

import numpy as np

from .metric import Metric, figure
from .shown_things import SAME_COLOUR, SAME_FORM, Steadiness, Things


def steadiness_figures(things: Things | str, frames: np.ndarray) -> list[Metric]:
    """Five figures of a clip, uint8 [F, H, W, 3] like the source. things: the source's side, or why there is none."""
    model = ""
    if isinstance(things, str):
        found: Steadiness | None = None
    else:
        found, model = things.steadiness(frames), things.flow.name

    def told(key: str, field: str, name: str, definition: str, none: str, better: str = "lower", **more) -> Metric:
        value = things if found is None else getattr(found, field)
        if isinstance(value, float) and math.isnan(value):
            value = none
        return figure(key, name, definition, value, better, **more)

    unseen = "no edited region shows, in two frames, something whose outline can be told from the source's background"
    thing = "what the edit shows of an edited region (what differs from the source's own background there)"
    return [
        told(
            "own_warp_error",
            "own",
            "Own Warp-Err",
            "as Warp-Err, along the motion of what the edit itself shows: inside its outline that of the source's "
            "region, elsewhere that of the source's background",
            "no pixel is seen in two frames",
            scale=1000,
            model=model,
        ),
        told(
            "centre_jitter",
            "centre",
            "Centre jitter",
            f"root mean square over frames of the distance between the centre of {thing} and that of the region's "
            "mask, less its mean",
            unseen,
            unit="px",
        ),
        told(
            "size_jitter",
            "size",
            "Size jitter",
            f"standard deviation over frames, as a share of the mean, of the root of the area of {thing} over the root "
            "of the mask's area",
            unseen,
            scale=100,
            unit="%",
        ),
        told(
            "colour_flicker",
            "flicker",
            "Colour flicker",
            "standard deviation over time of the mean colour inside the edited regions' masks, in levels of 255",
            "no edited region is seen in two frames",
        ),
        told(
            "identity",
            "identity",
            "Identity",
            "share of the times that an edited region was out of sight by more than half and came back, on which "
            f"{thing} has the same mean colour (within {SAME_COLOUR} levels of 255) and the same outline (intersection "
            f"over union {SAME_FORM:g} or more) after as before",
            "no edited region is hidden and comes back",
            "higher",
            scale=100,
            unit="%",
        ),
    ]
