"""A steady edit, put together: motion, which regions are fused, and where in the edit it happens (method.md 11).

The latent part is a chain of step hooks; the two pixel parts work once, on the decoded frames, before the composite.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .blend import activity
from .fusion import Shares, background, fuse, keyed, widened
from .motion.value import Motion, MotionError
from .regions import Region, sized_masks
from .settings import SteadySettings
from .step_hooks import Fusion, StepHook


@dataclass(frozen=True, eq=False)
class Steady:
    """motion: of F frames and K regions; masks: float32 [K, F, H, W] at the frames' size, later ones on top; fused: the
    indices of the regions that are edited (preserved ones keep the source's pixels anyway)."""

    motion: Motion
    masks: Tensor
    fused: tuple[int, ...]

    @classmethod
    def of(cls, motion: Motion, regions: Sequence[Region], frames: int) -> Steady:
        """For the regions that the motion was found for, in their order. MotionError where it is another clip's."""
        if motion.frames != frames or len(motion.regions) != len(regions):
            raise MotionError(
                f"steady: the motion has {motion.frames} frames and {len(motion.regions)} regions, the edit {frames} "
                f"and {len(regions)}; expected the motion of this clip and these regions in their order; find it again."
            )
        masks = torch.stack(sized_masks(regions, motion.size, frames)) if regions else torch.zeros(0)
        return cls(motion, masks, tuple(k for k, region in enumerate(regions) if not region.preserve))

    def hooks(self, size: tuple[int, int], settings: SteadySettings, t_of: Callable[[float], float]) -> list[StepHook]:
        """The latent parts. size: (h, w) of the latent; t_of: sigma -> t, as Levels.t."""
        active = activity(settings.start, settings.end, t_of)
        shares = Shares.at(self.masks, size)
        return [Fusion(self.motion, shares, self.fused, settings.strength, active, settings.average)]

    def pictures(self, source: np.ndarray, decoded: np.ndarray, settings: SteadySettings, dilate: float) -> np.ndarray:
        """`values` of pictures. source, decoded: uint8 [F, H, W, 3] of the motion's size; uint8 [F, H, W, 3];
        `decoded` itself where both parts are off."""
        if not self._acts(settings):
            return decoded
        return unsigned(self.values(signed(source), signed(decoded), settings, dilate))

    def values(self, source: Tensor, decoded: Tensor, settings: SteadySettings, dilate: float) -> Tensor:
        """The pixel parts. source, decoded: float32 [F, 3, H, W] in [-1, 1] of the motion's size; dilate: pixels around
        the regions that are the edit's too (the composite's). The same shape; `decoded` itself where both are off."""
        if not self._acts(settings):
            return decoded
        shares = Shares.at(widened(self.masks, dilate), self.motion.size)
        out = fuse(decoded, self.motion, shares, self.fused, settings.strength) if settings.pixels else decoded
        if settings.key:
            behind, known = background(source, self.motion, self.masks)
            out = keyed(out, decoded, behind, known, self.motion, shares, self.fused)
        return out

    def _acts(self, settings: SteadySettings) -> bool:
        return bool(self.fused) and (settings.pixels or settings.key)


def signed(frames: np.ndarray) -> Tensor:
    """uint8 [F, H, W, 3] -> float32 [F, 3, H, W] in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float() / 127.5 - 1


def unsigned(values: Tensor) -> np.ndarray:
    """float32 [F, 3, H, W], what lies outside of [-1, 1] cut off -> uint8 [F, H, W, 3]."""
    return ((values.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
