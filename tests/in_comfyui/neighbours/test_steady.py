"""Steady in one graph with what else stands there: Long Clip Windows, every space-time attention, ControlNet."""

import pytest

FRAMES = 6


@pytest.mark.parametrize("mode", ["per_frame", "sparse_causal", "key_frames", "full", "full_coarse"])
@pytest.mark.parametrize("windows", [False, True])
def test_with_every_attention_and_windows_the_result_is_steady(bench, sd15, mode, windows):
    ours = bench.ours(bench.edit(FRAMES, mode=mode))
    around = [bench.long_clip()] if windows else []
    plain = bench.run(sd15, *around, ours, frames=FRAMES)
    held = bench.run(sd15, *around, ours, bench.steady(FRAMES), frames=FRAMES)
    assert bench.unsteady(held) < 0.5 * bench.unsteady(plain)
    assert bench.difference(bench.run(sd15, bench.steady(FRAMES), *around, ours, frames=FRAMES), held) < 1e-5


def test_windows_work_in_either_order_with_it(bench, sd15):
    ours = bench.steady(FRAMES)
    patched = bench.run(sd15, bench.ours(bench.edit(FRAMES)), bench.long_clip(), ours, frames=FRAMES)
    other = bench.run(sd15, bench.ours(bench.edit(FRAMES)), ours, bench.long_clip(), frames=FRAMES)
    assert bench.difference(patched, other) < 1e-5


def test_a_motion_of_another_clip_is_refused_by_name_in_windows_too(bench, sd15):
    with pytest.raises(ValueError, match=r"^Steady: fusion: the motion has 6 frames, the sampler was given 5"):
        bench.run(sd15, bench.long_clip(), bench.steady(FRAMES), frames=FRAMES - 1)
