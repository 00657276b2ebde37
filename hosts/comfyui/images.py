"""IMAGE as ComfyUI hands it over, brought to plain RGB frames. Imports no ComfyUI."""

from __future__ import annotations

import logging

import numpy as np
import torch
from torch import Tensor

from ...editing.checks import VAE_REMEDY, check_finite

log = logging.getLogger(__name__)


def rgb_frames(images: Tensor, name: str, node: str) -> Tensor:
    """IMAGE [F, H, W, 3 or 4] as float32 [F, H, W, 3] on the CPU; a fourth channel is dropped and the log says so.

    name: the input's, for messages. node: the display name, for the log.

    Raises:
        ValueError: no batch of RGB or RGBA images, an empty one, or one with NaN or inf (NumberError). Names the
            input alone; `naming` adds the node.
    """
    if not isinstance(images, Tensor) or images.ndim != 4 or images.shape[-1] not in (3, 4) or 0 in images.shape:
        got = list(images.shape) if isinstance(images, Tensor) else type(images).__name__
        raise ValueError(f"{name}: expected frames [F, H, W, 3], got {got}; connect a batch of RGB images.")
    if images.shape[-1] == 4:
        log.warning("%s: %s has an alpha channel, which is dropped.", node, name)
    frames = images[..., :3].detach().to("cpu", torch.float32)
    check_finite(frames, name, VAE_REMEDY)
    return frames


def rgb_bytes(images: Tensor, name: str, node: str) -> np.ndarray:
    """`rgb_frames` as uint8 [F, H, W, 3]: [0, 1] becomes 0 to 255, rounded; what lies outside is cut off."""
    return (rgb_frames(images, name, node).clamp(0, 1) * 255).round().to(torch.uint8).numpy()


def image_of(pictures: np.ndarray) -> Tensor:
    """Pictures uint8 [..., 3], any strides, as IMAGE values: float32 of that shape on the CPU, 0 to 255 as [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(pictures)).float() / 255
