"""What a model's weights are, in a few hex digits: both hosts sample them in the same way. Imports no host."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

SAMPLES_PER_TENSOR = 8
LENGTH = 12  # hex digits of the digest that make a fingerprint


def add_weights(digest: Any, weights: Iterable[tuple[str, Tensor]]) -> None:
    """Add name, shape and 8 evenly spread values of each tensor to a hashlib digest; fast for SDXL too.

    Values count as float16, so that one file has one fingerprint whether it is loaded as float32 or as float16; loaded
    as bfloat16, which keeps fewer bits, it has another. Tensors may lie on any device.
    """
    import torch  # not above: naming a clip must not take the seconds that loading torch takes

    for name, tensor in weights:
        flat = tensor.detach().flatten()
        places = torch.linspace(0, max(len(flat) - 1, 0), SAMPLES_PER_TENSOR, dtype=torch.float64).long()
        values = flat[places.to(flat.device)] if len(flat) else flat
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(values.cpu().float().half().numpy().tobytes())


def frames_digest(frames: np.ndarray) -> str:
    """sha256 (hex) of uint8 frames [F, H, W, 3], shape included: names a clip as the edit sees it."""
    digest = hashlib.sha256(repr(tuple(frames.shape)).encode())
    for frame in frames:
        digest.update(np.ascontiguousarray(frame).data)
    return digest.hexdigest()
