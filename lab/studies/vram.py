"""How much GPU memory an SD 1.5 edit takes, by frames and size: computed from tensor sizes, no GPU needed.

    python -m videograin.lab.studies.vram --comfyui ~/comfy/ComfyUI > docs/benchmarks/vram.md

ComfyUI's own UNet with SD 1.5's configuration runs on torch's meta device, patched with this pack's attention, and
livebytes.py adds up the tensors that are alive at once. `--validate` runs a small size twice on the CPU, with real
numbers, and compares the counter with torch's allocator.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ...attention import CROSS, SELF, LabelMap, Modulation, SpaceTime, space_time_attention
from ..pages import render
from .clock import facts
from .livebytes import FusedAttention, LiveBytes

SIZES = ((512, 512), (768, 512), (640, 360))
FRAMES = (8, 16, 24, 32)
MODES = ("full", "full_coarse", "key_frames", "sparse_causal", "per_frame")
ANCHORS = 2
TOKENS = 77
STEPS = 50
CHANNELS = 64  # of the narrow UNet by which the counter is checked
# SD 1.5 as ComfyUI's model_detection describes it.
SD15 = {
    "image_size": 32, "in_channels": 4, "out_channels": 4, "model_channels": 320, "num_res_blocks": [2, 2, 2, 2],
    "channel_mult": [1, 2, 4, 4], "num_heads": 8, "use_spatial_transformer": True, "context_dim": 768, "legacy": False,
    "transformer_depth": [1, 1, 1, 1, 1, 1, 0, 0], "transformer_depth_output": [1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0],
    "transformer_depth_middle": 1,
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One call of the UNet. chunks: 2 = conditional and unconditional half in one batch (cfg), 1 = the inversion.

    regions: how many edited regions are modulated; 0 = plain space-time attention.
    """

    width: int
    height: int
    frames: int
    mode: str
    chunks: int = 2
    regions: int = 2

    @property
    def grid(self) -> tuple[int, int]:
        """(h, w) of the latent."""
        return self.height // 8, self.width // 8

    @property
    def roles(self) -> tuple[str, ...]:
        return ("uncond", "cond")[-self.chunks :]


def boot(comfyui: Path) -> None:
    """Make `import comfy` work, with torch's fused attention as on a GPU."""
    if not (comfyui / "comfy" / "model_patcher.py").is_file():
        sys.exit(f"no ComfyUI at {comfyui}; expected a checkout that holds comfy/model_patcher.py; pass --comfyui")
    sys.path.insert(0, str(comfyui))
    import comfy.options

    comfy.options.enable_args_parsing()
    argv, sys.argv = sys.argv, ["main.py", "--cpu", "--use-pytorch-cross-attention"]
    try:
        import comfy.cli_args
    finally:
        sys.argv = argv


def build_unet(device: str, dtype: torch.dtype, **changes) -> torch.nn.Module:
    """ComfyUI's UNet of SD 1.5; on the CPU with small random weights."""
    import comfy.ops
    from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel

    unet = UNetModel(**{**SD15, **changes}, dtype=dtype, device=device, operations=comfy.ops.disable_weight_init)
    if device != "meta":
        for parameter in unet.parameters():
            torch.nn.init.normal_(parameter, std=0.02)
    return unet.eval().requires_grad_(False)


def patches(unet: torch.nn.Module, case: Case) -> dict:
    """transformer_options that put the pack's attention into every transformer block."""
    from comfy.ldm.modules.attention import SpatialTransformer, optimized_attention

    arrangement = SpaceTime(case.mode, case.frames, ANCHORS)
    edit = modulation(case) if case.regions else None
    t = 0.95  # inside the modulated part of the run

    def attn1(q, k, v, extra):
        heads, grid = extra["n_heads"], tuple(extra["activations_shape"][2:])
        spacetime = arrangement.at(finest=grid == case.grid)  # SD 1.5 has attention at the latent's own size
        if edit is None:
            return space_time_attention(q, k, v, heads=heads, spacetime=spacetime, plain=optimized_attention)
        common = {"heads": heads, "grid": grid, "roles": case.roles, "t": t, "plain": optimized_attention}
        return edit.self_attention(q, k, v, spacetime=spacetime, **common)

    def attn2(q, k, v, extra):
        heads, grid = extra["n_heads"], tuple(extra["activations_shape"][2:])
        if edit is None:
            return optimized_attention(q, k, v, heads)
        common = {"heads": heads, "grid": grid, "roles": case.roles, "t": t, "plain": optimized_attention}
        return edit.cross_attention(q, k, v, frames=case.frames, **common)

    blocks = [("input", n, b) for n, b in enumerate(unet.input_blocks)] + [("middle", 0, unet.middle_block)]
    blocks += [("output", n, b) for n, b in enumerate(unet.output_blocks)]
    places = [(name, n) for name, n, block in blocks if any(isinstance(part, SpatialTransformer) for part in block)]
    return {"patches_replace": {"attn1": dict.fromkeys(places, attn1), "attn2": dict.fromkeys(places, attn2)}}


