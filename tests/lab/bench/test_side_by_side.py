"""The page for people's eyes shows the edits that were kept, whole, in the columns that it says."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from videograin.lab.bench import side_by_side
from videograin.lab.bench.records import Cell, Records
from videograin.lab.bench.strips import save_strip, strip_file
from videograin.lab.bench.tasks import clip_specs, edit_task

FRAMES, SIZE = 3, 64
SPECS = clip_specs(["one kept"], objects=2)[:3]
METRICS = {"union": 0.5, "own": 3.0, "own_ideal": 1.5, "centre_jitter": 0.25, "size_jitter": 0.01}


def bench_folder(path, rows, specs=SPECS):
    """As `videograin bench --keep` leaves it: every system's edit is the ideal result, a little darker for each."""
    records = Records(path, {"frames": FRAMES, "size": SIZE, "sampling.steps": 2})
    for spec in specs:
        ideal = edit_task(spec, 0, FRAMES, SIZE).ideal.frames
        for number, (system, vary) in enumerate(rows):
            records.add(Cell(spec.name, 0, system, vary, spec.kind, 2, spec.motion, spec.trained, METRICS, 1.0))
            save_strip(strip_file(path / "edits", spec.name, 0, system, vary), ideal // (number + 1))
    return path


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("bench")
    ours = bench_folder(root / "ours", [("ours", "steady=false"), ("ours", "")])
    return [ours, bench_folder(root / "rivals", [("global", ""), ("hard", "")], SPECS[1:])]


def frames_of(file):
    with Image.open(file) as picture:
        return [np.asarray(picture.convert("RGB")) for _ in map(picture.seek, range(picture.n_frames))]


def write(folders, out, *words):
    assert side_by_side.main(["--bench", *map(str, folders), "--out", str(out), *words]) == 0
    return (out / "index.html").read_text()


def test_all_systems_of_the_clips_that_all_edited(folders, tmp_path):
    page = write(folders, tmp_path)
    assert SPECS[0].name not in page  # two systems alone edited it
    assert all(spec.name in page for spec in SPECS[1:])
    heads = re.findall(r"<th>(.*?)</th>", page)
    assert heads[:2] == ["source", "ideal"]
    assert [("steady=false" in head, "ours" in head) for head in heads[2:4]] == [(False, True), (True, True)]
    assert "right 50%, own 2.0 x, centre 0.2 px, size 1.0%" in page


def test_pictures_move_forth_and_back_and_lose_nothing(folders, tmp_path):
    page = write(folders, tmp_path)
    assert all((tmp_path / name).exists() for name in re.findall(r'src="(.*?)"', page))
    task = edit_task(SPECS[1], 0, FRAMES, SIZE)
    source = frames_of(tmp_path / "01_source.webp")
    assert [next(k for k in range(FRAMES) if (task.clip.frames[k] == one).all()) for one in source] == [0, 1, 2, 1]
    first = frames_of(tmp_path / "01_1.webp")[0]  # ours, held steady: the second edit of its folder
    inside = np.max([region.mask.numpy()[0] for region in task.regions if not region.keep], 0) > 0.5
    assert (first[inside] == task.ideal.frames[0][inside] // 2).all()


def test_a_blind_page_names_no_system(folders, tmp_path):
    page = write(folders, tmp_path, "--blind", "--clips", "1")
    key = json.loads((tmp_path / "key.json").read_text())
    assert len(key) == 4
    assert not any(name in page for name in key.values())
    assert "own 2.0" not in page
    assert page.count('class="clip"') == 1


def test_a_folder_without_pictures_is_refused(tmp_path, capsys):
    Records(tmp_path, {"frames": FRAMES, "size": SIZE, "sampling.steps": 2}).add(
        Cell(SPECS[0].name, 0, "ours", "", "one kept", 2, "apart", True, METRICS, 1.0)
    )
    with pytest.raises(SystemExit):
        side_by_side.main(["--bench", str(tmp_path), "--out", str(tmp_path / "out")])
    assert "holds no kept pictures; expected a folder of videograin bench --keep" in capsys.readouterr().err
