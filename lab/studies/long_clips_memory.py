"""The memory part of long_clips.md: runs of long_clips.py --memory, {"setting", "frames", "before", "peak", ...}."""

from __future__ import annotations

from itertools import pairwise
from math import log2

from ..pages import MIB


def memory_table(memory: list[dict]) -> list[str]:
    if not memory:
        return []
    first = memory[0]
    lines = [
        "## Memory and time",
        "",
        f"One process per row, {first['steps']} + {first['steps']} steps ({first['date']}, {first['machine']}, torch "
        f"{first['torch']}). Peak resident memory above that of the loaded model and the rendered clip.",
        "",
        "| | frames | above start, MiB | peak, MiB | invert + edit, s | s per frame |",
        "|---|---|---|---|---|---|",
    ]
    for run in memory:
        seconds = run["invert"] + run["edit"]
        lines.append(
            f"| {run['setting']} | {run['frames']} | {above(run):.0f} | "
            f"{run['peak'] / MIB:.0f} | {run['invert']:.0f} + {run['edit']:.0f} | {seconds / run['frames']:.2f} |"
        )
    told = [line for name, runs in by_setting(memory).items() if (line := growth(name, runs))]
    return [
        *lines,
        "",
        *told,
        "",
        "What grows with the clip is held in main memory, so much for each frame: the frames themselves, masks, "
        "latents and the trajectory, a latent of every noise level. What does not grow with windows: what one call of "
        "the UNet takes (activations, queries, keys, values), which is a window's whatever the clip's length; "
        "all at once it is the whole clip's. The memory of a GPU was not measured.",
        "",
    ]


def above(run: dict) -> float:
    """MiB at the peak beyond the loaded model and the rendered clip."""
    return (run["peak"] - run["before"]) / MIB


def by_setting(memory: list[dict]) -> dict[str, list[dict]]:
    """{setting: its runs, the shortest clip first}."""
    names = dict.fromkeys(run["setting"] for run in memory)
    return {
        name: sorted((run for run in memory if run["setting"] == name), key=lambda run: run["frames"]) for name in names
    }


def growth(name: str, runs: list[dict]) -> str:
    """How "above start" grows from each length to the next."""
    parts = []
    for a, b in pairwise(runs):
        more, doublings = above(b) - above(a), log2(b["frames"] / a["frames"])
        parts.append(
            f"{a['frames']} to {b['frames']} frames {(above(b) / above(a)) ** (1 / doublings):.2f} x per doubling, "
            f"{more / (b['frames'] - a['frames']):.1f} MiB for each further frame"
        )
    return f"- {name}: {'; '.join(parts)}." if parts else ""
