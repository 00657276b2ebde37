"""The estimate of what space-time attention holds, against what torch allocates on the CPU."""

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from videograin.attention import LabelMap, Modulation, Schedule, SpaceTime, space_time_attention
from videograin.hosts.comfyui.host_attention import HostAttention
from videograin.hosts.comfyui.unet.call_parts import by_treatment
from videograin.hosts.comfyui.unet.memory_estimate import Level, attention_bytes, enlarged, peak_bytes

FRAMES, GRID, HEADS, DIM = 4, (16, 24), 8, 40
LEVEL = Level(GRID[0] * GRID[1], HEADS * DIM, HEADS)
TILE = 2**19 * 4  # logit_range's on a CPU


def peak(call) -> int:
    """Bytes of tensors held at once while `call` runs, its output included."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        call()
    events = [e for e in seen.profiler.kineto_results.events() if e.name() == "[memory]"]
    held = highest = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        held += event.nbytes()
        highest = max(highest, held)
    return highest


def modulation_of(range_steps):
    masks = torch.zeros(2, FRAMES, *GRID)
    masks[0, ..., :8] = masks[1, ..., -8:] = 1
    schedule = Schedule(0.5, 1.0, 0.0, 1.0)
    return Modulation(LabelMap(list(masks)), torch.tensor([1, 2, -1]), schedule, schedule, range_steps=range_steps)


def attention_of(mode, regions, range_steps=1):
    """A self-attention layer, (q, k, v, heads) -> out."""
    modulation, spacetime = modulation_of(range_steps), SpaceTime(mode, FRAMES, 2)

    def attend(q, k, v, heads=HEADS):
        if not regions:
            return space_time_attention(q, k, v, heads=heads, spacetime=spacetime)
        return modulation.self_attention(q, k, v, heads=heads, grid=GRID, roles=("cond",), t=0.9, spacetime=spacetime)

    return attend


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("mode", ["full", "key_frames", "sparse_causal"])
@pytest.mark.parametrize(("regions", "range_steps"), [(0, 1), (2, 1), (2, 3)])
def test_the_estimate_is_what_torch_allocates(dtype, mode, regions, range_steps):
    q, k, v = torch.randn(3, FRAMES, LEVEL.tokens, LEVEL.channels).to(dtype)
    attend = attention_of(mode, regions, range_steps)
    attend(q, k, v)  # the level's labels are made once
    sizes = {"key_frames": 2, "regions": regions, "element": q.element_size(), "range_steps": range_steps, "tile": TILE}
    expected = attention_bytes(LEVEL, frames=FRAMES, mode=mode, **sizes) + q.nbytes
    measured = peak(lambda: attend(q, k, v))
    assert 0.9 * measured - TILE <= expected <= 1.2 * measured + TILE


def test_full_coarse_is_key_frames_at_the_finest_level_and_full_elsewhere():
    """By hand: the hungrier of the two, whichever that is."""
    sizes = {"frames": 8, "key_frames": 2, "regions": 2, "element": 2}
    for fine, coarse in (
        (Level(4096, 320, 8, True), Level(1024, 640, 8)),
        (Level(1024, 64, 2, True), Level(1024, 640, 8)),
    ):
        by_hand = max(attention_bytes(fine, mode="key_frames", **sizes), attention_bytes(coarse, mode="full", **sizes))
        assert peak_bytes([coarse, fine, coarse], mode="full_coarse", **sizes) == by_hand
    assert peak_bytes([Level(4096, 320, 8, True)], mode="full_coarse", **sizes) == peak_bytes(
        [Level(4096, 320, 8)], mode="key_frames", **sizes
    )


def test_ranges_that_are_kept_are_reckoned_with():
    levels, sizes = (
        [Level(96, 320, 8, True), Level(24, 640, 8)],
        {"frames": 4, "mode": "full", "key_frames": 2, "element": 2},
    )
    exact, once = (peak_bytes(levels, regions=2, range_steps=steps, **sizes) for steps in (1, 2))
    hungriest = max(attention_bytes(level, regions=2, range_steps=3, **sizes) for level in levels)
    assert once - hungriest == 2 * 4 * 4 * 8 * (96 + 24)  # halves, float32, frames, heads, tokens
    windows = peak_bytes(levels, regions=2, range_steps=3, kept=20, **sizes)  # five windows of 4 frames
    assert windows - hungriest == 5 * (once - hungriest)
    assert exact == peak_bytes(levels, regions=2, **sizes)
    assert peak_bytes(levels, regions=0, range_steps=3, **sizes) == peak_bytes(levels, regions=0, **sizes)


@pytest.mark.parametrize(
    ("mode", "regions"), [("full", 2), *((m, r) for m in ("key_frames", "sparse_causal") for r in (0, 2))]
)
def test_the_second_try_holds_less(mode, regions):
    """After a lack of memory: gathered keys and widened copies of half the heads. (What a mode "full" without regions
    holds is the result alone.)"""

    class Full(RuntimeError):
        pass

    host, attend = HostAttention(lambda *args, **options: None, out_of_memory=(Full,)), attention_of(mode, regions)

    def layer(lacking):
        def of(kind, part, *qkv):
            if lacking and part.half is None:
                raise Full
            return attend(*qkv, heads=part.heads)

        return by_treatment(["edit"], q, k, v, HEADS, of, host=host, trouble=str)

    q, k, v = torch.randn(3, FRAMES, LEVEL.tokens, LEVEL.channels)
    torch.testing.assert_close(layer(True), layer(False))
    assert peak(lambda: layer(True)) < 0.9 * peak(lambda: layer(False))


def test_the_host_is_asked_for_as_much_more():
    """Whatever is proportional to the rows comes out at the sum."""

    def required(shape):
        return 1000.0 * shape[0] * shape[2] * shape[3]

    shape = [8, 4, 64, 48]
    for extra in (0.0, 1e6, 3e7):
        larger = enlarged(shape, required(shape), extra)
        assert larger[:2] == shape[:2]
        assert required(larger) == pytest.approx(required(shape) + extra, rel=0.02)
        assert required(larger) >= required(shape) + extra
    assert enlarged(shape, 0.0, 5.0) == shape
    assert shape == [8, 4, 64, 48]