def modulation(case: Case) -> Modulation:
    """Side by side regions that together cover half of the picture; three words each."""
    masks = []
    for region in range(case.regions):
        mask = torch.zeros(case.frames, case.height, case.width)
        left, right = (case.width * (4 * region + edge) // (4 * case.regions) for edge in (1, 3))
        mask[:, :, left:right] = 1
        masks.append(mask)
    words = torch.full((TOKENS,), -1)
    for region in range(1, case.regions + 1):
        words[3 * region : 3 * region + 3] = region
    return Modulation(LabelMap(masks), words, SELF, CROSS)


def call(unet: torch.nn.Module, case: Case, device: str, dtype: torch.dtype) -> Callable[[], object]:
    """A function that runs the UNet once; its inputs are already made."""
    make = torch.empty if device == "meta" else torch.randn
    batch = case.chunks * case.frames
    x = make(batch, 4, *case.grid, device=device, dtype=dtype)
    t = torch.empty(batch, device=device).fill_(950.0)
    context = make(batch, TOKENS, SD15["context_dim"], device=device, dtype=dtype)
    options = patches(unet, case)
    return lambda: unet(x, t, context, transformer_options=dict(options))


def weights(unet: torch.nn.Module) -> int:
    """Bytes of the parameters."""
    return sum(p.numel() * p.element_size() for p in unet.parameters())


@torch.inference_mode(False)
@torch.no_grad()
def count(unet: torch.nn.Module, case: Case, device: str = "meta", dtype: torch.dtype = torch.float16) -> int:
    """Peak of the bytes that one call of the UNet needs on top of weights and inputs."""
    run = call(unet, case, device, dtype)
    with LiveBytes(device) as live:
        live.ignore(*unet.parameters())
        if device == "meta":
            with FusedAttention():
                run()
        else:
            run()
    return live.peak


def kept_ranges(frames: int, grid: tuple[int, int]) -> int:
    """Bytes of the logit ranges that range rule "reuse" keeps: float32, both halves, every self-attention layer."""
    layers = (5, 5, 5, 1)  # of SD 1.5 at the latent's size, its half, quarter and eighth
    heads, tokens = SD15["num_heads"], grid[0] * grid[1]
    return sum(2 * 4 * frames * heads * count * tokens // 4**halvings for halvings, count in enumerate(layers))


def trajectory_bytes(case: Case, steps: int) -> int:
    """Of one inversion on the CPU: the latent at steps + 1 levels, float32."""
    return (steps + 1) * case.frames * 4 * case.grid[0] * case.grid[1] * 4


@torch.no_grad()
def allocated(unet: torch.nn.Module, case: Case, dtype: torch.dtype) -> int:
    """The same peak as `count` by torch's own CPU allocator: the profiler's running total of every allocation."""
    from torch.profiler import ProfilerActivity, profile

    run = call(unet, case, "cpu", dtype)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as log:
        run()
    running = peak = 0
    for event in sorted(_memory_events(log), key=lambda e: e[0]):
        running += event[1]
        peak = max(peak, running)
    return peak


def _memory_events(log) -> list[tuple[int, int]]:
    """(time, bytes; negative = freed) of every allocation."""
    events = log.profiler.kineto_results.events()
    return [(e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]"]


def counted(unet: torch.nn.Module, size: tuple[int, int], frames: int) -> dict[str, Any]:
    """Bytes of a clip: `unet` of one call in every mode and of the inversion's, without the weights; `trajectory`."""
    calls = [Case(*size, frames, mode) for mode in MODES] + [Case(*size, frames, "full", chunks=1, regions=0)]
    print(size, frames, file=sys.stderr)
    return {"unet": [count(unet, call) for call in calls], "trajectory": trajectory_bytes(calls[0], STEPS)}


def validate() -> list[tuple[str, int, int]]:
    """(case, bytes by the counter, bytes by torch's CPU allocator), on a narrow UNet of the same build."""
    torch.manual_seed(0)
    unet, found = build_unet("cpu", torch.float32, model_channels=CHANNELS), []
    for mode in MODES:
        for regions in (0, 2):
            case = Case(256, 256, 3, mode, regions=regions)
            name = f"{mode}, {'modulated' if regions else 'not modulated'}"
            found.append((name, count(unet, case, "cpu", torch.float32), allocated(unet, case, torch.float32)))
    return found


def main() -> None:
    """Print the whole of vram.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--comfyui", type=Path, default=Path.home() / "comfy" / "ComfyUI", help="a ComfyUI checkout")
    parser.add_argument("--frames", type=int, nargs="+", default=list(FRAMES), help="default: 8 16 24 32")
    parser.add_argument("--validate", action="store_true", help="only compare the counter with torch's CPU allocator")
    args = parser.parse_args()
    torch.set_num_threads(1)
    boot(args.comfyui)
    found: dict[str, Any] = {"sizes": {}}
    if not args.validate:
        unet = build_unet("meta", torch.float16)
        sizes = {f"{w} x {h}": {n: counted(unet, (w, h), n) for n in args.frames} for w, h in SIZES}
        found = {"sizes": sizes, "weights": weights(unet), "kept": kept_ranges(16, (64, 64)), "lengths": args.frames}
        found |= {"calls": (*MODES, "inversion (full)"), "anchors": ANCHORS, "steps": STEPS} | facts("cpu")
    sys.stdout.write(page({**found, "channels": CHANNELS, "validation": validate()}))


def page(found: dict[str, Any]) -> str:
    """The Markdown page; of found without sizes what was validated alone."""
    return render("vram", **found)


if __name__ == "__main__":
    main()
