"""LoRA by core's LoraLoader: other weights under the same attention."""

import pytest
import safetensors.torch
import torch


@pytest.fixture
def load(tmp_path, monkeypatch, bench, sd15):
    """load(strength) -> the step of a LoraLoader node with a random LoRA for every to_q, to_k and to_v."""
    import folder_paths

    import nodes

    generator = torch.Generator().manual_seed(4)
    weights = {}
    for name, module in sd15.model.diffusion_model.named_modules():
        if name.rsplit(".", 1)[-1] in ("to_q", "to_k", "to_v"):
            key = "lora_unet_" + name.replace(".", "_")
            weights[f"{key}.lora_down.weight"] = torch.randn(2, module.in_features, generator=generator) / 4
            weights[f"{key}.lora_up.weight"] = torch.randn(module.out_features, 2, generator=generator) / 4
            weights[f"{key}.alpha"] = torch.tensor(2.0)
    safetensors.torch.save_file(weights, tmp_path / "random.safetensors")
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "loras", ([str(tmp_path)], {".safetensors"}))
    node = nodes.LoraLoader()
    return lambda strength: bench.on_model(
        lambda model: node.load_lora(model, None, "random.safetensors", strength, 0.0)[0]
    )


def test_before_and_after_ours_are_the_same(bench, sd15, load):
    result = bench.both(sd15, bench.ours(), load(1.0))
    assert torch.equal(result.ours_last, result.theirs_last)


def test_strength_0_is_ours_alone(bench, sd15, load):
    assert torch.equal(bench.run(sd15, bench.ours(), load(0.0)), bench.run(sd15, bench.ours()))
