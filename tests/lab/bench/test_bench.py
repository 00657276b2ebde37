"""The benchmark runs what is missing and no more, keeps every line, and its table says what the lines say."""

import csv
import io
import json
import math
from dataclasses import replace

import numpy as np
import pytest

from videograin.editing.settings import SettingError
from videograin.hosts.diffusers import load_model
from videograin.lab.bench import bench
from videograin.lab.bench import page as bench_page
from videograin.lab.bench import table as bench_table
from videograin.lab.bench.judge import EQUAL
from videograin.lab.bench.records import BenchError, Cell, InversionCell, Records
from videograin.lab.bench.settings import BenchSettings, variations, varied
from videograin.lab.bench.systems import SYSTEMS, System
from videograin.lab.bench.tasks import clip_specs
from videograin.runner import cli


@pytest.fixture(scope="module")
def model():
    return load_model()


class Counted:
    """Systems that answer at once, and remember what they were asked."""

    def __init__(self):
        self.asked = []

    def system(self, name: str, answer) -> System:
        def run(model, frames, trajectory, task, settings):
            self.asked.append((task.spec.name, task.seed, name, settings.attention.power))
            assert np.array_equal(frames, task.clip.frames)
            assert trajectory.prompt == task.source_prompt
            return answer(task)

        return System(name, name, run, composites=False)


@pytest.fixture
def counted():
    return Counted()


def plan_of(counted, wishes=(), clips=2, seeds=(0, 1)):
    settings = BenchSettings()
    settings = replace(settings, sampling=replace(settings.sampling, steps=1))
    specs = [s for s in clip_specs(["one kept"]) if s.trained][:clips]
    right = counted.system("ours", lambda task: task.ideal.frames)
    lazy = counted.system("global", lambda task: task.clip.frames)
    return bench.Plan(tuple(specs), seeds, (lazy, right), variations(settings, wishes), frames=2, size=64)


def test_cells_are_run_once_and_a_stopped_run_goes_on(model, counted, tmp_path):
    plan = plan_of(counted)

    class Stopped(Exception):
        pass

    def stop(*edit):
        if len(counted.asked) == 3:
            raise Stopped

    with pytest.raises(Stopped):
        bench.run(model, plan, Records(tmp_path, {}), stop)
    assert len((tmp_path / "cells.jsonl").read_text().splitlines()) == 3
    with open(tmp_path / "cells.jsonl", "a") as file:
        file.write('{"clip": "cut o')
    records = Records(tmp_path, {})
    assert bench.total_cells(plan, records) == 5
    bench.run(model, plan, records)
    assert len(counted.asked) == len(set(counted.asked)) == 8
    assert len((tmp_path / "inversions.jsonl").read_text().splitlines()) == 2
    again = Records(tmp_path, {})
    assert bench.total_cells(plan, again) == 0
    assert set(again.cells) == set(records.cells)
    bench.run(model, plan, again)
    assert len(counted.asked) == 8

    union = {(cell.system, cell.metrics["union"]) for cell in again.cells.values()}
    assert union == {("ours", 1.0), ("global", 0.0)}
    # what is given back as it was is the source itself: not what the autoencoder makes of it
    lazy = next(cell for cell in again.cells.values() if cell.system == "global")
    assert 15 < lazy.metrics["outside_psnr"] < EQUAL
    assert lazy.metrics["kept_psnr"] == EQUAL


def test_variations_run_beside_the_settings_and_share_what_they_can(model, counted, tmp_path):
    plan = plan_of(counted, ["power=3,7", "inversion=ddim"], clips=1, seeds=(0,))
    records = Records(tmp_path, {})
    bench.run(model, plan, records)
    own = BenchSettings().attention.power
    assert [power for *_, name, power in counted.asked if name == "ours"] == [own, 3, 7, own]
    assert {one.how for one in records.inversions.values()} == {"warm, 1 steps, per_frame", "ddim, 1 steps, per_frame"}
    assert {cell.vary for cell in records.cells.values()} == {"", "power=3", "power=7", "inversion=ddim"}


