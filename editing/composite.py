"""Masks in two places: at latent size for the blend, at pixel size for the composite after decoding.

Both grow outwards from the region by Euclidean distance d (in cells or pixels of their own grid):
    weight = 1 for d <= dilate,   1 - (d - dilate) / (feather + 1) beyond,   exactly 0 from d = dilate + feather + 1 on.
So `feather` rings of cells are soft, the region itself stays 1, and nothing leaks further.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import adaptive_max_pool2d


class CompositeError(ValueError):
    """Frames or masks that do not fit each other. The text says which, and what to do."""


def latent_mask(union: Tensor, size: tuple[int, int], feather: float = 1.0) -> Tensor:
    """The blend's mask: regions at pixel size -> [F, h, w] float32 at latent size, on union's device.

    union: [F, H, W], bool or values in [0, 1]; any value > 0 belongs to the region. size: (h, w) of the latent.
    feather: soft rings outside the region, in latent cells, >= 0.
    A cell that touches the region is 1, so the mask is never smaller than the region. Where H, W are multiples of h, w
    a cell is its H/h x W/w block of pixels; otherwise blocks overlap by up to one pixel (adaptive pooling).
    """
    region = _region(union, "union")
    h, w = _size(size)
    _check_radius("feather", feather)
    pooled = adaptive_max_pool2d(torch.from_numpy(region.astype(np.float32))[:, None], (h, w))[:, 0]
    core = pooled.numpy() > 0
    weight = np.stack([_weight(frame, 0.0, feather) for frame in core])
    return torch.from_numpy(weight).to(union.device if isinstance(union, Tensor) else "cpu")


def composite(source, edited, mask, *, dilate: float = 8.0, feather: float = 8.0):
    """The edited frames inside the grown mask, the source's own pixels outside, bit for bit.

    source, edited: [F, H, W, 3], both numpy or both torch, both uint8 or both float32. mask: [F, H, W], bool or in
    [0, 1], numpy or torch; any value > 0 belongs to the region. dilate, feather: pixels, >= 0 (module docstring).
    Returns source's type, dtype and device. composite_support tells where it may differ from the source.
    """
    a, b = _frames(source, "source"), _frames(edited, "edited")
    if a.shape != b.shape or a.dtype != b.dtype:
        raise CompositeError(
            f"composite: source is {list(a.shape)} {a.dtype}, edited {list(b.shape)} {b.dtype}; "
            "both need the same frames, size and dtype."
        )
    region = _region(mask, "mask")
    if region.shape != a.shape[:3]:
        raise CompositeError(
            f"composite: expected a mask [F, H, W] = {list(a.shape[:3])} like the frames, got {list(region.shape)}; "
            "bring the masks to the frames' size and count."
        )
    _check_radius("dilate", dilate)
    _check_radius("feather", feather)
    out = a.copy()
    for k in range(len(a)):
        weight = _weight(region[k], dilate, feather)
        inside, soft = weight == 1, (weight > 0) & (weight < 1)
        out[k][inside] = b[k][inside]
        mixed = a[k][soft] + weight[soft][:, None] * (b[k][soft].astype(np.float32) - a[k][soft])
        out[k][soft] = np.rint(mixed) if a.dtype == np.uint8 else mixed
    return torch.from_numpy(out).to(source.device) if isinstance(source, Tensor) else out


def composite_weight(mask, *, dilate: float = 8.0, feather: float = 8.0) -> np.ndarray:
    """Share of the edited picture in each pixel: float32 numpy [F, H, W]. Arguments as in `composite`."""
    region = _region(mask, "mask")
    _check_radius("dilate", dilate)
    _check_radius("feather", feather)
    return np.stack([_weight(frame, dilate, feather) for frame in region])


def composite_support(mask, *, dilate: float = 8.0, feather: float = 8.0) -> np.ndarray:
    """Where `composite` may differ from the source: bool numpy [F, H, W]. Outside it every bit is the source's."""
    return composite_weight(mask, dilate=dilate, feather=feather) > 0


def _weight(region: np.ndarray, dilate: float, feather: float) -> np.ndarray:
    """float32 [H, W] of the module docstring's formula, for one frame's bool [H, W]."""
    import cv2

    if not region.any():
        return np.zeros(region.shape, np.float32)
    d = cv2.distanceTransform((~region).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.clip(1 - (d - np.float32(dilate)) / np.float32(feather + 1), 0, 1).astype(np.float32)


def _region(mask, name: str) -> np.ndarray:
    """bool [F, H, W] of a mask in [0, 1]."""
    values = mask.detach().cpu().numpy() if isinstance(mask, Tensor) else np.asarray(mask)
    if values.ndim != 3 or 0 in values.shape:
        raise CompositeError(
            f"{name}: expected a mask [F, H, W] with no empty axis, got {list(values.shape)}; "
            "give one mask per frame (repeat a static mask F times)."
        )
    if values.dtype == bool:
        return values
    if not np.issubdtype(values.dtype, np.floating):
        raise CompositeError(
            f"{name}: expected bool or floating-point values from 0 to 1, got {values.dtype}; "
            "divide 8-bit masks by 255."
        )
    if not ((values >= 0) & (values <= 1)).all():  # NaN fails too
        raise CompositeError(
            f"{name}: expected values from 0 to 1, got {values.min():.4g} to {values.max():.4g}; "
            "divide 8-bit masks by 255 and remove NaN."
        )
    return values > 0


def _frames(frames, name: str) -> np.ndarray:
    values = frames.detach().cpu().numpy() if isinstance(frames, Tensor) else frames
    if not isinstance(values, np.ndarray) or values.ndim != 4 or values.shape[-1] != 3 or 0 in values.shape:
        got = list(values.shape) if isinstance(values, np.ndarray) else type(values).__name__
        raise CompositeError(f"{name}: expected RGB frames [F, H, W, 3], got {got}; drop an alpha channel first.")
    if values.dtype not in (np.uint8, np.float32):
        raise CompositeError(f"{name}: expected uint8 or float32 frames, got {values.dtype}; convert them first.")
    return values


def _size(size) -> tuple[int, int]:
    if not isinstance(size, tuple | list | torch.Size) or len(size) != 2 or any(int(n) != n or n < 1 for n in size):
        raise CompositeError(f"size: expected (h, w), two positive integers (the latent's size), got {size!r}.")
    return int(size[0]), int(size[1])


def _check_radius(name: str, value: float) -> None:
    if not isinstance(value, int | float) or not 0 <= value < float("inf"):
        raise CompositeError(f"{name}: expected a number >= 0, got {value!r}.")
