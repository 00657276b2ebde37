"""The same clip, prompts, masks and settings give the same frames through the nodes and through the runner."""

import pytest
import torch

from videograin.editing.regions import Region
from videograin.editing.windows import Windows
from videograin.measuring.metrics.pixels import psnr
from videograin.nodes.region_prompt import RegionPrompt
from videograin.world.demo_task import make_task

from .both_ways import ENOUGH_DB, FRAMES, SIZE, by_nodes, by_runner


@pytest.fixture(scope="module")
def task():
    return make_task(1, FRAMES, SIZE)


@pytest.fixture(scope="module")
def regions(task):
    """Chained as on the canvas."""
    regions = None
    with torch.inference_mode():
        for phrase, mask in zip(task.phrases, task.masks):
            (regions,) = RegionPrompt.execute(phrase, mask, "edit", 1.0, regions).result
    return regions


@pytest.mark.parametrize(("mode", "windows"), [("per_frame", None), ("full", None), ("full", Windows(3, 1, 1))])
def test_nodes_and_runner_give_the_same_frames(task, regions, mode, windows):
    plain = [Region(phrase, mask) for phrase, mask in zip(task.phrases, task.masks)]
    ours, theirs = by_nodes(task, regions, mode, windows), by_runner(task, plain, mode, windows)
    torch.testing.assert_close(ours[0], theirs[0], atol=2e-3, rtol=1e-3)
    assert psnr(ours[1], theirs[1]) >= ENOUGH_DB
    assert psnr(ours[2], theirs[2]) >= ENOUGH_DB
    # and they did edit: what is compared is not the source twice
    assert psnr(ours[2], task.clip.frames) < 30
