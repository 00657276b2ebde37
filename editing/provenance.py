"""What an inversion records about how it was made, and what an edit must share with it."""

from __future__ import annotations

from typing import Any

from .settings import AttentionSettings
from .trajectory import Trajectory, TrajectoryError
from .trajectory import space_time_notes as trajectory_notes
from .windows import Windows, window_notes


def space_time_notes(attention: AttentionSettings, windows: Windows | None, frames: int) -> dict[str, str]:
    """What a trajectory of ``frames`` frames records about the attention and the windows it was made with; an edit must
    use the same."""
    return {**trajectory_notes(attention.mode, attention.anchors), **window_notes(windows, frames)}


def dtype_name(model: Any) -> str:
    """The dtype the UNet runs in, such as ``float32``."""
    return str(model.unet.dtype).removeprefix("torch.")


def check_model(model: Any, trajectory: Trajectory) -> None:
    """Raise TrajectoryError unless ``trajectory`` was made with this model. The same weights rounded to another dtype
    are another model to the fingerprint: where the dtype differs, the error says so and what to set."""
    try:
        trajectory.require(family=model.family, model=model.fingerprint)
    except TrajectoryError as error:
        made, now = trajectory.extra.get("dtype", ""), dtype_name(model)
        if made in ("", now):
            raise
        raise TrajectoryError(
            f"{error} The inversion was made in {made}, the edit runs in {now}: the same weights in another dtype "
            f"count as another model; set dtype to {made}, or invert again in {now}."
        ) from None
