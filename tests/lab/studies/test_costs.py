"""The benchmarks of time and memory: the sums behind their pages hold."""

import gc
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from videograin.attention import logit_range
from videograin.lab.budget import UNFINISHED
from videograin.lab.paths import BENCHMARKS as HERE
from videograin.lab.studies import attention_cost as attention
from videograin.lab.studies import clock as measuring
from videograin.lab.studies import edit_options, sd15_gpu, whole_edit
from videograin.lab.studies import edit_options_page as edit_page
from videograin.lab.studies import random_sd15 as sd15


def figures(name):
    return json.loads((HERE / f"{name}.json").read_text(encoding="utf-8"))


def test_one_layer():
    found = figures("attention_cpu")
    told = attention.verdicts(found)
    assert len(told) == 4  # exact, reused, literal, memory
    assert [what for what, _, _, met in told if not met] == []


def test_a_missed_target_is_called_so():
    found = figures("attention_cpu")
    found["sizes"][1]["ratio"]["reused"] = 1.2
    assert "| <= 1.15 | 1.20 at most | MISSED |" in attention.page(found)
    del found["peaks"][-1]
    assert len(attention.verdicts(found)) == 3


def test_a_whole_edit():
    found = figures("whole_edit")
    assert {c["frames"] for c in found["cells"]} == set(whole_edit.FRAMES)
    for mode in {c["mode"] for c in found["cells"]}:
        grown = whole_edit.growth([c for c in found["cells"] if c["mode"] == mode], found["loaded"])
        assert len(grown) == 2
        assert max(grown) <= whole_edit.TARGET


def test_growth_is_counted_beyond_the_loaded_model():
    cells = [{"frames": n, "peak": 1000 + 10 * n} for n in (8, 16, 32, 64)]
    assert whole_edit.growth(cells, 1000) == [2, 2]
    assert whole_edit.growth(cells[:1], 1000) == []


def test_what_a_modulated_layer_takes_is_that_pages():
    ratios = [size["ratio"]["exact"] for size in figures("attention_cpu")["sizes"]]
    assert round(max(ratios), 1) == whole_edit.LAYER


def test_what_is_told_of_a_whole_edit():
    def cell(frames, step, peak):
        seconds = dict.fromkeys(whole_edit.STAGES, 2.0) | {"modulated step": step}
        return {"frames": frames, "seconds": seconds, "peak": peak, "peaks": dict.fromkeys(whole_edit.PARTS, peak)}

    of = {"full": [cell(8, 3.0, 110), cell(16, 5.0, 130), cell(32, 5.0, 145), cell(64, 4.0, 190)]}
    text = {"slower": [1.5, 2.5, 2.5, 2.0], "doublings": {(8, 32): [3.0, 1.5], (32, 64): [2.0]}, "differ": 0}
    assert whole_edit.told(of, 100) == text
    found = figures("whole_edit")
    found["cells"] = [{**c, **new} for c, new in zip(found["cells"], of["full"])]
    told = whole_edit.page({**found, "loaded": 100})
    assert "took 1.5 to 2.5 x a plain one, 2.0 x at 64 frames" in told
    assert (
        "Memory grows 1.5 to 3.0 x per doubling from 8 to 32 frames, 2.0 x per doubling from 32 to 64 frames." in told
    )


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's own /proc")
def test_every_stage_has_a_peak_of_its_own():
    clock = whole_edit.Stages()
    with clock.stage("large"):
        torch.ones(2**26)
    with clock.stage("small"):
        torch.ones(2**22)
    assert clock.peaks["large"] - clock.peaks["small"] >= 2**27
    assert clock.peak >= clock.peaks["large"]


def test_where_attention_takes_half():
    cells = [{"frames": n, "shares": {"plain": {"rest": rest}}} for n, rest in ((8, 0.8), (16, 0.6), (32, 0.4))]
    assert whole_edit.half_way(cells, "plain") == pytest.approx(16 * 2**0.5)
    assert whole_edit.half_way(cells[:2], "plain") is None


