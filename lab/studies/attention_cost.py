"""What modulation costs one attention layer, beside plain attention and beside the literal formula.

    python -m videograin.lab.studies.attention_cost --out docs/benchmarks/attention  # this CPU, some 20 minutes
    python -m videograin.lab.studies.attention_cost --out docs/benchmarks/attention --device cuda
    python -m videograin.lab.studies.attention_cost --out docs/benchmarks/attention --page

writes OUT_<device>.json (every reading), .png and .md (the table). Needs torch and matplotlib; on a GPU triton as well.

Every size runs all variants in turn, again and again, in one process; a figure is the median of a variant's times
divided by the median of plain attention's, so that what else the machine does meets all of them. On a CPU the times are
those of the process, not of the clock. Memory is read in a process of its own for each variant, which first makes a
tiny call, so that code that has to be loaded does not count: the highest resident size on a CPU, the allocator's
highest on a GPU, in both less what is held before the call and the result.
"""

from __future__ import annotations

import argparse
import ctypes
import functools
import statistics
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from ...attention import KERNELS, logit_range, modulated_attention, plain_attention
from ...attention.fused import attend_matched, match_labels
from ..pages import drawing, read_figures, render, write_page
from .clock import Clock, facts, in_a_process, peak_resident, resident, restart_peak

HEADS, DIM, REGIONS = 8, 40, 2  # SD 1.5's finest level; two regions and the background
SIZES = {"cpu": (4096, 8192, 16384), "cuda": (16384, 32768, 65536)}
LITERAL = {"cpu": 4096, "cuda": 16384}
LARGEST = 65536  # 16 frames of 512 x 512
DTYPES = {"cpu": torch.float32, "cuda": torch.bfloat16}
# The range measured; known already; the formula as it stands.
VARIANTS = ("plain", "exact", "reused", "literal")
TARGETS = {"cpu": {"exact": 2.6, "reused": 1.15}, "cuda": {"exact": 1.6, "reused": 1.10}}
LITERAL_TARGET, MEMORY_TARGET = 5.0, 64.0
MB = 10**6


def inputs(
    tokens: int, device: str, dtype: torch.dtype, *, dim: int = DIM, batch: int = 1, keys: int | None = None
) -> dict[str, Tensor]:
    """q [batch, HEADS, tokens, dim] and k, v of as many tokens, or of ``keys``, laid out as a projection leaves them;
    their labels, and the strengths [batch, tokens]."""
    g = torch.Generator().manual_seed(0)
    counts = (tokens, keys or tokens, keys or tokens)
    q, k, v = (torch.randn(batch, n, HEADS, dim, generator=g).to(device, dtype).transpose(1, 2) for n in counts)
    labels = torch.randint(0, REGIONS + 1, (batch, tokens), generator=g)
    strength = torch.rand(batch, tokens, generator=g) * 0.3
    k_labels = labels if keys is None else torch.randint(0, REGIONS + 1, (batch, keys), generator=g)
    return {"q": q, "k": k, "v": v, "labels": labels, "k_labels": k_labels, "strength": strength}


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


@functools.cache
def kernels(device: str, dtype: torch.dtype) -> tuple[str, ...]:
    """The kernels beside SDPA that run here: each is tried."""
    x, found = inputs(128, device, dtype), []
    for name in KERNELS:
        if name in ("auto", "sdpa"):
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", RuntimeWarning)  # that another kernel has stood in
                matched = match_labels(x["labels"], x["labels"])
                attend_matched(x["q"], x["k"], x["v"], matched, x["strength"], kernel=name)
        except Exception as error:  # not installed, no compiler, another device: whatever it is, it is left out
            print(f"without {name}: {str(error).splitlines()[0] if str(error) else error!r}", file=sys.stderr)
        else:
            found.append(name)
    return tuple(found)


def variants(x: dict[str, Tensor], true: bool = True) -> dict[str, Callable[[], Tensor]]:
    """One attention layer in several ways, on `inputs`. Labels are matched beforehand, as `Modulation` does it.

    Kernels other than SDPA are given the range, as "reused" is. true: that range is measured, else it is made
    up, and no other kernels are tried.
    """
    q, k, v, labels, strength = x["q"], x["k"], x["v"], x["labels"], x["strength"]
    matched = match_labels(labels, x["k_labels"])
    known = logit_range(q, k) if true else torch.full(q.shape[:3], 8.0, device=q.device)

    def attend(find: Callable[[], Tensor | None], kernel: str = "auto") -> Callable[[], Tensor]:
        return lambda: attend_matched(q, k, v, matched, strength, logit_range=find(), kernel=kernel)

    made = {
        "plain": lambda: plain_attention(q, k, v),
        "exact": attend(lambda: None),
        "reused": attend(lambda: known),
        "literal": lambda: literal_by_head(q, k, v, labels, strength),
    }
    if true:
        made |= {name: attend(lambda: known, name) for name in kernels(q.device.type, q.dtype)}
    return made


