"""SD 1.5's attention layers one by one: do the Triton kernels agree with the formula, and what does modulation cost?

    python -m videograin.lab.studies.sd15_layers --out docs/benchmarks/gpu/layers  # on a machine with a GPU
    TRITON_INTERPRET=1 python -m videograin.lab.studies.sd15_layers --device cpu --frames 1 --size 64  # a trial

Kernels: the largest difference to the formula in float64, beside that of the same thing in torch in the same dtype.
Layers: every shape of self-attention over all frames and of cross-attention that a UNet call has, one half of the
batch, all variants in turn; a figure is the median over rounds. Memory, on a GPU: the allocator's highest during a call
less what is held before it and the result. Writes OUT.json and OUT.md.
"""

from __future__ import annotations

import argparse
import importlib.util
import shlex
import statistics
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...attention import logit_range, modulated_attention, reference_attention
from ...attention.fused import attend_in_one_pass, match_labels
from ..pages import render, write_page
from . import attention_cost
from .clock import facts
from .random_sd15 import CHANNELS

LAYERS = (5, 5, 5, 1)  # of each kind, at the latent's size, half of it, ...
WIDTHS = (1, 2, 4, 4)  # channels, in those of the first level
WORDS = 77
ROWS, KEYS = 700, 1000  # of the kernels' trial
TARGET, MEMORY_TARGET = 1.10, 64.0  # time over plain attention's; MB beyond plain attention's
MB = 10**6
VARIANTS = ("exact", "reused", "triton")
#: How much more than torch's own form in the same dtype a kernel may err, as a share of the largest value: as in
#: tests/attention/kernels.
MORE = {torch.float32: 2e-5, torch.float16: 1e-3, torch.bfloat16: 8e-3}


class Shape(NamedTuple):
    """One layer's attention in one half of a batch. kind: "self" (all frames together) or "cross" (each by itself)."""

    kind: str
    level: int
    layers: int
    batch: int
    tokens: int
    keys: int
    dim: int


