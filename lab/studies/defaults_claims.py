"""Targets and the paper's statements, answered by the benchmark's records."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..bench.bootstrap import LEVEL, RESAMPLES, Interval, paired_interval
from ..bench.settings import BenchSettings, varied
from ..bench.systems import SYSTEMS
from ..bench.table import MEASURES, Group, Row
from .defaults_sums import FEW, OURS, Runs

RIVALS = ("global", "global_blend", "released", "released_scheduled", "hard", "composed", "sequential")
RELATED = ("sequential_modulated",)
ROWS = ("global", "global_blend", "cross", "ours")  # of the paper's Table 3
MODES = ("per_frame", "sparse_causal", "full")  # of its Fig. 14
PAPER = ("colour", "object", "union", "flicker", "warp")
MET, MISSED, OPEN = "met", "not met", "not measured"
OUT, NOT, REVERSED = "comes out", "does not come out", "does not come out: the other way round"
UNSETTLED = f"not settled: fewer than {FEW} clips"


def ratio_interval(above: Mapping[str, float], below: Mapping[str, float], seed: int = 0) -> Interval:
    """Sum over sum, over the clips that both have, and its interval: clips are drawn, as in bootstrap.py."""
    clips = [clip for clip in above if clip in below]
    if not clips:
        return Interval(math.nan, math.nan, math.nan, 0)
    top, bottom = (np.array([values[clip] for clip in clips]) for values in (above, below))
    draw = np.random.default_rng(seed).integers(len(clips), size=(RESAMPLES, len(clips)))
    tail = (1 - LEVEL) / 2
    ratios = top[draw].sum(1) / bottom[draw].sum(1)
    low, high = np.quantile(ratios, [tail, 1 - tail], method="inverted_cdf")
    return Interval(float(top.sum() / bottom.sum()), float(low), float(high), len(clips))


def targets(main: Runs, swept: Runs) -> list[dict[str, str]]:
    """The issue's targets: {target, figure, verdict, split, clips}: of which split the clips are, and how many the
    figure rests on. main: all systems; swept: the runs with `--vary`."""
    every = Group("all", tuple(cell for cell in main.cells if not cell.vary))
    ours, out = (OURS, ""), []

    def add(target: str, figure: str, met: bool | None, clips: int, runs: Runs = main) -> None:
        out.append(_target(target, figure, met, runs.split, clips))

    def share(target: str, group: Group, measure: str, limit: float, higher: bool = True) -> None:
        found = group.interval(ours, measure)
        met = None if not found.count else found.mean >= limit if higher else found.mean <= limit
        add(target, _shown(measure, found), met, found.count)

    for text, limit, few in (("two instances", 0.9, True), ("three or more instances", 0.75, False)):
        some = [c for c in every.cells if c.kind == "instance" and (c.objects == 2 if few else c.objects >= 3)]
        share(f"all regions right, {text}: >= {100 * limit:g} %", Group(text, tuple(some)), "union", limit)
    share("leakage <= 2 %", every, "leak", 0.02, higher=False)

    gaps = {name: every.difference(ours, (name, ""), "union") for name in RIVALS}
    unmeasured = [SYSTEMS[name].title for name, gap in gaps.items() if not gap.count]
    gaps = {name: gap for name, gap in gaps.items() if gap.count}
    best = min(gaps, key=lambda name: gaps[name].mean, default=None)
    gap = gaps[best] if best else Interval(math.nan, math.nan, math.nan, 0)
    figure = f"{_shown('union', gap, signed=True)} points, over {SYSTEMS[best].title}" if best else "-"
    figure += f"; not measured: {', '.join(unmeasured)}" if best and unmeasured else ""
    for name in RELATED:  # not among B0 to B5: they are made with parts of this package
        other = every.difference(ours, (name, ""), "union")
        figure += f"; over {SYSTEMS[name].title}: {_shown('union', other, signed=True)}" if other.count else ""
    met = gap.mean >= 0.05 and gap.above_zero and gap.count >= FEW if gap.count else None
    add("all regions right: >= 5 points above the best of B0 to B5, interval clear of 0", figure, met, gap.count)

    lowest = min(every.values(ours, "outside_blend_psnr").values(), default=None)
    found = every.interval(ours, "outside_blend_psnr")
    figure = "-" if lowest is None else f"{_shown('outside_blend_psnr', found)}, lowest clip {lowest:.1f}"
    met = None if lowest is None else lowest >= 45
    add("16 px outside the blend mask >= 45 dB against the VAE round trip (every clip)", figure, met, found.count)

    warp, ideal = (every.values(ours, key) for key in ("warp", "warp_ideal"))
    ratio, through = ratio_interval(warp, ideal), ratio_interval(warp, every.values(("ceiling", ""), "warp"))
    figure = f"{_ratio(ratio)}; of the ideal result through the VAE: {_ratio(through)}"
    add("warp error <= 1.1 x the ideal's", figure, ratio.mean <= 1.1 if ratio.count else None, ratio.count)
    out += _inversions(swept)
    for change in ("boxes", "grow", "shrink", "drop", "holes"):
        group = Group(change, swept.beside([f"masks={change}"]))
        loss = group.difference((OURS, ""), (OURS, f"masks={change}"), "union")
        met = loss.mean <= 0.03 if loss.count else None
        shown = _shown("union", loss, signed=True)
        add(f"masks, {change}: <= 3 points lost of all regions right", shown, met, loss.count, swept)
    return out


def _target(target: str, figure: str, met: bool | None, split: str, clips: int) -> dict[str, Any]:
    verdict = OPEN if met is None else MET if met else MISSED
    return {"target": target, "figure": figure, "verdict": verdict, "split": split if clips else "", "clips": clips}


def _inversions(runs: Runs) -> list[dict[str, Any]]:
    """`warm`, and `fixed_point` where it was run, against `ddim`, all with the steps and the attention of the setup.

    For S steps `ddim` calls the network S times, `warm` S + 1 times, `fixed_point` S (1 + calls) times or less
    (editing/inversion.py): the calls are named, since none is compared at exactly equal ones.
    """
    base = BenchSettings()
    for key in ("sampling.steps", "attention.mode", "attention.anchors", "inversion.steps", "inversion.calls"):
        if key in runs.setup:
            base = varied(base, key, json.dumps(runs.setup[key]))
    steps = base.sampling.steps if base.inversion.steps is None else base.inversion.steps
    calls = {"warm": f"{steps + 1}", "fixed_point": f"up to {steps * (1 + base.inversion.calls)}"}
    by: dict[str, dict[str, Any]] = {}
    for one in runs.inversions:
        by.setdefault(one.how, {})[one.clip] = one
    ddim, out = by.get(varied(base, "inversion", "ddim").inverted_with, {}), []
    for method, count in calls.items():
        settings = varied(base, "inversion", method)
        these = by.get(settings.inverted_with, {})
        if not these and method != "warm":
            continue
        target = f"inversion, `{method}`: >= 15 dB above `ddim` with as many steps, std of the noise in [.97, 1.03] "
        target += f"(every clip); calls of the network: {count}, `ddim` {steps}"
        psnr = [{clip: one.round_trip_psnr for clip, one in some.items()} for some in (these, ddim)]
        gap, stds, figure, met = paired_interval(*psnr), [one.noise_std for one in these.values()], "-", None
        if gap.count:
            met = gap.mean >= 15 and min(stds) >= 0.97 and max(stds) <= 1.03
            figure = f"{_shown('ideal_psnr', gap, signed=True)} dB, std {min(stds):.3f} to {max(stds):.3f}"
            figure += f" ({settings.inverted_with})"
        out.append(_target(target, figure, met, runs.split, gap.count))
    return out


def table_3(main: Runs) -> dict[str, Any]:
    """The paper's Table 3 on this world: its rows and what of it comes out."""
    group = Group("all", tuple(cell for cell in main.cells if not cell.vary))
    have = [name for name in ROWS if group.values((name, ""), "union")]
    rows = []
    for name in have:
        rows.append({"name": SYSTEMS[name].title, **_figures(group, (name, ""), PAPER)})
    claims = []
    if len(have) == len(ROWS):
        steps = {b: group.difference((b, ""), (a, ""), "colour") for a, b in itertools.pairwise(ROWS)}
        largest = max(steps, key=lambda name: steps[name].mean) == "cross"
        said = _verdict(steps["cross"], higher=True)
        shown = "; ".join(f"{SYSTEMS[name].title}: {_shown('colour', gap, signed=True)}" for name, gap in steps.items())
        text = "Of all steps cross-attention helps text alignment most (colour of the edited objects, points)"
        claims.append({"claim": text, "verdict": said if largest or said != OUT else NOT, "figures": shown})
        for measure, word in (("flicker", "consistency (flicker)"), ("warp", "warp error")):
            claims.append(_claim(group, f"Self-attention then helps {word}", ("ours", ""), ("cross", ""), measure))
        claims.append(_claim(group, "Cross-attention helps warp error", ("cross", ""), ("global_blend", ""), "warp"))
    return {"split": main.split, "clips": group.clips, "rows": rows, "claims": claims}


