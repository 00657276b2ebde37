"""Masks made larger or smaller by a number of pixels (OpenCV, imported when used)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def grow_mask(mask: Tensor, pixels: int) -> Tensor:
    """A mask [F, H, W] in [0, 1] that reaches `pixels` further, or less far where negative: float32, on the CPU.

    By Euclidean distance from the pixels above 0.5, with a border one pixel soft; 0 gives the mask as it is. A mask
    that ends at the picture's edge goes on beyond it: shrinking leaves it there. An empty frame stays empty.
    """
    import cv2

    if pixels == 0:
        return mask
    grown = []
    for frame in mask.detach().cpu().float().numpy():
        inside = frame > 0.5
        if pixels > 0 and inside.any():
            away = cv2.distanceTransform((~inside).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
            frame = np.maximum(frame, np.clip(pixels + 1 - away, 0, 1))
        elif pixels < 0 and not inside.all():
            depth = cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
            frame = np.minimum(frame, np.clip(depth + pixels, 0, 1))
        grown.append(torch.from_numpy(np.ascontiguousarray(frame)))
    return torch.stack(grown)
