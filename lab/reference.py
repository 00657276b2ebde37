"""The tables of edit-file and metrics-file keys in runner/README.md, written from the classes that read the files.

    python -m videograin.lab.reference

tests/lab/test_reference.py checks that what is committed is what this would write.
"""

from __future__ import annotations

import re
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from ..editing.fields import fields_of, group_in, limits
from ..runner.edit_keys import REQUIRED, EditKeys, MetricsKeys, SourceKeys
from .paths import ROOT

PAGE = ROOT / "runner" / "README.md"
MARKS = re.compile(r"(<!-- python -m videograin\.lab\.reference writes this: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


REFERENCE = re.compile(r" \(\w+\.(md|py)[^)]*\)")
"""A place in the repository, as docstrings name it; not for readers of the page."""
KINDS = {"edit": EditKeys, "metrics": MetricsKeys}


def own_keys(kind: type) -> dict[str, FieldInfo]:
    """The keys that a table has: of a metrics file those that an edit file has not."""
    shared = fields_of(SourceKeys) if kind is MetricsKeys else {}
    return {name: field for name, field in fields_of(kind).items() if name not in shared}


def table(kind: type) -> str:
    """A Markdown table of a class's keys."""
    rows = ["| key | value | default | |", "|---|---|---|---|"]
    for name, field in own_keys(kind).items():
        group, allowed = group_in(field.annotation), limits(field)
        values = ("a list, below" if allowed.kind is tuple else "keys, below") if group else allowed.span
        needed = field.is_required() or name in REQUIRED.get(kind, ())
        default = "**required**" if needed else "" if group else _shown(field.default)
        rows.append(f"| `{name}` | {_plain(values)} | {default} | {_plain(field.description or '')} |")
    return "\n".join(rows)


def _shown(default: Any) -> str:
    if default in (None, "", PydanticUndefined):
        return ""
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def _plain(text: str) -> str:
    return REFERENCE.sub("", text).removeprefix("one of ").replace("``", "`")


def tables(kind: type, name: str = "") -> list[str]:
    """The tables of a class and of the groups inside, each with its full name and what it is."""
    about = _plain(" ".join((kind.__doc__ or "").split("\n\n")[0].split()))
    out = [f"**`{name}`**: {about}\n\n{table(kind)}" if name else table(kind)]
    for key, field in own_keys(kind).items():
        if (group := group_in(field.annotation)) is not None:
            out += tables(group, f"{name}.{key}" if name else key)
    return out


def written(page: str) -> str:
    """The page with its tables as they should be."""
    return MARKS.sub(lambda mark: mark[1] + "\n" + "\n\n".join(tables(KINDS[mark[2]])) + "\n\n" + mark[3], page)


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    print(f"{PAGE}: written")
