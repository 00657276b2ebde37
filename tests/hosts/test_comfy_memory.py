"""The estimate of what space-time attention holds, against what torch allocates on the CPU."""

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from videograin.attention import Layout, Modulation, Schedule, SpaceTime, space_time_attention
from videograin.hosts.comfy_memory import Level, attention_bytes, enlarged

FRAMES, GRID, HEADS, DIM = 4, (16, 24), 8, 40
LEVEL = Level(GRID[0] * GRID[1], HEADS * DIM, HEADS)
TILE = 2**19 * 4  # row_range's on a CPU


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


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("mode", ["full", "key_frames", "sparse_causal"])
@pytest.mark.parametrize("regions", [0, 2])
def test_the_estimate_is_what_torch_allocates(dtype, mode, regions):
    masks = torch.zeros(2, FRAMES, *GRID)
    masks[0, ..., :8] = masks[1, ..., -8:] = 1
    schedule = Schedule(0.5, 1.0, 0.0, 1.0)
    modulation = Modulation(Layout(list(masks)), torch.tensor([1, 2, -1]), schedule, schedule)
    q, k, v = torch.randn(3, FRAMES, LEVEL.tokens, LEVEL.channels).to(dtype)
    spacetime = SpaceTime(mode, FRAMES, 2)

    def call():
        if not regions:
            return space_time_attention(q, k, v, heads=HEADS, spacetime=spacetime)
        return modulation.self_attention(q, k, v, heads=HEADS, grid=GRID, roles=("cond",), t=0.9, spacetime=spacetime)

    call()  # the level's labels are made once
    estimate = attention_bytes(
        LEVEL, frames=FRAMES, mode=mode, anchors=2, regions=regions, element=q.element_size(), tile=TILE
    )
    expected, measured = estimate + q.nbytes, peak(call)
    assert 0.9 * measured - TILE <= expected <= 1.2 * measured + TILE


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
