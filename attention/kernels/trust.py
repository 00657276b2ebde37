"""Whether a kernel for GPUs can be relied on: it is tried once, on this device, against torch."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TypeVar

import torch

Kernel = TypeVar("Kernel", bound=Callable)


def trusted(load: Callable[[], Kernel], check: Callable[[Kernel], None], otherwise: str) -> Kernel | None:
    """load() if it can be loaded and check(it) raises nothing; else None, with a warning that says why.

    otherwise: what happens without it, the beginning of the warning. Callers remember the result, so that it is
    found out, and complained about, once a process.
    """
    try:
        kernel = load()
        check(kernel)
    except torch.OutOfMemoryError:
        raise  # of the host's making, not the kernel's: let the host make room; nothing is remembered
    except Exception as error:  # no triton, no compiler, a GPU it does not know: whatever it is, torch can do it
        reason = str(error).strip().splitlines()
        warnings.warn(
            f"{otherwise}: {type(error).__name__}{': ' + reason[0] if reason else ''}", RuntimeWarning, stacklevel=4
        )
        return None
    return kernel
