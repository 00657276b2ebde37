"""How much GPU memory an SD 1.5 edit takes, by frames and size: computed from tensor sizes, no GPU needed.

    python -m videograin.lab.studies.vram --comfyui ~/comfy/ComfyUI > docs/benchmarks/vram.md

ComfyUI's own UNet with SD 1.5's configuration runs on torch's meta device, patched with this pack's attention, and
livebytes.py adds up the tensors that are alive at once. `--validate` runs a small size twice on the CPU, with real
numbers, and compares the counter with torch's allocator.
"""

from __future__ import annotations

import argparse
import datetime
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from ...attention import CROSS, SELF, Layout, Modulation, SpaceTime, space_time_attention
from .livebytes import FusedAttention, LiveBytes

SIZES = ((512, 512), (768, 512), (640, 360))
FRAMES = (8, 16, 24, 32)
MODES = ("full", "full_coarse", "key_frames", "sparse_causal", "per_frame")
ANCHORS = 2
TOKENS = 77
STEPS = 50
MIB, GIB = 2**20, 2**30
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
    return Modulation(Layout(masks), words, SELF, CROSS)


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
    """Bytes of the row ranges that range rule "reuse" keeps: float32, both halves, every self-attention layer."""
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


def table(unet: torch.nn.Module, size: tuple[int, int], frames: tuple[int, ...]) -> list[str]:
    """One size as a markdown table: weights and activations together, GiB."""
    fixed = weights(unet)
    lines = [f"### {size[0]} x {size[1]}", "", "| frames | " + " | ".join(MODES) + " | inversion (full) |"]
    lines.append("|---" * (len(MODES) + 2) + "|")
    for number in frames:
        cells = [count(unet, Case(*size, number, mode)) for mode in MODES]
        cells.append(count(unet, Case(*size, number, "full", chunks=1, regions=0)))
        lines.append(f"| {number} | " + " | ".join(f"{(fixed + cell) / GIB:.1f}" for cell in cells) + " |")
    return [*lines, ""]


def trajectories(sizes: tuple[tuple[int, int], ...], frames: tuple[int, ...]) -> list[str]:
    """The memory of inversions on the CPU as a markdown table, MiB."""
    lines = ["| frames | " + " | ".join(f"{w} x {h}" for w, h in sizes) + " |", "|---" * (len(sizes) + 1) + "|"]
    for number in frames:
        cells = [trajectory_bytes(Case(*size, number, "full"), STEPS) / MIB for size in sizes]
        lines.append(f"| {number} | " + " | ".join(f"{cell:.0f}" for cell in cells) + " |")
    return [*lines, ""]


def validate(channels: int = 64) -> list[str]:
    """The counter beside torch's CPU allocator, on a narrow UNet of the same build: a markdown table."""
    torch.manual_seed(0)
    unet = build_unet("cpu", torch.float32, model_channels=channels)
    lines = ["| 3 frames, 256 x 256 | counted MiB | allocated MiB | counter is off by |", "|---|---|---|---|"]
    for mode in MODES:
        for regions in (0, 2):
            case = Case(256, 256, 3, mode, regions=regions)
            counted, real = count(unet, case, "cpu", torch.float32), allocated(unet, case, torch.float32)
            name = f"{mode}, {'modulated' if regions else 'not modulated'}"
            lines.append(f"| {name} | {counted / MIB:.1f} | {real / MIB:.1f} | {counted / real - 1:+.1%} |")
    return [*lines, ""]


HEAD = """# GPU memory of an SD 1.5 edit

**Computed from tensor sizes, not measured on a GPU.** Made on {date} with torch {torch} by

```sh
python -m videograin.lab.studies.vram --comfyui ~/comfy/ComfyUI > docs/benchmarks/vram.md
```

GiB during sampling: the UNet's weights in fp16 ({weights:.2f} GiB) and the largest sum of tensors alive at once in one
call of ComfyUI's UNet. fp16, conditional and unconditional half in one batch (cfg above 1), two regions, modulation
active (the hungriest part of the run; after `end_percent` it is less), fused attention. `key_frames` and `full_coarse`
(key frames at the finest level, full at the others) with {anchors} anchors. The last column is the DDIM inversion (one
half, not modulated), in mode `full`. A reused row range keeps its ranges on top: {kept}.

Not in it, so leave room: the CUDA context (about 0.5 GiB), workspaces of cuDNN, what torch's allocator keeps in
reserve, ControlNets, and other models that stay loaded. The VAE and the text encoder run before and after, not beside
the UNet.

If it does not fit: fewer frames, then a smaller size, then ComfyUI's launch option `--lowvram`, which takes weights off
the GPU. The space-time mode decides over the TIME far more than over the memory: no mode ever holds a tokens x tokens
matrix.
"""

TRAJECTORY = """## The inversion in the computer's own memory

MiB of one VIDEOGRAIN_INVERSION of {steps} steps (also the size of the saved file). It stays on the CPU; the GPU holds
one noise level at a time. Layout features, where collected, come on top.
"""

VALIDATION = """## How far off is the counter?

The same code with real numbers on the CPU (float32, {channels} instead of 320 channels), counted and by torch's own
allocator (profiler). On the CPU the row range works in smaller tiles than on a GPU, so these figures are not on the
scale of the tables above.
"""


def main() -> None:
    """Print the whole of vram.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--comfyui", type=Path, default=Path.home() / "comfy" / "ComfyUI", help="a ComfyUI checkout")
    parser.add_argument("--frames", type=int, nargs="+", default=list(FRAMES), help="default: 8 16 24 32")
    parser.add_argument("--validate", action="store_true", help="only compare the counter with torch's CPU allocator")
    args = parser.parse_args()
    torch.set_num_threads(1)
    boot(args.comfyui)
    channels = 64
    if not args.validate:
        unet = build_unet("meta", torch.float16)
        say(
            HEAD.format(
                date=datetime.date.today(),
                torch=torch.__version__,
                weights=weights(unet) / GIB,
                anchors=ANCHORS,
                kept=f"{kept_ranges(16, (64, 64)) / MIB:.0f} MiB at 16 frames of 512 x 512",
            )
        )
        for size in SIZES:
            say("\n".join(table(unet, size, tuple(args.frames))))
        say(TRAJECTORY.format(steps=STEPS))
        say("\n".join(trajectories(SIZES, tuple(args.frames))))
    say(VALIDATION.format(channels=channels))
    say("\n".join(validate(channels)))


def say(text: str) -> None:
    """To standard output, which the user sends to a file."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
