"""Optional structure control: a local diffusers ControlNet, fed one control image per frame (method.md 2)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ....attention import ActiveRange


@dataclass(frozen=True)
class Control:
    """A ControlNet with its control video.

    net: diffusers ControlNetModel. images: float32 [F, 3, H, W] in [0, 1]. scale: >= 0, 1 = as trained.
    start, end: the part of the run in which it acts, as fractions (0 = noise, 1 = clean); by Schedule's rule, half
    open and with its tolerance at the edges, so that modulation and control of one range act in the same steps.
    indices: the images of the frames that are controlled (a window), None = all.
    """

    net: Any
    images: Tensor
    scale: float = 1.0
    start: float = 0.0
    end: float = 1.0
    indices: tuple[int, ...] | None = None

    def __post_init__(self):
        if not self.scale >= 0:
            raise ValueError(f"ControlNet: scale must be >= 0; got {self.scale}.")
        if not 0 <= self.start <= self.end <= 1:
            raise ValueError(
                f"ControlNet: expected 0 <= start <= end <= 1 (fractions of the run); got {self.start} and {self.end}."
            )

    @property
    def frames(self) -> int:
        """How many frames are controlled."""
        return len(self.images) if self.indices is None else len(self.indices)

    def select(self, frame_indices: Iterable[int]) -> Control:
        """The control of some frames in the given order (windows); shares the images.

        Raises ValueError for no index, or one outside 0..frames - 1.
        """
        wanted, there = [int(index) for index in frame_indices], self.indices or range(len(self.images))
        if not wanted or min(wanted) < 0 or max(wanted) >= len(there):
            raise ValueError(
                f"Control.select: expected frame indices in 0 to {len(there) - 1}; got {wanted}. The control video "
                "must cover every frame of the clip."
            )
        return replace(self, indices=tuple(there[index] for index in wanted))

    def check(self, frames: int, size: tuple[int, int]) -> None:
        """Raise ValueError unless there is one control image of `size` (H, W) per frame."""
        got = (self.frames, *self.images.shape[1:])
        if got != (frames, 3, *size):
            raise ValueError(
                f"ControlNet: the control video has {got[0]} frames of {got[3]}x{got[2]}; expected {frames} frames of "
                f"{size[1]}x{size[0]}, as the video. Cut and resize it like the video."
            )

    def residuals(
        self, z: Tensor, timestep: Tensor, context: Tensor, added: dict[str, Tensor] | None, t: float
    ) -> dict[str, Any]:
        """Arguments for the UNet call with batch z [chunk*F, C, h, w]; {} where the control is off."""
        if self.scale == 0 or not ActiveRange(self.start, self.end).holds(t):
            return {}
        images = self.images if self.indices is None else self.images[list(self.indices)]
        chunks = z.shape[0] // len(images)
        down, mid = self.net(
            z,
            timestep,
            encoder_hidden_states=context,
            controlnet_cond=images.to(z).repeat(chunks, 1, 1, 1),
            conditioning_scale=self.scale,
            added_cond_kwargs=added,
            return_dict=False,
        )
        return {"down_block_additional_residuals": down, "mid_block_additional_residual": mid}


def load_control(
    folder, frames, *, context_width: int, device="cpu", dtype=torch.float32, scale=1.0, start=0.0, end=1.0
) -> Control:
    """Load a ControlNet folder and pair it with its control video.

    folder: diffusers folder with config.json of a ControlNetModel and .safetensors weights. frames: uint8
    [F, H, W, 3]. context_width: cross_attention_dim of the UNet, which the ControlNet must share.
    Raises ValueError for anything else.
    """
    from diffusers import ControlNetModel

    folder = Path(folder)
    if not (folder / "config.json").is_file():
        raise ValueError(f"ControlNet: {folder} has no config.json; expected a local diffusers ControlNet folder.")
    found = ControlNetModel.load_config(folder, local_files_only=True)
    if found.get("_class_name") != "ControlNetModel":
        raise ValueError(f"ControlNet: {folder} holds a {found.get('_class_name')}; expected a ControlNetModel.")
    if found["cross_attention_dim"] != context_width:
        raise ValueError(
            f"ControlNet: {folder} was made for a text width of {found['cross_attention_dim']}; this model has "
            f"{context_width}. Use a ControlNet of the model's own family."
        )
    images = torch.as_tensor(frames)
    if images.dim() != 4 or images.shape[-1] != 3 or images.dtype != torch.uint8:
        raise ValueError(
            f"ControlNet: control frames must be uint8 [F, H, W, 3]; got {images.dtype} {tuple(images.shape)}."
        )
    net = ControlNetModel.from_pretrained(folder, torch_dtype=dtype, use_safetensors=True, local_files_only=True)
    net = net.to(device).eval().requires_grad_(False)
    return Control(net, images.permute(0, 3, 1, 2).float() / 255, scale, start, end)
