"""ControlNets with a hint per frame: core's node and Advanced-ControlNet's. Their residuals must reach the frames that
the hints belong to, whatever our attention does between the frames."""

from dataclasses import replace

import pytest
import torch

FRAMES = 4


@pytest.fixture(scope="module")
def control_net(bench):
    """A random ControlNet of the tiny SD 1.5, as ComfyUI's loader wraps it."""
    import comfy.cldm.cldm
    import comfy.controlnet
    import comfy.model_management as management
    import comfy.ops

    config = {key: value for key, value in bench.sd15_config.items() if key not in ("out_channels",)}
    config.pop("transformer_depth_output")
    with torch.inference_mode():
        net = comfy.cldm.cldm.ControlNet(
            **config, hint_channels=3, dtype=torch.float32, operations=comfy.ops.disable_weight_init
        )
        bench.fill(net, 9)
    return comfy.controlnet.ControlNet(net, load_device=management.get_torch_device())


@pytest.fixture(params=["core", "ComfyUI-Advanced-ControlNet"])
def apply(request, pack, bench, control_net):
    """apply(hints, only="both") -> the step of an Apply ControlNet node on both conditionings, or on one."""

    def step_of(hints, only: str = "both"):
        def step(graph):
            if request.param == "core":
                import nodes

                run = nodes.ControlNetApplyAdvanced().apply_controlnet
            else:
                run = pack(request.param, "adv_control.nodes_main").AdvancedControlNetApply.execute
            negative = graph.negative if only == "both" else []
            result = run(graph.positive, negative, control_net, hints, 1.0, 0.0, 1.0)
            positive, negative = bench.outputs(result)[:2]
            return replace(graph, positive=positive, negative=negative or graph.negative)

        return step

    return step_of


@pytest.fixture
def hints():
    return torch.rand(FRAMES, 64, 64, 3, generator=torch.Generator().manual_seed(3))


def test_both_work_in_either_order(bench, sd15, apply, hints):
    result = bench.both(sd15, bench.ours(bench.edit(FRAMES)), apply(hints), frames=FRAMES)
    assert torch.equal(result.ours_last, result.theirs_last)


def test_every_hint_meets_its_own_frame(bench, sd15, apply, hints):
    """Frames in another order, with their noise, masks and hints: the same frames in that order. The hints alone in
    another order: another result."""
    order = [2, 0, 3, 1]
    noise = bench.noise(FRAMES)
    ours, turned = bench.ours(bench.edit(FRAMES)), bench.ours(bench.edit(FRAMES, only=order))
    straight = bench.run(sd15, ours, apply(hints), noise=noise)
    permuted = bench.run(sd15, turned, apply(hints[order]), noise=noise[order])
    mixed = bench.run(sd15, turned, apply(hints), noise=noise[order])
    assert bench.difference(permuted, straight[order]) < 1e-4
    assert bench.difference(mixed, straight[order]) > 1e-3


def test_on_the_positive_prompt_alone(bench, sd15, apply, hints):
    """The two prompts then go through the UNet in calls of their own."""
    ours = bench.ours(bench.edit(FRAMES))
    alone = bench.run(sd15, ours, apply(hints, "positive"), frames=FRAMES)
    assert bench.difference(alone, bench.run(sd15, ours, apply(hints), frames=FRAMES)) > 1e-3
    assert bench.difference(alone, bench.run(sd15, apply(hints, "positive"), frames=FRAMES)) > 1e-3
    assert bench.difference(alone, bench.run(sd15, ours, frames=FRAMES)) > 1e-3


LONG = 7


@pytest.mark.parametrize("count", [LONG, 3, 1])
def test_in_long_clips_every_frame_meets_the_hint_that_it_meets_without_windows(bench, sd15, apply, count):
    """Without attention between frames windows change nothing; with two ControlNets, one behind the other."""
    generator = torch.Generator().manual_seed(3)
    one, other = (torch.rand(count, 64, 64, 3, generator=generator) for _ in range(2))
    for hints in ([one], [one, other]):
        steps = [apply(h) for h in hints]
        straight = bench.run(sd15, *steps, frames=LONG)
        for windowed in ([bench.long_clip(), *steps], [*steps, bench.long_clip()]):
            assert bench.difference(bench.run(sd15, *windowed, frames=LONG), straight) < 1e-4
        if count > 1:
            turned = bench.run(sd15, *(apply(h.flip(0)) for h in hints), frames=LONG)
            assert bench.difference(turned, straight) > 1e-3


def test_in_long_clips_the_prompts_still_share_a_call(bench, sd15, apply):
    """Their ControlNet is one object, also after it was cut: else every window would take two calls."""
    calls = []

    def look(executor, x, *args, **kwargs):
        calls.append(len(x))
        return executor(x, *args, **kwargs)

    def watched(graph):
        model = graph.model.clone()
        model.add_wrapper_with_key("apply_model", "test", look)
        return replace(graph, model=model)

    hints = torch.rand(LONG, 64, 64, 3, generator=torch.Generator().manual_seed(3))
    bench.run(sd15, bench.long_clip(), apply(hints), watched, frames=LONG, steps=1)
    assert calls == [8, 6, 8]  # two prompts of windows of 4, 3 and 4 frames


def test_steady_works_in_either_order(bench, sd15, apply, hints):
    result = bench.both(sd15, bench.steady(FRAMES), apply(hints), frames=FRAMES)
    assert torch.equal(result.ours_last, result.theirs_last)
    assert bench.unsteady(result.ours_last) < 0.5 * bench.unsteady(result.theirs)
