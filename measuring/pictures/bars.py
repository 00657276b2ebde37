"""Figures of several clips as bars, one small chart a figure. Pillow, imported when used."""

from __future__ import annotations

import math

import numpy as np

from ..metrics.metric import Metric
from ..metrics.table import Table
from .painting import GAP, INK, MUTED, PAPER, font, legend_strip, region_colour, wrap

WIDTH = 1200  # pixels
COLUMNS = 3
TEXT = 20  # pixels
BAR = 22
IDENTICAL = 60.0  # dB: the bar of equal pixels is full, beside it the others are drawn against this at least
GROUND = (236, 236, 236)


def bar_sheet(table: Table, title: str = "") -> np.ndarray:
    """A chart for every figure that was measured, each from 0 to its own largest value, with the numbers; below them
    the clips' colours, the networks behind the figures, and what was not measured. uint8 [H, 1200, 3]."""
    from PIL import Image, ImageDraw

    rows, text = table.measured(), font(TEXT)
    room = WIDTH // COLUMNS - 4 * GAP
    heads = [wrap(f"{row[0].title}, {row[0].better} is better", text, room) for row in rows]
    step = round(TEXT * 1.35)
    tall = step * max(map(len, heads), default=0) + len(table.names) * (BAR + GAP) + 4 * GAP
    top = step + 2 * GAP if title else GAP
    height = top + -(-len(rows) // COLUMNS) * tall
    sheet = Image.new("RGB", (WIDTH, height), PAPER)
    draw = ImageDraw.Draw(sheet)
    if title:
        draw.text((2 * GAP, GAP), wrap(title, text, WIDTH - 4 * GAP, 1)[0], INK, text)
    for index, (row, head) in enumerate(zip(rows, heads)):
        x = index % COLUMNS * (WIDTH // COLUMNS) + 2 * GAP
        y = top + index // COLUMNS * tall
        for line in head:
            draw.text((x, y), line, INK, text)
            y += step
        _bars(draw, row, table.best(row), (x, y + GAP, room), text)
    names = [f"{name} (not an edit)" if name == table.reference else name for name in table.names]
    parts = [np.asarray(sheet), legend_strip(names, WIDTH, size=TEXT), _lines(_below(table), text, step)]
    return np.concatenate([part for part in parts if len(part)])


def _bars(draw, row: tuple[Metric, ...], best: set[int], place: tuple[int, int, int], text) -> None:
    """One chart. place: x, y, width."""
    x, y, room = place
    numbers = [_number(figure) + (" *" if index in best else "") for index, figure in enumerate(row)]
    wide = room - max(round(text.getlength(number)) for number in numbers) - GAP
    finite = [figure.shown for figure in row if figure.shown is not None and math.isfinite(figure.shown)]
    most = max([value for value in finite if value > 0], default=0.0)
    if len(finite) < sum(figure.shown is not None for figure in row):
        most = max(most, IDENTICAL)
    for index, (figure, number) in enumerate(zip(row, numbers)):
        share = 0.0
        if figure.shown is not None and figure.shown > 0:
            share = 1.0 if math.isinf(figure.shown) or not most else figure.shown / most
        draw.rectangle((x, y, x + wide, y + BAR), fill=GROUND)
        if share:
            draw.rectangle((x, y, x + max(1, round(share * wide)), y + BAR), fill=region_colour(index + 1))
        draw.text((x + wide + GAP, y + BAR // 2), number, INK, text, anchor="lm")
        y += BAR + GAP


def _number(figure: Metric) -> str:
    return figure.text if figure.value is not None else "none"


def _below(table: Table) -> list[str]:
    by_reason: dict[str, list[str]] = {}
    for name, why in table.missing():
        by_reason.setdefault(why, []).append(name)
    lines = [f"Not measured, {why}: {'; '.join(names)}" for why, names in by_reason.items()]
    networks = [f"By {model}: {'; '.join(names)}" for model, names in table.networks().items()]
    starred = any(table.best(row) for row in table.measured())
    return [*(["* the best edit"] if starred else []), *networks, *lines, *table.notes]


def _lines(lines: list[str], text, step: int) -> np.ndarray:
    """Lines of small print: uint8 [H, WIDTH, 3], of no height without lines."""
    from PIL import Image, ImageDraw

    wrapped = [row for line in lines for row in wrap(line, text, WIDTH - 4 * GAP)]
    picture = Image.new("RGB", (WIDTH, step * len(wrapped) + (2 * GAP if wrapped else 0)), PAPER)
    draw = ImageDraw.Draw(picture)
    for index, row in enumerate(wrapped):
        draw.text((2 * GAP, GAP + index * step), row, MUTED, text)
    return np.asarray(picture)
