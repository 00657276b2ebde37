"""Write the workflows: workflows/<name>.json for the browser, tests/workflows/<name>.json as prompts.

    python -m videograin.lab.templates.write

reads the definitions snapshot only. A workflow that does not pass the checks is not written.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import own_clip as sd15
from .attention_map import attention_map
from .checker import Definitions, check_ui
from .definitions import ROOT, WORKFLOWS, load
from .graph import Graph
from .long_clip import long_clip
from .measure_edits import measure_edits
from .quickstart import quickstart, start_here

PROMPTS = ROOT / "tests" / "workflows"
BUILDERS: dict[str, Callable[[Definitions], Graph]] = {
    "start_here": start_here,
    "quickstart": quickstart,
    "attention_map": attention_map,
    "long_clip": long_clip,
    "measure_edits": measure_edits,
    **sd15.BUILDERS,
}


def build(name: str, definitions: Definitions) -> tuple[dict[str, Any], dict[str, Any]]:
    """(UI format, API format). Raises ValueError with every mistake the checks find."""
    graph = BUILDERS[name](definitions)
    ui, api = graph.ui(), graph.api()
    mistakes = check_ui(ui, definitions)
    if mistakes:
        raise ValueError(f"{name}: " + "\n".join(mistakes))
    return ui, api


def write(folder: Path, name: str, content: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(content, indent=1, ensure_ascii=False)
    (folder / f"{name}.json").write_text(text + "\n", encoding="utf-8")


def main() -> int:
    definitions = load()
    for name in BUILDERS:
        ui, api = build(name, definitions)
        write(WORKFLOWS, name, ui)
        write(PROMPTS, name, api)
        sys.stdout.write(f"{name}: {len(api)} nodes\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