def test_time_is_noted_where_the_functions_are(monkeypatch):
    monkeypatch.setattr(whole_edit.time, "process_time", itertools.count().__next__)  # a tick a look
    q, text = torch.randn(1, 2, 300, 8), torch.randn(1, 2, 77, 8)
    with whole_edit.Spent() as spent:
        torch.nn.functional.scaled_dot_product_attention(q, text, text)
        logit_range(q, text)
    assert spent.seconds == {"attention": 0, "range": 0}
    with whole_edit.Spent() as spent:
        torch.nn.functional.scaled_dot_product_attention(q, q, q)
        logit_range(q, q)
    assert spent.seconds["attention"] == 1
    assert spent.seconds["range"] >= 1


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's own /proc")
def test_the_peak_of_a_process_begins_anew():
    gc.collect()  # what other tests left would be freed in the middle
    held = torch.ones(2**26)  # 256 MiB
    assert measuring.peak_resident() >= 2**28
    del held
    measuring.restart_peak()
    before = measuring.resident()
    held = torch.ones(2**24)
    gone = measuring.peak_resident() - before
    assert held.nbytes * 0.95 <= gone <= held.nbytes * 1.5


def test_the_clock_keeps_the_steps_of_a_stage():
    clock = measuring.Clock()
    clock.now = iter([1.0, 2.0, 4.0, 9.0]).__next__
    with clock.stage("edit", 2) as tick:
        tick()
        tick({"i": 1})
    assert clock.steps("edit") == [1, 2]
    assert clock.total("edit") == 8


def test_the_architecture_is_stable_diffusions():
    unet = sd15.build("meta", torch.float16).unet
    assert sum(p.numel() for p in unet.parameters()) == 859_520_964
    assert unet.dtype == torch.float16


def by_hand(frames, side, channels, text=77):
    """Operations of the attention of one half: two products, each N x M x channels multiplications and additions."""
    total = 0
    for halvings, layers in enumerate((5, 5, 5, 1)):
        tokens, width = (side >> halvings) ** 2, channels * (1, 2, 4, 4)[halvings]
        total += layers * 4 * width * (frames * tokens) * (frames * tokens + text)
    return total


def test_operations_of_attention():
    found = sd15.flops(2, 64, "full", channels=32)
    assert found["inversion"]["attention"] == by_hand(2, 8, 32)
    assert found["plain"]["attention"] == found["modulated"]["attention"] == 2 * by_hand(2, 8, 32)
    assert found["inversion"]["modulation"] == found["plain"]["modulation"] == 0
    # The row range is a product of its own, half of attention's; the labels' channels come on top.
    # They are many where heads are as narrow as here.
    assert 0.5 * found["plain"]["attention"] < found["modulated"]["modulation"] < 4 * found["plain"]["attention"]
    spent = sd15.whole(found, {"inversion": 3, "modulated": 1, "plain": 1})
    assert spent["attention"] == sum(found[k]["attention"] for k in ("encode", "decode")) + 7 * by_hand(2, 8, 32)


def test_committed_operations():
    found = figures("sd15_flops")
    first = found["operations"][0]
    assert (first["frames"], first["mode"]) == (16, "full")
    whole = first["flops"]
    halves = 51 + 2 * 50
    own = halves * by_hand(16, 64, 320)
    assert own <= whole["attention"] <= own * 1.01  # and the VAE's one layer each way


def test_an_edit_is_held_beside_one_without_modulation():
    seconds = {"whole": 30.0, "modulated step": 1.5, "plain step": 1.0}
    assert sd15_gpu.beside_plain({"seconds": seconds, "modulated": 10}) == pytest.approx(30 / 25)
    assert sd15_gpu.beside_plain({"seconds": {**seconds, "plain step": None}, "modulated": 10}) is None


@pytest.mark.slow
def test_the_gpu_script_runs_on_a_cpu(tmp_path):
    out = tmp_path / "made" / "sd15"
    options = "--device cpu --frames 2 --size 64 --steps 2 --channels 32 --dtypes float32 --modes full --ranges exact"
    command = [sys.executable, "-m", sd15_gpu.__name__, *options.split(), "--profile", "--out", str(out)]

    def run(*more):
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        return subprocess.run([*command, *more], env=environment, capture_output=True).returncode

    assert run("--minutes", "0") == UNFINISHED
    assert json.loads(out.with_suffix(".json").read_text())["cells"] == []
    assert run() == 0
    assert run("--minutes", "0") == 0  # nothing is left to do
    (cell,) = json.loads(out.with_suffix(".json").read_text())["cells"]
    assert cell["modulated"] == 1
    assert {"whole", "modulated step"} <= cell["seconds"].keys()
    told = out.with_suffix(".md").read_text()
    assert "only a trial of the script" in told
    assert "Seconds measured on" in told
    assert "met" not in told.split("##")[0].replace("method", "")  # targets are for the true size on a GPU