def fig_14(swept: Runs) -> dict[str, Any]:
    """The paper's Fig. 14: attention per frame, sparse causal, over all frames; the claims are that each is better."""
    group = Group("all", swept.beside(f"mode={mode}" for mode in MODES))
    default = swept.default("mode") if swept.cells else MODES[0]
    rows: dict[str, Row] = {mode: (OURS, "" if mode == default else f"mode={mode}") for mode in MODES}
    have = [mode for mode in MODES if group.values(rows[mode], "union")]
    listed, claims = [], []
    for mode in have:
        listed.append({"name": f"`{mode}`", **_figures(group, rows[mode], PAPER)})
    for worse, better in itertools.pairwise(MODES):
        if worse in have and better in have:
            for measure in ("warp", "flicker", "union"):
                text = f"`{better}` is better than `{worse}`: {MEASURES[measure].title}"
                claims.append(_claim(group, text, rows[better], rows[worse], measure))
    return {"split": swept.split, "clips": group.clips if len(have) > 1 else 0, "rows": listed, "claims": claims}


def _figures(group: Group, row: Row, keys: Sequence[str]) -> dict[str, str]:
    """n: the clips that the row rests on; the rest as text."""
    shown = {key: MEASURES[key].show(group.interval(row, key)) for key in keys}
    return {"n": str(len(group.values(row, "union"))), **shown}


def _claim(group: Group, text: str, row: Row, other: Row, measure: str) -> dict[str, str]:
    gap = group.difference(row, other, measure)
    better = MEASURES[measure].better == "higher"
    return {"claim": text, "verdict": _verdict(gap, better), "figures": _shown(measure, gap, signed=True)}


def _verdict(gap: Interval, higher: bool) -> str:
    """What a paired difference says of "it gets better"."""
    if gap.count < FEW:
        return UNSETTLED if gap.count else OPEN
    wanted, opposite = (gap.above_zero, gap.below_zero) if higher else (gap.below_zero, gap.above_zero)
    return OUT if wanted else REVERSED if opposite else NOT


def _shown(measure: str, found: Interval, signed: bool = False) -> str:
    return MEASURES[measure].show(found, signed=signed) + (f", n = {found.count}" if found.count else "")


def _ratio(found: Interval) -> str:
    return f"{found.mean:.2f} [{found.low:.2f}, {found.high:.2f}] x" if found.count else "-"
