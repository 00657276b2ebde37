"""Core's Context Windows: the masks go with the frames of a window, also where windows wrap around."""

from dataclasses import replace

import pytest
import torch

SCHEDULES = ("standard_static", "looped_uniform")
# ComfyUI 0.3.64 compares the noise levels of the run with those of the frames one by one: its own node fails on a batch
# of frames unless there is one frame more than steps. Later versions take the first frame's.
FRAMES, LENGTH, STEPS = 6, 4, 5


@pytest.fixture
def windows(core, bench):
    """windows(schedule, seen) -> the step of a Context Windows (Manual) node.

    seen: is given for every call (frames in front of the window, which newer hosts drop again; the window's frames).
    """
    node = core("nodes_context_windows").ContextWindowsManualNode

    def step_of(schedule: str, seen: list | None = None):
        def step(graph):
            settings = {one.id: getattr(one, "default", None) for one in node.define_schema().inputs}
            settings |= {"model": graph.model, "context_length": LENGTH, "context_overlap": 2, "fuse_method": "flat"}
            settings |= {"context_schedule": schedule, "closed_loop": schedule == "looped_uniform"}
            model = bench.outputs(node.execute(**settings))[0]

            def look(executor, x, t, c_concat, c_crossattn, control, transformer_options, **kwargs):
                window = transformer_options["context_window"]
                anchor = getattr(window, "causal_anchor_index", None)
                if seen is not None:
                    seen.append(([] if anchor is None else [anchor], list(window.index_list)))
                return executor(x, t, c_concat, c_crossattn, control, transformer_options, **kwargs)

            model.add_wrapper_with_key("apply_model", "test", look)
            return replace(graph, model=model)

        return step

    return step_of


def test_both_work_in_either_order(bench, sd15, windows):
    ours = bench.ours(bench.edit(FRAMES))
    result = bench.both(sd15, ours, windows("standard_static"), frames=FRAMES, steps=STEPS)
    assert torch.equal(result.ours_last, result.theirs_last)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_window_is_a_clip_of_its_own(bench, sd15, windows, schedule):
    """Fused flatly, the prediction of a frame is the mean over its windows; each of them is what a clip of these frames
    alone gives, with their masks and noise, in the window's order."""
    noise, seen, fused = bench.noise(FRAMES), [], []
    patch = bench.ours(bench.edit(FRAMES))
    bench.run(sd15, patch, windows(schedule, seen), noise=noise, steps=STEPS, predictions=fused)
    first_step = seen[: len(seen) // STEPS]
    assert len(first_step) > 1
    total, count = torch.zeros_like(noise), torch.zeros(FRAMES, 1, 1, 1)
    for before, window in first_step:
        clip: list = []
        frames = before + window
        patch = bench.ours(bench.edit(FRAMES, only=frames))
        bench.run(sd15, patch, noise=noise[frames], steps=STEPS, predictions=clip)
        total[window] += clip[0][len(before) :]
        count[window] += 1
    assert bench.difference(fused[0], total / count) < 1e-4


def test_windows_that_wrap_around_were_among_them(bench, sd15, windows):
    seen: list = []
    bench.run(sd15, bench.ours(bench.edit(FRAMES)), windows("looped_uniform", seen), frames=FRAMES, steps=STEPS)
    assert any(window != sorted(window) for _, window in seen)


def test_steady_works_in_either_order(bench, sd15, windows):
    """It brings together what all windows predict."""
    patch, hold = bench.ours(bench.edit(FRAMES)), bench.steady(FRAMES)
    both = bench.both(sd15, lambda graph: hold(patch(graph)), windows("standard_static"), frames=FRAMES, steps=STEPS)
    assert bench.difference(both.ours_last, both.theirs_last) < 1e-5
    assert bench.unsteady(both.ours_last) < 0.5 * bench.unsteady(both.theirs)