def measure_times(cases: dict[str, Callable[[], Tensor]], device: str, rounds: int) -> dict[str, list[float]]:
    """Seconds of every variant in every round; the first round, which warms up, is left out."""
    clock = Clock(device)
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    for number in range(rounds + 1):
        for name, call in cases.items():
            start = clock.now()
            call()
            if number:
                seconds[name].append(clock.now() - start)
    return seconds


def measure_error(device: str, dtype: torch.dtype) -> dict[str, float]:
    """The largest difference to the literal formula in float64, and plain attention's to plain attention in float64."""
    x = inputs(2048, device, dtype)
    q, k, v = x["q"], x["k"], x["v"]
    double = [tensor.double() for tensor in (q, k, v)]
    marks = (x["labels"], x["labels"], x["strength"])
    exact = modulated_attention(*double, *(mark.to(device) for mark in marks), "reference")
    return {
        "modulated": float((modulated_attention(q, k, v, *marks).double() - exact).abs().max()),
        "plain": float((plain_attention(q, k, v).double() - plain_attention(*double)).abs().max()),
    }


def measure_peak(variant: str, tokens: int, device: str, dtype: torch.dtype) -> int:
    """Bytes at the highest point of one call in this process, beyond what is held before it and the result."""
    variants(inputs(512, device, dtype))[variant]()
    call = variants(inputs(tokens, device, dtype), true=False)[variant]
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        out = call()
        return torch.cuda.max_memory_allocated() - before - out.nbytes
    ctypes.CDLL(None).malloc_trim(0)  # what is free is not held
    restart_peak()
    before = resident()
    out = call()
    return peak_resident() - before - out.nbytes


def measure_peaks(tokens: int, device: str, dtype: torch.dtype) -> dict[str, float]:
    """MB of every variant beyond q, k, v and the result."""
    peaks = {}
    for name in VARIANTS:
        if name == "literal" and tokens > LITERAL[device]:
            continue
        words = ("--peak", name, "--tokens", tokens, "--device", device)
        # Of fixed size: what is freed is given back, and the peak does not depend on what was freed before.
        peaks[name] = int(in_a_process(__spec__.name, *words, MALLOC_MMAP_THRESHOLD_=str(2**16))) / MB
    return peaks


def verdicts(found: dict) -> list[tuple[str, str, str, bool]]:
    """(what, target, what came out, whether it was met) for every target of the issue that was measured."""
    sizes, out = found["sizes"], []
    span = f"N = {sizes[0]['tokens']:,} to {sizes[-1]['tokens']:,}"
    for name, most in TARGETS[found["device"]].items():
        worst = max(size["ratio"][name] for size in sizes)
        out.append((f"{SHOWN[name]} / plain, {span}", f"<= {most:g}", f"{worst:.2f} at most", worst <= most))
    for size in sizes:
        if "literal" in size["ratio"]:
            gain = size["ratio"]["literal"] / size["ratio"]["exact"]
            what = f"literal formula / ours, N = {size['tokens']:,}"
            out.append((what, f">= {LITERAL_TARGET:g}", f"{gain:.1f}", gain >= LITERAL_TARGET))
    for row in found["peaks"]:
        if row["tokens"] == LARGEST:
            worst = max(value for name, value in row["memory"].items() if name not in ("plain", "literal"))
            what = f"memory of modulation beyond q, k, v and the result, N = {LARGEST:,}"
            out.append((what, f"<= {MEMORY_TARGET:g} MB", f"{worst:.0f} MB at most", worst <= MEMORY_TARGET))
    return out


SHOWN = {"exact": "range measured in the call (exact)", "reused": "range reused", "sampled": "range of some keys"}
COLUMNS = ("plain", "exact", "reused", "sampled", "literal")  # pages from before the option `sampled` went have it


def page(found: dict) -> str:
    """The Markdown page: targets, times, memory."""
    columns = [name for name in COLUMNS if any(name in row["memory"] for row in found["peaks"])]
    shape = {"heads": HEADS, "dim": DIM, "regions": REGIONS, "variants": columns}
    return render("attention_cost", found=found, verdicts=verdicts, **shape)