def test_what_is_no_editor_does_not_vary(counted):
    plan = plan_of(counted, ["power=1"], clips=1, seeds=(0,))
    ceiling = replace(plan.systems[0], name="ceiling", edits=False)
    plan = replace(plan, systems=(ceiling, plan.systems[1]))
    assert [(s.name, label) for _, s, label in plan.cells(plan.specs[0])] == [
        ("ceiling", ""),
        ("ours", ""),
        ("ours", "power=1"),
    ]


def test_a_folder_belongs_to_one_setup(tmp_path):
    Records(tmp_path, {"frames": 8, "model": "abc"})
    Records(tmp_path, {"frames": 8, "model": "abc"})
    with pytest.raises(BenchError, match=r"frames: there 8, now 4.*another --out"):
        Records(tmp_path, {"frames": 4, "model": "abc"})


def test_a_damaged_line_in_the_middle_is_named(tmp_path):
    (tmp_path / "cells.jsonl").write_text('{"clip"\n{}\n')
    with pytest.raises(ValueError, match="line 1 is no JSON"):
        Records(tmp_path, {})


def test_lines_keep_every_number(tmp_path):
    metrics = {"union": 1 / 3, "kept": math.nan, "warp": 1e-9, "outside_psnr": math.inf}
    cell = Cell("a", 1, "ours", "power=1", "class", 2, "apart", True, metrics, 1.5)
    one = InversionCell("a", "warm", True, 60.25, 1.01, 2.0)
    records = Records(tmp_path, {})
    records.add(cell)
    records.add(one)
    again = Records(tmp_path, {})
    np.testing.assert_equal(dict(again.cells[cell.key].metrics), metrics)
    assert again.inversions == {one.key: one}
    assert json.loads((tmp_path / "cells.jsonl").read_text())["metrics"]["kept"] == "nan"


def test_an_edit_that_was_judged_again_has_no_seconds(tmp_path):
    one = replace(CELLS[0], seconds=math.nan)
    Records(tmp_path, {}).add(one)
    (again,) = Records(tmp_path, {}).cells.values()
    assert math.isnan(again.seconds)
    assert bench_table.groups_of([again])[0].interval(("ours", ""), "seconds").count == 0


def cell(clip, system, union, seed=0, vary="", trained=True, motion="apart", **metrics):
    values = {"union": union, "warp": 2.0, "warp_ideal": 1.0, **metrics}
    return Cell(clip, seed, system, vary, "instance", 2, motion, trained, values, 1.0)


CELLS = [
    # clip a, two seeds: ours 1 and .5, global 0 and .5; clip b: 1 and .5; not learnt: clip x
    cell("a", "ours", 1.0),
    cell("a", "ours", 0.5, seed=1),
    cell("b", "ours", 1.0, warp=4.0),
    cell("a", "global", 0.0),
    cell("a", "global", 0.5, seed=1),
    cell("b", "global", 0.5),
    cell("x", "ours", 0.25, trained=False, motion="crossing"),
    cell("x", "global", math.nan, trained=False, motion="crossing"),
]


def test_the_table_averages_seeds_then_clips():
    groups = bench_table.groups_of(CELLS)
    assert [g.name for g in groups] == [
        "learnt scenes",
        "scenes not learnt",
        "all scenes",
        "instance, 2, apart",
        "instance, 2, crossing",
    ]
    learnt = groups[0]
    assert learnt.rows == [("global", ""), ("ours", "")]
    assert learnt.values(("ours", ""), "union") == {"a": 0.75, "b": 1.0}
    assert learnt.interval(("ours", ""), "union").mean == 0.875
    difference = learnt.difference(("ours", ""), ("global", ""), "union")
    assert (difference.mean, difference.low, difference.high, difference.count) == (0.5, 0.5, 0.5, 2)
    # of seeds that one of them has not done yet nothing is compared: (1 - 0) in clip a
    fewer = [one for one in CELLS if (one.clip, one.seed, one.system) != ("a", 1, "global")]
    difference = bench_table.groups_of(fewer)[0].difference(("ours", ""), ("global", ""), "union")
    assert (difference.mean, difference.low, difference.high) == (0.75, 0.5, 1.0)
    assert learnt.warp_ratio(("ours", "")) == pytest.approx((2 + 4) / 2)
    assert groups[1].interval(("global", ""), "union").count == 0
    assert groups[2].values(("ours", ""), "union") == {"a": 0.75, "b": 1.0, "x": 0.25}


