"""Kept edits come back bit for bit, and are judged again without being made again."""

from dataclasses import replace

import numpy as np
import pytest

from videograin.editing.whole_file import save_png
from videograin.hosts.diffusers import load_model
from videograin.lab.bench import bench
from videograin.lab.bench.records import Records
from videograin.lab.bench.settings import BenchSettings, variations
from videograin.lab.bench.strips import load_strip, save_strip, strip_file
from videograin.lab.bench.systems import System
from videograin.lab.bench.tasks import clip_specs


def test_a_strip_gives_its_frames_back(tmp_path):
    frames = np.random.default_rng(0).integers(0, 256, (3, 5, 7, 3), dtype=np.uint8)
    file = strip_file(tmp_path / "edits", "one kept, 2 alike, apart, 0", 1, "ours", "blend.end=0.8")
    assert file.parent.name == "one kept, 2 alike, apart, 0"
    assert file.name == "seed 1 ours blend.end=0.8.png"
    assert load_strip(file, 3) is None
    save_strip(file, frames)
    assert np.array_equal(load_strip(file, 3), frames)
    with pytest.raises(ValueError, match=r"21 pixels wide; expected 4 frames.*delete it"):
        load_strip(file, 4)


def test_no_two_cells_share_a_strip(tmp_path):
    names = {
        strip_file(tmp_path, clip, seed, system, label)
        for clip in ("a", "b")
        for seed in (0, 1)
        for system in ("ours", "global", "global_blend")
        for label in ("", "power=1", "power=5")
    }
    assert len(names) == 2 * 2 * 3 * 3


def test_lines_that_were_removed_are_judged_again_from_what_was_kept(tmp_path):
    made = []

    def edit(model, frames, trajectory, task, settings):
        made.append(task.seed)
        return task.ideal.frames if task.seed else task.clip.frames

    settings = BenchSettings()
    settings = replace(settings, sampling=replace(settings.sampling, steps=1))
    spec = next(s for s in clip_specs(["one kept"]) if s.trained)
    system = System("ours", "ours", edit)
    plan = bench.Plan((spec,), (0, 1), (system,), variations(settings, ()), 2, 64, tmp_path / "edits")
    model = load_model()
    bench.run(model, plan, Records(tmp_path, {}))
    first = Records(tmp_path, {}).cells
    assert made == [0, 1]
    assert [cell.metrics["object"] for cell in first.values()] == [0, 1]

    (tmp_path / "cells.jsonl").unlink()
    bench.run(model, plan, Records(tmp_path, {}))
    again = Records(tmp_path, {}).cells
    assert made == [0, 1]  # no system was run
    assert list(again) == list(first)
    for key, cell in again.items():
        np.testing.assert_equal(dict(cell.metrics), dict(first[key].metrics))
        assert np.isnan(cell.seconds)

    task, finished = bench.kept_edit(plan, spec.name, 1, "ours", "")
    assert task.seed == 1
    # composited: 17 pixels from the edited region the source's own pixels, bit for bit
    assert np.array_equal(finished, bench.finish(system, settings, task, task.ideal.frames))
    assert bench.kept_edit(plan, spec.name, 7, "ours", "") is None
    assert bench.kept_edit(replace(plan, strips=None), spec.name, 1, "ours", "") is None

    (tmp_path / "cells.jsonl").unlink()
    kept = strip_file(plan.strips, spec.name, 0, "ours", "")
    save_png(kept, np.zeros((64, 129, 3), np.uint8))
    with pytest.raises(ValueError, match="129 pixels wide"):
        bench.run(model, plan, Records(tmp_path, {}))
