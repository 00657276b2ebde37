"""What a run with `--vary` says of each default: the sums behind defaults.py."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..bench.bootstrap import LEVEL, Interval
from ..bench.records import Cell, InversionCell, read_folder
from ..bench.settings import places
from ..bench.table import MEASURES, Group
from ..bench.tasks import split_of

OURS = "ours"
SHOWN = ("union", "object", "colour", "leak", "warp", "flicker", "ideal_psnr", "seconds")
COMPARED = ("union", "object", "warp", "leak", "ideal_psnr")
HARM = ("leak", "warp", "ideal_psnr")  # in which a winner's losses are told
FEW = 8  # clips; a bootstrap over fewer decides nothing
DECIDES = "union"  # the measure by which a value wins
TOLERANCE = ("masks",)  # what is varied to see what it costs, not to choose it


@dataclass(frozen=True)
class Runs:
    """The results of one or more folders, and their setup."""

    cells: tuple[Cell, ...]
    inversions: tuple[InversionCell, ...]
    setup: Mapping[str, Any]

    def default(self, name: str) -> Any:
        """The value that a varied setting had while it was not varied. KeyError where the setup does not say so."""
        key = ".".join(places()[name])
        if key not in self.setup:
            raise KeyError(
                f"setup.json does not say {key}, the value of {name!r} in edits that do not vary it; expected what "
                "videograin bench writes there; add the line"
            )
        return self.setup[key]

    @property
    def split(self) -> str:
        """Of which split all clips are (edit_tasks.SPLITS); "" without any."""
        return next((split_of(cell.clip) for cell in self.cells), "")

    def beside(self, labels: Iterable[str]) -> tuple[Cell, ...]:
        """Our cells under these labels, and of those under none the same clips and seeds: what may be compared."""
        wanted = set(labels) - {""}
        varied = [cell for cell in self.cells if cell.system == OURS and cell.vary in wanted]
        edits = {(cell.clip, cell.seed) for cell in varied}
        plain = [c for c in self.cells if c.system == OURS and not c.vary and (c.clip, c.seed) in edits]
        return (*plain, *varied)


def read_runs(folders: Iterable[Path]) -> Runs:
    """All folders as one. Of an edit that several hold the first one's counts. ValueError where their setups differ, or
    where the clips are of several splits: settings are chosen on the one and reported on the other."""
    cells: dict[tuple, Cell] = {}
    inversions: dict[tuple, InversionCell] = {}
    setup: dict[str, Any] = {}
    for folder in folders:
        some, inverted, known = read_folder(folder)
        wrong = [key for key in known if key in setup and known[key] != setup[key]]
        if wrong:
            facts = "; ".join(f"{key}: {setup[key]!r} and {known[key]!r}" for key in wrong)
            raise ValueError(f"{folder} has another setup than the folders before it ({facts}); give one setup a call")
        setup |= known
        for one in some:
            cells.setdefault(one.key, one)
        for one in inverted:
            inversions.setdefault(one.key, one)
        splits = sorted({split_of(cell.clip) for cell in cells.values()})
        if len(splits) > 1:
            raise ValueError(
                f"{folder}: with it the clips are of the splits {' and '.join(splits)}; expected one split; give "
                "--main folders of one --split, and --runs likewise"
            )
    return Runs(tuple(cells.values()), tuple(inversions.values()), setup)


def split_label(label: str) -> tuple[str, str]:
    """`power=1` -> ("power", "1"); several settings changed at once, `end=0.6+power=1` -> ("end, power", "0.6, 1")."""
    pairs = [part.partition("=") for part in label.split("+")]
    return ", ".join(name.strip() for name, _, _ in pairs), ", ".join(value.strip() for _, _, value in pairs)


def text_of(value: Any) -> str:
    """A setting as it is written on the command line."""
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)


def sweeps(runs: Runs) -> dict[str, list[str]]:
    """Name -> labels, as they occur."""
    out: dict[str, list[str]] = {}
    for label in dict.fromkeys(cell.vary for cell in runs.cells if cell.system == OURS and cell.vary):
        out.setdefault(split_label(label)[0], []).append(label)
    return out


def sweep(runs: Runs, name: str, labels: Sequence[str]) -> dict[str, Any]:
    """One default as JSON values: the default's own row and one a value, with paired differences from the default.

    The default's row is over the clips and seeds of the values' alone. Each value has `paired`, the number of clips of
    the differences, and `sure`: that of DECIDES at the level that `corrected` gives for so many values.
    """
    default = default_text(runs, name)
    named, labels = labels, [label for label in labels if split_label(label)[1] != default]
    group, level = Group(name, runs.beside(labels or named)), corrected(len(labels))
    rows = []
    for label in ("", *labels):
        row: dict[str, Any] = {"label": label, "value": split_label(label)[1] if label else default}
        row["figures"] = {key: plain(group.interval((OURS, label), key)) for key in SHOWN}
        row["warp_ratio"] = group.warp_ratio((OURS, label))
        if label:
            row["minus"] = {key: plain(group.difference((OURS, label), (OURS, ""), key)) for key in COMPARED}
            row["sure"] = plain(group.difference((OURS, label), (OURS, ""), DECIDES, level))
            row["paired"] = row["minus"][DECIDES]["clips"]
        rows.append(row)
    return {"default": default, "split": runs.split, "level": level, "rows": rows, **verdict(rows)}


def default_text(runs: Runs, name: str) -> str:
    """What the settings of a sweep ("end, power") are while they are not varied, as on the command line."""
    return ", ".join(text_of(runs.default(one)) for one in name.split(", "))


def corrected(values: int) -> float:
    """The level of the intervals that decide where so many values are tried at once (Bonferroni): any of them errs as
    seldom as one at LEVEL."""
    return 1 - (1 - LEVEL) / max(1, values)


def verdict(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """winner: the value with the largest difference among those whose corrected interval lies above 0, None without
    any; worse: the values whose corrected interval lies below 0. Both of FEW clips or more. losses: in which of HARM
    the winner is worse, by its LEVEL interval: what warns is not corrected."""
    gaps = {row["value"]: row["sure"] for row in rows if "sure" in row}
    better = {value: gap["mean"] for value, gap in gaps.items() if gap["clips"] >= FEW and gap["low"] > 0}
    winner = max(better, key=better.get) if better else None
    minus = next((row["minus"] for row in rows if row["value"] == winner), {})
    return {
        "winner": winner,
        "worse": [value for value, gap in gaps.items() if gap["clips"] >= FEW and gap["high"] < 0],
        "losses": [key for key in HARM if key in minus and is_worse(key, interval(minus[key]))],
    }


def is_worse(measure: str, gap: Interval) -> bool:
    """Whether a difference's whole interval lies on the measure's bad side."""
    return gap.below_zero if MEASURES[measure].better == "higher" else gap.above_zero


def check_decision(name: str, found: Mapping[str, Any], stated: Mapping[str, Any] | None) -> str | None:
    """What is wrong with a stated decision {winner, chosen, why}, None if nothing is.

    winner: the value that the file says is better than the default (text), or none; it must be the measured one.
    chosen: the default from now on; anything but the winner (or, without one, but the default) needs a `why`.
    """
    winner = found["winner"]
    if stated is None:
        line = f"'{name}': {{winner: '{winner or 'none'}', chosen: '{winner or found['default']}'}}"
        return f"no decision; what the figures say: {line}"
    said = stated.get("winner")
    said = None if said in (None, "none") else text_of(said)
    if said != winner:
        return f"{name}: the decision says the winner is {said}; measured: {winner}. Correct the decision"
    chosen, best = text_of(stated.get("chosen")), winner or found["default"]
    if chosen not in [row["value"] for row in found["rows"]]:
        return f"{name}: {chosen} was chosen, but never measured; expected one of the table's values"
    if chosen != best and not stated.get("why"):
        return f"{name}: {chosen} was chosen where the figures say {best}; say why"
    return None


def sentence(found: Mapping[str, Any], stated: Mapping[str, Any] | None) -> str:
    """The decision in words: what the figures say is computed, what was chosen and why is stated."""
    rows = {row["value"]: row for row in found["rows"]}
    measure, default = MEASURES[DECIDES], found["default"]
    level = f"{100 * found['level']:.3g} %"
    if found["winner"] is None:
        tried = [row["paired"] for row in rows.values() if "paired" in row]
        clips = f"{min(tried, default=0)} clips" if len(set(tried)) < 2 else f"{min(tried)} to {max(tried)} clips"
        figures = f"None of {len(tried)} other values is better with its {level} interval clear of 0 ({clips})."
        if len(tried) == 1:
            figures = f"The other value is not better with its {level} interval clear of 0 ({clips})."
    else:
        won = rows[found["winner"]]
        gap, minus = interval(won["sure"]), won["minus"]
        shown = f"{measure.show(gap, signed=True)} points ({level} interval, {won['paired']} clips)"
        figures = f"`{found['winner']}` is better than `{default}`: {shown}."
        harm = (f"{MEASURES[key].title} {MEASURES[key].show(interval(minus[key]), True)}" for key in found["losses"])
        figures += f" **But it loses elsewhere**: {'; '.join(harm)}." if found["losses"] else ""
    if found["worse"]:
        figures += f" Clearly worse: {', '.join(f'`{value}`' for value in found['worse'])}."
    if stated is None:
        return f"{figures} **Not decided yet.**"
    chosen = text_of(stated["chosen"])
    word = "Kept" if chosen == default else "Changed to"
    why = f" {stated['why']}" if stated.get("why") else ""
    return f"{figures} **{word}: `{chosen}`.**{why}"


def plain(found: Interval) -> dict[str, Any]:
    """As JSON values; without a clip no numbers."""
    numbers = (found.mean, found.low, found.high) if found.count else (None, None, None)
    return {**dict(zip(("mean", "low", "high"), numbers)), "clips": found.count}


def interval(values: Mapping[str, Any]) -> Interval:
    """What `plain` made, again."""
    numbers = (math.nan if values[key] is None else values[key] for key in ("mean", "low", "high"))
    return Interval(*numbers, values["clips"])
