"""Every committed page of figures is what its committed JSON says, and the numbers in pages are read as meant."""

import json
import re

import jinja2
import pytest
from PIL import Image

from videograin.lab import pages
from videograin.lab.pages import GIB, MIB
from videograin.lab.paths import BENCHMARKS
from videograin.lab.studies import (
    attention_cost,
    attention_shares,
    edit_options_page,
    found_layouts_page,
    long_clips_page,
    round_trips,
    sd15_gpu,
    steadiness_targets,
    vram,
    whole_edit,
)

MAKERS = {
    "attention_cpu": attention_cost.page,
    "attention_shares": attention_shares.page,
    "edit_options": edit_options_page.page,
    "layout": found_layouts_page.page,
    "long_clips": long_clips_page.page,
    "round_trips": round_trips.page,
    "sd15_flops": sd15_gpu.page,
    "steadiness": steadiness_targets.page,
    "whole_edit": whole_edit.page,
}


@pytest.mark.parametrize("name", MAKERS)
def test_committed_pages_are_what_their_json_says(name):
    found = json.loads((BENCHMARKS / f"{name}.json").read_text(encoding="utf-8"))
    assert MAKERS[name](found) == (BENCHMARKS / f"{name}.md").read_text(encoding="utf-8")


def test_numbers_in_pages():
    assert pages.num(0.125, ".1%") == "12.5%"
    assert pages.num(None, ".1%") == "-"
    assert pages.header("a", "b") == "| a | b |\n|---|---|"
    text = "{{ rows | span('.1f', 'x') }}; {{ [2.01, 2.04] | span('.1f') }}; {{ rows | mean('x') | num('g') }}"
    rows = [{"x": 3}, {"x": 1}]
    assert pages.environment().from_string(text).render(rows=rows) == "1.0 to 3.0; 2.0; 2"


def test_a_name_without_a_value_is_an_error():
    with pytest.raises(jinja2.UndefinedError, match="'found' is undefined"):
        pages.render("round_trips")


def test_a_page_lies_beside_its_json(tmp_path):
    made = pages.write_page(tmp_path / "made" / "of.8", {"a": 1}, "# A\n", lambda found, path: path.write_text("drawn"))
    assert made.name == "of.8.md"
    assert {file.name for file in made.parent.iterdir()} == {"of.8.json", "of.8.md", "of.8.png"}
    assert json.loads(made.with_suffix(".json").read_text()) == {"a": 1}


def test_pictures_are_drawn_without_a_display(tmp_path):
    with pages.drawing(tmp_path / "two.png", 1, 2, figsize=(4, 2), dpi=50) as (_, axes):
        assert len(axes) == 2
    with Image.open(tmp_path / "two.png") as picture:
        assert picture.size == (200, 100)


def test_the_committed_page_of_gpu_memory():
    """It has no JSON: its numbers, as bytes again, make the page."""
    text = (BENCHMARKS / "vram.md").read_text(encoding="utf-8")
    tables = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    tables = [[[cell.strip() for cell in line.strip("| ").split("|")] for line in block] for block in tables]
    *sizes, (heads, _, *held), (_, _, *checked) = tables
    found = {"weights": 1.60 * GIB, "kept": 26 * MIB, "date": "2026-11-21", "torch": "2.13.0+cpu"}
    found |= {"calls": sizes[0][0][1:], "lengths": [int(row[0]) for row in held], "sizes": {}}
    for number, name in enumerate(heads[1:]):
        unet = {int(n): [float(x) * GIB - found["weights"] for x in row] for n, *row in sizes[number][2:]}
        kept = {int(n): float(row[number]) * MIB for n, *row in held}
        found["sizes"][name] = {n: {"unet": unet[n], "trajectory": kept[n]} for n in kept}
    off = {name: float(share.rstrip("%")) / 100 for name, _, _, share in checked}
    told = [(name, float(a) * MIB, float(a) * MIB / (1 + off[name])) for name, a, _, _ in checked]
    found |= {"validation": told, "channels": vram.CHANNELS, "steps": vram.STEPS, "anchors": vram.ANCHORS}
    made = vram.page(found)
    # counted is printed to 0.1 MiB and its share to 0.1 %: what was allocated follows from them to 0.1 MiB
    assert re.sub(r"\| [\d.]+ \| ([+-])", r"| \1", made) == re.sub(r"\| [\d.]+ \| ([+-])", r"| \1", text)
