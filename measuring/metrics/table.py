"""Two or more clips side by side: the same figures of each, as CSV, JSON, markdown, text.

The plot is in measuring/pictures/bars.py.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .metric import Metric


@dataclass(frozen=True)
class Table:
    """names: of the clips, in order; columns: the figures of each, the same keys in the same order. reference: the name
    of the clip that is no edit (the source): shown, but never called best. notes: remarks for every form."""

    names: tuple[str, ...]
    columns: tuple[tuple[Metric, ...], ...]
    reference: str = ""
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, clips: Mapping[str, Sequence[Metric]], *, reference: str = "", notes: Sequence[str] = ()) -> Table:
        """From clip name -> figures. ValueError where the clips have different figures."""
        keys = {tuple(figure.key for figure in figures) for figures in clips.values()}
        if len(keys) != 1:
            raise ValueError(f"clips have {len(keys)} different sets of figures; expected one; measure them alike")
        return cls(tuple(clips), tuple(tuple(figures) for figures in clips.values()), reference, tuple(notes))

    @property
    def rows(self) -> list[tuple[Metric, ...]]:
        """One tuple for each figure, with its value for every clip."""
        return list(zip(*self.columns))

    def best(self, row: Sequence[Metric]) -> set[int]:
        """Which of the edits show the best text of a row: indices; empty where there are not two edits to compare, or
        all show the same."""
        edits = [
            index for index, name in enumerate(self.names) if name != self.reference and row[index].value is not None
        ]
        if len({row[index].text for index in edits}) < 2:
            return set()
        choose = max if row[0].better == "higher" else min
        best = choose(row[index].value for index in edits)
        text = next(row[index].text for index in edits if row[index].value == best)
        return {index for index in edits if row[index].text == text}

    def missing(self) -> list[tuple[str, str]]:
        """(name, why) of each figure that was not measured, with the clips' names where others have it."""
        found = []
        for row in self.rows:
            lacking = [index for index, figure in enumerate(row) if figure.value is None]
            for why in dict.fromkeys(row[index].why for index in lacking):
                of = ", ".join(self.names[index] for index in lacking if row[index].why == why)
                found.append((row[0].name if len(lacking) == len(row) else f"{row[0].name} of {of}", why))
        return found

    def measured(self) -> list[tuple[Metric, ...]]:
        """The rows of which at least one clip has a value."""
        return [row for row in self.rows if any(figure.value is not None for figure in row)]

    def networks(self) -> dict[str, list[str]]:
        """Network -> the names of the figures that were measured with it."""
        found: dict[str, list[str]] = {}
        for row in self.measured():
            for model in dict.fromkeys(figure.model for figure in row if figure.model):
                found.setdefault(model, []).append(row[0].name)
        return found

    def facts(self) -> dict[str, Any]:
        """For JSON (`editing.whole_file.write_json` writes inf as text): clips -> key -> value and definition."""
        figures = {
            name: {figure.key: figure.facts() for figure in column} for name, column in zip(self.names, self.columns)
        }
        return {"clips": list(self.names), "reference": self.reference, "notes": list(self.notes), "figures": figures}

    def json(self) -> str:
        """`facts` as text; an infinite value becomes "inf", for JSON knows none."""
        return json.dumps(_finite(self.facts()), indent=2, ensure_ascii=False)

    def csv(self) -> str:
        """One line a figure: key, name, scale, unit, better, the clips' shown values (empty = not measured; inf), the
        network, the definition, and why it was not measured."""
        text = io.StringIO()
        out = csv.writer(text, lineterminator="\n")
        head = ["figure", "name", "scale", "unit", "better", *self.names, "model", "definition", "not measured"]
        out.writerow(head)
        for row in self.rows:
            one = row[0]
            shown = ["" if figure.shown is None else f"{figure.shown:.6g}" for figure in row]
            why = "; ".join(dict.fromkeys(figure.why for figure in row if figure.why))
            model = "; ".join(dict.fromkeys(figure.model for figure in row if figure.model))
            out.writerow(
                [one.key, one.name, f"{one.scale:g}", one.unit, one.better, *shown, model, one.definition, why]
            )
        return text.getvalue()

    def markdown(self) -> str:
        """A table of what was measured (the best edit of a row in bold), the definitions with their networks below it,
        and what was not measured with the reasons."""
        lines = [f"| | {' | '.join(map(_escaped, self.names))} |", f"|---|{'---:|' * len(self.names)}"]
        for row in self.measured():
            best = self.best(row)
            cells = [f"**{f.text}**" if index in best else f.text for index, f in enumerate(row)]
            lines.append(f"| {_escaped(row[0].title)} {_arrow(row[0])} | {' | '.join(cells)} |")
        lines.append("")
        for row in self.measured():
            model = next((figure.model for figure in row if figure.model), "")
            lines.append(f"- {row[0].name}: {row[0].definition}{f' [{model}]' if model else ''}.")
        lines += [f"- {name}: not measured: {why}." for name, why in self.missing()]
        lines += [f"- {note}" for note in self.notes]
        return "\n".join(lines) + "\n"

    def text(self) -> str:
        """For the console: aligned columns, the networks, and what was not measured."""
        rows = [["", *self.names]]
        rows += [[f"{row[0].title} ({row[0].better} is better)", *(f.text for f in row)] for row in self.measured()]
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines = [
            "  ".join([row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:]))]).rstrip()
            for row in rows
        ]
        lines += [f"by {model}: {'; '.join(names)}" for model, names in self.networks().items()]
        by_reason: dict[str, list[str]] = {}
        for name, why in self.missing():
            by_reason.setdefault(why, []).append(name)
        lines += [f"not measured: {why}: {'; '.join(names)}" for why, names in by_reason.items()]
        return "\n".join([*lines, *self.notes])


def _arrow(figure: Metric) -> str:
    return "(higher is better)" if figure.better == "higher" else "(lower is better)"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
