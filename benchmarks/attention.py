"""What modulation costs one attention layer, beside plain attention and beside the literal formula.

    python benchmarks/attention.py --out benchmarks/attention            # this CPU, a few minutes
    python benchmarks/attention.py --out benchmarks/attention --device cuda

writes OUT_<device>.json (every reading), .png and .md (the table). Needs torch and matplotlib; on a GPU triton as well.

Every size runs all variants in turn, again and again, in one process; a figure is the median of a variant's times
divided by the median of plain attention's, so that what else the machine does meets all of them. On a CPU the times are
those of the process, not of the clock. Memory is read in a process of its own for each variant: the highest resident
size on a CPU, the allocator's highest on a GPU, in both less that of a run that only holds q, k, v and a result.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from videograin.attention import modulated_attention, plain_attention, row_range
from videograin.attention.modulation import attend_matched, match_labels

HEADS, DIM, REGIONS = 8, 40, 2  # SD 1.5's finest level; two regions and the background
SIZES = {"cpu": (4096, 8192, 16384), "cuda": (16384, 32768, 65536)}
LITERAL = {"cpu": 4096, "cuda": 16384}
DTYPES = {"cpu": torch.float32, "cuda": torch.bfloat16}
VARIANTS = ("plain", "exact", "reused", "literal")
MIB = 2**20


def inputs(tokens: int, device: str, dtype: torch.dtype) -> dict[str, Tensor]:
    """q, k, v [1, HEADS, tokens, DIM], laid out as a projection leaves them, labels and strengths [1, tokens]."""
    g = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, tokens, HEADS, DIM, generator=g).to(device, dtype).transpose(1, 2) for _ in range(3))
    return {
        "q": q,
        "k": k,
        "v": v,
        "labels": torch.randint(0, REGIONS + 1, (1, tokens), generator=g),
        "strength": torch.rand(1, tokens, generator=g) * 0.3,
    }


def literal_by_head(q: Tensor, k: Tensor, v: Tensor, labels: Tensor, strength: Tensor) -> Tensor:
    """Eq. 1, 2 and 4 with the logits of one head at a time written out, in q's dtype: how the method is usually run."""
    same = labels[0, :, None].to(q.device) == labels[0, None].to(q.device)
    c = strength[0, :, None].to(q)
    out = torch.empty_like(q)
    for head in range(q.shape[1]):
        s = q[0, head] @ k[0, head].T / DIM**0.5
        top, low = s.amax(1, keepdim=True), s.amin(1, keepdim=True)
        s = torch.where(same, s + c * (top - s), s - c * (s - low))
        out[0, head] = s.softmax(1) @ v[0, head]
    return out


def variants(tokens: int, device: str, dtype: torch.dtype) -> dict[str, Callable[[], Tensor]]:
    """One attention layer, four ways, on equal inputs. Labels are matched beforehand, as `Modulation` does it."""
    x = inputs(tokens, device, dtype)
    q, k, v, labels, strength = x["q"], x["k"], x["v"], x["labels"], x["strength"]
    matched, known = match_labels(labels, labels), None

    def exact():
        return attend_matched(q, k, v, matched, strength)

    def reused():
        nonlocal known
        known = row_range(q, k) if known is None else known
        return attend_matched(q, k, v, matched, strength, row_range=known)

    return {
        "plain": lambda: plain_attention(q, k, v),
        "exact": exact,
        "reused": reused,
        "literal": lambda: literal_by_head(q, k, v, labels, strength),
    }


def measure_times(tokens: int, device: str, dtype: torch.dtype, rounds: int) -> dict[str, list[float]]:
    """Seconds of every variant in every round; the first round, which warms up, is left out."""
    clock = time.process_time if device == "cpu" else time.perf_counter
    cases = variants(tokens, device, dtype)
    if tokens > LITERAL[device]:
        del cases["literal"]
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    for number in range(rounds + 1):
        for name, call in cases.items():
            synchronise(device)
            start = clock()
            call()
            synchronise(device)
            if number:
                seconds[name].append(clock() - start)
    return seconds


def measure_error(device: str, dtype: torch.dtype) -> dict[str, float]:
    """The largest difference to the literal formula in float64, and plain attention's to plain attention in float64."""
    x = inputs(2048, device, dtype)
    q, k, v = x["q"], x["k"], x["v"]
    double = [tensor.double() for tensor in (q, k, v)]
    marks = (x["labels"], x["labels"], x["strength"])
    exact = modulated_attention(*double, *marks, "reference") if device == "cpu" else None
    if exact is None:
        exact = modulated_attention(*double, *(mark.to(device) for mark in marks), "reference")
    return {
        "modulated": float((modulated_attention(q, k, v, *marks).double() - exact).abs().max()),
        "plain": float((plain_attention(q, k, v).double() - plain_attention(*double)).abs().max()),
    }


