"""Errors that name their node: ComfyUI shows the text alone, and a graph has many nodes. Imports no ComfyUI."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def naming(node: str) -> Iterator[None]:
    """Put the node's name before the text of any ValueError raised inside, unless it is there already.

    node: the display name ("Latent Blend"). All of this project's errors are ValueErrors; interruptions, lack of memory
    and the host's own errors pass as they are.
    """
    try:
        yield
    except ValueError as error:
        if str(error).startswith(node):
            raise
        raise ValueError(f"{node}: {error}") from error
