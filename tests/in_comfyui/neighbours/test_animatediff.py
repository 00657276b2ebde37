"""AnimateDiff-Evolved with a random motion module: temporal layers between our layers, and its context windows.

A motion module's widths are SD 1.5's own, written into the pack; for the tiny UNet they are made a tenth, as its are.
The file, the loader and the nodes are the pack's.
"""

import importlib
from dataclasses import replace

import pytest
import safetensors.torch
import torch

NAME = "ComfyUI-AnimateDiff-Evolved"
FRAMES, LENGTH = 6, 4


@pytest.fixture(scope="module")
def ade(pack):
    root = pack(NAME)
    return lambda module: importlib.import_module(f"{root.__name__}.animatediff.{module}")


@pytest.fixture
def motion_file(ade, bench, tmp_path, monkeypatch):
    """Write a motion module (v2: with a middle block) where the pack's loader finds it; its file name."""
    import folder_paths

    parts = ade("motion_module_ad")
    real = parts.MotionModule
    monkeypatch.setattr(parts, "MotionModule", lambda channels, **options: real(channels // 10, **options))
    layout = {
        "down_blocks.3.temporal": torch.zeros(1),
        "up_blocks.3.temporal": torch.zeros(1),
        "mid_block.temporal": torch.zeros(1),
        "x.attention_blocks.1.y": torch.zeros(1),
        "x.pos_encoder.pe": torch.zeros(1, 32, 4),
    }
    info = parts.AnimateDiffInfo("SD1.5", parts.AnimateDiffFormat.ANIMATEDIFF, parts.AnimateDiffVersion.V2, "random")
    module = bench.fill(parts.AnimateDiffModel(layout, info), 8)
    weights = {key: value.clone().contiguous() for key, value in module.state_dict().items()}
    safetensors.torch.save_file(weights, tmp_path / "random_motion.safetensors")
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "animatediff_models", ([str(tmp_path)], {".safetensors"}))
    return "random_motion.safetensors"


@pytest.fixture(params=["gen1", "gen2"])
def apply(request, ade, motion_file):
    """apply(seen, windows, nodes) -> the step of the nodes of one generation; `seen` gets every call's frames."""

    def step_of(seen: list | None = None, windows: bool = False):
        def step(graph):
            options = None
            if windows:
                node = ade("nodes_context").LoopedUniformContextOptionsNode()
                options = node.create_options(LENGTH, 1, 2, closed_loop=True, fuse_method="flat")[0]
            if request.param == "gen1":
                load = ade("nodes_gen1").AnimateDiffLoaderGen1().load_mm_and_inject_params
                model = load(graph.model, motion_file, "use existing", context_options=options)[0]
            else:
                motion = ade("nodes_gen2").LoadAnimateDiffModelNode().load_motion_model(motion_file)[0]
                motion = ade("nodes_gen2").ApplyAnimateDiffModelNode().apply_motion_model(motion)[0]
                use = ade("nodes_gen2").UseEvolvedSamplingNode().use_evolved_sampling
                model = use(graph.model, "use existing", m_models=motion, context_options=options)[0]

            def look(executor, *args, **kwargs):
                if seen is not None:
                    seen.append(args[5]["ad_params"]["sub_idxs"])
                return executor(*args, **kwargs)

            model.add_wrapper_with_key("apply_model", "test", look)
            return replace(graph, model=model)

        return step

    return step_of


def test_both_work_in_either_order(bench, sd15, apply):
    result = bench.both(sd15, bench.ours(), apply())
    assert bench.difference(result.ours_last, result.theirs_last) < 1e-5


def test_masks_follow_the_frames_of_a_window(bench, sd15, apply):
    """As for core's windows; these wrap around: (4, 5, 0, 1)."""
    noise, seen, fused = bench.noise(FRAMES), [], []
    bench.run(sd15, apply(seen, True), bench.ours(bench.edit(FRAMES)), noise=noise, steps=1, predictions=fused)
    assert any(list(window) != sorted(window) for window in seen)
    total, count = torch.zeros_like(noise), torch.zeros(FRAMES, 1, 1, 1)
    for window in map(list, seen):
        clip: list = []
        patch = bench.ours(bench.edit(FRAMES, only=window))
        bench.run(sd15, apply(), patch, noise=noise[window], steps=1, predictions=clip)
        total[window] += clip[0]
        count[window] += 1
    assert bench.difference(fused[0], total / count) < 1e-4


def test_windows_work_in_either_order(bench, sd15, apply):
    ours, theirs = bench.ours(bench.edit(FRAMES)), apply(windows=True)
    first = bench.run(sd15, ours, theirs, frames=FRAMES, steps=1)
    assert torch.equal(first, bench.run(sd15, theirs, ours, frames=FRAMES, steps=1))
    assert bench.difference(first, bench.run(sd15, theirs, frames=FRAMES, steps=1)) > 1e-3


@pytest.mark.parametrize("windows", [False, True])
def test_long_clip_windows_are_refused_by_name(bench, sd15, apply, windows):
    """Its motion modules and windows count the clip's frames: windows in windows would be wrong without a word."""
    for steps in ([bench.long_clip(), apply(windows=windows)], [apply(windows=windows), bench.long_clip()]):
        with pytest.raises(ValueError, match=r"^Long Clip Windows: AnimateDiff-Evolved samples this model"):
            bench.run(sd15, *steps, frames=7, steps=1)


@pytest.mark.parametrize("windows", [False, True])
def test_the_inversion_takes_the_motion_module(bench, sd15, apply, windows):
    """The way up must have been walked by the network that will walk down, its temporal layers and windows included."""
    from videograin.hosts.comfyui.inversion import invert_latent
    from videograin.hosts.comfyui.unet.noise import leading_sigmas

    latent, sigmas = {"samples": bench.noise(FRAMES)}, leading_sigmas(sd15, 2)
    graph, seen = bench.graph(sd15), []

    def noise(model):
        return invert_latent(model, graph.positive, latent, sigmas, method="ddim", node="test").noise

    moving = noise(apply(seen, windows)(graph).model)
    assert bench.difference(moving, noise(sd15)) > 1e-3
    assert (seen[0] is not None) == windows
    if windows:
        assert bench.difference(moving, noise(apply()(graph).model)) > 1e-4


@pytest.mark.parametrize("windows", [False, True])
def test_steady_works_in_either_order(bench, sd15, apply, windows):
    """It brings together what all windows predict, also theirs."""
    result = bench.both(sd15, bench.steady(FRAMES), apply(windows=windows), frames=FRAMES)
    assert bench.difference(result.ours_last, result.theirs_last) < 1e-5
    assert bench.unsteady(result.ours_last) < 0.5 * bench.unsteady(result.theirs)