def measure_peak(variant: str, tokens: int, device: str, dtype: torch.dtype) -> int:
    """Bytes at the highest point of a call in this process; "hold" = q, k, v and a result alone."""
    if variant == "hold":
        x = inputs(tokens, device, dtype)
        held = torch.empty_like(x["q"]).fill_(1)
        synchronise(device)
        del held
    else:
        variants(tokens, device, dtype)[variant]()
        synchronise(device)
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    # Not getrusage: its figure begins at the parent's.
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) * 1024


def measure_peaks(tokens: int, device: str, dtype: torch.dtype) -> dict[str, float]:
    """MiB of every variant beyond q, k, v and the result."""
    peaks = {}
    for name in ("hold", *VARIANTS):
        if name == "literal" and tokens > LITERAL[device]:
            continue
        command = [sys.executable, __file__, "--peak", name, "--tokens", str(tokens), "--device", device]
        peaks[name] = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return {name: (peak - peaks["hold"]) / MIB for name, peak in peaks.items() if name != "hold"}


def synchronise(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def table(found: dict) -> str:
    """The page: one line a size."""
    command = f"python benchmarks/attention.py --out benchmarks/attention --device {found['device']}"
    lines = [
        f"# One modulated attention layer on {found['machine']}",
        "",
        f"`{command} --rounds {found['rounds']} --threads {found['threads']}`",
        "",
        f"{found['date']}; torch {found['torch']}, {found['dtype']}. {HEADS} heads of {DIM} channels, {REGIONS} "
        "regions and the background; full space-time self-attention over N tokens. Time: median, in medians of plain "
        "attention of the same run. Memory: MiB beyond q, k, v and the result.",
        "",
        "| N | plain | exact | range reused | literal | literal / exact | memory: plain | exact | reused | literal |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for size in found["sizes"]:
        r, m = size["ratio"], size["memory"]
        literal = f"{r['literal']:.2f} | {r['literal'] / r['exact']:.1f}" if "literal" in r else "- | -"
        memory = " | ".join(f"{m[name]:.0f}" if name in m else "-" for name in VARIANTS)
        lines.append(f"| {size['tokens']:,} | 1 | {r['exact']:.2f} | {r['reused']:.2f} | {literal} | {memory} |")
    error = found["error"]
    lines += [
        "",
        f"Largest difference at N = 2,048 to float64: modulated {error['modulated']:.1e} (literal formula), plain "
        f"{error['plain']:.1e}.",
    ]
    return "\n".join(lines) + "\n"


def plot(found: dict, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    sizes = [size["tokens"] for size in found["sizes"]]
    figure, axis = pyplot.subplots(figsize=(6, 3.6), dpi=120)
    for name, colour, mark in (("exact", "#D55E00", "o"), ("reused", "#0072B2", "s"), ("literal", "#555555", "^")):
        held = [(n, size["ratio"][name]) for n, size in zip(sizes, found["sizes"]) if name in size["ratio"]]
        axis.plot(*zip(*held), marker=mark, color=colour, label={"reused": "range reused"}.get(name, name))
    axis.axhline(1, color="black", linewidth=1)
    axis.set(xscale="log", xlabel="tokens N", ylabel="time / plain attention", ylim=(0, None), title=found["machine"])
    axis.set_xticks(sizes, [f"{n:,}" for n in sizes])
    axis.minorticks_off()
    axis.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path)


def machine(device: str) -> str:
    if device == "cuda":
        return torch.cuda.get_device_name()
    info = Path("/proc/cpuinfo")
    names = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, {torch.get_num_threads()} thread(s)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("out/attention"))
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1, help="of a CPU")
    parser.add_argument("--tokens", type=int, nargs="*", help="sizes N, instead of those of the device")
    parser.add_argument("--peak", choices=("hold", *VARIANTS), help=argparse.SUPPRESS)
    args = parser.parse_args()
    dtype = DTYPES[args.device]
    torch.set_num_threads(args.threads)
    with torch.inference_mode():
        if args.peak:
            print(measure_peak(args.peak, args.tokens[0], args.device, dtype))
            return
        found = {
            "machine": machine(args.device),
            "device": args.device,
            "torch": torch.__version__,
            "date": time.strftime("%Y-%m-%d"),
            "dtype": str(dtype).removeprefix("torch."),
            "rounds": args.rounds,
            "threads": args.threads,
            "error": measure_error(args.device, dtype),
            "sizes": [],
        }
        for tokens in args.tokens or SIZES[args.device]:
            seconds = measure_times(tokens, args.device, dtype, args.rounds)
            middle = {name: statistics.median(times) for name, times in seconds.items()}
            ratio = {name: value / middle["plain"] for name, value in middle.items()}
            memory = measure_peaks(tokens, args.device, dtype)
            found["sizes"].append({"tokens": tokens, "seconds": seconds, "ratio": ratio, "memory": memory})
            print(tokens, {name: round(value, 2) for name, value in ratio.items()}, memory, file=sys.stderr)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    base = f"{args.out}_{args.device}"
    Path(f"{base}.json").write_text(json.dumps(found, indent=1) + "\n")
    Path(f"{base}.md").write_text(table(found))
    plot(found, Path(f"{base}.png"))


if __name__ == "__main__":
    main()
