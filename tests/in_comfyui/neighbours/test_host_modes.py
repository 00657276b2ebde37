"""The host's own ways to run a model: too little memory for it, torch.compile."""

import pytest
import torch


class TestLowVram:
    """--lowvram: weights that do not fit stay on the CPU, and every layer casts its own when it is called. Without a
    GPU the casting can be run, the copies between devices cannot."""

    @pytest.fixture
    def cast(self, own_sd15):
        """A model none of whose weights are loaded: every layer is of the casting kind."""
        own_sd15.load(torch.device("cpu"), lowvram_model_memory=1)
        casting = [m for m in own_sd15.model.diffusion_model.modules() if getattr(m, "comfy_cast_weights", False)]
        assert len(casting) > 100
        return own_sd15

    def test_the_same_result(self, bench, sd15, cast):
        ours = bench.ours()
        assert bench.difference(bench.run(cast, ours), bench.run(sd15, ours)) < 1e-5

    def test_with_a_patched_weight(self, bench, sd15, cast):
        """A LoRA's weights are then computed in the layer."""
        weight = "diffusion_model.input_blocks.1.1.transformer_blocks.0.attn1.to_q.weight"

        def theirs(model):
            model = model.clone()
            model.add_patches({weight: (torch.full((32, 32), 0.1),)}, 1.0)
            return model

        result = [bench.run(model, bench.on_model(theirs), bench.ours()) for model in (cast, sd15)]
        assert bench.difference(*result) < 1e-5
        assert bench.difference(result[0], bench.run(sd15, bench.ours())) > 1e-4


class TestCompile:
    """Core's Torch Compile Model. Our occupants are not compiled: the graph breaks at them. Backend "eager" traces as
    the others do, but compiles nothing, which is too slow here."""

    @pytest.fixture
    def compiled(self, bench):
        helpers = pytest.importorskip("comfy_api.torch_helpers")
        import torch._dynamo

        torch._dynamo.reset()

        def patch(model):
            model = model.clone()
            helpers.set_torch_compile_wrapper(model=model, backend="eager")
            return model

        yield bench.on_model(patch)
        torch._dynamo.reset()

    def test_the_same_result(self, bench, own_sd15, compiled):
        """The node's place does not matter: the network is compiled where it is called."""
        few = {"steps": 1, "frames": 2}
        ours = bench.ours(bench.edit(2))
        expected = bench.run(own_sd15, ours, **few)
        assert bench.difference(bench.run(own_sd15, ours, compiled, **few), expected) < 1e-4
