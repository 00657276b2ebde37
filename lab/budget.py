"""Work under a limit of time, which stops in good order and goes on where it was with the same command."""

import time

UNFINISHED = 75  # os.EX_TEMPFAIL, which Windows has not
"""Exit status of a command that stopped at its limit."""


class Unfinished(Exception):
    """The limit came first; what is done so far is on the disk."""


class Budget:
    """So many minutes from now; None = no limit."""

    def __init__(self, minutes: float | None = None):
        self._end = None if minutes is None else time.monotonic() + 60 * minutes

    @property
    def spent(self) -> bool:
        return self._end is not None and time.monotonic() >= self._end