def test_json_csv_and_page_say_the_same():
    groups = bench_table.groups_of(CELLS)
    inversions = [
        InversionCell(clip, "warm", True, psnr, std, 1.0) for clip, psnr, std in (("a", 50, 0.9), ("b", 60, 1.1))
    ]
    found = bench_table.facts(groups, inversions)
    ours = next(row for row in found["groups"][0]["rows"] if row["system"] == "ours")
    other = next(row for row in found["groups"][0]["rows"] if row["system"] == "global")
    assert ours["figures"]["union"] == {"mean": 0.875, "low": 0.75, "high": 1.0, "clips": 2}
    assert other["differences"]["union"]["mean"] == -0.5
    assert found["inversions"][0]["lowest"] == 50
    assert found["inversions"][0]["noise_std"] == pytest.approx([0.9, 1.0, 1.1])

    lines = list(csv.DictReader(io.StringIO(bench_table.as_csv(found))))
    (line,) = [ln for ln in lines if (ln["group"], ln["system"], ln["measure"]) == ("learnt scenes", "ours", "union")]
    assert (float(line["mean"]), line["clips"]) == (0.875, "2")

    page = bench_page.as_markdown(groups, found, "videograin bench --fast")
    assert "| + cross- and self-attention (ours) | 87.5 [75.0, 100.0] |" in page
    assert "| B0 global prompt alone | +50.0 [+50.0, +50.0] * |" in page
    assert "## Scenes not learnt: 1 clips" in page
    assert "(not learnt), n = 1 | - | 25 |" in page
    assert "| warm | 55.0 | 50.0 | 1.000 (0.900 to 1.100) |" in page


def test_the_plot_is_drawn(tmp_path):
    bench_page.plot(bench_table.groups_of(CELLS), tmp_path / "plot.png")
    bench_page.plot_kinds(bench_table.groups_of(CELLS), tmp_path / "kinds.png")
    for name in ("plot", "kinds"):
        assert (tmp_path / f"{name}.png").read_bytes()[:4] == b"\x89PNG"


def test_variations_are_compared_with_the_settings_unchanged():
    cells = [cell("a", "ours", 0.5), cell("a", "ours", 0.75, vary="power=1")]
    group = bench_table.groups_of(cells)[0]
    assert bench_table.reference_of(group.rows) == ("ours", "")
    assert bench_table.title_of(("ours", "power=1")).endswith(", power=1")
    assert bench_table.reference_of([("ceiling", ""), ("global", "")]) == ("global", "")


def test_one_setting_at_a_time():
    given = BenchSettings()
    assert varied(given, "self_halves", "uncond").attention.self_halves == "uncond"
    assert varied(given, "end", "0.5").attention.end == 0.5
    assert varied(given, "blend.end", "0.5").blend.end == 0.5
    assert varied(given, "blend", "false").blend.enabled is False
    assert varied(given, "inversion", "ddim").inversion.method == "ddim"
    assert varied(given, "masks", "boxes").ablation.masks == "boxes"
    assert replace(varied(given, "guidance", "3"), sampling=given.sampling) == given
    together = variations(given, ["power=5+end=0.25", "blend=false"])
    assert list(together) == ["", "power=5+end=0.25", "blend=false"]
    assert together["power=5+end=0.25"] == varied(varied(given, "power", "5"), "end", "0.25")
    for wish, message in (
        ("pow=1", "no such setting"),
        ("seed=1", "no such setting"),  # it would change nothing: the benchmark's seeds are the tasks'
        ("inversion.check=false", "no such setting"),
        ("power", "name=value"),
        ("power=fast", "a number from 0 to 20"),
        ("levels=some", "one of all, coarse, finest"),
    ):
        with pytest.raises(SettingError, match=message):
            variations(given, [wish])


