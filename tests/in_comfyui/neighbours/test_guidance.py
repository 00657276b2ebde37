"""Core's guidance and feature nodes: PAG, SAG, FreeU. They reach the UNet through slots that ours leaves alone, or
that both need."""

import pytest
import torch


@pytest.fixture(params=["PerturbedAttentionGuidance", "FreeU", "FreeU_V2"])
def patch(request, core, bench):
    """One of core's nodes, as patch(model) -> model."""
    if request.param == "PerturbedAttentionGuidance":
        node = core("nodes_pag").PerturbedAttentionGuidance
        return lambda model: bench.outputs(node.execute(model, 3.0))[0]
    module = core("nodes_freelunch")
    old = getattr(module, "NODE_CLASS_MAPPINGS", None)
    node = old[request.param] if old else getattr(module, request.param)
    run = node().patch if hasattr(node, "patch") else node.execute
    return lambda model: bench.outputs(run(model, 1.3, 1.4, 0.9, 0.2))[0]


def test_guidance_and_features_commute_with_our_patch(bench, sd15, patch):
    result = bench.both(sd15, bench.ours(), bench.on_model(patch), size=(16, 16))  # FreeU_V2 divides by 0 on 1 x 1
    assert torch.equal(result.ours_last, result.theirs_last)


def test_perturbed_attention_at_scale_0_is_ours_alone(bench, sd15, core):
    node = core("nodes_pag").PerturbedAttentionGuidance
    silent = bench.on_model(lambda model: bench.outputs(node.execute(model, 0.0))[0])
    assert torch.equal(bench.run(sd15, bench.ours(), silent), bench.run(sd15, bench.ours()))


def test_perturbed_attention_sees_the_edit_in_its_second_call(bench, sd15, core):
    """PAG runs the positive prompt again, alone: that call too must be modulated, or its guidance would point away from
    the edit. result = cfg result + (cond - perturbed) * scale, and all of it is linear in the scale for one Euler step.
    """
    node = core("nodes_pag").PerturbedAttentionGuidance

    def at(scale):
        theirs = bench.on_model(lambda model: bench.outputs(node.execute(model, scale))[0])
        return bench.run(sd15, bench.ours(), theirs, steps=1)

    assert bench.difference(at(2.0) - at(0.0), 2 * (at(1.0) - at(0.0))) < 1e-4


@pytest.mark.parametrize("blocks", ["", "m0.0,u1"])
@pytest.mark.parametrize("name", ["PerturbedAttention", "SmoothedEnergyGuidanceAdvanced"])
def test_the_perturbed_attention_packs_nodes_commute_with_ours(bench, sd15, pack, name, blocks):
    node = getattr(pack("sd-perturbed-attention", "pag_nodes"), name)()
    theirs = bench.on_model(lambda model: node.patch(model, scale=2.0, unet_block_list=blocks)[0])
    result = bench.both(sd15, bench.ours(), theirs, size=(16, 16), steps=1)
    assert torch.equal(result.ours_last, result.theirs_last)


def test_cores_nag_works_in_either_order(bench, sd15, core):
    """It guides what comes out of self-attention, ours or not."""
    node = core("nodes_nag").NAGuidance
    theirs = bench.on_model(lambda model: bench.outputs(node.execute(model, 5.0, 0.5, 1.5))[0])
    result = bench.both(sd15, bench.ours(), theirs)
    assert torch.equal(result.ours_last, result.theirs_last)


class TestSelfAttentionGuidance:
    """SAG stands in attn1 of the middle block, under the longer key."""

    @pytest.fixture
    def patch(self, core, bench):
        node = core("nodes_sag").SelfAttentionGuidance
        return lambda model: bench.outputs(node.execute(model, 0.8, 2.0))[0]

    def test_both_work_in_either_order(self, bench, sd15, patch):
        bench.both(sd15, bench.ours(), bench.on_model(patch), size=(16, 16))

    def test_before_ours_it_changes_nothing_but_its_guidance(self, bench, sd15, core):
        """At scale 0 its attention is plain attention, and ours + (plain - plain) = ours."""
        node = core("nodes_sag").SelfAttentionGuidance
        silent = bench.on_model(lambda model: bench.outputs(node.execute(model, 0.0, 2.0))[0])
        alone = bench.run(sd15, bench.ours(), size=(16, 16))
        last = bench.run(sd15, silent, bench.ours(), size=(16, 16))
        assert bench.difference(last, alone) < 1e-4

    def test_after_ours_it_takes_the_middle_block_from_us(self, bench, sd15, core):
        """The reason why the README says: SAG before ours."""
        node = core("nodes_sag").SelfAttentionGuidance
        silent = bench.on_model(lambda model: bench.outputs(node.execute(model, 0.0, 2.0))[0])
        alone = bench.run(sd15, bench.ours(), size=(16, 16))
        last = bench.run(sd15, bench.ours(), silent, size=(16, 16))
        assert bench.difference(last, alone) > 1e-3
