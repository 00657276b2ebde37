"""Masks in two places: at latent size for the blend, at pixel size for the composite after decoding.

Both grow outwards from the region by Euclidean distance d (in cells or pixels of their own grid):
    weight = 1 for d <= dilate,   1 - (d - dilate) / (feather + 1) beyond,   exactly 0 from d = dilate + feather + 1 on.
So `feather` rings of cells are soft, the region itself stays 1, and nothing leaks further.

`keep`, in all of these, is what must stay the source's although it lies in or beside the region (a preserved region on
top of an edited one). It is taken out AFTER growing: taken out before, the borders would grow back over it.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, adaptive_max_pool2d

from .checks import VAE_REMEDY, check_finite


class CompositeError(ValueError):
    """Frames or masks that do not fit each other. The text says which, and what to do."""


def latent_mask(union: Tensor, size: tuple[int, int], feather: float = 1.0, *, keep: Tensor | None = None) -> Tensor:
    """The blend's mask: regions at pixel size -> [F, h, w] float32 at latent size, on union's device.

    union: [F, H, W], bool or values in [0, 1]; any value > 0 belongs to the region. size: (h, w) of the latent.
    feather: soft rings outside the region, in latent cells, >= 0. keep: [F, H, W] like union, or None; the mask is
    multiplied by 1 - the share of each cell that is kept (area average), so a cell kept as a whole is 0.
    A cell that touches the region is 1, so without keep the mask is never smaller than the region. Where H, W are
    multiples of h, w a cell is its H/h x W/w block of pixels; otherwise blocks overlap by up to one pixel (adaptive
    pooling).
    """
    region = _region(union, "union")
    h, w = _size(size)
    _check_radius("feather", feather)
    pooled = adaptive_max_pool2d(torch.from_numpy(region.astype(np.float32))[:, None], (h, w))[:, 0]
    core = pooled.numpy() > 0
    weight = np.stack([_weight(frame, 0.0, feather) for frame in core])
    if keep is not None:
        kept = torch.from_numpy(_kept(keep, region.shape, "union").astype(np.float32))
        weight *= 1 - adaptive_avg_pool2d(kept[:, None], (h, w))[:, 0].numpy()
    return torch.from_numpy(weight).to(union.device if isinstance(union, Tensor) else "cpu")


def composite(source, edited, mask, *, dilate: float = 8.0, feather: float = 8.0, keep=None):
    """The edited frames inside the grown mask, the source's own pixels outside, bit for bit.

    source, edited: [F, H, W, 3], both uint8 or both float32 (of any range), each numpy or torch. mask: [F, H, W], bool
    or floating in [0, 1], numpy or torch; any value > 0 belongs to the region. dilate, feather: pixels, >= 0 (module
    docstring). keep: None or [F, H, W] like mask: where it is > 0.5 (or True) the source's pixels stay,
    whatever the mask says. Returns what `source` is (numpy or torch), in its dtype and on its device.
    composite_support tells where it may differ from the source. Raises CompositeError for another dtype, also of the
    two beside each other, and for shapes and values that do not fit.
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
    weights = composite_weight(mask, dilate=dilate, feather=feather, keep=keep)
    out = a.copy()
    for k, weight in enumerate(weights):
        inside, soft = weight == 1, (weight > 0) & (weight < 1)
        out[k][inside] = b[k][inside]
        mixed = a[k][soft] + weight[soft][:, None] * (b[k][soft].astype(np.float32) - a[k][soft])
        out[k][soft] = np.rint(mixed) if a.dtype == np.uint8 else mixed
    return torch.from_numpy(out).to(source.device) if isinstance(source, Tensor) else out


def composite_weight(mask, *, dilate: float = 8.0, feather: float = 8.0, keep=None) -> np.ndarray:
    """Share of the edited picture in each pixel: float32 numpy [F, H, W]. Arguments as in `composite`."""
    region = _region(mask, "mask")
    _check_radius("dilate", dilate)
    _check_radius("feather", feather)
    weights = np.stack([_weight(frame, dilate, feather) for frame in region])
    if keep is not None:
        weights[_kept(keep, region.shape, "mask")] = 0
    return weights


def composite_support(mask, *, dilate: float = 8.0, feather: float = 8.0, keep=None) -> np.ndarray:
    """Where `composite` may differ from the source: bool numpy [F, H, W]. Outside it every bit is the source's."""
    return composite_weight(mask, dilate=dilate, feather=feather, keep=keep) > 0


def _weight(region: np.ndarray, dilate: float, feather: float) -> np.ndarray:
    """float32 [H, W] of the module docstring's formula, for one frame's bool [H, W]."""
    import cv2

    if not region.any():
        return np.zeros(region.shape, np.float32)
    d = cv2.distanceTransform((~region).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.clip(1 - (d - np.float32(dilate)) / np.float32(feather + 1), 0, 1).astype(np.float32)


def _kept(keep, shape: tuple[int, ...], name: str) -> np.ndarray:
    """bool [F, H, W] of `keep`, which must have the shape of the mask called `name`."""
    kept = _region(keep, "keep", above=0.5)
    if kept.shape != shape:
        raise CompositeError(
            f"keep: expected [F, H, W] = {list(shape)} like {name}, got {list(kept.shape)}; "
            "bring both to the same size and count."
        )
    return kept


def _region(mask, name: str, above: float = 0.0) -> np.ndarray:
    """bool [F, H, W] of a mask in [0, 1]: where it is more than `above`."""
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
    return values > above


def _frames(frames, name: str) -> np.ndarray:
    values = frames.detach().cpu().numpy() if isinstance(frames, Tensor) else frames
    if not isinstance(values, np.ndarray) or values.ndim != 4 or values.shape[-1] != 3 or 0 in values.shape:
        got = list(values.shape) if isinstance(values, np.ndarray) else type(values).__name__
        raise CompositeError(f"{name}: expected RGB frames [F, H, W, 3], got {got}; drop an alpha channel first.")
    if values.dtype not in (np.uint8, np.float32):
        raise CompositeError(f"{name}: expected uint8 or float32 frames, got {values.dtype}; convert them first.")
    if values.dtype == np.float32:
        check_finite(torch.from_numpy(values), name, VAE_REMEDY)
    return values


def _size(size) -> tuple[int, int]:
    if not isinstance(size, tuple | list | torch.Size) or len(size) != 2 or any(int(n) != n or n < 1 for n in size):
        raise CompositeError(f"size: expected (h, w), two positive integers (the latent's size), got {size!r}.")
    return int(size[0]), int(size[1])


def _check_radius(name: str, value: float) -> None:
    if not isinstance(value, int | float) or not 0 <= value < float("inf"):
        raise CompositeError(f"{name}: expected a number >= 0, got {value!r}.")