def shapes(frames: int, size: int, channels: int) -> Iterator[Shape]:
    """SD 1.5's at so many frames of size x size pixels; channels: of the first level."""
    for level, (layers, width) in enumerate(zip(LAYERS, WIDTHS)):
        tokens, dim = (size // 8 >> level) ** 2, channels * width // attention_cost.HEADS
        yield Shape("self", level, layers, 1, frames * tokens, frames * tokens, dim)
        yield Shape("cross", level, layers, frames, tokens, WORDS, dim)


def no_triton(device: str) -> str:
    """Why the Triton kernels cannot run here; "" where they can."""
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed"
    import triton

    if device == "cpu" and not triton.knobs.runtime.interpret:
        return "on a CPU they need TRITON_INTERPRET=1"
    return ""


def check_kernels(device: str, dims: list[int], rows: int, keys: int) -> list[dict[str, Any]]:
    """Both kernels in every width and dtype: {kernel, dtype, dim, error, torch, allowed}, as shares of the largest
    value."""
    from ...attention.kernels.triton_attention import triton_modulated_attention
    from ...attention.kernels.triton_range import triton_logit_range

    found = []
    for dim in dims:
        for dtype, more in MORE.items():
            x = attention_cost.inputs(rows, device, dtype, dim=dim, batch=2, keys=keys)
            q, k, v, strength = x["q"], x["k"], x["v"], x["strength"]
            double = [tensor.double() for tensor in (q, k, v)]
            marks = [x[name].to(device) for name in ("labels", "k_labels")]

            def errors(exact: Tensor, triton: Tensor, own: Tensor) -> dict[str, float]:
                return {
                    name: float((one.double() - exact).abs().max() / exact.abs().max())
                    for name, one in (("error", triton), ("torch", own))
                }

            logits = double[0] @ double[1].mT / dim**0.5
            spread = errors(logits.amax(-1) - logits.amin(-1), triton_logit_range(q, k), logit_range(q, k, chunk=256))
            matched = match_labels(x["labels"], x["k_labels"])
            once = attend_in_one_pass(triton_modulated_attention, q, k, v, matched, strength)
            exact = reference_attention(*double, *marks, strength.double().to(device))
            attended = errors(exact, once, modulated_attention(q, k, v, *marks, strength.to(device)))
            for kernel, figures, allowed in (("range", spread, 1e-4), ("one pass", attended, attended["torch"] + more)):
                name = str(dtype).removeprefix("torch.")
                found.append({"kernel": kernel, "dtype": name, "dim": dim, **figures, "allowed": allowed})
    return found


def measure_layer(shape: Shape, device: str, dtype: torch.dtype, rounds: int) -> dict[str, Any]:
    """{shape's fields, seconds: {variant: median}, memory: {variant: MB} or None off a GPU}."""
    keys = None if shape.kind == "self" else shape.keys
    x = attention_cost.inputs(shape.tokens, device, dtype, dim=shape.dim, batch=shape.batch, keys=keys)
    cases = attention_cost.variants(x)
    cases = {name: cases[name] for name in ("plain", *VARIANTS) if name in cases}
    times = attention_cost.measure_times(cases, device, rounds)
    memory = {name: _peak(call) / MB for name, call in cases.items()} if device == "cuda" else None
    seconds = {name: statistics.median(some) for name, some in times.items()}
    return {**shape._asdict(), "seconds": seconds, "memory": memory}


def _peak(call: Callable[[], Tensor]) -> int:
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    out = call()
    return torch.cuda.max_memory_allocated() - before - out.nbytes


def together(layers: list[dict], kind: str, variant: str) -> float | None:
    """Time of all layers of a kind in a variant over plain attention's; None where one of them was not run with it."""
    some = [layer for layer in layers if layer["kind"] == kind]
    if not some or not all(variant in layer["seconds"] for layer in some):
        return None
    sums = [sum(layer["layers"] * layer["seconds"][name] for layer in some) for name in (variant, "plain")]
    return sums[0] / sums[1]


def most_memory(layers: list[dict], variant: str) -> float | None:
    """MB that one layer holds beyond plain attention at most; None where memory was not read."""
    found = [x["memory"][variant] - x["memory"]["plain"] for x in layers if x["memory"] and variant in x["memory"]]
    return max(found) if found else None


def page(found: dict) -> str:
    """The Markdown page."""
    meant = {"variants": VARIANTS, "together": together, "most_memory": most_memory}
    return render("sd15_layers", found=found, target=TARGET, memory_target=MEMORY_TARGET, **meant)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda", help="where it runs; cpu: for a trial")
    parser.add_argument("--frames", type=int, default=16, help="of the clip")
    parser.add_argument("--size", type=int, default=512, help="pixels a side")
    parser.add_argument("--channels", type=int, default=CHANNELS, help="of the UNet's first level; 320: SD 1.5")
    parser.add_argument("--rounds", type=int, default=9, help="a time is the median of so many, after one to warm up")
    parser.add_argument("--dtypes", nargs="+", default=["float16", "bfloat16"], help="of the layers")
    parser.add_argument("--out", type=Path, default=Path("out/layers"), help="the page, without its suffix")
    args = parser.parse_args()
    if args.device == "cuda" and not torch.cuda.is_available():
        sys.exit("torch sees no GPU; run this on a machine with one, or with --device cpu and small numbers")
    torch.set_num_threads(1)
    wanted = list(shapes(args.frames, args.size, args.channels))
    trial = (args.frames, args.size, args.channels) != (16, 512, CHANNELS) or args.device != "cuda"
    rows, keys = (ROWS, KEYS) if args.device == "cuda" else (ROWS // 10, KEYS // 10)
    found: dict[str, Any] = {
        **facts(args.device),
        "command": shlex.join(["python", "-m", "videograin.lab.studies.sd15_layers", *sys.argv[1:]]),
        "frames": args.frames,
        "size": args.size,
        "trial": trial,
        "without": no_triton(args.device),
        "kernels": [],
        "layers": {},
    }
    with torch.inference_mode():
        if not found["without"]:
            found["kernels"] = check_kernels(args.device, sorted({one.dim for one in wanted}), rows, keys)
        for dtype in args.dtypes:
            how = (args.device, getattr(torch, dtype), args.rounds)
            found["layers"][dtype] = [measure_layer(shape, *how) for shape in wanted]
    print(write_page(args.out, found, page(found)))


if __name__ == "__main__":
    main()
