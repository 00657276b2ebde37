"""`make gpu`: parts in order, a limit that is kept, a stopped call that goes on; and all of it, tiny, on this CPU."""

import argparse
import json
import os
import re

import pytest

from videograin.lab import gpu
from videograin.lab.budget import UNFINISHED, Budget
from videograin.lab.studies import sd15_layers


def part(name, words, **more):
    return gpu.Part(name, name, words, "", **more)


@pytest.fixture
def modules(tmp_path, monkeypatch):
    """Modules that end in a known way, where `python -m` finds them."""
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / "vg_well.py").write_text("import sys; open(sys.argv[1], 'a').write('x')")
    (folder / "vg_stops.py").write_text(f"import sys; sys.exit({UNFINISHED})")
    (folder / "vg_fails.py").write_text("raise OSError('no such chip')")
    (folder / "vg_sleeps.py").write_text("import time; time.sleep(600)")
    monkeypatch.setenv("PYTHONPATH", f"{folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")


def call(tmp_path, *words):
    return gpu.main(["--device", "cpu", "--out", str(tmp_path / "out"), "--runs", str(tmp_path / "runs"), *words])


def states(tmp_path):
    found = json.loads((tmp_path / "out" / "gpu.json").read_text())
    return {name: entry["state"] for name, entry in found["parts"].items()}


def test_a_call_goes_on_where_the_last_one_stopped(tmp_path, modules, monkeypatch):
    first, second = part("first", "vg_well {out}/page.md", page="page.md"), part("second", "vg_stops", stops=True)
    monkeypatch.setattr(gpu, "PARTS", (first, second))
    assert call(tmp_path) == UNFINISHED
    assert states(tmp_path) == {"first": gpu.DONE, "second": gpu.STOPPED}
    monkeypatch.setattr(gpu, "PARTS", (first, part("second", "vg_well {runs}.md")))
    assert call(tmp_path) == 0
    assert states(tmp_path) == {"first": gpu.DONE, "second": gpu.DONE}
    assert (tmp_path / "out" / "page.md").read_text() == "x"  # once
    told = (tmp_path / "out" / "README.md").read_text()
    assert re.search(r"\| first \| done \| \d+ \| \[first\]\(page.md\) \|", told)
    assert "no figures of a GPU" in told


def test_a_part_that_fails_is_said_and_the_others_run(tmp_path, modules, monkeypatch):
    monkeypatch.setattr(gpu, "PARTS", (part("broken", "vg_fails"), part("other", "vg_well {out}/x")))
    assert call(tmp_path) == 1
    assert states(tmp_path) == {"broken": "failed (exit status 1, broken.log)", "other": gpu.DONE}
    assert "no such chip" in (tmp_path / "out" / "broken.log").read_text()


def test_nothing_is_begun_that_the_limit_leaves_no_time_for(tmp_path, modules, monkeypatch):
    monkeypatch.setattr(gpu, "PARTS", (part("late", "vg_well {out}/x"),))
    assert call(tmp_path, "--minutes", "0.4") == UNFINISHED
    assert states(tmp_path) == {"late": gpu.MISSING}


def test_a_part_that_does_not_stop_is_ended(tmp_path, modules):
    (tmp_path / "out").mkdir()
    args = argparse.Namespace(out=tmp_path / "out", runs=tmp_path, device="cpu", small=False)
    assert gpu.run_part(part("sleeps", "vg_sleeps"), args, 0.02) == gpu.STOPPED


def test_a_part_that_stops_by_itself_is_told_when(tmp_path):
    args = argparse.Namespace(out=tmp_path, runs=tmp_path, device="cuda", small=False)
    words = gpu.command(part("edit", "module --device {device}", stops=True, most=6.0), args, 4.0)
    assert words[2:] == ["module", "--device", "cuda", "--minutes", f"{4 - gpu.RESERVE:.2f}"]


def test_results_of_another_version_are_not_gone_on_with(tmp_path, modules, monkeypatch, capsys):
    monkeypatch.setattr(gpu, "PARTS", (part("first", "vg_stops"),))
    call(tmp_path)
    monkeypatch.setattr(gpu, "__version__", "9.9.9")
    with pytest.raises(SystemExit):
        call(tmp_path)
    assert "videograin: there" in capsys.readouterr().err


def test_a_budget_ends():
    assert Budget(0).spent
    assert not Budget(1).spent
    assert not Budget().spent


def test_the_layers_are_stable_diffusions():
    found = list(sd15_layers.shapes(16, 512, 320))
    own = [one for one in found if one.kind == "self"]
    assert [(one.tokens, one.dim) for one in own] == [(65536, 40), (16384, 80), (4096, 160), (1024, 160)]
    assert sum(one.layers for one in own) == 16
    assert {(one.batch, one.keys) for one in found if one.kind == "cross"} == {(16, 77)}


def layer(kind, layers, memory=None, **seconds):
    return {"kind": kind, "layers": layers, "seconds": seconds, "memory": memory}


def test_layers_count_as_often_as_there_are_of_them():
    layers = [layer("self", 5, plain=1.0, exact=2.0), layer("self", 1, plain=10.0, exact=10.0), layer("cross", 5)]
    assert sd15_layers.together(layers, "self", "exact") == pytest.approx(20 / 15)
    assert sd15_layers.together(layers, "self", "triton") is None
    held = [layer("self", 1, {"plain": 1.0, "exact": 9.0}), layer("self", 1, {"plain": 2.0, "exact": 4.0})]
    assert sd15_layers.most_memory(held, "exact") == 8
    assert sd15_layers.most_memory(layers, "exact") is None


def test_a_missed_target_is_called_so_on_a_gpu_alone():
    x = {**sd15_layers.Shape("self", 0, 5, 1, 65536, 65536, 40)._asdict(), "seconds": {"plain": 1.0, "exact": 1.2}}
    x["memory"] = {"plain": 1.0, "exact": 40.0}
    kernels = [{"kernel": "range", "dtype": "float16", "dim": 40, "error": 1.0, "torch": 0.0, "allowed": 0.1}]
    found = {"date": "", "torch": "", "command": "", "machine": "", "frames": 16, "size": 512, "without": ""}
    found |= {"kernels": kernels, "layers": {"float16": [x]}}
    told = sd15_layers.page({**found, "trial": False})
    assert "| 1.20 (MISSED: <= 1.1) |" in told
    assert "| 39 (met: <= 64) |" in told
    assert "| WRONG |" in told
    assert "MISSED" not in sd15_layers.page({**found, "trial": True})


@pytest.mark.slow
def test_all_of_it_runs_on_a_cpu(tmp_path):
    assert call(tmp_path, "--small", "--minutes", "30") == 0
    assert set(states(tmp_path).values()) == {gpu.DONE}
    out = tmp_path / "out"
    kernels = json.loads((out / "layers.json").read_text())["kernels"]
    assert all(row["error"] <= row["allowed"] for row in kernels)
    assert (tmp_path / "runs" / "model" / "model_index.json").exists()
    for name in ("layers", "attention", "edit"):
        assert f"[{name}](" in (out / "README.md").read_text()
