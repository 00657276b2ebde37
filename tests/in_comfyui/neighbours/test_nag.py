"""Normalized attention guidance of two packs: sd-perturbed-attention patches the slots, ComfyUI-NAG swaps the forward
of the cross-attention modules under them."""

from dataclasses import replace

import pytest
import torch


class TestPerturbedAttentionPack:
    NAME = "sd-perturbed-attention"

    @pytest.fixture
    def apply(self, pack, bench):
        """apply(scale) -> the step of its NAG node."""
        node = pack(self.NAME, "nag_nodes").NormalizedAttentionGuidance()

        def step_of(scale: float):
            return lambda graph: replace(graph, model=node.patch(graph.model, graph.negative, scale=scale)[0])

        return step_of

    @pytest.mark.parametrize("family", ["sd15", "sdxl"])
    def test_both_work_in_either_order(self, bench, unets, apply, family):
        bench.both(unets(family), bench.ours(), apply(2.0), steps=1)

    @pytest.mark.parametrize("last", ["ours", "theirs"])
    def test_scale_0_is_ours_alone(self, bench, sd15, apply, last):
        steps = [bench.ours(), apply(0.0)][:: 1 if last == "theirs" else -1]
        assert bench.difference(bench.run(sd15, *steps), bench.run(sd15, bench.ours())) < 1e-5

    def test_three_in_one_slot(self, bench, sd15, apply, pack):
        """Another occupant, ours and NAG: each is still heard."""

        def louder(graph):
            model = graph.model.clone()
            for name, number in (("input", 1), ("middle", 0), ("output", 5)):
                model.set_model_attn2_replace(lambda q, k, v, extra: 2 * v.mean(1, keepdim=True) + 0 * q, name, number)
            return replace(graph, model=model)

        results = [
            bench.run(sd15, *steps)
            for steps in (
                (louder, bench.ours(), apply(2.0)),
                (louder, bench.ours()),
                (louder, apply(2.0)),
                (bench.ours(), apply(2.0)),
            )
        ]
        assert all(bench.difference(results[0], other) > 1e-3 for other in results[1:])


class TestNagPack:
    NAME = "ComfyUI-NAG"

    @pytest.fixture
    def sample(self, pack, bench):
        """sample(graph, scale) -> latents of its KSampler; scale 1 is no guidance at all."""
        node = pack(self.NAME).NODE_CLASS_MAPPINGS["KSamplerWithNAG"]()

        def run(graph, scale: float, cfg: float = 4.0):
            latent = {"samples": torch.zeros(3, 4, 8, 8)}
            tau, alpha, sigma_end = 2.5, 0.5, 0.0
            texts = graph.positive, graph.negative, bench.text(7)
            settings = 1, 2, cfg, scale, tau, alpha, sigma_end, "euler", "normal"
            return node.sample(graph.model, *settings, *texts, latent)[0]["samples"]

        return run

    def test_with_cross_attention_left_alone_both_work(self, bench, sd15, sample):
        edit = bench.edit(cross_strength=0.0)
        guided = sample(bench.ours(edit)(bench.graph(sd15)), 5.0)
        assert bench.difference(guided, sample(bench.ours(edit)(bench.graph(sd15)), 1.0)) > 1e-3
        assert bench.difference(guided, sample(bench.graph(sd15), 5.0)) > 1e-3

    @pytest.mark.parametrize("cfg", [1.0, 4.0])
    def test_with_cross_attention_modulated_it_is_refused(self, bench, own_sd15, sample, cfg):
        """It gives every layer a longer batch of keys than of queries; a slot's occupant never learns what for.

        The pack does not take its patches out of a model whose run failed: the README says to unload it.
        """
        with pytest.raises(ValueError, match=r"ST-Layout Attn Patch.*ComfyUI-NAG.*cross_strength"):
            sample(bench.ours()(bench.graph(own_sd15)), 5.0, cfg)
        assert "forward" in vars(own_sd15.model.diffusion_model)

    def test_without_guidance_its_sampler_is_like_the_hosts(self, bench, sd15, sample):
        """Ours needs wrappers and uuids of whoever samples."""
        assert bench.difference(sample(bench.ours()(bench.graph(sd15)), 1.0), sample(bench.graph(sd15), 1.0)) > 1e-3
