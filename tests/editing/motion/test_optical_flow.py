"""Flow of real clips: a known shift, occlusion by hand, and which estimator it is."""

import sys
from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from videograin.editing.motion import optical_flow as flows
from videograin.editing.motion.optical_flow import (
    Estimator,
    FlowError,
    backward_flow,
    clip_flow,
    consistent,
    dis,
    find_estimator,
    raft,
)
from videograin.measuring.metrics.pixels import end_point_error

TORCHVISION = find_spec("torchvision") is not None  # `make test` has none, a ComfyUI has


def smooth(side=96) -> np.ndarray:
    import cv2

    noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2), None, 0, 255, cv2.NORM_MINMAX)


def shifting(dx=3, dy=-2, frames=3, side=64) -> np.ndarray:
    large = smooth()
    return np.stack([large[16 - f * dy :, 16 - f * dx :][:side, :side] for f in range(frames)])


def test_dis_finds_a_known_shift():
    found = clip_flow(shifting(), dis())
    assert found.backward.shape == (2, 64, 64, 2)
    assert found.backward.dtype == np.float32
    middle = found.backward[:, 12:-12, 12:-12]
    # What moves by (3, -2) a frame was at (-3, 2) in the frame before.
    assert np.abs(middle - np.array([-3, 2])).mean() < 0.1
    assert found.valid[:, 12:-12, 12:-12].mean() > 0.99
    assert found.valid[:, :, :2].mean() < 0.5  # entered at the left
    assert found.name.startswith("DIS (OpenCV ")


def test_forward_and_backward_flow_agree_where_they_undo_each_other():
    back = np.zeros((4, 6, 2))
    back[..., 0] = -2
    forth = -back
    assert consistent(back, forth).all()
    forth[:, 3] = 0  # what lies there did not come along: pixels of column 5 came from column 3
    # |b + f|^2 = 4 > 0.01 (4 + 0) + 0.5
    assert consistent(back, forth).all(axis=0).tolist() == [True, True, True, True, True, False]


def test_the_pairs_are_walked_backwards_and_forwards():
    seen = []

    def flow(first, second):
        seen.append((int(first[0, 0, 0]), int(second[0, 0, 0])))
        return np.zeros((*first.shape[:2], 2), np.float32)

    clip = np.stack([np.full((16, 16, 3), value, np.uint8) for value in (0, 1, 2)])
    ticks = []
    assert clip_flow(clip, Estimator("none", flow), lambda: ticks.append(1)).valid.all()
    assert seen == [(1, 0), (0, 1), (2, 1), (1, 2)]
    assert len(ticks) == 2
    seen.clear()
    assert backward_flow(clip, Estimator("none", flow), lambda: ticks.append(1)).shape == (2, 16, 16, 2)
    assert seen == [(1, 0), (2, 1)]
    assert len(ticks) == 4


def test_the_end_point_error_is_a_mean_distance():
    flow = np.zeros((1, 2, 2, 2))
    other = flow.copy()
    other[0, 0] = 3, 4  # 5 pixels in the upper half
    weight = np.ones((1, 2, 2))
    assert end_point_error(flow, other, weight) == 2.5
    weight[0, 1] = 0.25  # (2 * 5) / 2.5
    assert end_point_error(flow, other, weight) == 4
    assert np.isnan(end_point_error(flow, other, 0 * weight))
    with pytest.raises(FlowError, match=r"valid is \[1, 2\]"):
        end_point_error(flow, other, weight[:, 0])


def test_a_long_clip_s_flows_are_compared_pair_by_pair():
    """What is held beside the flows is that of a pair: a few times one of 40 pairs, not of all."""
    import tracemalloc

    flow = np.zeros((40, 64, 64, 2), np.float32)
    other = flow.copy()
    other[:20, ..., 0] = 2  # half of the pairs are 2 pixels apart
    weight = np.ones(flow.shape[:-1], np.float32)
    tracemalloc.start()
    assert end_point_error(flow, other, weight) == 1
    held = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert held < flow.nbytes / 2


