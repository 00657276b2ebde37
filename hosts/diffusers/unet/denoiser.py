"""diffusers' UNet as a k-diffusion denoiser `model(x, sigma) -> x0`, with space-time attention and regions.

A clip longer than the model holds at once is denoised in windows (editing/windows.py).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ....attention import LayerCall, Modulation, Observer, RangeMemory, SpaceTime
from ....editing.windows import Windows, windowed
from .attention import UNetCall, check_attention, installed
from .control import Control
from .prompts import Prompt

# A timestep that is off a whole one by less than this is float32 rounding of sigma.
TIMESTEP_ROUNDING = 1e-3


class _Once:
    """Stands before an observer: a prediction that is begun again, in halves, shows no layer twice.

    A model runs its layers in the same order every time, so those shown before the memory ran out are skipped by count.
    """

    def __init__(self, observer: Observer):
        self._observer, self._shown, self._skip = observer, 0, 0

    def begin(self, again: bool = False) -> None:
        self._shown, self._skip = 0, self._shown if again else 0

    def wants(self, attention_type: str, grid: tuple[int, int], size: tuple[int, int], t: float) -> bool:
        return self._observer.wants(attention_type, grid, size, t)

    def add(self, seen: LayerCall) -> None:
        if self._shown >= self._skip:
            self._observer.add(seen)
        self._shown += 1


class UNetDenoiser:
    """`denoise(x, sigma, **extra) -> x0` for k-diffusion samplers; made by DiffusersModel.denoiser.

    frames: F, those of the clip. guidance: 1 runs the prompt alone; otherwise `negative` is needed and the UNet sees
    [uncond, cond] in one batch (`batched=False`: one after the other, half the memory). spacetime, anchors: as
    SpaceTime. modulation: regions (None = plain attention). controlnet: from `load_control`. observer: is shown every
    self- and cross-attention layer of the conditional half. indices: which frames of a clip these are (a window), None
    = all. Raises ValueError for what does not fit together.

    x: [F, C, h, w], z / sqrt(alpha_bar), any float dtype. sigma: > 0, a number or a tensor of F equal values.
    extra: ignored (samplers may pass their own). Returns float32 [F, C, h, w] on x's device.

    The UNet is only changed while a call runs: processors and hooks go in at its start and out at its end, also
    after an exception or Ctrl-C. So denoisers of one model may be nested and used in turns. Leaving a `with` block
    releases the denoiser; calling it afterwards is an error.
    """

    def __init__(
        self,
        model: Any,
        prompt: Prompt,
        *,
        frames: int,
        negative: Prompt | None = None,
        guidance: float = 1.0,
        spacetime: str | SpaceTime = "full",
        key_frames: int = 2,
        modulation: Modulation | None = None,
        controlnet: Control | None = None,
        batched: bool = True,
        observer: Observer | None = None,
        indices: tuple[int, ...] | None = None,
    ):
        if not math.isfinite(guidance):
            raise ValueError(f"guidance must be a finite number; got {guidance}.")
        if guidance != 1 and negative is None:
            raise ValueError(
                f"guidance {guidance} needs a negative prompt to guide away from; pass negative=encode_prompt(''), or "
                "guidance=1."
            )
        self.spacetime = SpaceTime(spacetime, frames, key_frames) if isinstance(spacetime, str) else spacetime
        if self.spacetime.frames != frames:
            raise ValueError(
                f"spacetime is for {self.spacetime.frames} frames, the denoiser for {frames}; make them equal."
            )
        if indices is not None and len(indices) != frames:
            raise ValueError(
                f"the indices name {len(indices)} frames of a clip, the denoiser is for {frames}; make them equal."
            )
        if modulation is not None:
            if modulation.label_map.frames != frames:
                raise ValueError(
                    f"the regions have masks for {modulation.label_map.frames} frames, the video {frames}; give each "
                    f"region 1 or {frames} masks."
                )
            if len(modulation.text_labels) != len(prompt.ids):
                raise ValueError(
                    f"the modulation's text labels are for {len(modulation.text_labels)} tokens, the prompt has "
                    f"{len(prompt.ids)}; take both from one encode_regions call."
                )
        check_attention(model.unet)
        self.frames, self.guidance = frames, float(guidance)
        self._together = {"halves": batched}  # shared with `select`: what one window finds out, the others know
        self._model, self._control = model, controlnet
        self._indices, self._ranges = None if indices is None else tuple(indices), RangeMemory()
        self._observer = None if observer is None else _Once(observer)
        chunks = {"cond": prompt} if guidance == 1 else {"uncond": negative, "cond": prompt}
        # Prompts of unequal length: repeating a context evenly leaves softmax as it was, padding would not.
        length = math.lcm(*(len(p.ids) for p in chunks.values()))
        dtype, device = model.unet.dtype, model.device
        self._context = {
            role: p.embedding.repeat(1, length // len(p.ids), 1).to(device, dtype) for role, p in chunks.items()
        }
        self._pooled = {role: p.pooled.to(device, dtype) for role, p in chunks.items() if p.pooled is not None}
        times = length // len(prompt.ids)
        if modulation is not None and times > 1:
            modulation = replace(modulation, text_labels=modulation.text_labels.repeat(times))
        self._modulation = modulation

    @property
    def batched(self) -> bool:
        """Whether both halves of a guided call go through the UNet in one batch: until that does not fit the memory."""
        return self._together["halves"]

    def check_control(self) -> None:
        """Raise ValueError unless a control video, if there is one, has as many frames as this denoiser."""
        if self._control is not None and self._control.frames != self.frames:
            raise ValueError(
                f"ControlNet: the control video has {self._control.frames} frames; expected {self.frames}, as the "
                "video. Cut it like the video."
            )

    def select(self, indices: Sequence[int]) -> UNetDenoiser:
        """The denoiser of some of the frames (a window), in the given order; shares the prompts with this one.

        Key frames are those of the window.
        """
        part = copy.copy(self)
        part.frames = len(indices)
        part._indices = tuple(indices) if self._indices is None else tuple(self._indices[n] for n in indices)
        part.spacetime = replace(self.spacetime, frames=part.frames)
        part._modulation = None if self._modulation is None else self._modulation.select(indices)
        part._control = None if self._control is None else self._control.select(indices)
        return part

    def __enter__(self) -> UNetDenoiser:
        return self

    def __exit__(self, *exception) -> None:
        self._model = self._control = self._modulation = self._observer = self._ranges = None
        self._context, self._pooled = {}, {}

    @torch.no_grad()
    def __call__(self, x: Tensor, sigma: Tensor | float, **extra: Any) -> Tensor:
        if self._model is None:
            raise RuntimeError("this denoiser's `with` block has ended; make a new one with model.denoiser(...).")
        model = self._model
        if x.dim() != 4 or x.shape[:2] != (self.frames, model.latent_channels):
            raise ValueError(
                f"latents of shape {tuple(x.shape)}; expected [{self.frames}, {model.latent_channels}, h, w]: "
                "one latent per frame the denoiser was made for."
            )
        timestep = model.levels.timestep(sigma)
        if abs(timestep - round(timestep)) < TIMESTEP_ROUNDING:
            timestep = float(round(timestep))
        sigma = float(sigma.flatten()[0] if isinstance(sigma, Tensor) else sigma)
        if sigma <= 0:
            raise ValueError(f"sigma must be > 0; got {sigma}: a clean latent has no noise to remove.")
        x32 = x.float()
        z = (x32 / math.sqrt(sigma**2 + 1)).to(model.device, model.unet.dtype)
        out = self._predict(z, timestep).to(x.device)
        if model.prediction == "epsilon":
            return x32 - sigma * out
        return x32 / (sigma**2 + 1) - out * (sigma / math.sqrt(sigma**2 + 1))  # v = (eps - sigma x0) / sqrt(..)

    def _predict(self, z: Tensor, timestep: float) -> Tensor:
        """The UNet's output with guidance, float32.

        Where the memory does not suffice: an attention layer is tried again in two halves of its heads (`installed`),
        then a guided batch in its two halves, for the rest of the run.
        """
        if self._observer is not None:
            self._observer.begin()
        try:
            chunks = self._chunks(z, timestep)
        except torch.cuda.OutOfMemoryError as error:
            chunks, message = None, str(error)
        if chunks is None and self.batched and len(self._context) > 1:
            self._together["halves"] = False
            torch.cuda.empty_cache()
            if self._observer is not None:
                self._observer.begin(again=True)
            try:
                chunks = self._chunks(z, timestep)
            except torch.cuda.OutOfMemoryError as error:
                message = str(error)
        if chunks is None:
            height, width = self._model.geometry.pixels(z.shape[-2:])
            raise MemoryError(
                f"out of memory with {self.frames} frames of {width}x{height} "
                f"({message.splitlines()[0] if message else 'no details'}), also in halves. Denoise in windows "
                "(`windows: {frames: 16}` in an edit file) or lower their frames; or lower `size`."
            )
        if len(chunks) == 1:
            return chunks[0]
        uncond, cond = chunks
        return uncond + self.guidance * (cond - uncond)

    def _chunks(self, z: Tensor, timestep: float) -> list[Tensor]:
        roles = tuple(self._context)
        if self.batched:
            return list(self._run(z, timestep, roles).chunk(len(roles)))
        return [self._run(z, timestep, (role,)) for role in roles]

    def _run(self, z: Tensor, timestep: float, roles: tuple[str, ...]) -> Tensor:
        """One UNet call on the batch [role, frame]."""
        from diffusers import Transformer2DModel

        model = self._model
        t = timestep / len(model.levels)
        batch = z.repeat(len(roles), 1, 1, 1)
        context = torch.cat([self._context[role].expand(self.frames, -1, -1) for role in roles])
        added = self._added(roles, tuple(z.shape[-2:]))
        time = torch.full((), timestep, device=z.device)
        residuals: dict[str, Any] = {}
        if self._control is not None:
            self._control.check(self.frames, model.geometry.pixels(z.shape[-2:]))
            residuals = self._control.residuals(batch, time, context, added, t)
        call = UNetCall(
            t,
            roles,
            self.spacetime,
            self._modulation,
            tuple(z.shape[-2:]),
            self._observer,
            self._indices,
            self._ranges,
            min(model.attention_halvings),
        )
        with installed(model.unet, Transformer2DModel, call):
            out = model.unet(
                batch, time, encoder_hidden_states=context, added_cond_kwargs=added, return_dict=False, **residuals
            )[0]
        return out.float()

    def _added(self, roles: tuple[str, ...], grid: tuple[int, int]) -> dict[str, Tensor] | None:
        """SDXL's extra conditions per item of the batch: pooled text, and sizes as of an uncropped image."""
        if not self._pooled:
            return None
        height, width = self._model.geometry.pixels(grid)
        pooled = torch.cat([self._pooled[role].expand(self.frames, -1) for role in roles])
        sizes = pooled.new_tensor([height, width, 0, 0, height, width])
        return {"text_embeds": pooled, "time_ids": sizes.expand(len(pooled), -1)}


class WindowedDenoiser:
    """`denoise(x, sigma, **extra) -> x0` of a whole clip: a UNetDenoiser a window, one after the other.

    x, sigma, extra and what is returned: as UNetDenoiser. What grows with the clip are labels of the tokens (some 40
    bytes each, on the CPU) and, where ranges are reused, those of every window (attention/range_memory.py); prompts,
    masks and control video are shared by the windows, and the UNet sees one of them at a time. Leaving a `with` block
    releases all of them.
    """

    def __init__(self, whole: UNetDenoiser, windows: Windows):
        """whole: the denoiser of all frames, which is never called itself."""
        whole.check_control()
        self.windows = windows.split(whole.frames)
        self.frames, self.guidance = whole.frames, whole.guidance
        self._parts = [(window, whole.select(window.indices)) for window in self.windows]
        self._all = [whole, *(part for _, part in self._parts)]
        self._denoise = windowed(self._parts)

    def __enter__(self) -> WindowedDenoiser:
        return self

    def __exit__(self, *exception) -> None:
        for denoiser in self._all:
            denoiser.__exit__(*exception)

    def __call__(self, x: Tensor, sigma: Tensor | float, **extra: Any) -> Tensor:
        return self._denoise(x, sigma, **extra)
