"""Optical flow of real clips: which estimator there is, flow from every frame back to the one before, occlusion.

RAFT-Large (Teed and Deng 2020) through torchvision where its weights lie on disk, else DIS (Kroeger et al. 2016) of
OpenCV. Nothing is ever downloaded; the result says which one it was.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import numpy as np

from .warp import in_frame, warp

# torchvision's files of RAFT-Large, the one trained on most data first.
WEIGHTS = (
    "raft_large_C_T_SKHT_V2-ff5fadd5.pth",
    "raft_large_C_T_SKHT_K_V2-b5c70766.pth",
    "raft_large_C_T_V2-1bb1363a.pth",
    "raft_large_C_T_V1-22a6c225.pth",
)
UNIT, LEAST = 8, 128  # RAFT reads frames of whole cells of 8 pixels, 16 of them a side at least
SMALLEST = 16  # pixels: DIS needs a few patches of 8
UPDATES = 12  # RAFT's iterations, torchvision's default


class FlowError(ValueError):
    """Flow cannot be computed as asked. The text says what was expected and the remedy."""


@dataclass(frozen=True)
class Estimator:
    """name: what figures quote. flow(first, second), both uint8 [H, W, 3]: float32 [H, W, 2], the (dx, dy) in pixels at
    which ``second`` shows what ``first`` shows. note: why it is not RAFT, "" where it is."""

    name: str
    flow: Callable[[np.ndarray, np.ndarray], np.ndarray]
    note: str = ""


@dataclass(frozen=True)
class ClipFlow:
    """backward: float32 [F - 1, H, W, 2] as warp.py defines it. valid: float32 [F - 1, H, W], 1 where a pixel of frames
    1, 2, ... is seen in the frame before, too. name: the estimator's."""

    backward: np.ndarray
    valid: np.ndarray
    name: str


def find_estimator(weights: str | Path | None = None, device: str = "cpu") -> Estimator:
    """RAFT-Large with ``weights`` (a .pth file of torchvision's), or with those in torch hub's cache; else DIS. device:
    where RAFT runs; DIS is the CPU's.

    Raises FlowError where ``weights`` is given but cannot be used: what was asked for is never replaced in silence.
    """
    if weights is not None:
        return raft(weights, device)
    import torch

    folder = Path(torch.hub.get_dir()) / "checkpoints"
    found = next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)
    if found is None:
        return dis(f"no RAFT-Large weights ({WEIGHTS[0]}) in {folder}")
    try:
        return raft(found, device)
    except FlowError as error:
        return dis(str(error))