def plot(found: dict, path: Path) -> None:
    sizes = [size["tokens"] for size in found["sizes"]]
    with drawing(path, 1, 2, figsize=(9.5, 3.6), dpi=120) as (figure, (times, memory)):
        style = {"exact": "#D55E00", "sampled": "#009E73", "reused": "#0072B2"}
        style = {name: colour for name, colour in style.items() if name in found["sizes"][0]["ratio"]}
        for name, colour in style.items():
            ratios = [size["ratio"][name] for size in found["sizes"]]
            times.plot(sizes, ratios, marker="o", color=colour, label=SHOWN[name])
            if name in TARGETS[found["device"]]:
                times.axhline(TARGETS[found["device"]][name], color=colour, linewidth=1, linestyle=":")
        times.axhline(1, color="black", linewidth=1)
        for size in found["sizes"]:
            if "literal" in (ratio := size["ratio"]):
                times.plot(size["tokens"], ratio["literal"], "s", color="black", label="literal formula")
                words = f"{ratio['literal']:.1f} = {ratio['literal'] / ratio['exact']:.1f} x ours (exact)"
                place = (size["tokens"], ratio["literal"])
                times.annotate(words, place, (8, -3), textcoords="offset points", fontsize=9)
        highest = max(max(size["ratio"][name] for name in COLUMNS if name in size["ratio"]) for size in found["sizes"])
        times.set(xscale="log", yscale="log", xlabel="tokens N", ylabel="time / plain attention")
        times.set_ylim(0.8, max(4, highest * 1.5))
        marks = [1, 1.5, 2, 3, 5, 10, 20, 50, 100]
        times.set_yticks([m for m in marks if m < highest * 1.5], [f"{m:g}" for m in marks if m < highest * 1.5])
        times.set_title("time (dotted: targets)", fontsize=10)
        tokens = [row["tokens"] for row in found["peaks"]]
        for name, colour in {"plain": "#999999", **style}.items():
            held = [row["memory"][name] for row in found["peaks"]]
            memory.plot(tokens, held, marker="o", color=colour, label=name if name == "plain" else None)
        for row in found["peaks"]:
            if "literal" in row["memory"]:
                memory.plot(row["tokens"], row["memory"]["literal"], "s", color="black")
                words = f"literal formula: {row['memory']['literal']:.0f}"
                place = (row["tokens"], row["memory"]["literal"])
                memory.annotate(words, place, (8, -3), textcoords="offset points", fontsize=9)
        memory.axhline(MEMORY_TARGET, color="black", linewidth=1, linestyle=":")
        memory.set(xscale="log", yscale="log", xlabel="tokens N", ylabel="MB beyond q, k, v, result")
        marks = [m for m in (1, 3, 10, 30, 100, 300, 1000, 3000) if m < 1.5 * memory.get_ylim()[1]]
        memory.set_yticks(marks, [f"{m}" for m in marks])
        memory.set_title("memory (dotted: target)", fontsize=10)
        for axis, ticks in ((times, sizes), (memory, tokens)):
            axis.set_xticks(ticks, [f"{n:,}" for n in ticks])
            axis.minorticks_off()
        times.legend(frameon=False, fontsize=8, loc="upper right", bbox_to_anchor=(1, 0.85))
        memory.legend(frameon=False, fontsize=8, loc="center right", bbox_to_anchor=(1, 0.3))
        figure.suptitle(found["machine"], fontsize=10)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("out/attention"), help="without _DEVICE and the suffix")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where it runs")
    parser.add_argument("--rounds", type=int, default=5, help="a time is the median of so many, after one to warm up")
    parser.add_argument("--page", action="store_true", help="only write the page and the picture from the JSON")
    parser.add_argument("--threads", type=int, default=1, help="of a CPU")
    parser.add_argument("--tokens", type=int, nargs="*", help="sizes N, instead of those of the device")
    parser.add_argument("--peaks", type=int, nargs="*", help="sizes N whose memory is read; default: those and 65536")
    parser.add_argument("--peak", choices=VARIANTS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    dtype = DTYPES[args.device]
    torch.set_num_threads(args.threads)
    with torch.inference_mode():
        if args.peak:
            print(measure_peak(args.peak, args.tokens[0], args.device, dtype))
            return
        base = args.out.with_name(f"{args.out.name}_{args.device}")
        found = read_figures(base) if args.page else measure(args, dtype)
    print(write_page(base, found, page(found), plot))


def measure(args: argparse.Namespace, dtype: torch.dtype) -> dict:
    """Times and peaks of all sizes."""
    sizes = args.tokens or list(SIZES[args.device])
    peaks = sorted({*sizes, LARGEST}) if args.peaks is None else args.peaks
    options = "".join(
        f" --{name} {' '.join(map(str, given))}"
        for name in ("tokens", "peaks")
        if (given := getattr(args, name)) is not None
    )
    found = {
        **facts(args.device),
        "command": f"python -m videograin.lab.studies.attention_cost --out {args.out} --device {args.device} "
        f"--rounds {args.rounds} --threads {args.threads}{options}",
        "dtype": str(dtype).removeprefix("torch."),
        "element": dtype.itemsize,
        "rounds": args.rounds,
        "error": measure_error(args.device, dtype),
        "sizes": [],
        "peaks": [],
    }
    for tokens in sizes:
        cases = variants(inputs(tokens, args.device, dtype))
        if tokens > LITERAL[args.device]:
            del cases["literal"]
        seconds = measure_times(cases, args.device, args.rounds)
        middle = {name: statistics.median(times) for name, times in seconds.items()}
        ratio = {name: value / middle["plain"] for name, value in middle.items()}
        found["sizes"].append({"tokens": tokens, "seconds": seconds, "ratio": ratio})
        print(tokens, {name: round(value, 2) for name, value in ratio.items()}, file=sys.stderr)
    for tokens in peaks:
        memory = measure_peaks(tokens, args.device, dtype)
        found["peaks"].append({"tokens": tokens, "memory": memory})
        print(tokens, {name: round(value, 1) for name, value in memory.items()}, "MB", file=sys.stderr)
    return found


if __name__ == "__main__":
    main()
