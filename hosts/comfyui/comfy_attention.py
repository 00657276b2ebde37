"""The attention of the ComfyUI that runs, as a `HostAttention`, and how it says that the memory did not suffice."""

from __future__ import annotations

import inspect
from typing import Any

from comfy import model_management
from comfy.ldm.modules import attention as host_modules
from torch import Tensor

from .host_attention import HostAttention


def lacks_memory(error: BaseException) -> bool:
    """Whether an exception is the host's way to say that the memory did not suffice."""
    return comfy_attention().lacks_memory(error)


def comfy_attention() -> HostAttention:
    """What attention slots need of the host, of whatever family."""

    def attend(*args: Any, **kwargs: Any) -> Tensor:
        return host_modules.optimized_attention(*args, **kwargs)  # looked up at call time, as the host does

    # Where a host has no exception of its own for it, the name stands for every Exception.
    oom = model_management.OOM_EXCEPTION
    return HostAttention(
        attend,
        passes_options="transformer_options" in inspect.signature(host_modules.CrossAttention.forward).parameters,
        out_of_memory=() if oom is Exception else (oom, getattr(model_management, "ACCELERATOR_ERROR", oom)),
        is_out_of_memory=getattr(model_management, "is_oom", None),  # newer hosts know more kinds
        release=model_management.soft_empty_cache,
        current=lambda: host_modules.optimized_attention,
    )
