"""What the edit asks of a host and of whoever watches it: protocols, so that nothing here knows which host it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Progress(Protocol):
    """Shows stages of a run."""

    def stage(self, name: str, total: int | None = None) -> AbstractContextManager[Callable[..., None]]:
        """A block of work. It yields ``tick(info=None)``, to be called after each of the ``total`` steps (None: not
        known); a tick is also a k-diffusion callback."""


@contextmanager
def stage(progress: Progress | None, name: str, total: int | None = None) -> Iterator[Callable[..., None]]:
    """One stage of ``progress``; yields its tick. None = nobody watches."""
    if progress is None:
        yield lambda info=None: None
    else:
        with progress.stage(name, total) as tick:
            yield tick
