"""Core's ToMe and HyperTile change the tokens before self-attention: with masks they cannot work, and we say so."""

import pytest
import torch


@pytest.fixture
def merge(core, bench):
    node = core("nodes_tomesd").TomePatchModel
    return bench.on_model(lambda model: bench.outputs(node.execute(model, 0.5))[0])


@pytest.fixture
def tiles(core, bench):
    node = core("nodes_hypertile").HyperTile
    return bench.on_model(lambda model: bench.outputs(node.execute(model, 256, 2, 0, False))[0])


@pytest.mark.parametrize("order", [0, 1])
def test_merged_tokens_are_refused_where_regions_are(bench, sd15, merge, order):
    steps = [merge, bench.ours()][:: 1 if order else -1]
    with pytest.raises(ValueError, match=r"ST-Layout Attn Patch.*Token Merging.*Remove"):
        bench.run(sd15, *steps)


def test_merged_tokens_work_with_space_time_attention_alone(bench, sd15, merge):

    def run(*steps):
        torch.manual_seed(0)  # ToMe draws
        return bench.run(sd15, *steps)

    alone = bench.ours(bench.edit(regions=False))
    first, second = run(merge, alone), run(alone, merge)
    assert torch.equal(first, second)
    assert all(bench.difference(first, run(step)) > 1e-3 for step in (merge, alone))


@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("regions", [True, False])
def test_tiles_are_refused(bench, sd15, tiles, order, regions):
    steps = [tiles, bench.ours(bench.edit(frames=2, regions=regions))][:: 1 if order else -1]
    with pytest.raises(ValueError, match=r"ST-Layout Attn Patch.*HyperTile.*Remove"):
        bench.run(sd15, *steps, frames=2, size=(64, 64), steps=1)


def test_tiles_that_do_not_cut_are_no_neighbour(bench, sd15, tiles):
    """Up to 256 px HyperTile leaves everything whole."""
    assert torch.equal(bench.run(sd15, bench.ours(), tiles), bench.run(sd15, bench.ours()))
