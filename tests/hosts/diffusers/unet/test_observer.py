"""What observers are shown of diffusers' UNet: every layer of the conditional half, and nothing twice."""

import pytest
import torch

from videograin.attention import LabelMap, Modulation, Schedule, SpaceTime
from videograin.hosts.diffusers.unet import attention as diffusers_attention

FRAMES, SIZE, SIGMA = 3, (5, 6), 2.0
PROMPT, PHRASES = "a red star and a blue circle on the sand", ["red star", "blue circle"]


class Watcher:
    def __init__(self, kinds=("self", "cross")):
        self.kinds, self.asked, self.seen = kinds, [], []

    def wants(self, *question):
        self.asked.append(question)
        return question[0] in self.kinds

    def add(self, seen):
        self.seen.append(seen)


@pytest.fixture
def x():
    return torch.randn(FRAMES, 4, *SIZE, generator=torch.Generator().manual_seed(0))


def modulation(labels, strength=0.6, **options):
    left = torch.zeros(FRAMES, 40, 48)
    left[:, 8:32, 4:20] = 1
    schedule = Schedule(strength, 0.0, 0.0, 1.0)
    return Modulation(LabelMap([left, left.flip(-1)]), labels, schedule, schedule, **options)


def run(model, x, observer, *, edit=False, halves="both", **options):
    prompt, _, labels, _ = model.encode_regions(PROMPT, PHRASES)
    if edit:
        options["modulation"] = modulation(labels, self_halves=halves, cross_halves=halves)
    with model.denoiser(prompt, frames=FRAMES, observer=observer, **options) as denoise:
        return denoise(x, SIGMA)


def layers(model, x, **options):
    """(kind, q, k, heads) of all attention layers in the order they run, read from hooks."""
    found, hooks = [], []
    for name, module in model.unet.named_modules():
        if name.endswith(("attn1", "attn2")) and hasattr(module, "to_q"):
            entry = {"kind": "self" if name.endswith("attn1") else "cross", "heads": module.heads}

            def note(entry, key):
                def hook(module, args, out):
                    entry[key] = out.detach()
                    if key == "k":
                        found.append(dict(entry))

                return hook

            hooks += [getattr(module, f"to_{key}").register_forward_hook(note(entry, key)) for key in "qk"]
    try:
        run(model, x, None, **options)
    finally:
        for hook in hooks:
            hook.remove()
    return found


@pytest.mark.parametrize("mode", ["full", "key_frames"])
def test_every_layer_is_shown_as_it_is(model, x, mode):
    watcher = Watcher()
    run(model, x, watcher, spacetime=mode)
    expected = layers(model, x, spacetime=mode)
    assert [seen.attention_type for seen in watcher.seen] == [one["kind"] for one in expected]
    assert {"self", "cross"} == {seen.attention_type for seen in watcher.seen}
    t = model.levels.timestep(SIGMA) / len(model.levels)
    for seen, one in zip(watcher.seen, expected):
        assert torch.equal(seen.q, one["q"])
        assert torch.equal(seen.k, one["k"])
        assert (seen.heads, seen.size, seen.frames) == (one["heads"], SIZE, None)
        assert seen.grid[0] * seen.grid[1] == one["q"].shape[1]
        assert seen.spacetime == (SpaceTime(mode, FRAMES) if seen.attention_type == "self" else None)
        assert (seen.matched, seen.strength) == (None, None)
        assert seen.t == pytest.approx(t, abs=1e-5)
    assert watcher.asked == [(seen.attention_type, seen.grid, seen.size, seen.t) for seen in watcher.seen]


def test_the_bias_is_the_modulations(sd1, x):
    watcher = Watcher()
    run(sd1, x, watcher, edit=True)
    _, _, labels, _ = sd1.encode_regions(PROMPT, PHRASES)
    edit = modulation(labels)
    for seen in watcher.seen:
        if seen.attention_type == "self":
            marks = edit.self_bias(("cond",), grid=seen.grid, t=seen.t, spacetime=SpaceTime("full", FRAMES))
        else:
            marks = edit.cross_bias(("cond",), grid=seen.grid, t=seen.t)
        assert torch.equal(seen.matched.q, marks[0].q)
        assert torch.equal(seen.matched.k, marks[0].k)
        assert torch.equal(seen.strength.flatten(), marks[1].flatten())
        assert seen.strength.shape == (FRAMES, seen.q.shape[1])


def test_where_only_the_other_half_is_modulated_there_is_no_bias(sd1, x):
    watcher = Watcher()
    run(sd1, x, watcher, edit=True, halves="uncond", negative=sd1.encode_prompt("a square"), guidance=3.0)
    assert watcher.seen
    assert all(seen.matched is None and seen.strength is None for seen in watcher.seen)


@pytest.mark.parametrize("batched", [True, False])
def test_of_a_guided_call_the_conditional_half_is_shown(sd1, x, batched):
    alone, guided = Watcher(), Watcher()
    run(sd1, x, alone, spacetime="full")
    run(sd1, x, guided, negative=sd1.encode_prompt("a square"), guidance=3.0, batched=batched)
    assert len(guided.seen) == len(alone.seen)
    for one, two in zip(alone.seen, guided.seen):
        torch.testing.assert_close(two.q, one.q, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(two.k, one.k, rtol=1e-4, atol=1e-5)


def test_a_prompt_repeated_to_the_negatives_length_is_shown_repeated(sd1, x):
    watcher = Watcher(["cross"])
    long = sd1.encode_prompt("star " * 100)
    run(sd1, x, watcher, edit=True, negative=long, guidance=3.0)
    labels = sd1.encode_regions(PROMPT, PHRASES)[2]
    for seen in watcher.seen:
        assert seen.k.shape[1] == len(long.ids) == 2 * len(labels)
        assert torch.equal(*(part for part in seen.matched.k.chunk(2, 1)))


def test_it_changes_nothing(sd1, x):
    for edit in (False, True):
        assert torch.equal(run(sd1, x, Watcher(), edit=edit), run(sd1, x, None, edit=edit))


@pytest.mark.parametrize("after", [0, 1, 2, 5])
def test_after_a_lack_of_memory_no_layer_is_shown_twice(sd1, x, monkeypatch, after):
    """The batch of both halves does not fit at some layer; the prediction begins again, one half after the other."""
    settings = {"negative": sd1.encode_prompt("a square"), "guidance": 3.0}
    smooth, rough = Watcher(), Watcher()
    expected = run(sd1, x, smooth, **settings)
    plain, calls = diffusers_attention.sdpa, []

    def scarce(q, k, v, heads):
        calls.append(q.shape[0])
        if len(calls) == after + 1:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
        return plain(q, k, v, heads)

    monkeypatch.setattr(diffusers_attention, "sdpa", scarce)
    got = run(sd1, x, rough, **settings)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-3)
    assert [(seen.attention_type, seen.grid) for seen in rough.seen] == [
        (seen.attention_type, seen.grid) for seen in smooth.seen
    ]
    for one, two in zip(smooth.seen, rough.seen):
        torch.testing.assert_close(two.q, one.q, rtol=1e-4, atol=1e-4)
