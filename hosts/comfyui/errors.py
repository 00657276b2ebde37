"""Errors that name their node: ComfyUI shows the text alone, and a graph has many nodes. Imports no ComfyUI."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ...attention.active_range import RangeError
from ...editing.attention_features import FeaturesError
from ...editing.blend import BlendError
from ...editing.checks import DenoiserError, LatentError, NumberError, SigmaError
from ...editing.motion.value import MotionError
from ...editing.step_hooks import StepError
from ...editing.trajectory import TrajectoryError

EDITING_ERRORS = (
    BlendError,
    DenoiserError,
    FeaturesError,
    LatentError,
    MotionError,
    NumberError,
    RangeError,
    SigmaError,
    StepError,
    TrajectoryError,
)
"""What editing/ raises while a sampler runs: other nodes' errors in the same run are theirs to name."""


@contextmanager
def naming(node: str, kinds: tuple[type[ValueError], ...] = (ValueError,)) -> Iterator[None]:
    """Put the node's name before the text of an error raised inside, unless it is there already.

    node: the display name ("Latent Blend"). kinds: of which errors. All of this project's are ValueErrors;
    interruptions, lack of memory and the host's own errors pass as they are.
    """
    try:
        yield
    except kinds as error:
        if str(error).startswith(node):
            raise
        raise ValueError(f"{node}: {error}") from error