def test_an_inversion_is_named_by_all_that_it_depends_on():
    given = BenchSettings()
    assert given.inverted_with == "warm, 50 steps, per_frame"
    for mode, changes in (("per_frame", False), ("full", False), ("key_frames", True), ("full_coarse", True)):
        one, other = (varied(varied(given, "mode", mode), "anchors", count).inverted_with for count in "23")
        assert (one != other) == changes, mode
    assert varied(varied(given, "inversion", "fixed_point"), "calls", "2").inverted_with.startswith("fixed_point 2,")


def test_clips_are_picked_evenly():
    every = bench.pick_specs(None, None)
    assert every == clip_specs()
    assert every == clip_specs()
    some = bench.pick_specs(None, 6)
    assert len(some) == 6
    assert len({spec.kind for spec in some}) >= 4
    assert bench.pick_specs(["shape"], 99) == clip_specs(["shape"])
    assert {spec.objects for spec in bench.pick_specs(None, 6, objects=3)} == {3}
    with pytest.raises(ValueError, match="no clip of these tasks has 4 objects; expected 1 to 3"):
        bench.pick_specs(["shape"], None, objects=4)
    fast = bench.fast_specs()
    assert len(fast) == len(bench.FAST)
    assert all(spec.trained for spec in fast)


def test_the_command_from_end_to_end(tmp_path, capsys):
    words = [
        "bench",
        "--out",
        str(tmp_path),
        "--frames",
        "2",
        "--steps",
        "1",
        "--seeds",
        "1",
        "--clips",
        "1",
        "--quiet",
    ]
    assert cli.main([*words, "--tasks", "one kept", "--systems", "ceiling,global"]) == 0
    shown = capsys.readouterr().out
    assert "B0 global prompt alone" in shown
    assert {"bench.md", "bench.json", "bench.csv", "bench.png", "kinds.png", "sheet.png"} <= {
        f.name for f in tmp_path.iterdir()
    }
    first = (tmp_path / "cells.jsonl").read_text()
    assert cli.main([*words, "--tasks", "one kept", "--systems", "ceiling,global,hard"]) == 0
    second = (tmp_path / "cells.jsonl").read_text()
    assert second.startswith(first)
    assert len(second.splitlines()) == 3
    row = next(
        r for r in json.loads((tmp_path / "bench.json").read_text())["groups"][0]["rows"] if r["system"] == "ceiling"
    )
    assert row["figures"]["union"]["mean"] == 1
    for done, part in ((1, "2/2"), (2, "1/2")):  # of the first and the second "part colour" clip one each
        two = [*words[:-3], "--clips", "2", "--quiet", "--tasks", "part colour", "--systems", "global", "--part", part]
        assert cli.main(two) == 0
        assert json.loads((tmp_path / "bench.json").read_text())["groups"][0]["clips"] == done
    assert cli.main([*words, "--systems", "best"]) == 2
    assert "'best' does not exist" in capsys.readouterr().err
    assert cli.main([*words[:-5], "--seeds", "1", "--clips", "1", "--steps", "2", "--quiet"]) == 2
    assert "another run (sampling.steps: there 1, now 2)" in capsys.readouterr().err


def test_help_names_every_system_and_task(capsys):
    with pytest.raises(SystemExit):
        cli.main(["bench", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert all(name in shown for name in SYSTEMS)
    assert all(kind in shown for kind in {spec.kind for spec in clip_specs()})