def test_errors_of_reused_ranges():
    errors = edit_options.RangeErrors()
    for level in (1.0, 1.1, 1.5):
        for _ in range(2):  # two layers
            errors.ranges.append(torch.full((1, 1, 3), level))
    found = errors.result(3)
    assert found["full, reuse 2"] == pytest.approx([0, 1 - 1 / 1.1], abs=1e-6)  # levels 0, 0, 2
    assert found["full, reuse 5"][1] == pytest.approx(1 - 1 / 1.5, abs=1e-6)


def test_the_control_is_the_exact_range_but_for_its_factor():
    q, k = torch.randn(1, 2, 9, 8), torch.randn(1, 2, 30, 8)
    torch.testing.assert_close(edit_options.Watching(1.5).find(2, "layer", 0.9, q, k), 1.5 * logit_range(q, k))


def line(seed, variant, colour, same, step=1.0):
    shares = {"colour": colour, "object": colour, "leak": 0.0, "background": 50.0, "same": same}
    return {"seed": seed, "variant": variant, "step": step, "edit": step, **shares}


EXACT, CONTROL, OPTION = edit_options.EXACT, edit_options.CONTROL, "full, reuse 2"


def test_the_summary_is_paired():
    lines = [line(0, EXACT, 0.5, None), line(1, EXACT, 1.0, None, 2.0)]
    lines += [line(0, CONTROL, 0.75, 40.0), line(1, CONTROL, 1.0, 20.0), line(2, CONTROL, 0.0, 1.0)]
    found = edit_options.summary(lines)
    assert found[CONTROL]["clips"] == 2  # of the third clip there is no exact edit
    assert found[CONTROL]["colour"] == pytest.approx({"mean": 0.875, "gap": 0.125, "error": 0.125})
    assert found[CONTROL]["same"] == {"median": 30.0, "lowest": 20.0}
    assert found[CONTROL]["step"] == {"median": 0.75, "lowest": 0.5, "highest": 1.0}
    assert found[EXACT]["same"] is None


def decided(clips, option, same=30.0):
    """The decision on clips whose exact share is 0.5; option: seed -> the share with `reuse 2`."""
    lines = [line(seed, EXACT, 0.5, None) for seed in range(clips)]
    lines += [line(seed, CONTROL, 0.5, 60.0, 0.9 + 0.1 * (seed % 2)) for seed in range(clips)]
    lines += [line(seed, OPTION, option(seed), same, 0.8) for seed in range(clips)]
    return edit_page.page({"variants": edit_options.summary(lines)}, "edit_options_decision")


def test_few_clips_decide_nothing():
    told = decided(3, lambda seed: 0.1)
    assert "3 clips: shares of so few decide nothing" in told
    assert "stays `exact` by default because its result is certain" in told
    assert "took 0.90 to 1.00 x" in told


def test_what_is_said_of_shares_follows_from_them():
    clear = decided(edit_page.FEW, lambda seed: 0.1 + 0.01 * (seed % 2))
    assert f"{OPTION}: colour -39.5% +- 0.2%; {OPTION}: colour and shape" in clear
    even = decided(edit_page.FEW, lambda seed: 0.4 + 0.2 * (seed % 2))
    assert "None of 2 shares differs" in even
    assert "All options change an edit more than the control" in even
    same = decided(edit_page.FEW, lambda seed: 0.5, same=70.0)
    assert "No option changes an edit more than the control" in same
    assert "nothing here would speak against another" in same


def test_times_among_the_controls_are_noise():
    control = {"median": 0.9, "lowest": 0.8, "highest": 0.95}
    found = [edit_page.within_noise({"median": m}, control) for m in (0.79, 0.85, 0.99, 1.01)]
    assert found == [False, True, True, False]


def test_one_clip_has_no_standard_error():
    lines = [line(0, EXACT, 0.5, None), line(0, CONTROL, 0.5, 60.0), line(0, OPTION, 0.25, 30.0)]
    found = {**figures("edit_options"), "variants": edit_options.summary(lines), "errors": {}}
    told = edit_options.page(found)
    assert "+-" not in told
    assert "| -25.0% |" in told