def dis(note: str = "") -> Estimator:
    """OpenCV's dense inverse search (Kroeger et al. 2016), preset medium, on the grey frames; ``flow`` refuses frames
    below 16 pixels a side (FlowError). note: why it is not RAFT."""
    import cv2

    def flow(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        if min(first.shape[:2]) < SMALLEST:
            raise FlowError(
                f"frames of {first.shape[1]} x {first.shape[0]} pixels; expected {SMALLEST} x {SMALLEST} or more for "
                "optical flow; enlarge them"
            )
        # OpenCV's stubs know neither this function nor that calc may be given no flow to begin with.
        method = cast(Any, cv2).DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        return method.calc(*(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in (first, second)), None)

    return Estimator(f"DIS (OpenCV {cv2.__version__}, preset medium)", flow, note)


def raft(weights: str | Path, device: str = "cpu") -> Estimator:
    """torchvision's RAFT-Large, 12 updates. Frames are resized to multiples of 8, 128 pixels a side at least, and the
    flow is brought back to their size. Raises FlowError where torchvision or the file cannot be used."""
    import torch

    weights = Path(weights)
    remedy = f"give a file such as {WEIGHTS[0]}, or none to take OpenCV's DIS"
    if not weights.is_file():
        raise FlowError(f"RAFT weights: {weights} does not exist; expected a .pth file of RAFT-Large; {remedy}")
    try:
        from torchvision.models.optical_flow import raft_large
    except (ImportError, RuntimeError) as error:  # torchvision of another torch raises RuntimeError
        raise FlowError(
            f"RAFT needs torchvision, which cannot be imported ({error}); install it, or {remedy}"
        ) from None
    model = raft_large(weights=None, progress=False)
    try:
        model.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    except Exception as error:  # pickle, zip, keys and shapes each have errors of their own
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise FlowError(f"RAFT weights: {weights} is not RAFT-Large of torchvision ({text}); {remedy}") from None
    model.eval().requires_grad_(False).to(device)

    def flow(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        height, width = first.shape[:2]
        high, wide = (max(LEAST, -(-side // UNIT) * UNIT) for side in (height, width))
        size = (high, wide)
        pair = [torch.from_numpy(np.ascontiguousarray(frame)).permute(2, 0, 1)[None] for frame in (first, second)]
        with torch.no_grad():
            pair = [_resized(frame.to(device, torch.float32) / 127.5 - 1, size) for frame in pair]
            found = _resized(model(*pair, num_flow_updates=UPDATES)[-1], (height, width))[0]
        found = found * found.new_tensor([width / size[1], height / size[0]])[:, None, None]
        return found.permute(1, 2, 0).cpu().numpy()

    return Estimator(f"RAFT-Large (torchvision, {weights.stem})", flow)


def clip_flow(frames: np.ndarray, estimator: Estimator, tick: Callable[[], object] = lambda: None) -> ClipFlow:
    """Backward flow and occlusion of a clip, uint8 [F, H, W, 3], F >= 2. tick: called once a pair.

    A pixel counts as seen in both frames by the forward-backward check of Sundaram et al. 2010: with b the backward
    flow and f the forward flow where b leads to,  |b + f|^2 <= 0.01 (|b|^2 + |f|^2) + 0.5,  and b stays in the frame.
    """
    _check_clip(frames)
    backward, valid = _room(frames, 2), _room(frames)
    for index, (before, after) in enumerate(pairwise(frames)):
        back, forth = estimator.flow(after, before), estimator.flow(before, after)
        backward[index] = back
        valid[index] = consistent(back, forth) & in_frame(back)
        tick()
    return ClipFlow(backward, valid, estimator.name)


def backward_flow(frames: np.ndarray, estimator: Estimator, tick: Callable[[], object] = lambda: None) -> np.ndarray:
    """`clip_flow`'s backward flow alone, float32 [F - 1, H, W, 2]: half the work where occlusion is not asked for."""
    _check_clip(frames)
    backward = _room(frames, 2)
    for index, (before, after) in enumerate(pairwise(frames)):
        backward[index] = estimator.flow(after, before)
        tick()
    return backward


def consistent(backward: np.ndarray, forward: np.ndarray) -> np.ndarray:
    """The forward-backward check (`clip_flow`): bool [H, W] for two flows [H, W, 2] between the same frames."""
    back, forth = backward.astype(np.float64), warp(forward, backward)
    sizes = (back**2).sum(axis=-1) + (forth**2).sum(axis=-1)
    return ((back + forth) ** 2).sum(axis=-1) <= 0.01 * sizes + 0.5


def _room(frames: np.ndarray, *more: int) -> np.ndarray:
    """Empty float32 [F - 1, H, W, *more]: what is found for every pair of frames."""
    return np.empty((len(frames) - 1, *frames.shape[1:3], *more), np.float32)


def _check_clip(frames: np.ndarray) -> None:
    if frames.ndim != 4 or len(frames) < 2:
        raise FlowError(
            f"frames are {list(frames.shape)}; expected [frames, height, width, 3], two frames or more; pass a longer "
            "clip"
        )


def _resized(values, size: tuple[int, int]):
    """A torch tensor [1, C, H, W] at ``size``, bilinear; as it is where it has that size."""
    import torch

    if tuple(values.shape[-2:]) == size:
        return values
    return torch.nn.functional.interpolate(values, size, mode="bilinear", align_corners=False)
