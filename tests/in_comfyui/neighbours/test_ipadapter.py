"""IPAdapter_plus with random weights: it adds to the cross-attention that ours modulates, in either order."""

from dataclasses import replace

import pytest
import torch

NAME = "ComfyUI_IPAdapter_plus"
TOKENS, IMAGE = 4, 32


def slots(model) -> list[int]:
    """Channels of the blocks in the order in which IPAdapter numbers them: input, output, middle."""
    unet = model.model.diffusion_model
    found = []
    for parts in (unet.input_blocks, unet.output_blocks, [unet.middle_block]):
        for module in (m for part in parts for m in part if hasattr(m, "transformer_blocks")):
            found += [block.attn2.to_k.out_features for block in module.transformer_blocks]
    return found


def weights(model, seed: int) -> dict:
    """An IPAdapter file's content for this model: the image projection and to_k_ip, to_v_ip of every block."""
    width = model.model.model_config.unet_config["context_dim"]
    generator = torch.Generator().manual_seed(seed)

    def matrix(rows: int, columns: int) -> torch.Tensor:
        return torch.randn(rows, columns, generator=generator) / columns**0.5

    project = {
        "proj.weight": matrix(width * TOKENS, IMAGE),
        "proj.bias": torch.zeros(width * TOKENS),
        "norm.weight": torch.ones(width),
        "norm.bias": torch.zeros(width),
    }
    layers = {
        f"{2 * number + 1}.to_{kind}_ip.weight": 2 * matrix(channels, width)
        for number, channels in enumerate(slots(model))
        for kind in "kv"
    }
    return {"image_proj": project, "ip_adapter": layers}


@pytest.fixture
def apply(pack, bench):
    """apply(weight, seed=..., **inputs) -> the step of an IPAdapter Embeds node."""
    module = pack(NAME, "IPAdapterPlus")

    def step_of(weight: float, seed: int = 5, batch: bool = False, pictures: int = 1, **options):
        node = module.IPAdapterEmbedsBatch() if batch else module.IPAdapterEmbeds()
        generator = torch.Generator().manual_seed(seed)
        embeds = {name: torch.randn(pictures, IMAGE, generator=generator) for name in ("pos_embed", "neg_embed")}
        rest = {"weight_type": "linear", "start_at": 0.0, "end_at": 1.0, "embeds_scaling": "V only"} | options

        def patch(model):
            return node.apply_ipadapter(model, weights(model, seed), weight=weight, **embeds, **rest)[0]

        return bench.on_model(patch)

    return step_of


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_before_and_after_ours_are_the_same(bench, unets, apply, family):
    """Both add their own term to the attention, so the order of the nodes must not matter."""
    result = bench.both(unets(family), bench.ours(), apply(1.0), steps=1)
    assert bench.difference(result.ours_last, result.theirs_last) < 1e-4


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
@pytest.mark.parametrize("last", ["ours", "theirs"])
def test_weight_0_is_ours_alone(bench, unets, apply, family, last):
    steps = [bench.ours(), apply(0.0)][:: 1 if last == "theirs" else -1]
    alone = bench.run(unets(family), bench.ours(), steps=1)
    assert bench.difference(bench.run(unets(family), *steps, steps=1), alone) < 1e-5


def test_a_picture_per_frame(bench, sd15, apply):
    """IPAdapter Embeds Batch: frame f gets picture f, also under ours, whose batch is chunks of frames."""
    theirs = apply(1.0, batch=True, pictures=3)
    result = bench.both(sd15, bench.ours(), theirs)
    assert bench.difference(result.ours_last, result.theirs_last) < 1e-4


@pytest.mark.parametrize("pictures", [7, 3])
def test_a_picture_per_frame_in_long_clips(bench, sd15, apply, pictures):
    """Every frame gets the picture that it gets without windows, in either order."""
    theirs = apply(1.0, batch=True, pictures=pictures)
    straight = bench.run(sd15, theirs, frames=7)
    for steps in ([bench.long_clip(), theirs], [theirs, bench.long_clip()]):
        assert bench.difference(bench.run(sd15, *steps, frames=7), straight) < 1e-4


def test_its_mask_and_its_range_still_count(bench, sd15, apply):
    """attn_mask: nothing under an empty mask. end_at 0: never."""
    alone = bench.run(sd15, bench.ours())
    for silent in ({"attn_mask": torch.zeros(1, 64, 64)}, {"start_at": 1.0, "end_at": 1.0}):
        for steps in ([bench.ours(), apply(1.0, **silent)], [apply(1.0, **silent), bench.ours()]):
            assert bench.difference(bench.run(sd15, *steps), alone) < 1e-5


def test_two_branches_do_not_share_what_was_added(bench, sd15, apply):
    """`.add` changes the slot's occupant in place: the patched model and its clones must each have their own."""
    parent = bench.ours()(bench.graph(sd15))
    alone = bench.sample(parent)
    first = apply(1.0, seed=5)(parent)
    second = apply(1.0, seed=6)(parent)
    one, two = bench.sample(first), bench.sample(second)
    assert torch.equal(bench.sample(parent), alone)
    assert bench.difference(one, two) > 1e-3
    assert torch.equal(bench.sample(apply(1.0, seed=6)(bench.ours()(bench.graph(sd15)))), two)
    third = apply(1.0, seed=6)(first)
    assert torch.equal(bench.sample(first), one)
    assert bench.difference(bench.sample(third), one) > 1e-3
    assert bench.difference(bench.sample(third), two) > 1e-3


@pytest.mark.parametrize("cfg", [1.0, 4.0])
def test_cfg_1_and_two_positives(bench, sd15, apply, cfg):
    """The batch's composition: [cond], [uncond, cond] and, with a second positive, three chunks."""

    def second(graph):
        return replace(graph, positive=graph.positive + bench.text(3))

    def run(*steps):
        return bench.run(sd15, *steps, second, cfg=cfg)

    one, other = run(bench.ours(), apply(1.0)), run(apply(1.0), bench.ours())
    assert bench.difference(one, other) < 1e-4
    assert bench.difference(one, run(bench.ours())) > 1e-3


def test_steady_works_in_either_order(bench, sd15, apply):
    result = bench.both(sd15, bench.steady(), apply(1.0))
    assert bench.difference(result.ours_last, result.theirs_last) < 1e-5
    assert bench.unsteady(result.ours_last) < 0.5 * bench.unsteady(result.theirs)
