"""An edit file that is right, and what is found wrong with changes of it."""

from pathlib import Path

import pytest

from videograin.runner.edit_checks import load_edit
from videograin.runner.edit_file import EditFileError

GOOD = """\
video: source.mp4
frames: {start: 1, count: 2, stride: 2}
size: [96, 64]
source_prompt: a red square and a blue square on sand
prompt: a green circle and a yellow cross on sand
regions:
  - phrase: a green circle
    masks: {boxes: [[8, 8, 24, 24]]}
  - phrase: a yellow cross
    masks: {boxes: [[64, 40, 80, 56], [64, 40, 80, 56]]}
    strength: 0.5
steps: 4
output: out
"""


def load(folder: Path, text: str, **options):
    (folder / "edit.yaml").write_text(text, encoding="utf-8")
    return load_edit(folder / "edit.yaml", **options)


def problems(folder: Path, text: str, **options) -> list[tuple[int, str]]:
    with pytest.raises(EditFileError) as caught:
        load(folder, text, **options)
    lines = str(caught.value).splitlines()
    assert lines == [f"edit.yaml:{line}: {what}" for line, what in caught.value.problems]
    return caught.value.problems


def one(folder: Path, text: str, **options) -> tuple[int, str]:
    found = problems(folder, text, **options)
    assert len(found) == 1, found
    return found[0]
