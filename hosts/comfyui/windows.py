"""Long clips inside ComfyUI: its context windows, cut as `editing.windows` cuts them.

ComfyUI asks a model's `context_handler` to evaluate a clip in parts. Its own handler knows no frames that all windows
share, and its version of 2025 compares the noise level of every frame with the whole schedule and so takes hardly any
batch of frames. Ours keeps nothing between calls and changes nothing that it is given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from comfy import context_windows
from comfy import model_management as management
from torch import Tensor

from ...editing.windows import ALL_AT_ONCE, Windows, windows_note
from .frame_cuts import cut_conditioning

NODE = "Long Clip Windows"


class FramesOfClip(context_windows.ContextWindowABC):
    """What transformer_options["context_window"] holds during a call: which frames it is of."""

    def __init__(self, indices: Sequence[int]):
        self.index_list = list(indices)
        self.context_length = len(self.index_list)
        self.dim = 0

    def get_tensor(self, full: Tensor, device: Any = None, dim: int | None = None, **_: Any) -> Tensor:
        dim = dim or 0
        if full.shape[dim] == 1:
            return full
        return full.index_select(dim, torch.tensor(self.index_list, device=full.device)).to(device)

    def add_window(self, full: Tensor, to_add: Tensor, dim: int | None = None) -> Tensor:
        return full.index_add_(dim or 0, torch.tensor(self.index_list, device=full.device), to_add)


class LongClipHandler(context_windows.IndexListContextHandler):
    """Evaluates a clip window by window, every window with the anchors, and mixes by the windows' weights.

    A subclass of ComfyUI's, because others ask a handler for its `dim`, `context_length` and the like.
    """

    def __init__(self, windows: Windows):
        super().__init__(None, None, context_length=windows.frames, context_overlap=windows.overlap, dim=0)
        self.windows = windows

    def __deepcopy__(self, memo: dict) -> LongClipHandler:
        return self

    def should_use_context(
        self, model: Any, conds: list, x_in: Tensor, timestep: Tensor, model_options: dict[str, Any]
    ) -> bool:
        return x_in.shape[0] > self.windows.frames

    def execute(
        self,
        calc_cond_batch: Callable[..., list[Tensor]],
        model: Any,
        conds: list,
        x_in: Tensor,
        timestep: Tensor,
        model_options: dict[str, Any],
    ) -> list[Tensor]:
        """One prediction per conditioning for the whole clip [F, C, h, w], of calc_cond_batch per window.

        Raises:
            ValueError: AnimateDiff-Evolved samples this model.
        """
        options = model_options.get("transformer_options", {})
        if "ad_params" in options:
            raise ValueError(
                f"{NODE}: AnimateDiff-Evolved samples this model, and its motion modules and windows count all frames "
                "of the clip. Remove this node and connect context options to AnimateDiff-Evolved's node instead."
            )
        total = x_in.shape[0]
        mixed = [torch.zeros_like(x_in) for _ in conds]
        for window in self.windows.split(total):
            management.throw_exception_if_processing_interrupted()
            frames = FramesOfClip(window.indices)
            # ad_params: where IPAdapter_plus and Advanced-ControlNet look for the frames of a call.
            named = {"sub_idxs": frames.index_list, "full_length": total, "context_length": frames.context_length}
            seen = {**model_options, "transformer_options": {**options, "context_window": frames, "ad_params": named}}
            controls: dict[int, Any] = {}
            cut = [cut_conditioning(cond, window.indices, controls) for cond in conds]
            found = calc_cond_batch(model, cut, frames.get_tensor(x_in), frames.get_tensor(timestep), seen)
            weights = torch.tensor(window.weights, dtype=torch.float32, device=x_in.device).view(-1, 1, 1, 1)
            for whole, part in zip(mixed, found):
                frames.add_window(whole, (part * weights).to(whole.dtype))
        return mixed


def with_windows(model: Any, windows: Windows) -> Any:
    """A clone of a MODEL that sees a long clip in windows; it stands in for other context windows that the model has.

    For nodes before or after ours, and any number of models from one.
    """
    model = model.clone()
    model.model_options["context_handler"] = LongClipHandler(windows)
    # The room that the host makes is that of a window.
    context_windows.create_prepare_sampling_wrapper(model)
    return model


def windows_of(model_options: Mapping[str, Any], frames: int) -> str:
    """How a model sees a clip of `frames` frames: the note of its windows, another node's too, or ALL_AT_ONCE."""
    handler = model_options.get("context_handler")
    if isinstance(handler, LongClipHandler):
        return windows_note(handler.windows, frames)
    length = getattr(handler, "context_length", None)
    if length is None or getattr(handler, "dim", 0) != 0 or frames <= length:
        return ALL_AT_ONCE
    return f"of another node, frames {length}, overlap {getattr(handler, 'context_overlap', 0)}"
