"""An edit as a value that travels inside ComfyUI's model and conditioning, and what one sampling run adds to it.

Nothing here imports comfy. Three values, all immutable, all their own deep copies (hosts deep-copy what nodes hold):

- `Edit`: what one ST-Layout Attn Patch node does. The patched model holds it.
- `RegionTag`: says, on a conditioning, which edit it belongs to and which of its tokens belong to which region.
- `SamplingRun`: what the attention slots must know of the sampling run they are called in (`SamplingRun.begin`);
  lives in transformer_options[KEY] for the time of the run.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ...attention import LabelMap, Modulation
from ...attention.kernels.choice import check_kernel
from ...editing.doubts import Doubt, doubts
from ...editing.mask_shapes import fits, is_uniform
from ...editing.region_modulation import build_modulation
from ...editing.regions import Region, frame_masks
from ...editing.settings import AttentionSettings
from .errors import naming

KEY = "videograin"
"""Our name in a conditioning's dict (a `RegionTag`) and in transformer_options (a `SamplingRun`)."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Edit:
    """Space-time self-attention and, if there are regions, the modulation of self- and cross-attention.

    Attributes:
        regions: in layering order, later = on top. None at all = space-time attention alone, unmodulated.
        text_labels: int64 [L], region 1..R of each token of the prompt, 0 = start, -1 = none; only with regions.
        attention: the arrangement of the frames, and how strongly, when and where attention is modulated.
        empty_range: no noise level is modulated, whatever `attention` says: the node lets its start lie at or behind
            its end, which the settings refuse.
        id: names this edit among others; every new value, also one made by `replace`, has its own.

    Raises:
        ValueError: a kernel that is not installed, regions without text labels.
    """

    regions: tuple[Region, ...] = ()
    text_labels: Tensor | None = None
    attention: AttentionSettings = field(default_factory=AttentionSettings)
    empty_range: bool = False
    id: str = field(init=False, default_factory=lambda: uuid.uuid4().hex)
    # The last modulation made: the next run of the same length need not lay out the masks again.
    _made: dict[int, Modulation] = field(init=False, default_factory=dict, repr=False)

    def __post_init__(self):
        check_kernel(self.attention.kernel)
        if self.regions and self.text_labels is None:
            raise ValueError("Edit: expected text_labels with the regions; got none. encode_regions gives both.")

    def __deepcopy__(self, memo) -> Edit:
        return self

    @property
    def modulates(self) -> bool:
        """Whether there is anything to modulate at some noise level."""
        return bool(self.regions) and max(self.attention.self_strength, self.attention.cross_strength) > 0

    def modulation(self, frames: int, node: str = "ST-Layout Attn Patch") -> Modulation | None:
        """The modulation of a clip of `frames` frames; None if this edit does not modulate.

        Raises:
            ValueError: a region's mask has another number of frames (or is no mask at all).
        """
        if not self.modulates:
            return None
        made = self._made.get(frames)
        if made is None:
            off = {"self_strength": 0.0, "cross_strength": 0.0} if self.empty_range else {}
            strengths = [float(region.strength) for region in self.regions]
            with naming(node):
                masks = frame_masks(self.regions, frames)
                made = build_modulation(masks, self.text_labels, replace(self.attention, **off), strengths)
            self._made.clear()
            self._made[frames] = made
        return made

    def label_map(self, frames: int) -> LabelMap:
        """The regions, of which there must be some, laid out for a clip; errors as in `modulation`."""
        return LabelMap(frame_masks(self.regions, frames))

    def extent(self) -> tuple[int, tuple[int, int]]:
        """(frames, (H, W)): the most frames and the largest sides that any region's mask has. Where they differ in
        shape, of those that have one (`is_uniform` masks fit any)."""
        masks = [torch.as_tensor(region.mask) for region in self.regions]
        frames = max(mask.shape[0] if mask.dim() > 2 else 1 for mask in masks)
        size = (max(mask.shape[-2] for mask in masks), max(mask.shape[-1] for mask in masks))
        shaped = [mask for mask in masks if not is_uniform(mask)]
        if not all(fits(mask, size) for mask in shaped):
            size = (max(mask.shape[-2] for mask in shaped), max(mask.shape[-1] for mask in shaped))
        return frames, size

    def doubts(self, node: str) -> list[Doubt]:
        """What is allowed but hardly meant, as far as it is known before sampling.

        Raises:
            ValueError: masks of several frame counts (none but 1 fits besides the largest), or no masks.
        """
        frames, size = self.extent()
        with naming(node):
            found = doubts(self.regions, size, frames, self.attention)
        if self.empty_range:
            text = "start_percent is not below end_percent: nothing is modulated at any step"
            found.append(Doubt("range", None, text))
        return found


@dataclass(frozen=True, eq=False)
class RegionTag:
    """On a conditioning: the edit it was made for, and the region of each of its tokens.

    Not a plain tensor, because ComfyUI's context windows cut tensors of a conditioning to the window's frames.

    Attributes:
        edit: Edit.id.
        labels: int64 [L], 1..R or -1.
    """

    edit: str
    labels: Tensor

    def __deepcopy__(self, memo) -> RegionTag:
        return self

    def padded(self, length: int) -> RegionTag | None:
        """The tag of a conditioning of `length` tokens; None if it is shorter than the tag, so not the same prompt.

        What other nodes append (Conditioning (Concat)) belongs to no region.
        """
        missing = length - len(self.labels)
        if missing < 0:
            return None
        return replace(self, labels=torch.nn.functional.pad(self.labels, (0, missing), value=-1))


def tag(conditioning: Sequence[Sequence], edit: Edit) -> list[list]:
    """Copies of the conditioning's entries that carry the edit's `RegionTag`; without regions they carry none."""
    if not edit.regions:
        return [[entry[0], dict(entry[1])] for entry in conditioning]
    region_tag = RegionTag(edit.id, edit.text_labels)
    return [[entry[0], {**entry[1], KEY: region_tag}] for entry in conditioning]