def test_flow_is_written_where_it_stays():
    """The clip's flow is never held twice: not as a list of pairs and as their stack."""
    import tracemalloc

    clip = np.zeros((41, 64, 64, 3), np.uint8)
    still = Estimator("none", lambda first, second: np.zeros((*first.shape[:2], 2), np.float32))
    whole = 40 * 64 * 64 * 4  # bytes of one number for every pixel of every pair
    for made, numbers in ((backward_flow, 2), (clip_flow, 3)):
        tracemalloc.start()
        made(clip, still)
        held = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert held < 1.5 * numbers * whole, made


def test_small_or_single_frames_are_refused():
    with pytest.raises(FlowError, match="16 x 16 or more"):
        clip_flow(np.zeros((2, 8, 64, 3), np.uint8), dis())
    with pytest.raises(FlowError, match="two frames or more"):
        clip_flow(np.zeros((1, 64, 64, 3), np.uint8), dis())
    with pytest.raises(FlowError, match="two frames or more"):
        backward_flow(np.zeros((1, 64, 64, 3), np.uint8), dis())


def test_without_weights_dis_says_why(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    found = find_estimator()
    assert found.name.startswith("DIS")
    assert "no RAFT-Large weights (raft_large_C_T_SKHT_V2-ff5fadd5.pth)" in found.note
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / flows.WEIGHTS[1]).write_bytes(b"broken")
    assert ("is not RAFT-Large" if TORCHVISION else "RAFT needs torchvision") in find_estimator().note


def test_weights_that_were_asked_for_are_not_replaced(tmp_path):
    with pytest.raises(FlowError, match="does not exist"):
        find_estimator(tmp_path / "raft.pth")
    torch.save({"weight": torch.zeros(1)}, tmp_path / "raft.pth")
    said = "is not RAFT-Large of torchvision" if TORCHVISION else "RAFT needs torchvision, which cannot be imported"
    with pytest.raises(FlowError, match=said):
        find_estimator(tmp_path / "raft.pth")


def test_raft_runs_with_weights_of_its_architecture(tmp_path):
    models = pytest.importorskip("torchvision.models.optical_flow")
    torch.manual_seed(0)
    path = tmp_path / "raft_large_random.pth"
    torch.save(models.raft_large(weights=None, progress=False).state_dict(), path)
    estimator = raft(path)
    found = estimator.flow(*shifting(frames=2))
    assert found.shape == (64, 64, 2)
    assert np.isfinite(found).all()
    assert estimator.name == "RAFT-Large (torchvision, raft_large_random)"
    assert estimator.note == ""


def test_raft_s_flow_is_brought_back_to_the_frames_size(tmp_path, monkeypatch):
    class Constant(torch.nn.Module):
        def forward(self, first, second, num_flow_updates):
            assert first.shape == (1, 3, 128, 136)  # 60 is below the least side, 130 is no multiple of 8
            assert first.min() == -1 == -first.max()
            return [torch.zeros(1), torch.tensor([13.6, 12.8])[None, :, None, None].expand(1, 2, 128, 136)]

    models = SimpleNamespace(raft_large=lambda **_: Constant())  # in place of torchvision's, which need not be there
    for name in ("torchvision", "torchvision.models"):
        monkeypatch.setitem(sys.modules, name, SimpleNamespace())
    monkeypatch.setitem(sys.modules, "torchvision.models.optical_flow", models)
    torch.save({}, tmp_path / "raft.pth")
    frame = np.zeros((60, 130, 3), np.uint8)
    frame[30:] = 255
    found = raft(tmp_path / "raft.pth").flow(frame, frame)
    # dx 13.6 of 136 is 13 of 130; dy 12.8 of 128 is 6 of 60.
    assert found.shape == (60, 130, 2)
    assert found.reshape(-1, 2).mean(axis=0) == pytest.approx([13, 6], abs=1e-4)
