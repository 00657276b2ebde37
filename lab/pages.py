"""Pages of figures: Markdown from `page_templates/*.md.j2`, and what stands beside a page, its JSON and its picture.

Templates are Jinja's; beside its own filters they have `num` (format, with a dash for None), `mib` (of bytes) and
`median`; `mean` and `span` (lowest to highest), of a list or of an attribute of its items; and the functions `header`
and `cells`, a table's first two lines and one of its lines.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from statistics import fmean, median
from typing import Any

import jinja2

from .paths import TEMPLATES

MIB, GIB = 2**20, 2**30


def num(value: Any, spec: str, missing: str = "-") -> str:
    """`format(value, spec)`; `missing` for None."""
    return missing if value is None else format(value, spec)


@jinja2.pass_environment
def mean(jinja: jinja2.Environment, items: Iterable[Any], attribute: str | None = None) -> float:
    """Of numbers, or of an attribute ("before.own") of the items."""
    return fmean(map(jinja2.filters.make_attrgetter(jinja, attribute), items))


@jinja2.pass_environment
def span(jinja: jinja2.Environment, items: Iterable[Any], spec: str, attribute: str | None = None) -> str:
    """`lowest to highest` as `mean` takes them, or the one of them if both read alike."""
    values = [*map(jinja2.filters.make_attrgetter(jinja, attribute), items)]
    low, high = (format(pick(values), spec) for pick in (min, max))
    return low if low == high else f"{low} to {high}"


def mib(value: float) -> str:
    """Bytes as MiB, to one."""
    return f"{value / MIB:.0f}"


def cells(*values: Any) -> str:
    """A line of a table."""
    return f"| {' | '.join(map(str, values))} |"


def header(*titles: str) -> str:
    """The first two lines of a table."""
    return f"{cells(*titles)}\n{'|---' * len(titles)}|"


@cache
def environment() -> jinja2.Environment:
    """Jinja with what templates may use."""
    found = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    found.filters |= {"num": num, "mean": mean, "median": median, "mib": mib, "span": span}
    found.globals |= {"cells": cells, "header": header, "zip": zip, "dict": dict, "MIB": MIB, "GIB": GIB}
    return found


def render(template: str, **values: Any) -> str:
    """The text of `page_templates/TEMPLATE.md.j2`. jinja2.UndefinedError for a name that has no value."""
    return environment().get_template(f"{template}.md.j2").render(**values)


def read_figures(base: Path) -> Any:
    """BASE.json, as `write_page` writes it."""
    return json.loads(base.with_name(f"{base.name}.json").read_text(encoding="utf-8"))


def write_page(base: Path, found: Any, text: str, plot: Callable[[Any, Path], None] | None = None) -> Path:
    """BASE.json of `found`, BASE.md of `text` and, where matplotlib is installed, BASE.png by `plot`. Gives BASE.md.

    The suffixes are appended: BASE may hold a dot.
    """
    base.parent.mkdir(parents=True, exist_ok=True)
    files = [base.with_name(f"{base.name}.{suffix}") for suffix in ("json", "md", "png")]
    files[0].write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    files[1].write_text(text, encoding="utf-8")
    if plot is not None and find_spec("matplotlib") is not None:  # a bare GPU machine may lack it
        plot(found, files[2])
    return files[1]


@contextmanager
def drawing(
    path: Path, *shape: int, saved_at: float | str = "figure", within: Sequence[float] = (0, 0, 1, 1), **how: Any
) -> Iterator:
    """(matplotlib's figure, its axes as `pyplot.subplots` gives them), saved as PNG at the end, without a display.

    saved_at: dots an inch of the file. within: left, bottom, right, top of the part of the figure that the axes fill.
    how: of `pyplot.subplots`.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(*shape, **how)
    yield figure, axes
    figure.tight_layout(rect=tuple(within))
    figure.savefig(path, dpi=saved_at)
    pyplot.close(figure)
