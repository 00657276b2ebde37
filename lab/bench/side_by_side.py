"""A page for people's eyes: clips of the bench, every system's edit beside the source and the ideal, moving.

    videograin bench --clips 10 --seeds 1 --steps 16 --keep --systems ours --vary steady=false --out out/eyes
    videograin bench --clips 10 --seeds 1 --steps 16 --keep --out out/rivals
    python -m videograin.lab.bench.side_by_side --bench out/eyes out/rivals --out out/side_by_side

Nothing is edited here: pictures are those that ``--keep`` kept, with the composite that belongs to each. Writes
OUT/index.html and a lossless animated WebP for each picture, which play in step. --blind leaves the systems' names
and figures out and shuffles the columns, the same way for all clips; OUT/key.json then says which is which.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ...editing.whole_file import write_json
from ..pages import environment
from . import bench
from .records import Cell, read_folder
from .settings import BenchSettings, variations
from .systems import SYSTEMS
from .table import Row, title_of
from .tasks import KINDS, EditTask, clip_specs, split_of

FPS = 6
Edits = dict[Row, tuple[np.ndarray, Cell]]
"""Of one clip: system and variation -> finished frames uint8 [F, H, W, 3] and the bench's line."""
ORDER = ("ours", "ceiling", "cross")  # of the systems; then all others as SYSTEMS has them


def kept(folder: Path) -> tuple[bench.Plan, list[Cell]]:
    """What a folder of the bench holds: the plan that its kept pictures are of, and its edits. ValueError without kept
    pictures."""
    cells, _, setup = read_folder(folder)
    if not (folder / "edits").is_dir():
        raise ValueError(f"{folder} holds no kept pictures; expected a folder of videograin bench --keep; run it so")
    splits = {split_of(cell.clip) for cell in cells}
    specs = {spec.name: spec for split in splits for spec in clip_specs(tuple(KINDS), split, each=99)}
    settings = BenchSettings()
    settings = replace(settings, sampling=replace(settings.sampling, steps=setup["sampling.steps"]))
    plan = bench.Plan(
        specs=tuple(specs[name] for name in dict.fromkeys(cell.clip for cell in cells)),
        seeds=tuple(sorted({cell.seed for cell in cells})),
        systems=tuple(SYSTEMS[name] for name in dict.fromkeys(cell.system for cell in cells)),
        variations=variations(settings, sorted({cell.vary for cell in cells} - {""})),
        frames=setup["frames"],
        size=setup["size"],
        strips=folder / "edits",
    )
    return plan, cells


def rows_of(cells: Sequence[Cell]) -> list[Row]:
    """(system, variation) of all: ours first, held steady and not."""
    order = [*ORDER, *(name for name in SYSTEMS if name not in ORDER)]
    return sorted({(cell.system, cell.vary) for cell in cells}, key=lambda row: (order.index(row[0]), row[1]))


def save_moving(file: Path, frames: np.ndarray) -> None:
    """An endless picture of uint8 [F, H, W, 3], there and back again, lossless."""
    turn = [*frames, *frames[-2:0:-1]]
    first, *rest = (Image.fromarray(frame) for frame in turn)
    options: dict[str, Any] = {"save_all": True, "append_images": rest, "duration": 1000 // FPS, "loop": 0}
    first.save(file, lossless=True, **options)


def gather(folders: Sequence[Path], clips: int) -> tuple[list[Row], list[tuple[EditTask, Edits]]]:
    """(the systems, [(task, its edits)]) of the clips that most systems edited, at most so many, evenly spread over
    them; of each the first seed."""
    there: dict[str, dict[Row, tuple[bench.Plan, Cell]]] = {}
    rows: list[Row] = []
    for folder in folders:
        plan, cells = kept(folder)
        rows += [row for row in rows_of(cells) if row not in rows]
        for cell in cells:
            if cell.seed == plan.seeds[0]:
                there.setdefault(cell.clip, {}).setdefault((cell.system, cell.vary), (plan, cell))
    most = max(map(len, there.values()))
    names = [name for name, edits in there.items() if len(edits) == most]
    if len(names) > clips:
        names = [names[k * len(names) // clips] for k in range(clips)]
    out = []
    for name in names:
        edits: Edits = {}
        for row, (plan, cell) in there[name].items():
            found = bench.kept_edit(plan, name, cell.seed, *row)
            if found is not None:
                task, edits[row] = found[0], (found[1], cell)
        if edits:
            out.append((task, edits))
    return rows, out


def figures(cell: Cell) -> str:
    """Of one edit: all right, own over the ideal's, jitters."""
    m = cell.metrics
    own = f"{m['own'] / m['own_ideal']:.1f}" if m["own_ideal"] > 0 else "-"
    return f"right {m['union']:.0%}, own {own} x, centre {m['centre_jitter']:.1f} px, size {m['size_jitter']:.1%}"


def write(out: Path, rows: Sequence[Row], clips: Sequence[tuple[EditTask, Edits]], blind: bool) -> Path:
    """The page and its pictures."""
    out.mkdir(parents=True, exist_ok=True)
    rows = list(rows)
    if blind:
        rows = [rows[k] for k in np.random.default_rng(0).permutation(len(rows))]
        write_json(out / "key.json", {f"system {k + 1}": title_of(row) for k, row in enumerate(rows)})
    heads = [f"system {k + 1}" if blind else title_of(row) for k, row in enumerate(rows)]
    shown = []
    for number, (task, edits) in enumerate(clips):
        pictures = [("source", task.clip.frames, ""), ("ideal", task.ideal.frames, "")]
        for k, row in enumerate(rows):
            frames, cell = edits.get(row, (None, None))
            pictures.append((f"{k + 1}", frames, "" if blind or cell is None else figures(cell)))
        line = []
        for name, frames, text in pictures:
            file = f"{number + 1:02d}_{re.sub('[^a-z0-9]', '', name)}.webp"
            if frames is not None:
                save_moving(out / file, frames)
            line.append({"file": file if frames is not None else "", "text": text})
        shown.append({"name": task.spec.name, "source": task.source_prompt, "prompt": task.prompt, "pictures": line})
    page = environment().get_template("side_by_side.html.j2")
    values = {"heads": ["source", "ideal", *heads], "clips": shown, "blind": blind}
    (out / "index.html").write_text(page.render(**values), encoding="utf-8")
    return out / "index.html"


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bench", type=Path, nargs="+", required=True, help="folders of videograin bench --keep")
    parser.add_argument("--clips", type=int, default=10, help="at most so many (default: %(default)s)")
    parser.add_argument("--blind", action="store_true", help="without names and figures, columns shuffled")
    parser.add_argument("--out", type=Path, default=Path("out/side_by_side"), help="folder of the page")
    args = parser.parse_args(words)
    try:
        rows, clips = gather(args.bench, args.clips)
    except (OSError, ValueError, KeyError, json.JSONDecodeError) as error:
        parser.error(str(error))
    print(write(args.out, rows, clips, args.blind))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
