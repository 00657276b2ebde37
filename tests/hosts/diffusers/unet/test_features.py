"""Layout features collected from diffusers' UNet: which layers, which half, and that looking on changes nothing."""

import pytest
import torch

from videograin.editing.attention_features import FeatureCollector, reference_features

FRAMES = 3
SIZE = (5, 6)  # halves to (3, 3): rounded up


@pytest.fixture
def x():
    return torch.randn(FRAMES, 4, *SIZE, generator=torch.Generator().manual_seed(0))


def run(model, x, collector, **options):
    prompt = model.encode_prompt("a cat")
    with model.denoiser(prompt, frames=FRAMES, observer=collector, **options) as denoise:
        return denoise(x, 2.0)


def watched(model, x, kind="attn1", **options):
    """(q, k, heads) of the layers of a kind whose input has the half-side grid, read from hooks."""
    layers = [
        module
        for name, module in model.unet.named_modules()
        if name.endswith(kind) and hasattr(module, "to_q") and hasattr(module, "to_k")
    ]
    seen = {}

    def note(layer, kind):
        def hook(module, args, out):
            seen.setdefault(layer, {})[kind] = out.detach()

        return hook

    hooks = [getattr(layer, f"to_{k}").register_forward_hook(note(layer, k)) for layer in layers for k in "qk"]
    try:
        run(model, x, None, **options)
    finally:
        for hook in hooks:
            hook.remove()
    tokens = -(-SIZE[0] // 2) * -(-SIZE[1] // 2)
    calls = [(s["q"], s["k"], layer.heads) for layer, s in seen.items() if s["q"].shape[1] == tokens]
    return calls


@pytest.mark.parametrize("mode", ["full", "per_frame"])
def test_the_layers_at_half_the_side_are_averaged(model, x, mode):
    calls, words = (watched(model, x, kind, spacetime=mode) for kind in ("attn1", "attn2"))
    collector = FeatureCollector(FRAMES)
    run(model, x, collector, spacetime=mode)
    got = collector.result()
    assert got.grid == (3, 3)
    assert got.calls == len(calls) == len(words) > 0
    # Rounded to float16, once.
    torch.testing.assert_close(got.values.double(), reference_features(calls), rtol=2**-11, atol=1e-5)
    torch.testing.assert_close(got.cross.double(), reference_features(words), rtol=2**-11, atol=1e-5)
    assert got.cross.shape == (FRAMES, 9, len(model.encode_prompt("a cat").ids))


@pytest.mark.parametrize("batched", [True, False])
def test_of_a_guided_call_only_the_conditional_half_counts(sd1, x, batched):
    alone, guided = FeatureCollector(FRAMES), FeatureCollector(FRAMES)
    run(sd1, x, alone)
    run(sd1, x, guided, negative=sd1.encode_prompt("a dog"), guidance=5.0, batched=batched)
    assert guided.result().calls == alone.result().calls
    torch.testing.assert_close(guided.result().values, alone.result().values, rtol=2**-10, atol=1e-5)
    torch.testing.assert_close(guided.result().cross, alone.result().cross, rtol=2**-10, atol=1e-5)


def test_looking_on_changes_nothing(sd1, x):
    assert torch.equal(run(sd1, x, FeatureCollector(FRAMES)), run(sd1, x, None))
