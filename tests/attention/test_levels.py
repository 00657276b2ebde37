"""What a Modulation remembers of each level of the UNet changes no bit, and later calls do not make it anew."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from videograin.attention import LabelMap, Modulation, Schedule, SpaceTime, modulated_attention

HEADS, WIDTH, GRID, WORDS, FRAMES = 2, 16, (3, 5), 7, 4
TEXT = torch.tensor([0, 1, 1, -1, 2, -1, -1])
MODES = ["full", "sparse_causal", "key_frames", "per_frame"]


def make(layout=None, text=TEXT, **options):
    """Two regions, the first walking to the right, the second absent from the first frame; modulated at every t."""
    if layout is None:
        one, two = torch.zeros(FRAMES, *GRID), torch.zeros(FRAMES, *GRID)
        for frame in range(FRAMES):
            one[frame, :2, frame : frame + 2] = 1
        two[1:, 2, 1:4] = 1
        layout = LabelMap([one, two])
    return Modulation(layout, text, Schedule(0.8, 1, 0, 1), Schedule(0.9, 1, 0, 1), **options)


def draw(seed=0, chunks=1, dtype=torch.float32):
    """q, k, v of self-attention and k, v of the text."""
    g = torch.Generator().manual_seed(seed)
    sizes = [GRID[0] * GRID[1]] * 3 + [WORDS] * 2
    return [torch.randn(chunks * FRAMES, size, WIDTH, generator=g).mul(1.5).to(dtype) for size in sizes]


def attend(modulation, tensors, mode="full", t=0.9, roles=("cond",), words=None):
    """(self-attention, cross-attention)."""
    q, k, v, text_k, text_v = tensors
    common = {"heads": HEADS, "grid": GRID, "roles": roles, "t": t}
    frames = len(q) // len(roles)
    return (
        modulation.self_attention(q, k, v, spacetime=SpaceTime(mode, frames), **common),
        modulation.cross_attention(q, text_k, text_v, frames=frames, text_labels=words, **common),
    )


def made_anew(modulation, q, k, v, xi, within, background, spacetime, words=None):
    """One chunk through the public function, with labels and strengths made for this very call."""
    labels = modulation.label_map.labels(GRID)
    factors = torch.tensor([background, *(modulation.region_strength or [1.0] * modulation.label_map.regions)])
    calm = (1 - modulation.label_map.shares(GRID, within)).clamp(0, 1)
    if words is not None and modulation.background == "neutral":
        calm[:, 0] = (calm[:, 0] > 0).float()
    elif words is not None:
        words = torch.where(words == 0, -1, words)
    strength = (xi * calm * factors).gather(1, labels)
    arranged = (spacetime.queries(q), spacetime.keys(k), spacetime.keys(v))
    out = modulated_attention(
        *(x.unflatten(2, (HEADS, -1)).transpose(1, 2) for x in arranged),
        spacetime.queries(labels),
        spacetime.keys(labels) if words is None else words.expand(len(q), -1),
        spacetime.queries(strength),
        modulation.method,
    )
    return spacetime.restore(out.transpose(1, 2).flatten(2))


@settings(max_examples=40, deadline=None)
@given(
    mode=st.sampled_from(MODES),
    method=st.sampled_from(["fused", "reference"]),
    background=st.sampled_from(["neutral", "paper", "free"]),
    factors=st.sampled_from([None, (0.3, 1.0), (0.77, 0.0)]),
    dtype=st.sampled_from([torch.float32, torch.float16]),
    seed=st.integers(0, 1000),
)
def test_what_is_remembered_changes_no_bit(mode, method, background, factors, dtype, seed):
    modulation = make(background=background, region_strength=factors, method=method)
    tensors = draw(seed, dtype=dtype)
    q, k, v, text_k, text_v = tensors
    for t in (0.9, 0.31, 0.9):
        for words in (None, TEXT.flip(0)):
            in_self, in_cross = attend(modulation, tensors, mode, t, words=words)
            xi = modulation.self_schedule.xi(t)
            expected = made_anew(modulation, q, k, v, xi, "clip", 1.0, SpaceTime(mode, FRAMES))
            assert torch.equal(in_self, expected)
            xi, weight = modulation.cross_schedule.xi(t), 0.0 if background == "free" else 1.0
            alone, own = SpaceTime("per_frame", FRAMES), TEXT if words is None else words
            expected = made_anew(modulation, q, text_k, text_v, xi, "frame", weight, alone, own)
            assert torch.equal(in_cross, expected)


@pytest.mark.parametrize("mode", MODES)
def test_other_modes_halves_and_grids_in_turn_do_not_meet(mode):
    shared, tensors = make(), draw(chunks=2)
    turned = [x.unflatten(1, GRID).transpose(1, 2).flatten(1, 2) for x in tensors[:3]]
    for roles in (("uncond", "cond"), ("cond", "cond")):
        for other in MODES:
            attend(shared, tensors, other, roles=roles)
        shared.self_attention(
            *turned, heads=HEADS, grid=GRID[::-1], roles=roles, t=0.9, spacetime=SpaceTime(mode, FRAMES)
        )
        got, fresh = (attend(each, tensors, mode, roles=roles) for each in (shared, make()))
        assert all(torch.equal(x, y) for x, y in zip(got, fresh))


def test_a_changed_copy_does_not_remember_the_original():
    original, tensors, window = make(), draw(), [3, 1]
    in_window = [x[window] for x in tensors]
    first = attend(original, tensors)
    other = {"region_strength": (0.4, 1.0), "background": "free"}
    copied = attend(replace(original, text_labels=TEXT.flip(0), **other), tensors)
    pairs = [
        (copied, attend(make(text=TEXT.flip(0), **other), tensors)),
        (attend(original.select(window), in_window), attend(make(original.label_map.select(window)), in_window)),
        (attend(original, tensors), first),
    ]
    for got, expected in pairs:
        assert all(torch.equal(x, y) for x, y in zip(got, expected))
    assert not any(torch.equal(x, y) for x, y in zip(copied, first))


class _Watch(TorchDispatchMode):
    """Remembers which operations ran."""

    def __init__(self):
        super().__init__()
        self.operations = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.operations.add(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


def test_later_calls_neither_number_labels_nor_scan_them():
    modulation, tensors = make(), draw(chunks=2)
    seen = []
    for t in (0.9, 0.8):  # another t: the strength is another, what it is made of is not
        with _Watch() as watch:
            attend(modulation, tensors, t=t, roles=("uncond", "cond"))
        seen.append(watch.operations)
    assert {"bincount", "gather", "max"} <= seen[0]
    assert not {"bincount", "gather", "max", "min", "aminmax", "sort", "_unique2"} & seen[1]
